//! Who is connected: the listener, one dialler for each known peer, and where messages to a peer go.
//!
//! Two connections to one peer may stand for a while (both dialled at once, or a second process with the same key); messages go to the
//! older one and are taken from both, so that a copied key can't silence its owner, and what it says is seen.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use quorate::{
    Bytes, PeerId,
    plugin::SetupError,
    transport::{Class, Io, TransportCommand, TransportContext, TransportError, TransportEvent},
};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
};

use crate::{
    link::{self, Hello, Inboxes, LinkError, PROTOCOL, Queues},
    settings::HttpSettings,
    tls::{self, Tls},
};

/// How long TCP, TLS and the hello may take together.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(5);

/// The first and the longest pause between two attempts to reach a peer.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Connections to one peer at most.
const LINKS_PER_PEER_MAX: usize = 2;

/// Peers dialled at most.
const DIALLED_MAX: usize = 256;

struct Link {
    id: u64,
    queues: Queues,
    close: watch::Sender<bool>,
}

#[derive(Default)]
struct Table {
    next_id: u64,
    links: BTreeMap<PeerId, Vec<Link>>,
    banned: BTreeMap<PeerId, Instant>,
    addresses: BTreeMap<PeerId, watch::Sender<String>>,
}

struct Shared {
    tls: Tls,
    hello: Hello,
    me: PeerId,
    events: mpsc::Sender<TransportEvent>,
    table: Mutex<Table>,
}

/// The peers' side, bound.
pub(crate) struct Peers {
    listener: std::net::TcpListener,
    address: SocketAddr,
    connections_max: usize,
    context: TransportContext,
}

/// A well-known development key is no identity beyond this machine.
pub(crate) fn refuse_beyond_loopback(
    key: &'static str,
    address: SocketAddr,
    loopback_only: bool,
) -> Result<(), SetupError> {
    if loopback_only && !address.ip().is_loopback() {
        return Err(SetupError::Other(format!(
            "{key} = \"{address}\": this node has a well-known development key and listens on loopback only; make a key with `quorate key new`"
        )));
    }
    Ok(())
}

fn listen(
    key: &'static str,
    address: SocketAddr,
    loopback_only: bool,
) -> Result<(std::net::TcpListener, SocketAddr), SetupError> {
    refuse_beyond_loopback(key, address, loopback_only)?;
    let failed = |source| SetupError::Listen { key, address: address.to_string(), source };
    let listener = std::net::TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let resolved = listener.local_addr().map_err(failed)?;
    Ok((listener, resolved))
}

impl Peers {
    pub(crate) fn bind(settings: &HttpSettings, context: TransportContext) -> Result<Self, SetupError> {
        let (listener, address) = listen("peer_listen", settings.peer_listen, context.loopback_only)?;
        Ok(Self { listener, address, connections_max: settings.peer_connections_max, context })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn run(self, io: Io<TransportCommand, TransportEvent>) -> Result<(), TransportError> {
        let failed = |action: &str, source| TransportError::Io { action: action.into(), source };
        let tls = Tls::new(Arc::clone(&self.context.identity))
            .map_err(|error| failed("preparing TLS", std::io::Error::other(error.to_string())))?;
        let listener = TcpListener::from_std(self.listener).map_err(|error| failed("listening for peers", error))?;
        let shared = Arc::new(Shared {
            tls,
            hello: Hello {
                protocol: PROTOCOL,
                chain_id: self.context.chain_id,
                name: self.context.name.chars().take(64).collect(),
                role: self.context.role.clone(),
            },
            me: self.context.identity.public_key().into(),
            events: io.events,
            table: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(Arc::clone(&shared), listener, self.connections_max));
        let mut commands = io.commands;
        while let Some(command) = commands.recv().await {
            match command {
                TransportCommand::Send { to, class, bytes } => shared.send(&to, class, bytes),
                TransportCommand::Broadcast { class, bytes } => shared.broadcast(class, &bytes),
                TransportCommand::Dial { peer, address } => {
                    if let Some(addresses) = shared.note_address(peer, address) {
                        tasks.spawn(dial(Arc::clone(&shared), peer, addresses));
                    }
                }
                TransportCommand::Disconnect { peer, reason, ban_ms } => {
                    tracing::info!(%peer, reason, ban_ms, "peer turned away");
                    shared.ban(peer, Duration::from_millis(ban_ms));
                }
                TransportCommand::Stop => break,
                _ => {}
            }
        }
        tasks.shutdown().await;
        Ok(())
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, to: &PeerId, class: Class, bytes: Bytes) {
        let table = self.table();
        let Some(link) = table.links.get(to).and_then(|links| links.first()) else { return };
        give(link, class, bytes);
    }

    fn broadcast(&self, class: Class, bytes: &Bytes) {
        for link in self.table().links.values().filter_map(|links| links.first()) {
            give(link, class, bytes.clone());
        }
    }

    /// A new peer's addresses to dial; `None` if it is dialled already, or must not be.
    fn note_address(&self, peer: PeerId, address: String) -> Option<watch::Receiver<String>> {
        let mut table = self.table();
        if peer == self.me {
            return None;
        }
        if let Some(known) = table.addresses.get(&peer) {
            known.send_if_modified(|old| {
                let new = *old != address;
                if new {
                    old.clone_from(&address);
                }
                new
            });
            return None;
        }
        if table.addresses.len() >= DIALLED_MAX {
            return None;
        }
        let (sender, receiver) = watch::channel(address);
        table.addresses.insert(peer, sender);
        Some(receiver)
    }

    fn ban(&self, peer: PeerId, how_long: Duration) {
        let mut table = self.table();
        let now = Instant::now();
        table.banned.retain(|_, until| *until > now);
        table.banned.insert(peer, now + how_long);
        for link in table.links.get(&peer).into_iter().flatten() {
            link.close.send_replace(true);
        }
    }

    fn is_connected(&self, peer: &PeerId) -> bool {
        self.table().links.contains_key(peer)
    }

    /// `Err` says why the peer is not taken.
    fn admit(&self, peer: PeerId) -> Result<(u64, Inboxes, watch::Receiver<bool>, bool), String> {
        let mut table = self.table();
        if peer == self.me {
            return Err("it has this node's own key".into());
        }
        if table.banned.get(&peer).is_some_and(|until| *until > Instant::now()) {
            return Err("it is turned away for a time".into());
        }
        let id = table.next_id;
        table.next_id += 1;
        let links = table.links.entry(peer).or_default();
        if links.len() >= LINKS_PER_PEER_MAX {
            return Err("it is connected already".into());
        }
        let (queues, inboxes) = link::queues();
        let (close, closed) = watch::channel(false);
        links.push(Link { id, queues, close });
        Ok((id, inboxes, closed, links.len() == 1))
    }

    /// Whether that was the peer's last connection.
    fn dismiss(&self, peer: &PeerId, id: u64) -> bool {
        let mut table = self.table();
        let Some(links) = table.links.get_mut(peer) else { return false };
        links.retain(|link| link.id != id);
        let last = links.is_empty();
        if last {
            table.links.remove(peer);
        }
        last
    }

    async fn tell(&self, event: TransportEvent) {
        if self.events.send(event).await.is_err() {
            tracing::debug!("the node is gone");
        }
    }

    /// Runs a connection whose key is proven.
    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut stream: S,
        peer: PeerId,
        address: String,
    ) -> Result<LinkError, LinkError> {
        let greeted = tokio::time::timeout(HANDSHAKE_WAIT, link::greet(&mut stream, &self.hello)).await;
        let theirs = greeted.map_err(|_| LinkError::Dead)??;
        let (id, inboxes, mut closed, first) = match self.admit(peer) {
            Ok(admitted) => admitted,
            Err(why) => {
                link::say_goodbye(&mut stream, &why).await;
                return Err(LinkError::Refused(why));
            }
        };
        if first {
            self.tell(TransportEvent::PeerUp { peer, name: theirs.name, address }).await;
        }
        let ended = tokio::select! {
            ended = link::carry(stream, peer, inboxes, &self.events) => ended,
            _ = closed.wait_for(|closed| *closed) => LinkError::Closed("turned away".into()),
        };
        if self.dismiss(&peer, id) {
            self.tell(TransportEvent::PeerDown { peer, reason: ended.to_string() }).await;
        }
        Ok(ended)
    }
}

/// A full queue of votes ends the connection: the peer is as good as gone, and comes back with an empty one. Other classes are
/// dropped; they are sent again.
fn give(link: &Link, class: Class, bytes: Bytes) {
    let queue = match class {
        Class::Consensus => &link.queues.consensus,
        Class::Pool => &link.queues.pool,
        Class::Sync => &link.queues.sync,
    };
    if queue.try_send(bytes).is_err() && class == Class::Consensus {
        link.close.send_replace(true);
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener, connections_max: usize) {
    let room = Arc::new(Semaphore::new(connections_max));
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a peer's connection could not be accepted");
                tokio::time::sleep(BACKOFF.0).await;
                continue;
            }
        };
        // No room: the connection closes at once.
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
        let shared = Arc::clone(&shared);
        tasks.spawn(async move {
            let result = incoming(&shared, stream, address).await;
            if let Err(LinkError::Refused(reason)) = result {
                shared.tell(TransportEvent::PeerRefused { address: address.ip().to_string(), reason }).await;
            }
            drop(permit);
        });
    }
}

async fn incoming(shared: &Shared, stream: TcpStream, address: SocketAddr) -> Result<LinkError, LinkError> {
    stream.set_nodelay(true)?;
    let stream = tokio::time::timeout(HANDSHAKE_WAIT, shared.tls.acceptor.accept(stream))
        .await
        .map_err(|_| LinkError::Dead)??;
    let peer = tls::proven_key(stream.get_ref().1).ok_or_else(|| LinkError::Refused("it proved no key".into()))?;
    shared.serve(stream, peer, address.to_string()).await
}

/// Keeps one peer connected, for ever.
async fn dial(shared: Arc<Shared>, peer: PeerId, mut addresses: watch::Receiver<String>) {
    let mut pause = BACKOFF.0;
    loop {
        if shared.is_connected(&peer) {
            pause = BACKOFF.0;
        } else {
            let address = addresses.borrow_and_update().clone();
            match outgoing(&shared, peer, &address).await {
                // It stood and ended.
                Ok(_) => pause = BACKOFF.0,
                Err(error) => {
                    if let LinkError::Refused(reason) = &error {
                        let event = TransportEvent::PeerRefused { address: address.clone(), reason: reason.clone() };
                        shared.tell(event).await;
                    }
                    tracing::debug!(%peer, address, %error, "peer not reached");
                    pause = (pause * 2).min(BACKOFF.1);
                }
            }
        }
        // The two sides of a pair do not try in step: the pause depends on both keys.
        let jitter = u64::from(peer.as_bytes()[0] ^ shared.me.as_bytes()[1]) % 50;
        tokio::select! {
            () = tokio::time::sleep(pause + Duration::from_millis(jitter)) => {}
            changed = addresses.changed() => if changed.is_err() { return },
        }
    }
}

async fn outgoing(shared: &Shared, peer: PeerId, address: &str) -> Result<LinkError, LinkError> {
    let connect = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        // Keys are pinned, names are not looked at; TLS wants one.
        let name = ServerName::try_from("quorate").map_err(|error| LinkError::Refused(error.to_string()))?;
        Ok::<_, LinkError>(shared.tls.connector.connect(name, stream).await?)
    };
    let stream = tokio::time::timeout(HANDSHAKE_WAIT, connect).await.map_err(|_| LinkError::Dead)??;
    match tls::proven_key(stream.get_ref().1) {
        Some(key) if key == peer => shared.serve(stream, peer, address.to_owned()).await,
        Some(key) => Err(LinkError::Refused(format!("wrong key: {key} answers there, expected {peer}"))),
        None => Err(LinkError::Refused("it proved no key".into())),
    }
}
