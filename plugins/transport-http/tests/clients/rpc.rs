//! JSON-RPC by the specification, the native methods, and the plain paths.

use std::sync::atomic::Ordering;

use quorate::{Receipt, node::Health};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{
    fake::{GENESIS, Server, TOKEN, genesis, id_of},
    net::{call, fail, get, ok, post, raw, read_answer, request},
};

fn hex_of(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

#[tokio::test]
async fn a_transaction_goes_from_unknown_to_pending_to_final() {
    let server = Server::start().await;
    let at = server.address;
    let id = id_of(b"one").to_string();
    assert_eq!(ok(at, "quorate_receipt", json!([id])).await, Value::Null);
    assert_eq!(ok(at, "quorate_submit", json!([hex_of(b"one")])).await, id);
    assert_eq!(ok(at, "quorate_submit", json!({ "transaction": hex_of(b"one") })).await, id, "the same bytes again");
    assert_eq!(ok(at, "quorate_receipt", json!([id])).await["status"], "pending");
    assert_eq!(ok(at, "quorate_pool", json!([])).await["count"], 1);
    let head = server.seal().await;
    let state = ok(at, "quorate_receipt", json!({ "id": id })).await;
    assert_eq!(state["status"], "final");
    assert_eq!(state["block_number"], 1);
    assert_eq!(state["block_hash"], head.hash.to_string());
    assert_eq!(state["certificate"]["signatures"][1]["validator"], 1);
    let receipt: Receipt = serde_json::from_value(state["receipt"].clone()).unwrap();
    assert_eq!(receipt.header.hash(), head.hash);
    assert_eq!(
        receipt.transaction_path.root(quorate::merkle::leaf(&receipt.transaction)),
        Some(receipt.header.tx_root)
    );
}

#[tokio::test]
async fn a_block_is_found_by_height_hash_and_tag() {
    let server = Server::start().await;
    let at = server.address;
    assert_eq!(ok(at, "quorate_block", json!([])).await, Value::Null);
    ok(at, "quorate_submit", json!([hex_of(b"one")])).await;
    let first = server.seal().await;
    let second = server.seal().await;
    for place in [json!(1), json!("1"), json!("0x1"), json!(first.hash), json!("earliest")] {
        let block = ok(at, "quorate_block", json!([place])).await;
        assert_eq!(block["hash"], first.hash.to_string(), "{place}");
        assert_eq!(block["height"], 1);
        assert_eq!(block["proposer"], "validator-2");
        assert_eq!(block["transactions"], json!([id_of(b"one")]));
        assert_eq!(block["tx_root"], first.header.tx_root.to_string());
        assert_eq!(block["proof"], hex_of(b"proof"));
        assert_eq!(block["certificate"]["round"], 1);
    }
    for place in [json!([]), json!(["latest"]), json!([null])] {
        assert_eq!(ok(at, "quorate_block", place).await["hash"], second.hash.to_string());
    }
    assert_eq!(ok(at, "quorate_block", json!([99])).await, Value::Null);
    for wrong in [json!("newest"), json!(-1), json!(1.5), json!([1]), json!(format!("0x{}", "g".repeat(64)))] {
        assert_eq!(fail(at, "quorate_block", json!([wrong])).await.0, -32602, "{wrong}");
    }
}

#[tokio::test]
async fn a_block_told_again_is_told_with_the_proof_of_now() {
    let server = Server::start().await;
    let at = server.address;
    server.seal().await;
    server.seal().await;
    let told = ok(at, "quorate_block", json!(["latest"])).await;
    assert_eq!(ok(at, "quorate_block", json!([2])).await, told);
    assert_eq!((&told["proof"], &told["certificate"]["round"]), (&json!(hex_of(b"proof")), &json!(1)));
    server.node.prove_again(b"later");
    let again = ok(at, "quorate_block", json!(["latest"])).await;
    assert_eq!((&again["proof"], &again["certificate"]["round"]), (&json!(hex_of(b"later")), &json!(2)));
    assert_eq!(again["hash"], told["hash"]);
    assert_ne!(ok(at, "quorate_block", json!([1])).await["hash"], told["hash"]);
}

#[tokio::test]
async fn what_was_removed_is_told_apart_from_what_never_was() {
    let server = Server::start().await;
    let at = server.address;
    ok(at, "quorate_submit", json!([hex_of(b"one")])).await;
    let first = server.seal().await;
    for _ in 0..4 {
        server.seal().await;
    }
    assert_eq!(ok(at, "quorate_status", json!([])).await["blocks_from"], 1);
    assert_eq!(ok(at, "quorate_block", json!([1])).await["hash"], first.hash.to_string(), "told while it is there");
    server.node.blocks_from.store(4, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(ok(at, "quorate_status", json!([])).await["blocks_from"], 4);
    let id = id_of(b"one");
    for (method, params) in [
        ("quorate_block", json!([1])),
        ("quorate_block", json!([first.hash])),
        ("quorate_receipt", json!([id])),
        ("quorate_blockRange", json!([1])),
        ("eth_getBlockByNumber", json!(["0x1"])),
        ("eth_getBlockByHash", json!([first.hash])),
        ("eth_getBlockReceipts", json!(["0x1"])),
        ("eth_getBlockTransactionCountByNumber", json!(["0x1"])),
        ("eth_getTransactionByHash", json!([id])),
        ("eth_getTransactionReceipt", json!([id])),
    ] {
        let (code, data) = fail(at, method, params).await;
        assert_eq!((code, &data["height"], &data["blocks_from"]), (-32022, &json!(1), &json!(4)), "{method}");
        let why = "block 1 is final and was removed here: this node has the blocks from 4 on; ask one that keeps all";
        assert_eq!(data["reason"], why, "{method}");
    }
    assert_eq!(ok(at, "quorate_block", json!([4])).await["height"], 4);
    assert_eq!(ok(at, "quorate_block", json!([9])).await, Value::Null);
    assert_eq!(ok(at, "quorate_receipt", json!([id_of(b"never")])).await, Value::Null);
    assert_eq!(ok(at, "quorate_blockRange", json!([4])).await["from"], 4);
    // Genesis is no block that could be removed.
    assert_eq!(ok(at, "eth_getBlockByNumber", json!(["earliest"])).await["number"], "0x0");
}

#[tokio::test]
async fn every_refusal_of_a_transaction_has_its_code_and_says_why() {
    let server = Server::start().await;
    let at = server.address;
    for (word, code, key, value) in [
        ("dupl", -32010, "winner", json!(format!("0x{}", "07".repeat(32)))),
        ("reje", -32011, "reason", json!("the election is closed")),
        ("full", -32012, "retry_after_ms", json!(250)),
        ("larg", -32013, "limit", json!(8)),
        ("none", -32014, "reason", json!("this node can't take transactions: a bootnode takes none")),
    ] {
        for method in ["quorate_submit", "eth_sendRawTransaction"] {
            let (found, data) = fail(at, method, json!([hex_of(word.as_bytes())])).await;
            assert_eq!((found, &data[key]), (code, &value), "{word}");
        }
    }
    for wrong in [json!(["00"]), json!(["0x0"]), json!(["0xzz"]), json!([5]), json!([]), json!(["0x00", 1])] {
        let (code, data) = fail(at, "quorate_submit", wrong.clone()).await;
        assert_eq!(code, -32602, "{wrong}");
        assert!(data["reason"].is_string(), "{wrong}");
    }
}

#[tokio::test]
async fn the_rest_of_the_native_methods_answer() {
    let server = Server::start().await;
    let at = server.address;
    for _ in 0..3 {
        server.seal().await;
    }
    let status = ok(at, "quorate_status", json!([])).await;
    assert_eq!(
        (&status["name"], &status["height"], &status["status"]),
        (&json!("validator-1"), &json!(3), &json!("ok"))
    );
    let validators = ok(at, "quorate_validators", json!({ "height": 2 })).await;
    assert_eq!((&validators["height"], &validators["validators"][1]["name"]), (&json!(2), &json!("validator-2")));
    assert_eq!(ok(at, "quorate_validators", json!([])).await["height"], 4);
    let evidence = ok(at, "quorate_evidence", json!([])).await;
    assert_eq!(
        (&evidence[0]["offence"], &evidence[0]["proof"]),
        (&json!("two proposals in round 3"), &json!("0x0102"))
    );
    assert_eq!(ok(at, "quorate_genesis", json!([])).await, GENESIS);
    let range = ok(at, "quorate_blockRange", json!([2])).await;
    assert_eq!((&range["from"], &range["next"]), (&json!(2), &json!(4)));
    let block = hex::decode(range["blocks"][0]["block"].as_str().unwrap().trim_start_matches("0x")).unwrap();
    assert_eq!(quorate::Block::decode(block.into()).unwrap().height().0, 2);
    assert_eq!(ok(at, "rpc.discover", json!([])).await["openrpc"], "1.3.2");
}

#[tokio::test]
async fn a_query_is_the_applications_affair() {
    let server = Server::start().await;
    let at = server.address;
    let params = json!({ "key": [1, { "deep": true }] });
    assert_eq!(ok(at, "quorate_query", json!(["echo", params])).await, params);
    assert_eq!(ok(at, "quorate_query", json!({ "path": "echo" })).await, json!({}));
    let (code, data) = fail(at, "quorate_query", json!(["nowhere"])).await;
    assert_eq!((code, &data["known"]), (-32017, &json!("echo, broken, bad")));
    assert_eq!(fail(at, "quorate_query", json!(["bad"])).await.0, -32602);
    assert_eq!(fail(at, "quorate_query", json!(["broken"])).await.0, -32603);
    // The genesis of this server is of the application `kv`.
    for given in [params.clone(), json!([params.clone()])] {
        assert_eq!(ok(at, "kv_echo", given).await, params);
    }
    assert_eq!(ok(at, "kv_echo", json!([])).await, json!({}));
    assert_eq!(fail(at, "kv_nowhere", json!([])).await.0, -32017);
    assert_eq!(fail(at, "kv_echo", json!([1, 2])).await.0, -32602);
    assert_eq!(fail(at, "voting_echo", json!([])).await.0, -32601);
}

#[tokio::test]
async fn only_the_operator_makes_a_backup() {
    let server = Server::start().await;
    let body = |directory: &str| {
        json!({ "jsonrpc": "2.0", "id": 1, "method": "quorate_backup", "params": [directory] }).to_string()
    };
    let with = |headers: String, directory: &'static str| async move {
        request(server.address, "POST", "/", &headers, body(directory).as_bytes()).await.json()
    };
    assert_eq!(with(String::new(), "/copy").await["error"]["code"], -32015);
    assert_eq!(with("authorization: Bearer wrong\r\n".into(), "/copy").await["error"]["code"], -32015);
    let token = format!("authorization: Bearer {TOKEN}\r\n");
    assert_eq!(with(token.clone(), "/copy").await["result"]["height"], 0);
    assert_eq!(with(token.clone(), "copy").await["error"]["code"], -32602);
    assert_eq!(with(token, "/exists").await["error"]["data"]["reason"], "/exists is there already");
}

#[tokio::test]
async fn what_is_not_a_request_gets_the_specifications_codes() {
    let server = Server::start().await;
    for (body, code) in [
        ("", -32700),
        ("{", -32700),
        ("not json", -32700),
        ("[1,", -32700),
        ("1", -32600),
        ("[]", -32600),
        (r#"{"jsonrpc":"2.0","id":1}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"quorate_staus"}"#, -32601),
    ] {
        let answer = post(server.address, body).await;
        assert_eq!(answer.status, 200);
        let answer = answer.json();
        assert_eq!(answer["error"]["code"], code, "{body}");
        assert!(answer["error"]["data"].is_object(), "{body}");
        assert_eq!(answer["jsonrpc"], "2.0");
    }
    let (_, data) = fail(server.address, "quorate_staus", json!([])).await;
    assert_eq!(data["did_you_mean"], "quorate_status");
    let invalid = request(server.address, "POST", "/", "", b"{\"jsonrpc\":\"\xff\"}").await.json();
    assert_eq!(invalid["error"]["code"], -32700);
    assert_eq!(invalid["id"], Value::Null);
}

#[tokio::test]
async fn ids_come_back_as_they_were() {
    let server = Server::start().await;
    for id in ["1", "\"a\\u00e9\"", "null", "-5", "18446744073709551616", "1.50"] {
        let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"net_listening\"}}");
        let answer = post(server.address, &body).await;
        assert_eq!(answer.body, format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":true}}"));
    }
}

#[tokio::test]
async fn a_batch_is_answered_in_order_without_its_notifications() {
    let server = Server::start().await;
    let body = r#" [
        {"jsonrpc":"2.0","id":1,"method":"net_listening"},
        {"jsonrpc":"2.0","method":"net_listening"},
        7,
        {"jsonrpc":"2.0","id":"x","method":"nothing"},
        {"jsonrpc":"2.0","id":9,"method":"eth_chainId","params":5}
    ]"#;
    let answers = post(server.address, body).await.json();
    let shown: Vec<_> = answers
        .as_array()
        .unwrap()
        .iter()
        .map(|answer| (answer["id"].clone(), answer["error"]["code"].clone()))
        .collect();
    let expected = vec![
        (json!(1), Value::Null),
        (Value::Null, json!(-32600)),
        (json!("x"), json!(-32601)),
        (json!(9), json!(-32600)),
    ];
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn transactions_of_a_batch_are_handed_in_together_and_answered_in_order() {
    let server = Server::start().await;
    server.node.together.store(4, Ordering::Relaxed);
    let params = [&b"one"[..], b"two", b"reject", b"three"].map(hex_of);
    let [one, two, reject, three] = &params;
    let body = format!(
        r#"[
            {{"jsonrpc":"2.0","id":1,"method":"quorate_submit","params":["{one}"]}},
            {{"jsonrpc":"2.0","method":"quorate_submit","params":["{two}"]}},
            {{"jsonrpc":"2.0","id":3,"method":"quorate_submit","params":["{reject}"]}},
            {{"jsonrpc":"2.0","id":4,"method":"quorate_submit","params":[5]}},
            {{"jsonrpc":"2.0","id":5,"method":"eth_sendRawTransaction","params":["{three}"]}},
            {{"jsonrpc":"2.0","id":6,"method":"quorate_receipt","params":["{id}"]}}
        ]"#,
        id = id_of(b"one"),
    );
    let answers = post(server.address, &body).await.json();
    let shown: Vec<_> = answers
        .as_array()
        .unwrap()
        .iter()
        .map(|answer| (answer["id"].clone(), answer["result"].clone(), answer["error"]["code"].clone()))
        .collect();
    let expected = vec![
        (json!(1), json!(id_of(b"one")), Value::Null),
        (json!(3), Value::Null, json!(-32011)),
        (json!(4), Value::Null, json!(-32602)),
        (json!(5), json!(id_of(b"three")), Value::Null),
        (json!(6), json!({"status": "pending", "transaction_id": id_of(b"one")}), Value::Null),
    ];
    assert_eq!(shown, expected);
    assert_eq!(server.node.pool(), [&b"one"[..], b"two", b"three"]);
}

#[tokio::test]
async fn notifications_are_carried_out_and_not_answered() {
    let server = Server::start().await;
    let submit = format!(r#"{{"jsonrpc":"2.0","method":"quorate_submit","params":["{}"]}}"#, hex_of(b"one"));
    for body in [submit.clone(), format!("[{submit},{submit}]")] {
        let answer = post(server.address, &body).await;
        assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    }
    assert_eq!(ok(server.address, "quorate_pool", json!([])).await["count"], 1);
}

#[tokio::test]
async fn one_connection_serves_many_requests_also_pipelined() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"net_listening"}"#;
    let request = format!("POST /rpc HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.repeat(5).as_bytes()).await.unwrap();
    for _ in 0..5 {
        assert_eq!(read_answer(&mut stream).await.json()["result"], true);
    }
}

#[tokio::test]
async fn chunked_bodies_are_read() {
    let server = Server::start().await;
    let answer = raw(
        server.address,
        b"POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n1d\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"meth\r\n14\r\nod\":\"net_listening\"}\r\n0\r\n\r\n",
    )
    .await;
    assert_eq!(answer.json()["result"], true);
}

#[tokio::test]
async fn health_and_readiness_follow_the_node() {
    let server = Server::start().await;
    for (health, serves, ready) in
        [(Health::Ok, 200, 200), (Health::Syncing, 200, 503), (Health::Stalled, 200, 200), (Health::Conflict, 503, 503)]
    {
        *server.node.health.lock().unwrap() = health;
        let answer = get(server.address, "/health").await;
        assert_eq!(answer.status, serves, "{health:?}");
        let body = answer.json();
        assert_eq!((&body["name"], &body["role"]), (&json!("validator-1"), &json!("validator")));
        assert_eq!((&body["height"], &body["peers"]), (&json!(0), &json!(1)));
        assert_eq!(get(server.address, "/ready").await.status, ready, "{health:?}");
    }
}

#[tokio::test]
async fn metrics_are_the_nodes_and_the_transports() {
    let server = Server::start().await;
    ok(server.address, "quorate_status", json!([])).await;
    fail(server.address, "nothing", json!([])).await;
    let text = get(server.address, "/metrics").await.body;
    for line in [
        "fake 1",
        "quorate_rpc_calls_total{method=\"quorate_status\"} 1",
        "quorate_rpc_errors_total{code=\"-32601\"} 1",
        "quorate_http_requests_total 3",
        "quorate_http_connections 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
    }
    assert!(!text.contains("# EOF"));
}

#[tokio::test]
async fn paths_and_verbs_are_told_apart() {
    let server = Server::start().await;
    let at = server.address;
    assert!(get(at, "/").await.body.contains("rpc.discover"));
    assert_eq!(get(at, "/nothing").await.status, 404);
    assert_eq!(get(at, "/ws").await.status, 426);
    let refused = request(at, "PUT", "/", "", b"").await;
    assert_eq!(refused.status, 405);
    assert!(refused.head.contains("allow: GET, HEAD, POST, OPTIONS"));
    assert_eq!(request(at, "POST", "/health", "", b"").await.status, 405);
    assert_eq!(request(at, "POST", "/", "content-encoding: gzip\r\n", b"x").await.status, 415);
}

#[tokio::test]
async fn browsers_may_ask_from_any_page() {
    let server = Server::start().await;
    let headers = "origin: http://a.example\r\naccess-control-request-method: POST\r\naccess-control-request-headers: content-type,x-own\r\n";
    let answer = request(server.address, "OPTIONS", "/", headers, b"").await;
    assert_eq!(answer.status, 204);
    for line in [
        "access-control-allow-origin: *",
        "access-control-allow-methods: GET, POST, OPTIONS",
        "access-control-allow-headers: content-type,x-own",
    ] {
        assert!(answer.head.contains(line), "{line} is not in {}", answer.head);
    }
    assert!(post(server.address, "{}").await.head.contains("access-control-allow-origin: *"));
}

#[tokio::test]
async fn a_node_that_gives_no_answer_is_told_to_the_client() {
    let server = Server::start().await;
    server.node.mute.store(true, Ordering::Relaxed);
    let answer = call(server.address, "quorate_status", json!([])).await;
    assert_eq!(answer["error"]["code"], -32014);
    assert_eq!(get(server.address, "/health").await.status, 503);
}

#[tokio::test]
async fn stopping_ends_idle_connections_at_once() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}"#;
    let request = format!("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    let number = u32::from_be_bytes(genesis().chain_id().as_bytes()[..4].try_into().unwrap()) & 0x7fff_ffff;
    assert_eq!(read_answer(&mut stream).await.json()["result"], format!("{number:#x}"));
    let address = server.address;
    server.stop().await;
    assert!(TcpStream::connect(address).await.is_err());
}
