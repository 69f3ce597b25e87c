//! What all connections of a node share.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};

use quorate::{
    ChainId, PeerId,
    transport::{TransportContext, TransportEvent},
};
use rustls::crypto::ring::default_provider;
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
    time::Instant,
};
use tracing::{debug, info, warn};

use super::{
    PeerSettings, Timing,
    assembly::MESSAGE_TIME_MAX,
    budget::Budget,
    hello::{ADDRESS_BYTES_MAX, Hello, Instance, NAME_BYTES_MAX, PROTOCOL_VERSION, printable},
    intake::Intake,
    locked,
    outbox::STRANGERS_UNSENT_BYTES_MAX,
    refusals::{Refusals, Telling},
    table::{Limits, Origin, Table},
    tls::Tls,
};

/// Bytes of unfinished messages from strangers together.
const STRANGERS_PARTIAL_BYTES_MAX: usize = 128 << 20;

/// Bytes that the system may hold unsent for one connection: what it holds can't be overtaken by a vote.
const UNSENT_BYTES_MAX: u32 = 64 << 10;

/// Bytes that the system may hold received for one connection, for the same reason: left to itself it lets many MiB wait for a
/// receiver that is slower than the line (bench: a vote beside blocks took 6.5 ms, and 1.2 ms with this). Enough for 5 MB/s
/// over 100 ms.
const UNREAD_BYTES_MAX: usize = 512 << 10;

/// What all connections share.
pub(super) struct Shared {
    pub(super) own: PeerId,
    pub(super) chain_id: ChainId,
    pub(super) instance: Instance,
    pub(super) tls: Tls,
    pub(super) timing: Timing,
    pub(super) table: Mutex<Table>,
    pub(super) intake: Intake,
    pub(super) strangers_partial: Arc<Budget>,
    pub(super) strangers_unsent: Arc<Budget>,
    name: String,
    role: String,
    listen: String,
    refusals: Mutex<Refusals>,
    unreached: Mutex<Refusals>,
    stop: watch::Sender<bool>,
}

impl Shared {
    /// `settings.listen` is the address with its resolved port.
    pub(super) fn new(
        settings: PeerSettings,
        context: TransportContext,
        tls: Tls,
        events: mpsc::Sender<TransportEvent>,
    ) -> Self {
        let own = PeerId::from(context.identity.public_key());
        let limits = Limits {
            connections_max: settings.connections_max,
            connections_per_address_max: settings.connections_per_address_max,
        };
        Self {
            own,
            chain_id: context.chain_id,
            instance: random(),
            tls,
            timing: settings.timing,
            table: Mutex::new(Table::new(own, limits)),
            intake: Intake::new(events),
            strangers_partial: Budget::new(STRANGERS_PARTIAL_BYTES_MAX),
            strangers_unsent: Budget::new(STRANGERS_UNSENT_BYTES_MAX),
            name: printable(&context.name, NAME_BYTES_MAX),
            role: context.role,
            listen: printable(&settings.advertise.unwrap_or_else(|| settings.listen.to_string()), ADDRESS_BYTES_MAX),
            refusals: Mutex::default(),
            unreached: Mutex::default(),
            stop: watch::Sender::new(false),
        }
    }

    /// What this node says first.
    pub(super) fn hello(&self, replace: bool) -> Hello {
        Hello {
            version: PROTOCOL_VERSION,
            chain_id: self.chain_id,
            instance: self.instance,
            replace,
            name: self.name.clone(),
            role: self.role.clone(),
            listen: self.listen.clone(),
        }
    }

    /// Logs and tells that a connection was refused, within reason; strangers' floods leave room for those dialled.
    pub(super) fn refused(&self, origin: Origin, address: &str, reason: &str) {
        let refusals = if origin == Origin::Dialled { &self.unreached } else { &self.refusals };
        let telling = locked(refusals).note(address, reason, Instant::now());
        match telling {
            Telling::New => warn!(address, reason, "peer refused"),
            Telling::Again => debug!(address, reason, "peer refused again"),
            Telling::Nothing => return,
        }
        let event = TransportEvent::PeerRefused { address: address.to_owned(), reason: reason.to_owned() };
        if !self.intake.offer(event) {
            debug!(address, "refusal not told: the kernel is busy");
        }
    }

    /// Logs that nobody could be spoken to at an address.
    pub(super) fn unreached(&self, address: &str, reason: &str) {
        match locked(&self.unreached).note(address, reason, Instant::now()) {
            Telling::New => info!(address, reason, "peer not reached"),
            Telling::Again | Telling::Nothing => debug!(address, reason, "peer not reached again"),
        }
    }

    /// Forgets why the last connection with `address` failed.
    pub(super) fn accepted(&self, address: &str) {
        locked(&self.refusals).clear(address);
        locked(&self.unreached).clear(address);
    }

    /// Makes everything end.
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
        locked(&self.table).stop();
    }

    /// Waits for [`Shared::stop`].
    pub(super) async fn stopping(&self) {
        // An error would mean that the sender is gone, but it lives as long as `self`.
        drop(self.stop.subscribe().wait_for(|stop| *stop).await);
    }
}

/// Random bytes from the system. Without any they are zero: worse jitter, and no telling apart of two processes with one key.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if default_provider().secure_random.fill(&mut bytes).is_err() {
        warn!("random bytes were not available");
    }
    bytes
}

/// Sets what every connection has: no waiting for fuller packets, few bytes waiting in the system, and the system's own notice of
/// dead hosts.
pub(super) fn tune(stream: &TcpStream) -> std::io::Result<()> {
    let socket = socket2::SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_recv_buffer_size(UNREAD_BYTES_MAX)?;
    socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(MESSAGE_TIME_MAX))?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
    Ok(())
}

/// Where a peer that connected from `remote` can be dialled, as it says; the address it came from for what it leaves out.
pub(super) fn claimed_address(listen: &str, remote: SocketAddr) -> String {
    match listen.parse::<SocketAddr>() {
        Ok(claimed) if claimed.ip().is_unspecified() => {
            SocketAddr::new(remote.ip().to_canonical(), claimed.port()).to_string()
        }
        Ok(claimed) => claimed.to_string(),
        Err(_) if has_host_and_port(listen) => listen.to_owned(),
        Err(_) => remote.to_string(),
    }
}

/// The address under which a refused stranger is noted: its own, with the port it claims, since the one it came from
/// changes each time.
pub(super) fn refused_address(listen: &str, remote: SocketAddr) -> String {
    let ip: IpAddr = remote.ip().to_canonical();
    let port = listen.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    SocketAddr::new(ip, port.unwrap_or(remote.port())).to_string()
}

/// Whether `address` is a host name of the usual characters, a colon and a port.
fn has_host_and_port(address: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(host, port)| {
        let usual = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        !host.is_empty() && host.bytes().all(usual) && port.parse::<u16>().is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_address_is_completed_but_never_trusted_blindly() {
        let remote: SocketAddr = "10.0.0.7:40000".parse().unwrap();
        assert_eq!(claimed_address("0.0.0.0:30303", remote), "10.0.0.7:30303");
        assert_eq!(claimed_address("node.example.org:30303", remote), "node.example.org:30303");
        assert_eq!(claimed_address("a b:1", remote), "10.0.0.7:40000");
        assert_eq!(claimed_address("", remote), "10.0.0.7:40000");
        assert_eq!(refused_address("192.0.2.1:30303", remote), "10.0.0.7:30303");
        assert_eq!(refused_address("nonsense", remote), "10.0.0.7:40000");
    }
}
