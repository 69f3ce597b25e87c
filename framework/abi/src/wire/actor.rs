//! What goes to and comes from the slots that run beside the node: one set of commands and events, of which each slot has some.

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use quorate::{
    ChainId, Hash, Header, PeerId, PublicKey, TransactionId,
    discovery::{DiscoveryCommand, DiscoveryEvent},
    node::Head,
    service::{ServiceCommand, ServiceEvent},
    transport::{Class, Purpose, TransportCommand, TransportEvent},
};

use super::WireError;

/// What an actor is made from, beside its settings. A slot without one of the fields has it empty.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ActorContext {
    /// The network, if there is one.
    pub chain_id: Option<ChainId>,
    /// Its name.
    pub chain_name: String,
    /// This node's name.
    pub name: String,
    /// Its role.
    pub role: String,
    /// The program's version.
    pub version: String,
    /// This node's key.
    pub public_key: PublicKey,
    /// At which address peers reach this node.
    pub peer_address: String,
    /// The URL at which clients reach it.
    pub rpc_url: String,
    /// A folder of the actor's own.
    pub data_dir: String,
    /// Whether only loopback may be listened on.
    pub loopback_only: bool,
    /// The operator's secret.
    pub admin_token: Option<String>,
}

/// What an actor says of itself once its sockets are bound.
#[derive(Debug, Clone, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct ActorAbout {
    /// Where it listens, for what: `host:port`.
    pub listening: Vec<(Purpose, String)>,
    /// How others reach it, where that differs.
    pub advertised: Vec<(Purpose, String)>,
}

/// A command without its bytes.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum ActorCommand {
    /// Return from `run`. For every slot.
    Stop,
    /// A block is final. For transports and services.
    Committed {
        /// Its header.
        header: Box<Header>,
        /// Its hash.
        hash: Hash,
        /// Ids of its transactions.
        transaction_ids: Vec<TransactionId>,
    },
    /// [`TransportCommand::Send`]; the body is the message.
    Send {
        /// Whom.
        to: PeerId,
        /// How urgent.
        class: Class,
    },
    /// [`TransportCommand::Broadcast`]; the body is the message.
    Broadcast {
        /// How urgent.
        class: Class,
    },
    /// [`TransportCommand::Dial`].
    Dial {
        /// The key that must answer there.
        peer: PeerId,
        /// `host:port`.
        address: String,
    },
    /// [`TransportCommand::Disconnect`].
    Disconnect {
        /// Whom.
        peer: PeerId,
        /// Why.
        reason: String,
        /// For how long.
        ban_ms: u64,
    },
    /// [`TransportCommand::Validators`].
    Validators(Vec<PeerId>),
}

/// An event without its bytes.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum ActorEvent {
    /// [`TransportEvent::PeerUp`].
    PeerUp {
        /// Its key.
        peer: PeerId,
        /// Its name.
        name: String,
        /// Where it is.
        address: String,
    },
    /// [`TransportEvent::PeerDown`].
    PeerDown {
        /// Who.
        peer: PeerId,
        /// Why.
        reason: String,
    },
    /// [`TransportEvent::Message`]; the body is the message.
    Message {
        /// Who.
        from: PeerId,
        /// Its class.
        class: Class,
    },
    /// [`TransportEvent::PeerRefused`].
    PeerRefused {
        /// Where.
        address: String,
        /// Why.
        reason: String,
    },
    /// [`DiscoveryEvent::Found`].
    Found {
        /// Its key.
        peer: PeerId,
        /// Its name.
        name: String,
        /// Where to reach it.
        address: String,
    },
    /// [`DiscoveryEvent::Source`].
    Source {
        /// Whether it answers.
        reachable: bool,
        /// What was last seen.
        detail: String,
    },
    /// [`ServiceEvent::Note`].
    Note(String),
}

/// Commands of one slot.
pub trait Command: Sized + Send + 'static {
    /// Takes it apart; `None` for what this version of the boundary does not carry.
    fn split(self) -> Option<(ActorCommand, Bytes)>;

    /// Puts it together.
    ///
    /// # Errors
    ///
    /// [`WireError`] for a command of another slot.
    fn join(head: ActorCommand, body: &[u8]) -> Result<Self, WireError>;
}

/// Events of one slot.
pub trait Event: Sized + Send + 'static {
    /// Takes it apart; `None` for what this version of the boundary does not carry.
    fn split(self) -> Option<(ActorEvent, Bytes)>;

    /// Puts it together.
    ///
    /// # Errors
    ///
    /// [`WireError`] for an event of another slot.
    fn join(head: ActorEvent, body: &[u8]) -> Result<Self, WireError>;
}

fn other_slot<T>(what: &'static str) -> Result<T, WireError> {
    Err(WireError::new(what, "of another slot"))
}

fn committed(head: &Head) -> ActorCommand {
    let Head { header, hash, transaction_ids } = head;
    ActorCommand::Committed { header: Box::new(header.clone()), hash: *hash, transaction_ids: transaction_ids.to_vec() }
}

impl Command for TransportCommand {
    fn split(self) -> Option<(ActorCommand, Bytes)> {
        Some(match self {
            Self::Send { to, class, bytes } => (ActorCommand::Send { to, class }, bytes),
            Self::Broadcast { class, bytes } => (ActorCommand::Broadcast { class }, bytes),
            Self::Dial { peer, address } => (ActorCommand::Dial { peer, address }, Bytes::new()),
            Self::Disconnect { peer, reason, ban_ms } => {
                (ActorCommand::Disconnect { peer, reason, ban_ms }, Bytes::new())
            }
            Self::Validators(peers) => (ActorCommand::Validators(peers.to_vec()), Bytes::new()),
            Self::Committed(head) => (committed(&head), Bytes::new()),
            Self::Stop => (ActorCommand::Stop, Bytes::new()),
            _ => return None,
        })
    }

    fn join(head: ActorCommand, body: &[u8]) -> Result<Self, WireError> {
        let bytes = || Bytes::copy_from_slice(body);
        Ok(match head {
            ActorCommand::Stop => Self::Stop,
            ActorCommand::Committed { header, hash, transaction_ids } => {
                Self::Committed(Arc::new(Head { header: *header, hash, transaction_ids: transaction_ids.into() }))
            }
            ActorCommand::Send { to, class } => Self::Send { to, class, bytes: bytes() },
            ActorCommand::Broadcast { class } => Self::Broadcast { class, bytes: bytes() },
            ActorCommand::Dial { peer, address } => Self::Dial { peer, address },
            ActorCommand::Disconnect { peer, reason, ban_ms } => Self::Disconnect { peer, reason, ban_ms },
            ActorCommand::Validators(peers) => Self::Validators(peers.into()),
        })
    }
}

impl Command for DiscoveryCommand {
    fn split(self) -> Option<(ActorCommand, Bytes)> {
        match self {
            Self::Stop => Some((ActorCommand::Stop, Bytes::new())),
            _ => None,
        }
    }

    fn join(head: ActorCommand, _: &[u8]) -> Result<Self, WireError> {
        match head {
            ActorCommand::Stop => Ok(Self::Stop),
            _ => other_slot("ActorCommand"),
        }
    }
}

impl Command for ServiceCommand {
    fn split(self) -> Option<(ActorCommand, Bytes)> {
        match self {
            Self::Committed(head) => Some((committed(&head), Bytes::new())),
            Self::Stop => Some((ActorCommand::Stop, Bytes::new())),
            _ => None,
        }
    }

    fn join(head: ActorCommand, _: &[u8]) -> Result<Self, WireError> {
        match head {
            ActorCommand::Stop => Ok(Self::Stop),
            ActorCommand::Committed { header, hash, transaction_ids } => {
                Ok(Self::Committed(Arc::new(Head { header: *header, hash, transaction_ids: transaction_ids.into() })))
            }
            _ => other_slot("ActorCommand"),
        }
    }
}

impl Event for TransportEvent {
    fn split(self) -> Option<(ActorEvent, Bytes)> {
        let none = Bytes::new();
        Some(match self {
            Self::PeerUp { peer, name, address } => (ActorEvent::PeerUp { peer, name, address }, none),
            Self::PeerDown { peer, reason } => (ActorEvent::PeerDown { peer, reason }, none),
            Self::Message { from, class, bytes } => (ActorEvent::Message { from, class }, bytes),
            Self::PeerRefused { address, reason } => (ActorEvent::PeerRefused { address, reason }, none),
            _ => return None,
        })
    }

    fn join(head: ActorEvent, body: &[u8]) -> Result<Self, WireError> {
        Ok(match head {
            ActorEvent::PeerUp { peer, name, address } => Self::PeerUp { peer, name, address },
            ActorEvent::PeerDown { peer, reason } => Self::PeerDown { peer, reason },
            ActorEvent::Message { from, class } => Self::Message { from, class, bytes: Bytes::copy_from_slice(body) },
            ActorEvent::PeerRefused { address, reason } => Self::PeerRefused { address, reason },
            _ => return other_slot("ActorEvent"),
        })
    }
}

impl Event for DiscoveryEvent {
    fn split(self) -> Option<(ActorEvent, Bytes)> {
        Some(match self {
            Self::Found { peer, name, address } => (ActorEvent::Found { peer, name, address }, Bytes::new()),
            Self::Source { reachable, detail } => (ActorEvent::Source { reachable, detail }, Bytes::new()),
            _ => return None,
        })
    }

    fn join(head: ActorEvent, _: &[u8]) -> Result<Self, WireError> {
        Ok(match head {
            ActorEvent::Found { peer, name, address } => Self::Found { peer, name, address },
            ActorEvent::Source { reachable, detail } => Self::Source { reachable, detail },
            _ => return other_slot("ActorEvent"),
        })
    }
}

impl Event for ServiceEvent {
    fn split(self) -> Option<(ActorEvent, Bytes)> {
        match self {
            Self::Note(note) => Some((ActorEvent::Note(note), Bytes::new())),
            _ => None,
        }
    }

    fn join(head: ActorEvent, _: &[u8]) -> Result<Self, WireError> {
        match head {
            ActorEvent::Note(note) => Ok(Self::Note(note)),
            _ => other_slot("ActorEvent"),
        }
    }
}
