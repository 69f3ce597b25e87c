//! What three validators decided, checked without them: verify, export, import, receipts.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that can not go on fails")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use quorate::{
    Genesis, Receipt,
    node::{NodeHandle, Request, Response, TransactionState},
};
use quorate_kernel::{
    config::Config,
    node::{Node, NodeOptions, Running},
    registry::Registry,
};
use quorate_node::{bundled, commands::receipt::check, libraries::LibraryArgs, network::Directory};
use quorate_testkit::memory::{Hub, MemoryDiscoveryPlugin, MemoryTransportPlugin};
use serde_json::{Value, json};

/// Keeps the last two blocks, fewer than a file may say.
const FORGETFUL: &str = "validator-3";

/// Writes made final in the chain.
const WRITES: u64 = 5;

/// The data that three validators left behind, and a receipt.
struct Decided {
    folder: tempfile::TempDir,
    receipt: Receipt,
}

impl Decided {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn genesis(&self) -> PathBuf {
        self.path("net/genesis.toml")
    }

    fn data(&self) -> PathBuf {
        self.path("net/data/validator-2")
    }
}

fn quorate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quorate")).args(arguments).env_remove("RUST_LOG").output().unwrap()
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn exits(arguments: &[&str], code: i32) -> String {
    let output = quorate(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", told(&output));
    told(&output)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A generated node's file over the memory transport instead of sockets; everything else is as it is.
fn start(network: &Path, name: &str, registry: &Registry) -> Running {
    let text = fs::read_to_string(network.join(format!("{name}.toml"))).unwrap();
    let lines = text.lines().filter(|line| !line.contains("_listen =") && !line.starts_with("url ="));
    let text = lines.collect::<Vec<_>>().join("\n");
    let text = text.replace("plugin = \"http\"", "plugin = \"memory\"").replace("\"bootnode\"", "\"memory\"");
    let config = Config::parse(name, &text, network, &[]).unwrap();
    let mut assembly = config.assemble(registry).unwrap_or_else(|e| panic!("{}", quorate::diagnostics::render(&e)));
    assembly.node.keep_blocks = (name == FORGETFUL).then_some(2);
    Node::start(assembly, &NodeOptions { new_validator: false, version: "test" }).unwrap()
}

async fn final_receipt(node: &NodeHandle, transaction: quorate::Bytes) -> Receipt {
    let Response::Submitted(Ok(id)) = node.request(Request::Submit(transaction)).await else { panic!("not taken") };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        if let Response::Transaction(TransactionState::Final(receipt)) = node.request(Request::Transaction(id)).await {
            return *receipt;
        }
        assert!(tokio::time::Instant::now() < deadline, "not final");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn decide() -> Decided {
    let folder = tempfile::tempdir().unwrap();
    let network = folder.path().join("net");
    let options = ["--application", "kv", "--block-interval-ms", "0", "--delta-ms", "20", "--ports-from", "9300"];
    exits(&[&["init", "--dir", text(&network)], options.as_slice()].concat(), 0);
    let genesis = Genesis::parse("g", &fs::read_to_string(network.join("genesis.toml")).unwrap()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let receipt = runtime.block_on(async {
        let hub = Hub::new();
        let registry = bundled::registry()
            .with_transport(MemoryTransportPlugin::new(&hub))
            .with_discovery(MemoryDiscoveryPlugin::new(&hub));
        let names = ["validator-1", "validator-2", "validator-3"];
        let nodes: Vec<Running> = names.iter().map(|name| start(&network, name, &registry)).collect();
        let mut receipt = None;
        for nonce in 0..WRITES {
            let put = quorate_kv::Put::sign(&[7; 32], &genesis.chain_id(), nonce, b"key", &nonce.to_be_bytes());
            receipt = Some(final_receipt(&nodes[1].handle(), put).await);
        }
        let receipt: Receipt = receipt.unwrap();
        while nodes[2].handle().status().await.unwrap().height < receipt.header.height {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for node in nodes {
            node.stop().await;
        }
        receipt
    });
    runtime.shutdown_timeout(Duration::from_secs(10));
    Decided { folder, receipt }
}

#[test]
fn a_chain_is_verified_exported_and_imported_and_a_changed_one_is_not() {
    let decided = decide();
    let (data, genesis, export) = (decided.data(), decided.genesis(), decided.path("chain.export"));
    let report = exits(&["verify", "--data", text(&data), "--genesis", text(&genesis), "--json"], 0);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["valid"], &report["transactions"]), (&json!(true), &json!(WRITES)));
    assert!(report["signatures"].as_u64() >= Some(2 * report["blocks"].as_u64().unwrap()));

    exits(&["export", "--data", text(&data), text(&export)], 0);
    exits(&["export", "--data", text(&data), text(&export)], 1);
    let untrusted = exits(&["verify", text(&export)], 0);
    assert!(untrusted.contains("compare the chain id"), "{untrusted}");

    let (copy, stranger) = (decided.path("copy"), decided.path("other"));
    assert!(
        exits(&["import", text(&export), "--data", text(&copy), "--genesis", text(&genesis)], 0).contains("verified")
    );
    assert!(exits(&["import", text(&export), "--data", text(&copy)], 0).contains(" 0 of them new"));
    let of_copy = exits(&["verify", "--data", text(&copy), "--genesis", text(&genesis), "--json"], 0);
    assert_eq!(serde_json::from_str::<Value>(&of_copy).unwrap()["head"], report["head"]);

    exits(&["init", "--dir", text(&stranger)], 0);
    let other_genesis = stranger.join("genesis.toml");
    assert!(exits(&["verify", text(&export), "--genesis", text(&other_genesis)], 1).contains("is of chain"));

    let good = fs::read(&export).unwrap();
    let (bad, untouched) = (decided.path("bad.export"), decided.path("untouched"));
    for at in (0..good.len()).step_by(good.len() / 40) {
        let mut changed = good.clone();
        changed[at] ^= 4;
        fs::write(&bad, &changed).unwrap();
        let code = quorate(&["verify", text(&bad)]).status.code();
        assert!(matches!(code, Some(1 | 65 | 70 | 78)), "byte {at}: {code:?}");
    }
    let mut changed = good;
    *changed.last_mut().unwrap() ^= 1;
    fs::write(&bad, &changed).unwrap();
    exits(&["import", text(&bad), "--data", text(&untouched)], 65);
    assert!(!untouched.exists(), "a bad file was not refused before anything was written");
}

#[test]
fn a_chain_that_lacks_its_beginning_is_not_called_damaged_and_a_compacted_one_is_whole() {
    let decided = decide();
    let (data, export) = (decided.data(), decided.path("chain.export"));
    let forgetful = decided.path(&format!("net/data/{FORGETFUL}"));
    for arguments in
        [&["verify", "--data", text(&forgetful)][..], &["export", "--data", text(&forgetful), text(&export)]]
    {
        let said = exits(arguments, 1);
        assert!(said.contains("those before were removed (keep_blocks)"), "{said}");
    }
    assert!(!export.exists());
    // It still knows its blocks from others.
    exits(&["export", "--data", text(&data), text(&export)], 0);
    exits(&["import", text(&export), "--data", text(&forgetful)], 0);

    for directory in [&data, &forgetful] {
        let sizes: Value = serde_json::from_str(&exits(&["compact", "--data", text(directory), "--json"], 0)).unwrap();
        let bytes = |key: &str| sizes[key].as_u64().unwrap();
        assert!(0 < bytes("bytes_after") && bytes("bytes_after") <= bytes("bytes_before"), "{sizes}");
    }
    exits(&["verify", "--data", text(&data), "--genesis", text(&decided.genesis())], 0);
    let nothing = exits(&["compact", "--data", text(&decided.path("net"))], 1);
    assert!(nothing.contains("chain.redb: is not there"), "{nothing}");
}

#[test]
fn a_receipt_is_accepted_in_every_wrapping_and_refused_when_changed() {
    let decided = decide();
    let (file, genesis) = (decided.path("receipt.json"), decided.genesis());
    let receipt = json!(decided.receipt);
    let verify = |value: &Value, code: i32| {
        fs::write(&file, value.to_string()).unwrap();
        exits(&["verify", "receipt", text(&file), "--genesis", text(&genesis)], code)
    };
    let wrapped = json!({"status": "final", "receipt": receipt});
    verify(&receipt, 0);
    verify(&wrapped, 0);
    assert!(verify(&json!({"jsonrpc": "2.0", "id": 1, "result": wrapped}), 0).contains("is final"));

    for field in ["transaction_id", "transaction", "outcome", "block_hash", "proof"] {
        let mut changed = receipt.clone();
        let mut digits = changed[field].as_str().unwrap().to_owned();
        let last = digits.pop().unwrap().to_digit(16).unwrap();
        digits.push(char::from_digit(last ^ 1, 16).unwrap());
        changed[field] = digits.into();
        verify(&changed, 1);
    }
    for field in ["height", "time", "creator", "created_round"] {
        let mut changed = receipt.clone();
        changed["header"][field] = (changed["header"][field].as_u64().unwrap() ^ 1).into();
        verify(&changed, 1);
    }
    verify(&json!({"status": "pending"}), 1);
}

/// What a node said beside the receipt was once taken for proven: a bit of it could be flipped, and the file was called valid.
#[test]
fn no_bit_of_a_nodes_whole_answer_can_be_flipped() {
    let decided = decide();
    let genesis = Genesis::parse("g", &fs::read_to_string(decided.genesis()).unwrap()).unwrap();
    let (rules, receipt) = (bundled::rules(&genesis, &LibraryArgs::default()).unwrap(), &decided.receipt);
    let certificate = rules.finality.certificate(&receipt.proof).unwrap();
    let signatures = certificate.signatures.iter();
    let signatures: Vec<Value> =
        signatures.map(|(validator, signature)| json!({"validator": validator, "signature": signature})).collect();
    let answer = json!({"jsonrpc": "2.0", "result": {
        "status": "final", "transaction_id": receipt.transaction_id, "block_number": receipt.header.height,
        "block_hash": receipt.block_hash, "index": receipt.transaction_path.index, "time": receipt.header.time,
        "certificate": {"round": certificate.round, "signatures": signatures}, "receipt": receipt,
    }});
    let answer = answer.to_string().into_bytes();
    check(&answer, &genesis, &rules).unwrap();
    for bit in 0..answer.len() * 8 {
        let mut flipped = answer.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let refused = check(&flipped, &genesis, &rules).is_err();
        assert!(refused, "bit {bit}: {}", String::from_utf8_lossy(&flipped));
    }
}

#[test]
fn a_directory_without_a_chain_is_told_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    assert!(exits(&["verify", "--data", text(folder.path())], 1).contains("holds no chain"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    exits(&["verify", "--data", text(&folder.path().join("nowhere"))], 1);
}

#[test]
fn a_store_in_use_is_75_and_says_what_to_do() {
    let decided = decide();
    let held =
        bundled::storage(&decided.data()).unwrap().open(&quorate::Settings::from_text(""), &decided.data()).unwrap();
    assert!(exits(&["verify", "--data", text(&decided.data())], 75).contains("--rpc"));
    drop(held);
    let lock = Directory::lock(&decided.path("net")).unwrap();
    exits(&["devnet", "--dir", text(&decided.path("net"))], 75);
    drop(lock);
}
