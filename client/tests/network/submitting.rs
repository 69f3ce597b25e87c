//! Refusals need two voices, or all that answer; many transactions go in requests that a validator takes.

use std::time::Duration;

use quorate::{Bytes, TransactionId};
use quorate_client::{BATCH_MAX, ClientError, Settings, SubmitError};

use crate::{
    fake::{BODY_BYTES_MAX, Manner, OnSubmit},
    network::{Network, lies},
};

fn rejects(kind: &'static str, reason: &'static str) -> OnSubmit {
    OnSubmit::Rejects { kind, reason }
}

#[tokio::test]
async fn two_voices_for_one_refusal_are_enough() {
    let network = Network::of(0);
    let client = network.client();
    network.fakes[0].be(|one| one.submit = rejects("state", "too late at 12:00"));
    network.fakes[1].be(|one| one.submit = rejects("state", "too late at 12:01"));
    let error = client.submit(network.chain.put(1, 0)).await.unwrap_err();
    let SubmitError::Rejected { kind, by, .. } = &error else { panic!("{error}") };
    assert_eq!((kind.as_str(), by.join(" ")), ("state", "validator-1 validator-2".into()));
    assert!(error.to_string().contains("too late at 12:0"), "{error}");
    assert_eq!(network.fakes[2].asked("quorate_submit"), 0);
}

#[tokio::test]
async fn two_refusals_of_different_kinds_are_not_one() {
    let network = Network::of(0);
    let client = network.client();
    let winner = TransactionId::new([4; 32]);
    network.fakes[0].be(|one| one.submit = rejects("state", "no"));
    network.fakes[1].be(|one| one.submit = OnSubmit::Duplicate(winner));
    assert_eq!(client.submit(network.chain.put(1, 0)).await.unwrap().validator, "validator-3");

    let network = Network::of(0);
    let client = network.client();
    network.fakes[0].be(|one| one.submit = OnSubmit::Duplicate(TransactionId::new([5; 32])));
    network.fakes[1].be(|one| one.submit = OnSubmit::Duplicate(winner));
    network.fakes[2].be(|one| one.submit = OnSubmit::Duplicate(winner));
    let error = client.submit(network.chain.put(1, 0)).await.unwrap_err();
    let by = vec!["validator-2".into(), "validator-3".into()];
    assert_eq!(error, SubmitError::Duplicate { winner, by }, "the made-up one does not count");
}

#[tokio::test]
async fn one_voice_is_enough_when_nobody_else_answers() {
    let network = Network::of(0);
    let client = network.client();
    network.fakes[0].be(|one| one.submit = rejects("malformed", "no bytes"));
    network.fakes[1].be(|one| one.manner = Manner::Unavailable);
    network.fakes[2].die().await;
    let error = client.submit(network.chain.put(1, 0)).await.unwrap_err();
    let by = vec!["validator-1".into()];
    assert_eq!(error, SubmitError::Rejected { kind: "malformed".into(), reason: "no bytes".into(), by });
}

#[tokio::test]
async fn a_duplicate_of_itself_is_taken() {
    let network = Network::of(0);
    let client = network.client();
    let transaction = network.chain.put(1, 0);
    let id = network.chain.id(&transaction);
    network.fakes[0].be(|one| one.submit = OnSubmit::Duplicate(id));
    let accepted = client.submit(transaction).await.unwrap();
    assert_eq!((accepted.id, accepted.validator.as_str()), (id, "validator-1"));
}

#[tokio::test]
async fn full_pools_are_not_a_refusal() {
    let network = Network::of(0);
    let client = network.client();
    for (fake, retry) in network.fakes.iter().zip([700, 300, 500]) {
        fake.be(|one| one.submit = OnSubmit::Full(retry));
    }
    let error = client.submit(network.chain.put(1, 0)).await.unwrap_err();
    assert_eq!(error, SubmitError::PoolFull { retry_after_ms: 300 });
    // The refusal of one does not count while others could not judge.
    network.fakes[0].be(|one| one.submit = rejects("state", "no"));
    assert!(matches!(client.submit(network.chain.put(1, 0)).await, Err(SubmitError::PoolFull { .. })));
}

#[tokio::test]
async fn another_id_is_a_lie_and_a_network_of_liars_takes_nothing() {
    let network = Network::of(0);
    let client = network.client();
    network.fakes.iter().for_each(|fake| fake.be(|one| one.submit = OnSubmit::WrongId));
    let error = client.submit(network.chain.put(1, 0)).await.unwrap_err();
    assert!(
        matches!(&error, SubmitError::Client(ClientError::Unavailable { asked, .. }) if asked.len() == 3),
        "{error}"
    );
    for fake in &network.fakes {
        assert_eq!(lies(&client, &fake.name), ["it answers with another id than the transaction has"]);
    }
}

#[tokio::test]
async fn a_call_ends_at_its_deadline() {
    let network = Network::of(0);
    let settings = Settings {
        attempt_timeout: Duration::from_millis(400),
        call_timeout: Duration::from_millis(600),
        ..network.settings()
    };
    let client = network.client_with(settings);
    network.fakes.iter().for_each(|fake| fake.be(|one| one.delay = Duration::from_secs(60)));
    let begun = std::time::Instant::now();
    let error = client.submit(network.chain.put(1, 0)).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert!(
        matches!(&error, SubmitError::Client(ClientError::TimedOut { within_ms: 600, asked }) if asked.len() == 2),
        "{error}"
    );
}

#[tokio::test]
async fn many_are_answered_in_order_and_asked_in_requests_of_bounded_length() {
    let network = Network::of(0);
    let client = network.client();
    let transactions: Vec<Bytes> = (0..200).map(|nonce| network.chain.put(1, nonce)).collect();
    let late = [3, 64, 199].map(|at: usize| network.chain.id(&transactions[at]));
    network.fakes.iter().for_each(|fake| fake.be(|one| one.rejects = late.to_vec()));
    let answers = client.submit_all(&transactions).await;
    assert_eq!(answers.len(), 200);
    for (transaction, answer) in transactions.iter().zip(answers) {
        let id = network.chain.id(transaction);
        match answer {
            Ok(accepted) => assert_eq!(accepted.id, id),
            Err(SubmitError::Rejected { by, .. }) => assert!(late.contains(&id) && by.len() == 2),
            Err(other) => panic!("{other}"),
        }
    }
    let [first, second, third] = [0, 1, 2].map(|at| network.fakes[at].seen());
    let sizes: Vec<usize> = first.iter().map(|seen| seen.methods.len()).collect();
    assert_eq!(sizes, [BATCH_MAX, BATCH_MAX, BATCH_MAX, 200 - 3 * BATCH_MAX]);
    // The others are asked for a second voice alone.
    assert_eq!((second.len(), second[0].methods.len(), third.len()), (1, 3, 0));
}

#[tokio::test]
async fn large_ones_are_split_by_their_bytes() {
    let network = Network::of(0);
    let client = network.client();
    let transactions: Vec<Bytes> = (0..40u8).map(|at| vec![at; 90_000].into()).collect();
    let answers = client.submit_all(&transactions).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let seen = network.fakes[0].seen();
    assert!(seen.iter().all(|one| one.bytes < BODY_BYTES_MAX), "{seen:?}");
    assert_eq!(seen.iter().map(|one| one.methods.len()).sum::<usize>(), 40);
    assert_eq!(seen.len(), 10, "four fit");
}

/// It would be turned away unread, with all that is beside it, and tell nothing of those who did so.
#[tokio::test]
async fn one_that_no_request_holds_is_refused_here_and_harms_no_other() {
    let network = Network::of(0);
    let client = network.client();
    let transactions = [network.chain.put(1, 0), vec![7; 600 << 10].into(), network.chain.put(1, 1)];
    let answers = client.submit_all(&transactions).await;
    assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");
    assert!(matches!(&answers[1], Err(SubmitError::TooLarge { .. })), "{answers:?}");
    assert!(client.validator_status().iter().all(|one| one.failures == 0));
}

#[tokio::test]
async fn many_get_past_a_validator_that_fails_between_two_requests() {
    let network = Network::of(0);
    let client = network.client();
    let transactions: Vec<Bytes> = (0..150).map(|nonce| network.chain.put(1, nonce)).collect();
    network.fakes[0].be(|one| one.delay = Duration::from_millis(100));
    let (answers, ()) = tokio::join!(client.submit_all(&transactions), async {
        crate::network::eventually("the second request", || network.fakes[0].seen().len() == 2).await;
        network.fakes[0].die().await;
    });
    let of = |name: &str| answers.iter().filter(|one| one.as_ref().unwrap().validator == name).count();
    assert_eq!((of("validator-1"), of("validator-2")), (64, 86));
    assert!(client.submit_all(&[]).await.is_empty());
}
