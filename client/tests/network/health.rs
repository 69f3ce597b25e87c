//! How validators stand: in a word, and why.

use std::time::Duration;

use quorate_client::{Health, Settings};
use serde_json::json;

use crate::{
    chain::Chain,
    fake::{Behaviour, Fake, Manner, OnReceipt},
    network::{Network, health, lies, of},
};

/// How the first of three stands after a look, when it behaves like this.
async fn stands(trouble: impl FnOnce(&mut Behaviour)) -> (Health, String) {
    let network = Network::of(5);
    let settings = Settings {
        slow_after: Duration::from_millis(700),
        attempt_timeout: Duration::from_secs(2),
        ..network.settings()
    };
    let client = network.client_with(settings);
    network.fakes[0].be(trouble);
    client.refresh_validator_status().await;
    for other in ["validator-2", "validator-3"] {
        assert_eq!(health(&client, other), (Health::Healthy, String::new()));
    }
    health(&client, "validator-1")
}

#[tokio::test]
async fn a_word_and_a_reason_for_each() {
    assert_eq!(stands(|_| {}).await, (Health::Healthy, String::new()));
    assert_eq!(stands(|one| one.height = Some(3)).await.0, Health::Healthy);
    let behind = stands(|one| one.height = Some(2)).await;
    assert_eq!(behind, (Health::Degraded, "behind: it is at height 2, others at 5".into()));
    let says = vec![("status", json!("syncing")), ("detail", json!("2 of 5 blocks"))];
    let syncing = stands(|one| one.status = says).await;
    assert_eq!(syncing, (Health::Degraded, "it says `syncing`: 2 of 5 blocks".into()));
    let (word, why) = stands(|one| one.delay = Duration::from_secs(1)).await;
    assert!(word == Health::Degraded && why.starts_with("slow: it takes 1"), "{word:?} {why}");
    let (word, why) = stands(|one| one.delay = Duration::from_secs(10)).await;
    assert!(word == Health::Degraded && why.starts_with("no answer within"), "{word:?} {why}");
    let garbage = stands(|one| one.manner = Manner::Garbage).await;
    assert_eq!(garbage, (Health::Degraded, "it answers with what is not JSON".into()));
    let stopping = stands(|one| one.manner = Manner::Unavailable).await;
    assert_eq!(stopping, (Health::Degraded, "unavailable: it is stopping".into()));
    let empty = stands(|one| one.status = vec![("height", json!("high"))]).await;
    assert_eq!(empty, (Health::Degraded, "a status without height".into()));
}

#[tokio::test]
async fn the_dead_and_those_never_asked_are_unreachable() {
    let network = Network::of(5);
    let client = network.client();
    assert_eq!(health(&client, "validator-1"), (Health::Unreachable, "not asked yet".into()));
    network.fakes[0].die().await;
    let all = client.refresh_validator_status().await;
    let dead = &all[0];
    assert_eq!((dead.status, dead.height, dead.failures, dead.last_seen_ms), (Health::Unreachable, None, 1, None));
    assert!(dead.reason.as_ref().unwrap().contains("refused"), "{dead:?}");
    let well = &all[1];
    assert_eq!((well.height, well.hash, well.quorum), (Some(5), Some(network.chain.hash(5)), Some(2)));
    assert_eq!((well.failures, well.in_flight), (0, 0));
    assert!(well.latency_ms.is_some() && well.last_seen_ms.is_some() && well.rpc_url == network.fakes[1].url());
    let json = serde_json::to_value(&all).unwrap();
    assert_eq!((&json[0]["status"], &json[1]["status"]), (&json!("unreachable"), &json!("healthy")));
}

#[tokio::test]
async fn a_validator_that_was_caught_is_degraded_and_its_lie_is_the_reason() {
    let network = Network::of(1);
    let settings = Settings { distrust: Duration::from_millis(300), ..network.settings() };
    let client = network.client_with(settings);
    let id = network.chain.id(&network.chain.put(100, 0));
    network.fakes[0].be(|one| one.receipt = OnReceipt::Says(json!({ "status": "final", "receipt": {} })));
    client.receipt(&id).await.unwrap().unwrap();
    let noted = lies(&client, "validator-1");
    assert_eq!(noted.len(), 1);
    let (word, why) = health(&client, "validator-1");
    if word != Health::Healthy {
        assert_eq!((word, &why), (Health::Degraded, &noted[0]));
    }
    network.fakes[0].be(|one| one.receipt = OnReceipt::Truth);
    crate::network::eventually("it is trusted again", || of(&client, "validator-1").status == Health::Healthy).await;
    assert_eq!(lies(&client, "validator-1"), noted, "what was noted stays");
}

/// It is not the network's, whatever it says of itself.
#[tokio::test]
async fn a_validator_of_another_network_is_caught_and_its_height_counts_for_nobody() {
    let network = Network::of(5);
    let other = Chain::new("another");
    other.grow(1, 20);
    let stranger = Fake::start("stranger", other);
    let mut settings = network.settings();
    settings.validators.truncate(1);
    settings.validators.push(quorate_client::Endpoint::new("stranger", stranger.url()));
    let client = network.client_with(settings);
    client.refresh_validator_status().await;
    let (word, why) = health(&client, "stranger");
    assert!(word == Health::Degraded && why.starts_with("it is of another network: 0x"), "{word:?} {why}");
    assert_eq!(lies(&client, "stranger"), [why]);
    assert_eq!(health(&client, "validator-1"), (Health::Healthy, String::new()));
}

/// Nothing proves a height; one voice must not draw everybody to whoever raises it.
#[tokio::test]
async fn one_voice_for_a_great_height_makes_nobody_else_degraded() {
    let network = Network::of(5);
    let client = network.client();
    network.fakes[0].be(|one| one.status = vec![("height", json!(u64::MAX))]);
    client.refresh_validator_status().await;
    for other in ["validator-2", "validator-3"] {
        assert_eq!(health(&client, other), (Health::Healthy, String::new()));
    }
    network.fakes[1].be(|one| one.height = Some(1));
    network.fakes[0].be(|one| one.status.clear());
    client.refresh_validator_status().await;
    assert_eq!(health(&client, "validator-2").1, "behind: it is at height 1, others at 5");
}

/// A look lasts as long as one attempt, however many are silent.
#[tokio::test]
async fn a_look_at_silent_validators_is_bounded() {
    let network = Network::of(1);
    let client = network.client_with(Settings { attempt_timeout: Duration::from_millis(500), ..network.settings() });
    network.fakes.iter().for_each(|fake| fake.be(|one| one.delay = Duration::from_secs(60)));
    let begun = std::time::Instant::now();
    client.refresh_validator_status().await;
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(500) && took < Duration::from_secs(3), "{took:?}");
    client.refresh_validator_status().await;
    assert_eq!(of(&client, "validator-1").status, Health::Unreachable, "twice in a row");
}

/// What a validator says is cut before it is kept.
#[tokio::test]
async fn what_is_kept_of_a_liar_is_short() {
    let network = Network::of(1);
    let client = network.client();
    let long = "x".repeat(100_000);
    let receipt = json!({ long.as_str(): 1 });
    network.fakes[0].be(|one| one.receipt = OnReceipt::Says(json!({ "status": "final", "receipt": receipt })));
    network.fakes[1].be(|one| one.status = vec![("status", json!(long)), ("detail", json!(long))]);
    client.receipt(&network.chain.id(&network.chain.put(100, 0))).await.unwrap().unwrap();
    client.refresh_validator_status().await;
    assert!(lies(&client, "validator-1").iter().all(|one| one.len() < 1000));
    assert!(!lies(&client, "validator-1").is_empty());
    assert!(health(&client, "validator-2").1.len() < 1000);
}
