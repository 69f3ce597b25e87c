//! Clients: JSON-RPC 2.0 over HTTP and WebSocket, health and metrics.
//!
//! ```text
//! listener -> gate -> connection (one task) -> http -> rpc -> native | ethereum -> server -> the node
//!                                         \-> websocket -> rpc, subscriptions <- feed <- Committed
//! ```
//!
//! Every connection is one task from its first byte to its last, a WebSocket too. Deadlines on its socket are in `stream`,
//! limits on the number of connections in `gate`, the memory of large bodies in `budget`.

mod budget;
mod caller;
mod discover;
mod errors;
mod ethereum;
mod gate;
mod hexadecimal;
mod http;
mod methods;
mod metrics;
mod native;
mod params;
mod rendered;
mod rpc;
mod server;
mod shapes;
mod stream;
mod subscriptions;
mod together;
mod websocket;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use quorate::{
    plugin::SetupError,
    transport::{TransportCommand, TransportContext, TransportError},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinSet,
};

pub use self::errors::{ERROR_CODES, ErrorCode};
use self::{
    gate::{Full, Gate, Pass},
    http::Visit,
    server::Server,
    stream::{Pulse, TimedStream},
};
use crate::settings::ClientSettings;

/// Connections that the system keeps until we accept them.
const BACKLOG: i32 = 1024;

/// How long open connections get to end when the node stops.
const STOP_WAIT_MAX: Duration = Duration::from_millis(1500);

/// How long to wait before accepting again when the system could not (it has no free file descriptor, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The side of clients: bound, not yet serving.
pub struct Clients {
    listener: std::net::TcpListener,
    address: SocketAddr,
    server: Arc<Server>,
}

impl Clients {
    /// Binds the address. Needs no runtime.
    ///
    /// # Errors
    ///
    /// [`SetupError::Listen`].
    pub fn bind(settings: &ClientSettings, context: &TransportContext) -> Result<Self, SetupError> {
        let listener = listen(settings.listen).and_then(|socket| socket.local_addr().map(|address| (socket, address)));
        let (listener, address) = listener.map_err(|source| SetupError::Listen {
            key: "rpc_listen",
            address: settings.listen.to_string(),
            source,
        })?;
        Ok(Self { listener, address, server: Arc::new(Server::new(settings, context)) })
    }

    /// Where it listens; a port of 0 is shown as the port that was given.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until [`TransportCommand::Stop`] or until the commands close. [`TransportCommand::Committed`] feeds
    /// subscriptions; other commands are for peers and ignored here.
    ///
    /// # Errors
    ///
    /// [`TransportError::Io`] if the socket can't be used.
    pub async fn run(self, mut commands: mpsc::Receiver<TransportCommand>) -> Result<(), TransportError> {
        let listener = TcpListener::from_std(self.listener)
            .map_err(|source| TransportError::Io { action: format!("listening on {}", self.address), source })?;
        let settings = &self.server.settings;
        let gate = Gate::new(settings.connections_max, settings.connections_per_address_max);
        let stop = watch::Sender::new(false);
        let mut feed = JoinSet::new();
        let server = Arc::clone(&self.server);
        feed.spawn(async move { server.feed.run(&server).await });
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(TransportCommand::Committed(head)) => self.server.feed.publish(head),
                    Some(TransportCommand::Stop) | None => break,
                    Some(_) => {}
                },
                accepted = listener.accept() => match accepted {
                    Ok((stream, address)) => match gate.enter(address.ip()) {
                        Ok(pass) => {
                            connections.spawn(serve(Arc::clone(&self.server), stream, address, pass, stop.subscribe()));
                        }
                        Err(full) => turn_away(&self.server, &stream, full),
                    },
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, "client could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(ended) = connections.join_next() => if let Err(error) = ended {
                    tracing::error!(error = &error as &dyn std::error::Error, "a client's connection failed");
                },
            }
        }
        drop(listener);
        stop.send_replace(true);
        let ended = tokio::time::timeout(STOP_WAIT_MAX, async { while connections.join_next().await.is_some() {} });
        if ended.await.is_err() {
            tracing::warn!(connections = connections.len(), "clients were cut off: they did not end in time");
        }
        Ok(())
    }
}

fn listen(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    // A restarted node takes its port again while old connections linger.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Says why, as far as the socket takes it at once, and hangs up.
fn turn_away(server: &Server, stream: &TcpStream, full: Full) {
    let (at, status, reason) = match full {
        Full::Total => (0, "503 Service Unavailable", "this node has as many connections as it takes"),
        Full::Address => (1, "429 Too Many Requests", "this address has as many connections as it may"),
    };
    if let Some(counter) = server.metrics.refused.get(at) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
    let len = reason.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {len}\r\nretry-after: 1\r\nconnection: close\r\n\r\n{reason}"
    );
    // A new connection's buffer is empty; if it takes nothing, the client just sees the end.
    drop(stream.try_write(answer.as_bytes()));
    stream::discard(stream);
}

/// One connection, from its first byte to its last.
async fn serve(
    server: Arc<Server>,
    stream: TcpStream,
    address: SocketAddr,
    pass: Pass,
    mut stop: watch::Receiver<bool>,
) {
    server.metrics.connections.fetch_add(1, Ordering::Relaxed);
    // Answers are written whole; waiting to fill a packet would only delay them.
    drop(stream.set_nodelay(true));
    let settings = &server.settings;
    let pulse = Pulse::new(settings.header_timeout, settings.idle_timeout);
    let visit = Visit { address: address.ip(), pulse: Arc::clone(&pulse), upgraded: Mutex::new(None) };
    {
        let service = service_fn(|request| http::serve(&server, &visit, request));
        let connection = http1::Builder::new()
            .max_header_size(settings.header_bytes_max)
            // The stream keeps the deadlines.
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(TimedStream::new(stream, pulse)), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stopped(&mut stop) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            if is_timeout(&error) {
                server.metrics.slow.fetch_add(1, Ordering::Relaxed);
            }
            tracing::debug!(%address, error = &error as &dyn std::error::Error, "client's connection ended");
        }
    }
    let upgraded = visit.upgraded.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(upgraded) = upgraded {
        websocket::run(&server, upgraded, &mut stop).await;
    }
    server.metrics.connections.fetch_sub(1, Ordering::Relaxed);
    drop(pass);
}

/// Waits until the node stops.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, and the node with it.
    drop(stop.wait_for(|stop| *stop).await);
}

fn is_timeout(error: &hyper::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return error.kind() == std::io::ErrorKind::TimedOut;
        }
        source = error.source();
    }
    false
}
