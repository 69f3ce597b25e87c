//! Two nodes in this process, on in-memory plugins, whose consensus is the test's own.

use std::path::Path;

use quorate::plugin::ConsensusPlugin;
use quorate_kernel::{
    config::Config,
    key::NodeKey,
    node::{Node, NodeOptions, Running},
    registry::Registry,
};
use quorate_testkit::memory::{Hub, MemoryDiscoveryPlugin, MemoryStoragePlugin, MemoryTransportPlugin};

pub(crate) const NAMES: [&str; 2] = ["validator-1", "validator-2"];

/// Starts one of the two with this consensus, which is called so.
pub(crate) fn start(
    hub: &Hub,
    directory: &Path,
    name: &str,
    called: &str,
    consensus: impl ConsensusPlugin + 'static,
) -> Running {
    let registry = Registry::new()
        .with_consensus(consensus)
        .with_storage(MemoryStoragePlugin::new())
        .with_transport(MemoryTransportPlugin::new(hub))
        .with_discovery(MemoryDiscoveryPlugin::new(hub))
        .with_application(quorate_kv::KvPlugin);
    let text = format!(
        "[node]\nname = \"{name}\"\nrole = \"validator\"\ngenesis = \"genesis.toml\"\nkey_file = \"{name}.key\"\n\
         data_dir = \"{name}\"\n[consensus]\nplugin = \"{called}\"\n[storage]\nplugin = \"memory\"\n\
         [transport]\nplugin = \"memory\"\n[discovery]\nplugin = \"memory\"\n[application]\nplugin = \"kv\"\n"
    );
    let config = Config::parse("node.toml", &text, directory, &[]).unwrap();
    let assembly = config.assemble(&registry).unwrap_or_else(|e| panic!("{}", quorate::diagnostics::render(&e)));
    Node::start(assembly, &NodeOptions { new_validator: true, version: "test" }).unwrap()
}

/// The files of a network of two whose consensus is called so.
pub(crate) fn network(called: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut genesis = format!(
        "chain_name = \"test\"\ngenesis_time = 2026-01-01T00:00:00Z\n[consensus]\nplugin = \"{called}\"\nblock_interval_ms = 0\n\
         block_transactions_max = 1\nblock_bytes_max = 65536\nempty_blocks = \"never\"\n\
         [application]\nplugin = \"kv\"\nvalue_bytes_max = 16\n",
    );
    for name in NAMES {
        let key = NodeKey::development(name);
        genesis.push_str(&format!("[[validator]]\nname = \"{name}\"\npublic_key = \"{}\"\n", key.public_key()));
        key.save_new(&directory.path().join(format!("{name}.key"))).unwrap();
    }
    std::fs::write(directory.path().join("genesis.toml"), genesis).unwrap();
    directory
}
