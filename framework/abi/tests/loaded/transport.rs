//! A loaded transport: it has a runtime of its own, two bounded queues to the node, and a supervisor.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use quorate::{
    Bytes, ChainId, PeerId, PublicKey, Settings, Signature,
    node::{Node, NodeHandle, NodeStatus, Reply, Request, Response},
    plugin::SetupError,
    transport::{
        Class, Identity, IdentityError, IdentityUse, Io, Purpose, TransportCommand, TransportContext, TransportError,
        TransportEvent,
    },
};
use quorate_abi::host::STOP_WAIT;
use tokio::sync::mpsc;

use crate::support::{faulty, transport};

const PATIENCE: Duration = Duration::from_secs(60);

/// Signs records by a pattern, and nothing else.
struct Key;

impl Identity for Key {
    fn public_key(&self) -> PublicKey {
        PublicKey::new([3; 32])
    }

    fn sign(&self, purpose: IdentityUse, bytes: &[u8]) -> Result<Signature, IdentityError> {
        match purpose {
            IdentityUse::Record => Ok(Signature::new([bytes.len() as u8; 64])),
            IdentityUse::TlsHandshake => Err(IdentityError("it is no handshake".into())),
        }
    }
}

/// Says its name, or drops the question.
struct Named(bool);

impl Node for Named {
    fn call(&self, _: Request, reply: Reply) {
        if self.0 {
            reply(Response::Status(Box::new(NodeStatus { name: "validator-1".into(), ..NodeStatus::default() })));
        }
    }
}

fn bind(fault: &str, node: Named) -> Result<Box<dyn quorate::Transport>, SetupError> {
    let context = TransportContext {
        chain_id: ChainId::new([9; 32]),
        chain_name: "test".into(),
        name: "validator-1".into(),
        role: "validator".into(),
        version: "1".into(),
        identity: Arc::new(Key),
        node: NodeHandle::new(Arc::new(node)),
        loopback_only: true,
        admin_token: None,
    };
    transport(&faulty(), "faulty").bind(&Settings::from_text(&format!("fault = \"{fault}\"")), context)
}

/// A transport that runs, the node's ends of its queues, and its end.
struct Running {
    commands: mpsc::Sender<TransportCommand>,
    events: mpsc::Receiver<TransportEvent>,
    task: tokio::task::JoinHandle<Result<(), TransportError>>,
}

fn run(fault: &str, room: usize) -> Running {
    let made = bind(fault, Named(true)).unwrap();
    let (commands, commands_rx) = mpsc::channel(room);
    let (events_tx, events) = mpsc::channel(room);
    let io = Io { commands: commands_rx, events: events_tx };
    Running { commands, events, task: tokio::spawn(made.run(io)) }
}

fn message(number: u64) -> TransportCommand {
    let bytes = Bytes::from(number.to_be_bytes().to_vec());
    TransportCommand::Send { to: PeerId::new([number as u8; 32]), class: Class::Pool, bytes }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_come_in_order_through_full_queues_both_ways() {
    const COUNT: u64 = 12_000;
    let Running { commands, mut events, task } = run("is slow", 4);
    let sending = tokio::spawn(async move {
        for number in 0..COUNT {
            commands.send(message(number)).await.unwrap();
        }
        commands
    });
    for number in 0..COUNT {
        if number % 3000 == 0 {
            // Time enough for every queue on the way to be full.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let event = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
        let TransportEvent::Message { from, class: Class::Pool, bytes } = event else { panic!("{event:?}") };
        assert_eq!((from, bytes.as_ref()), (PeerId::new([number as u8; 32]), number.to_be_bytes().as_slice()));
    }
    let commands = sending.await.unwrap();
    commands.send(TransportCommand::Stop).await.unwrap();
    tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_signs_and_answers_for_it() {
    let Running { commands, mut events, task } = run("none", 16);
    commands.send(TransportCommand::Dial { peer: PeerId::new([1; 32]), address: "a:1".into() }).await.unwrap();
    let event = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
    let TransportEvent::PeerRefused { address, reason } = event else { panic!("{event:?}") };
    assert_eq!(address, "a:1");
    assert_eq!(
        reason,
        format!("validator-1 {} true", Signature::new([6; 64])),
        "it signs a record, and refuses a handshake"
    );
    drop(commands);
    tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_is_dropped_is_answered_all_the_same() {
    let made = bind("none", Named(false)).unwrap();
    let (commands, commands_rx) = mpsc::channel(4);
    let (events_tx, mut events) = mpsc::channel(4);
    let task = tokio::spawn(made.run(Io { commands: commands_rx, events: events_tx }));
    commands.send(TransportCommand::Dial { peer: PeerId::new([1; 32]), address: "a:1".into() }).await.unwrap();
    let event = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
    assert!(
        matches!(&event, TransportEvent::PeerRefused { reason, .. } if reason.contains("the node is stopping")),
        "{event:?}"
    );
    drop(commands);
    tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap().unwrap();
}

#[test]
fn it_says_where_it_listens_and_why_it_can_not() {
    let made = bind("none", Named(true)).unwrap();
    assert_eq!(made.listening(), [(Purpose::Peer, ([127, 0, 0, 1], 7).into())]);
    assert_eq!(made.advertised(Purpose::Peer).as_deref(), Some("validator-1.example:7"));
    assert_eq!(made.advertised(Purpose::Rpc), None);
    let error = bind("can not listen", Named(true)).err().unwrap();
    let SetupError::Listen { key: "peer_listen", address, source } = error else { panic!("{error}") };
    assert_eq!((address.as_str(), source.raw_os_error()), ("127.0.0.1:7", Some(98)));
    drop(made);
}

#[tokio::test(flavor = "multi_thread")]
async fn how_it_ends_is_told_with_its_name() {
    let ended = |fault: &'static str| async move {
        let Running { commands, events, task } = run(fault, 4);
        let ended = tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap();
        drop((commands, events));
        ended.unwrap_err().to_string()
    };
    let panicked = ended("panics in run").await;
    assert!(
        panicked.starts_with("plugin `faulty` of `libquorate_faulty.so` panicked in run: planted in run ("),
        "{panicked}"
    );
    let failed = ended("ends").await;
    assert!(
        failed.starts_with(
            "plugin `faulty` of `libquorate_faulty.so` ended: transport accept failed: Address already in use"
        ),
        "{failed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_stop_does_not_hold_up_the_node() {
    let Running { commands, events, task } = run("does not stop", 4);
    commands.send(TransportCommand::Stop).await.unwrap();
    let began = Instant::now();
    let error = tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap().unwrap_err().to_string();
    assert!(error.ends_with(&format!("did not return from run within {} s", STOP_WAIT.as_secs())), "{error}");
    assert!(began.elapsed() < PATIENCE);
    drop(events);
}
