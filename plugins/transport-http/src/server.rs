//! The clients' side: HTTP/1.1 with limits on everything that a client could hold on to.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE,
        HeaderValue,
    },
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use quorate::{
    node::{self, Health, NodeHandle},
    plugin::SetupError,
    transport::TransportContext,
};
use serde_json::json;
use tokio::{net::TcpListener, sync::Semaphore, sync::watch, task::JoinSet};

use crate::{methods::Caller, peers, rpc, settings::HttpSettings};

/// How long open requests may go on after the node was told to stop.
const STOP_WAIT: Duration = Duration::from_secs(1);

/// The clients' side, bound.
pub(crate) struct Server {
    listener: std::net::TcpListener,
    address: SocketAddr,
    settings: HttpSettings,
    node: NodeHandle,
    version: String,
    admin_token: Option<Arc<str>>,
}

struct Limits {
    all: Arc<Semaphore>,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

impl Server {
    pub(crate) fn bind(settings: &HttpSettings, context: &TransportContext) -> Result<Self, SetupError> {
        let (listener, address) = peers::listen("rpc_listen", settings.rpc_listen, context.loopback_only)?;
        Ok(Self {
            listener,
            address,
            settings: settings.clone(),
            node: context.node.clone(),
            version: context.version.clone(),
            admin_token: context.admin_token.clone(),
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until told to stop.
    pub(crate) async fn run(self, mut stopped: watch::Receiver<bool>) {
        let listener = match TcpListener::from_std(self.listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "clients can't be served");
                return;
            }
        };
        let limits = Arc::new(Limits {
            all: Arc::new(Semaphore::new(self.settings.connections_max)),
            by_address: Mutex::default(),
        });
        let caller = Arc::new(Caller { node: self.node, version: self.version, admin_token: self.admin_token });
        let settings = Arc::new(self.settings);
        let mut tasks = JoinSet::new();
        loop {
            while tasks.try_join_next().is_some() {}
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stopped.wait_for(|stopped| *stopped) => break,
            };
            match accepted {
                Ok((stream, address)) => {
                    let (limits, caller, settings) = (Arc::clone(&limits), Arc::clone(&caller), Arc::clone(&settings));
                    tasks.spawn(connection(stream, address.ip(), limits, caller, settings));
                }
                Err(error) => {
                    tracing::warn!(%error, "a client's connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        // Answers on their way are given a moment; idle connections are closed with the rest.
        drop(tokio::time::timeout(STOP_WAIT, async { while tasks.join_next().await.is_some() {} }).await);
    }
}

async fn connection(
    stream: tokio::net::TcpStream,
    address: IpAddr,
    limits: Arc<Limits>,
    caller: Arc<Caller>,
    settings: Arc<HttpSettings>,
) {
    let Ok(permit) = Arc::clone(&limits.all).try_acquire_owned() else { return };
    {
        let mut counts = limits.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= settings.connections_per_address_max {
            return;
        }
        *count += 1;
    }
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a client's connection is gone");
    }
    let of_request = Arc::clone(&settings);
    let service = service_fn(move |request| {
        let (caller, settings) = (Arc::clone(&caller), Arc::clone(&of_request));
        async move { Ok::<_, Infallible>(answer(request, &caller, &settings).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout.max(settings.idle_timeout.min(settings.header_timeout)))
        .max_buf_size(settings.header_bytes_max)
        .pipeline_flush(true)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%address, %error, "a client's connection ended badly");
    }
    let mut counts = limits.by_address.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(count) = counts.get_mut(&address) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&address);
        }
    }
    drop(permit);
}

fn respond(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

async fn answer(request: Request<Incoming>, caller: &Caller, settings: &HttpSettings) -> Response<Full<Bytes>> {
    match (request.method(), request.uri().path()) {
        (&Method::POST, "/" | "/rpc") => call(request, caller, settings).await,
        (&Method::OPTIONS, _) => {
            let mut response = respond(StatusCode::NO_CONTENT, TEXT, "");
            let headers = response.headers_mut();
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, OPTIONS"));
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type"));
            response
        }
        (&Method::GET, "/health") => health(caller, false).await,
        (&Method::GET, "/ready") => health(caller, true).await,
        (&Method::GET, "/metrics") => match caller.node.request(node::Request::Metrics).await {
            node::Response::Text(text) => respond(StatusCode::OK, "text/plain; version=0.0.4", text),
            _ => respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, "no figures yet\n"),
        },
        (&Method::GET, "/") => respond(
            StatusCode::OK,
            TEXT,
            "A Quorate node. JSON-RPC 2.0: POST / or /rpc. Also GET /health, /ready, /metrics.\n",
        ),
        (_, "/" | "/rpc" | "/health" | "/ready" | "/metrics") => respond(
            StatusCode::METHOD_NOT_ALLOWED,
            TEXT,
            "JSON-RPC wants POST; /health, /ready and /metrics want GET\n",
        ),
        _ => respond(StatusCode::NOT_FOUND, TEXT, "there are POST / and /rpc, GET /health, /ready and /metrics\n"),
    }
}

async fn call(request: Request<Incoming>, caller: &Caller, settings: &HttpSettings) -> Response<Full<Bytes>> {
    let admin = caller.is_admin(request.headers());
    let body = Limited::new(request.into_body(), settings.body_bytes_max).collect();
    let body = match tokio::time::timeout(settings.body_timeout, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            let message = format!("the body may have {} bytes\n", settings.body_bytes_max);
            return respond(StatusCode::PAYLOAD_TOO_LARGE, TEXT, message);
        }
        Ok(Err(_)) => return respond(StatusCode::BAD_REQUEST, TEXT, "the body ended early\n"),
        Err(_) => return respond(StatusCode::REQUEST_TIMEOUT, TEXT, "the body took too long\n"),
    };
    match rpc::answer(&body, caller, admin, settings.batch_max).await {
        Some(answer) => respond(StatusCode::OK, JSON, answer),
        None => respond(StatusCode::NO_CONTENT, TEXT, ""),
    }
}

/// 200 while the node can serve; `ready` also wants it in step with its peers.
async fn health(caller: &Caller, ready: bool) -> Response<Full<Bytes>> {
    let node::Response::Status(status) = caller.node.request(node::Request::Status).await else {
        return respond(StatusCode::SERVICE_UNAVAILABLE, JSON, r#"{"status":"starting"}"#);
    };
    let good = match status.status {
        Health::Ok => true,
        Health::Syncing => !ready,
        _ => false,
    };
    let body = json!({
        "status": if status.status == Health::Ok { json!("healthy") } else { json!(status.status) },
        "name": status.name,
        "role": status.role,
        "height": status.height,
        "peers": status.peers.iter().filter(|peer| peer.connected).count(),
        "detail": status.detail,
    });
    respond(if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, JSON, body.to_string())
}
