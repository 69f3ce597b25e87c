//! A small JSON-RPC 2.0 client over plain HTTP: one request at a time, every wait and every answer bounded.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{Method, Request, StatusCode, Uri, header};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use quorate::Bytes;
use serde_json::{Value, json};

use crate::exit::Failure;

/// How long an answer may take.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How long connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Bytes of an answer at most: a range of blocks in hexadecimal inside JSON.
pub const ANSWER_BYTES_MAX: usize = 96 << 20;

/// Why a node gave no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RpcError {
    /// The address is not one.
    #[error("`{url}` is not the address of a node; write it like http://127.0.0.1:8001")]
    Url {
        /// As given.
        url: String,
    },
    /// Nobody answers there.
    #[error("{url} does not answer: {reason}")]
    Unreachable {
        /// Where.
        url: String,
        /// What happened.
        reason: String,
    },
    /// No answer in time.
    #[error("{url} did not answer within {} s", within.as_secs())]
    TimedOut {
        /// Where.
        url: String,
        /// The limit.
        within: Duration,
    },
    /// An answer that is none of JSON-RPC.
    #[error("{url} answered with {what}; is it a node's RPC address?")]
    NotRpc {
        /// Where.
        url: String,
        /// What came.
        what: String,
    },
    /// The node says no.
    #[error("{url} refused: {message} (code {code}){}", shown(data))]
    Refused {
        /// Where.
        url: String,
        /// The error code of interface and specification.
        code: i64,
        /// In words.
        message: String,
        /// More of it.
        data: Value,
    },
}

fn shown(data: &Value) -> String {
    match data {
        Value::Null => String::new(),
        Value::String(text) => format!(": {text}"),
        other => format!(": {other}"),
    }
}

impl From<RpcError> for Failure {
    fn from(error: RpcError) -> Self {
        match error {
            RpcError::Url { .. } => Failure::usage(error.to_string()),
            _ => Failure::failed(error.to_string()),
        }
    }
}

/// A node's RPC address.
#[derive(Debug, Clone)]
pub struct Rpc {
    url: String,
    uri: Uri,
    token: Option<String>,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Rpc {
    /// A client for the node at `url`, such as `http://127.0.0.1:8001`; the scheme may be left out. Connects to nothing yet.
    ///
    /// # Errors
    ///
    /// [`RpcError::Url`].
    pub fn new(url: &str) -> Result<Self, RpcError> {
        let wrong = || RpcError::Url { url: url.into() };
        let full = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let uri: Uri = full.parse().map_err(|_| wrong())?;
        if uri.scheme_str() != Some("http") || uri.host().is_none_or(str::is_empty) {
            return Err(wrong());
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_WITHIN));
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { url: full.trim_end_matches('/').to_owned(), uri, token: None, client })
    }

    /// The same node, asked with the operator's token.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.trim().to_owned());
        self
    }

    /// Where the node is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Calls `method` and returns its result.
    ///
    /// # Errors
    ///
    /// [`RpcError`].
    pub async fn call(&self, method: &str, params: Value) -> Result<Value, RpcError> {
        self.call_within(ANSWER_WITHIN, method, params).await
    }

    /// As [`Rpc::call`], with a wait of one's own for what takes long.
    ///
    /// # Errors
    ///
    /// [`RpcError`].
    pub async fn call_within(&self, within: Duration, method: &str, params: Value) -> Result<Value, RpcError> {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.uri.clone())
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| RpcError::Unreachable { url: self.url.clone(), reason: error.to_string() })?;
        let (status, answer) = self.send(within, request).await?;
        let not_rpc = |what: String| RpcError::NotRpc { url: self.url.clone(), what };
        let mut answer: Value = serde_json::from_slice(&answer)
            .map_err(|_| not_rpc(format!("status {status} and {} bytes that are not JSON", answer.len())))?;
        if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
            return Err(RpcError::Refused {
                url: self.url.clone(),
                code: error.get("code").and_then(Value::as_i64).unwrap_or_default(),
                message: error.get("message").and_then(Value::as_str).unwrap_or("no message").to_owned(),
                data: error.get("data").cloned().unwrap_or(Value::Null),
            });
        }
        let result = answer.as_object_mut().and_then(|object| object.remove("result"));
        result.ok_or_else(|| not_rpc(format!("status {status} and JSON without `result`")))
    }

    /// `GET path`: the status and the body.
    ///
    /// # Errors
    ///
    /// [`RpcError::Unreachable`] or [`RpcError::TimedOut`].
    pub async fn get(&self, path: &str, within: Duration) -> Result<(StatusCode, Bytes), RpcError> {
        let request = Request::builder()
            .uri(format!("{}{path}", self.url))
            .body(Full::default())
            .map_err(|_| RpcError::Url { url: self.url.clone() })?;
        self.send(within, request).await
    }

    async fn send(&self, within: Duration, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), RpcError> {
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| RpcError::Unreachable {
                url: self.url.clone(),
                reason: crate::exit::with_causes(&error),
            })?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    let what = format!("more than {ANSWER_BYTES_MAX} bytes");
                    RpcError::NotRpc { url: self.url.clone(), what }
                } else {
                    RpcError::Unreachable { url: self.url.clone(), reason: error.to_string() }
                }
            })?;
            Ok((status, body.to_bytes()))
        };
        tokio::time::timeout(within, exchange)
            .await
            .unwrap_or_else(|_| Err(RpcError::TimedOut { url: self.url.clone(), within }))
    }
}

/// The bytes of a `0x` hexadecimal text inside an answer.
pub fn bytes_of(value: &Value) -> Option<Vec<u8>> {
    hex::decode(value.as_str()?.strip_prefix("0x")?).ok()
}

/// Runs one asynchronous command on this thread.
///
/// # Errors
///
/// What the command returns, or that no runtime could be made.
pub fn block_on<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("the runtime can't be started: {error}")))?;
    runtime.block_on(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_and_without_scheme_are_taken_and_others_refused() {
        for good in ["http://127.0.0.1:8001", "127.0.0.1:8001", "http://localhost:8001/rpc"] {
            assert!(Rpc::new(good).is_ok(), "{good}");
        }
        for bad in ["", "https://a", "http://", "ftp://a", "a b"] {
            assert!(Rpc::new(bad).is_err(), "{bad}");
        }
    }
}
