//! Three validators in one process. One stops, the other two go on; it comes back, and has what it missed.

use quorate::{Receipt, TransactionId};
use quorate_examples::{Folder, PATIENCE, Result};
use quorate_kernel::{Registry, Running};
use quorate_poa::PoaPlugin;
use quorate_testkit::memory::{
    Hub, MemoryApplicationPlugin, MemoryDiscoveryPlugin, MemoryStoragePlugin, MemoryTransportPlugin,
};

/// With `crash` a quorum is two of three, whatever the network does; see the table in the README.
const TABLES: &str = r#"
application = { plugin = "memory" }
[consensus]
plugin = "poa"
fault_model = "crash"
block_interval_ms = 0
block_transactions_max = 100
block_bytes_max = 1048576
delta_ms = 50
empty_blocks = "never"
timeout_ms_max = 30000
"#;

const SLOTS: &str = r#"
consensus = { plugin = "poa" }
storage = { plugin = "memory" }
transport = { plugin = "memory" }
discovery = { plugin = "memory" }
application = { plugin = "memory" }
"#;

const NAMES: [&str; 3] = ["validator-1", "validator-2", "validator-3"];

/// Waits until `id` is final at each of `nodes`, and checks that they mean the same block.
async fn final_at_all(id: TransactionId, nodes: &[&Running]) -> Result<Receipt> {
    let mut agreed: Option<Receipt> = None;
    for node in nodes {
        let receipt = tokio::time::timeout(PATIENCE, node.until_final(id)).await??;
        if agreed.as_ref().is_some_and(|other| other.block_hash != receipt.block_hash) {
            return Err("two validators have different final blocks".into());
        }
        agreed = Some(receipt);
    }
    agreed.ok_or_else(|| "no validator was asked".into())
}

#[tokio::main]
async fn main() -> Result<()> {
    // One registry for all: the memory plugins know the nodes apart by their keys and folders.
    let hub = Hub::new();
    let registry = Registry::new()
        .with_consensus(PoaPlugin)
        .with_storage(MemoryStoragePlugin::new())
        .with_transport(MemoryTransportPlugin::new(&hub))
        .with_discovery(MemoryDiscoveryPlugin::new(&hub))
        .with_application(MemoryApplicationPlugin);
    let folder = Folder::new(TABLES, &NAMES)?;
    let [first, second, third] = NAMES.map(|name| folder.start(name, SLOTS, &registry));
    let (first, second, third) = (first?, second?, third?);

    let id = first.handle().submit("all three are up").await?;
    let receipt = final_at_all(id, &[&first, &second, &third]).await?;
    println!("block {} is final at all three: {}", receipt.header.height, receipt.block_hash);

    third.stop().await;
    // Where the turn is that of the missing one, the others wait for it in vain, and decide one round later.
    for entry in ["one is away", "two are a quorum", "so it goes on"] {
        let id = first.handle().submit(entry).await?;
        let receipt = final_at_all(id, &[&first, &second]).await?;
        println!("block {} is final at two, while validator-3 is away", receipt.header.height);
    }

    // It starts from its own store and key, asks the others for the blocks in between, and checks every one of them.
    let third = folder.start("validator-3", SLOTS, &registry)?;
    let id = third.handle().submit("back again").await?;
    let receipt = final_at_all(id, &[&first, &second, &third]).await?;
    println!("block {} is final at all three: validator-3 is back", receipt.header.height);
    let log = third.handle().query("count", "").await?;
    println!("validator-3's log: {}", String::from_utf8_lossy(&log));
    for node in [first, second, third] {
        node.stop().await;
    }
    Ok(())
}
