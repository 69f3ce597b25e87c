//! Follows a node's final blocks over a WebSocket, as a client would.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde::Deserialize;
use tungstenite::{Message, WebSocket, protocol::WebSocketConfig};

use crate::{
    failure::{BenchError, io},
    http::call_text,
    stop::Stop,
};

/// How long to read before looking whether the run shall end.
const READ_WAIT: Duration = Duration::from_millis(250);

/// Bytes of one notification at most: a block of 65536 transaction ids.
const MESSAGE_BYTES_MAX: usize = 8 << 20;

/// What is read of a notification.
#[derive(Deserialize)]
struct Notification<'a> {
    #[serde(borrow)]
    params: Params<'a>,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    result: Block<'a>,
}

/// A final block: its height and what is in it.
#[derive(Debug, Deserialize)]
pub(crate) struct Block<'a> {
    pub(crate) height: u64,
    /// The round in which it was made.
    pub(crate) created_round: u32,
    /// Ids.
    #[serde(borrow)]
    pub(crate) transactions: Vec<&'a str>,
}

/// A subscription to final blocks.
pub(crate) struct Follower {
    socket: WebSocket<TcpStream>,
    stop: Stop,
}

fn failed(error: tungstenite::Error) -> BenchError {
    BenchError::answer(format!("the WebSocket of a node: {error}"))
}

impl Follower {
    /// Subscribes at a node.
    pub(crate) fn subscribe(address: SocketAddr, stop: &Stop) -> Result<Self, BenchError> {
        let stream = TcpStream::connect(address).map_err(io(format!("connect to {address}")))?;
        stream
            .set_nodelay(true)
            .and_then(|()| stream.set_read_timeout(Some(READ_WAIT)))
            .map_err(io("a socket's options"))?;
        let limits = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let (socket, _) = tungstenite::client::client_with_config(format!("ws://{address}/ws"), stream, Some(limits))
            .map_err(|error| BenchError::answer(format!("the WebSocket of {address}: {error}")))?;
        let mut follower = Self { socket, stop: stop.clone() };
        let request = call_text("quorate_subscribe", &serde_json::json!(["blocks"]));
        follower.socket.send(Message::text(request)).map_err(failed)?;
        let answer = follower.text()?;
        if answer.contains("\"error\"") { Err(BenchError::answer(answer)) } else { Ok(follower) }
    }

    fn text(&mut self) -> Result<String, BenchError> {
        loop {
            if let Some(text) = self.try_text()? {
                return Ok(text);
            }
            self.stop.check("a final block")?;
        }
    }

    /// What comes within [`READ_WAIT`].
    fn try_text(&mut self) -> Result<Option<String>, BenchError> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return Ok(Some(text.as_str().to_owned())),
                Ok(Message::Close(frame)) => {
                    return Err(BenchError::answer(format!("a node closed its WebSocket: {frame:?}")));
                }
                Ok(_) => {}
                Err(tungstenite::Error::Io(error))
                    if matches!(
                        error.kind(),
                        // A signal interrupts a read that has a timeout.
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) =>
                {
                    return Ok(None);
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Looks at the next final block, if one comes within a moment.
    pub(crate) fn poll<T>(&mut self, look: impl FnOnce(&Block<'_>) -> T) -> Result<Option<T>, BenchError> {
        self.try_text()?.map(|text| read(&text, look)).transpose()
    }

    /// Waits for the next final block and looks at it.
    pub(crate) fn next<T>(&mut self, look: impl FnOnce(&Block<'_>) -> T) -> Result<T, BenchError> {
        let text = self.text()?;
        read(&text, look)
    }
}

fn read<T>(text: &str, look: impl FnOnce(&Block<'_>) -> T) -> Result<T, BenchError> {
    let notification: Notification<'_> = serde_json::from_str(text)
        .map_err(|error| BenchError::answer(format!("a notification of a block: {error}")))?;
    Ok(look(&notification.params.result))
}
