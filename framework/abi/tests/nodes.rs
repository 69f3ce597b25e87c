//! Nodes whose plugins come from libraries: they make the same blocks as others, and stop with a sentence when a plugin fails.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests may panic")]
#![expect(dead_code, reason = "not every test file uses all of the support")]

mod support;

use std::time::Duration;

use quorate::{
    Bytes, Height, TransactionId,
    node::{BlockId, Health, NodeHandle, NodeStatus, Request, Response, TransactionState},
};
use quorate_abi::{
    Slot,
    host::{self, Provided},
};
use quorate_kernel::{
    config::Config,
    key::NodeKey,
    library::{LibraryFile, LibraryLoader, LibraryPlugin},
    node::{Node, NodeOptions, Running},
    registry::Registry,
};
use quorate_testkit::memory::{Hub, MemoryDiscoveryPlugin, MemoryStoragePlugin, MemoryTransportPlugin};
use support::{built, compile, source};

const NAMES: [&str; 3] = ["validator-1", "validator-2", "validator-3"];

const PATIENCE: Duration = Duration::from_secs(60);

struct Loader;

impl LibraryLoader for Loader {
    fn load(&self, library: &LibraryFile, slot: &'static str, plugin: &str) -> Result<LibraryPlugin, String> {
        let loaded = host::load(&library.path, &library.shown, None).map_err(|error| error.to_string())?;
        let slot = Slot::from_word(slot).unwrap();
        match loaded.plugin(&library.shown, slot, plugin).map_err(|error| error.to_string())? {
            Provided::Consensus(plugin) => Ok(LibraryPlugin::Consensus(plugin)),
            Provided::Storage(plugin) => Ok(LibraryPlugin::Storage(plugin)),
            Provided::Application(plugin) => Ok(LibraryPlugin::Application(plugin)),
            _ => Err("another slot".into()),
        }
    }
}

/// What stands in the tables of a node's slots.
struct Slots {
    consensus: String,
    storage: String,
    application: String,
}

impl Slots {
    fn linked() -> Self {
        Self {
            consensus: "plugin = \"poa\"".into(),
            storage: "plugin = \"memory\"".into(),
            application: "plugin = \"faulty\"".into(),
        }
    }

    fn loaded() -> Self {
        let (poa, faulty) = (built("quorate_poa_dylib"), built("quorate_faulty"));
        let of =
            |plugin: &str, path: &std::path::Path| format!("plugin = \"{plugin}\"\nlibrary = \"{}\"", path.display());
        Self { consensus: of("poa", &poa), storage: of("faulty", &faulty), application: of("faulty", &faulty) }
    }
}

struct Network {
    directory: tempfile::TempDir,
    registry: Registry,
}

impl Network {
    fn new(consensus: &str, names: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut genesis = format!(
            "chain_name = \"test\"\ngenesis_time = 2026-01-01T00:00:00Z\n[consensus]\n{consensus}\n\
             [application]\nplugin = \"faulty\"\n"
        );
        for name in names {
            let key = NodeKey::development(name);
            genesis.push_str(&format!("[[validator]]\nname = \"{name}\"\npublic_key = \"{}\"\n", key.public_key()));
            key.save_new(&directory.path().join(format!("{name}.key"))).unwrap();
        }
        std::fs::write(directory.path().join("genesis.toml"), genesis).unwrap();
        let hub = Hub::new();
        let registry = Registry::new()
            .with_consensus(quorate_poa::PoaPlugin)
            .with_storage(MemoryStoragePlugin::new())
            .with_transport(MemoryTransportPlugin::new(&hub))
            .with_discovery(MemoryDiscoveryPlugin::new(&hub))
            .with_application(quorate_faulty::FaultyApplication)
            .with_libraries(Loader);
        Self { directory, registry }
    }

    /// Of poa with blocks as soon as there is work.
    fn of_poa(names: &[&str]) -> Self {
        let consensus = "plugin = \"poa\"\nfault_model = \"crash\"\nblock_interval_ms = 0\nblock_transactions_max = 100\n\
             block_bytes_max = 1048576\ndelta_ms = 50\nempty_blocks = \"never\"\ntimeout_ms_max = 30000\ndrift_ms = 2000";
        Self::new(consensus, names)
    }

    fn start(&self, name: &str, slots: &Slots) -> Running {
        let Slots { consensus, storage, application } = slots;
        let text = format!(
            "[node]\nname = \"{name}\"\nrole = \"validator\"\ngenesis = \"genesis.toml\"\nkey_file = \"{name}.key\"\n\
             data_dir = \"{name}\"\n[consensus]\n{consensus}\n[storage]\n{storage}\n[transport]\nplugin = \"memory\"\n\
             [discovery]\nplugin = \"memory\"\n[application]\n{application}\n"
        );
        let config = Config::parse("node.toml", &text, self.directory.path(), &[]).unwrap();
        let assembly =
            config.assemble(&self.registry).unwrap_or_else(|e| panic!("{}", quorate::diagnostics::render(&e)));
        Node::start(assembly, &NodeOptions { new_validator: true, version: "test" }).unwrap()
    }
}

async fn submit(node: &NodeHandle, transaction: &[u8]) -> TransactionId {
    match node.request(Request::Submit(Bytes::copy_from_slice(transaction))).await {
        Response::Submitted(Ok(id)) => id,
        other => panic!("{other:?}"),
    }
}

async fn status(node: &NodeHandle) -> NodeStatus {
    match node.request(Request::Status).await {
        Response::Status(status) => *status,
        other => panic!("{other:?}"),
    }
}

async fn until_final(node: &NodeHandle, id: TransactionId) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !matches!(node.request(Request::Transaction(id)).await, Response::Transaction(TransactionState::Final(_))) {
        assert!(tokio::time::Instant::now() < deadline, "not final: {:?}", status(node).await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn block_hash(node: &NodeHandle, height: u64) -> quorate::Hash {
    match node.request(Request::Block(BlockId::Height(Height(height)))).await {
        Response::Block(Some(found)) => found.block.hash(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_loaded_and_of_linked_plugins_make_one_chain() {
    let network = Network::of_poa(&NAMES);
    let slots = [Slots::loaded(), Slots::linked(), Slots::loaded()];
    let nodes: Vec<Running> = NAMES.iter().zip(&slots).map(|(name, slots)| network.start(name, slots)).collect();
    let handles: Vec<NodeHandle> = nodes.iter().map(Running::handle).collect();
    for number in 0..20usize {
        let id = submit(&handles[number % 3], format!("entry {number}").as_bytes()).await;
        for handle in &handles {
            until_final(handle, id).await;
        }
    }
    let mut heights = Vec::new();
    for handle in &handles {
        heights.push(status(handle).await.height.0);
    }
    for height in 1..=heights.into_iter().min().unwrap() {
        let first = block_hash(&handles[0], height).await;
        assert_eq!(first, block_hash(&handles[1], height).await);
        assert_eq!(first, block_hash(&handles[2], height).await);
    }
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consensus_that_panics_stops_voting_and_the_status_says_so() {
    let network = Network::new("plugin = \"faulty\"", &NAMES[..1]);
    let faulty = built("quorate_faulty");
    let consensus = format!("plugin = \"faulty\"\nlibrary = \"{}\"\nfault = \"panics in step\"", faulty.display());
    let node = network.start(NAMES[0], &Slots { consensus, ..Slots::linked() });
    let handle = node.handle();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let stopped = loop {
        let status = status(&handle).await;
        if status.status == Health::Conflict {
            break status;
        }
        assert!(tokio::time::Instant::now() < deadline, "{status:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let detail = stopped.detail.unwrap();
    let expected = format!("plugin `faulty` of `{}` panicked in step: planted in step (", faulty.display());
    assert!(detail.starts_with(&expected), "{detail}");
    assert!(detail.ends_with("nothing above block 0 is signed any more"), "{detail}");
    assert_eq!(stopped.engine.halted.unwrap(), detail.split("; nothing above").next().unwrap());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_panics_stops_the_node_with_a_sentence() {
    for call in ["execute", "verify", "query"] {
        let network = Network::of_poa(&NAMES[..1]);
        let application = format!("{}\nfault = \"panics in {call}\"", Slots::loaded().application);
        let mut node = network.start(NAMES[0], &Slots { application, ..Slots::linked() });
        let handle = node.handle();
        if call == "query" {
            let query = Request::Query { path: "count".into(), params: Bytes::new() };
            assert!(matches!(handle.request(query).await, Response::Query(Err(_))));
        } else {
            drop(handle.request(Request::Submit(Bytes::from_static(b"entry"))).await);
        }
        let failed = tokio::time::timeout(PATIENCE, node.failed()).await.unwrap();
        let why = failed.unwrap_err().to_string();
        assert!(why.contains("stopped, with nothing after block 0 said to be final"), "{why}");
        assert!(why.contains("plugin `faulty` of `") && why.contains(&format!("panicked in {call}: planted")), "{why}");
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_make_blocks_by_the_consensus_in_c() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("librotate.so");
    compile(&source("template/rotate.c"), &library, &[]);
    let network = Network::new("plugin = \"rotate\"", &NAMES);
    let consensus = format!("plugin = \"rotate\"\nlibrary = \"{}\"", library.display());
    let slots = Slots { consensus, ..Slots::linked() };
    let nodes: Vec<Running> = NAMES.iter().map(|name| network.start(name, &slots)).collect();
    let handles: Vec<NodeHandle> = nodes.iter().map(Running::handle).collect();
    for number in 0..6usize {
        let id = submit(&handles[number % 3], format!("entry {number}").as_bytes()).await;
        for handle in &handles {
            until_final(handle, id).await;
        }
    }
    let status = status(&handles[0]).await;
    assert_eq!(status.tolerates, "of 3 validators none may be away and none may lie");
    assert_eq!(block_hash(&handles[0], 2).await, block_hash(&handles[1], 2).await);
    for node in nodes {
        node.stop().await;
    }
}
