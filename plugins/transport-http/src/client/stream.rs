//! A client's socket with deadlines: for a request's head, between requests, and for reading our answer.
//!
//! hyper waits for ever for a client that does not read its answer, and counts the time between two requests as time for the
//! second one's head. So the socket itself knows what is waited for: its service tells it by a [`Pulse`].

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep},
};

/// Bytes a second that a client must read of a long answer, beyond the idle time.
pub(crate) const DRAIN_BYTES_PER_S: u64 = 64 << 10;

/// Bytes thrown away of what a client still sends when it is cut off, so that it can read why.
const LEFTOVER_BYTES_MAX: usize = 256 << 10;

const TIMED_OUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain\r\ncontent-length: 35\r\nconnection: close\r\n\r\nthe head of the request is too slow";

/// What a connection waits for.
const IDLE: u8 = 0;
const HEAD: u8 = 1;
const BUSY: u8 = 2;
const UPGRADED: u8 = 3;

/// What a connection waits for, shared by its socket and its service.
#[derive(Debug)]
pub(crate) struct Pulse {
    origin: Instant,
    phase: AtomicU8,
    /// When the phase began, in milliseconds since `origin`.
    since_ms: AtomicU64,
    /// Bytes of the answer being written.
    answer_bytes: AtomicU64,
    header_timeout: Duration,
    idle_timeout: Duration,
}

impl Pulse {
    pub(crate) fn new(header_timeout: Duration, idle_timeout: Duration) -> Arc<Self> {
        Arc::new(Self {
            origin: Instant::now(),
            phase: AtomicU8::new(IDLE),
            since_ms: AtomicU64::new(0),
            answer_bytes: AtomicU64::new(0),
            header_timeout,
            idle_timeout,
        })
    }

    /// A head is complete: what follows is the service's affair.
    pub(crate) fn request(&self) {
        self.enter(BUSY);
    }

    /// The service has answered.
    pub(crate) fn answered(&self, bytes: usize) {
        self.answer_bytes.store(bytes as u64, Ordering::Relaxed);
        self.enter(IDLE);
    }

    /// The connection is a WebSocket now, which has its own rules for silence.
    pub(crate) fn upgraded(&self) {
        self.enter(UPGRADED);
    }

    fn enter(&self, phase: u8) {
        let now = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.since_ms.store(now, Ordering::Relaxed);
        self.phase.store(phase, Ordering::Relaxed);
    }

    fn phase(&self) -> u8 {
        self.phase.load(Ordering::Relaxed)
    }

    fn read_deadline(&self) -> Option<Instant> {
        let wait = match self.phase() {
            IDLE => self.idle_timeout,
            HEAD => self.header_timeout,
            _ => return None,
        };
        Some(self.origin + Duration::from_millis(self.since_ms.load(Ordering::Relaxed)) + wait)
    }

    /// How long the whole answer may take to write.
    fn write_time(&self) -> Duration {
        self.idle_timeout + Duration::from_secs(self.answer_bytes.load(Ordering::Relaxed) / DRAIN_BYTES_PER_S)
    }
}

/// The socket.
pub(crate) struct TimedStream {
    stream: TcpStream,
    pulse: Arc<Pulse>,
    read_sleep: Pin<Box<Sleep>>,
    write_sleep: Pin<Box<Sleep>>,
    /// Since when bytes wait to be taken, and since when none was.
    stalled: Option<(Instant, Instant)>,
}

impl TimedStream {
    pub(crate) fn new(stream: TcpStream, pulse: Arc<Pulse>) -> Self {
        let sleep = || Box::pin(tokio::time::sleep(Duration::ZERO));
        Self { stream, pulse, read_sleep: sleep(), write_sleep: sleep(), stalled: None }
    }

    /// Notes whether a write went on; an error when it took too long.
    fn judge_write(&mut self, cx: &mut Context<'_>, progress: bool) -> Poll<io::Error> {
        if progress {
            if let Some((_, last)) = &mut self.stalled {
                *last = Instant::now();
            }
            return Poll::Pending;
        }
        let now = Instant::now();
        let (begin, last) = *self.stalled.get_or_insert((now, now));
        let deadline = (begin + self.pulse.write_time()).min(last + self.pulse.idle_timeout);
        ready!(poll_until(&mut self.write_sleep, deadline, cx));
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the client reads too slowly"))
    }

    fn after_write(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let progress = poll.is_ready();
        match self.judge_write(cx, progress) {
            Poll::Ready(error) => Poll::Ready(Err(error)),
            Poll::Pending => poll,
        }
    }
}

/// Waits until `deadline`, however often it is moved.
fn poll_until(sleep: &mut Pin<Box<Sleep>>, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
    if sleep.deadline() != deadline {
        sleep.as_mut().reset(deadline);
    }
    sleep.as_mut().poll(cx)
}

impl AsyncRead for TimedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        if let Poll::Ready(result) = Pin::new(&mut this.stream).poll_read(cx, buf) {
            if this.pulse.phase() == IDLE && buf.filled().len() > before {
                this.pulse.enter(HEAD);
            }
            // A head that comes byte by byte is never waited for, so that its time is judged here too.
            if this.pulse.phase() != HEAD || this.pulse.read_deadline().is_none_or(|end| Instant::now() < end) {
                return Poll::Ready(result);
            }
        } else {
            let Some(deadline) = this.pulse.read_deadline() else { return Poll::Pending };
            ready!(poll_until(&mut this.read_sleep, deadline, cx));
        }
        if this.pulse.phase() == HEAD {
            // If it does not fit into the socket's buffer the client was not reading anyway.
            drop(Pin::new(&mut this.stream).poll_write(cx, TIMED_OUT));
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the request's head is too slow")));
        }
        // Nobody was promised that a silent connection stays open: to hyper it is as if the client had closed it.
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.after_write(cx, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.after_write(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A TCP socket has nothing to flush; whoever calls this has written everything.
        self.stalled = None;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for TimedStream {
    fn drop(&mut self) {
        discard(&self.stream);
    }
}

/// Reads away what has arrived. Closing a socket with unread bytes resets the connection, and the client would lose the
/// answer that says why.
pub(crate) fn discard(stream: &TcpStream) {
    let mut scratch = [0u8; 4096];
    let mut rest = LEFTOVER_BYTES_MAX;
    while rest > 0 {
        match stream.try_read(&mut scratch) {
            Ok(0) | Err(_) => return,
            Ok(read) => rest = rest.saturating_sub(read),
        }
    }
}
