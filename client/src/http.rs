//! One question to one node over HTTP, bounded in time and bytes.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{Method, Request, Uri, header};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use quorate::Bytes;

use crate::health::Failure;

/// Bytes of an answer at most: a page of blocks in hexadecimal.
pub(crate) const ANSWER_BYTES_MAX: usize = 24 << 20;

/// Bytes of a bootnode's list at most.
const PEERS_BYTES_MAX: usize = 2 << 20;

/// How long a connection may stay unused.
const IDLE: Duration = Duration::from_secs(20);

/// Why there is no answer.
#[derive(Debug, Clone)]
pub(crate) struct NoAnswer {
    pub(crate) kind: Failure,
    pub(crate) why: String,
}

impl NoAnswer {
    pub(crate) fn nonsense(why: impl Into<String>) -> Self {
        Self { kind: Failure::Nonsense, why: why.into() }
    }
}

/// A pool of connections.
#[derive(Debug, Clone)]
pub(crate) struct Http(Client<HttpConnector, Full<Bytes>>);

impl Http {
    pub(crate) fn new(per_host_max: usize) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(per_host_max)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Self(client)
    }

    /// `POST`s JSON; any status with a body of `max` bytes at most is an answer, but one that says that the server failed.
    pub(crate) async fn post(&self, uri: &Uri, body: Bytes, within: Duration, max: usize) -> Result<Bytes, NoAnswer> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(uri.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body));
        self.send(request, within, max).await
    }

    /// `GET`s.
    pub(crate) async fn get(&self, uri: &Uri, within: Duration) -> Result<Bytes, NoAnswer> {
        self.send(Request::builder().uri(uri.clone()).body(Full::default()), within, PEERS_BYTES_MAX).await
    }

    async fn send(
        &self,
        request: Result<Request<Full<Bytes>>, hyper::http::Error>,
        within: Duration,
        max: usize,
    ) -> Result<Bytes, NoAnswer> {
        let request = request.map_err(|error| NoAnswer::nonsense(error.to_string()))?;
        let exchange = async {
            let broke = |error: &dyn std::error::Error| NoAnswer { kind: Failure::Connection, why: causes(error) };
            let response = match self.0.request(request.clone()).await {
                // It may have been closed while nobody looked; whatever is asked may be asked twice.
                Err(error) if !error.is_connect() => self.0.request(request).await,
                response => response,
            };
            let response = response.map_err(|error| broke(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), max).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    NoAnswer::nonsense(format!("it answers with more than {max} bytes"))
                } else {
                    broke(error.as_ref())
                }
            })?;
            if status.is_server_error() {
                return Err(NoAnswer::nonsense(format!("it answers with HTTP status {}", status.as_u16())));
            }
            Ok(body.to_bytes())
        };
        let late = || NoAnswer { kind: Failure::Timeout, why: format!("no answer within {} ms", within.as_millis()) };
        tokio::time::timeout(within, exchange).await.unwrap_or_else(|_| Err(late()))
    }
}

/// An error with what caused it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    text
}
