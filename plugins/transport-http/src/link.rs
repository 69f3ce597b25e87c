//! One connection to a peer: the hello, then messages in frames, the urgent classes first.
//!
//! A frame is length:u32le, kind:u8, payload. Kinds 0, 1 and 2 are messages of the classes consensus, pool and sync; 16 is the hello, 17 the
//! goodbye with its reason, 18 keeps the connection alive.

use std::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use quorate::{
    Bytes, ChainId, PeerId,
    transport::{Class, MESSAGE_BYTES_MAX, TransportEvent},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufWriter},
    sync::mpsc,
};

/// Version of what follows TLS.
pub(crate) const PROTOCOL: u16 = 1;

/// Bytes of a hello or goodbye at most.
const GREETING_BYTES_MAX: usize = 512;

/// Messages of one class that may wait for one peer.
pub(crate) const QUEUE_MAX: usize = 512;

/// How often a sign of life is sent.
const KEEPALIVE: Duration = Duration::from_secs(3);

/// A connection without a sign of life for this long is dead.
const DEAD_AFTER: Duration = Duration::from_secs(10);

/// How long one frame may take to be written.
const WRITE_WAIT: Duration = Duration::from_secs(10);

/// Memory that a frame's length claims is taken in pieces of this size, as bytes come.
const PIECE_BYTES: usize = 64 << 10;

const KIND_HELLO: u8 = 16;
const KIND_GOODBYE: u8 = 17;
const KIND_ALIVE: u8 = 18;

/// The first frame of both sides.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Hello {
    pub(crate) protocol: u16,
    pub(crate) chain_id: ChainId,
    pub(crate) name: String,
    pub(crate) role: String,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("frame of {len} bytes; the limit is {limit}")]
    TooLong { len: usize, limit: usize },
    #[error("frame of unknown kind {0}")]
    Kind(u8),
    #[error("{0}")]
    Refused(String),
    #[error("no sign of life for {} s", DEAD_AFTER.as_secs())]
    Dead,
    #[error("the peer takes no data")]
    Stuck,
    #[error("closed: {0}")]
    Closed(String),
}

/// What is sent to one peer, by class.
#[derive(Clone)]
pub(crate) struct Queues {
    pub(crate) consensus: mpsc::Sender<Bytes>,
    pub(crate) pool: mpsc::Sender<Bytes>,
    pub(crate) sync: mpsc::Sender<Bytes>,
}

pub(crate) struct Inboxes {
    consensus: mpsc::Receiver<Bytes>,
    pool: mpsc::Receiver<Bytes>,
    sync: mpsc::Receiver<Bytes>,
}

pub(crate) fn queues() -> (Queues, Inboxes) {
    let (consensus, consensus_rx) = mpsc::channel(QUEUE_MAX);
    let (pool, pool_rx) = mpsc::channel(QUEUE_MAX);
    let (sync, sync_rx) = mpsc::channel(QUEUE_MAX);
    (Queues { consensus, pool, sync }, Inboxes { consensus: consensus_rx, pool: pool_rx, sync: sync_rx })
}

async fn write_frame<W: AsyncWrite + Unpin>(to: &mut W, kind: u8, payload: &[u8]) -> Result<(), LinkError> {
    let write = async {
        to.write_u32_le(u32::try_from(payload.len()).unwrap_or(u32::MAX)).await?;
        to.write_u8(kind).await?;
        to.write_all(payload).await
    };
    match tokio::time::timeout(WRITE_WAIT, write).await {
        Ok(written) => Ok(written?),
        Err(_) => Err(LinkError::Stuck),
    }
}

async fn read_frame<R: AsyncRead + Unpin>(from: &mut R) -> Result<(u8, Bytes), LinkError> {
    let len = from.read_u32_le().await? as usize;
    let kind = from.read_u8().await?;
    let limit = match kind {
        0..=2 => MESSAGE_BYTES_MAX,
        KIND_HELLO | KIND_GOODBYE => GREETING_BYTES_MAX,
        KIND_ALIVE => 0,
        other => return Err(LinkError::Kind(other)),
    };
    if len > limit {
        return Err(LinkError::TooLong { len, limit });
    }
    let mut payload = Vec::with_capacity(len.min(PIECE_BYTES));
    let read = from.take(len as u64).read_to_end(&mut payload).await?;
    if read < len {
        return Err(LinkError::Closed("in the middle of a message".into()));
    }
    Ok((kind, payload.into()))
}

/// Exchanges hellos; both sides learn why, if they do not fit.
pub(crate) async fn greet<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, ours: &Hello) -> Result<Hello, LinkError> {
    write_frame(stream, KIND_HELLO, &borsh::to_vec(ours)?).await?;
    stream.flush().await?;
    let (kind, payload) = read_frame(stream).await?;
    if kind == KIND_GOODBYE {
        return Err(LinkError::Refused(format!("peer refuses: {}", printable(&payload))));
    }
    let theirs: Hello = borsh::from_slice(&payload)?;
    let refusal = if theirs.protocol != ours.protocol {
        Some(format!("speaks peer protocol {}, this node {}", theirs.protocol, ours.protocol))
    } else if theirs.chain_id != ours.chain_id {
        Some(format!("wrong genesis: it is of chain {}, this node of {}", theirs.chain_id, ours.chain_id))
    } else {
        None
    };
    match refusal {
        Some(why) => {
            say_goodbye(stream, &why).await;
            Err(LinkError::Refused(why))
        }
        None => Ok(Hello { name: printable(theirs.name.as_bytes()), ..theirs }),
    }
}

/// Tells the other side why it is refused, if it listens.
pub(crate) async fn say_goodbye<W: AsyncWrite + Unpin>(to: &mut W, why: &str) {
    let short: String = why.chars().take(200).collect();
    if write_frame(to, KIND_GOODBYE, short.as_bytes()).await.is_ok() && to.flush().await.is_err() {
        tracing::debug!("goodbye was not heard");
    }
}

fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).take(64 * 4).collect()
}

/// Carries messages both ways until the connection ends.
pub(crate) async fn carry<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    peer: PeerId,
    mut inboxes: Inboxes,
    events: &mpsc::Sender<TransportEvent>,
) -> LinkError {
    let (mut reader, writer) = tokio::io::split(stream);
    let mut writer = BufWriter::with_capacity(PIECE_BYTES, writer);
    let writing = async {
        loop {
            let alive = tokio::time::sleep(KEEPALIVE);
            let (kind, payload) = tokio::select! {
                biased;
                Some(bytes) = inboxes.consensus.recv() => (0, bytes),
                Some(bytes) = inboxes.pool.recv() => (1, bytes),
                Some(bytes) = inboxes.sync.recv() => (2, bytes),
                () = alive => (KIND_ALIVE, Bytes::new()),
            };
            write_frame(&mut writer, kind, &payload).await?;
            let more = !inboxes.consensus.is_empty() || !inboxes.pool.is_empty() || !inboxes.sync.is_empty();
            if !more {
                tokio::time::timeout(WRITE_WAIT, writer.flush()).await.map_err(|_| LinkError::Stuck)??;
            }
        }
    };
    let reading = async {
        loop {
            let frame = tokio::time::timeout(DEAD_AFTER, read_frame(&mut reader)).await.map_err(|_| LinkError::Dead)?;
            let (kind, bytes) = frame?;
            let class = match kind {
                0 => Class::Consensus,
                1 => Class::Pool,
                2 => Class::Sync,
                KIND_ALIVE => continue,
                KIND_GOODBYE => return Err(LinkError::Closed(printable(&bytes))),
                other => return Err(LinkError::Kind(other)),
            };
            if events.send(TransportEvent::Message { from: peer, class, bytes }).await.is_err() {
                return Err::<(), LinkError>(LinkError::Closed("this node stops".into()));
            }
        }
    };
    let ended: Result<(), LinkError> = tokio::select! {
        ended = writing => ended,
        ended = reading => ended,
    };
    ended.err().unwrap_or_else(|| LinkError::Closed("done".into()))
}
