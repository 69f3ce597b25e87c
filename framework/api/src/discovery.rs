//! The Discovery slot: which nodes there are, and where.
//!
//! What it finds is a hint: the transport checks the key of whoever answers, so that a lying source costs attempts, not safety.

use std::sync::Arc;

use crate::{
    primitives::{ChainId, PeerId},
    transport::{Identity, Io},
};

/// What the kernel asks of a discovery.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum DiscoveryCommand {
    /// Return from `run`.
    Stop,
}

/// What a discovery tells the kernel.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum DiscoveryEvent {
    /// A node, and where to reach it. May be told again.
    Found {
        /// Its key.
        peer: PeerId,
        /// Its name.
        name: String,
        /// `host:port` for peers.
        address: String,
    },
    /// A node which says that it belongs to another network: not to be dialled, but worth a word when it should be of this one.
    Elsewhere {
        /// Its key.
        peer: PeerId,
        /// `host:port` for peers.
        address: String,
        /// Its network; `None` when it does not say.
        chain_id: Option<ChainId>,
    },
    /// The source answers, or does not: for the status.
    Source {
        /// Whether it answers.
        reachable: bool,
        /// What was last seen, in a few words.
        detail: String,
    },
}

/// What a discovery is made from.
#[derive(Clone)]
pub struct DiscoveryContext {
    /// The network: nodes of another are not to be dialled.
    pub chain_id: ChainId,
    /// This node's name.
    pub name: String,
    /// This node's key, which signs its record.
    pub identity: Arc<dyn Identity>,
    /// `host:port` at which peers reach this node.
    pub peer_address: String,
    /// The URL at which clients reach this node.
    pub rpc_url: String,
}

/// Why a discovery ended.
#[derive(Debug, thiserror::Error)]
#[error("discovery failed: {0}")]
pub struct DiscoveryError(pub String);

/// Finds peers.
#[async_trait::async_trait]
pub trait Discovery: Send {
    /// Runs until [`DiscoveryCommand::Stop`] or until the commands close; returns within two seconds then. A source that
    /// does not answer is tried again for ever.
    ///
    /// # Errors
    ///
    /// [`DiscoveryError`] when it can't go on; the node goes on without it.
    async fn run(self: Box<Self>, io: Io<DiscoveryCommand, DiscoveryEvent>) -> Result<(), DiscoveryError>;
}
