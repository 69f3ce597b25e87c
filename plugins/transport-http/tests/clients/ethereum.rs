//! The shapes that existing Ethereum clients rely on.

use quorate::node::Health;
use serde_json::{Value, json};

use crate::{
    fake::{Server, genesis, id_of},
    net::{fail, ok},
};

const EMPTY_ROOT: &str = "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421";

fn hex_of(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

/// Bytes in a `0x` text, or a panic.
fn len_of(value: &Value) -> usize {
    hex::decode(value.as_str().unwrap().strip_prefix("0x").unwrap()).unwrap().len()
}

fn assert_quantity(value: &Value) {
    let digits = value.as_str().unwrap().strip_prefix("0x").unwrap();
    assert!(digits == "0" || !digits.is_empty() && !digits.starts_with('0'), "{value}");
    u64::from_str_radix(digits, 16).unwrap();
}

#[tokio::test]
async fn what_clients_ask_when_they_connect_is_answered() {
    let server = Server::start().await;
    server.seal().await;
    let at = server.address;
    let number = u32::from_be_bytes(genesis().chain_id().as_bytes()[..4].try_into().unwrap()) & 0x7fff_ffff;
    let address = format!("0x{}", "01".repeat(20));
    let nobody = json!([address, "latest"]);
    for (method, params, expected) in [
        ("web3_clientVersion", json!([]), json!("quorate/v1.2.3")),
        ("net_version", json!([]), json!(number.to_string())),
        ("net_listening", json!([]), json!(true)),
        ("net_peerCount", json!([]), json!("0x1")),
        ("eth_chainId", json!([]), json!(format!("{number:#x}"))),
        ("eth_syncing", json!([]), json!(false)),
        ("eth_blockNumber", json!([]), json!("0x1")),
        ("eth_accounts", json!([]), json!([address])),
        ("eth_coinbase", json!([]), json!(address)),
        ("eth_gasPrice", json!([]), json!("0x0")),
        ("eth_maxPriorityFeePerGas", json!([]), json!("0x0")),
        ("eth_estimateGas", json!([{ "data": "0x00" }]), json!("0x5208")),
        ("eth_call", json!([{}, "latest", {}]), json!("0x")),
        ("eth_getCode", nobody.clone(), json!("0x")),
        ("eth_getBalance", nobody.clone(), json!("0x0")),
        ("eth_getTransactionCount", nobody, json!("0x0")),
    ] {
        assert_eq!(ok(at, method, params).await, expected, "{method}");
    }
    *server.node.health.lock().unwrap() = Health::Syncing;
    let syncing = ok(at, "eth_syncing", json!([])).await;
    assert_eq!(syncing, json!({ "startingBlock": "0x1", "currentBlock": "0x1", "highestBlock": "0xb" }));
}

#[tokio::test]
async fn a_block_has_every_field_in_its_shape() {
    let server = Server::start().await;
    let at = server.address;
    ok(at, "eth_sendRawTransaction", json!([hex_of(b"one")])).await;
    ok(at, "eth_sendRawTransaction", json!([hex_of(b"two")])).await;
    let first = server.seal().await;
    let second = server.seal().await;
    for (head, count) in [(&first, 2u64), (&second, 0)] {
        let number = json!(format!("{:#x}", head.header.height.0));
        let block = ok(at, "eth_getBlockByNumber", json!([number, false])).await;
        assert_eq!(block, ok(at, "eth_getBlockByHash", json!([head.hash, false])).await);
        for field in ["number", "gasLimit", "gasUsed", "difficulty", "timestamp", "baseFeePerGas", "size"] {
            assert_quantity(&block[field]);
        }
        for (field, len) in [
            ("hash", 32),
            ("parentHash", 32),
            ("miner", 20),
            ("stateRoot", 32),
            ("receiptsRoot", 32),
            ("transactionsRoot", 32),
            ("mixHash", 32),
            ("logsBloom", 256),
            ("nonce", 8),
        ] {
            assert_eq!(len_of(&block[field]), len, "{field}");
        }
        assert!(len_of(&block["extraData"]) <= 32);
        assert_eq!(block["transactionsRoot"] == EMPTY_ROOT, count == 0);
        assert_eq!(block["sha3Uncles"], "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347");
        assert_eq!(block["uncles"], json!([]));
        assert_eq!(block["gasUsed"], format!("{:#x}", 21_000 * count));
        assert_eq!(block["transactions"].as_array().unwrap().len() as u64, count);
        assert_eq!(block["timestamp"], format!("{:#x}", head.header.time.0 / 1000));
        assert_eq!(block["round"], 1);
        assert_eq!(block["quorumCertificate"]["signatures"][0]["validator"], 0);
        let counted = ok(at, "eth_getBlockTransactionCountByNumber", json!([number])).await;
        assert_eq!(counted, format!("{count:#x}"));
        assert_eq!(counted, ok(at, "eth_getBlockTransactionCountByHash", json!([head.hash])).await);
    }
    for tag in ["latest", "pending", "safe", "finalized"] {
        assert_eq!(ok(at, "eth_getBlockByNumber", json!([tag, false])).await["hash"], second.hash.to_string());
    }
}

/// A client that walks back by `parentHash` arrives at block 0, also on a chain without blocks.
#[tokio::test]
async fn genesis_is_block_zero() {
    let server = Server::start().await;
    let at = server.address;
    let chain_id = genesis().chain_id().to_string();
    let latest = ok(at, "eth_getBlockByNumber", json!(["latest", true])).await;
    assert_eq!((&latest["number"], &latest["hash"]), (&json!("0x0"), &json!(chain_id)));
    assert_eq!(latest["transactions"], json!([]));
    assert_eq!(latest["timestamp"], format!("{:#x}", genesis().time().0 / 1000));
    server.seal().await;
    let first = ok(at, "eth_getBlockByNumber", json!(["0x1", false])).await;
    assert_eq!(first["parentHash"], chain_id);
    for params in [json!(["earliest", false]), json!(["0x0", false])] {
        assert_eq!(ok(at, "eth_getBlockByNumber", params).await, latest);
    }
    assert_eq!(ok(at, "eth_getBlockByHash", json!([chain_id, false])).await, latest);
    assert_eq!(ok(at, "eth_getBlockTransactionCountByNumber", json!(["earliest"])).await, "0x0");
    assert_eq!(ok(at, "eth_getBlockReceipts", json!(["0x0"])).await, json!([]));
}

#[tokio::test]
async fn a_transaction_and_its_receipt_have_their_shapes() {
    let server = Server::start().await;
    let at = server.address;
    ok(at, "eth_sendTransaction", json!([{ "data": hex_of(b"zero"), "from": "0x00", "fancy": [1] }])).await;
    let id = ok(at, "eth_sendTransaction", json!([{ "input": hex_of(b"one"), "gas": "0x1" }])).await;
    assert_eq!(id, id_of(b"one").to_string());
    let pending = ok(at, "eth_getTransactionByHash", json!([id])).await;
    assert_eq!((&pending["blockHash"], &pending["blockNumber"]), (&Value::Null, &Value::Null));
    assert_eq!(pending["input"], hex_of(b"one"));
    assert!(pending.get("blockTimestamp").is_none());
    assert_eq!(ok(at, "eth_getTransactionReceipt", json!([id])).await, Value::Null, "not before it is final");
    let head = server.seal().await;
    let mined = ok(at, "eth_getTransactionByHash", json!([id])).await;
    for (field, expected) in [
        ("type", json!("0x0")),
        ("v", json!("0x0")),
        ("r", json!("0x0")),
        ("s", json!("0x0")),
        ("blockNumber", json!("0x1")),
        ("blockHash", json!(head.hash)),
        ("transactionIndex", json!("0x1")),
        ("blockTimestamp", json!(format!("{:#x}", head.header.time.0 / 1000))),
    ] {
        assert_eq!(mined[field], expected, "{field}");
    }
    let receipt = ok(at, "eth_getTransactionReceipt", json!([id])).await;
    for (field, expected) in [
        ("status", json!("0x1")),
        ("type", json!("0x0")),
        ("gasUsed", json!("0x5208")),
        ("cumulativeGasUsed", json!("0xa410")),
        ("logs", json!([])),
        ("transactionHash", id.clone()),
        ("transactionIndex", json!("0x1")),
        ("contractAddress", Value::Null),
    ] {
        assert_eq!(receipt[field], expected, "{field}");
    }
    assert_eq!(len_of(&receipt["logsBloom"]), 256);
    assert_eq!(ok(at, "eth_getBlockReceipts", json!(["latest"])).await[1], receipt);
    assert_eq!(ok(at, "eth_getBlockReceipts", json!([{ "blockHash": head.hash }])).await[1], receipt);
    assert_eq!(ok(at, "eth_getTransactionByBlockNumberAndIndex", json!(["0x1", "0x1"])).await, mined);
    assert_eq!(ok(at, "eth_getTransactionByBlockHashAndIndex", json!([head.hash, "0x1"])).await, mined);
    let block = ok(at, "eth_getBlockByNumber", json!(["latest", true])).await;
    assert_eq!(block["transactions"][1], mined);
}

/// ethers and viem take a transaction with the same sender and nonce in a newer block for the replacement of the one they wait for,
/// and give up waiting.
#[tokio::test]
async fn no_transaction_looks_like_the_replacement_of_another() {
    let server = Server::start().await;
    let at = server.address;
    let mut senders = Vec::new();
    for bytes in [b"one", b"two"] {
        let id = ok(at, "eth_sendRawTransaction", json!([hex_of(bytes)])).await;
        let transaction = ok(at, "eth_getTransactionByHash", json!([id])).await;
        assert_eq!(transaction["nonce"], "0x1");
        let count = ok(at, "eth_getTransactionCount", json!([transaction["from"], "latest"])).await;
        assert_eq!(count, "0x0", "below the nonce: nothing can have replaced it");
        senders.push(transaction["from"].clone());
    }
    assert_ne!(senders[0], senders[1]);
}

#[tokio::test]
async fn what_is_unknown_is_null() {
    let server = Server::start().await;
    server.seal().await;
    let nothing = format!("0x{}", "ab".repeat(32));
    for (method, params) in [
        ("eth_getBlockByNumber", json!(["0x99", false])),
        ("eth_getBlockByHash", json!([nothing, false])),
        ("eth_getTransactionByHash", json!([nothing])),
        ("eth_getTransactionReceipt", json!([nothing])),
        ("eth_getBlockReceipts", json!(["0x99"])),
        ("eth_getBlockTransactionCountByNumber", json!(["0xffffffffffffffff"])),
        ("eth_getBlockTransactionCountByHash", json!([nothing])),
        ("eth_getTransactionByBlockNumberAndIndex", json!(["0x1", "0x0"])),
        ("eth_getTransactionByBlockNumberAndIndex", json!(["0x99", "0x0"])),
        ("eth_getTransactionByBlockNumberAndIndex", json!(["0x0", "0x0"])),
    ] {
        assert_eq!(ok(server.address, method, params.clone()).await, Value::Null, "{method} {params}");
    }
}

#[tokio::test]
async fn wrong_parameters_are_named() {
    let server = Server::start().await;
    for (method, params, word) in [
        ("eth_getBlockByNumber", json!([]), "`block`"),
        ("eth_getBlockByNumber", json!(["newest", false]), "latest, earliest"),
        ("eth_getBlockByNumber", json!(["0x1ffffffffffffffff", false]), "latest, earliest"),
        ("eth_getBlockByHash", json!(["0xabcd", false]), "expected 32 bytes, found 2"),
        ("eth_getTransactionReceipt", json!([7]), "`hash`"),
        ("eth_sendTransaction", json!([{}]), "`data`"),
        ("eth_sendTransaction", json!([{ "data": "0x00", "input": "0x01" }]), "differ"),
        ("eth_feeHistory", json!(["x", "latest", []]), "`blockCount`"),
        ("eth_getFilterChanges", json!(["x"]), "filter's id"),
        ("eth_getLogs", json!([{ "fromBlock": "0x5", "toBlock": "0x1" }]), "after"),
    ] {
        let (code, data) = fail(server.address, method, params.clone()).await;
        assert_eq!(code, -32602, "{method} {params}");
        let reason = data["reason"].as_str().unwrap();
        assert!(reason.contains(word), "{method} {params}: {reason}");
    }
}

#[tokio::test]
async fn fee_history_is_zeros_of_the_right_length() {
    let server = Server::start().await;
    for _ in 0..5 {
        server.seal().await;
    }
    let history = ok(server.address, "eth_feeHistory", json!(["0x3", "latest", [10, 90]])).await;
    assert_eq!(history["oldestBlock"], "0x3");
    assert_eq!(history["baseFeePerGas"], json!(["0x0", "0x0", "0x0", "0x0"]));
    assert_eq!(history["reward"], json!([["0x0", "0x0"], ["0x0", "0x0"], ["0x0", "0x0"]]));
    let all = ok(server.address, "eth_feeHistory", json!(["0xffffff", "latest", []])).await;
    assert_eq!((&all["oldestBlock"], all["gasUsedRatio"].as_array().unwrap().len()), (&json!("0x0"), 6));
}

#[tokio::test]
async fn a_block_filter_tells_each_block_once() {
    let server = Server::start().await;
    let at = server.address;
    server.seal().await;
    let id = ok(at, "eth_newBlockFilter", json!([])).await;
    assert_eq!(ok(at, "eth_getFilterChanges", json!([id])).await, json!([]));
    let hashes = [server.seal().await.hash, server.seal().await.hash];
    assert_eq!(ok(at, "eth_getFilterChanges", json!([id])).await, json!(hashes));
    assert_eq!(ok(at, "eth_getFilterChanges", json!([id])).await, json!([]));
    assert_eq!(ok(at, "eth_uninstallFilter", json!([id])).await, true);
    assert_eq!(ok(at, "eth_uninstallFilter", json!([id])).await, false);
    assert_eq!(fail(at, "eth_getFilterChanges", json!([id])).await.0, -32020);
}

/// A poll is bounded; the next goes on where it ended.
#[tokio::test]
async fn a_filter_far_behind_catches_up_in_steps() {
    let server = Server::start().await;
    let at = server.address;
    let id = ok(at, "eth_newBlockFilter", json!([])).await;
    for _ in 0..130 {
        server.node.seal();
    }
    assert_eq!(ok(at, "eth_getFilterChanges", json!([id])).await.as_array().unwrap().len(), 100);
    assert_eq!(ok(at, "eth_getFilterChanges", json!([id])).await.as_array().unwrap().len(), 30);
}

#[tokio::test]
async fn logs_are_none_and_their_range_is_bounded() {
    let server = Server::start().await;
    let at = server.address;
    let block_hash = genesis().chain_id();
    for filter in
        [json!([]), json!([{ "fromBlock": "0x0", "toBlock": "latest" }]), json!([{ "blockHash": block_hash }])]
    {
        assert_eq!(ok(at, "eth_getLogs", filter).await, json!([]));
    }
    let wide = json!([{ "fromBlock": "0x0", "toBlock": "0xffffffffffffffff" }]);
    assert_eq!(fail(at, "eth_getLogs", wide.clone()).await.0, -32021);
    assert_eq!(fail(at, "eth_newFilter", wide).await.0, -32021);
    let id = ok(at, "eth_newFilter", json!([{ "address": [] }])).await;
    assert_eq!(ok(at, "eth_getFilterChanges", json!([id])).await, json!([]));
    assert_eq!(ok(at, "eth_getFilterLogs", json!([id])).await, json!([]));
}
