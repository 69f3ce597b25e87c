//! Sources that are down, come back, hang and lie.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use bytes::Bytes;
use quorate::discovery::DiscoveryEvent;

use super::{
    super::{
        bytes::hostile,
        identity::PATIENCE,
        rule::{OrBroken, Outcome, Trouble, ensure},
    },
    DiscoverySuite,
    net::{CHAIN, Net},
};
use crate::{conformance::identity::QUIET, sim::Rng};

/// How often a liar wants to be asked.
const LIES: u64 = 8;

/// How long a liar is asked at most: a discovery may wait before it asks again.
const LYING: Duration = Duration::from_secs(8);

/// Bytes that an answer without end has when it ends.
const ENDLESS_BYTES: usize = 8 << 20;

/// Waits until the source, which is down, was asked so often: whoever connects is let go without a word.
fn missed(net: &Net<'_>, times: u64) -> Outcome {
    let silent = Impostor::start(&net.source, vec![Bytes::new()])?;
    let asked = silent.was_asked(times, PATIENCE);
    ensure(asked >= times, || {
        format!("a source that is down was asked {asked} times in {PATIENCE:?}, or it has given up")
    })
}

pub(super) fn down_at_start(suite: &DiscoverySuite<'_>, _: &mut Rng) -> Outcome {
    let mut net = Net::with_source(suite)?;
    net.down()?;
    let (mut one, mut two) = (net.node(1, 2)?, net.node(2, 1)?);
    std::thread::sleep(QUIET);
    missed(&net, 2)?;
    net.up()?;
    one.finds(&net, 2)?;
    two.finds(&net, 1).map(drop)
}

pub(super) fn comes_back(suite: &DiscoverySuite<'_>, _: &mut Rng) -> Outcome {
    let mut net = Net::with_source(suite)?;
    let (mut one, two) = (net.node(1, 2)?, net.node(2, 1)?);
    one.finds(&net, 2)?;
    // From now on whoever asks is the first; that it asks twice shows that it met the outage and went on.
    two.stop(&net, true, "told to stop after it was found")?;
    net.down()?;
    missed(&net, 2)?;
    net.up()?;
    let mut three = net.node(3, 1)?;
    one.finds(&net, 3)?;
    three.finds(&net, 1).map(drop)
}

pub(super) fn told(suite: &DiscoverySuite<'_>, _: &mut Rng) -> Outcome {
    let mut net = Net::with_source(suite)?;
    let mut one = net.node(1, 2)?;
    one.source_is(&net, true)?;
    net.down()?;
    one.source_is(&net, false)?;
    net.up()?;
    one.source_is(&net, true)
}

/// Somebody who listens in the place of the source.
struct Impostor {
    asked: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    running: Option<JoinHandle<()>>,
}

impl Impostor {
    /// Gives each connection the next of `answers` in turn; none: takes it, and never answers.
    fn start(address: &str, answers: Vec<Bytes>) -> Result<Self, Trouble> {
        let begun = Instant::now();
        let listener = loop {
            match TcpListener::bind(address) {
                Err(_) if begun.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(20)),
                bound => break bound.or_broken(format!("listening on {address} in the place of the source"))?,
            }
        };
        listener.set_nonblocking(true).or_broken("listening without waiting")?;
        let (asked, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counter, end) = (Arc::clone(&asked), Arc::clone(&over));
        let running = std::thread::spawn(move || {
            let mut open = Vec::new();
            let mut next = answers.iter().cycle();
            while !end.load(Ordering::Acquire) {
                let Ok((stream, _)) = listener.accept() else {
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                };
                match next.next() {
                    Some(answer) => answer_with(stream, answer),
                    None => open.push(stream),
                }
                counter.fetch_add(1, Ordering::AcqRel);
            }
        });
        Ok(Self { asked, over, running: Some(running) })
    }

    fn was_asked(&self, times: u64, within: Duration) -> u64 {
        let deadline = Instant::now() + within;
        loop {
            let asked = self.asked.load(Ordering::Acquire);
            if asked >= times || Instant::now() > deadline {
                return asked;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        if let Some(running) = self.running.take() {
            // It panics nowhere.
            drop(running.join());
        }
    }
}

/// Reads a request, as far as it comes, and answers; the other end may close before it has all of it.
fn answer_with(mut stream: TcpStream, answer: &[u8]) {
    let limit = Some(Duration::from_millis(300));
    let limited = stream.set_nonblocking(false).and_then(|()| stream.set_read_timeout(limit));
    if limited.and_then(|()| stream.set_write_timeout(limit)).is_ok() {
        drop(stream.read(&mut [0; 4096]));
        drop(stream.write_all(answer));
    }
}

/// Answers as a liar gives them: to HTTP, and of no protocol.
fn lies_of(rng: &mut Rng) -> Vec<Bytes> {
    let http = |status: &str, body: &[u8]| {
        let head =
            format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        Bytes::from([head.as_bytes(), body].concat())
    };
    let peers = br#"{"peers":[{"node_id":"x","public_key":"0x00","p2p_url":"tcp://127.0.0.1:1","sequence":1,"signature":"0x00"}]}"#;
    let good = [http("200 OK", peers), http("200 OK", b"[]"), http("200 OK", b"{}")];
    let mut lies = vec![
        http("200 OK", &b"[".repeat(100_000)),
        http("500 Internal Server Error", b"no"),
        http("301 Moved Permanently", b""),
        Bytes::from_static(b"HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\n{"),
        Bytes::from([b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &vec![b' '; ENDLESS_BYTES]].concat()),
        Bytes::new(),
    ];
    lies.extend(good.iter().cloned());
    lies.extend((0..8).map(|_| hostile(rng, &good)));
    rng.shuffle(&mut lies);
    lies
}

pub(super) fn lies(suite: &DiscoverySuite<'_>, rng: &mut Rng) -> Outcome {
    let mut net = Net::with_source(suite)?;
    net.down()?;
    let liar = Impostor::start(&net.source, lies_of(rng))?;
    let (mut one, _two) = (net.node(1, 2)?, net.node(2, 1)?);
    let asked = liar.was_asked(LIES, LYING);
    ensure(asked > 0, || format!("its source was not asked within {LYING:?}"))?;
    while let Some(event) = one.event(&net, QUIET)? {
        ensure(!matches!(event, DiscoveryEvent::Found { .. }), || format!("a lying source made it tell of {event:?}"))?;
    }
    drop(liar);
    net.up()?;
    one.finds(&net, 2).map(drop)
}

pub(super) fn stops(suite: &DiscoverySuite<'_>, _: &mut Rng) -> Outcome {
    let mut net = Net::new(suite)?;
    net.node(1, 2)?.stop(&net, true, "told to stop at once")?;
    net.node(1, 2)?.stop(&net, false, "when its commands were closed")?;
    let (full, mut two) = (net.node_with(1, CHAIN, 2, 1)?, net.node(2, 1)?);
    two.finds(&net, 1)?;
    full.stop(&net, true, "told to stop while nobody takes its events")?;
    drop(two);
    if suite.source.is_none() {
        return Ok(());
    }
    net.down()?;
    let one = net.node(1, 2)?;
    std::thread::sleep(QUIET);
    one.stop(&net, true, "told to stop while its source is down")?;
    let hanging = Impostor::start(&net.source, Vec::new())?;
    let one = net.node(1, 2)?;
    ensure(hanging.was_asked(1, PATIENCE) > 0, || format!("its source was not asked within {PATIENCE:?}"))?;
    one.stop(&net, true, "told to stop while its source takes a request and does not answer")
}
