//! A node from four in-memory plugins and a consensus. It opens no socket, and keeps its chain in memory.

use std::{error::Error, fs, time::Duration};

use quorate::plugin::SetupError;
use quorate_kernel::{Assembly, Node, NodeKey, NodeOptions, Registry};
use quorate_solo::SoloPlugin;
use quorate_testkit::memory::*;

/// What all nodes of a network agree on. Here it is one validator, which seals a block as soon as there is work.
const GENESIS: &str = r#"
chain_name = "four-plugins"
genesis_time = 2026-01-01T00:00:00Z
validator = [{ name = "validator-1", public_key = "KEY" }]
application = { plugin = "memory" }
[consensus]
plugin = "solo"
block_interval_ms = 0
block_transactions_max = 100
block_bytes_max = 1048576
empty_blocks = "never"
"#;

/// What one node is: a plugin, by name, in each slot.
const NODE: &str = r#"
node = { name = "validator-1", role = "validator", genesis = "genesis.toml", key_file = "node.key", data_dir = "data" }
consensus = { plugin = "solo" }
storage = { plugin = "memory" }
transport = { plugin = "memory" }
discovery = { plugin = "memory" }
application = { plugin = "memory" }
"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let hub = Hub::new(); // where the nodes of one process meet
    let registry = Registry::new()
        .with_consensus(SoloPlugin)
        .with_storage(MemoryStoragePlugin::new())
        .with_transport(MemoryTransportPlugin::new(&hub))
        .with_discovery(MemoryDiscoveryPlugin::new(&hub))
        .with_application(MemoryApplicationPlugin);

    // Even this node has a key in a file; its guard is kept beside it and never lets it sign twice differently.
    let folder = tempfile::tempdir()?;
    let (key, file) = (NodeKey::development("validator-1"), folder.path().join("node.toml"));
    key.save_new(&folder.path().join("node.key"))?;
    fs::write(folder.path().join("genesis.toml"), GENESIS.replace("KEY", &key.public_key().to_string()))?;
    fs::write(&file, NODE)?;

    let assembly = Assembly::load(&file, &[], &registry).map_err(SetupError::from)?;
    let node = Node::start(assembly, &NodeOptions { new_validator: true, version: "example" })?;
    let id = node.handle().submit("hello").await?;
    println!("submitted {id}: it is pending");
    let receipt = tokio::time::timeout(Duration::from_secs(30), node.until_final(id)).await??;
    println!("final in block {} {}", receipt.header.height, receipt.block_hash);
    println!("the log: {}", String::from_utf8_lossy(&node.handle().query("log", "").await?));
    node.stop().await;
    Ok(())
}
