//! Clients that are rude, slow or wicked: each gets a clear answer, the others notice nothing.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

use crate::{
    fake::Server,
    net::{PATIENCE, get, ok, post, raw, read_answer, request},
};

async fn still_serves(server: &Server) {
    assert_eq!(ok(server.address, "net_listening", json!([])).await, true);
}

#[tokio::test]
async fn nesting_is_bounded() {
    let server = Server::start().await;
    for body in ["[".repeat(1_000_000), format!("{{\"params\":{}", "[{\"a\":".repeat(100_000))] {
        let answer = post(server.address, &body).await.json();
        assert_eq!(answer["error"]["code"], -32600);
        assert_eq!(answer["error"]["data"]["limit"], 32);
    }
    let within = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"quorate_query","params":["echo",{}1{}]}}"#,
        "[".repeat(30),
        "]".repeat(30)
    );
    assert!(post(server.address, &within).await.json()["result"].is_array());
    still_serves(&server).await;
}

#[tokio::test]
async fn huge_numbers_and_doubled_keys_are_refused() {
    let server = Server::start().await;
    let digits = "9".repeat(100_000);
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"quorate_validators","params":[{digits}]}}"#);
    assert_eq!(post(server.address, &body).await.json()["error"]["code"], -32602);
    let body = format!(r#"{{"jsonrpc":"2.0","id":{digits},"method":"net_listening"}}"#);
    assert_eq!(post(server.address, &body).await.json()["error"]["code"], -32600);
    let body = r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"net_listening"}"#;
    assert_eq!(post(server.address, body).await.json()["error"]["code"], -32600);
    still_serves(&server).await;
}

#[tokio::test]
async fn batches_are_bounded_in_calls_and_in_bytes() {
    let server = Server::start().await;
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"net_listening"}"#;
    let batch = |count: usize| format!("[{}]", vec![call; count].join(","));
    assert_eq!(post(server.address, &batch(100)).await.json().as_array().unwrap().len(), 100);
    let refused = post(server.address, &batch(101)).await.json();
    assert_eq!(refused["error"]["code"], -32600);
    assert!(refused["error"]["message"].as_str().unwrap().contains("more than 100 calls"));
    // A block of 8 MB, a hundred times.
    let transaction = format!("0x{}", "ab".repeat(500_000));
    for at in 0..8 {
        ok(server.address, "quorate_submit", json!([format!("{transaction}{at:02}")])).await;
    }
    server.seal().await;
    let call = r#"{"jsonrpc":"2.0","id":7,"method":"eth_getBlockByNumber","params":["latest",true]}"#;
    let answers = post(server.address, &format!("[{}]", vec![call; 100].join(","))).await;
    assert!(answers.body.len() < 40 << 20, "{}", answers.body.len());
    let answers = answers.json();
    let answers = answers.as_array().unwrap();
    assert_eq!(answers.len(), 100);
    assert!(answers[0]["result"].is_object());
    assert_eq!((&answers[99]["error"]["code"], &answers[99]["id"]), (&json!(-32016), &json!(7)));
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_with_the_limit() {
    let server = Server::with("body_bytes_max = 4096\n").await;
    let body = vec![b' '; 3 << 20];
    let answer = request(server.address, "POST", "/", "", &body).await;
    assert_eq!(answer.status, 413);
    let reason = answer.json()["error"]["data"]["reason"].clone();
    assert!(reason.as_str().unwrap().contains("4096"), "{reason}");
    assert!(answer.head.contains("connection: close"));
    let chunked = format!("2000\r\n{}\r\n0\r\n\r\n", " ".repeat(0x2000));
    let head = "POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(raw(server.address, format!("{head}{chunked}").as_bytes()).await.status, 413);
    still_serves(&server).await;
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let server = Server::start().await;
    for length in [17_000, 40_000, 200_000] {
        let head = format!("GET / HTTP/1.1\r\nhost: test\r\nx-long: {}\r\n\r\n", "a".repeat(length));
        assert_eq!(raw(server.address, head.as_bytes()).await.status, 431, "{length}");
    }
    let many = format!("GET / HTTP/1.1\r\nhost: test\r\n{}\r\n", "a: b\r\n".repeat(200));
    assert_eq!(raw(server.address, many.as_bytes()).await.status, 431);
    still_serves(&server).await;
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let server = Server::start().await;
    assert_eq!(raw(server.address, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n").await.status, 400);
    assert_eq!(raw(server.address, b"GET\r\n\r\n").await.status, 400);
    still_serves(&server).await;
}

/// Byte by byte: every byte comes soon, the head never ends. The client goes on writing, so that the system may reset the connection before
/// the answer is read; the counter shows why it was cut off.
#[tokio::test]
async fn a_slow_head_is_cut_off() {
    let server = Server::with("header_timeout_s = 1\n").await;
    let (mut read, mut write) = TcpStream::connect(server.address).await.unwrap().into_split();
    let drip = tokio::spawn(async move {
        let mut bytes = b"POST / HTTP/1.1\r\nx: ".iter().chain(std::iter::repeat(&b'a'));
        while write.write_all(&[*bytes.next().unwrap()]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut answer = String::new();
    match tokio::time::timeout(PATIENCE, read.read_to_string(&mut answer)).await.expect("an end in time") {
        Ok(_) => assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}"),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    drip.abort();
    assert!(get(server.address, "/metrics").await.body.contains("quorate_http_slow_total 1\n"));
}

/// Nothing at all after some bytes of a head.
#[tokio::test]
async fn a_head_that_stops_is_cut_off() {
    let server = Server::with("header_timeout_s = 1\n").await;
    let answer = raw(server.address, b"POST / HTTP/1.1\r\nx: ").await;
    assert_eq!((answer.status, answer.body.as_str()), (408, "the head of the request is too slow"));
}

#[tokio::test]
async fn a_slow_body_is_cut_off() {
    let server = Server::with("body_timeout_s = 1\n").await;
    let answer = raw(server.address, b"POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 100\r\n\r\n{").await;
    assert_eq!(answer.status, 408);
    assert!(answer.json()["error"]["message"].as_str().unwrap().contains("more than 1 s"));
    still_serves(&server).await;
}

/// The time between two requests is not time for the second one's head.
#[tokio::test]
async fn a_connection_may_be_silent_for_the_idle_time_only() {
    let server = Server::with("header_timeout_s = 1\nidle_timeout_s = 3\n").await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"net_listening"}"#;
    let request = format!("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    for _ in 0..2 {
        stream.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(read_answer(&mut stream).await.status, 200);
        tokio::time::sleep(Duration::from_millis(1700)).await;
    }
    let begin = Instant::now();
    assert_eq!(tokio::time::timeout(PATIENCE, stream.read(&mut [0; 8])).await.unwrap().unwrap(), 0, "a clean end");
    assert!(begin.elapsed() > Duration::from_millis(500));
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, silent.read(&mut [0; 8])).await.unwrap().unwrap(), 0);
}

/// A client that asks for megabytes and does not read them holds its memory for the idle time only.
#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let server = Server::with("idle_timeout_s = 1\n").await;
    let echo = json!({ "jsonrpc": "2.0", "id": 1, "method": "quorate_query", "params": ["echo", "a".repeat(900_000)] });
    let echo = echo.to_string();
    let head = format!("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n", echo.len());
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // More than the system keeps for both ends of a connection, which on some machines is some 20 MB.
    let sent = tokio::spawn(async move {
        for _ in 0..300 {
            if stream.write_all(format!("{head}{echo}").as_bytes()).await.is_err() {
                return true;
            }
        }
        false
    });
    assert!(tokio::time::timeout(PATIENCE, sent).await.expect("an end in time").unwrap(), "it was cut off");
    let metrics = get(server.address, "/metrics").await.body;
    assert!(metrics.contains("quorate_http_slow_total 1\n"), "{metrics}");
}

#[tokio::test]
async fn connections_are_bounded_and_room_comes_back() {
    let server = Server::with("connections_max = 3\n").await;
    let held = hold(&server, 3).await;
    assert_eq!(get(server.address, "/health").await.status, 503);
    drop(held);
    room_comes_back(&server).await;
    let server = Server::with("connections_per_address_max = 2\n").await;
    let held = hold(&server, 2).await;
    assert_eq!(get(server.address, "/health").await.status, 429);
    drop(held);
    room_comes_back(&server).await;
}

/// Connections which the server surely counts: each has had an answer.
async fn hold(server: &Server, count: usize) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
        assert_eq!(read_answer(&mut stream).await.status, 200);
        held.push(stream);
    }
    held
}

async fn room_comes_back(server: &Server) {
    let end = Instant::now() + PATIENCE;
    while get(server.address, "/health").await.status != 200 {
        assert!(Instant::now() < end);
    }
}

/// Hundreds of half-sent requests stand open while others are served.
#[tokio::test]
async fn many_slow_clients_cost_the_others_nothing() {
    let server = Server::with("connections_per_address_max = 1000\n").await;
    let mut slow = Vec::new();
    for at in 0..300 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let part: &[u8] = match at % 3 {
            0 => b"",
            1 => b"POST / HTTP/1.1\r\nx: ",
            _ => b"POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 1000\r\n\r\n{",
        };
        stream.write_all(part).await.unwrap();
        slow.push(stream);
    }
    let begin = Instant::now();
    for _ in 0..50 {
        still_serves(&server).await;
    }
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

/// Whatever comes, there is an answer or an end, and the server goes on.
#[tokio::test]
async fn noise_is_survived() {
    let server = Server::start().await;
    let good = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByNumber", "params": ["latest", true] });
    let good = good.to_string().into_bytes();
    // A fixed sequence (xorshift), so that a failure can be repeated.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..500 {
        let mut body = good.clone();
        for _ in 0..1 + random() % 4 {
            let at = (random() as usize) % body.len();
            body[at] = (random() & 0xff) as u8;
        }
        let answer = request(server.address, "POST", "/", "", &body).await;
        assert!(answer.status == 200 || answer.status == 204, "{}", String::from_utf8_lossy(&body));
        assert!(answer.body.is_empty() || answer.json().get("jsonrpc") != Some(&Value::Null));
    }
    still_serves(&server).await;
}
