//! A client of one node: HTTP and JSON-RPC on fresh connections, and signed transactions.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    time::Duration,
};

use serde_json::{Value, json};

/// One HTTP exchange on a fresh connection; `None` when the other side is not there.
pub(crate) fn http(url: &str, method: &str, path: &str, body: &[u8]) -> Option<(u16, String)> {
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let code = head.split(' ').nth(1)?.parse().ok()?;
    Some((code, body.to_owned()))
}

/// `GET path`.
pub(crate) fn get(url: &str, path: &str) -> Option<(u16, String)> {
    http(url, "GET", path, b"")
}

/// One of a node's figures.
pub(crate) fn metric(url: &str, name: &str) -> Option<f64> {
    let (_, text) = get(url, "/metrics")?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// A JSON-RPC call: the whole response.
pub(crate) fn rpc(url: &str, method: &str, params: Value) -> Option<Value> {
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let (_, body) = http(url, "POST", "/", request.to_string().as_bytes())?;
    serde_json::from_str(&body).ok()
}

/// A JSON-RPC call that must succeed.
pub(crate) fn call(url: &str, method: &str, params: Value) -> Value {
    let response = rpc(url, method, params).unwrap_or_else(|| panic!("{url} did not answer {method}"));
    assert!(response.get("error").is_none(), "{method}: {response}");
    response["result"].clone()
}

/// `quorate_status`; `None` when the node is not there.
pub(crate) fn status(url: &str) -> Option<Value> {
    rpc(url, "quorate_status", json!([]))?.get("result").cloned()
}

/// Submits a transaction that must be taken: its id.
pub(crate) fn submit(url: &str, transaction: &str) -> String {
    call(url, "quorate_submit", json!([transaction])).as_str().unwrap().to_owned()
}

/// A transaction's final receipt at a node, if it is final there.
pub(crate) fn is_final(url: &str, id: &str) -> Option<Value> {
    let found = rpc(url, "quorate_receipt", json!([id]))?;
    (found["result"]["status"] == "final").then(|| found["result"].clone())
}

/// Makes signed key-value transactions, each of a signer of its own, so that none waits for another.
pub(crate) struct Writer {
    who: u8,
    chain_id: quorate::ChainId,
    made: u64,
}

impl Writer {
    /// For the network of a genesis file; writers with different `who` make different transactions.
    pub(crate) fn new(genesis: &Path, who: u8) -> Self {
        let text = std::fs::read_to_string(genesis).unwrap();
        let chain_id = quorate::Genesis::parse("genesis.toml", &text).unwrap().chain_id();
        Self { who, chain_id, made: 0 }
    }

    /// The next transaction, in hex.
    pub(crate) fn next(&mut self) -> String {
        self.next_with(b"value")
    }

    /// The next transaction with this value.
    pub(crate) fn next_with(&mut self, value: &[u8]) -> String {
        self.made += 1;
        let mut seed = [self.who; 32];
        seed[..8].copy_from_slice(&self.made.to_le_bytes());
        let bytes = quorate_kv::Put::sign(&seed, &self.chain_id, 0, b"key", value);
        format!("0x{}", hex::encode(bytes))
    }
}
