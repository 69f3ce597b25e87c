//! The in-memory plugins as a kernel uses them.
#![expect(clippy::expect_used, reason = "the set-up of a test may fail loudly")]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use quorate::{
    Application, ChainId, Hash, Height, PeerId, PublicKey, Settings, Signature, Timestamp,
    application::{BlockContext, Mode, Rejection},
    node::{Node, NodeHandle, Reply, Request, Response},
    plugin::TransportPlugin,
    transport::{Class, Identity, IdentityError, IdentityUse, Io, TransportCommand, TransportContext, TransportEvent},
};
use quorate_testkit::memory::{Hub, MemoryApplication, MemoryState, MemoryTransportPlugin};
use tokio::sync::mpsc;

struct Nobody(u8);

impl Identity for Nobody {
    fn public_key(&self) -> PublicKey {
        PublicKey::new([self.0; 32])
    }

    fn sign(&self, _: IdentityUse, _: &[u8]) -> Result<Signature, IdentityError> {
        Err(IdentityError("not needed here".into()))
    }
}

impl Node for Nobody {
    fn call(&self, _: Request, reply: Reply) {
        reply(Response::Unavailable("not needed here".into()));
    }
}

fn context(n: u8, chain: u8) -> TransportContext {
    TransportContext {
        chain_id: ChainId::new([chain; 32]),
        chain_name: "test".into(),
        name: format!("node-{n}"),
        role: "validator".into(),
        version: "0".into(),
        identity: Arc::new(Nobody(n)),
        node: NodeHandle::new(Arc::new(Nobody(n))),
        loopback_only: true,
        admin_token: None,
    }
}

struct Side {
    commands: mpsc::Sender<TransportCommand>,
    events: mpsc::Receiver<TransportEvent>,
}

impl Side {
    fn new(hub: &Hub, n: u8, chain: u8) -> Self {
        let transport =
            MemoryTransportPlugin::new(hub).bind(&Settings::from_text(""), context(n, chain)).expect("room on the hub");
        let (commands, commands_rx) = mpsc::channel(16);
        let (events_tx, events) = mpsc::channel(16);
        tokio::spawn(transport.run(Io { commands: commands_rx, events: events_tx }));
        Self { commands, events }
    }

    async fn event(&mut self) -> TransportEvent {
        let waited = tokio::time::timeout(Duration::from_secs(10), self.events.recv()).await;
        waited.expect("an event within ten seconds").expect("a running transport")
    }
}

#[tokio::test]
async fn nodes_on_a_hub_meet_talk_and_part() {
    let hub = Hub::new();
    let (mut one, mut two) = (Side::new(&hub, 1, 7), Side::new(&hub, 2, 7));
    let (first, second) = (PeerId::new([1; 32]), PeerId::new([2; 32]));
    assert!(matches!(one.event().await, TransportEvent::PeerUp { peer, .. } if peer == second));
    assert!(matches!(two.event().await, TransportEvent::PeerUp { peer, .. } if peer == first));
    let bytes = Bytes::from_static(b"vote");
    one.commands.send(TransportCommand::Broadcast { class: Class::Consensus, bytes: bytes.clone() }).await.unwrap();
    let TransportEvent::Message { from, class, bytes: received } = two.event().await else { panic!("a message") };
    assert_eq!((from, class, received), (first, Class::Consensus, bytes));
    one.commands.send(TransportCommand::Stop).await.unwrap();
    assert!(matches!(two.event().await, TransportEvent::PeerDown { peer, .. } if peer == first));
}

#[tokio::test]
async fn a_node_of_another_chain_is_refused_and_a_key_is_used_once() {
    let hub = Hub::new();
    let (mut one, _other) = (Side::new(&hub, 1, 7), Side::new(&hub, 2, 8));
    let TransportEvent::PeerRefused { reason, .. } = one.event().await else { panic!("a refusal") };
    assert!(reason.contains("chain"), "{reason}");
    assert!(MemoryTransportPlugin::new(&hub).bind(&Settings::from_text(""), context(1, 7)).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_banned_peer_is_taken_again_when_the_ban_is_over() {
    let hub = Hub::new();
    let (mut one, _two) = (Side::new(&hub, 1, 7), Side::new(&hub, 2, 7));
    let peer = PeerId::new([2; 32]);
    assert!(matches!(one.event().await, TransportEvent::PeerUp { .. }));
    let ban = TransportCommand::Disconnect { peer, reason: "rude".into(), ban_ms: 5000 };
    let before = tokio::time::Instant::now();
    one.commands.send(ban).await.unwrap();
    assert!(matches!(one.event().await, TransportEvent::PeerDown { .. }));
    assert!(matches!(one.event().await, TransportEvent::PeerUp { .. }));
    assert!(before.elapsed() >= Duration::from_secs(5));
}

#[test]
fn the_log_takes_an_entry_once() {
    let application = MemoryApplication;
    let mut state = MemoryState::new();
    let genesis = application.genesis(&mut state).unwrap();
    let entries = [Bytes::from_static(b"a"), Bytes::from_static(b"b"), Bytes::from_static(b"a")];
    let mut block = BlockContext {
        chain_id: ChainId::new([7; 32]),
        height: Height(1),
        time: Timestamp(1),
        mode: Mode::Build,
        transactions: entries.as_slice().into(),
        misbehaviour: &[],
    };
    let outcome = application.execute(&mut state, &block).unwrap();
    assert_eq!(outcome.receipts.len(), 2);
    assert_eq!(outcome.left_out[0].0, 2);
    assert_ne!(outcome.app_hash, genesis);
    assert_eq!(application.query(&state, "count", b"").unwrap(), br#"{"count":2}"#);
    assert_eq!(application.query(&state, "log", br#"{"from":1}"#).unwrap(), br#"["0x62"]"#);
    block.mode = Mode::Apply;
    assert!(application.execute(&mut state, &block).is_err());
    assert!(matches!(application.check(&state, Timestamp(0), b"a"), Err(Rejection::Duplicate { .. })));
    assert!(application.verify(&state, &[Bytes::new()])[0].is_err());
    assert_ne!(outcome.app_hash, Hash::ZERO);
}
