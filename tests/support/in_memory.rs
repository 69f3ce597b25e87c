//! Three validators in one process, over in-memory plugins and the real consensus: the kernel without sockets and files.

use std::{path::Path, time::Duration};

use quorate::{
    Genesis, Height, Service, Settings, TransactionId,
    node::{BlockId, NodeHandle, NodeStatus, Request, Response, TransactionState},
    plugin::{ApplicationPlugin, Descriptor, ServicePlugin, SetupError, StoragePlugin},
    service::{ServiceCommand, ServiceContext, ServiceError, ServiceEvent},
    transport::Io,
};
use quorate_kernel::{
    config::{Assembly, Config},
    key::NodeKey,
    node::{Node, NodeOptions, Running, StartError},
    registry::Registry,
};
use quorate_testkit::memory::{Hub, MemoryDiscoveryPlugin, MemoryTransportPlugin};

pub(crate) const NAMES: [&str; 3] = ["validator-1", "validator-2", "validator-3"];

fn genesis(fault_model: &str, application: &str) -> String {
    let mut text = format!(
        "chain_name = \"test\"\ngenesis_time = 2026-01-01T00:00:00Z\n[consensus]\nplugin = \"poa\"\nfault_model = \"{fault_model}\"\n\
         block_interval_ms = 0\nblock_transactions_max = 100\nblock_bytes_max = 1048576\ndelta_ms = 50\n\
         empty_blocks = \"never\"\ntimeout_ms_max = 30000\ndrift_ms = 2000\n\
         [application]\nplugin = {application}\n"
    );
    for name in NAMES {
        let key = NodeKey::development(name).public_key();
        text.push_str(&format!("[[validator]]\nname = \"{name}\"\npublic_key = \"{key}\"\n"));
    }
    text
}

pub(crate) struct Network {
    directory: tempfile::TempDir,
    registry: Registry,
    storage: &'static str,
    application: &'static str,
}

impl Network {
    /// A network over this store.
    pub(crate) fn new(fault_model: &str, storage: impl StoragePlugin + 'static) -> Self {
        Self::with_application(fault_model, storage, quorate_kv::KvPlugin, "value_bytes_max = 1024")
    }

    /// A network with this application, which has these settings in genesis.
    pub(crate) fn with_application(
        fault_model: &str,
        storage: impl StoragePlugin + 'static,
        application: impl ApplicationPlugin + 'static,
        shared: &str,
    ) -> Self {
        Self::on(&Hub::new(), fault_model, storage, application, shared)
    }

    /// A network whose nodes meet there.
    pub(crate) fn on(
        hub: &Hub,
        fault_model: &str,
        storage: impl StoragePlugin + 'static,
        application: impl ApplicationPlugin + 'static,
        shared: &str,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let application_name = application.descriptor().name;
        let text = genesis(fault_model, &format!("\"{application_name}\"\n{shared}"));
        std::fs::write(directory.path().join("genesis.toml"), text).unwrap();
        for name in NAMES {
            NodeKey::development(name).save_new(&directory.path().join(format!("{name}.key"))).unwrap();
        }
        let name = storage.descriptor().name;
        let registry = Registry::new()
            .with_consensus(quorate_poa::PoaPlugin)
            .with_storage(storage)
            .with_transport(MemoryTransportPlugin::new(hub))
            .with_discovery(MemoryDiscoveryPlugin::new(hub))
            .with_application(application)
            .with_service(Refuses)
            .with_service(Reader);
        Self { directory, registry, storage: name, application: application_name }
    }

    pub(crate) fn start(&self, name: &str) -> Running {
        self.try_start(name).unwrap()
    }

    pub(crate) fn try_start(&self, name: &str) -> Result<Running, StartError> {
        self.try_start_with(name, "")
    }

    /// With more in the node's file: settings of the application, then tables.
    pub(crate) fn try_start_with(&self, name: &str, tables: &str) -> Result<Running, StartError> {
        Node::start(self.assembly(name, tables), &NodeOptions { new_validator: true, version: "test" })
    }

    /// What its file says.
    pub(crate) fn assembly(&self, name: &str, tables: &str) -> Assembly {
        let Self { storage, application, .. } = self;
        let text = format!(
            "[node]\nname = \"{name}\"\nrole = \"validator\"\ngenesis = \"genesis.toml\"\nkey_file = \"{name}.key\"\n\
             data_dir = \"{name}\"\n[consensus]\nplugin = \"poa\"\n[storage]\nplugin = \"{storage}\"\n\
             [transport]\nplugin = \"memory\"\n[discovery]\nplugin = \"memory\"\n[application]\nplugin = \"{application}\"\n{tables}"
        );
        let config = Config::parse("node.toml", &text, self.directory.path(), &[]).unwrap();
        config.assemble(&self.registry).unwrap_or_else(|e| panic!("{}", quorate::diagnostics::render(&e)))
    }

    pub(crate) fn genesis(&self) -> Genesis {
        let path: &Path = &self.directory.path().join("genesis.toml");
        Genesis::parse("g", &std::fs::read_to_string(path).unwrap()).unwrap()
    }

    pub(crate) fn write(&self, seed: u8, nonce: u64) -> quorate::Bytes {
        quorate_kv::Put::sign(&[seed; 32], &self.genesis().chain_id(), nonce, b"key", &nonce.to_be_bytes())
    }
}

/// A service that can't be made, as one whose address is in use.
struct Refuses;

impl ServicePlugin for Refuses {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new("refuses", "1", "can't be made")
    }

    fn check(&self, _: &Settings) -> Result<(), SetupError> {
        Ok(())
    }

    fn build(&self, _: &Settings, _: ServiceContext) -> Result<Box<dyn Service>, SetupError> {
        Err(SetupError::Other("it refuses".into()))
    }
}

/// A service that reads every block.
struct Reader;

impl ServicePlugin for Reader {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new("reader", "1", "reads every block")
    }

    fn needs_history(&self) -> bool {
        true
    }

    fn check(&self, _: &Settings) -> Result<(), SetupError> {
        Ok(())
    }

    fn build(&self, _: &Settings, _: ServiceContext) -> Result<Box<dyn Service>, SetupError> {
        Ok(Box::new(Self))
    }
}

#[quorate::async_trait]
impl Service for Reader {
    fn listening(&self) -> Vec<std::net::SocketAddr> {
        Vec::new()
    }

    async fn run(self: Box<Self>, mut io: Io<ServiceCommand, ServiceEvent>) -> Result<(), ServiceError> {
        while let Some(command) = io.commands.recv().await {
            if matches!(command, ServiceCommand::Stop) {
                break;
            }
        }
        Ok(())
    }
}

pub(crate) async fn submit(node: &NodeHandle, transaction: quorate::Bytes) -> TransactionId {
    node.submit(transaction).await.unwrap()
}

pub(crate) async fn status(node: &NodeHandle) -> NodeStatus {
    node.status().await.unwrap()
}

pub(crate) async fn until_final(node: &NodeHandle, id: TransactionId) -> Height {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        if let TransactionState::Final(receipt) = node.transaction(id).await.unwrap() {
            return receipt.header.height;
        }
        assert!(tokio::time::Instant::now() < deadline, "not final: {:?}", status(node).await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn block_hash(node: &NodeHandle, height: Height) -> quorate::Hash {
    match node.request(Request::Block(BlockId::Height(height))).await {
        Response::Block(Some(found)) => found.block.hash(),
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn until_at(node: &NodeHandle, height: Height) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while status(node).await.height < height {
        assert!(tokio::time::Instant::now() < deadline, "not at {height}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
