//! Services: what runs beside a node, such as a gateway or the bootnode's registry.

use std::{path::PathBuf, sync::Arc};

use tokio::sync::watch;

use crate::{
    application::Application,
    consensus::FinalityProof,
    genesis::Genesis,
    node::{Head, NodeHandle},
    plugin::SetupError,
    transport::{Identity, Io},
};

/// What the kernel tells a service.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ServiceCommand {
    /// A block is final.
    Committed(Arc<Head>),
    /// Return from `run`.
    Stop,
}

/// What a service tells the kernel.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ServiceEvent {
    /// How it stands, for the log.
    Note(String),
}

/// By what rules a chain is checked: what whoever checks a receipt trusts.
#[derive(Clone)]
pub struct Rules {
    /// What its nodes agree on.
    pub genesis: Arc<Genesis>,
    /// What checks proofs of finality.
    pub finality: Arc<dyn FinalityProof>,
    /// What its transactions mean.
    pub application: Arc<dyn Application>,
}

/// A ledger of a service's own, as it is asked for: the framework with one sealer, without peers.
pub struct OwnLedger {
    /// Its name, which is its chain's and application's too: lower-case letters, digits and hyphens.
    pub name: &'static str,
    /// Where it is, or shall be: a folder of its own, made whole or not at all.
    pub directory: PathBuf,
    /// The plugin of the slot `consensus`, for one validator.
    pub consensus: String,
    /// Its settings in genesis, as TOML without `plugin`. They count when the ledger is made.
    pub consensus_settings: String,
    /// The plugin of the slot `storage`, with its defaults.
    pub storage: String,
    /// What the chain is for.
    pub application: Arc<dyn Application>,
    /// Transactions that may wait at a time at most, and their bytes.
    pub pool: (usize, usize),
}

/// An open ledger of a service's own.
#[derive(Clone)]
pub struct OpenLedger {
    /// For asking and submitting.
    pub node: NodeHandle,
    /// The newest final block since it was opened; closed when the ledger is.
    pub heads: watch::Receiver<Option<Arc<Head>>>,
}

/// Opens ledgers of a service's own; they are closed after the service has ended.
pub trait Ledgers: Send + Sync {
    /// Opens a ledger, or begins it. When it fails later, the node stops.
    ///
    /// # Errors
    ///
    /// [`SetupError`]: a plugin that the program does not have, a store that can't be opened.
    fn open(&self, ledger: OwnLedger) -> Result<OpenLedger, SetupError>;
}

/// What a service is made from.
#[derive(Clone)]
pub struct ServiceContext {
    /// This node's name.
    pub name: String,
    /// The program's version.
    pub version: String,
    /// The node; a bootnode without a chain answers [`crate::node::Response::Unavailable`].
    pub node: NodeHandle,
    /// This node's key.
    pub identity: Arc<dyn Identity>,
    /// A folder of the service's own, made when needed.
    pub data_dir: PathBuf,
    /// Whether only loopback may be listened on, because the node's key is a well-known development key.
    pub loopback_only: bool,
    /// Secret which operator-only requests must carry, if there is one.
    pub admin_token: Option<Arc<str>>,
    /// By what rules the node's chain is checked; `None` beside a bootnode, and in a service of a shared library.
    pub rules: Option<Rules>,
    /// Opens ledgers of its own; `None` in a service of a shared library.
    pub ledgers: Option<Arc<dyn Ledgers>>,
}

/// Why a service ended.
#[derive(Debug, thiserror::Error)]
#[error("service failed: {0}")]
pub struct ServiceError(pub String);

/// Runs beside a node, and goes on whatever bytes anybody sends it.
#[async_trait::async_trait]
pub trait Service: Send {
    /// Where it listens, resolved.
    fn listening(&self) -> Vec<std::net::SocketAddr>;

    /// Runs until [`ServiceCommand::Stop`] or until the commands close; returns within two seconds then.
    ///
    /// # Errors
    ///
    /// [`ServiceError`] when it can't go on; the node stops.
    async fn run(self: Box<Self>, io: Io<ServiceCommand, ServiceEvent>) -> Result<(), ServiceError>;
}
