//! The service: its listener, the limits before the routes, and the tasks beside them.

use std::{
    convert::Infallible,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header},
    response::IntoResponse,
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::{body::Incoming, service::Service as _};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use quorate::{
    Service,
    plugin::SetupError,
    service::{ServiceCommand, ServiceContext, ServiceError, ServiceEvent},
    transport::Io,
};
use quorate_client::Client;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{Notify, Semaphore, watch},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tower_http::cors::CorsLayer;

use crate::{
    answer::Problem,
    forward,
    gateway::{Gateway, LOOK_UPS_MAX},
    limits::{Counted, Limits},
    metrics::{Answered, Metrics},
    outbox::{Bounds, Outbox},
    routes,
    settings::GatewaySettings,
    tls,
    verify::Verifier,
};

/// Bytes of a request's head at most.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// How long a connection may last.
const CONNECTION_LIFE: Duration = Duration::from_secs(60);

/// How long a TLS handshake may take.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);

/// The wait after the system refused to accept, so that a lack of file descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long answers that are on their way may take when the service stops.
const STOP_WAIT: Duration = Duration::from_millis(1000);

/// By what a request is named in answers and logs.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Bytes of a request's id at most, when the client names it: a UUID fits, the id of a ballot does not.
const REQUEST_ID_BYTES_MAX: usize = 36;

/// See the module.
pub(crate) struct GatewayService {
    listener: TcpListener,
    address: SocketAddr,
    settings: GatewaySettings,
    tls: Option<TlsAcceptor>,
    gateway: Arc<Gateway>,
}

impl GatewayService {
    pub(crate) fn new(settings: GatewaySettings, context: ServiceContext) -> Result<Self, SetupError> {
        let needs = |what: &str| SetupError::Other(format!("the gateway needs {what}"));
        let rules = context.rules.ok_or_else(|| needs("a node with a chain: role = \"follower\""))?;
        if rules.genesis.application_plugin() != "voting" {
            let application = rules.genesis.application_plugin();
            return Err(SetupError::Other(format!(
                "the gateway serves elections, and this chain's application is `{application}`, not `voting`"
            )));
        }
        let ledgers = context.ledgers.ok_or_else(|| needs("to be linked in, not loaded from a library"))?;
        let tls = settings.tls.as_ref().map(tls::acceptor).transpose()?;
        let failed = |source| SetupError::Listen { key: "listen", address: settings.listen.to_string(), source };
        let listener = TcpListener::bind(settings.listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        std::fs::create_dir_all(&context.data_dir)
            .map_err(|error| SetupError::Other(format!("{}: {error}", context.data_dir.display())))?;
        let bounds = Bounds { count_max: settings.outbox_count_max, bytes_max: settings.outbox_bytes_max };
        let plugins = (settings.outbox_consensus.as_str(), settings.outbox_storage.as_str());
        let outbox = Arc::new(Outbox::open(&ledgers, &context.data_dir, plugins, bounds)?);
        let client =
            Client::new(settings.client(), rules.clone()).map_err(|error| SetupError::Other(error.to_string()))?;
        let gateway = Gateway {
            name: context.name,
            version: context.version,
            node: context.node,
            rules,
            client,
            outbox,
            metrics: Metrics::new(),
            work: Notify::new(),
            admin_token: context.admin_token.filter(|token| !token.is_empty()),
            started: Instant::now(),
            forward_wait: settings.forward_wait,
            look_ups: Semaphore::new(LOOK_UPS_MAX),
            verification: Verifier::default(),
        };
        Ok(Self { listener, address, settings, tls, gateway: Arc::new(gateway) })
    }
}

/// What every connection needs.
struct Front {
    router: Router,
    gateway: Arc<Gateway>,
    header_timeout: Duration,
    body_timeout: Duration,
    body_bytes_max: usize,
}

#[quorate::async_trait]
impl Service for GatewayService {
    fn listening(&self) -> Vec<SocketAddr> {
        vec![self.address]
    }

    async fn run(self: Box<Self>, mut io: Io<ServiceCommand, ServiceEvent>) -> Result<(), ServiceError> {
        let Self { listener, address, settings, tls, gateway } = *self;
        let listener = tokio::net::TcpListener::from_std(listener)
            .map_err(|error| ServiceError(format!("listener {address}: {error}")))?;
        let held = gateway.outbox.load().await.map_err(|why| ServiceError(format!("outbox: {why}")))?;
        tracing::info!(%address, tls = tls.is_some(), held, "gateway listening");
        let mut router = routes::router(Arc::clone(&gateway));
        if !settings.cors_origins.is_empty() {
            router = router.layer(cors(&settings.cors_origins));
        }
        let front = Arc::new(Front {
            router,
            gateway: Arc::clone(&gateway),
            header_timeout: settings.header_timeout,
            body_timeout: settings.body_timeout,
            body_bytes_max: settings.body_bytes_max,
        });
        let limits = Arc::new(Limits::new(
            settings.requests_per_address_per_s,
            settings.connections_max,
            settings.connections_per_address_max,
        ));
        let (heads, heads_rx) = watch::channel(None);
        // Dropping the sets ends what is in them.
        let mut tasks: JoinSet<String> = JoinSet::new();
        let client = gateway.client.clone();
        tasks.spawn(async move {
            client.watch().await;
            "the watch over validators ended".into()
        });
        let of_track = Arc::clone(&gateway);
        tasks.spawn(async move {
            forward::catch_up(&of_track).await;
            forward::track(of_track, heads_rx).await
        });
        let [of_forward, of_receipts] = [Arc::clone(&gateway), Arc::clone(&gateway)];
        tasks.spawn(async move {
            forward::forward(of_forward).await;
            "forwarding ended".into()
        });
        tasks.spawn(async move {
            forward::ask_for_receipts(of_receipts).await;
            "asking for receipts ended".into()
        });
        let (closing, _) = watch::channel(false);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                command = io.commands.recv() => match command {
                    Some(ServiceCommand::Committed(head)) => drop(heads.send(Some(head))),
                    Some(ServiceCommand::Stop) | None => break,
                    Some(_) => {}
                },
                accepted = listener.accept() => match accepted {
                    // Whoever has too many connections sees this one close.
                    Ok((stream, from)) => match limits.connect(from.ip()) {
                        Some(counted) => {
                            let (front, tls, closing) = (Arc::clone(&front), tls.clone(), closing.subscribe());
                            connections.spawn(serve(stream, tls, counted, front, closing));
                        }
                        None => drop(gateway.metrics.limited.inc()),
                    },
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, "connection not accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                Some(ended) = tasks.join_next() => {
                    return Err(ServiceError(ended.unwrap_or_else(|error| error.to_string())));
                }
            }
        }
        closing.send_replace(true);
        let answered = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_WAIT, answered).await.is_err() {
            tracing::info!("connections were still open when the gateway stopped");
        }
        Ok(())
    }
}

fn cors(origins: &[String]) -> CorsLayer {
    let origins: Vec<HeaderValue> = origins.iter().filter_map(|origin| origin.parse().ok()).collect();
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::CONTENT_TYPE, REQUEST_ID])
        .expose_headers([REQUEST_ID, header::RETRY_AFTER])
}

async fn serve(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    counted: Counted,
    front: Arc<Front>,
    closing: watch::Receiver<bool>,
) {
    // An answer is one small write; waiting for more would only delay it.
    let _ = stream.set_nodelay(true);
    match tls {
        None => answer_all(stream, &counted, &front, closing).await,
        Some(tls) => match tokio::time::timeout(HANDSHAKE_WAIT, tls.accept(stream)).await {
            Ok(Ok(stream)) => answer_all(stream, &counted, &front, closing).await,
            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
            Err(_) => tracing::debug!("TLS handshake took too long"),
        },
    }
}

async fn answer_all<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    counted: &Counted,
    front: &Front,
    mut closing: watch::Receiver<bool>,
) {
    let service = hyper::service::service_fn(|request| respond(counted, front, request));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(front.header_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = async {
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = async { drop(closing.wait_for(|closing| *closing).await) } => {
                // The answer that is being made is still given.
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    match tokio::time::timeout(CONNECTION_LIFE, ended).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "connection ended early"),
        Err(_) => tracing::debug!("connection closed at the end of its time"),
    }
}

/// The client's name for its request, if it is harmless, or a new one.
fn request_id(request: &Request<Incoming>) -> String {
    let given = request.headers().get(&REQUEST_ID).and_then(|value| value.to_str().ok());
    let is_harmless = |id: &&str| {
        (1..=REQUEST_ID_BYTES_MAX).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    match given.filter(is_harmless) {
        Some(id) => id.to_owned(),
        None => {
            let mut bytes = [0u8; 8];
            // Without randomness the id is not unique, which only makes a log harder to read.
            let _ = getrandom::fill(&mut bytes);
            hex::encode(bytes)
        }
    }
}

/// A route's name for figures and logs, without ids.
fn route_of(path: &str) -> &'static str {
    let known = routes::ROUTES.iter().find(|route| **route == path);
    known.copied().unwrap_or(if path.starts_with("/api/elections/") { "/api/elections/{id}" } else { "other" })
}

async fn respond(counted: &Counted, front: &Front, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let begun = Instant::now();
    let (id, method, route) = (request_id(&request), request.method().clone(), route_of(request.uri().path()));
    let is_head = method == Method::HEAD;
    let mut response = match admit(counted, front, request).await {
        Ok(request) => {
            let Ok(response) = routed(&front.router, request).await;
            response
        }
        Err(problem) => {
            let mut response = problem.into_response();
            // The rest of the body is not waited for.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            response
        }
    };
    if is_head {
        *response.body_mut() = Body::empty();
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let status = response.status().as_u16();
    front.gateway.metrics.answers.get_or_create(&Answered { route, status }).inc();
    // Neither query nor body nor address: they tell who votes, and when.
    let took_ms = begun.elapsed().as_secs_f64() * 1e3;
    tracing::info!(target: "quorate_gateway::access", request = id, %method, route, status, took_ms, "answered");
    Ok(response)
}

async fn routed(router: &Router, request: Request<Body>) -> Result<Response<Body>, Infallible> {
    TowerToHyperService::new(router.clone()).call(request).await
}

/// The request with its whole body, or why it is not answered.
async fn admit(counted: &Counted, front: &Front, request: Request<Incoming>) -> Result<Request<Body>, Problem> {
    if !counted.request() {
        front.gateway.metrics.limited.inc();
        let problem =
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "too many requests from this address");
        return Err(problem.after(1));
    }
    let (head, body) = request.into_parts();
    let max = front.body_bytes_max;
    let too_large = || {
        let detail = format!("the body has more than {max} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    };
    let announced = head.headers.get(header::CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|len| len > max) {
        return Err(too_large());
    }
    let body = match tokio::time::timeout(front.body_timeout, Limited::new(body, max).collect()).await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
        Ok(Err(error)) => return Err(Problem::malformed(format!("the body could not be read: {error}"))),
        Err(_) => {
            let detail = format!("the body took longer than {} s", front.body_timeout.as_secs());
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "too_slow", detail));
        }
    };
    Ok(Request::from_parts(head, Body::from(body)))
}
