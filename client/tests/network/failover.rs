//! Whatever one or two of three validators do, the third gives the answer within the same call.

use std::time::Duration;

use quorate::TransactionId;
use quorate_client::{Confirmation, Settings};
use serde_json::json;

use crate::{
    chain::Chain,
    fake::{Behaviour, Manner, OnReceipt, OnSubmit},
    network::{Network, lies},
};

/// Short enough to be waited for, long enough for an honest fake.
fn impatient(network: &Network) -> Settings {
    Settings { attempt_timeout: Duration::from_millis(700), ..network.settings() }
}

/// The first is asked first; `liars` of them misbehave.
async fn submits_past(what: &str, liars: usize, trouble: impl Fn(&mut Behaviour)) {
    let network = Network::of(0);
    let client = network.client_with(impatient(&network));
    network.fakes[..liars].iter().for_each(|fake| fake.be(&trouble));
    let transaction = network.chain.put(1, 0);
    let accepted = client.submit(transaction.clone()).await.expect(what);
    assert_eq!(accepted.id, network.chain.id(&transaction), "{what}");
    assert_eq!(accepted.validator, network.fakes[liars].name, "{what}");
    assert_eq!(network.fakes[liars].pool(), [transaction], "{what}");
    for fake in &network.fakes[..liars] {
        assert_eq!(fake.asked("quorate_submit"), 1, "{what}: {}", fake.name);
    }
}

#[tokio::test]
async fn a_submission_gets_past_validators_which_fail() {
    submits_past("slow", 2, |one| one.delay = Duration::from_secs(5)).await;
    submits_past("500", 2, |one| one.manner = Manner::Status500).await;
    submits_past("garbage", 2, |one| one.manner = Manner::Garbage).await;
    submits_past("-32014", 2, |one| one.manner = Manner::Unavailable).await;
    submits_past("-32603", 2, |one| one.manner = Manner::Error(-32603, "internal error".into())).await;
    submits_past("-32601", 2, |one| one.manner = Manner::Error(-32601, "method not found".into())).await;
    submits_past("full", 2, |one| one.submit = OnSubmit::Full(100)).await;
}

#[tokio::test]
async fn a_submission_gets_past_validators_which_lie() {
    submits_past("wrong id", 2, |one| one.submit = OnSubmit::WrongId).await;
    let rejects = OnSubmit::Rejects { kind: "state", reason: "I do not like it" };
    submits_past("rejects", 1, |one| one.submit = rejects.clone()).await;
    submits_past("made-up winner", 1, |one| one.submit = OnSubmit::Duplicate(TransactionId::new([1; 32]))).await;
    submits_past("too large", 1, |one| one.submit = OnSubmit::TooLarge).await;
}

#[tokio::test]
async fn a_submission_gets_past_validators_which_are_dead() {
    let network = Network::of(0);
    let client = network.client();
    network.fakes[0].die().await;
    network.fakes[1].die().await;
    let transaction = network.chain.put(1, 0);
    let accepted = client.submit(transaction.clone()).await.unwrap();
    assert_eq!((accepted.id, accepted.validator.as_str()), (network.chain.id(&transaction), "validator-3"));
}

/// A validator which dies with the question in its hands.
#[tokio::test]
async fn a_submission_gets_past_a_validator_which_dies_over_it() {
    let network = Network::of(0);
    let client = network.client();
    network.fakes[0].be(|one| one.delay = Duration::from_secs(60));
    let transaction = network.chain.put(1, 0);
    let (accepted, ()) = tokio::join!(client.submit(transaction.clone()), async {
        crate::network::eventually("the first is asked", || network.fakes[0].now() == 1).await;
        network.fakes[0].die().await;
    });
    assert_eq!(accepted.unwrap().id, network.chain.id(&transaction));
}

/// Also after a connection was used and broke while nobody looked.
#[tokio::test]
async fn a_validator_which_was_restarted_is_asked_over_a_new_connection() {
    let network = Network::of(1);
    let client = network.client();
    for nonce in 0..3 {
        client.refresh_validator_status().await;
        client.submit(network.chain.put(1, nonce)).await.unwrap();
        for fake in &network.fakes {
            fake.die().await;
            fake.listen();
        }
    }
    let accepted = client.submit(network.chain.put(1, 3)).await.unwrap();
    assert_eq!(accepted.id, network.chain.id(&network.chain.put(1, 3)));
    assert_eq!(network.fakes.iter().map(|fake| fake.asked("quorate_submit")).sum::<usize>(), 4);
}

/// The receipt of the third transaction gets past the first two validators; `lie` is what is noted of each, if anything.
async fn shows_past(what: &str, lie: Option<&str>, trouble: impl Fn(&Network, TransactionId, &mut Behaviour)) {
    let network = Network::of(5);
    let client = network.client_with(impatient(&network));
    let id = network.chain.id(&network.chain.put(100, 2));
    network.fakes[..2].iter().for_each(|fake| fake.be(|one| trouble(&network, id, one)));
    let Confirmation::Final(receipt) = client.confirmation_status(&id).await.expect(what) else { panic!("{what}") };
    assert_eq!(Some(*receipt), network.chain.receipt(&id, 5), "{what}");
    for fake in &network.fakes {
        assert_eq!(fake.asked("quorate_receipt"), 1, "{what}: {}", fake.name);
    }
    for name in ["validator-1", "validator-2"] {
        let noted = lies(&client, name).join("\n");
        match lie {
            Some(lie) => assert!(noted.contains(lie), "{what}: {noted}"),
            None => assert_eq!(noted, "", "{what}"),
        }
    }
    assert_eq!(lies(&client, "validator-3"), [""; 0], "{what}");
}

#[tokio::test]
async fn a_receipt_gets_past_validators_which_fail() {
    shows_past("slow", None, |_, _, one| one.delay = Duration::from_secs(5)).await;
    shows_past("500", None, |_, _, one| one.manner = Manner::Status500).await;
    shows_past("garbage", None, |_, _, one| one.manner = Manner::Garbage).await;
    shows_past("-32014", None, |_, _, one| one.manner = Manner::Unavailable).await;
    shows_past("behind", None, |_, _, one| one.height = Some(2)).await;
    shows_past("unknown", None, |_, _, one| one.receipt = OnReceipt::Unknown).await;
    shows_past("pending", None, |_, id, one| {
        one.receipt = OnReceipt::Says(json!({ "status": "pending", "transaction_id": id }));
    })
    .await;
    shows_past("a new word", None, |_, _, one| one.receipt = OnReceipt::Says(json!({ "status": "perhaps" }))).await;
}

#[tokio::test]
async fn a_receipt_gets_past_validators_which_lie() {
    let shows =
        |receipt: Option<quorate::Receipt>| OnReceipt::Says(json!({ "status": "final", "receipt": receipt.unwrap() }));
    shows_past("one signature too few", Some("1 valid signatures; 2 are needed"), |network, id, one| {
        let sealed = network.chain.seal(3, &[network.chain.put(100, 2)], &[1]);
        one.receipt = shows(network.chain.receipt_in(&sealed, &id));
    })
    .await;
    shows_past("one signature twice", Some("each once"), |network, id, one| {
        let sealed = network.chain.seal(3, &[network.chain.put(100, 2)], &[1, 1]);
        one.receipt = shows(network.chain.receipt_in(&sealed, &id));
    })
    .await;
    shows_past("of another transaction", Some("it is of 0x"), |network, _, one| {
        one.receipt = shows(network.chain.receipt(&network.chain.id(&network.chain.put(100, 1)), 5));
    })
    .await;
    shows_past("of another transaction, renamed", Some("the transaction's id is"), |network, id, one| {
        let mut receipt = network.chain.receipt(&network.chain.id(&network.chain.put(100, 1)), 5).unwrap();
        receipt.transaction_id = id;
        one.receipt = shows(Some(receipt));
    })
    .await;
    shows_past("of another chain", Some("receipt is of chain"), |network, id, one| {
        let other = Chain::new("another");
        other.append(&[network.chain.put(100, 2)]);
        one.receipt = shows(other.receipt(&id, 1));
    })
    .await;
    shows_past("another outcome", Some("outcome_path"), |network, id, one| {
        let mut receipt = network.chain.receipt(&id, 5).unwrap();
        receipt.outcome = quorate::Bytes::from_static(b"something else");
        one.receipt = shows(Some(receipt));
    })
    .await;
    shows_past("a block that was never voted on", Some("does not convince"), |network, id, one| {
        let mut receipt = network.chain.receipt(&id, 5).unwrap();
        receipt.header.time.0 += 1;
        receipt.block_hash = receipt.header.hash();
        one.receipt = shows(Some(receipt));
    })
    .await;
    shows_past("no receipt at all", Some("proves nothing"), |_, _, one| {
        one.receipt = OnReceipt::Says(json!({ "status": "final" }));
    })
    .await;
}
