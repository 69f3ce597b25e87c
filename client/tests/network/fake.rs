//! A validator that does as it is told: an HTTP server in this process which answers JSON-RPC, truly or not.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use quorate::{Bytes, TransactionId};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::oneshot,
    task::{JoinHandle, JoinSet},
};

use crate::chain::{Chain, Sealed};

/// Bytes of a request at most, as a node has it by default.
pub(crate) const BODY_BYTES_MAX: usize = 1 << 20;

/// What every question meets before it is read.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) enum Manner {
    #[default]
    Answers,
    Status500,
    Garbage,
    /// JSON-RPC -32014.
    Unavailable,
    /// Another error of JSON-RPC.
    Error(i64, String),
}

/// What a submission meets.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) enum OnSubmit {
    #[default]
    Takes,
    WrongId,
    Rejects {
        kind: &'static str,
        reason: &'static str,
    },
    Duplicate(TransactionId),
    TooLarge,
    Full(u64),
}

/// What a question for a receipt meets.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) enum OnReceipt {
    /// What the chain says up to its height, and what its pool says.
    #[default]
    Truth,
    Unknown,
    /// This answer.
    Says(Value),
}

/// How a fake behaves.
#[derive(Clone, Default)]
pub(crate) struct Behaviour {
    pub(crate) manner: Manner,
    pub(crate) delay: Duration,
    /// The delay is for this method alone.
    pub(crate) slow_method: Option<&'static str>,
    pub(crate) submit: OnSubmit,
    pub(crate) receipt: OnReceipt,
    /// Up to where it has the chain; all of it when not said.
    pub(crate) height: Option<usize>,
    /// What its status says instead of the truth.
    pub(crate) status: Vec<(&'static str, Value)>,
    /// Its blocks instead of the chain's.
    pub(crate) blocks: Option<Vec<Sealed>>,
    /// Blocks in an answer at most.
    pub(crate) page_max: Option<usize>,
    /// What it rejects, though it takes others.
    pub(crate) rejects: Vec<TransactionId>,
    /// Answers to `quorate_query`; an unknown one is an error.
    pub(crate) election: Option<Value>,
    /// The records which it lists, as a bootnode.
    pub(crate) peers: Vec<Value>,
}

/// A request that came in.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) bytes: usize,
    pub(crate) methods: Vec<String>,
}

struct Shared {
    name: String,
    chain: Arc<Chain>,
    behaviour: Mutex<Behaviour>,
    pool: Mutex<Vec<Bytes>>,
    seen: Mutex<Vec<Seen>>,
    now: AtomicUsize,
    most: AtomicUsize,
}

/// Counts down also when the connection breaks.
struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One fake.
pub(crate) struct Fake {
    pub(crate) name: String,
    address: SocketAddr,
    /// Holds the port while nobody listens, so that a connection is refused and no other program gets it.
    _port: TcpSocket,
    shared: Arc<Shared>,
    server: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

fn socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

impl Fake {
    pub(crate) fn start(name: impl Into<String>, chain: Arc<Chain>) -> Self {
        let name = name.into();
        let port = socket(SocketAddr::from(([127, 0, 0, 1], 0)));
        let shared = Shared {
            name: name.clone(),
            chain,
            behaviour: Mutex::default(),
            pool: Mutex::default(),
            seen: Mutex::default(),
            now: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        };
        let fake = Self {
            name,
            address: port.local_addr().unwrap(),
            _port: port,
            shared: Arc::new(shared),
            server: Mutex::default(),
        };
        fake.listen();
        fake
    }

    /// Begins to listen; again after [`Fake::die`].
    pub(crate) fn listen(&self) {
        let listener = socket(self.address).listen(256).unwrap();
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(serve(Arc::clone(&self.shared), listener, stopped));
        *self.server.lock().unwrap() = Some((stop, server));
    }

    /// Stops listening, and breaks what is open.
    pub(crate) async fn die(&self) {
        let server = self.server.lock().unwrap().take();
        if let Some((stop, server)) = server {
            let _ = stop.send(());
            server.await.unwrap();
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes how it behaves from now on.
    pub(crate) fn be(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.shared.behaviour.lock().unwrap());
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// How often it was asked `method`.
    pub(crate) fn asked(&self, method: &str) -> usize {
        self.seen().iter().flat_map(|seen| &seen.methods).filter(|one| *one == method).count()
    }

    /// Requests that it handles now.
    pub(crate) fn now(&self) -> usize {
        self.shared.now.load(Ordering::SeqCst)
    }

    /// Requests that it handled at the same time at most.
    pub(crate) fn most(&self) -> usize {
        self.shared.most.load(Ordering::SeqCst)
    }

    /// Its pool.
    pub(crate) fn pool(&self) -> Vec<Bytes> {
        self.shared.pool.lock().unwrap().clone()
    }
}

async fn serve(shared: Arc<Shared>, listener: TcpListener, mut stopped: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    let answer = service_fn(|request| respond(&shared, request));
                    // A client may leave at any time.
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn respond(shared: &Shared, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let now = shared.now.fetch_add(1, Ordering::SeqCst) + 1;
    let _running = Running(&shared.now);
    shared.most.fetch_max(now, Ordering::SeqCst);
    let is_list = request.method() == hyper::Method::GET && request.uri().path() == "/peers";
    let Ok(body) = request.into_body().collect().await else { return Ok(Response::new(Full::default())) };
    let body = body.to_bytes();
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let calls = asked.as_array().cloned().unwrap_or_else(|| vec![asked.clone()]);
    let method =
        |call: &Value| if is_list { "peers".into() } else { call["method"].as_str().unwrap_or_default().into() };
    let methods: Vec<String> = calls.iter().map(method).collect();
    let behaviour = shared.behaviour.lock().unwrap().clone();
    let is_slow = behaviour.slow_method.is_none_or(|slow| methods.iter().any(|one| one == slow));
    shared.seen.lock().unwrap().push(Seen { bytes: body.len(), methods });
    if is_slow && !behaviour.delay.is_zero() {
        tokio::time::sleep(behaviour.delay).await;
    }
    let mut response = match behaviour.manner {
        _ if body.len() > BODY_BYTES_MAX => {
            let mut response = Response::new(Full::from("the body has more than 1048576 bytes"));
            *response.status_mut() = hyper::StatusCode::PAYLOAD_TOO_LARGE;
            response
        }
        Manner::Garbage => Response::new(Full::from("<html>it works</html>")),
        Manner::Status500 => {
            let mut response = Response::new(Full::from("out of order"));
            *response.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
        _ if is_list => Response::new(Full::from(json!({ "peers": behaviour.peers }).to_string())),
        _ => {
            let mut answers: Vec<Value> = calls.iter().map(|call| answer(shared, &behaviour, call)).collect();
            // JSON-RPC leaves the order to the server.
            answers.reverse();
            let answer = if asked.is_array() { Value::Array(answers) } else { answers.swap_remove(0) };
            Response::new(Full::from(answer.to_string()))
        }
    };
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    Ok(response)
}

fn error(code: i64, message: &str, data: Value) -> Value {
    json!({ "code": code, "message": message, "data": data })
}

fn answer(shared: &Shared, behaviour: &Behaviour, call: &Value) -> Value {
    let result = match &behaviour.manner {
        Manner::Unavailable => Err(error(-32014, "unavailable", json!({ "reason": "it is stopping" }))),
        Manner::Error(code, message) => Err(error(*code, message, Value::Null)),
        _ => match call["method"].as_str().unwrap_or_default() {
            "quorate_status" => Ok(status(shared, behaviour)),
            "quorate_submit" => submit(shared, behaviour, &call["params"][0]),
            "quorate_receipt" => receipt(shared, behaviour, &call["params"][0]),
            "quorate_blockRange" => Ok(blocks(shared, behaviour, &call["params"])),
            "quorate_query" => behaviour
                .election
                .clone()
                .ok_or_else(|| error(-32602, "invalid params", json!({ "reason": "no such election" }))),
            _ => Err(error(-32601, "method not found", Value::Null)),
        },
    };
    match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": call["id"], "result": result }),
        Err(error) => json!({ "jsonrpc": "2.0", "id": call["id"], "error": error }),
    }
}

fn height(shared: &Shared, behaviour: &Behaviour) -> usize {
    behaviour.height.unwrap_or(usize::MAX).min(shared.chain.height())
}

fn status(shared: &Shared, behaviour: &Behaviour) -> Value {
    let height = height(shared, behaviour);
    let all = shared.chain.rules.genesis.validators();
    let key = all.iter().find(|(_, one)| one.name == shared.name).map(|(_, one)| one.public_key);
    let mut status = json!({
        "public_key": key,
        "chain_id": shared.chain.rules.genesis.chain_id(),
        "status": "ok",
        "height": height,
        "hash": shared.chain.hash(height),
        "engine": { "quorum": 2 },
    });
    for (key, value) in &behaviour.status {
        status[*key] = value.clone();
    }
    status
}

fn submit(shared: &Shared, behaviour: &Behaviour, text: &Value) -> Result<Value, Value> {
    let bytes: Bytes =
        hex::decode(text.as_str().unwrap_or_default().trim_start_matches("0x")).unwrap_or_default().into();
    match &behaviour.submit {
        OnSubmit::Takes if behaviour.rejects.contains(&shared.chain.id(&bytes)) => {
            Err(error(-32011, "rejected", json!({ "kind": "state", "reason": "too late" })))
        }
        OnSubmit::Takes => {
            let id = json!(shared.chain.id(&bytes));
            shared.pool.lock().unwrap().push(bytes);
            Ok(id)
        }
        OnSubmit::WrongId => Ok(json!(TransactionId::new([9; 32]))),
        OnSubmit::Rejects { kind, reason } => Err(error(-32011, "rejected", json!({ "kind": kind, "reason": reason }))),
        OnSubmit::Duplicate(winner) => Err(error(-32010, "duplicate", json!({ "winner": winner }))),
        OnSubmit::TooLarge => {
            Err(error(-32013, "transaction too large", json!({ "reason": "2 bytes; the limit is 1" })))
        }
        OnSubmit::Full(retry) => Err(error(-32012, "pool full", json!({ "retry_after_ms": retry }))),
    }
}

fn receipt(shared: &Shared, behaviour: &Behaviour, id: &Value) -> Result<Value, Value> {
    match &behaviour.receipt {
        OnReceipt::Unknown => return Ok(Value::Null),
        OnReceipt::Says(answer) => return Ok(answer.clone()),
        OnReceipt::Truth => {}
    }
    let id: TransactionId =
        serde_json::from_value(id.clone()).map_err(|wrong| error(-32602, &wrong.to_string(), Value::Null))?;
    if let Some(receipt) = shared.chain.receipt(&id, height(shared, behaviour)) {
        return Ok(json!({ "status": "final", "receipt": receipt }));
    }
    let is_pending = shared.pool.lock().unwrap().iter().any(|one| shared.chain.id(one) == id);
    Ok(if is_pending { json!({ "status": "pending", "transaction_id": id }) } else { Value::Null })
}

fn blocks(shared: &Shared, behaviour: &Behaviour, params: &Value) -> Value {
    let (from, bytes_max) = (params[0].as_u64().unwrap_or(1).max(1), params[1].as_u64().unwrap_or(1 << 20));
    let all = behaviour.blocks.clone().unwrap_or_else(|| {
        let mut all = shared.chain.blocks();
        all.truncate(height(shared, behaviour));
        all
    });
    let (mut shown, mut bytes) = (Vec::new(), 0);
    for sealed in all.iter().skip(usize::try_from(from - 1).unwrap()).take(behaviour.page_max.unwrap_or(usize::MAX)) {
        bytes += sealed.block.encoded().len() as u64;
        if !shown.is_empty() && bytes > bytes_max {
            break;
        }
        shown.push(sealed.shown());
    }
    json!({ "from": from, "blocks": shown })
}
