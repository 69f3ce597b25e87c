//! What the tests share: keys, a running registry, one raw HTTP request.
#![expect(dead_code, reason = "each test file uses a part")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use it"
)]

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ed25519_dalek::{Signer as _, SigningKey};
use quorate::{
    ChainId, Instant, PublicKey, Settings, Signature,
    discovery::{DiscoveryCommand, DiscoveryContext, DiscoveryEvent},
    node::{Node, NodeHandle, Reply, Request, Response},
    plugin::{DiscoveryPlugin, ServicePlugin as _},
    service::{ServiceCommand, ServiceContext},
    transport::{Identity, IdentityError, IdentityUse, Io, RECORD_TAG},
};
use quorate_discovery_bootnode::{
    RegistryServicePlugin,
    record::{Heartbeat, Place, Record},
    service::Clock,
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    task::JoinHandle,
};

/// How long a test waits for what must happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) const CHAIN: ChainId = ChainId::new([1; 32]);
pub(crate) const OTHER_CHAIN: ChainId = ChainId::new([2; 32]);

/// A key by number.
pub(crate) struct Key(SigningKey);

impl Key {
    pub(crate) fn new(number: u32) -> Self {
        let mut seed = [9u8; 32];
        seed[..4].copy_from_slice(&number.to_le_bytes());
        Self(SigningKey::from_bytes(&seed))
    }

    pub(crate) fn record(&self, name: &str, port: u16, sequence: u64) -> Record {
        self.record_in(Some(CHAIN), name, port, sequence)
    }

    pub(crate) fn record_in(&self, chain_id: Option<ChainId>, name: &str, port: u16, sequence: u64) -> Record {
        let place = Place {
            node_id: name.into(),
            p2p_url: format!("tcp://127.0.0.1:{port}"),
            rpc_url: format!("http://127.0.0.1:{}", port + 1),
            chain_id,
        };
        Record::sign(self, place, sequence).unwrap()
    }

    pub(crate) fn heartbeat(&self, name: &str, sequence: u64) -> Heartbeat {
        Heartbeat::sign(self, name.into(), sequence).unwrap()
    }
}

impl Identity for Key {
    fn public_key(&self) -> PublicKey {
        PublicKey::new(self.0.verifying_key().to_bytes())
    }

    fn sign(&self, purpose: IdentityUse, bytes: &[u8]) -> Result<Signature, IdentityError> {
        assert_eq!(purpose, IdentityUse::Record);
        Ok(Signature::new(self.0.sign(&[RECORD_TAG, bytes].concat()).to_bytes()))
    }
}

/// A clock that stands until it is moved.
#[derive(Clone, Default)]
pub(crate) struct HandClock(Arc<AtomicU64>);

impl HandClock {
    pub(crate) fn advance(&self, duration: Duration) {
        self.0.fetch_add(duration.as_micros() as u64, Ordering::SeqCst);
    }

    pub(crate) fn clock(&self) -> Clock {
        let micros = Arc::clone(&self.0);
        Arc::new(move || Instant(micros.load(Ordering::SeqCst)))
    }
}

struct NoNode;

impl Node for NoNode {
    fn call(&self, _: Request, reply: Reply) {
        reply(Response::Unavailable("no chain".into()));
    }
}

pub(crate) fn service_context() -> ServiceContext {
    ServiceContext {
        name: "bootnode".into(),
        version: "1.2.3".into(),
        node: NodeHandle::new(Arc::new(NoNode)),
        identity: Arc::new(Key::new(0)),
        data_dir: std::env::temp_dir(),
        loopback_only: true,
        admin_token: None,
        rules: None,
        ledgers: None,
    }
}

/// A registry that runs until it is dropped.
pub(crate) struct Bootnode {
    pub(crate) address: SocketAddr,
    commands: mpsc::Sender<ServiceCommand>,
    task: JoinHandle<()>,
}

impl Bootnode {
    pub(crate) async fn start(plugin: RegistryServicePlugin, settings: &str) -> Self {
        Self::start_at(plugin, "127.0.0.1:0".parse().unwrap(), settings).await
    }

    pub(crate) async fn start_at(plugin: RegistryServicePlugin, listen: SocketAddr, settings: &str) -> Self {
        let settings = Settings::from_text(&format!("listen = \"{listen}\"\n{settings}"));
        let service = plugin.build(&settings, service_context()).unwrap();
        let address = service.listening()[0];
        let (commands, commands_rx) = mpsc::channel(8);
        let (events, _) = mpsc::channel(8);
        let io = Io { commands: commands_rx, events };
        let task = tokio::spawn(async move { service.run(io).await.unwrap() });
        Self { address, commands, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) async fn stop(self) {
        self.commands.send(ServiceCommand::Stop).await.unwrap();
        tokio::time::timeout(Duration::from_secs(2), self.task).await.expect("stops within two seconds").unwrap();
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        ask(self.address, &format!("GET {path} HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n")).await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> (u16, Value) {
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: b\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        ask(self.address, &(head + body)).await
    }

    pub(crate) async fn register(&self, record: &Record) -> (u16, Value) {
        self.post("/register_peer", &serde_json::to_string(record).unwrap()).await
    }

    pub(crate) async fn names(&self) -> Vec<String> {
        names(&self.get("/peers").await.1)
    }
}

pub(crate) fn names(answer: &Value) -> Vec<String> {
    let mut names: Vec<_> =
        answer["peers"].as_array().unwrap().iter().map(|peer| peer["node_id"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// Sends bytes; the status and JSON of the answer.
pub(crate) async fn ask(address: SocketAddr, request: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let text = read_all(&mut stream).await;
    let status =
        text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no status: {text:?}"));
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

/// What the other end sends until it closes.
pub(crate) async fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = async {
        let mut chunk = [0u8; 4096];
        // A reset after the answer is an end too.
        while let Ok(count) = stream.read(&mut chunk).await
            && count > 0
        {
            bytes.extend(&chunk[..count]);
        }
    };
    tokio::time::timeout(DEADLINE, read).await.expect("the other end closes");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An address at which nobody listens.
pub(crate) fn free_address() -> SocketAddr {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// A bootnode that gives every request the same answer.
pub(crate) async fn liar(answer: Vec<u8>) -> String {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = [0u8; 4096];
                drop(stream.read(&mut request).await);
                // The client may close before it has all of it.
                drop(stream.write_all(&answer).await);
                drop(stream.shutdown().await);
            });
        }
    });
    url
}

/// A discovery that runs, and what it tells.
pub(crate) struct Client {
    events: mpsc::Receiver<DiscoveryEvent>,
    commands: mpsc::Sender<DiscoveryCommand>,
    task: JoinHandle<()>,
}

impl Client {
    pub(crate) fn start(
        plugin: &dyn DiscoveryPlugin,
        settings: &str,
        number: u32,
        name: &str,
        peer_address: &str,
    ) -> Self {
        let context = DiscoveryContext {
            chain_id: CHAIN,
            name: name.into(),
            identity: Arc::new(Key::new(number)),
            peer_address: peer_address.into(),
            rpc_url: String::new(),
        };
        let discovery = plugin.build(&Settings::from_text(settings), context).unwrap();
        let (commands, commands_rx) = mpsc::channel(8);
        let (events_tx, events) = mpsc::channel(8);
        let io = Io { commands: commands_rx, events: events_tx };
        let task = tokio::spawn(async move { discovery.run(io).await.unwrap() });
        Self { events, commands, task }
    }

    pub(crate) async fn next(&mut self) -> DiscoveryEvent {
        self.first(Some).await
    }

    /// The first event from here on of which `wanted` makes something.
    async fn first<T>(&mut self, wanted: impl Fn(DiscoveryEvent) -> Option<T>) -> T {
        let search = async {
            loop {
                let event = self.events.recv().await.expect("the discovery runs");
                if let Some(found) = wanted(event) {
                    return found;
                }
            }
        };
        tokio::time::timeout(DEADLINE, search).await.expect("the event comes in time")
    }

    /// The next peer found: name and address.
    pub(crate) async fn found(&mut self) -> (String, String) {
        let found = |event| match event {
            DiscoveryEvent::Found { name, address, .. } => Some((name, address)),
            _ => None,
        };
        self.first(found).await
    }

    /// The next state of the source that is so and says this.
    pub(crate) async fn source(&mut self, wanted: bool, words: &str) -> String {
        let state = |event| match event {
            DiscoveryEvent::Source { reachable, detail } if reachable == wanted && detail.contains(words) => {
                Some(detail)
            }
            _ => None,
        };
        self.first(state).await
    }

    pub(crate) async fn stop(self) {
        self.commands.send(DiscoveryCommand::Stop).await.unwrap();
        tokio::time::timeout(Duration::from_secs(2), self.task).await.expect("stops within two seconds").unwrap();
    }
}
