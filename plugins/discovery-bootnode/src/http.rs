//! One HTTP/1.1 request to a bootnode, bounded in time and bytes.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::record::URL_BYTES_MAX;

/// How long a request may take, from the look-up of the name to the last byte of the answer.
pub(crate) const REQUEST_WAIT: Duration = Duration::from_secs(5);

/// Bytes of an answer at most: a full table of the longest records has less.
pub(crate) const ANSWER_BYTES_MAX: usize = 2 << 20;

/// Bytes of an answer's head at most.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// A bootnode's URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// `host:port`.
    authority: String,
    /// What goes before a path, without a slash at its end.
    prefix: String,
}

/// Why a text is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EndpointError {
    #[error("`{0}` begins with https://; records are signed, so a bootnode is asked by plain http://")]
    Https(String),
    #[error("`{0}` is no URL of a bootnode; write it like http://192.0.2.1:8546")]
    Malformed(String),
}

impl Endpoint {
    pub(crate) fn parse(url: &str) -> Result<Self, EndpointError> {
        let malformed = || EndpointError::Malformed(url.chars().take(80).collect());
        if url.starts_with("https://") {
            return Err(EndpointError::Https(url.chars().take(80).collect()));
        }
        let rest = url.strip_prefix("http://").filter(|_| url.len() <= URL_BYTES_MAX).ok_or_else(malformed)?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let with_port = if authority.ends_with(']') || !authority.contains(':') {
            format!("{authority}:80")
        } else {
            authority.to_owned()
        };
        let authority = crate::record::peer_address(&with_port).ok_or_else(malformed)?;
        let path = path.trim_end_matches('/');
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.' | b'~');
        if !path.bytes().all(known) {
            return Err(malformed());
        }
        let prefix = if path.is_empty() { String::new() } else { format!("/{path}") };
        Ok(Self { authority, prefix })
    }

    /// Asks once; the answer's status and body, or in words why there is none.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Vec<u8>) -> Result<(StatusCode, Bytes), String> {
        match tokio::time::timeout(REQUEST_WAIT, self.exchange(method, path, body)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(chain(error.as_ref())),
            Err(_) => Err(format!("no answer within {} s", REQUEST_WAIT.as_secs())),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.prefix))
            .header(header::HOST, &self.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONNECTION, "close")
            .body(Full::<Bytes>::from(body))?;
        let stream = TcpStream::connect(&self.authority).await?;
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await?;
        let answer = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await?;
            Ok((status, body.to_bytes()))
        };
        tokio::pin!(answer, connection);
        let mut open = true;
        loop {
            tokio::select! {
                answer = &mut answer => return answer,
                // Its end, also a bad one, reaches the answer by itself.
                _ = &mut connection, if open => open = false,
            }
        }
    }
}

/// An error with everything below it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(source) = below {
        text.push_str(": ");
        text.push_str(&source.to_string());
        below = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let endpoint = |url: &str| Endpoint::parse(url).map(|one| (one.authority, one.prefix));
        let expect = |authority: &str, prefix: &str| Ok((authority.to_owned(), prefix.to_owned()));
        assert_eq!(endpoint("http://127.0.0.1:8546"), expect("127.0.0.1:8546", ""));
        assert_eq!(endpoint("http://boot.example/"), expect("boot.example:80", ""));
        assert_eq!(endpoint("http://[::1]/nodes/"), expect("[::1]:80", "/nodes"));
        assert!(matches!(endpoint("https://a:1"), Err(EndpointError::Https(_))));
        for wrong in ["", "127.0.0.1:8546", "http://", "http://a:0", "http://a b", "http://a/b?c", "http://u@h:1"] {
            assert!(matches!(endpoint(wrong), Err(EndpointError::Malformed(_))), "{wrong}");
        }
    }
}
