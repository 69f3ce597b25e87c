//! The transport over a hub: authenticated by construction, with a queue a class, the most urgent first.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use quorate::{
    PeerId, Settings, Transport,
    plugin::{Descriptor, SetupError, TransportPlugin},
    transport::{Class, Io, Purpose, TransportCommand, TransportContext, TransportError, TransportEvent},
};
use tokio::{sync::mpsc, time::Instant};

use super::hub::{Hub, Inbox, Member, NODES_MAX};

/// Where a node on a hub is, as told to discovery: there is only one place.
pub(super) const ADDRESS: &str = "memory";

/// The plugin `memory`.
#[derive(Debug, Clone)]
pub struct MemoryTransportPlugin(Hub);

impl MemoryTransportPlugin {
    /// A plugin whose nodes meet on `hub`.
    pub fn new(hub: &Hub) -> Self {
        Self(hub.clone())
    }
}

impl TransportPlugin for MemoryTransportPlugin {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new("memory", env!("CARGO_PKG_VERSION"), "connects nodes inside one process")
    }

    fn check(&self, settings: &Settings) -> Result<(), SetupError> {
        super::no_settings(settings)
    }

    fn bind(&self, settings: &Settings, context: TransportContext) -> Result<Box<dyn Transport>, SetupError> {
        self.check(settings)?;
        let peer = PeerId::from(context.identity.public_key());
        let member = Member { peer, name: context.name, chain_id: context.chain_id };
        let inbox = self.0.join(member.clone()).ok_or_else(|| {
            SetupError::Other(format!(
                "{peer} is on the hub already, or the hub is full; each node needs its own key, and there is room for {NODES_MAX}"
            ))
        })?;
        Ok(Box::new(MemoryTransport {
            hub: self.0.clone(),
            member,
            inbox,
            peers: BTreeMap::new(),
            banned: BTreeMap::new(),
        }))
    }
}

/// One node's side of a [`Hub`].
pub struct MemoryTransport {
    hub: Hub,
    member: Member,
    inbox: Inbox,
    /// Connected, with names.
    peers: BTreeMap<PeerId, String>,
    banned: BTreeMap<PeerId, Instant>,
}

impl Drop for MemoryTransport {
    fn drop(&mut self) {
        self.hub.leave(&self.member.peer);
    }
}

type Events = mpsc::Sender<TransportEvent>;

impl MemoryTransport {
    /// Tells who came and went since the last time; `None` when the kernel is gone.
    async fn meet(&mut self, members: &[Member], events: &Events) -> Option<()> {
        let now = Instant::now();
        self.banned.retain(|_, until| *until > now);
        let (same, other): (Vec<&Member>, Vec<&Member>) = members
            .iter()
            .filter(|member| member.peer != self.member.peer)
            .partition(|member| member.chain_id == self.member.chain_id);
        for member in other {
            let reason = format!("peer is of chain {}, this node of {}", member.chain_id, self.member.chain_id);
            events.send(TransportEvent::PeerRefused { address: member.name.clone(), reason }).await.ok()?;
        }
        let here: BTreeSet<PeerId> =
            same.iter().map(|member| member.peer).filter(|peer| !self.banned.contains_key(peer)).collect();
        let gone: Vec<PeerId> = self.peers.keys().filter(|peer| !here.contains(peer)).copied().collect();
        for peer in gone {
            self.peers.remove(&peer);
            events.send(TransportEvent::PeerDown { peer, reason: "left the hub".into() }).await.ok()?;
        }
        for member in same.into_iter().filter(|member| here.contains(&member.peer)) {
            if self.peers.insert(member.peer, member.name.clone()).is_none() {
                let (peer, name) = (member.peer, member.name.clone());
                events.send(TransportEvent::PeerUp { peer, name, address: ADDRESS.into() }).await.ok()?;
            }
        }
        Some(())
    }

    fn send(&self, to: &PeerId, class: Class, bytes: Bytes) {
        if self.peers.contains_key(to) {
            self.hub.send(self.member.peer, to, class, bytes);
        }
    }

    /// `None` when the transport shall stop.
    async fn command(&mut self, command: Option<TransportCommand>, events: &Events) -> Option<()> {
        match command? {
            TransportCommand::Send { to, class, bytes } => self.send(&to, class, bytes),
            TransportCommand::Broadcast { class, bytes } => {
                for to in self.peers.keys() {
                    self.send(to, class, bytes.clone());
                }
            }
            TransportCommand::Disconnect { peer, reason, ban_ms } => {
                self.banned.insert(peer, Instant::now() + Duration::from_millis(ban_ms));
                if self.peers.remove(&peer).is_some() {
                    events.send(TransportEvent::PeerDown { peer, reason }).await.ok()?;
                }
            }
            TransportCommand::Stop => return None,
            // Everybody on the hub is connected, and there are no subscriptions.
            _ => {}
        }
        Some(())
    }

    async fn deliver(&self, class: Class, message: Option<(PeerId, Bytes)>, events: &Events) -> Option<()> {
        let (from, bytes) = message?;
        if self.peers.contains_key(&from) {
            events.send(TransportEvent::Message { from, class, bytes }).await.ok()?;
        }
        Some(())
    }
}

#[quorate::async_trait]
impl Transport for MemoryTransport {
    fn listening(&self) -> Vec<(Purpose, std::net::SocketAddr)> {
        Vec::new()
    }

    fn advertised(&self, purpose: Purpose) -> Option<String> {
        (purpose == Purpose::Peer).then(|| ADDRESS.to_owned())
    }

    async fn run(mut self: Box<Self>, io: Io<TransportCommand, TransportEvent>) -> Result<(), TransportError> {
        let Io { mut commands, events } = io;
        let mut members = self.hub.members();
        loop {
            let seen = members.borrow_and_update().clone();
            if self.meet(&seen, &events).await.is_none() {
                return Ok(());
            }
            let unbanned = self.banned.values().min().copied();
            let again = async {
                match unbanned {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            let going = tokio::select! {
                biased;
                command = commands.recv() => self.command(command, &events).await,
                changed = members.changed() => changed.ok(),
                message = self.inbox.consensus.recv() => self.deliver(Class::Consensus, message, &events).await,
                message = self.inbox.pool.recv() => self.deliver(Class::Pool, message, &events).await,
                message = self.inbox.sync.recv() => self.deliver(Class::Sync, message, &events).await,
                () = again => Some(()),
            };
            if going.is_none() {
                return Ok(());
            }
        }
    }
}
