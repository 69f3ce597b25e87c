//! HTTP: which path does what, how bodies are read, what browsers are told.

use std::{
    convert::Infallible,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Incoming},
    header::{self, HeaderMap, HeaderValue},
};
use quorate::node::{Health, NodeStatus};
use serde_json::json;

use super::{
    budget::{self, Share},
    caller::{Authority, Caller},
    errors::{INVALID_REQUEST, RpcError},
    rpc,
    server::Server,
    stream::Pulse,
    subscriptions::Subscriptions,
    websocket::{self, Upgraded},
};

/// Bytes of a body that is too large which are read before it is refused, so that its sender gets to read why.
const OVERSIZE_BYTES_MAX: usize = 16 << 20;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

const WELCOME: &str = "This is a Quorate node.\n\n\
    POST /  or /rpc   JSON-RPC 2.0; `rpc.discover` describes every method\n\
    GET  /ws          the same over a WebSocket, with subscriptions\n\
    GET  /health      200 if it serves: name, role, height, peers\n\
    GET  /ready       200 if it serves and is not catching up\n\
    GET  /metrics     figures for Prometheus\n\n\
    curl -d '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"quorate_status\"}' http://HOST:PORT/\n";

/// One connection, as the requests on it see it.
pub(crate) struct Visit {
    pub(crate) address: IpAddr,
    pub(crate) pulse: Arc<Pulse>,
    /// Put here when the connection becomes a WebSocket.
    pub(crate) upgraded: Mutex<Option<Upgraded>>,
}

/// Answers a request.
pub(crate) async fn serve(
    server: &Server,
    visit: &Visit,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    visit.pulse.request();
    server.metrics.requests.fetch_add(1, Ordering::Relaxed);
    let mut response = route(server, visit, request).await;
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        visit.pulse.upgraded();
    } else {
        visit.pulse.answered(usize::try_from(response.body().size_hint().lower()).unwrap_or(usize::MAX));
    }
    Ok(response)
}

async fn route(server: &Server, visit: &Visit, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let get = matches!(*request.method(), Method::GET | Method::HEAD);
    match request.uri().path() {
        _ if request.method() == Method::OPTIONS => preflight(request.headers()),
        "/" | "/rpc" | "/ws" if get && hyper_tungstenite::is_upgrade_request(&request) => {
            upgrade(server, visit, request)
        }
        "/" | "/rpc" if request.method() == Method::POST => post(server, visit, request).await,
        "/" | "/rpc" if get => respond(StatusCode::OK, TEXT, WELCOME),
        "/ws" if get => {
            let mut response = respond(StatusCode::UPGRADE_REQUIRED, TEXT, "this is a WebSocket: send an upgrade\n");
            response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            response
        }
        "/health" if get => health(server, false).await,
        "/ready" if get => health(server, true).await,
        "/metrics" if get => metrics(server).await,
        "/" | "/rpc" => not_allowed("GET, HEAD, POST, OPTIONS"),
        "/ws" | "/health" | "/ready" | "/metrics" => not_allowed("GET, HEAD, OPTIONS"),
        _ => respond(StatusCode::NOT_FOUND, TEXT, "there are /, /rpc, /ws, /health, /ready and /metrics\n"),
    }
}

fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn not_allowed(methods: &'static str) -> Response<Full<Bytes>> {
    let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, format!("this path takes {methods}\n"));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
    response
}

/// Tells a browser that any page may ask: nothing here rests on who the browser's user is.
fn preflight(request: &HeaderMap) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, OPTIONS"));
    let asked = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let asked = asked.unwrap_or(HeaderValue::from_static("content-type, authorization"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    headers.insert(header::VARY, HeaderValue::from_static("access-control-request-headers"));
    response
}

fn authority(server: &Server, headers: &HeaderMap) -> Authority {
    let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    Authority::of(given, server.admin_token.as_deref())
}

fn upgrade(server: &Server, visit: &Visit, mut request: Request<Incoming>) -> Response<Full<Bytes>> {
    let caller = Caller {
        address: visit.address,
        authority: authority(server, request.headers()),
        subscriptions: Some(Subscriptions::new(Arc::clone(&server.metrics.subscriptions))),
    };
    match hyper_tungstenite::upgrade(&mut request, Some(websocket::config(&server.settings))) {
        Ok((response, socket)) => {
            *visit.upgraded.lock().unwrap_or_else(PoisonError::into_inner) = Some(Upgraded { socket, caller });
            response
        }
        Err(error) => respond(StatusCode::BAD_REQUEST, TEXT, format!("not a WebSocket's upgrade: {error}\n")),
    }
}

async fn post(server: &Server, visit: &Visit, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let mut caller =
        Caller { address: visit.address, authority: authority(server, request.headers()), subscriptions: None };
    if let Some(encoding) = request.headers().get(header::CONTENT_ENCODING)
        && encoding.as_bytes() != b"identity"
    {
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body must not be compressed");
    }
    let read = tokio::time::timeout(server.settings.body_timeout, read_body(server, request.into_body()));
    let (body, share) = match read.await {
        Ok(Ok(body)) => body,
        Ok(Err(response)) => return response,
        Err(_) => {
            server.metrics.slow.fetch_add(1, Ordering::Relaxed);
            let reason = format!("the body took more than {} s", server.settings.body_timeout.as_secs());
            return refuse(StatusCode::REQUEST_TIMEOUT, &reason);
        }
    };
    let answer = rpc::answer(server, &mut caller, &body).await;
    drop((body, share));
    let Some(answer) = answer else {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::NO_CONTENT;
        return response;
    };
    match server.budget.share(answer.len()).await {
        Ok(share) => respond(StatusCode::OK, JSON, budget::hold(answer, share)),
        Err(error) => busy(&error),
    }
}

/// Refuses a request before its calls are read; the connection ends.
fn refuse(status: StatusCode, reason: &str) -> Response<Full<Bytes>> {
    let mut response = respond(status, JSON, rpc::refusal(INVALID_REQUEST, reason));
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn busy(error: &RpcError) -> Response<Full<Bytes>> {
    let body = json!({ "jsonrpc": "2.0", "id": null, "error": error }).to_string();
    respond(StatusCode::SERVICE_UNAVAILABLE, JSON, body)
}

async fn read_body(server: &Server, mut body: Incoming) -> Result<(Bytes, Share), Response<Full<Bytes>>> {
    let limit = server.settings.body_bytes_max;
    let declared = body.size_hint().exact().and_then(|len| usize::try_from(len).ok());
    let share = match server.budget.share(declared.unwrap_or(limit).min(limit)).await {
        Ok(share) => share,
        Err(error) => return Err(busy(&error)),
    };
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let mut total = 0usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| refuse(StatusCode::BAD_REQUEST, &format!("the body broke off: {error}")))?;
        let Ok(bytes) = frame.into_data() else { continue };
        total += bytes.len();
        if total > limit {
            // Read on without keeping anything.
            if total > OVERSIZE_BYTES_MAX {
                break;
            }
        } else if first.is_empty() && rest.is_empty() {
            first = bytes;
        } else {
            rest.extend_from_slice(&std::mem::take(&mut first));
            rest.extend_from_slice(&bytes);
        }
    }
    if total > limit {
        let reason = format!("the body has more than {limit} bytes");
        return Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, &reason));
    }
    Ok((if rest.is_empty() { first } else { rest.freeze() }, share))
}

/// `/health`: whether it serves at all. `/ready`: whether it is not catching up either. That a quorum is missing is said in the body: it
/// is the same at every node, and a balancer which turned clients away from all would take reads and submissions from them as well.
async fn health(server: &Server, ready: bool) -> Response<Full<Bytes>> {
    let status = match server.status().await {
        Ok(status) => status,
        Err(error) => {
            let body = json!({ "status": "unavailable", "detail": error.data.get("reason") });
            return respond(StatusCode::SERVICE_UNAVAILABLE, JSON, body.to_string());
        }
    };
    let serves = match status.status {
        // Without a quorum it still serves what is final and takes what shall become so.
        Health::Ok | Health::Stalled => true,
        Health::Syncing => !ready,
        Health::Conflict => false,
    };
    let code = if serves { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    respond(code, JSON, health_text(&status))
}

fn health_text(status: &NodeStatus) -> String {
    json!({
        "status": status.status,
        "detail": status.detail,
        "name": status.name,
        "role": status.role,
        "version": status.version,
        "chain_id": status.chain_id,
        "height": status.height,
        "hash": status.hash,
        "best_known_height": status.best_known_height,
        "peers": status.peers.iter().filter(|peer| peer.connected).count(),
        "uptime_s": status.uptime_s,
    })
    .to_string()
}

async fn metrics(server: &Server) -> Response<Full<Bytes>> {
    let mut text = match server.ask(quorate::node::Request::Metrics).await {
        Ok(quorate::node::Response::Text(text)) => text,
        // Our own figures are worth having even then.
        _ => String::new(),
    };
    // The end mark of OpenMetrics may only be the last line.
    if let Some(without) = text.strip_suffix("# EOF\n") {
        text.truncate(without.len());
    }
    text.push_str(&server.metrics.render());
    respond(StatusCode::OK, PROMETHEUS, text)
}
