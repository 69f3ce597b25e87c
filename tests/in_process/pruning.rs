//! Networks in which some nodes keep only their last blocks: they vote on, say what they no longer have, and the others find it elsewhere.

use std::time::Duration;

use quorate::{
    Height,
    node::{BlockId, Health, NodeHandle, NodeStatus, Pruned, Request, Response, TransactionState},
};
use quorate_kernel::node::{Node, NodeOptions, Running, StartError};
use quorate_storage_redb::RedbPlugin;
use quorate_testkit::memory::MemoryStoragePlugin;

use super::in_memory::{NAMES, Network, block_hash, status, submit, until_at, until_final};

fn try_start(network: &Network, name: &str, keep_blocks: Option<u64>, tables: &str) -> Result<Running, StartError> {
    let mut assembly = network.assembly(name, tables);
    assembly.node.keep_blocks = keep_blocks;
    Node::start(assembly, &NodeOptions { new_validator: true, version: "test" })
}

fn start(network: &Network, name: &str, keep_blocks: Option<u64>) -> Running {
    try_start(network, name, keep_blocks, "").unwrap()
}

/// Has the network make a block of each of these numbers' transaction, and all nodes have it.
async fn blocks(network: &Network, nodes: &[&Running], numbers: std::ops::Range<u64>) {
    for number in numbers {
        let first = nodes[0].handle();
        let id = submit(&first, network.write(1, number)).await;
        for node in nodes {
            tokio::time::timeout(Duration::from_secs(60), node.until_final(id)).await.unwrap().unwrap();
        }
    }
}

async fn range(node: &NodeHandle, from: u64) -> Response {
    node.request(Request::BlockRange { from: Height(from), bytes_max: 1 << 20 }).await
}

async fn until(node: &NodeHandle, what: &str, is: impl Fn(&NodeStatus) -> bool) -> NodeStatus {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let found = status(node).await;
        if is(&found) {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "never {what}: {found:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn validators_that_keep_few_blocks_vote_on_and_say_what_they_no_longer_have() {
    const KEPT: u64 = 8;
    let network = Network::new("crash", RedbPlugin);
    let nodes =
        [start(&network, NAMES[0], Some(KEPT)), start(&network, NAMES[1], None), start(&network, NAMES[2], Some(KEPT))];
    blocks(&network, &nodes.each_ref(), 0..30).await;
    let (pruned, archive) = (nodes[0].handle(), nodes[1].handle());
    let found = status(&pruned).await;
    let (tip, from) = (found.height.0, found.blocks_from.0);
    assert_eq!((found.status, from), (Health::Ok, tip + 1 - KEPT));
    assert_eq!(status(&archive).await.blocks_from, Height(1));

    let first_hash = block_hash(&archive, Height(1)).await;
    let said = Pruned { height: Height(1), blocks_from: Height(from) };
    for id in [BlockId::Height(Height(1)), BlockId::Hash(first_hash)] {
        match pruned.request(Request::Block(id)).await {
            Response::Pruned(pruned) => assert_eq!(pruned, said),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(range(&pruned, 0).await, Response::Pruned(pruned) if pruned == said));
    assert!(matches!(range(&pruned, from).await, Response::Blocks(blocks) if blocks.len() as u64 == KEPT));
    for height in from..=tip {
        assert_eq!(block_hash(&pruned, Height(height)).await, block_hash(&archive, Height(height)).await);
    }
    for never in [BlockId::Height(Height(tip + 1)), BlockId::Height(Height(0)), BlockId::Hash(quorate::Hash::ZERO)] {
        assert!(matches!(pruned.request(Request::Block(never)).await, Response::Block(None)), "{never:?}");
    }

    // A transaction whose block is gone is final, is not taken again, and has its receipt elsewhere.
    let id = submit(&pruned, network.write(1, 0)).await;
    assert_eq!(status(&pruned).await.pool.count, 0, "the same bytes are known");
    match pruned.transaction(id).await.unwrap() {
        TransactionState::Pruned(pruned) => assert_eq!(pruned, said),
        other => panic!("{other:?}"),
    }
    assert_eq!(until_final(&archive, id).await, Height(1));
    assert!(nodes[0].until_final(id).await.unwrap_err().0.contains("was removed here"));
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_joiner_waits_for_a_node_that_keeps_all_and_catches_up_from_it() {
    let network = Network::new("crash", MemoryStoragePlugin::new());
    let (pruned, archive) = (start(&network, NAMES[0], Some(5)), start(&network, NAMES[1], None));
    blocks(&network, &[&pruned, &archive], 0..20).await;
    let tip = status(&archive.handle()).await.height;
    archive.stop().await;

    let late = start(&network, NAMES[2], None);
    let stuck =
        until(&late.handle(), "stuck", |status| status.detail.as_ref().is_some_and(|why| why.contains("from"))).await;
    assert_eq!((stuck.height, stuck.status), (Height(0), Health::Syncing));
    let why = stuck.detail.unwrap();
    let from = status(&pruned.handle()).await.blocks_from;
    assert!(why.contains(&format!("every connected peer has blocks only from {from} on")), "{why}");

    let archive = start(&network, NAMES[1], None);
    until_at(&late.handle(), tip).await;
    blocks(&network, &[&late, &pruned, &archive], 20..22).await;
    assert_eq!(block_hash(&late.handle(), Height(1)).await, block_hash(&archive.handle(), Height(1)).await);
    assert_eq!(status(&late.handle()).await.detail, None);
    for node in [late, pruned, archive] {
        node.stop().await;
    }
}

/// What a node that found only such peers is told to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_begins_with_a_backup_of_one_that_keeps_few_blocks() {
    let network = Network::new("crash", RedbPlugin);
    let nodes = [start(&network, NAMES[0], Some(5)), start(&network, NAMES[1], Some(5))];
    blocks(&network, &nodes.each_ref(), 0..20).await;
    let directory = network.assembly(NAMES[2], "").node.data_dir;
    let backup = Request::Backup { directory: directory.display().to_string() };
    assert!(matches!(nodes[0].handle().request(backup).await, Response::BackedUp(height) if height >= Height(20)));
    let third = start(&network, NAMES[2], None);
    let begun = status(&third.handle()).await;
    assert!(begun.height >= Height(20) && begun.blocks_from > Height(1), "{begun:?}");
    blocks(&network, &[&third, &nodes[0], &nodes[1]], 20..30).await;
    let found = status(&third.handle()).await;
    assert_eq!(found.blocks_from, begun.blocks_from, "it keeps all that it has");
    third.stop().await;
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_reads_every_block_runs_beside_no_chain_that_lacks_some() {
    const READER: &str = "[[service]]\nplugin = \"reader\"\n";
    let network = Network::new("crash", RedbPlugin);
    let nodes = [start(&network, NAMES[0], Some(5)), start(&network, NAMES[1], None)];
    blocks(&network, &nodes.each_ref(), 0..10).await;
    let [pruned, archive] = nodes;
    let from = status(&pruned.handle()).await.blocks_from;
    pruned.stop().await;
    archive.stop().await;
    let error = try_start(&network, NAMES[0], None, READER).map(drop).unwrap_err();
    let directory = network.assembly(NAMES[0], "").node.data_dir;
    assert_eq!(
        error.to_string(),
        format!(
            "the service `reader` reads the chain from block 1 on, but data_dir {} has it from block {from} on; use a data_dir that was never pruned, or a copy of one",
            directory.display()
        )
    );
    try_start(&network, NAMES[1], None, READER).unwrap().stop().await;
    // Nothing of the node that did not start is left.
    start(&network, NAMES[0], None).stop().await;
}
