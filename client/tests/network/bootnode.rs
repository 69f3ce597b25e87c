//! Validators that a bootnode names.

use std::{sync::Arc, time::Duration};

use quorate::PublicKey;
use quorate_client::{Endpoint, Health, Settings};
use serde_json::{Value, json};

use crate::{
    chain::{name, public_key},
    fake::{Fake, Manner},
    network::{Network, eventually, of},
};

fn record(key: PublicKey, fake: &Fake) -> Value {
    json!({
        "node_id": "a name of its own", "public_key": key, "p2p_url": "tcp://127.0.0.1:1", "rpc_url": fake.url(),
        "sequence": 1, "signature": "0x",
    })
}

/// A bootnode which knows all three.
fn bootnode(network: &Network) -> Fake {
    let bootnode = Fake::start("bootnode", Arc::clone(&network.chain));
    let peers = network.fakes.iter().enumerate().map(|(at, fake)| record(public_key(at), fake)).collect();
    bootnode.be(|one| one.peers = peers);
    bootnode
}

fn settings(network: &Network, bootnode: &Fake) -> Settings {
    Settings { validators: Vec::new(), bootnode: Some(bootnode.url()), ..network.settings() }
}

#[tokio::test]
async fn a_bootnode_is_enough_to_find_the_validators() {
    let network = Network::of(1);
    let bootnode = bootnode(&network);
    let client = network.client_with(settings(&network, &bootnode));
    assert!(client.submit(network.chain.put(1, 0)).await.is_err(), "nobody is known yet");
    let found = client.refresh_validator_status().await;
    let names: Vec<&str> = found.iter().map(|one| one.node_id.as_str()).collect();
    assert_eq!(names, ["validator-1", "validator-2", "validator-3"], "as genesis names them");
    assert!(found.iter().all(|one| one.status == Health::Healthy && one.p2p_url.is_some()));
    client.submit(network.chain.put(1, 0)).await.unwrap();
    // A second look adds nobody twice.
    assert_eq!(client.refresh_validator_status().await.len(), 3);
}

#[tokio::test]
async fn only_keys_of_genesis_count() {
    let network = Network::of(1);
    let bootnode = bootnode(&network);
    let stranger = Fake::start("stranger", Arc::clone(&network.chain));
    bootnode.be(|one| {
        one.peers.truncate(1);
        one.peers.push(record(PublicKey::new([77; 32]), &stranger));
        // Keys of genesis, at what is no URL.
        for (at, url) in [(1, ""), (2, "ftp://127.0.0.1")] {
            let mut wrong = record(public_key(at), &stranger);
            wrong["rpc_url"] = json!(url);
            one.peers.push(wrong);
        }
    });
    let client = network.client_with(settings(&network, &bootnode));
    let found = client.refresh_validator_status().await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(stranger.seen().is_empty());
}

#[tokio::test]
async fn nonsense_of_a_bootnode_changes_nothing() {
    let network = Network::of(1);
    let bootnode = bootnode(&network);
    let client = network.client_with(Settings { bootnode: Some(bootnode.url()), ..network.settings() });
    for manner in [Manner::Garbage, Manner::Status500] {
        bootnode.be(|one| one.manner = manner);
        assert_eq!(client.refresh_validator_status().await.len(), 3);
    }
    bootnode.be(|one| (one.manner, one.peers) = (Manner::Answers, vec![json!({ "node_id": 1 })]));
    assert_eq!(client.refresh_validator_status().await.len(), 3);
    client.submit(network.chain.put(1, 0)).await.unwrap();
}

#[tokio::test]
async fn a_validator_which_moved_is_asked_at_its_new_address() {
    let network = Network::of(1);
    let bootnode = bootnode(&network);
    let client = network.client_with(settings(&network, &bootnode));
    client.refresh_validator_status().await;
    let moved = Fake::start("moved", Arc::clone(&network.chain));
    network.fakes[1].die().await;
    bootnode.be(|one| one.peers[1] = record(public_key(1), &moved));
    client.refresh_validator_status().await;
    let now = of(&client, "validator-2");
    assert_eq!((now.rpc_url, now.status), (moved.url(), Health::Healthy));
    assert_eq!(client.validator_status().len(), 3);
    for nonce in 0..3 {
        client.submit(network.chain.put(1, nonce)).await.unwrap();
    }
    assert_eq!(moved.asked("quorate_submit"), 1);
}

/// The settings have the last word on where their validators are.
#[tokio::test]
async fn what_is_configured_does_not_move() {
    let network = Network::of(1);
    let bootnode = bootnode(&network);
    let elsewhere = Fake::start("elsewhere", Arc::clone(&network.chain));
    bootnode.be(|one| one.peers[0] = record(public_key(0), &elsewhere));
    let known = vec![Endpoint::new(name(0), network.fakes[0].url()), Endpoint::new("mine", network.fakes[1].url())];
    let client = network.client_with(Settings { validators: known, ..settings(&network, &bootnode) });
    let found = client.refresh_validator_status().await;
    let names: Vec<&str> = found.iter().map(|one| one.node_id.as_str()).collect();
    assert_eq!(names, ["validator-1", "mine", "validator-3"], "the second is known under another name");
    assert_eq!(found[0].rpc_url, network.fakes[0].url());
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn a_bootnode_that_comes_later_is_found_by_the_watch() {
    let network = Network::of(1);
    let bootnode = bootnode(&network);
    bootnode.die().await;
    let settings = Settings { probe_interval: Duration::from_millis(20), ..settings(&network, &bootnode) };
    let client = network.client_with(settings);
    let watch = tokio::spawn({
        let client = client.clone();
        async move { client.watch().await }
    });
    assert_eq!(client.refresh_validator_status().await, []);
    bootnode.listen();
    let all_well = || {
        let all = client.validator_status();
        all.len() == 3 && all.iter().all(|one| one.status == Health::Healthy)
    };
    eventually("all are found", all_well).await;
    // It is not needed any more.
    bootnode.die().await;
    client.submit(network.chain.put(1, 0)).await.unwrap();
    watch.abort();
}

/// One that holds the question holds nobody else up.
#[tokio::test]
async fn a_silent_bootnode_does_not_delay_a_look_at_the_validators() {
    let network = Network::of(1);
    let bootnode = bootnode(&network);
    bootnode.be(|one| one.delay = Duration::from_secs(60));
    let settings = Settings { attempt_timeout: Duration::from_secs(2), ..network.settings() };
    let client = network.client_with(Settings { bootnode: Some(bootnode.url()), ..settings });
    network.fakes[0].be(|one| one.delay = Duration::from_secs(60));
    let begun = std::time::Instant::now();
    client.refresh_validator_status().await;
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(3500), "{took:?}");
    assert_eq!(of(&client, "validator-2").status, Health::Healthy);
}
