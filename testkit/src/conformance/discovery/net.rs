//! Nodes that look for each other, and where their source is.

use std::{
    any::Any,
    net::SocketAddr,
    time::{Duration, Instant},
};

use quorate::{
    ChainId, PeerId, PublicKey,
    discovery::{DiscoveryCommand, DiscoveryContext, DiscoveryError, DiscoveryEvent},
    transport::{COMMANDS_MAX, EVENTS_MAX, Identity, Io},
};
use tokio::{runtime::Runtime, sync::mpsc, task::JoinHandle, time::timeout};

use super::{
    super::{
        identity::{ANY_PORT, Key, PATIENCE, runtime, stopped},
        rule::{OrBroken, Outcome, Trouble, broken, does_not_apply},
        service::{Running, make},
    },
    DiscoverySuite,
};

/// The network of most nodes.
pub(super) const CHAIN: u8 = 1;

pub(super) fn key_of(node: u8) -> PublicKey {
    Key::new(node).public_key()
}

/// Where peers reach a node; nobody listens there.
pub(super) fn address_of(node: u8) -> String {
    format!("127.0.0.1:{}", 40_000 + u16::from(node))
}

pub(super) fn context(node: u8, chain: u8) -> DiscoveryContext {
    DiscoveryContext {
        chain_id: ChainId::new([chain; 32]),
        name: format!("node-{node}"),
        identity: Key::new(node),
        peer_address: address_of(node),
        rpc_url: format!("http://127.0.0.1:{}", 41_000 + u16::from(node)),
    }
}

/// The nodes' machine, and the address of the source there, which may be up or down.
pub(super) struct Net<'a> {
    pub(super) suite: &'a DiscoverySuite<'a>,
    pub(super) runtime: Runtime,
    pub(super) source: String,
    running: Option<Running>,
}

impl<'a> Net<'a> {
    /// With the source, if it has one, up.
    pub(super) fn new(suite: &'a DiscoverySuite<'a>) -> Result<Self, Trouble> {
        let mut net = Self { suite, runtime: runtime()?, source: ANY_PORT.to_owned(), running: None };
        if suite.source.is_some() {
            net.up()?;
        }
        Ok(net)
    }

    /// The same, for rules about sources.
    pub(super) fn with_source(suite: &'a DiscoverySuite<'a>) -> Result<Self, Trouble> {
        if suite.source.is_none() {
            return does_not_apply("it has no source that could fail");
        }
        Self::new(suite)
    }

    /// Starts the source, at the address where it was.
    pub(super) fn up(&mut self) -> Outcome {
        let Some((plugin, settings)) = &self.suite.source else { return Ok(()) };
        let begun = Instant::now();
        let made = loop {
            match make(*plugin, settings, &self.source) {
                // The one before may need a moment to let go of the address.
                Err(_) if begun.elapsed() < PATIENCE && self.source != ANY_PORT => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                made => break made.or_broken(format!("making the source at {}", self.source))?,
            }
        };
        let running = Running::start(&self.runtime, made);
        let address: SocketAddr = running.addresses.first().copied().or_broken("asking where the source listens")?;
        self.source = address.to_string();
        self.running = Some(running);
        Ok(())
    }

    /// Stops the source.
    pub(super) fn down(&mut self) -> Outcome {
        match self.running.take() {
            Some(running) => running.stop(&self.runtime, true, "the source, told to stop,"),
            None => Ok(()),
        }
    }

    /// Runs a node which shall find `peer`.
    pub(super) fn node(&self, node: u8, peer: u8) -> Result<Node, Trouble> {
        self.node_with(node, CHAIN, peer, EVENTS_MAX)
    }

    pub(super) fn node_with(&self, node: u8, chain: u8, peer: u8, events: usize) -> Result<Node, Trouble> {
        let context = context(node, chain);
        let present = self.suite.presence.as_ref().map(|make| make(&context));
        let settings = self.suite.settings(&self.source, peer);
        let discovery = self.suite.plugin.build(&settings, context).or_broken("making a discovery")?;
        let (commands, for_discovery) = mpsc::channel(COMMANDS_MAX);
        let (to_kernel, events) = mpsc::channel(events);
        let running = self.runtime.spawn(discovery.run(Io { commands: for_discovery, events: to_kernel }));
        Ok(Node { commands, events, running, _present: present })
    }
}

/// A running discovery.
pub(super) struct Node {
    commands: mpsc::Sender<DiscoveryCommand>,
    events: mpsc::Receiver<DiscoveryEvent>,
    running: JoinHandle<Result<(), DiscoveryError>>,
    _present: Option<Box<dyn Any>>,
}

impl Node {
    /// The next event within this time; `None` when there is none.
    pub(super) fn event(&mut self, net: &Net<'_>, within: Duration) -> Result<Option<DiscoveryEvent>, Trouble> {
        match net.runtime.block_on(async { timeout(within, self.events.recv()).await }) {
            Err(_) => Ok(None),
            Ok(None) => broken("the discovery has ended by itself"),
            Ok(Some(event)) => Ok(Some(event)),
        }
    }

    /// The first event of which `wanted` makes something, in time; others are passed over.
    pub(super) fn wait<T>(
        &mut self,
        net: &Net<'_>,
        what: &str,
        mut wanted: impl FnMut(&DiscoveryEvent) -> Option<T>,
    ) -> Result<T, Trouble> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.event(net, left)? {
                None => return broken(format!("{what} was not told within {PATIENCE:?}")),
                Some(event) => {
                    if let Some(found) = wanted(&event) {
                        return Ok(found);
                    }
                }
            }
        }
    }

    /// Waits until a node is found; gives its address.
    pub(super) fn finds(&mut self, net: &Net<'_>, node: u8) -> Result<String, Trouble> {
        let wanted = PeerId::from(key_of(node));
        self.wait(net, &format!("node {node}"), |event| match event {
            DiscoveryEvent::Found { peer, address, .. } if *peer == wanted => Some(address.clone()),
            _ => None,
        })
    }

    /// Waits until it says that its source answers, or does not.
    pub(super) fn source_is(&mut self, net: &Net<'_>, up: bool) -> Outcome {
        self.wait(net, if up { "that the source answers" } else { "that the source does not answer" }, |event| {
            matches!(event, DiscoveryEvent::Source { reachable, .. } if *reachable == up).then_some(())
        })
    }

    /// Tells it to stop, or closes its commands, and waits for its end.
    pub(super) fn stop(self, net: &Net<'_>, by_command: bool, when: &str) -> Outcome {
        let Self { commands, events, running, _present } = self;
        if by_command && commands.try_send(DiscoveryCommand::Stop).is_err() {
            return broken("the discovery has ended by itself, or takes no commands");
        }
        if !by_command {
            drop(commands);
        }
        let ended = stopped(&net.runtime, running, when);
        // Held open until then, as a kernel does which is not reading.
        drop(events);
        ended
    }
}
