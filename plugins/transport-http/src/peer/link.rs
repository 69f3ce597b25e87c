//! A connection that stands: reads and writes until either side ends it.

use std::sync::Arc;

use bytes::{Buf, BytesMut};
use quorate::{PeerId, transport::TransportEvent};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Duration, Instant, sleep, timeout, timeout_at},
};
use tracing::{debug, info};

use super::{
    Timing,
    assembly::{Assembly, Whole},
    frame::{self, HEADER_BYTES, Header, Kind, Violation},
    handshake::{Standing, part},
    hello::{Farewell, Goodbye},
    intake::KernelGone,
    locked,
    outbox::{Filled, Outbox},
    shared::Shared,
    table::Origin,
};

/// How long a connection that is closing may take to send what waits.
pub(super) const CLOSE_TIME_MAX: Duration = Duration::from_secs(1);

/// Bytes asked of a connection at once.
const READ_BYTES: usize = 16 << 10;

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ended {
    ByPeer(Goodbye),
    ByUs(Goodbye),
    Lost(String),
}

impl Ended {
    fn reason(&self) -> String {
        match self {
            Self::ByPeer(goodbye) => format!("closed by the peer: {}", goodbye.reason),
            Self::ByUs(goodbye) => goodbye.reason.clone(),
            Self::Lost(reason) => reason.clone(),
        }
    }
}

/// Runs a connection to its end, and tells the kernel of the peer's first and last.
pub(super) async fn run(shared: &Arc<Shared>, standing: Standing) {
    let Standing { stream, read, peer, origin, name, role, address, mut place } = standing;
    let gate = Arc::clone(&place.admitted.gate);
    if let Some(mut replaced) = place.admitted.replaced.take() {
        // Fails when the other side of the channel is dropped: then the replaced connection has ended and been told.
        drop(replaced.changed().await);
    }
    info!(%peer, name, role, address, dialled = origin == Origin::Dialled, "peer connected");
    shared.accepted(&address);
    let up = TransportEvent::PeerUp { peer, name, address };
    if announce(shared, &gate, up).await.is_err() {
        return;
    }
    let outbox = Arc::clone(&place.admitted.outbox);
    let (reader, writer) = tokio::io::split(stream);
    let mut incoming =
        Incoming { reader, buffer: read, assembly: Assembly::new(Arc::clone(&shared.strangers_partial)) };
    let mut outgoing = Outgoing { writer, pending: BytesMut::new() };
    let ended = tokio::select! {
        ended = incoming.run(shared, peer) => ended,
        ended = outgoing.run(&outbox, shared.timing) => ended,
        ended = overdue(&outbox) => ended,
    };
    let admitted_dead = place.admitted.alive.clone();
    drop(place);
    let (reason, dropped) = (ended.reason(), outbox.dropped());
    info!(%peer, reason, dropped, "peer disconnected");
    let told = retract(shared, &gate, peer, reason);
    let parting = async {
        if let Ended::ByUs(goodbye) = &ended {
            let mut stream = incoming.reader.unsplit(outgoing.writer);
            part(&mut stream, outgoing.pending, goodbye).await;
        }
    };
    let (told, ()) = tokio::join!(told, parting);
    if told.is_err() {
        debug!(%peer, "end of connection not told: the kernel is gone");
    }
    drop(admitted_dead);
    drop(gate);
    locked(&shared.table).tidy(peer);
}

/// Counts a connection, and tells of the peer's first.
async fn announce(shared: &Shared, gate: &tokio::sync::Mutex<usize>, up: TransportEvent) -> Result<(), KernelGone> {
    let mut told = gate.lock().await;
    if *told == 0 {
        shared.intake.deliver(up).await?;
    }
    *told += 1;
    Ok(())
}

/// Counts a connection no more, and tells of the peer's last.
async fn retract(
    shared: &Shared,
    gate: &tokio::sync::Mutex<usize>,
    peer: PeerId,
    reason: String,
) -> Result<(), KernelGone> {
    let mut told = gate.lock().await;
    *told = told.saturating_sub(1);
    if *told == 0 {
        shared.intake.deliver(TransportEvent::PeerDown { peer, reason }).await?;
    }
    Ok(())
}

/// Ends a connection that does not manage to close in time.
async fn overdue(outbox: &Outbox) -> Ended {
    outbox.closing().await;
    sleep(CLOSE_TIME_MAX).await;
    let reason = outbox.goodbye().map(|goodbye| goodbye.reason).unwrap_or_default();
    Ended::Lost(format!("{reason} (the peer did not take it in time)"))
}

struct Incoming<R> {
    reader: R,
    buffer: BytesMut,
    assembly: Assembly,
}

impl<R: AsyncRead + Unpin> Incoming<R> {
    async fn run(&mut self, shared: &Shared, peer: PeerId) -> Ended {
        let mut last_frame = Instant::now();
        loop {
            match self.take_frame(shared, peer, last_frame) {
                Ok(Taken::Nothing) => {}
                Ok(Taken::Frame(whole)) => {
                    last_frame = Instant::now();
                    if let Some(whole) = whole {
                        if let Err(KernelGone) = self.deliver(shared, peer, whole, last_frame).await {
                            return Ended::Lost("the node is stopping".into());
                        }
                        last_frame = Instant::now();
                    }
                    continue;
                }
                Ok(Taken::Goodbye(goodbye)) => return Ended::ByPeer(goodbye),
                Err(violation) => return Ended::ByUs(Goodbye::new(Farewell::Violation, violation.to_string())),
            }
            self.make_room();
            match timeout_at(last_frame + shared.timing.silence, self.reader.read_buf(&mut self.buffer)).await {
                Ok(Ok(0)) => return Ended::Lost("closed by the peer without a goodbye".into()),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Ended::Lost(format!("reading failed: {error}")),
                Err(_) => {
                    let reason = format!("silent for {} ms", shared.timing.silence.as_millis());
                    return Ended::Lost(reason);
                }
            }
        }
    }

    /// Hands a message to the kernel; while it waits, nothing more is read from this peer.
    async fn deliver(&mut self, shared: &Shared, from: PeerId, whole: Whole, now: Instant) -> Result<(), KernelGone> {
        let Whole { class, bytes, charge } = whole;
        shared.intake.deliver(TransportEvent::Message { from, class, bytes }).await?;
        drop(charge);
        self.assembly.forgive(now.elapsed());
        Ok(())
    }

    /// Takes one frame out of the buffer, if it is there whole.
    fn take_frame(&mut self, shared: &Shared, peer: PeerId, now: Instant) -> Result<Taken, Violation> {
        let Some(Header { kind, body_bytes }) = Header::parse(&self.buffer)? else { return Ok(Taken::Nothing) };
        let Some(body) = self.buffer.get(HEADER_BYTES..HEADER_BYTES + body_bytes) else { return Ok(Taken::Nothing) };
        let taken = match kind {
            Kind::Heartbeat => Taken::Frame(None),
            Kind::Goodbye => Taken::Goodbye(Goodbye::decode(body)?),
            Kind::First(class) => {
                let trusted = || locked(&shared.table).is_validator(peer);
                Taken::Frame(self.assembly.first(class, body, now, trusted)?)
            }
            Kind::Next(class) => Taken::Frame(self.assembly.next(class, body, now)?),
            Kind::Hello | Kind::Welcome => return Err(Violation::Unexpected(kind)),
        };
        self.buffer.advance(HEADER_BYTES + body_bytes);
        Ok(taken)
    }

    /// Makes room for the next read, and gives back that of a long frame.
    fn make_room(&mut self) {
        if self.buffer.is_empty() && self.buffer.capacity() > READ_BYTES {
            self.buffer = BytesMut::new();
        }
        self.buffer.reserve(READ_BYTES);
    }
}

/// What [`Incoming::take_frame`] took.
enum Taken {
    Nothing,
    Frame(Option<Whole>),
    Goodbye(Goodbye),
}

struct Outgoing<W> {
    writer: W,
    /// What was begun to be written: kept here, so that a goodbye can follow it.
    pending: BytesMut,
}

impl<W: AsyncWrite + Unpin> Outgoing<W> {
    async fn run(&mut self, outbox: &Outbox, timing: Timing) -> Ended {
        loop {
            match outbox.fill(&mut self.pending) {
                Filled::Some => {}
                Filled::Closed(goodbye) => return Ended::ByUs(goodbye),
                Filled::Empty => {
                    self.pending = BytesMut::new();
                    if let Err(ended) = self.flush(timing.stall).await {
                        return ended;
                    }
                    if timeout(timing.heartbeat, outbox.ready()).await.is_ok() {
                        continue;
                    }
                    frame::put(&mut self.pending, Kind::Heartbeat, &[]);
                }
            }
            if let Err(ended) = self.write(timing.stall).await {
                return ended;
            }
        }
    }

    async fn write(&mut self, stall: Duration) -> Result<(), Ended> {
        while self.pending.has_remaining() {
            match timeout(stall, self.writer.write_buf(&mut self.pending)).await {
                Ok(Ok(0)) => return Err(Ended::Lost("writing failed: no bytes are taken any more".into())),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(Ended::Lost(format!("writing failed: {error}"))),
                Err(_) => return Err(stalled(stall)),
            }
        }
        Ok(())
    }

    async fn flush(&mut self, stall: Duration) -> Result<(), Ended> {
        match timeout(stall, self.writer.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Ended::Lost(format!("writing failed: {error}"))),
            Err(_) => Err(stalled(stall)),
        }
    }
}

fn stalled(stall: Duration) -> Ended {
    Ended::Lost(format!("took no bytes for {} ms", stall.as_millis()))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quorate::transport::Class;

    use super::*;

    #[tokio::test]
    async fn a_connection_that_can_not_be_closed_in_order_is_cut() {
        let (near, far) = tokio::io::duplex(1024);
        let (outbox, mut outgoing) = (Outbox::default(), Outgoing { writer: near, pending: BytesMut::new() });
        outbox.push(Class::Sync, &Bytes::from(vec![0; 1 << 20]), None);
        let begun = Instant::now();
        let ended = tokio::select! {
            biased;
            ended = outgoing.run(&outbox, Timing::default()) => ended,
            ended = overdue(&outbox) => ended,
            ended = async {
                outbox.close(Goodbye::new(Farewell::Banned, "enough"), false);
                std::future::pending().await
            } => ended,
        };
        assert_eq!(ended, Ended::Lost("enough (the peer did not take it in time)".into()));
        assert!(begun.elapsed() >= CLOSE_TIME_MAX);
        drop(far);
    }
}
