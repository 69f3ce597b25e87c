//! How fast two nodes in one process exchange messages over a loopback connection.
//!
//! `cargo bench -p quorate-transport-http --bench peers` prints one line for each figure. Sender, receiver, both ends of TLS and
//! the system's loopback share the machine, so a node on its own has about half of it to itself.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a measurement that can't be taken ends with the reason")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use quorate::{
    ChainId, PeerId, PublicKey, Signature,
    node::{Node, NodeHandle, Reply, Request, Response},
    transport::{
        COMMANDS_MAX, Class, EVENTS_MAX, Identity, IdentityError, IdentityUse, TransportCommand, TransportContext,
        TransportEvent,
    },
};
use quorate_transport_http::peer::{PeerSettings, Peers};
use rustls::{SignatureScheme, crypto::ring::sign::any_eddsa_type, pki_types::PrivatePkcs8KeyDer, sign::SigningKey};
use tokio::{sync::mpsc, time::timeout};

/// Messages under way at once: less than a consensus queue holds.
const WINDOW: usize = 1000;

struct Key(Arc<dyn SigningKey>);

impl Key {
    fn new(seed: u8) -> Self {
        // PKCS #8 of an Ed25519 key (RFC 8410, section 7) up to the seed.
        let mut der = hex::decode("302e020100300506032b657004220420").unwrap();
        der.extend([seed; 32]);
        Self(any_eddsa_type(&PrivatePkcs8KeyDer::from(der)).unwrap())
    }
}

impl Identity for Key {
    fn public_key(&self) -> PublicKey {
        let spki = self.0.public_key().unwrap();
        PublicKey::new(*spki.last_chunk().unwrap())
    }

    fn sign(&self, _purpose: IdentityUse, bytes: &[u8]) -> Result<Signature, IdentityError> {
        let signer = self.0.choose_scheme(&[SignatureScheme::ED25519]).unwrap();
        Ok(Signature::new(signer.sign(bytes).unwrap().try_into().unwrap()))
    }
}

struct NoNode;

impl Node for NoNode {
    fn call(&self, _request: Request, reply: Reply) {
        reply(Response::Unavailable("a measurement".into()));
    }
}

struct Side {
    id: PeerId,
    address: String,
    commands: mpsc::Sender<TransportCommand>,
    events: mpsc::Receiver<TransportEvent>,
}

impl Side {
    fn start(seed: u8) -> Self {
        let identity = Arc::new(Key::new(seed));
        let id = identity.public_key().into();
        let context = TransportContext {
            chain_id: ChainId::new([1; 32]),
            chain_name: "bench".into(),
            name: format!("node-{seed}"),
            role: "validator".into(),
            version: "0".into(),
            identity,
            node: NodeHandle::new(Arc::new(NoNode)),
            loopback_only: true,
            admin_token: None,
        };
        let peers = Peers::bind(&PeerSettings::new(([127, 0, 0, 1], 0).into()), &context).unwrap();
        let address = peers.address().to_string();
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        tokio::spawn(peers.run(receiver, sender));
        Self { id, address, commands, events }
    }

    async fn send(&self, to: PeerId, class: Class, bytes: &Bytes) {
        self.commands.send(TransportCommand::Send { to, class, bytes: bytes.clone() }).await.unwrap();
    }

    /// The class of the next message.
    async fn message(&mut self) -> Class {
        loop {
            match timeout(Duration::from_secs(30), self.events.recv()).await.unwrap().unwrap() {
                TransportEvent::Message { class, .. } => return class,
                TransportEvent::PeerUp { .. } => {}
                other => panic!("unexpected: {other:?}"),
            }
        }
    }
}

async fn pair() -> (Side, Side) {
    let (one, mut two) = (Side::start(1), Side::start(2));
    one.commands.send(TransportCommand::Dial { peer: two.id, address: two.address.clone() }).await.unwrap();
    let up = two.events.recv().await.unwrap();
    assert!(matches!(up, TransportEvent::PeerUp { .. }));
    // Until the dialler's side stands too.
    let ready = Bytes::from_static(b"ready");
    two.send(one.id, Class::Pool, &ready).await;
    let mut one = one;
    one.message().await;
    (one, two)
}

/// Sends `count` messages with at most `window` under way; the time from the first sent to the last received.
async fn stream(class: Class, length: usize, count: usize, window: usize) -> Duration {
    let (one, mut two) = pair().await;
    let (permits, to) = (Arc::new(tokio::sync::Semaphore::new(window)), two.id);
    let begun = Instant::now();
    let sender = tokio::spawn({
        let permits = Arc::clone(&permits);
        async move {
            let bytes = Bytes::from(vec![7; length]);
            for _ in 0..count {
                permits.acquire().await.unwrap().forget();
                one.send(to, class, &bytes).await;
            }
            one
        }
    });
    for _ in 0..count {
        two.message().await;
        permits.add_permits(1);
    }
    let elapsed = begun.elapsed();
    drop(sender.await.unwrap());
    elapsed
}

/// Times from a vote sent to the vote received, sorted; meanwhile `load` keeps two blocks of 8 MiB under way.
async fn vote_latencies(count: usize, load: bool) -> Vec<Duration> {
    let (one, mut two) = pair().await;
    let (vote, block) = (Bytes::from(vec![1; 200]), Bytes::from(vec![2; 8 << 20]));
    let mut latencies = Vec::with_capacity(count);
    if load {
        one.send(two.id, Class::Sync, &block).await;
        one.send(two.id, Class::Sync, &block).await;
    }
    for _ in 0..count {
        let begun = Instant::now();
        one.send(two.id, Class::Consensus, &vote).await;
        while two.message().await != Class::Consensus {
            one.send(two.id, Class::Sync, &block).await;
        }
        latencies.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    latencies.sort_unstable();
    latencies
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted.get(sorted.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
}

async fn measure(scale: usize) {
    let count = 200_000 / scale;
    let elapsed = stream(Class::Consensus, 200, count, WINDOW).await;
    println!("votes of 200 bytes: {:.0} /s", count as f64 / elapsed.as_secs_f64());

    let count = 100_000 / scale;
    let elapsed = stream(Class::Pool, 2000, count, WINDOW).await;
    let rate = count as f64 / elapsed.as_secs_f64();
    println!("transactions of 2000 bytes: {rate:.0} /s, {:.0} MB/s", rate * 2000.0 / 1e6);

    let count = 2_000 / scale;
    let elapsed = stream(Class::Sync, 1 << 20, count, 8).await;
    println!("blocks of 1 MiB: {:.0} MB/s", (count << 20) as f64 / 1e6 / elapsed.as_secs_f64());

    for load in [false, true] {
        let sorted = vote_latencies(1_000 / scale, load).await;
        let beside = if load { "beside blocks of 8 MiB" } else { "alone" };
        println!("a vote {beside}: p50 {:?}, p99 {:?}", percentile(&sorted, 50), percentile(&sorted, 99));
    }

    let (begun, count) = (Instant::now(), 200 / scale);
    for _ in 0..count {
        pair().await;
    }
    println!("two nodes started and connected: {:?} each", begun.elapsed() / u32::try_from(count).unwrap());
}

fn main() {
    // Without `--bench` it is run as a test: little of everything.
    let scale = if std::env::args().any(|argument| argument == "--bench") { 1 } else { 100 };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(measure(scale));
}
