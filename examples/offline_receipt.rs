//! A client that submits a transaction over JSON-RPC, waits until it is final, and checks its receipt offline, with genesis alone.
//!
//! The first half is three validators with the plugins that the program `quorate` uses for their sockets. The second half is the client:
//! it knows an address and the text of genesis, and once it has the receipt it asks nobody.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use quorate::{
    Application as _, FinalityProof, Genesis, Receipt, TransactionId,
    borsh::{self, BorshDeserialize as _},
    consensus::Context,
    plugin::{ConsensusPlugin as _, SetupError},
};
use quorate_discovery_bootnode::StaticDiscoveryPlugin;
use quorate_examples::{Folder, PATIENCE, Result};
use quorate_kernel::{NodeKey, Registry, Running};
use quorate_kv::{Kv, KvPlugin, Put, VALUE_BYTES_CAP};
use quorate_poa::PoaPlugin;
use quorate_testkit::memory::MemoryStoragePlugin;
use quorate_transport_http::HttpPlugin;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

const TABLES: &str = r#"
application = { plugin = "kv", value_bytes_max = 1024 }
[consensus]
plugin = "poa"
fault_model = "byzantine-sync"
block_interval_ms = 0
block_transactions_max = 100
block_bytes_max = 1048576
delta_ms = 100
empty_blocks = "never"
timeout_ms_max = 30000
"#;

/// Port 0 is any that is free.
const SLOTS: &str = r#"
consensus = { plugin = "poa" }
storage = { plugin = "memory" }
transport = { plugin = "http", rpc_listen = "127.0.0.1:0", peer_listen = "127.0.0.1:0" }
application = { plugin = "kv" }
[discovery]
plugin = "static"
"#;

const NAMES: [&str; 3] = ["validator-1", "validator-2", "validator-3"];

/// Bytes of an answer at most.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Starts one validator after the other, each of which is told where those before it listen.
fn start_network(folder: &Folder) -> Result<Vec<Running>> {
    let registry = Registry::new()
        .with_consensus(PoaPlugin)
        .with_storage(MemoryStoragePlugin::new())
        .with_transport(HttpPlugin)
        .with_discovery(StaticDiscoveryPlugin)
        .with_application(KvPlugin);
    let mut slots = SLOTS.to_owned();
    let mut nodes = Vec::new();
    for name in NAMES {
        let node = folder.start(name, &slots, &registry)?;
        let (key, address) = (NodeKey::development(name).public_key(), listening(&node, "peers")?);
        slots.push_str("[[discovery.peer]]\n");
        slots.push_str(&format!("name = \"{name}\"\npublic_key = \"{key}\"\naddress = \"{address}\"\n"));
        nodes.push(node);
    }
    Ok(nodes)
}

fn listening(node: &Running, what: &str) -> Result<SocketAddr> {
    let found = node.listening().iter().find(|(of, _)| of == what);
    Ok(found.ok_or("the node does not listen")?.1)
}

/// A JSON-RPC answer.
#[derive(Deserialize)]
struct Answer<T> {
    result: Option<T>,
    error: Option<Value>,
}

/// What `quorate_receipt` says of a transaction which the node knows: `pending`, or `final` and the receipt.
#[derive(Deserialize)]
struct Standing {
    receipt: Option<Receipt>,
}

/// One JSON-RPC call; `None` is the answer `null`. Any HTTP client will do; this is the least that works.
fn call<T: DeserializeOwned>(rpc: SocketAddr, method: &str, params: Value) -> Result<Option<T>> {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
    let mut stream = TcpStream::connect_timeout(&rpc, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let len = body.len();
    write!(stream, "POST / HTTP/1.1\r\nhost: {rpc}\r\ncontent-length: {len}\r\nconnection: close\r\n\r\n{body}")?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or("the answer is not HTTP")?;
    let Answer { result, error } = serde_json::from_str(body)?;
    match error {
        Some(error) => Err(format!("{method}: {error}").into()),
        None => Ok(result),
    }
}

/// Submits one write and waits for its receipt.
fn submit(rpc: SocketAddr, genesis: &Genesis) -> Result<Receipt> {
    // The seed is the secret: 32 random bytes for anything but an example. The nonce counts this signer's transactions.
    let (seed, nonce) = ([7; 32], 0);
    let transaction = Put::sign(&seed, &genesis.chain_id(), nonce, b"greeting", b"hello");
    let id: Option<TransactionId> = call(rpc, "quorate_submit", json!([format!("0x{transaction:x}")]))?;
    let id = id.ok_or("no id came back")?;
    println!("submitted {id}");
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        // A WebSocket would tell without being asked.
        let standing: Option<Standing> = call(rpc, "quorate_receipt", json!([id]))?;
        if let Some(Standing { receipt: Some(receipt) }) = standing {
            return Ok(receipt);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(format!("not final in {PATIENCE:?}").into())
}

/// Checks a receipt: the id, both Merkle paths, the header, the validators, and a quorum of their signatures.
fn verify(receipt: &Receipt, genesis: &Genesis, finality: &dyn FinalityProof) -> Result<()> {
    let kv = Kv::new(genesis.chain_id(), VALUE_BYTES_CAP);
    let id = |transaction: &[u8]| kv.transaction_id(transaction);
    Ok(receipt.verify(&genesis.chain_id(), genesis.validators(), finality, &id)?)
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let folder = Folder::new(TABLES, &NAMES)?;
    let network = runtime.block_on(async { start_network(&folder) })?;
    let [.., last] = network.as_slice() else { return Err("no validator".into()) };
    let rpc = listening(last, "rpc")?;
    println!("three validators run; one answers JSON-RPC at {rpc}");

    let text = std::fs::read_to_string(folder.path().join("genesis.toml"))?;
    let genesis = Genesis::parse("genesis.toml", &text).map_err(SetupError::from)?;
    let receipt = submit(rpc, &genesis)?;

    runtime.block_on(async {
        for node in network {
            node.stop().await;
        }
    });
    drop(runtime);
    println!("final in block {}; the network is gone", receipt.header.height);

    let finality = PoaPlugin.proof(&Context::of(&genesis))?;
    verify(&receipt, &genesis, finality.as_ref())?;
    let signatures = finality.certificate(&receipt.proof)?.signatures.len();
    println!("verified offline: {signatures} of {} validators signed", genesis.validators().len());

    let bytes = borsh::to_vec(&receipt)?;
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        if let Some(byte) = flipped.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
        // Either it is no receipt any more, or one that does not verify.
        if Receipt::try_from_slice(&flipped).is_ok_and(|bad| verify(&bad, &genesis, finality.as_ref()).is_ok()) {
            return Err(format!("bit {bit} of the receipt was flipped, and it still verifies").into());
        }
    }
    println!("refused: each of {} receipts with one flipped bit", bytes.len() * 8);
    Ok(())
}
