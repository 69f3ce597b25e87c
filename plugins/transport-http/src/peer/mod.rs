//! Authenticated peers: one TLS 1.3 connection between two nodes, kept for ever, on which votes overtake blocks.
//!
//! ```text
//!            TransportCommand                              TransportEvent
//!                  |                                             ^
//!             +----v----+   Dial    +------+                +----+---+
//!             |   hub   |---------->| dial |--+          +->| intake |
//!             +----+----+           +------+  |          |  +--------+
//!                  | Send, Broadcast          |          |
//!             +----v----+  admits  +----------v+    +----+---+
//!             |  table  |<---------| handshake |--->|  link  |<==> the peer
//!             +----+----+          +----------^+    +----^---+
//!                  |   outbox (3 queues)      |          |
//!                  +--------------------------+----------+
//!                                        +----+---+
//!                                        | accept |
//!                                        +--------+
//! ```
//!
//! # Reading order
//!
//! `frame` (the bytes), `hello` and `handshake` (how a connection begins), `table` (who may connect), `outbox` and
//! `assembly` (messages out and in), `link` (a standing connection), `dial` and `accept`, `hub` (commands).
//!
//! # What an attacker can cost
//!
//! | attack | bound |
//! |---|---|
//! | half handshakes, slow bytes | [`HANDSHAKES_MAX`] sockets, [`HANDSHAKES_PER_ADDRESS_MAX`] from one address, the oldest closed for a newer, each for five seconds |
//! | connections of many keys | [`PeerSettings::connections_max`], and so many from one address; validators do not count |
//! | long messages never finished | 128 MiB for all but validators together, 60 s each |
//! | blocks asked for and not read | 128 MiB for all but validators together, 30 s without progress |
//! | messages faster than the kernel takes them | one from each connection waits; long ones in the queue have 64 MiB together |
//! | refusals in the log | 16 a second, each address' reason once until it changes |

mod accept;
mod assembly;
mod budget;
mod dial;
mod frame;
mod handshake;
mod hello;
mod hub;
mod intake;
mod link;
mod outbox;
mod refusals;
mod shared;
mod table;
#[cfg(test)]
mod tests;
mod tls;

use std::{
    net::{SocketAddr, TcpListener},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use quorate::{
    plugin::SetupError,
    transport::{TransportCommand, TransportContext, TransportError, TransportEvent},
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::mpsc;

pub use self::accept::{HANDSHAKES_MAX, HANDSHAKES_PER_ADDRESS_MAX};

/// Connections of peers that are neither validators nor dialled by this node, unless the settings say otherwise.
pub const CONNECTIONS_MAX: usize = 64;

/// Those of them from one address.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 16;

/// Connections which the system may hold for us until we accept them.
const BACKLOG: i32 = 256;

/// Where and how peers connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerSettings {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// How others reach it, `host:port`, if not by `listen`.
    pub advertise: Option<String>,
    /// Connections of peers that are neither validators nor dialled by this node.
    pub connections_max: usize,
    /// Those of them from one IPv4 address or one IPv6 network of 64 bits.
    pub connections_per_address_max: usize,
    /// How long things may take. Not for operators: both sides' heartbeats must fit.
    pub(crate) timing: Timing,
}

impl PeerSettings {
    /// The defaults, listening on `listen`.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            advertise: None,
            connections_max: CONNECTIONS_MAX,
            connections_per_address_max: CONNECTIONS_PER_ADDRESS_MAX,
            timing: Timing::default(),
        }
    }
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timing {
    /// From the first byte of TCP to the last welcome.
    pub(crate) handshake: Duration,
    /// A connection on which nothing was sent for so long carries a heartbeat.
    pub(crate) heartbeat: Duration,
    /// A peer from which no whole frame came for so long is dead: three heartbeats.
    pub(crate) silence: Duration,
    /// A peer that takes no byte for so long is as good as dead. Longer than `silence`, since a node whose disk is slow for
    /// a while stops reading but not its heartbeats.
    pub(crate) stall: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            heartbeat: Duration::from_secs(5),
            silence: Duration::from_secs(15),
            stall: Duration::from_secs(30),
        }
    }
}

/// The peers' side of the transport, listening but not yet accepting.
pub struct Peers {
    listener: TcpListener,
    address: SocketAddr,
    settings: PeerSettings,
    context: TransportContext,
    tls: tls::Tls,
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Peers {
    /// Binds the listener. Needs no runtime; accepts nothing yet.
    ///
    /// # Errors
    ///
    /// [`SetupError::Listen`] if the address can't be listened on; [`SetupError::Other`] if it is not a loopback address but
    /// the node's key is a development key.
    pub fn bind(settings: &PeerSettings, context: &TransportContext) -> Result<Self, SetupError> {
        if context.loopback_only && !settings.listen.ip().is_loopback() {
            return Err(SetupError::Other(format!(
                "peer_listen = \"{}\": this node's key is a well-known development key; listen on 127.0.0.1 or [::1]",
                settings.listen
            )));
        }
        let failed = |source| SetupError::Listen { key: "peer_listen", address: settings.listen.to_string(), source };
        let listener = listen(settings.listen).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let tls = tls::Tls::new(context.identity.clone())
            .map_err(|source| SetupError::Other(format!("TLS 1.3 can't be set up: {source}")))?;
        Ok(Self { listener, address, settings: settings.clone(), context: context.clone(), tls })
    }

    /// Where it listens, with the port that was given for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs until [`TransportCommand::Stop`] or until `commands` closes; returns within two seconds then.
    ///
    /// [`TransportCommand::Committed`] is not for peers and ignored.
    ///
    /// # Errors
    ///
    /// [`TransportError::Io`] if the listener can't be used on this runtime.
    pub async fn run(
        self,
        commands: mpsc::Receiver<TransportCommand>,
        events: mpsc::Sender<TransportEvent>,
    ) -> Result<(), TransportError> {
        hub::run(self, commands, events).await
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted node must not wait for connections of its predecessor to time out.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Locks; a thread that panicked while it held the lock left no half-done change behind in these types.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
