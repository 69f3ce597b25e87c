//! The bootnode's registry over HTTP/1.1, as a service.

use std::{
    net::{IpAddr, SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use quorate::{
    Instant, Settings,
    diagnostics::Diagnostic,
    plugin::{Descriptor, ServicePlugin, SetupError},
    service::{Service, ServiceCommand, ServiceContext, ServiceError, ServiceEvent},
    transport::Io,
};
use serde::Deserialize;
use tokio::{net::TcpStream, task::JoinSet};

pub use crate::routes::Clock;
use crate::{
    VERSION,
    rates::{Connections, Rates, source},
    record::check_node_id,
    routes::{Answer, Asked, Registry, problem},
    table::{RECORDS_MAX, RESERVED_MAX, Reserved, Table, TableLimits},
};

/// Bytes of a request's body at most; a record of the longest fields has under 1200.
pub const BODY_BYTES_MAX: usize = 8 << 10;

/// Bytes of a request's head at most.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// How long a connection may last, whatever its other end does or does not read.
const CONNECTION_LIFE: Duration = Duration::from_secs(60);

/// The wait after the system refused to accept, so that a lack of file descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

const EXAMPLE: &str = r#"# Where nodes register and ask. Beyond loopback: any other address of this machine.
listen = "127.0.0.1:8546"
# Connections at a time, in all and from one address.
connections_max = 256
connections_per_address_max = 64
# Requests a second from one address; four seconds' worth may come at once.
requests_per_address_per_s = 50
# Records kept from one address; 1024 are kept in all.
records_per_address_max = 64
# Milliseconds within which a request's head (also the next one's of a connection) and its body must be here.
header_wait_ms = 10000
body_wait_ms = 10000

# A name that belongs to one key whether it is registered or not: what it registers goes before others, also when the registry
# is full. Optional, for each validator.
# [[service.reserved]]
# name = "validator-1"
# public_key = "0x..."
"#;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RegistrySettings {
    listen: SocketAddr,
    #[serde(default = "connections_max")]
    connections_max: usize,
    #[serde(default = "connections_per_address_max")]
    connections_per_address_max: usize,
    #[serde(default = "requests_per_address_per_s")]
    requests_per_address_per_s: u32,
    #[serde(default = "records_per_address_max")]
    records_per_address_max: usize,
    #[serde(default = "wait_ms")]
    header_wait_ms: u64,
    #[serde(default = "wait_ms")]
    body_wait_ms: u64,
    #[serde(default)]
    reserved: Vec<Reserved>,
}

fn connections_max() -> usize {
    256
}

fn connections_per_address_max() -> usize {
    64
}

fn requests_per_address_per_s() -> u32 {
    50
}

fn records_per_address_max() -> usize {
    64
}

fn wait_ms() -> u64 {
    10_000
}

impl RegistrySettings {
    fn read(settings: &Settings) -> Result<Self, Vec<Diagnostic>> {
        let read: Self = settings.parse()?;
        let mut errors = Vec::new();
        let mut within = |key: &str, value: usize, max: usize| {
            if value == 0 || value > max {
                errors.push(settings.error(key, format!("{key} is {value}; it must be 1 to {max}")));
            }
        };
        within("connections_max", read.connections_max, 65_536);
        within("connections_per_address_max", read.connections_per_address_max, read.connections_max.max(1));
        within("requests_per_address_per_s", read.requests_per_address_per_s as usize, 100_000);
        within("records_per_address_max", read.records_per_address_max, RECORDS_MAX);
        for (key, wait_ms) in [("header_wait_ms", read.header_wait_ms), ("body_wait_ms", read.body_wait_ms)] {
            if !(100..=60_000).contains(&wait_ms) {
                errors.push(settings.error(key, format!("{key} is {wait_ms}; it must be 100 to 60000")));
            }
        }
        if read.reserved.len() > RESERVED_MAX {
            let count = read.reserved.len();
            errors.push(settings.error("reserved", format!("{count} names are reserved; the limit is {RESERVED_MAX}")));
        }
        for (at, one) in read.reserved.iter().enumerate() {
            if let Err(error) = check_node_id(&one.name) {
                errors.push(settings.error("reserved", format!("reserved name `{}`: {error}", one.name)));
            }
            if read.reserved.iter().take(at).any(|other| other.name == one.name) {
                errors.push(settings.error("reserved", format!("the name `{}` is reserved twice", one.name)));
            }
        }
        if errors.is_empty() { Ok(read) } else { Err(errors) }
    }
}

/// The service `bootnode`: a registry of signed records.
#[derive(Clone, Default)]
pub struct RegistryServicePlugin {
    clock: Option<Clock>,
}

impl RegistryServicePlugin {
    /// The registry with another clock than the process's, for tests.
    pub fn with_clock(clock: Clock) -> Self {
        Self { clock: Some(clock) }
    }
}

fn process_clock() -> Clock {
    let origin = std::time::Instant::now();
    Arc::new(move || Instant(0).after(origin.elapsed()))
}

impl ServicePlugin for RegistryServicePlugin {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new("bootnode", VERSION, "a registry of signed records, by which nodes find each other")
            .with_example(EXAMPLE)
    }

    fn check(&self, settings: &Settings) -> Result<(), SetupError> {
        RegistrySettings::read(settings)?;
        Ok(())
    }

    fn build(&self, settings: &Settings, context: ServiceContext) -> Result<Box<dyn Service>, SetupError> {
        let read = RegistrySettings::read(settings)?;
        if context.loopback_only && !read.listen.ip().is_loopback() {
            let message =
                format!("this node's key is a well-known development key; it does not listen on {}", read.listen);
            let help = "listen on 127.0.0.1, or make a key of its own: quorate key new FILE";
            return Err(vec![settings.error("listen", message).with_help(help)].into());
        }
        let failed = |source| SetupError::Listen { key: "listen", address: read.listen.to_string(), source };
        let listener = TcpListener::bind(read.listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let limits = TableLimits { records_max: RECORDS_MAX, records_per_address_max: read.records_per_address_max };
        let registry = Registry::new(
            Table::new(limits, read.reserved),
            Rates::new(read.requests_per_address_per_s),
            self.clock.clone().unwrap_or_else(process_clock),
            context.name,
            context.version,
        );
        Ok(Box::new(RegistryService {
            listener,
            address,
            shared: Arc::new(Shared {
                registry,
                connections: Mutex::default(),
                max: read.connections_max,
                per_address_max: read.connections_per_address_max,
                header_wait: Duration::from_millis(read.header_wait_ms),
                body_wait: Duration::from_millis(read.body_wait_ms),
            }),
        }))
    }
}

struct RegistryService {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    registry: Registry,
    connections: Mutex<Connections>,
    max: usize,
    per_address_max: usize,
    header_wait: Duration,
    body_wait: Duration,
}

/// A counted connection; counts down when dropped.
struct Counted {
    shared: Arc<Shared>,
    from: IpAddr,
}

impl Counted {
    fn open(shared: &Arc<Shared>, from: IpAddr) -> Option<Self> {
        let mut connections = shared.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let room = connections.open(from, shared.per_address_max, shared.max);
        room.then(|| Self { shared: Arc::clone(shared), from })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.shared.connections.lock().unwrap_or_else(PoisonError::into_inner).close(self.from);
    }
}

#[quorate::async_trait]
impl Service for RegistryService {
    fn listening(&self) -> Vec<SocketAddr> {
        vec![self.address]
    }

    async fn run(self: Box<Self>, mut io: Io<ServiceCommand, ServiceEvent>) -> Result<(), ServiceError> {
        let listener = tokio::net::TcpListener::from_std(self.listener)
            .map_err(|error| ServiceError(format!("listener {}: {error}", self.address)))?;
        tracing::info!(address = %self.address, "bootnode registry listening; records are kept in memory only");
        // Dropping the set ends every connection.
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                command = io.commands.recv() => match command {
                    Some(ServiceCommand::Stop) | None => return Ok(()),
                    Some(_) => {}
                },
                accepted = listener.accept() => match accepted {
                    Ok((stream, address)) => {
                        let from = source(address.ip());
                        // Whoever has too many connections sees this one close.
                        if let Some(counted) = Counted::open(&self.shared, from) {
                            connections.spawn(serve(stream, counted));
                        }
                    }
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, "connection not accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
            }
        }
    }
}

async fn serve(stream: TcpStream, counted: Counted) {
    let service = hyper::service::service_fn(|request| respond(&counted, request));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(counted.shared.header_wait)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_LIFE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(from = %counted.from, %error, "connection ended early"),
        Err(_) => tracing::debug!(from = %counted.from, "connection closed at the end of its time"),
    }
}

async fn respond(
    counted: &Counted,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    let head_only = request.method() == Method::HEAD;
    let answer = answer(counted, request).await;
    let body = if head_only { Bytes::new() } else { answer.body.to_string().into() };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    if answer.status == StatusCode::PAYLOAD_TOO_LARGE || answer.status == StatusCode::REQUEST_TIMEOUT {
        // The rest of the body is not waited for.
        headers.insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    }
    Ok(response)
}

async fn answer(counted: &Counted, request: Request<Incoming>) -> Answer {
    let registry = &counted.shared.registry;
    if let Some(refused) = registry.admit(counted.from) {
        return refused;
    }
    if request.headers().contains_key(header::UPGRADE) {
        return registry.stray_upgrade();
    }
    let (head, body) = request.into_parts();
    let body = if head.method == Method::POST {
        match tokio::time::timeout(counted.shared.body_wait, Limited::new(body, BODY_BYTES_MAX).collect()).await {
            Ok(Ok(collected)) => collected.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                let detail = format!("the body has more than {BODY_BYTES_MAX} bytes");
                return problem(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail);
            }
            Ok(Err(error)) => {
                return problem(StatusCode::BAD_REQUEST, "malformed", format!("the body could not be read: {error}"));
            }
            Err(_) => {
                let detail = format!("the body took longer than {} ms", counted.shared.body_wait.as_millis());
                return problem(StatusCode::REQUEST_TIMEOUT, "too_slow", detail);
            }
        }
    } else {
        Bytes::new()
    };
    registry.answer(&Asked {
        method: &head.method,
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        from: counted.from,
        body: &body,
    })
}
