//! Services: what runs beside a node, such as a gateway or the bootnode's registry.

use std::{path::PathBuf, sync::Arc};

use crate::{
    node::{Head, NodeHandle},
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
