//! Who gets work: the healthy ones in turn, nobody who rests after a failure, liars last.

use std::time::Duration;

use quorate_client::{Client, ClientError, Health, Settings, SubmitError};
use serde_json::json;

use crate::{
    fake::{Manner, OnReceipt},
    network::{Network, eventually, health, of},
};

fn submissions(network: &Network) -> Vec<usize> {
    network.fakes.iter().map(|fake| fake.asked("quorate_submit")).collect()
}

async fn submit(network: &Network, client: &Client, nonces: std::ops::Range<u64>) {
    for nonce in nonces {
        client.submit(network.chain.put(1, nonce)).await.unwrap();
    }
}

#[tokio::test]
async fn all_healthy_validators_get_work() {
    let network = Network::of(0);
    let client = network.client();
    client.refresh_validator_status().await;
    submit(&network, &client, 0..30).await;
    assert_eq!(submissions(&network), [10, 10, 10]);
}

/// Nobody has to ask for health first.
#[tokio::test]
async fn validators_which_were_not_asked_yet_get_work_too() {
    let network = Network::of(0);
    let client = network.client();
    submit(&network, &client, 0..30).await;
    assert_eq!(submissions(&network), [10, 10, 10]);
}

#[tokio::test]
async fn many_calls_at_a_time_are_spread() {
    let network = Network::of(0);
    let client = network.client();
    network.fakes.iter().for_each(|fake| fake.be(|one| one.delay = Duration::from_millis(20)));
    let mut calls = tokio::task::JoinSet::new();
    for nonce in 0..60 {
        let (client, transaction) = (client.clone(), network.chain.put(1, nonce));
        calls.spawn(async move { client.submit(transaction).await });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap().unwrap();
    }
    let each = submissions(&network);
    assert!(each.iter().sum::<usize>() == 60 && each.iter().all(|count| *count >= 10), "{each:?}");
}

/// One that is much slower than the others does not hold up what they could do.
#[tokio::test]
async fn a_busy_validator_gets_less() {
    let network = Network::of(0);
    let client = network.client();
    client.refresh_validator_status().await;
    network.fakes[0].be(|one| one.delay = Duration::from_secs(60));
    let mut held = tokio::task::JoinSet::new();
    for nonce in 0..24 {
        let (client, transaction) = (client.clone(), network.chain.put(2, nonce));
        held.spawn(async move { client.submit(transaction).await });
        eventually("it is with one of them", || submissions(&network).iter().sum::<usize>() as u64 > nonce).await;
    }
    assert!((4..=6).contains(&network.fakes[0].asked("quorate_submit")), "{:?}", submissions(&network));
}

#[tokio::test]
async fn a_failing_validator_is_not_asked_while_it_rests_and_is_back_when_a_look_finds_it_well() {
    let network = Network::of(0);
    let client = network.client();
    network.fakes[0].be(|one| one.manner = Manner::Status500);
    submit(&network, &client, 0..10).await;
    assert_eq!(submissions(&network), [1, 5, 5]);
    assert_eq!(health(&client, "validator-1"), (Health::Degraded, "it answers with HTTP status 500".into()));

    network.fakes[0].be(|one| one.manner = Manner::Answers);
    submit(&network, &client, 10..12).await;
    assert_eq!(submissions(&network), [1, 6, 6], "it rests still");
    client.refresh_validator_status().await;
    assert_eq!(of(&client, "validator-1").status, Health::Healthy);
    submit(&network, &client, 12..21).await;
    assert_eq!(submissions(&network)[0], 4);
}

#[tokio::test]
async fn a_dead_validator_is_used_again_once_the_watch_saw_it() {
    let network = Network::of(0);
    let short = Duration::from_millis(100);
    let settings = Settings { probe_interval: short, backoff_min: short, backoff_max: short, ..network.settings() };
    let client = network.client_with(settings);
    let watch = tokio::spawn({
        let client = client.clone();
        async move { client.watch().await }
    });
    eventually("all are healthy", || client.validator_status().iter().all(|one| one.status == Health::Healthy)).await;
    assert_eq!(client.reach(), (3, Some(2)));
    network.fakes[1].die().await;
    eventually("the second is gone", || of(&client, "validator-2").status == Health::Unreachable).await;
    assert_eq!(client.reach(), (2, Some(2)));
    submit(&network, &client, 0..9).await;
    assert_eq!(network.fakes[1].asked("quorate_submit"), 0);
    network.fakes[1].listen();
    eventually("the second is back", || of(&client, "validator-2").status == Health::Healthy).await;
    submit(&network, &client, 9..18).await;
    assert_eq!(network.fakes[1].asked("quorate_submit"), 3);
    watch.abort();
    assert!(watch.await.unwrap_err().is_cancelled());
    let looks = network.fakes[0].asked("quorate_status");
    tokio::time::sleep(short * 3).await;
    assert_eq!(network.fakes[0].asked("quorate_status"), looks, "a dropped watch looks at nobody");
}

/// What fails is left alone until its rest is over, by the watch as well.
#[tokio::test]
async fn the_watch_lets_a_failing_validator_rest() {
    let network = Network::of(0);
    let client = network.client_with(Settings { probe_interval: Duration::from_millis(20), ..network.settings() });
    network.fakes[0].be(|one| one.manner = Manner::Status500);
    let _ = tokio::time::timeout(Duration::from_secs(60), async {
        tokio::select! {
            () = client.watch() => {}
            () = eventually("the others were looked at", || network.fakes[1].asked("quorate_status") >= 10) => {}
        }
    })
    .await;
    assert_eq!(network.fakes[0].asked("quorate_status"), 1);
}

#[tokio::test]
async fn when_all_rest_a_call_says_so_at_once_and_later_one_is_tried() {
    let network = Network::of(0);
    let settings =
        Settings { backoff_min: Duration::from_secs(2), backoff_max: Duration::from_secs(2), ..network.settings() };
    let client = network.client_with(settings);
    network.fakes.iter().for_each(|fake| fake.be(|one| one.manner = Manner::Status500));
    let Err(SubmitError::Client(ClientError::Unavailable { asked, .. })) = client.submit(network.chain.put(1, 0)).await
    else {
        panic!("taken")
    };
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|one| one.outcome == "it answers with HTTP status 500"), "{asked:?}");

    network.fakes.iter().for_each(|fake| fake.be(|one| one.manner = Manner::Answers));
    let error = client.submit(network.chain.put(1, 0)).await.unwrap_err();
    assert!(error.to_string().contains("all are resting after failures"), "{error}");
    let SubmitError::Client(ClientError::Unavailable { retry_after_ms, .. }) = error else { panic!("{error}") };
    assert!((1..=2001).contains(&retry_after_ms), "{retry_after_ms}");
    assert_eq!(submissions(&network), [1, 1, 1]);
    tokio::time::sleep(Duration::from_millis(retry_after_ms)).await;
    client.submit(network.chain.put(1, 0)).await.unwrap();
}

#[tokio::test]
async fn a_call_need_not_wait_while_one_that_does_not_rest_may_be_asked() {
    let network = Network::of(0);
    let client = network.client();
    network.fakes[0].be(|one| one.manner = Manner::Error(-32000, "not today".into()));
    network.fakes[1].die().await;
    network.fakes[2].die().await;
    let error = client.submit(network.chain.put(1, 0)).await.unwrap_err();
    let SubmitError::Client(ClientError::Unavailable { retry_after_ms, asked }) = error else { panic!("{error}") };
    assert_eq!((retry_after_ms, asked.len()), (1, 3));
}

/// Calls that were under way together fail for one reason; the rest is as long as after one failure.
#[tokio::test]
async fn calls_that_fail_together_are_one_failure() {
    let network = Network::of(0);
    let settings = Settings { backoff_min: Duration::from_secs(1), ..network.settings() };
    let client = network.client_with(Settings { validators: vec![network.endpoints().remove(0)], ..settings });
    network.fakes[0].be(|one| (one.manner, one.delay) = (Manner::Status500, Duration::from_millis(300)));
    let mut calls = tokio::task::JoinSet::new();
    for nonce in 0..16 {
        let (client, transaction) = (client.clone(), network.chain.put(1, nonce));
        calls.spawn(async move { client.submit(transaction).await });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap().unwrap_err();
    }
    assert_eq!(submissions(&network)[0], 16);
    let error = client.submit(network.chain.put(1, 16)).await.unwrap_err();
    let SubmitError::Client(ClientError::Unavailable { retry_after_ms, .. }) = error else { panic!("{error}") };
    assert!(retry_after_ms <= 1001, "{retry_after_ms}");
}

#[tokio::test]
async fn a_liar_is_asked_last() {
    let network = Network::of(1);
    let client = network.client();
    let id = network.chain.id(&network.chain.put(100, 0));
    // The honest ones are not healthy either.
    for fake in &network.fakes[1..] {
        fake.be(|one| one.status = vec![("status", json!("syncing"))]);
    }
    network.fakes[0].be(|one| one.receipt = OnReceipt::Says(json!({ "status": "final", "receipt": {} })));
    client.refresh_validator_status().await;
    client.receipt(&id).await.unwrap().unwrap();
    assert_eq!(network.fakes[0].asked("quorate_receipt"), 1);
    for _ in 0..6 {
        client.receipt(&id).await.unwrap().unwrap();
    }
    assert_eq!(network.fakes[0].asked("quorate_receipt"), 1);
    // Last, but not never.
    network.fakes[1].die().await;
    network.fakes[2].die().await;
    assert!(client.receipt(&id).await.is_err());
    assert_eq!(network.fakes[0].asked("quorate_receipt"), 2);
}
