//! A client that costs little: one kept connection, one request at a time, prepared bytes out, a slice of the answer back.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::failure::{BenchError, io};

/// How long a node may take for an answer.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// Bytes of an answer at most.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A connection that was silent for so long is made anew before the next request: a node closes one after 30 seconds by default.
const SILENT_MAX: Duration = Duration::from_secs(10);

/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;

/// A connection that is kept.
#[derive(Debug)]
pub(crate) struct Connection {
    address: SocketAddr,
    /// When something was sent last.
    used: Instant,
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A `POST /` with a JSON body, ready to be sent.
pub(crate) fn post(body: &str) -> Vec<u8> {
    format!(
        "POST / HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A `POST` of JSON to a path, ready to be sent.
pub(crate) fn post_to(path: &str, body: &str) -> Vec<u8> {
    let len = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {len}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A `GET`, ready to be sent.
pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n").into_bytes()
}

/// A JSON-RPC request's text.
pub(crate) fn call_text(method: &str, params: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string()
}

impl Connection {
    /// Connects.
    pub(crate) fn open(address: SocketAddr) -> Result<Self, BenchError> {
        Self::try_open(address).map_err(io(format!("connect to {address}")))
    }

    pub(crate) fn try_open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_WAIT))?;
        Ok(Self { address, used: Instant::now(), stream, buffer: vec![0; READ_BYTES] })
    }

    /// Sends a prepared request.
    pub(crate) fn send(&mut self, request: &[u8]) -> Result<(), BenchError> {
        self.used = Instant::now();
        self.stream.write_all(request).map_err(io("send a request"))
    }

    /// Takes the answer to the request that was sent: its status and its body.
    pub(crate) fn receive(&mut self) -> Result<(u16, &[u8]), BenchError> {
        let mut filled = 0;
        let mut whole: Option<(u16, usize, usize)> = None;
        loop {
            if whole.is_none() {
                whole = head(self.buffer.get(..filled).unwrap_or_default())?;
            }
            if let Some((status, start, end)) = whole {
                if filled > end {
                    return Err(BenchError::answer("bytes after the end of an answer"));
                }
                if filled == end {
                    return Ok((status, self.buffer.get(start..end).unwrap_or_default()));
                }
                if self.buffer.len() < end {
                    self.buffer.resize(end, 0);
                }
            } else if filled == self.buffer.len() {
                return Err(BenchError::answer(format!("a head of more than {filled} bytes")));
            }
            let read = match self.stream.read(self.buffer.get_mut(filled..).unwrap_or_default()) {
                // A signal interrupts a read that has a timeout.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read.map_err(io("read an answer"))?,
            };
            if read == 0 {
                return Err(BenchError::answer("the node closed the connection inside of an answer"));
            }
            filled += read;
        }
    }

    /// One exchange that must succeed, over a new connection after [`SILENT_MAX`].
    pub(crate) fn exchange(&mut self, request: &[u8]) -> Result<&[u8], BenchError> {
        if self.used.elapsed() >= SILENT_MAX {
            *self = Self::open(self.address)?;
        }
        self.send(request)?;
        match self.receive()? {
            (200, body) => Ok(body),
            (status, body) => {
                Err(BenchError::answer(format!("HTTP status {status}: {}", String::from_utf8_lossy(body))))
            }
        }
    }

    /// A JSON-RPC call that must succeed.
    pub(crate) fn call(&mut self, method: &str, params: &Value) -> Result<Value, BenchError> {
        let body = self.exchange(&post(&call_text(method, params)))?;
        let answer: Value =
            serde_json::from_slice(body).map_err(|error| BenchError::answer(format!("{method}: {error}")))?;
        match answer.get("result") {
            Some(result) => Ok(result.clone()),
            None => Err(BenchError::answer(format!("{method}: {answer}"))),
        }
    }
}

/// Status, start and end of an answer whose head is there.
fn head(bytes: &[u8]) -> Result<Option<(u16, usize, usize)>, BenchError> {
    let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let text = String::from_utf8_lossy(bytes.get(..at).unwrap_or_default());
    let wrong = || BenchError::answer(format!("an answer with the head {text:?}"));
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(wrong)?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let length = length.filter(|length| *length <= ANSWER_BYTES_MAX).ok_or_else(wrong)?;
    Ok(Some((status, at + 4, at + 4 + length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_where_its_head_says() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(head(answer).unwrap(), Some((200, answer.len() - 3, answer.len())));
        assert_eq!(head(b"HTTP/1.1 200 OK\r\n").unwrap(), None);
        assert!(head(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    #[test]
    fn a_connection_that_was_silent_for_long_is_made_anew() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut connection = Connection::open(listener.local_addr().unwrap()).unwrap();
        let node = std::thread::spawn(move || {
            // As a node does: what is silent for long is closed, and what comes anew is answered.
            let first = listener.accept().unwrap();
            let answer = |mut stream: TcpStream, times: usize| {
                for _ in 0..times {
                    let read = stream.read(&mut [0; 1024]).unwrap();
                    assert!(read > 0);
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na").unwrap();
                }
            };
            answer(first.0, 1);
            answer(listener.accept().unwrap().0, 2);
        });
        assert_eq!(connection.exchange(&get("/")).unwrap(), b"a");
        connection.used = connection.used.checked_sub(SILENT_MAX).unwrap();
        for _ in 0..2 {
            assert_eq!(connection.exchange(&get("/")).unwrap(), b"a");
        }
        node.join().unwrap();
    }
}
