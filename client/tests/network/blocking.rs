//! The same without a runtime of one's own.

use std::time::Duration;

use quorate_client::{Confirmation, Health, Settings, SettingsError, SubmitError, blocking};

use crate::{
    fake::OnReceipt,
    network::{Network, PATIENCE},
};

/// The fakes need a runtime; the client has its own.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn network(runtime: &tokio::runtime::Runtime, blocks: u64) -> (Network, blocking::Client) {
    let network = runtime.block_on(async { Network::of(blocks) });
    let client = blocking::Client::new(network.settings(), network.chain.rules.clone()).unwrap();
    (network, client)
}

#[test]
fn everything_works_without_a_runtime() {
    let runtime = runtime();
    let (network, client) = network(&runtime, 3);
    assert!(client.refresh_validator_status().iter().all(|one| one.status == Health::Healthy));
    let transaction = network.chain.put(1, 0);
    let accepted = client.submit(transaction.clone()).unwrap();
    assert!(matches!(client.confirmation_status(&accepted.id), Ok(Confirmation::Pending(_))));
    assert_eq!(client.receipt(&accepted.id), Ok(None));
    assert!(client.wait_for_confirmation(&accepted.id, Duration::from_millis(100)).is_err());
    network.finish();
    let receipt = client.wait_for_confirmation(&accepted.id, PATIENCE).unwrap();
    assert_eq!((receipt.transaction, receipt.header.height.0), (transaction, 4));
    assert!(client.chain_state().unwrap().agree);
    let integrity = client.verify_integrity().unwrap();
    assert!(integrity.valid && integrity.height == 4);
    assert!(client.election_results(&quorate::Hash::ZERO).is_err());
    assert_eq!(client.disagreements(), []);
}

#[test]
fn it_fails_over_and_notes_liars() {
    let runtime = runtime();
    let (network, client) = network(&runtime, 1);
    let id = network.chain.id(&network.chain.put(100, 0));
    network.fakes[0].be(|one| one.receipt = OnReceipt::Says(serde_json::json!({ "status": "final" })));
    runtime.block_on(network.fakes[1].die());
    client.receipt(&id).unwrap().unwrap();
    assert_eq!(client.disagreements().len(), 1);
}

/// Between two calls nobody looks after its connections.
#[test]
fn a_restart_between_two_calls_is_not_noticed() {
    let runtime = runtime();
    let (network, _) = network(&runtime, 1);
    let one = Settings { validators: vec![network.endpoints().remove(0)], ..network.settings() };
    let client = blocking::Client::new(one, network.chain.rules.clone()).unwrap();
    for nonce in 0..4 {
        client.submit(network.chain.put(1, nonce)).unwrap();
        runtime.block_on(network.fakes[0].die());
        network_listens(&runtime, &network);
    }
}

fn network_listens(runtime: &tokio::runtime::Runtime, network: &Network) {
    runtime.block_on(async { network.fakes[0].listen() });
}

#[test]
fn it_can_be_used_from_threads_one_after_the_other_and_at_once() {
    let runtime = runtime();
    let (network, client) = network(&runtime, 0);
    std::thread::scope(|scope| {
        for seed in 1..=4 {
            let (client, network) = (&client, &network);
            scope.spawn(move || {
                for nonce in 0..5 {
                    client.submit(network.chain.put(seed, nonce)).unwrap();
                }
            });
        }
    });
    assert_eq!(network.fakes.iter().map(|fake| fake.pool().len()).sum::<usize>(), 20);
}

#[test]
fn errors_are_those_of_the_other_client() {
    let runtime = runtime();
    let (network, client) = network(&runtime, 0);
    runtime.block_on(async {
        for fake in &network.fakes {
            fake.die().await;
        }
    });
    assert!(matches!(client.submit(network.chain.put(1, 0)), Err(SubmitError::Client(_))));
    let nobody = blocking::Client::new(Settings::of([]), network.chain.rules.clone()).unwrap_err();
    assert!(matches!(nobody, blocking::NewError::Settings(SettingsError::Nobody)));
}
