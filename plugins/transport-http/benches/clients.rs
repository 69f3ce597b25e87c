//! How many calls a second the side of clients answers, and how fast it tells subscribers of a block.
//!
//! `cargo bench -p quorate-transport-http --bench clients` prints one line for each figure. The node behind answers at once from
//! memory, so that it is the transport that is measured; clients run in the same process and take about half of the machine.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a measurement that can't be taken ends with the reason")]

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use quorate::{
    Block, Bytes, ChainId, Hash, Header, Height, PublicKey, Round, Settings, Signature, Timestamp, TransactionId,
    ValidatorIndex,
    block::BLOCK_VERSION,
    consensus::Certificate,
    node::{FinalBlock, Head, Node, NodeHandle, NodeStatus, Reply, Request, Response},
    transport::{Identity, IdentityError, IdentityUse, TransportCommand, TransportContext},
};
use quorate_transport_http::{client::Clients, settings::HttpSettings};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    task::JoinSet,
};

/// Connections that ask at once.
const CONNECTIONS: usize = 32;

/// WebSockets that follow blocks.
const SUBSCRIBERS: usize = 200;

/// Answers with one block of 32 transactions of 200 bytes.
struct Still(Arc<FinalBlock>);

impl Still {
    fn new() -> Self {
        let header = Header {
            version: BLOCK_VERSION,
            chain_id: ChainId::new([1; 32]),
            height: Height(1),
            parent_hash: Hash::ZERO,
            time: Timestamp(1),
            creator: ValidatorIndex(0),
            created_round: Round(0),
            tx_root: Hash::ZERO,
            evidence_root: Hash::ZERO,
            app_hash: Hash::ZERO,
            receipts_root: Hash::ZERO,
            validators_hash: Hash::ZERO,
            next_validators_hash: Hash::ZERO,
        };
        let transactions: Vec<_> = (0..32).map(|at| Bytes::from(vec![at; 200])).collect();
        Self(Arc::new(FinalBlock {
            block: Block::new(header, &transactions, &[]).unwrap(),
            proof: Bytes::from(vec![0; 200]),
            certificate: Certificate {
                round: Round(0),
                signatures: vec![(ValidatorIndex(0), Signature::new([1; 64])); 2],
            },
            transaction_ids: (0..32).map(|at| TransactionId::new([at; 32])).collect(),
            creator: "validator-1".into(),
            creator_key: PublicKey::new([1; 32]),
        }))
    }

    fn head(&self, height: usize) -> Arc<Head> {
        let header = Header { height: Height(height as u64), ..self.0.block.header().clone() };
        Arc::new(Head { hash: header.hash(), header, transaction_ids: self.0.transaction_ids.clone().into() })
    }
}

impl Node for Still {
    fn call(&self, request: Request, reply: Reply) {
        reply(match request {
            Request::Status => Response::Status(Box::new(NodeStatus { height: Height(1), ..NodeStatus::default() })),
            Request::Block(_) => Response::Block(Some(Arc::clone(&self.0))),
            _ => Response::Unavailable("a measurement".into()),
        });
    }
}

struct NoKey;

impl Identity for NoKey {
    fn public_key(&self) -> PublicKey {
        PublicKey::new([1; 32])
    }

    fn sign(&self, _: IdentityUse, _: &[u8]) -> Result<Signature, IdentityError> {
        Err(IdentityError("a measurement".into()))
    }
}

fn start() -> (SocketAddr, Arc<Still>, mpsc::Sender<TransportCommand>) {
    let node = Arc::new(Still::new());
    let context = TransportContext {
        chain_id: ChainId::new([1; 32]),
        chain_name: "bench".into(),
        name: "validator-1".into(),
        role: "validator".into(),
        version: "0.0.0".into(),
        identity: Arc::new(NoKey),
        node: NodeHandle::new(Arc::clone(&node) as Arc<dyn Node>),
        loopback_only: true,
        admin_token: None,
    };
    let text = "rpc_listen = \"127.0.0.1:0\"\npeer_listen = \"127.0.0.1:0\"\n";
    let settings = HttpSettings::read(&Settings::from_text(text)).unwrap();
    let clients = Clients::bind(&settings.client, &context).unwrap();
    let address = clients.address();
    let (commands, inbox) = mpsc::channel(64);
    tokio::spawn(clients.run(inbox));
    (address, node, commands)
}

fn post(body: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nhost: bench\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Asks `count` times, one after the other; returns how long each took.
async fn ask(address: SocketAddr, request: Arc<Vec<u8>>, count: usize) -> Vec<Duration> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut buffer = vec![0; 1 << 16];
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        stream.write_all(&request).await.unwrap();
        let mut filled = 0;
        let whole = loop {
            let read = stream.read(buffer.get_mut(filled..).unwrap()).await.unwrap();
            assert!(read > 0, "the server closed the connection");
            filled += read;
            let text = String::from_utf8_lossy(buffer.get(..filled).unwrap());
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                assert!(head.starts_with("HTTP/1.1 200"), "{head}");
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
                let length: usize = length.parse().unwrap();
                if body.len() == length {
                    break !body.contains("\"error\"");
                }
                buffer.resize(buffer.len().max(head.len() + 4 + length), 0);
            }
        };
        assert!(whole, "an error");
        times.push(begun.elapsed());
    }
    times
}

async fn rate(name: &str, body: &str, calls: usize, count: usize) {
    let (address, _node, _commands) = start();
    let request = Arc::new(post(body));
    let begun = Instant::now();
    let mut asking = JoinSet::new();
    for _ in 0..CONNECTIONS {
        asking.spawn(ask(address, Arc::clone(&request), count.div_ceil(CONNECTIONS)));
    }
    let mut times: Vec<_> = asking.join_all().await.concat();
    let elapsed = begun.elapsed();
    times.sort_unstable();
    let at = |percent: usize| times.get((times.len() - 1) * percent / 100).copied().unwrap_or_default();
    let rate = (times.len() * calls) as f64 / elapsed.as_secs_f64();
    println!("{name}: {rate:.0} calls/s, p50 {:?}, p99 {:?}", at(50), at(99));
}

async fn fan_out(blocks: usize) {
    let (address, node, commands) = start();
    let mut following = JoinSet::new();
    let (ready, mut readies) = mpsc::channel(SUBSCRIBERS);
    for _ in 0..SUBSCRIBERS {
        let ready = ready.clone();
        following.spawn(async move {
            let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{address}/ws")).await.unwrap();
            let subscribe = r#"{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}"#;
            socket.send(subscribe.into()).await.unwrap();
            socket.next().await.unwrap().unwrap();
            ready.send(()).await.unwrap();
            for _ in 0..blocks {
                socket.next().await.unwrap().unwrap();
                ready.send(()).await.unwrap();
            }
        });
    }
    let mut slowest = Vec::new();
    for block in 0..=blocks {
        let begun = Instant::now();
        if block > 0 {
            commands.send(TransportCommand::Committed(node.head(block))).await.unwrap();
        }
        for _ in 0..SUBSCRIBERS {
            tokio::time::timeout(Duration::from_secs(20), readies.recv()).await.expect("in time").unwrap();
        }
        if block > 0 {
            slowest.push(begun.elapsed());
        }
    }
    following.join_all().await;
    slowest.sort_unstable();
    let median = slowest.get(slowest.len() / 2).copied().unwrap_or_default();
    println!("a block told to all of {SUBSCRIBERS} subscribers: p50 {median:?}");
}

async fn measure(scale: usize) {
    let call =
        |method: &str, params: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
    let chain = call("eth_chainId", "[]");
    rate("eth_chainId", &chain, 1, 200_000 / scale).await;
    rate("eth_blockNumber", &call("eth_blockNumber", "[]"), 1, 200_000 / scale).await;
    rate("quorate_block", &call("quorate_block", "[1]"), 1, 50_000 / scale).await;
    rate("eth_getBlockByNumber, full", &call("eth_getBlockByNumber", "[\"0x1\",true]"), 1, 50_000 / scale).await;
    let batch = format!("[{}]", vec![chain; 100].join(","));
    rate("batches of 100 eth_chainId", &batch, 100, 20_000 / scale).await;
    fan_out(200_usize.div_ceil(scale)).await;
}

fn main() {
    // Without `--bench` it is run as a test: little of everything.
    let scale = if std::env::args().any(|argument| argument == "--bench") { 1 } else { 100 };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(measure(scale));
}
