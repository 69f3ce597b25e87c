//! The kernel without sockets and files: three validators in one process agree, and go on without one.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may panic")]

#[path = "support/in_memory.rs"]
mod in_memory;

use in_memory::{NAMES, Network, block_hash, status, submit, until_at, until_final};
use quorate::{Height, node::NodeHandle};
use quorate_kernel::node::Running;
use quorate_testkit::memory::MemoryStoragePlugin;

async fn agree_and_go_on(fault_model: &str) {
    let network = Network::new(fault_model, MemoryStoragePlugin::new());
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
    let back = network.start(NAMES[2]);
    let id = submit(&back.handle(), network.write(2, 0)).await;
    until_final(&back.handle(), id).await;
    back.stop().await;
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_model_agrees_and_goes_on_without_one() {
    agree_and_go_on("crash").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn byzantine_sync_model_agrees_and_goes_on_without_one() {
    agree_and_go_on("byzantine-sync").await;
}
