//! Calls may be dropped at any point, and no validator is asked too much at a time.

use std::time::Duration;

use quorate_client::Settings;

use crate::network::{Network, eventually};

fn in_flight(client: &quorate_client::Client) -> usize {
    client.validator_status().iter().map(|one| one.in_flight).sum()
}

#[tokio::test]
async fn no_validator_is_asked_more_at_a_time_than_the_settings_say() {
    let network = Network::of(1);
    let client = network.client_with(Settings { calls_per_validator_max: 3, ..network.settings() });
    network.fakes.iter().for_each(|fake| fake.be(|one| one.delay = Duration::from_millis(30)));
    let id = network.chain.id(&network.chain.put(100, 0));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..60 {
        let client = client.clone();
        calls.spawn(async move { client.receipt(&id).await });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap().unwrap().unwrap();
    }
    let most: Vec<usize> = network.fakes.iter().map(crate::fake::Fake::most).collect();
    assert!(most.iter().all(|most| (1..=3).contains(most)), "{most:?}");
    assert_eq!(in_flight(&client), 0);
}

#[tokio::test]
async fn a_dropped_call_gives_back_what_it_held() {
    let network = Network::of(1);
    let client = network.client_with(Settings { calls_per_validator_max: 1, ..network.settings() });
    let id = network.chain.id(&network.chain.put(100, 0));
    network.fakes.iter().for_each(|fake| fake.be(|one| one.delay = Duration::from_secs(60)));
    for round in 1..=3 {
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let client = client.clone();
            calls.spawn(async move { client.receipt(&id).await });
        }
        calls.spawn({
            let (client, transaction) = (client.clone(), network.chain.put(1, 0));
            async move { client.submit(transaction).await.map(|_| None).map_err(|_| unreachable!()) }
        });
        eventually("all are asked", || network.fakes.iter().map(crate::fake::Fake::now).sum::<usize>() == 3).await;
        assert_eq!(in_flight(&client), 3, "{round}");
        calls.shutdown().await;
        assert_eq!(in_flight(&client), 0, "{round}");
        eventually("the connections are closed", || network.fakes.iter().all(|fake| fake.now() == 0)).await;
    }
    // Whoever hangs up has no complaint.
    assert!(client.validator_status().iter().all(|one| one.failures == 0));
    network.fakes.iter().for_each(|fake| fake.be(|one| one.delay = Duration::ZERO));
    client.receipt(&id).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_dropped_look_and_a_dropped_check_harm_nothing() {
    let network = Network::of(3);
    let client = network.client();
    network.fakes.iter().for_each(|fake| fake.be(|one| one.delay = Duration::from_secs(60)));
    for _ in 0..3 {
        let short = Duration::from_millis(50);
        assert!(tokio::time::timeout(short, client.refresh_validator_status()).await.is_err());
        assert!(tokio::time::timeout(short, client.chain_state()).await.is_err());
        assert!(tokio::time::timeout(short, client.verify_integrity()).await.is_err());
    }
    eventually("nothing is under way", || in_flight(&client) == 0).await;
    network.fakes.iter().for_each(|fake| fake.be(|one| one.delay = Duration::ZERO));
    assert!(client.verify_integrity().await.unwrap().valid);
    assert!(client.chain_state().await.unwrap().agree);
}
