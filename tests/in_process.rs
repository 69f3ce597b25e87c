//! The kernel without sockets and files: three validators in one process agree, go on without one, verify on the state, and catch up.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may panic")]

#[path = "in_process/catch_up.rs"]
mod catch_up;
#[path = "support/in_memory.rs"]
mod in_memory;
#[path = "in_process/peers.rs"]
mod peers;
#[path = "in_process/pruned_ledger.rs"]
mod pruned_ledger;
#[path = "in_process/pruning.rs"]
mod pruning;
#[path = "in_process/verification.rs"]
mod verification;

use std::time::Duration;

use in_memory::{NAMES, Network, block_hash, status, submit, until_at, until_final};
use quorate::{Height, node::NodeHandle, plugin::StoragePlugin};
use quorate_kernel::node::Running;
use quorate_testkit::memory::MemoryStoragePlugin;

async fn agree_and_go_on(fault_model: &str, storage: impl StoragePlugin + 'static) {
    let network = Network::new(fault_model, storage);
    let nodes: Vec<Running> = NAMES.iter().map(|name| network.start(name)).collect();
    let handles: Vec<NodeHandle> = nodes.iter().map(Running::handle).collect();
    for nonce in 0..10 {
        let id = submit(&handles[nonce as usize % 3], network.write(1, nonce)).await;
        for handle in &handles {
            until_final(handle, id).await;
        }
    }
    let lowest = status(&handles[0]).await.height;
    for height in 1..=lowest.0 {
        let first = block_hash(&handles[0], Height(height)).await;
        for handle in &handles {
            until_at(handle, Height(height)).await;
            assert_eq!(block_hash(handle, Height(height)).await, first);
        }
    }
    let mut nodes = nodes;
    nodes.pop().unwrap().stop().await;
    for nonce in 10..13 {
        let id = submit(&handles[0], network.write(1, nonce)).await;
        until_final(&handles[1], id).await;
    }
    // Its handle lives on, its store does not: the same process opens it again.
    assert_eq!(handles[2].status().await.unwrap_err().0, "this node has no open chain");
    let back = network.start(NAMES[2]);
    let id = submit(&back.handle(), network.write(2, 0)).await;
    let waited = tokio::time::timeout(Duration::from_secs(60), back.until_final(id)).await;
    assert_eq!(waited.unwrap().unwrap().transaction_id, id);
    back.stop().await;
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_model_agrees_and_goes_on_without_one() {
    agree_and_go_on("crash", MemoryStoragePlugin::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn byzantine_sync_model_agrees_and_goes_on_without_one() {
    agree_and_go_on("byzantine-sync", MemoryStoragePlugin::new()).await;
}

/// A node once kept its store open until the runtime ended, so that nobody in the same process could open it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_node_lets_go_of_its_store() {
    agree_and_go_on("crash", quorate_storage_redb::RedbPlugin).await;
}

/// A service that could not be made once left the chain open and its loop running.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_start_leaves_nothing_running() {
    let network = Network::new("crash", quorate_storage_redb::RedbPlugin);
    let error = network.try_start_with(NAMES[0], "[[service]]\nplugin = \"refuses\"\n").map(drop).unwrap_err();
    assert_eq!(error.to_string(), "[service] plugin \"refuses\": it refuses");
    // The same key and the same store, at once.
    network.start(NAMES[0]).stop().await;
}
