//! Nodes for a trial: a key, a transport, both queues each, and what was told of peers.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use quorate::{
    ChainId, PeerId, Transport,
    plugin::SetupError,
    transport::{
        COMMANDS_MAX, Class, EVENTS_MAX, Identity, Io, Purpose, TransportCommand, TransportContext, TransportError,
        TransportEvent,
    },
};
use tokio::{runtime::Runtime, sync::mpsc, task::JoinHandle, time::timeout};

use super::{
    super::{
        identity::{ANY_PORT, Key, PATIENCE, no_node, runtime, stopped},
        rule::{OrBroken, Outcome, Trouble, broken, ensure},
    },
    TransportSuite,
};

/// The network of most nodes.
pub(super) const CHAIN: u8 = 1;

/// All classes, the most urgent first.
pub(super) const CLASSES: [Class; 3] = [Class::Consensus, Class::Pool, Class::Sync];

pub(super) fn id(key: u8) -> PeerId {
    Key::new(key).public_key().into()
}

pub(super) fn context(key: u8, chain: u8) -> TransportContext {
    TransportContext {
        chain_id: ChainId::new([chain; 32]),
        chain_name: "trial".into(),
        name: format!("node-{key}"),
        role: "validator".into(),
        version: "0".into(),
        identity: Key::new(key),
        node: no_node(),
        loopback_only: true,
        admin_token: None,
    }
}

impl TransportSuite<'_> {
    /// Binds a transport; the one of a node which stopped just now may need a moment to let go of the address.
    pub(super) fn try_bind(&self, key: u8, chain: u8, listen: &str) -> Result<Box<dyn Transport>, SetupError> {
        self.plugin.bind(&self.settings(listen), context(key, chain))
    }
}

/// Where a transport listens for peers.
pub(super) fn peer_address(transport: &dyn Transport) -> Option<SocketAddr> {
    transport.listening().into_iter().find(|(purpose, _)| *purpose == Purpose::Peer).map(|(_, address)| address)
}

/// How others reach it.
fn reached_at(transport: &dyn Transport) -> String {
    let listening = || peer_address(transport).map(|address| address.to_string());
    transport.advertised(Purpose::Peer).or_else(listening).unwrap_or_default()
}

/// The nodes' machine.
pub(super) struct Net<'a> {
    suite: &'a TransportSuite<'a>,
    pub(super) runtime: Runtime,
}

impl<'a> Net<'a> {
    pub(super) fn new(suite: &'a TransportSuite<'a>) -> Result<Self, Trouble> {
        Ok(Self { suite, runtime: runtime()? })
    }

    pub(super) fn node(&self, key: u8) -> Result<Node<'_>, Trouble> {
        self.node_with(key, CHAIN, ANY_PORT, EVENTS_MAX)
    }

    pub(super) fn node_with(&self, key: u8, chain: u8, listen: &str, events: usize) -> Result<Node<'_>, Trouble> {
        let begun = Instant::now();
        let transport = loop {
            match self.suite.try_bind(key, chain, listen) {
                Err(SetupError::Listen { .. }) if listen != ANY_PORT && begun.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                bound => break bound.or_broken(format!("binding a transport at {listen}"))?,
            }
        };
        Ok(self.run(key, transport, events))
    }

    /// Runs a bound transport, with room for so many events.
    pub(super) fn run(&self, key: u8, transport: Box<dyn Transport>, events: usize) -> Node<'_> {
        let address = reached_at(&*transport);
        let (commands, for_transport) = mpsc::channel(COMMANDS_MAX);
        let (to_kernel, events) = mpsc::channel(events);
        let running = self.runtime.spawn(transport.run(Io { commands: for_transport, events: to_kernel }));
        let runtime = &self.runtime;
        Node { runtime, id: id(key), address, commands, events, running, ups: BTreeMap::new(), downs: BTreeMap::new() }
    }

    /// Two connected nodes.
    pub(super) fn pair(&self) -> Result<(Node<'_>, Node<'_>), Trouble> {
        self.pair_with(EVENTS_MAX)
    }

    /// The same, of which the second has room for so many events.
    pub(super) fn pair_with(&self, events: usize) -> Result<(Node<'_>, Node<'_>), Trouble> {
        let (mut one, mut two) = (self.node(1)?, self.node_with(2, CHAIN, ANY_PORT, events)?);
        meet(&mut one, &mut two)?;
        Ok((one, two))
    }
}

/// Lets the first dial the second, and waits until both are told.
pub(super) fn meet(one: &mut Node<'_>, two: &mut Node<'_>) -> Outcome {
    one.dial(two)?;
    one.up(two.id)?;
    two.up(one.id)
}

/// A running node.
pub(super) struct Node<'a> {
    runtime: &'a Runtime,
    pub(super) id: PeerId,
    pub(super) address: String,
    pub(super) commands: mpsc::Sender<TransportCommand>,
    pub(super) events: mpsc::Receiver<TransportEvent>,
    running: JoinHandle<Result<(), TransportError>>,
    /// How often each peer was told to be there, and to be gone.
    pub(super) ups: BTreeMap<PeerId, u32>,
    pub(super) downs: BTreeMap<PeerId, u32>,
}

impl Node<'_> {
    pub(super) fn command(&self, command: TransportCommand) -> Outcome {
        let sent = self.runtime.block_on(async { timeout(PATIENCE, self.commands.send(command)).await });
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => broken("the transport has ended by itself"),
            Err(_) => broken(format!("the transport took no command for {PATIENCE:?}")),
        }
    }

    pub(super) fn dial(&self, other: &Node<'_>) -> Outcome {
        self.dial_as(other.id, &other.address)
    }

    pub(super) fn dial_as(&self, peer: PeerId, address: &str) -> Outcome {
        self.command(TransportCommand::Dial { peer, address: address.to_owned() })
    }

    pub(super) fn send(&self, to: PeerId, class: Class, bytes: impl Into<Bytes>) -> Outcome {
        self.command(TransportCommand::Send { to, class, bytes: bytes.into() })
    }

    /// The next event within this time; `None` when there is none.
    pub(super) fn event(&mut self, within: Duration) -> Result<Option<TransportEvent>, Trouble> {
        let event = match self.runtime.block_on(async { timeout(within, self.events.recv()).await }) {
            Err(_) => return Ok(None),
            Ok(None) => return broken("the transport has ended by itself"),
            Ok(Some(event)) => event,
        };
        match &event {
            TransportEvent::PeerUp { peer, .. } => *self.ups.entry(*peer).or_default() += 1,
            TransportEvent::PeerDown { peer, .. } => *self.downs.entry(*peer).or_default() += 1,
            _ => {}
        }
        Ok(Some(event))
    }

    /// The first event of which `wanted` makes something, in time; others are passed over.
    pub(super) fn wait<T>(
        &mut self,
        what: &str,
        mut wanted: impl FnMut(&TransportEvent) -> Option<T>,
    ) -> Result<T, Trouble> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.event(left)? {
                None => return broken(format!("{what} was not told within {PATIENCE:?}")),
                Some(event) => {
                    if let Some(found) = wanted(&event) {
                        return Ok(found);
                    }
                }
            }
        }
    }

    pub(super) fn up(&mut self, other: PeerId) -> Outcome {
        let wanted = |event: &TransportEvent| matches!(event, TransportEvent::PeerUp { peer, .. } if *peer == other);
        self.wait("that a peer is connected", |event| wanted(event).then_some(()))
    }

    pub(super) fn down(&mut self, other: PeerId) -> Outcome {
        let wanted = |event: &TransportEvent| matches!(event, TransportEvent::PeerDown { peer, .. } if *peer == other);
        self.wait("that a peer is gone", |event| wanted(event).then_some(()))
    }

    /// The next message.
    pub(super) fn message(&mut self) -> Result<(PeerId, Class, Bytes), Trouble> {
        self.wait("a message", |event| match event {
            TransportEvent::Message { from, class, bytes } => Some((*from, *class, bytes.clone())),
            _ => None,
        })
    }

    /// The same, which must be this one.
    pub(super) fn receives(&mut self, from: PeerId, class: Class, bytes: &[u8]) -> Outcome {
        let found = self.message()?;
        ensure((found.0, found.1, &found.2[..]) == (from, class, bytes), || {
            let (other, class, bytes) = &found;
            format!("a message came that was not expected here: {class:?} from {other}, {} bytes", bytes.len())
        })
    }

    /// Tells it to stop, or closes its commands, and waits for its end.
    pub(super) fn stop(self, by_command: bool, when: &str) -> Outcome {
        if by_command {
            self.command(TransportCommand::Stop)?;
        }
        let Self { runtime, commands, events, running, .. } = self;
        if !by_command {
            drop(commands);
        }
        let ended = stopped(runtime, running, when);
        // Held open until then, as a kernel does which is not reading.
        drop(events);
        ended
    }

    /// Ends at once, without a word, as a killed process does.
    pub(super) fn kill(self) {
        self.running.abort();
        // It is cancelled, or has ended by itself.
        drop(self.runtime.block_on(self.running));
    }
}

/// Both nodes still exchange messages.
pub(super) fn undisturbed(one: &mut Node<'_>, two: &mut Node<'_>, rounds: u8) -> Outcome {
    for round in 0..rounds {
        one.send(two.id, Class::Consensus, vec![round; 9])?;
        two.receives(one.id, Class::Consensus, &[round; 9])?;
        two.send(one.id, Class::Pool, vec![round; 7])?;
        one.receives(two.id, Class::Pool, &[round; 7])?;
    }
    Ok(())
}
