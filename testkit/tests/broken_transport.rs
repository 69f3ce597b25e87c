//! Each rule of the Transport slot catches a transport that breaks it: the one over HTTP, with one mistake at a time.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod broken;

use std::{
    collections::{BTreeSet, VecDeque},
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use broken::{assert_all_proven, catches, try_all};
use quorate::{
    Bytes, ChainId, PeerId, Settings, Transport,
    plugin::{Descriptor, SetupError, TransportPlugin},
    transport::{
        Class, EVENTS_MAX, Io, MESSAGE_BYTES_MAX, Purpose, TransportCommand, TransportContext, TransportError,
        TransportEvent,
    },
};
use quorate_testkit::conformance::{self, TransportSuite};
use quorate_transport_http::HttpPlugin;
use tokio::{io::AsyncReadExt, sync::mpsc};

/// One mistake of a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    NamedBadly,
    BadExample,
    TakesAnyKey,
    TellsTwice,
    Swaps,
    Doubles,
    SendsToAll,
    SendsToOne,
    CutsLong,
    CutsTooLong,
    OneQueue,
    TakesAll,
    Drops,
    AnyNetwork,
    AnyKey,
    ForgetsPeers,
    OldAddress,
    ShortBans,
    StopsSlowly,
    RunsAtOnce,
    SaysPortZero,
    AnotherPort,
    Everywhere,
    FallsToStrangers,
    LeavesListeners,
}

const BUGS: &[(Bug, &str)] = &[
    (Bug::NamedBadly, "the descriptor says who it is"),
    (Bug::BadExample, "the example of its settings parses"),
    (Bug::TakesAnyKey, "an unknown key is refused with its place"),
    (Bug::TellsTwice, "a peer is told once"),
    (Bug::Swaps, "messages of one peer and class come in order"),
    (Bug::Doubles, "on a standing connection nothing is lost or doubled"),
    (Bug::SendsToAll, "a message to one peer reaches no other"),
    (Bug::SendsToOne, "a broadcast reaches every peer"),
    (Bug::CutsLong, "the longest message arrives whole"),
    (Bug::CutsTooLong, "a longer message does not arrive"),
    (Bug::OneQueue, "urgent messages overtake"),
    (Bug::Drops, "a slow receiver loses no consensus message"),
    (Bug::TakesAll, "a slow receiver does not fill the memory"),
    (Bug::AnyNetwork, "a peer of another network is refused"),
    (Bug::AnyKey, "another key is refused"),
    (Bug::ForgetsPeers, "a peer that comes back is connected again"),
    (Bug::OldAddress, "a newer address replaces the older"),
    (Bug::ShortBans, "a banned peer stays away"),
    (Bug::StopsSlowly, "it stops within two seconds"),
    (Bug::RunsAtOnce, "nothing is accepted before it runs"),
    (Bug::SaysPortZero, "it says where it listens"),
    (Bug::AnotherPort, "an address in use is an error"),
    (Bug::Everywhere, "a development key stays on loopback"),
    (Bug::FallsToStrangers, "strangers disturb nobody"),
    (Bug::LeavesListeners, "made and dropped a hundred times leaves nothing"),
];

const LISTEN: &str = "peer_listen = \"{listen}\"\nrpc_listen = \"127.0.0.1:0\"\n";

fn suite(plugin: &WrongPlugin) -> TransportSuite<'_> {
    conformance::transport(plugin, LISTEN)
}

#[test]
fn every_rule_catches_a_transport_that_breaks_it() {
    try_all(BUGS, |bug, rule| catches(&suite(&WrongPlugin(bug)).suite(), rule));
    assert_all_proven("transport", BUGS.iter().map(|(_, rule)| *rule));
}

struct WrongPlugin(Bug);

impl TransportPlugin for WrongPlugin {
    fn descriptor(&self) -> Descriptor {
        let mut descriptor = HttpPlugin.descriptor();
        if self.0 == Bug::NamedBadly {
            descriptor.summary = "";
        }
        if self.0 == Bug::BadExample {
            descriptor.example = "# Where to listen.\nlisten = \"127.0.0.1:1\"\n";
        }
        descriptor
    }

    fn check(&self, settings: &Settings) -> Result<(), SetupError> {
        match HttpPlugin.check(settings) {
            Err(SetupError::Settings(errors))
                if self.0 == Bug::TakesAnyKey && errors.iter().all(|error| error.message.contains("unknown")) =>
            {
                Ok(())
            }
            checked => checked,
        }
    }

    fn bind(&self, settings: &Settings, mut context: TransportContext) -> Result<Box<dyn Transport>, SetupError> {
        match self.0 {
            Bug::AnyNetwork => context.chain_id = ChainId::new([0; 32]),
            Bug::Everywhere => context.loopback_only = false,
            _ => {}
        }
        let inner = match HttpPlugin.bind(settings, context.clone()) {
            Err(SetupError::Listen { .. }) if self.0 == Bug::AnotherPort => {
                HttpPlugin.bind(&Settings::from_text(&LISTEN.replace("{listen}", "127.0.0.1:0")), context)?
            }
            bound => bound?,
        };
        let listening = inner.listening();
        if self.0 == Bug::LeavesListeners {
            std::mem::forget(TcpListener::bind("127.0.0.1:0"));
        }
        let open = (self.0 == Bug::FallsToStrangers).then(|| TcpListener::bind("127.0.0.1:0").unwrap());
        let inner = if self.0 == Bug::RunsAtOnce { Inner::Running(run_at_once(inner)) } else { Inner::Bound(inner) };
        Ok(Box::new(Wrong { bug: self.0, inner, listening, open }))
    }
}

/// The ends of the queues of a transport.
struct Ends {
    commands: mpsc::Sender<TransportCommand>,
    events: mpsc::Receiver<TransportEvent>,
}

fn queues() -> (Ends, Io<TransportCommand, TransportEvent>) {
    let (commands, for_transport) = mpsc::channel(16);
    let (to_us, events) = mpsc::channel(EVENTS_MAX);
    (Ends { commands, events }, Io { commands: for_transport, events: to_us })
}

fn run_at_once(transport: Box<dyn Transport>) -> Ends {
    let (ends, io) = queues();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(transport.run(io))
    });
    ends
}

enum Inner {
    Bound(Box<dyn Transport>),
    Running(Ends),
}

struct Wrong {
    bug: Bug,
    inner: Inner,
    listening: Vec<(Purpose, SocketAddr)>,
    open: Option<TcpListener>,
}

#[quorate::async_trait]
impl Transport for Wrong {
    fn listening(&self) -> Vec<(Purpose, SocketAddr)> {
        let mut listening = self.listening.clone();
        if self.bug == Bug::SaysPortZero {
            listening.iter_mut().for_each(|(_, address)| address.set_port(0));
        }
        listening.extend(self.open.iter().map(|open| (Purpose::Rpc, open.local_addr().unwrap())));
        listening
    }

    fn advertised(&self, _: Purpose) -> Option<String> {
        None
    }

    async fn run(self: Box<Self>, io: Io<TransportCommand, TransportEvent>) -> Result<(), TransportError> {
        let Self { bug, inner, open, .. } = *self;
        let Ends { commands, events } = match inner {
            Inner::Running(ends) => ends,
            Inner::Bound(transport) => {
                let (ends, io) = queues();
                tokio::spawn(transport.run(io));
                ends
            }
        };
        let Io { commands: from_kernel, events: to_kernel } = io;
        let outgoing = Outgoing { bug, peers: BTreeSet::new(), dialled: BTreeSet::new() };
        tokio::select! {
            () = outgoing.run(from_kernel, commands) => {}
            () = incoming(bug, events, to_kernel) => {}
            () = stranger(open) => {}
        }
        if bug == Bug::StopsSlowly {
            tokio::time::sleep(Duration::from_secs(6)).await;
        }
        Ok(())
    }
}

/// Returns when anybody says something here.
async fn stranger(open: Option<TcpListener>) {
    let Some(open) = open else { return std::future::pending().await };
    open.set_nonblocking(true).unwrap();
    let open = tokio::net::TcpListener::from_std(open).unwrap();
    while let Ok((mut stream, _)) = open.accept().await {
        if stream.read(&mut [0; 16]).await.is_ok_and(|len| len > 0) {
            return;
        }
    }
}

/// Commands on their way from the kernel.
struct Outgoing {
    bug: Bug,
    peers: BTreeSet<PeerId>,
    dialled: BTreeSet<PeerId>,
}

impl Outgoing {
    async fn run(mut self, mut from: mpsc::Receiver<TransportCommand>, to: mpsc::Sender<TransportCommand>) {
        while let Some(command) = from.recv().await {
            let stops = matches!(command, TransportCommand::Stop);
            if let Some(command) = self.changed(command)
                && to.send(command).await.is_err()
            {
                return;
            }
            if stops {
                // Until the events end.
                return std::future::pending().await;
            }
        }
    }

    fn changed(&mut self, command: TransportCommand) -> Option<TransportCommand> {
        Some(match (self.bug, command) {
            (Bug::SendsToAll, TransportCommand::Send { class, bytes, .. }) => {
                TransportCommand::Broadcast { class, bytes }
            }
            (Bug::SendsToOne, TransportCommand::Broadcast { class, bytes }) => {
                TransportCommand::Send { to: *self.peers.first()?, class, bytes }
            }
            (Bug::CutsLong, TransportCommand::Send { to, class, bytes }) => {
                TransportCommand::Send { to, class, bytes: bytes.slice(..bytes.len().min(1 << 20)) }
            }
            (Bug::CutsTooLong, TransportCommand::Send { to, class, bytes }) => {
                TransportCommand::Send { to, class, bytes: bytes.slice(..bytes.len().min(MESSAGE_BYTES_MAX)) }
            }
            // The class is said in the message, and all share the queue of one.
            (Bug::OneQueue, TransportCommand::Send { to, class, bytes }) => {
                let bytes = [&[class as u8], &bytes[..]].concat().into();
                TransportCommand::Send { to, class: Class::Sync, bytes }
            }
            (Bug::OldAddress, TransportCommand::Dial { peer, .. }) if !self.dialled.insert(peer) => return None,
            (Bug::ShortBans, TransportCommand::Disconnect { peer, reason, .. }) => {
                TransportCommand::Disconnect { peer, reason, ban_ms: 1 }
            }
            (_, TransportCommand::Dial { peer, address }) => {
                self.peers.insert(peer);
                TransportCommand::Dial { peer, address }
            }
            (_, command) => command,
        })
    }
}

/// Events on their way to the kernel.
async fn incoming(bug: Bug, mut from: mpsc::Receiver<TransportEvent>, to: mpsc::Sender<TransportEvent>) {
    let mut waiting = VecDeque::new();
    let (mut gone, mut held) = (BTreeSet::new(), None);
    loop {
        let event = tokio::select! {
            event = from.recv() => event,
            room = to.reserve(), if !waiting.is_empty() => {
                let (Ok(room), Some(event)) = (room, waiting.pop_front()) else { return };
                room.send(event);
                continue;
            }
        };
        let Some(event) = event else { return };
        for event in changed(bug, event, &mut gone, &mut held) {
            match bug {
                // However many there are.
                Bug::TakesAll => waiting.push_back(event),
                Bug::Drops => drop(to.try_send(event)),
                _ if to.send(event).await.is_err() => return,
                _ => {}
            }
        }
    }
}

fn changed(
    bug: Bug,
    event: TransportEvent,
    gone: &mut BTreeSet<PeerId>,
    held: &mut Option<TransportEvent>,
) -> Vec<TransportEvent> {
    match (bug, &event) {
        (Bug::TellsTwice, TransportEvent::PeerUp { .. }) => vec![event.clone(), event],
        (Bug::OneQueue, TransportEvent::Message { from, bytes, .. }) => {
            let class = [Class::Consensus, Class::Pool, Class::Sync][usize::from(bytes[0])];
            vec![TransportEvent::Message { from: *from, class, bytes: bytes.slice(1..) }]
        }
        (Bug::Doubles, TransportEvent::Message { bytes, .. }) if bytes.len() == 99 => vec![event.clone(), event],
        (Bug::Swaps, TransportEvent::Message { class: Class::Pool, bytes, .. }) if held.is_none() && short(bytes) => {
            *held = Some(event);
            Vec::new()
        }
        (Bug::Swaps, TransportEvent::Message { class: Class::Pool, .. }) => {
            std::iter::once(event).chain(held.take()).collect()
        }
        (Bug::ForgetsPeers, TransportEvent::PeerDown { peer, .. }) => {
            gone.insert(*peer);
            vec![event]
        }
        (Bug::ForgetsPeers, TransportEvent::PeerUp { peer, .. }) if gone.contains(peer) => Vec::new(),
        (Bug::AnyKey, TransportEvent::PeerRefused { address, .. }) => {
            let (peer, address) = (PeerId::new([3; 32]), address.clone());
            vec![TransportEvent::PeerUp { peer, name: "whoever".into(), address }]
        }
        _ => vec![event],
    }
}

fn short(bytes: &Bytes) -> bool {
    bytes.len() < 50
}
