//! Calls and subscriptions over a WebSocket.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt, net::TcpStream};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{
        Message,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use crate::{
    fake::{Server, id_of},
    net::{PATIENCE, get},
};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn connect(server: &Server, path: &str) -> Socket {
    connect_async(format!("ws://{}{path}", server.address)).await.unwrap().0
}

async fn next(socket: &mut Socket) -> Value {
    let text = async {
        loop {
            // Pings come between.
            if let Message::Text(text) = socket.next().await.unwrap().unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    };
    tokio::time::timeout(PATIENCE, text).await.expect("a message in time")
}

async fn closed(socket: &mut Socket) -> Option<CloseFrame> {
    let close = async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(frame))) => return frame,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    };
    tokio::time::timeout(PATIENCE, close).await.expect("a close in time")
}

async fn call(socket: &mut Socket, method: &str, params: Value) -> Value {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    socket.send(Message::text(body.to_string())).await.unwrap();
    let answer = next(socket).await;
    assert_eq!(answer["id"], 1, "{answer}");
    answer
}

#[tokio::test]
async fn calls_are_answered_on_every_path() {
    let server = Server::start().await;
    for path in ["/ws", "/", "/rpc"] {
        let mut socket = connect(&server, path).await;
        assert_eq!(call(&mut socket, "net_listening", json!([])).await["result"], true);
        socket.send(Message::binary(b"[]".to_vec())).await.unwrap();
        assert_eq!(next(&mut socket).await["error"]["code"], -32600);
    }
}

#[tokio::test]
async fn subscribers_get_every_block_in_order() {
    let server = Server::start().await;
    let mut socket = connect(&server, "/ws").await;
    let native = call(&mut socket, "quorate_subscribe", json!(["blocks"])).await["result"].clone();
    let headers = call(&mut socket, "eth_subscribe", json!(["newHeads"])).await["result"].clone();
    assert_ne!(native, headers);
    call(&mut socket, "eth_subscribe", json!(["logs", {}])).await;
    for height in 1..=3u64 {
        let head = server.seal().await;
        let block = next(&mut socket).await;
        assert_eq!(block["method"], "quorate_subscription");
        assert_eq!(block["params"]["subscription"], native);
        assert_eq!(block["params"]["result"]["height"], height);
        assert_eq!(block["params"]["result"]["hash"], head.hash.to_string());
        let header = next(&mut socket).await;
        assert_eq!(header["method"], "eth_subscription");
        assert_eq!(header["params"]["subscription"], headers);
        assert_eq!(header["params"]["result"]["number"], format!("{height:#x}"));
        assert_eq!(header["params"]["result"]["parentHash"], head.header.parent_hash.to_string());
        let own = ["proposer", "round", "timestampMs", "quorumCertificate", "transactions"];
        assert!(own.iter().all(|field| header["params"]["result"].get(field).is_none()), "web3.py would not know it");
    }
    assert_eq!(call(&mut socket, "eth_unsubscribe", json!([headers])).await["result"], true);
    assert_eq!(call(&mut socket, "quorate_unsubscribe", json!([native])).await["result"], true);
    let again = call(&mut socket, "eth_unsubscribe", json!([headers])).await;
    assert_eq!(again["error"]["code"], -32020);
    server.seal().await;
    assert_eq!(call(&mut socket, "eth_blockNumber", json!([])).await["result"], "0x4");
}

/// The node tells only the newest head when it catches up; subscribers get the blocks between too.
#[tokio::test]
async fn blocks_that_came_in_a_bunch_are_all_told() {
    let server = Server::start().await;
    let mut socket = connect(&server, "/ws").await;
    call(&mut socket, "eth_subscribe", json!(["newHeads"])).await;
    server.seal().await;
    assert_eq!(next(&mut socket).await["params"]["result"]["number"], "0x1");
    for _ in 0..39 {
        server.node.seal();
    }
    server.seal().await;
    for height in 2..=41u64 {
        assert_eq!(next(&mut socket).await["params"]["result"]["number"], format!("{height:#x}"));
    }
}

#[tokio::test]
async fn receipts_are_told_once_also_when_final_before() {
    let server = Server::start().await;
    let mut socket = connect(&server, "/ws").await;
    let submit = |word: &'static [u8]| json!([format!("0x{}", hex::encode(word))]);
    call(&mut socket, "quorate_submit", submit(b"one")).await;
    server.seal().await;
    call(&mut socket, "quorate_submit", submit(b"two")).await;
    let ids = json!([id_of(b"one"), id_of(b"two"), id_of(b"never")]);
    let id = call(&mut socket, "quorate_subscribe", json!({ "topic": "receipts", "ids": ids })).await["result"].clone();
    let early = next(&mut socket).await;
    assert_eq!(early["params"]["subscription"], id);
    assert_eq!(early["params"]["result"]["transaction_id"], id_of(b"one").to_string());
    server.seal().await;
    let later = next(&mut socket).await;
    assert_eq!(later["params"]["result"]["status"], "final");
    assert_eq!(later["params"]["result"]["block_number"], 2);
    assert_eq!(later["params"]["result"]["receipt"]["transaction_id"], id_of(b"two").to_string());
    server.seal().await;
    assert_eq!(call(&mut socket, "eth_blockNumber", json!([])).await["result"], "0x3", "nothing more was told");
    for wrong in [json!(["receipts"]), json!(["receipts", []]), json!(["ballots"]), json!([])] {
        assert_eq!(call(&mut socket, "quorate_subscribe", wrong).await["error"]["code"], -32602);
    }
}

#[tokio::test]
async fn a_subscriber_is_told_that_a_receipt_was_removed() {
    let server = Server::start().await;
    let mut socket = connect(&server, "/ws").await;
    call(&mut socket, "quorate_submit", json!([format!("0x{}", hex::encode(b"one"))])).await;
    server.seal().await;
    server.seal().await;
    server.node.blocks_from.store(2, std::sync::atomic::Ordering::Relaxed);
    call(&mut socket, "quorate_subscribe", json!({ "topic": "receipts", "ids": [id_of(b"one")] })).await;
    let told = &next(&mut socket).await["params"]["result"];
    assert_eq!((&told["status"], &told["transaction_id"]), (&json!("removed"), &json!(id_of(b"one"))));
    assert_eq!((&told["error"]["code"], &told["error"]["data"]["height"]), (&json!(-32022), &json!(1)));
}

#[tokio::test]
async fn subscriptions_need_a_websocket_and_are_bounded() {
    let server = Server::with("subscriptions_max = 2\nsubscriptions_total_max = 3\n").await;
    assert_eq!(crate::net::fail(server.address, "eth_subscribe", json!(["newHeads"])).await.0, -32018);
    let (mut one, mut other) = (connect(&server, "/ws").await, connect(&server, "/ws").await);
    for expected in [None, None, Some(-32019)] {
        let answer = call(&mut one, "eth_subscribe", json!(["newHeads"])).await;
        assert_eq!(answer["error"]["code"].as_i64(), expected);
    }
    for expected in [None, Some(-32019)] {
        let answer = call(&mut other, "quorate_subscribe", json!(["blocks"])).await;
        assert_eq!(answer["error"]["code"].as_i64(), expected);
    }
    one.close(None).await.unwrap();
    assert!(
        closed(&mut one).await.is_none_or(|frame| frame.code == CloseCode::Normal || frame.code == CloseCode::Status)
    );
    let end = tokio::time::Instant::now() + PATIENCE;
    while call(&mut other, "quorate_subscribe", json!(["blocks"])).await.get("result").is_none() {
        assert!(tokio::time::Instant::now() < end, "its subscriptions end with a socket");
    }
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_refused_with_its_code() {
    let server = Server::with("body_bytes_max = 4096\n").await;
    let mut socket = connect(&server, "/ws").await;
    socket.send(Message::text("x".repeat(5000))).await.unwrap();
    let frame = closed(&mut socket).await.expect("a reason");
    assert_eq!(frame.code, CloseCode::Size);
    assert!(frame.reason.contains("4096"), "{frame:?}");
}

/// One that does not read loses its place; the others get every block.
#[tokio::test]
async fn a_subscriber_that_does_not_read_is_dropped_and_nobody_else_notices() {
    let server = Server::with("idle_timeout_s = 2\n").await;
    let mut idle = connect(&server, "/ws").await;
    let mut reader = connect(&server, "/ws").await;
    // Answers of 4 MB each, unread, fill the sockets' buffers.
    let big = format!("0x{}", "00".repeat(500_000));
    for _ in 0..8 {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "quorate_query", "params": ["echo", vec![&big; 1]] });
        idle.send(Message::text(body.to_string())).await.unwrap();
    }
    call(&mut reader, "eth_subscribe", json!(["newHeads"])).await;
    for height in 1..=100u64 {
        server.seal().await;
        assert_eq!(next(&mut reader).await["params"]["result"]["number"], format!("{height:#x}"));
    }
    let end = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let metrics = get(server.address, "/metrics").await.body;
        if metrics.contains("quorate_http_websockets 1\n") {
            assert!(metrics.contains("quorate_http_slow_total 1\n"), "{metrics}");
            break;
        }
        assert!(tokio::time::Instant::now() < end, "{metrics}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(call(&mut reader, "eth_blockNumber", json!([])).await["result"], "0x64");
}

/// One that reads again after too many blocks is told that it lost some, rather than left with a gap.
#[tokio::test]
async fn a_subscriber_that_lost_blocks_is_told_so() {
    let server = Server::start().await;
    let mut socket = connect(&server, "/ws").await;
    let mut reader = connect(&server, "/ws").await;
    for socket in [&mut socket, &mut reader] {
        call(socket, "eth_subscribe", json!(["newHeads"])).await;
    }
    // Answers of 8 MB that are not read hold up what comes after them.
    for at in 0..8u8 {
        let transaction = format!("0x{at:02x}{}", "00".repeat(500_000));
        crate::net::ok(server.address, "quorate_submit", json!([transaction])).await;
    }
    server.seal().await;
    next(&mut reader).await;
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByNumber", "params": ["0x1", true] });
    for _ in 0..4 {
        socket.send(Message::text(body.to_string())).await.unwrap();
    }
    for height in 2..=100u64 {
        server.seal().await;
        assert_eq!(next(&mut reader).await["params"]["result"]["number"], format!("{height:#x}"));
    }
    let frame = closed(&mut socket).await.expect("a reason");
    assert_eq!(frame.code, CloseCode::Policy);
    assert!(frame.reason.contains("blocks were lost to you"), "{frame:?}");
}

#[tokio::test]
async fn a_silent_client_is_pinged_and_then_dropped() {
    let server = Server::with("idle_timeout_s = 1\n").await;
    let mut socket = connect(&server, "/ws").await;
    call(&mut socket, "net_listening", json!([])).await;
    // Not polled, the client does not answer pings.
    let end = tokio::time::Instant::now() + PATIENCE;
    while !get(server.address, "/metrics").await.body.contains("quorate_http_websockets 0\n") {
        assert!(tokio::time::Instant::now() < end);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Read by hand: a client that answers the old pings now is told that the connection is gone.
    let MaybeTlsStream::Plain(stream) = socket.get_mut() else { panic!("plain") };
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    assert!(bytes.starts_with(&[0x89, 0, 0x89, 0]), "pings came: {bytes:x?}");
    let code = 1008u16.to_be_bytes();
    assert!(bytes.windows(2).any(|pair| pair == code) && bytes.windows(4).any(|word| word == b"ping"), "{bytes:x?}");
}

#[tokio::test]
async fn stopping_tells_websockets_goodbye() {
    let server = Server::start().await;
    let mut socket = connect(&server, "/ws").await;
    call(&mut socket, "net_listening", json!([])).await;
    let (frame, ()) = tokio::join!(closed(&mut socket), server.stop());
    assert_eq!(frame.map(|frame| frame.code), Some(CloseCode::Away));
}
