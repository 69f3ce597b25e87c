//! The Transport slot: authenticated peers, and clients.
//!
//! Asynchronous plugins are actors: a bounded inbox of commands, a bounded outbox of events. A future never crosses the
//! boundary. Sockets bind when the plugin is made, so that an address in use is an error at start.

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::{
    node::{Head, NodeHandle},
    primitives::{ChainId, PeerId, PublicKey, Signature},
};

/// Bytes of one message between peers at most.
pub const MESSAGE_BYTES_MAX: usize = crate::block::BLOCK_BYTES_MAX + (2 << 20);

/// Commands that may wait for an actor.
pub const COMMANDS_MAX: usize = 4096;

/// Events that may wait for the kernel.
pub const EVENTS_MAX: usize = 1024;

/// An actor's two queues.
#[derive(Debug)]
pub struct Io<C, E> {
    /// From the kernel. Closed: stop.
    pub commands: mpsc::Receiver<C>,
    /// To the kernel. Full: wait; that is the backpressure on peers.
    pub events: mpsc::Sender<E>,
}

/// Classes of messages, the most urgent first: a lower class never delays or displaces a higher one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub enum Class {
    /// Votes, proposals, certificates.
    Consensus,
    /// Transactions and evidence on their way to every pool.
    Pool,
    /// Blocks for those who are behind.
    Sync,
}

/// What the kernel asks of a transport.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum TransportCommand {
    /// To one peer, if connected; dropped otherwise.
    Send {
        /// Whom.
        to: PeerId,
        /// How urgent.
        class: Class,
        /// At most [`MESSAGE_BYTES_MAX`].
        bytes: Bytes,
    },
    /// To every connected peer.
    Broadcast {
        /// How urgent.
        class: Class,
        /// At most [`MESSAGE_BYTES_MAX`].
        bytes: Bytes,
    },
    /// Keep a connection to this peer: dial, and dial again with backoff for ever. A newer address replaces the older.
    Dial {
        /// The key that must answer there.
        peer: PeerId,
        /// `host:port`.
        address: String,
    },
    /// Close the connection, and do not take or dial the peer for this long.
    Disconnect {
        /// Whom.
        peer: PeerId,
        /// Why, for its log and ours.
        reason: String,
        /// For how long, in milliseconds.
        ban_ms: u64,
    },
    /// The validators now: their connections have a reserve, and their consensus messages count.
    Validators(Arc<[PeerId]>),
    /// A block is final: for subscriptions.
    Committed(Arc<Head>),
    /// Finish what is being answered and return from `run`.
    Stop,
}

/// What a transport tells the kernel.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum TransportEvent {
    /// A connection to an authenticated peer of the same network stands. Told once a peer, however many connections.
    PeerUp {
        /// Its key.
        peer: PeerId,
        /// Its name, as it says; not to be trusted.
        name: String,
        /// Where it is.
        address: String,
    },
    /// The peer's last connection is gone.
    PeerDown {
        /// Who.
        peer: PeerId,
        /// Why.
        reason: String,
    },
    /// A message from a connected peer. In order for one peer and class.
    Message {
        /// Who.
        from: PeerId,
        /// Its class.
        class: Class,
        /// At most [`MESSAGE_BYTES_MAX`].
        bytes: Bytes,
    },
    /// Somebody was turned away, or turned us away.
    PeerRefused {
        /// Where.
        address: String,
        /// Why, in words that name what was expected and found.
        reason: String,
    },
}

/// What an address serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Purpose {
    /// Peers.
    Peer,
    /// Clients.
    Rpc,
}

/// For what a plugin may have this node's key sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum IdentityUse {
    /// The transcript of a TLS 1.3 handshake: the bytes start with 64 spaces (RFC 8446, section 4.4.3), so that they can't be taken
    /// for anything else.
    TlsHandshake,
    /// A discovery record: `"quorate/record/1\0"` is put before the bytes.
    Record,
}

/// Why the key did not sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the node's key does not sign this: {0}")]
pub struct IdentityError(pub String);

/// This node's key, for use by plugins; the key itself never enters one.
pub trait Identity: Send + Sync {
    /// The public half, by which peers know this node.
    fn public_key(&self) -> PublicKey;

    /// Signs `bytes` for one of the uses.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] if the bytes are not of that use.
    fn sign(&self, purpose: IdentityUse, bytes: &[u8]) -> Result<Signature, IdentityError>;
}

/// What goes before a discovery record's bytes when it is signed.
pub const RECORD_TAG: &[u8] = b"quorate/record/1\0";

/// What a transport is made from.
#[derive(Clone)]
pub struct TransportContext {
    /// The network: peers of another are refused.
    pub chain_id: ChainId,
    /// The network's name.
    pub chain_name: String,
    /// This node's name.
    pub name: String,
    /// `validator` or `follower`.
    pub role: String,
    /// The program's version, for `web3_clientVersion` and the like.
    pub version: String,
    /// This node's key.
    pub identity: Arc<dyn Identity>,
    /// Answers clients.
    pub node: NodeHandle,
    /// Whether only loopback may be listened on, because the node's key is a well-known development key.
    pub loopback_only: bool,
    /// Secret which operator-only requests must carry, if there is one.
    pub admin_token: Option<Arc<str>>,
}

/// Why a transport ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// A socket failed.
    #[error("transport {action} failed: {source}")]
    Io {
        /// What was attempted.
        action: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The plugin itself failed; it does not run again.
    #[error("{0}")]
    Plugin(String),
}

/// Carries messages between peers, and clients' requests to the node.
///
/// Whoever connects and is no peer changes nothing for those who are, whatever bytes they send.
#[async_trait::async_trait]
pub trait Transport: Send {
    /// Where it listens, resolved: port 0 is shown as the port that was given.
    fn listening(&self) -> Vec<(Purpose, std::net::SocketAddr)>;

    /// How others reach its addresses, if that differs from where it listens: `host:port` for peers, a URL for clients.
    fn advertised(&self, purpose: Purpose) -> Option<String>;

    /// Runs until [`TransportCommand::Stop`] or until the commands close; returns within two seconds then.
    ///
    /// # Errors
    ///
    /// [`TransportError`] when it can't go on; the node stops.
    async fn run(self: Box<Self>, io: Io<TransportCommand, TransportEvent>) -> Result<(), TransportError>;
}
