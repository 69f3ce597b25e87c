//! The transport `my-plugin`: peers over plain TCP, each of which shows that it has its key when the connection is made.
//!
//! It is for a network which nobody else can reach or change: what is sent afterwards is neither encrypted nor signed. It has
//! nothing for clients. A connection begins with two messages of each side, all of a fixed length:
//!
//! ```text
//! hello   network (32), public key (32), nonce (32)
//! shown   signature (64) of the node's key over a tag, the network, the other's nonce and both keys, its own first
//! ```
//!
//! Then come frames: length (u32be), class (u8), bytes.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use quorate::{
    Bytes, ChainId, PeerId, PublicKey, Settings, Signature, Transport, async_trait,
    plugin::{Descriptor, SetupError, TransportPlugin},
    transport::{
        Class, Identity, IdentityUse, Io, MESSAGE_BYTES_MAX, Purpose, RECORD_TAG, TransportCommand, TransportContext,
        TransportError, TransportEvent,
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::{Notify, Semaphore, mpsc::Sender},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

/// `[transport]` of a node's file. A key that is not here is refused, with its place in the file.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    peer_listen: SocketAddr,
}

const EXAMPLE: &str = "# Where peers are listened for.
peer_listen = \"127.0.0.1:30303\"
";

/// How long a stranger may take to show who it is.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Between two attempts to reach a peer, at first and at most.
const DIAL_AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Connections at most, strangers' among them.
const CONNECTIONS_MAX: usize = 1024;
/// Connections of one peer at most: each side may have made one, and one may have died unnoticed.
const CONNECTIONS_OF_PEER_MAX: usize = 4;
/// Bytes of each class that wait for one peer at most; what is more is dropped, the oldest first.
const QUEUE_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX;
/// What a message that waits takes besides its bytes.
const ENTRY_BYTES: usize = 64;

const CLASSES: [Class; 3] = [Class::Consensus, Class::Pool, Class::Sync];
const TAG: &[u8] = b"my-plugin hello 1\0";

/// What waits for a peer, the most urgent class first.
#[derive(Default)]
struct Queues([(VecDeque<Bytes>, usize); 3]);

impl Queues {
    fn push(&mut self, class: Class, bytes: Bytes) {
        let Some((queue, held)) = self.0.get_mut(class as usize) else { return };
        *held += bytes.len() + ENTRY_BYTES;
        queue.push_back(bytes);
        while *held > QUEUE_BYTES_MAX {
            *held -= queue.pop_front().map_or(*held, |bytes| bytes.len() + ENTRY_BYTES);
        }
    }

    fn pop(&mut self) -> Option<(u8, Bytes)> {
        self.0.iter_mut().zip(0..).find_map(|((queue, held), class)| {
            let bytes = queue.pop_front()?;
            *held -= bytes.len() + ENTRY_BYTES;
            Some((class, bytes))
        })
    }
}

/// A connected peer. Of several connections the first is written to, so that order is kept; all are read.
#[derive(Default)]
struct Peer {
    connections: Vec<u64>,
    queues: Queues,
    changed: Arc<Notify>,
    /// Ends its connections.
    closed: Arc<Notify>,
}

#[derive(Default)]
struct Peers {
    connected: BTreeMap<PeerId, Peer>,
    banned: BTreeMap<PeerId, Instant>,
    /// Where peers are dialled, and the number of the task which does.
    addresses: BTreeMap<PeerId, (String, u64)>,
    /// Connections and dialling tasks so far.
    made: u64,
}

impl Peers {
    fn is_banned(&self, peer: PeerId) -> bool {
        self.banned.get(&peer).is_some_and(|until| *until > Instant::now())
    }
}

/// What all tasks of a node share.
struct Shared {
    chain_id: ChainId,
    identity: Arc<dyn Identity>,
    events: Sender<TransportEvent>,
    peers: Mutex<Peers>,
    /// Held while a peer comes or goes, so that the kernel is told in the order in which it happened.
    telling: tokio::sync::Mutex<()>,
    room: Arc<Semaphore>,
}

impl Shared {
    fn peers(&self) -> MutexGuard<'_, Peers> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn tell(&self, event: TransportEvent) {
        // The kernel may be gone; then everything ends soon.
        drop(self.events.send(event).await);
    }

    /// Who is at the other end of a connection.
    async fn handshake(&self, stream: &mut TcpStream) -> Result<PeerId, String> {
        let failed = |error: std::io::Error| error.to_string();
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).map_err(|error| error.to_string())?;
        let me = self.identity.public_key();
        stream.write_all(&[self.chain_id.as_bytes(), me.as_bytes(), &nonce[..]].concat()).await.map_err(failed)?;
        let (mut network, mut key, mut theirs) = ([0; 32], [0; 32], [0; 32]);
        for part in [&mut network, &mut key, &mut theirs] {
            stream.read_exact(part).await.map_err(failed)?;
        }
        if network != *self.chain_id.as_bytes() {
            return Err(format!("it is of network {}, this node of {}", ChainId::new(network), self.chain_id));
        }
        let key = PublicKey::new(key);
        let shown = |nonce: &[u8], by: &PublicKey, to: &PublicKey| {
            [TAG, self.chain_id.as_bytes(), nonce, by.as_bytes(), to.as_bytes()].concat()
        };
        let signature =
            self.identity.sign(IdentityUse::Record, &shown(&theirs, &me, &key)).map_err(|error| error.to_string())?;
        stream.write_all(signature.as_bytes()).await.map_err(failed)?;
        let mut signature = [0; 64];
        stream.read_exact(&mut signature).await.map_err(failed)?;
        let signed = [RECORD_TAG, &shown(&nonce, &key, &me)].concat();
        if key == me || !key.verifies(&signed, &Signature::new(signature)) {
            return Err("it has not the key which it says".into());
        }
        Ok(key.into())
    }

    /// Makes a connection that of a peer, and serves it until it ends; `expected` is whom this node dialled.
    async fn connection(&self, mut stream: TcpStream, address: String, expected: Option<PeerId>) {
        drop(stream.set_nodelay(true));
        let shaken =
            timeout(HANDSHAKE, self.handshake(&mut stream)).await.unwrap_or_else(|_| Err("it said nothing".into()));
        let peer = match shaken {
            Ok(peer) if expected.is_none_or(|expected| expected == peer) => peer,
            Ok(other) => {
                return self
                    .tell(TransportEvent::PeerRefused { address, reason: format!("{other} answers there") })
                    .await;
            }
            Err(reason) => return self.tell(TransportEvent::PeerRefused { address, reason }).await,
        };
        let order = self.telling.lock().await;
        let Some((id, first, changed, closed)) = self.enter(peer) else { return };
        if first {
            let name = peer.to_string().chars().take(10).collect();
            self.tell(TransportEvent::PeerUp { peer, name, address }).await;
        }
        drop(order);
        let (reader, writer) = stream.into_split();
        let reason = tokio::select! {
            error = self.read(peer, reader) => error,
            error = self.write(peer, id, writer, &changed) => error,
            () = closed.notified() => "closed here".into(),
        };
        let _order = self.telling.lock().await;
        if self.leave(peer, id) {
            self.tell(TransportEvent::PeerDown { peer, reason }).await;
        }
    }

    /// Notes a connection: its number, whether it is the peer's first, and how it is told of messages and of its end.
    fn enter(&self, peer: PeerId) -> Option<(u64, bool, Arc<Notify>, Arc<Notify>)> {
        let mut peers = self.peers();
        if peers.is_banned(peer) {
            return None;
        }
        peers.made += 1;
        let id = peers.made;
        let entry = peers.connected.entry(peer).or_default();
        if entry.connections.len() >= CONNECTIONS_OF_PEER_MAX {
            return None;
        }
        entry.connections.push(id);
        Some((id, entry.connections.len() == 1, entry.changed.clone(), entry.closed.clone()))
    }

    /// Forgets a connection: whether it was the peer's last.
    fn leave(&self, peer: PeerId, id: u64) -> bool {
        let mut peers = self.peers();
        let Some(entry) = peers.connected.get_mut(&peer) else { return false };
        entry.connections.retain(|one| *one != id);
        entry.changed.notify_waiters();
        let last = entry.connections.is_empty();
        if last {
            peers.connected.remove(&peer);
        }
        last
    }

    async fn read(&self, from: PeerId, mut stream: OwnedReadHalf) -> String {
        loop {
            let mut head = [0; 5];
            if let Err(error) = stream.read_exact(&mut head).await {
                return error.to_string();
            }
            let [a, b, c, d, class] = head;
            let len = u32::from_be_bytes([a, b, c, d]) as usize;
            let Some(class) = CLASSES.get(usize::from(class)).copied().filter(|_| len <= MESSAGE_BYTES_MAX) else {
                return "a message is too long, or of no class".into();
            };
            // Room is made as bytes come, not as they are promised.
            let mut bytes = Vec::new();
            match (&mut stream).take(len as u64).read_to_end(&mut bytes).await {
                Ok(read) if read == len => {
                    self.tell(TransportEvent::Message { from, class, bytes: bytes.into() }).await
                }
                Ok(_) => return "a message was cut short".into(),
                Err(error) => return error.to_string(),
            }
        }
    }

    async fn write(&self, to: PeerId, id: u64, mut stream: OwnedWriteHalf, changed: &Notify) -> String {
        loop {
            let notified = changed.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            let next = self
                .peers()
                .connected
                .get_mut(&to)
                .and_then(|peer| (peer.connections.first() == Some(&id)).then(|| peer.queues.pop()).flatten());
            let Some((class, bytes)) = next else {
                notified.await;
                continue;
            };
            let [a, b, c, d] = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
            let sent = async {
                stream.write_all(&[a, b, c, d, class]).await?;
                stream.write_all(&bytes).await
            };
            if let Err(error) = sent.await {
                return error.to_string();
            }
        }
    }

    /// Keeps a connection to a peer, until another task has a newer address.
    async fn dial(self: Arc<Self>, peer: PeerId, address: String, number: u64) {
        let mut pause = DIAL_AGAIN.0;
        loop {
            let wanted = {
                let peers = self.peers();
                if peers.addresses.get(&peer).is_none_or(|(_, newest)| *newest != number) {
                    return;
                }
                !peers.connected.contains_key(&peer) && !peers.is_banned(peer)
            };
            if wanted {
                match timeout(HANDSHAKE, TcpStream::connect(&address)).await {
                    Ok(Ok(stream)) => {
                        let begun = Instant::now();
                        self.connection(stream, address.clone(), Some(peer)).await;
                        if begun.elapsed() > HANDSHAKE {
                            pause = DIAL_AGAIN.0;
                        }
                    }
                    _ => pause = (pause * 2).min(DIAL_AGAIN.1),
                }
            }
            sleep(pause).await;
        }
    }

    fn send(&self, to: Option<PeerId>, class: Class, bytes: &Bytes) {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return;
        }
        for (_, peer) in self.peers().connected.iter_mut().filter(|(id, _)| to.is_none_or(|to| to == **id)) {
            peer.queues.push(class, bytes.clone());
            peer.changed.notify_waiters();
        }
    }
}

/// Bound, and not yet running.
struct Tcp {
    listener: std::net::TcpListener,
    chain_id: ChainId,
    identity: Arc<dyn Identity>,
}

#[async_trait]
impl Transport for Tcp {
    fn listening(&self) -> Vec<(Purpose, SocketAddr)> {
        self.listener.local_addr().into_iter().map(|address| (Purpose::Peer, address)).collect()
    }

    fn advertised(&self, _: Purpose) -> Option<String> {
        None
    }

    async fn run(self: Box<Self>, io: Io<TransportCommand, TransportEvent>) -> Result<(), TransportError> {
        let Io { mut commands, events } = io;
        let Self { listener, chain_id, identity } = *self;
        let listener = TcpListener::from_std(listener)
            .map_err(|source| TransportError::Io { action: "listening".into(), source })?;
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let shared = Arc::new(Shared {
            chain_id,
            identity,
            events,
            peers: Mutex::default(),
            telling: tokio::sync::Mutex::default(),
            room,
        });
        // Everything that runs ends with this.
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(TransportCommand::Stop) | None => return Ok(()),
                    Some(TransportCommand::Send { to, class, bytes }) => shared.send(Some(to), class, &bytes),
                    Some(TransportCommand::Broadcast { class, bytes }) => shared.send(None, class, &bytes),
                    Some(TransportCommand::Dial { peer, address }) => {
                        let mut peers = shared.peers();
                        if peers.addresses.get(&peer).is_none_or(|(known, _)| *known != address) {
                            peers.made += 1;
                            let number = peers.made;
                            peers.addresses.insert(peer, (address.clone(), number));
                            tasks.spawn(Arc::clone(&shared).dial(peer, address, number));
                        }
                    }
                    Some(TransportCommand::Disconnect { peer, ban_ms, .. }) => {
                        let mut peers = shared.peers();
                        let now = Instant::now();
                        peers.banned.retain(|_, until| *until > now);
                        peers.banned.insert(peer, now + Duration::from_millis(ban_ms));
                        if let Some(peer) = peers.connected.get(&peer) {
                            peer.closed.notify_waiters();
                        }
                    }
                    Some(_) => {}
                },
                accepted = listener.accept() => match accepted {
                    Ok((stream, address)) => if let Ok(permit) = Arc::clone(&shared.room).try_acquire_owned() {
                        let shared = Arc::clone(&shared);
                        tasks.spawn(async move {
                            shared.connection(stream, address.to_string(), None).await;
                            drop(permit);
                        });
                    },
                    // There may be no room for more; later there may be.
                    Err(_) => sleep(DIAL_AGAIN.0).await,
                },
                Some(_) = tasks.join_next() => {}
            }
        }
    }
}

/// What `plugin = "my-plugin"` stands for.
pub struct MyPlugin;

impl TransportPlugin for MyPlugin {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new("my-plugin", env!("CARGO_PKG_VERSION"), "peers over plain TCP").with_example(EXAMPLE)
    }

    fn check(&self, settings: &Settings) -> Result<(), SetupError> {
        settings.parse::<Table>()?;
        Ok(())
    }

    fn bind(&self, settings: &Settings, context: TransportContext) -> Result<Box<dyn Transport>, SetupError> {
        let Table { peer_listen } = settings.parse()?;
        let TransportContext { chain_id, identity, loopback_only, .. } = context;
        if loopback_only && !peer_listen.ip().is_loopback() {
            return Err(vec![
                settings.error("peer_listen", "a node with a well-known development key listens on loopback only"),
            ]
            .into());
        }
        let failed = |source| SetupError::Listen { key: "peer_listen", address: peer_listen.to_string(), source };
        let listener = std::net::TcpListener::bind(peer_listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Box::new(Tcp { listener, chain_id, identity }))
    }
}
