//! A WebSocket: calls and notifications on one connection, in one task.

use std::{borrow::Cow, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper_tungstenite::{
    HyperWebsocket, HyperWebsocketStream,
    tungstenite::{
        Error, Message,
        error::CapacityError,
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};
use tokio::{sync::watch, time::Instant};

use super::{caller::Caller, rpc, server::Server, stream::DRAIN_BYTES_PER_S, subscriptions::Lagged};
use crate::settings::ClientSettings;

/// How long a client may take to read one message, beyond the time for its bytes.
pub(crate) const SEND_WAIT_MAX: Duration = Duration::from_secs(10);

/// How long the closing handshake may take.
const CLOSE_WAIT_MAX: Duration = Duration::from_millis(500);

/// A connection that is becoming a WebSocket.
pub(crate) struct Upgraded {
    pub(crate) socket: HyperWebsocket,
    pub(crate) caller: Caller,
}

/// Limits of the protocol; buffers are small, for there may be many connections.
pub(crate) fn config(settings: &ClientSettings) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(8 << 10)
        .write_buffer_size(8 << 10)
        .max_message_size(Some(settings.body_bytes_max))
        .max_frame_size(Some(settings.body_bytes_max))
}

/// Why a WebSocket ends.
enum End {
    /// The client went away.
    Gone,
    /// We close it, telling why.
    Close(CloseCode, Cow<'static, str>),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        match error {
            Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
                End::Close(CloseCode::Size, format!("message has {size} bytes; the limit is {max_size}").into())
            }
            Error::Utf8(_) => End::Close(CloseCode::Invalid, "the text is not UTF-8".into()),
            Error::Protocol(error) => End::Close(CloseCode::Protocol, shorten(error.to_string())),
            _ => End::Gone,
        }
    }
}

/// A close frame has room for 123 bytes of text.
fn shorten(mut text: String) -> Cow<'static, str> {
    while text.len() > 120 {
        text.pop();
    }
    text.into()
}

/// Serves a WebSocket until it ends.
pub(crate) async fn run(server: &Server, upgraded: Upgraded, stop: &mut watch::Receiver<bool>) {
    let Upgraded { socket, mut caller } = upgraded;
    let Ok(mut socket) = socket.await else { return };
    server.metrics.websockets.fetch_add(1, Ordering::Relaxed);
    if let End::Close(code, reason) = converse(server, &mut caller, &mut socket, stop).await {
        if code == CloseCode::Policy {
            server.metrics.slow.fetch_add(1, Ordering::Relaxed);
        }
        let frame = CloseFrame { code, reason: reason.as_ref().into() };
        // The client may be gone or not reading; then it can't be told.
        let goodbye = async {
            socket.close(Some(frame)).await.ok()?;
            while let Some(Ok(_)) = socket.next().await {}
            Some(())
        };
        drop(tokio::time::timeout(CLOSE_WAIT_MAX, goodbye).await);
    }
    server.metrics.websockets.fetch_sub(1, Ordering::Relaxed);
}

async fn converse(
    server: &Server,
    caller: &mut Caller,
    socket: &mut HyperWebsocketStream,
    stop: &mut watch::Receiver<bool>,
) -> End {
    let idle = server.settings.idle_timeout;
    let mut ping = tokio::time::interval_at(Instant::now() + idle / 2, idle / 2);
    let mut heard = Instant::now();
    loop {
        let subscriptions = caller.subscriptions.as_mut();
        let announced = async {
            match subscriptions {
                Some(subscriptions) => subscriptions.next().await,
                None => std::future::pending().await,
            }
        };
        let result = tokio::select! {
            message = socket.next() => {
                heard = Instant::now();
                match message {
                    Some(Ok(message)) => take(server, caller, socket, message).await,
                    Some(Err(error)) => Err(error.into()),
                    None => Err(End::Gone),
                }
            }
            block = announced => match block {
                Ok(block) => notify(server, caller, socket, &block).await,
                Err(Lagged(count)) => {
                    let reason = format!("too slow: {count} blocks were lost to you; subscribe again");
                    Err(End::Close(CloseCode::Policy, reason.into()))
                }
            },
            _ = ping.tick() => {
                if heard.elapsed() > idle * 2 {
                    Err(End::Close(CloseCode::Policy, "no answer to our pings".into()))
                } else {
                    send(socket, Message::Ping(Bytes::new())).await
                }
            }
            () = super::stopped(stop) => Err(End::Close(CloseCode::Away, "the node is stopping".into())),
        };
        if let Err(end) = result {
            return end;
        }
    }
}

async fn take(
    server: &Server,
    caller: &mut Caller,
    socket: &mut HyperWebsocketStream,
    message: Message,
) -> Result<(), End> {
    let body: Bytes = match message {
        Message::Text(text) => text.into(),
        Message::Binary(bytes) => bytes,
        // tungstenite answers pings and closes by itself.
        _ => return Ok(()),
    };
    server.metrics.requests.fetch_add(1, Ordering::Relaxed);
    let Some(answer) = rpc::answer(server, caller, &body).await else { return Ok(()) };
    drop(body);
    let text = String::from_utf8(answer).map_err(|_| End::Close(CloseCode::Error, "internal error".into()))?;
    send_text(server, socket, text).await?;
    send_receipts(server, caller, socket).await
}

async fn notify(
    server: &Server,
    caller: &mut Caller,
    socket: &mut HyperWebsocketStream,
    block: &super::subscriptions::Announcement,
) -> Result<(), End> {
    let texts = caller.subscriptions.as_mut().map(|one| one.notifications(block)).unwrap_or_default();
    for text in texts {
        send_text(server, socket, text).await?;
    }
    send_receipts(server, caller, socket).await
}

async fn send_receipts(server: &Server, caller: &mut Caller, socket: &mut HyperWebsocketStream) -> Result<(), End> {
    let Some(subscriptions) = &mut caller.subscriptions else { return Ok(()) };
    while let Some(text) = subscriptions.next_receipt(server).await {
        send_text(server, socket, text).await?;
    }
    Ok(())
}

async fn send_text(server: &Server, socket: &mut HyperWebsocketStream, text: String) -> Result<(), End> {
    let busy = |_| End::Close(CloseCode::Again, "too many large answers at once; try again later".into());
    let _share = server.budget.share(text.len()).await.map_err(busy)?;
    send(socket, Message::text(text)).await
}

/// Sends, and gives up on a client that does not read.
async fn send(socket: &mut HyperWebsocketStream, message: Message) -> Result<(), End> {
    let wait = SEND_WAIT_MAX + Duration::from_secs(message.len() as u64 / DRAIN_BYTES_PER_S);
    match tokio::time::timeout(wait, socket.send(message)).await {
        Ok(sent) => Ok(sent?),
        Err(_) => Err(End::Close(CloseCode::Policy, "too slow: you do not read what you asked for".into())),
    }
}
