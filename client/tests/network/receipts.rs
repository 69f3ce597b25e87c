//! How a transaction stands, and waiting until it is final.

use std::time::Duration;

use quorate::TransactionId;
use quorate_client::{ClientError, Confirmation, Health, Last, Settings, WaitError};
use serde_json::json;

use crate::{
    fake::{Manner, OnReceipt},
    network::{Network, PATIENCE, eventually},
};

fn restless(network: &Network) -> Settings {
    let short = Duration::from_millis(50);
    Settings { backoff_min: short, backoff_max: short, ..network.settings() }
}

#[tokio::test]
async fn a_transaction_is_unknown_then_pending_then_final() {
    let network = Network::of(2);
    let client = network.client();
    let transaction = network.chain.put(1, 0);
    let id = client.transaction_id(&transaction);
    assert_eq!(client.confirmation_status(&id).await, Ok(Confirmation::Unknown));
    assert_eq!(client.receipt(&id).await, Ok(None));
    let accepted = client.submit(transaction.clone()).await.unwrap();
    assert_eq!(client.confirmation_status(&id).await, Ok(Confirmation::Pending(accepted.validator)));
    assert_eq!(client.receipt(&id).await, Ok(None));
    network.finish();
    let receipt = client.receipt(&id).await.unwrap().unwrap();
    assert_eq!((receipt.header.height.0, &receipt.transaction), (3, &transaction));
    assert_eq!(client.verify(&receipt), Ok(()));
    assert_eq!(client.disagreements(), []);
}

/// It may be final: nobody said that it is not.
#[tokio::test]
async fn without_an_answer_it_is_unavailable_not_unknown() {
    let network = Network::of(1);
    let client = network.client();
    network.fakes[0].be(|one| one.manner = Manner::Status500);
    network.fakes[1].be(|one| one.manner = Manner::Unavailable);
    network.fakes[2].die().await;
    let id = network.chain.id(&network.chain.put(100, 0));
    let error = client.confirmation_status(&id).await.unwrap_err();
    assert!(matches!(&error, ClientError::Unavailable { asked, .. } if asked.len() == 3), "{error}");
}

/// A receipt convinces whoever shows it, and one honest validator is enough to find it.
#[tokio::test]
async fn one_honest_validator_among_liars_is_enough() {
    let network = Network::of(3);
    let client = network.client();
    let id = network.chain.id(&network.chain.put(100, 1));
    network.fakes[0].be(|one| one.receipt = OnReceipt::Unknown);
    network.fakes[1].be(|one| one.receipt = OnReceipt::Says(json!({ "status": "pending" })));
    assert!(matches!(client.confirmation_status(&id).await, Ok(Confirmation::Final(_))));
    // With nobody honest left, nothing is final.
    network.fakes[2].be(|one| one.receipt = OnReceipt::Says(json!({ "status": "final", "receipt": null })));
    assert_eq!(client.confirmation_status(&id).await, Ok(Confirmation::Pending("validator-2".into())));
}

#[tokio::test]
async fn a_wait_outlasts_the_death_of_all() {
    let network = Network::of(0);
    let client = network.client_with(restless(&network));
    let transaction = network.chain.put(1, 0);
    let accepted = client.submit(transaction.clone()).await.unwrap();
    let wait = tokio::spawn({
        let client = client.clone();
        async move { client.wait_for_confirmation(&accepted.id, PATIENCE).await }
    });
    eventually("it is asked for", || network.fakes.iter().any(|fake| fake.asked("quorate_receipt") > 0)).await;
    for fake in &network.fakes {
        fake.die().await;
    }
    eventually("all are gone", || {
        client.validator_status().iter().all(|one| one.status == Health::Unreachable && one.failures > 0)
    })
    .await;
    assert!(!wait.is_finished());
    network.finish();
    network.fakes[1].listen();
    let receipt = wait.await.unwrap().unwrap();
    assert_eq!((receipt.transaction_id, receipt.transaction), (accepted.id, transaction));
}

#[tokio::test]
async fn a_wait_ends_in_time_and_says_how_it_stood() {
    let network = Network::of(1);
    let client = network.client_with(restless(&network));
    let accepted = client.submit(network.chain.put(1, 0)).await.unwrap();
    let ends = async |id: &TransactionId| {
        let begun = std::time::Instant::now();
        let timeout = Duration::from_millis(400);
        let WaitError::TimedOut { last, waited_ms, .. } = client.wait_for_confirmation(id, timeout).await.unwrap_err()
        else {
            panic!("another error")
        };
        assert!(begun.elapsed() >= timeout && begun.elapsed() < PATIENCE && waited_ms >= 400, "{waited_ms}");
        last
    };
    assert_eq!(ends(&accepted.id).await, Last::Pending);
    assert_eq!(ends(&TransactionId::new([1; 32])).await, Last::Unknown);
    for fake in &network.fakes {
        fake.die().await;
    }
    assert_eq!(ends(&accepted.id).await, Last::Unanswered);
}

/// A validator which holds a question does not hold a wait longer than it may last.
#[tokio::test]
async fn a_wait_ends_in_time_when_nobody_answers_in_time() {
    let network = Network::of(1);
    let client = network.client();
    network.fakes.iter().for_each(|fake| fake.be(|one| one.delay = Duration::from_secs(60)));
    let id = TransactionId::new([1; 32]);
    let wait = client.wait_for_confirmation(&id, Duration::from_millis(300));
    let ended = tokio::time::timeout(Duration::from_secs(4), wait).await.unwrap();
    assert!(matches!(ended, Err(WaitError::TimedOut { last: Last::Unanswered, .. })));
}
