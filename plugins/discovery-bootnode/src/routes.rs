//! The registry's answers: from a request to a status and JSON.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use hyper::{Method, StatusCode};
use quorate::{ChainId, Instant};
use serde_json::{Value, json};

use crate::{
    rates::Rates,
    record::{Heartbeat, Record},
    table::{RECORDS_MAX, Refusal, STALE_AFTER, Table},
};

/// Calls of a JSON-RPC batch that are answered one by one at most.
const BATCH_MAX: usize = 100;

/// Tells the monotonic time.
pub type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// One request, its body read.
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) from: IpAddr,
    pub(crate) body: &'a [u8],
}

/// What is sent back.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

#[derive(Debug, Default)]
struct Counters {
    requests: AtomicU64,
    registered: AtomicU64,
    heartbeats: AtomicU64,
    refused: AtomicU64,
}

/// Everything that the registry's connections share.
pub(crate) struct Registry {
    table: Mutex<Table>,
    rates: Mutex<Rates>,
    counters: Counters,
    clock: Clock,
    started: Instant,
    name: String,
    version: String,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic left behind is still within its bounds.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    pub(crate) fn new(table: Table, rates: Rates, clock: Clock, name: String, version: String) -> Self {
        let started = clock();
        let counters = Counters::default();
        Self { table: Mutex::new(table), rates: Mutex::new(rates), counters, clock, started, name, version }
    }

    /// Counts a request of `from`; an answer when it asks too often.
    pub(crate) fn admit(&self, from: IpAddr) -> Option<Answer> {
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        let taken = lock(&self.rates).take((self.clock)(), from);
        (!taken)
            .then(|| problem(StatusCode::TOO_MANY_REQUESTS, "rate", "this address asks too often; slow down".into()))
    }

    /// Answers a request whose body was read.
    pub(crate) fn answer(&self, asked: &Asked<'_>) -> Answer {
        let (get, post) = (asked.method == Method::GET || asked.method == Method::HEAD, asked.method == Method::POST);
        match asked.path {
            "/register_peer" if post => self.register(asked),
            "/heartbeat" if post => self.heartbeat(asked),
            "/discover" if get => self.discover(asked.query),
            "/peers" if get => self.peers(asked.query),
            "/stats" if get => ok(self.stats()),
            "/health" if get => ok(self.health()),
            "/register_peer" | "/heartbeat" => wrong_method("POST"),
            "/discover" | "/peers" | "/stats" | "/health" => wrong_method("GET"),
            "/" | "/rpc" if post => self.stray_rpc(asked.body),
            _ => problem(StatusCode::NOT_FOUND, "not_found", format!("there is {ROUTES}; {}", self.where_nodes_are())),
        }
    }

    /// What a WebSocket upgrade is told.
    pub(crate) fn stray_upgrade(&self) -> Answer {
        problem(
            StatusCode::BAD_REQUEST,
            "no_websocket",
            format!("no WebSocket is served here; {}", self.where_nodes_are()),
        )
    }

    fn register(&self, asked: &Asked<'_>) -> Answer {
        let record: Record = match serde_json::from_slice(asked.body) {
            Ok(record) => record,
            Err(error) => return malformed(&error),
        };
        let (chain_id, public_key) = (record.chain_id, record.public_key);
        let now = (self.clock)();
        let mut table = lock(&self.table);
        if let Err(refusal) = table.register(now, asked.from, record) {
            return self.refused(&refusal);
        }
        self.counters.registered.fetch_add(1, Ordering::Relaxed);
        let peers = table.list(now, |one| one.chain_id == chain_id && one.public_key != public_key);
        ok(json!({ "registered": true, "peers": peers }))
    }

    fn heartbeat(&self, asked: &Asked<'_>) -> Answer {
        let beat: Heartbeat = match serde_json::from_slice(asked.body) {
            Ok(beat) => beat,
            Err(error) => return malformed(&error),
        };
        let now = (self.clock)();
        if let Err(refusal) = lock(&self.table).heartbeat(now, &beat) {
            return self.refused(&refusal);
        }
        self.counters.heartbeats.fetch_add(1, Ordering::Relaxed);
        ok(json!({ "alive": true, "stale_after_s": STALE_AFTER.as_secs() }))
    }

    fn discover(&self, query: &str) -> Answer {
        let Some(asker) = parameter(query, "node_id") else {
            let detail = "name the asker: /discover?node_id=validator-1".into();
            return problem(StatusCode::BAD_REQUEST, "malformed", detail);
        };
        self.listed(query, |record| record.node_id != asker)
    }

    fn peers(&self, query: &str) -> Answer {
        self.listed(query, |_| true)
    }

    fn listed(&self, query: &str, wanted: impl Fn(&Record) -> bool) -> Answer {
        let chain_id = match parameter(query, "chain_id").map(|text| text.parse::<ChainId>()) {
            None => None,
            Some(Ok(chain_id)) => Some(chain_id),
            Some(Err(error)) => {
                return problem(StatusCode::BAD_REQUEST, "malformed", format!("chain_id: {error}"));
            }
        };
        let of_chain = |record: &Record| chain_id.is_none() || record.chain_id == chain_id;
        let peers = lock(&self.table).list((self.clock)(), |record| of_chain(record) && wanted(record));
        ok(json!({ "peers": peers }))
    }

    fn stats(&self) -> Value {
        let now = (self.clock)();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        json!({
            "records": lock(&self.table).count(now),
            "records_max": RECORDS_MAX,
            "stale_after_s": STALE_AFTER.as_secs(),
            "uptime_s": now.since(self.started).as_secs(),
            "requests": count(&self.counters.requests),
            "registered": count(&self.counters.registered),
            "heartbeats": count(&self.counters.heartbeats),
            "refused": count(&self.counters.refused),
        })
    }

    fn health(&self) -> Value {
        json!({
            "status": "healthy",
            "name": self.name,
            "role": "bootnode",
            "version": self.version,
            "peers": lock(&self.table).count((self.clock)()),
        })
    }

    fn refused(&self, refusal: &Refusal) -> Answer {
        self.counters.refused.fetch_add(1, Ordering::Relaxed);
        let (status, error) = match refusal {
            Refusal::Record(crate::record::RecordError::Signature { .. }) => (StatusCode::FORBIDDEN, "signature"),
            Refusal::Record(_) => (StatusCode::BAD_REQUEST, "malformed"),
            Refusal::NameTaken { .. } => (StatusCode::CONFLICT, "name_taken"),
            Refusal::AddressTaken { .. } => (StatusCode::CONFLICT, "address_taken"),
            Refusal::Sequence { .. } => (StatusCode::CONFLICT, "sequence"),
            Refusal::Unknown { .. } => (StatusCode::NOT_FOUND, "unknown"),
            Refusal::Full { .. } => (StatusCode::SERVICE_UNAVAILABLE, "full"),
            Refusal::AddressFull { .. } => (StatusCode::TOO_MANY_REQUESTS, "address_full"),
        };
        let mut answer = problem(status, error, refusal.to_string());
        if let (Refusal::Sequence { last, .. }, Some(body)) = (refusal, answer.body.as_object_mut()) {
            body.insert("last_sequence".into(), json!(last));
        }
        if let Some(body) = answer.body.as_object_mut() {
            body.insert("registered".into(), json!(false));
        }
        answer
    }

    /// JSON-RPC that was meant for a node: an error in its own form, which its sender can show.
    fn stray_rpc(&self, body: &[u8]) -> Answer {
        let refuse = |call: &Value| {
            let method = call.get("method").and_then(Value::as_str).unwrap_or_default();
            let method: String = method.chars().take(64).collect();
            json!({
                "jsonrpc": "2.0",
                "id": call.get("id").filter(|id| id.is_string() || id.is_number()).cloned().unwrap_or(Value::Null),
                "error": {
                    "code": -32601,
                    "message": "this is a bootnode, which serves no JSON-RPC",
                    "data": { "method": method, "detail": self.where_nodes_are() },
                },
            })
        };
        match serde_json::from_slice::<Value>(body) {
            Ok(Value::Array(calls)) if !calls.is_empty() => {
                ok(calls.iter().take(BATCH_MAX).map(refuse).collect::<Vec<_>>().into())
            }
            Ok(call @ Value::Object(_)) => ok(refuse(&call)),
            _ => {
                problem(StatusCode::BAD_REQUEST, "malformed", format!("there is {ROUTES}; {}", self.where_nodes_are()))
            }
        }
    }

    fn where_nodes_are(&self) -> String {
        let nodes = lock(&self.table).list((self.clock)(), |record| !record.rpc_url.is_empty());
        match nodes.first() {
            Some(node) => {
                format!("a node's JSON-RPC is at its rpc_url, such as {}; GET /peers lists them", node.record.rpc_url)
            }
            None => "a node's JSON-RPC is at its rpc_url; GET /peers lists them once they have registered".into(),
        }
    }
}

/// For those who look for something else.
const ROUTES: &str =
    "POST /register_peer, POST /heartbeat, GET /discover?node_id=, GET /peers, GET /stats, GET /health";

fn ok(body: Value) -> Answer {
    Answer { status: StatusCode::OK, body }
}

pub(crate) fn problem(status: StatusCode, error: &'static str, detail: String) -> Answer {
    Answer { status, body: json!({ "error": error, "detail": detail }) }
}

fn malformed(error: &serde_json::Error) -> Answer {
    problem(StatusCode::BAD_REQUEST, "malformed", format!("the body is not what was expected: {error}"))
}

fn wrong_method(right: &str) -> Answer {
    problem(StatusCode::METHOD_NOT_ALLOWED, "method", format!("use {right}"))
}

/// A query's parameter, its percent signs resolved.
fn parameter(query: &str, name: &str) -> Option<String> {
    let (_, value) = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)?;
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                let mut decoded = [0u8];
                hex::decode_to_slice(digits, &mut decoded).ok()?;
                bytes.extend(decoded);
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_decoded_and_a_broken_one_is_none() {
        assert_eq!(parameter("a=1&node_id=val%20idator%2d1+x", "node_id").as_deref(), Some("val idator-1 x"));
        for broken in ["node_id=%2", "node_id=%zz", "node_id=%ff", "other=1", ""] {
            assert_eq!(parameter(broken, "node_id"), None, "{broken}");
        }
    }
}
