//! Nodes for the tests: a key, a listener and both queues each, and ways to wait for what must come.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use quorate::{
    ChainId, PeerId, PublicKey, Signature,
    node::{Node, NodeHandle, Reply, Request, Response},
    transport::{
        COMMANDS_MAX, Class, EVENTS_MAX, Identity, IdentityError, IdentityUse, TransportCommand, TransportContext,
        TransportError, TransportEvent,
    },
};
use rustls::{SignatureScheme, crypto::ring::sign::any_eddsa_type, pki_types::PrivatePkcs8KeyDer, sign::SigningKey};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use crate::peer::{PeerSettings, Peers, Timing};

/// How long a test waits for what must come.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// An Ed25519 key made of one repeated byte.
#[derive(Debug)]
pub(super) struct TestKey(Arc<dyn SigningKey>);

impl TestKey {
    pub(super) fn new(seed: u8) -> Arc<Self> {
        // PKCS #8 of an Ed25519 key (RFC 8410, section 7) up to the seed.
        let mut der = hex::decode("302e020100300506032b657004220420").unwrap();
        der.extend([seed; 32]);
        Arc::new(Self(any_eddsa_type(&PrivatePkcs8KeyDer::from(der)).unwrap()))
    }
}

impl Identity for TestKey {
    fn public_key(&self) -> PublicKey {
        let spki = self.0.public_key().unwrap();
        PublicKey::new(spki[spki.len() - 32..].try_into().unwrap())
    }

    fn sign(&self, purpose: IdentityUse, bytes: &[u8]) -> Result<Signature, IdentityError> {
        if purpose != IdentityUse::TlsHandshake || !bytes.starts_with(&[b' '; 64]) {
            return Err(IdentityError("not a TLS 1.3 transcript".into()));
        }
        let signer = self.0.choose_scheme(&[SignatureScheme::ED25519]).unwrap();
        Ok(Signature::new(signer.sign(bytes).unwrap().try_into().unwrap()))
    }
}

/// Answers nothing.
struct NoNode;

impl Node for NoNode {
    fn call(&self, _request: Request, reply: Reply) {
        reply(Response::Unavailable("a test".into()));
    }
}

/// The id of the key with this seed.
pub(super) fn id(seed: u8) -> PeerId {
    TestKey::new(seed).public_key().into()
}

/// Two seeds, that of the smaller key first.
pub(super) fn ordered(one: u8, two: u8) -> (u8, u8) {
    if id(one) < id(two) { (one, two) } else { (two, one) }
}

pub(super) fn context(seed: u8, chain: u8) -> TransportContext {
    TransportContext {
        chain_id: ChainId::new([chain; 32]),
        chain_name: "test".into(),
        name: format!("node-{seed}"),
        role: "validator".into(),
        version: "0".into(),
        identity: TestKey::new(seed),
        node: NodeHandle::new(Arc::new(NoNode)),
        loopback_only: true,
        admin_token: None,
    }
}

pub(super) fn settings() -> PeerSettings {
    PeerSettings::new(([127, 0, 0, 1], 0).into())
}

/// Short times, for tests in which something has to time out.
pub(super) fn impatient() -> PeerSettings {
    let timing = Timing {
        handshake: Duration::from_millis(500),
        heartbeat: Duration::from_millis(100),
        silence: Duration::from_millis(500),
        stall: Duration::from_secs(1),
    };
    PeerSettings { timing, ..settings() }
}

/// A running node.
pub(super) struct TestNode {
    pub(super) id: PeerId,
    pub(super) address: SocketAddr,
    pub(super) commands: mpsc::Sender<TransportCommand>,
    pub(super) events: mpsc::Receiver<TransportEvent>,
    running: JoinHandle<Result<(), TransportError>>,
}

impl TestNode {
    pub(super) fn start(seed: u8) -> Self {
        Self::start_with(&settings(), &context(seed, 1))
    }

    pub(super) fn start_with(settings: &PeerSettings, context: &TransportContext) -> Self {
        let peers = Peers::bind(settings, context).unwrap();
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let address = peers.address();
        let running = tokio::spawn(peers.run(receiver, sender));
        Self { id: context.identity.public_key().into(), address, commands, events, running }
    }

    pub(super) async fn command(&self, command: TransportCommand) {
        self.commands.send(command).await.unwrap();
    }

    pub(super) async fn dial(&self, other: &TestNode) {
        self.dial_as(other.id, &other.address.to_string()).await;
    }

    pub(super) async fn dial_as(&self, peer: PeerId, address: &str) {
        self.command(TransportCommand::Dial { peer, address: address.into() }).await;
    }

    pub(super) async fn send(&self, to: PeerId, class: Class, bytes: impl Into<Bytes>) {
        self.command(TransportCommand::Send { to, class, bytes: bytes.into() }).await;
    }

    /// The next event.
    pub(super) async fn event(&mut self) -> TransportEvent {
        timeout(PATIENCE, self.events.recv()).await.expect("no event in time").expect("the node has ended")
    }

    /// The next event that `wanted` makes something of; others are passed over.
    pub(super) async fn wait<T>(&mut self, mut wanted: impl FnMut(TransportEvent) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(found) = wanted(self.event().await) {
                return found;
            }
        }
        panic!("the event did not come in time");
    }

    pub(super) async fn up(&mut self) -> PeerId {
        self.wait(|event| match event {
            TransportEvent::PeerUp { peer, .. } => Some(peer),
            _ => None,
        })
        .await
    }

    pub(super) async fn down(&mut self) -> (PeerId, String) {
        self.wait(|event| match event {
            TransportEvent::PeerDown { peer, reason } => Some((peer, reason)),
            _ => None,
        })
        .await
    }

    pub(super) async fn refusal(&mut self) -> (String, String) {
        self.wait(|event| match event {
            TransportEvent::PeerRefused { address, reason } => Some((address, reason)),
            _ => None,
        })
        .await
    }

    pub(super) async fn message(&mut self) -> (PeerId, Class, Bytes) {
        self.wait(|event| match event {
            TransportEvent::Message { from, class, bytes } => Some((from, class, bytes)),
            _ => None,
        })
        .await
    }

    /// Asserts that nothing comes for a while which is long for what would come at once.
    pub(super) async fn quiet(&mut self, while_ms: u64) {
        let event = timeout(Duration::from_millis(while_ms), self.events.recv()).await;
        assert!(event.is_err(), "unexpected: {event:?}");
    }

    /// Stops in order; how long it took.
    pub(super) async fn stop(self) -> Duration {
        let begun = Instant::now();
        self.command(TransportCommand::Stop).await;
        // Held open, as a kernel that is not reading does.
        let _events = self.events;
        timeout(PATIENCE, self.running).await.expect("not stopped in time").unwrap().unwrap();
        begun.elapsed()
    }

    /// Ends at once, without a word, as a killed process does.
    pub(super) async fn kill(self) {
        self.running.abort();
        assert!(self.running.await.unwrap_err().is_cancelled());
    }
}

/// Two connected nodes; the first has dialled.
pub(super) async fn pair(settings: &PeerSettings) -> (TestNode, TestNode) {
    let mut one = TestNode::start_with(settings, &context(1, 1));
    let mut two = TestNode::start_with(settings, &context(2, 1));
    one.dial(&two).await;
    assert_eq!((one.up().await, two.up().await), (two.id, one.id));
    (one, two)
}

/// Asserts that two connected nodes still exchange messages.
pub(super) async fn assert_undisturbed(one: &mut TestNode, two: &mut TestNode) {
    one.send(two.id, Class::Consensus, "still here").await;
    assert_eq!(two.message().await, (one.id, Class::Consensus, Bytes::from_static(b"still here")));
    two.send(one.id, Class::Consensus, "so am I").await;
    assert_eq!(one.message().await, (two.id, Class::Consensus, Bytes::from_static(b"so am I")));
}
