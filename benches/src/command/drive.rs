//! A load, from its first transaction to its last.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::Thread,
    time::{Duration, Instant},
};

use quorate::TransactionId;
use serde_json::Value;

use super::{outcome::Outcome, resources::Watch, stock::Stock};
use crate::{
    failure::BenchError,
    follow::Follower,
    http::{Connection, call_text, post},
    network::Network,
    report::sorted,
};

/// Transactions in one request of an open loop at most.
const BATCH: usize = 100;

/// Connections to each validator of an open loop.
const CONNECTIONS: usize = 4;

/// What a client of a closed loop may make final a second, to know how many transactions to make: no client is as fast.
const CLIENT_PER_S_MAX: usize = 400;

/// What all clients together may make final a second, for the same.
const ALL_PER_S_MAX: usize = 30_000;

/// How long the rest is waited for after the load's end.
const REST_WAIT: Duration = Duration::from_secs(15);

/// How long a client waits before it looks whether the load is over.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How transactions come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    /// So many clients, each with one transaction under way.
    Closed(usize),
    /// So many transactions a second.
    Open(f64),
}

impl Mode {
    /// How many transactions a load of this length needs.
    pub(crate) fn transactions(self, time: Duration) -> usize {
        let seconds = time.as_secs_f64();
        match self {
            Mode::Closed(clients) => {
                let per_s = (clients * CLIENT_PER_S_MAX).min(ALL_PER_S_MAX);
                (per_s as f64 * seconds) as usize + clients
            }
            Mode::Open(rate) => (rate * seconds).ceil() as usize + 1,
        }
    }
}

/// One transaction's moments, in microseconds since the load began; 0 is not yet.
#[derive(Default)]
struct Moments {
    due: AtomicU64,
    accepted: AtomicU64,
    done: AtomicU64,
}

struct Driven<'a> {
    stock: &'a Stock,
    moments: Vec<Moments>,
    begun: Instant,
    next: AtomicUsize,
    refused: AtomicUsize,
    over: AtomicBool,
    /// Who waits for each transaction of a closed loop.
    waiting: Mutex<Vec<Option<Thread>>>,
}

impl Driven<'_> {
    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX).max(1)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Blocks of the first validator: who is final is final.
    fn follow(&self, follower: &mut Follower, until: impl Fn() -> bool) -> Result<(), BenchError> {
        while !until() {
            let found = follower.poll(|block| {
                let ids = block.transactions.iter().filter_map(|id| id.parse::<TransactionId>().ok());
                let places = ids.filter_map(|id| self.stock.places.get(&id).copied());
                places.collect::<Vec<usize>>()
            })?;
            let now = self.now();
            for place in found.into_iter().flatten() {
                if let Some(moments) = self.moments.get(place) {
                    moments.done.store(now, Ordering::Relaxed);
                }
                let waiting =
                    self.waiting.lock().unwrap_or_else(PoisonError::into_inner).get_mut(place).and_then(Option::take);
                if let Some(thread) = waiting {
                    thread.unpark();
                }
            }
        }
        Ok(())
    }

    /// Hands in these transactions in one request.
    fn hand_in(&self, connection: &mut Connection, places: std::ops::Range<usize>) -> Result<(), BenchError> {
        let texts: Vec<&str> =
            self.stock.texts.get(places.clone()).unwrap_or_default().iter().map(String::as_str).collect();
        let request = match texts.as_slice() {
            [one] => post(&call_text("quorate_submit", &serde_json::json!([one]))),
            many => {
                let calls: Vec<String> = many
                    .iter()
                    .enumerate()
                    .map(|(at, text)| {
                        format!(
                            "{{\"jsonrpc\":\"2.0\",\"id\":{at},\"method\":\"quorate_submit\",\"params\":[\"{text}\"]}}"
                        )
                    })
                    .collect();
                post(&format!("[{}]", calls.join(",")))
            }
        };
        let body = connection.exchange(&request)?;
        let now = self.now();
        let refused = if body.windows(8).any(|part| part == b"\"error\":") { refused(body)? } else { Vec::new() };
        for (at, place) in places.enumerate() {
            if refused.contains(&at) {
                self.refused.fetch_add(1, Ordering::Relaxed);
            } else if let Some(moments) = self.moments.get(place) {
                moments.accepted.store(now, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// One client: the next when the one before is final.
    fn client(&self, mut connection: Connection) -> Result<(), BenchError> {
        while !self.is_over() {
            let place = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(moments) = self.moments.get(place) else { return Ok(()) };
            if let Some(waiting) = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).get_mut(place) {
                *waiting = Some(std::thread::current());
            }
            moments.due.store(self.now(), Ordering::Relaxed);
            self.hand_in(&mut connection, place..place + 1)?;
            if moments.accepted.load(Ordering::Relaxed) == 0 {
                // Refused, as by a full pool: a client waits a little.
                std::thread::sleep(LOOK_EVERY);
                continue;
            }
            while moments.done.load(Ordering::Relaxed) == 0 && !self.is_over() {
                std::thread::park_timeout(LOOK_EVERY);
            }
        }
        Ok(())
    }

    /// One connection of an open loop: takes what is due, together with others.
    fn sender(&self, mut connection: Connection, queue: &Mutex<()>, rate: f64) -> Result<(), BenchError> {
        let due_at = |place: usize| (place as f64 * 1e6 / rate) as u64 + 1;
        while !self.is_over() {
            let places = {
                let _mine = queue.lock().unwrap_or_else(PoisonError::into_inner);
                let first = self.next.load(Ordering::Relaxed);
                if first >= self.moments.len() {
                    return Ok(());
                }
                while !self.is_over() && self.now() < due_at(first) {
                    let left = Duration::from_micros(due_at(first).saturating_sub(self.now()));
                    std::thread::sleep(left.min(LOOK_EVERY));
                }
                let due = (self.now() as f64 * rate / 1e6) as usize + 1;
                let last = due.clamp(first + 1, first + BATCH).min(self.moments.len());
                self.next.store(last, Ordering::Relaxed);
                first..last
            };
            for place in places.clone() {
                if let Some(moments) = self.moments.get(place) {
                    moments.due.store(due_at(place), Ordering::Relaxed);
                }
            }
            self.hand_in(&mut connection, places)?;
        }
        Ok(())
    }
}

/// The places in a request's answer that are refusals; anything but a full pool or a busy node is an error.
fn refused(body: &[u8]) -> Result<Vec<usize>, BenchError> {
    const FOR_NOW: [i64; 2] = [-32012, -32014];
    let answers: Value = serde_json::from_slice(body).map_err(|error| BenchError::answer(error.to_string()))?;
    let one = std::slice::from_ref(&answers);
    let mut places = Vec::new();
    for (at, answer) in answers.as_array().map_or(one, Vec::as_slice).iter().enumerate() {
        let Some(error) = answer.get("error") else { continue };
        if !error.get("code").and_then(Value::as_i64).is_some_and(|code| FOR_NOW.contains(&code)) {
            return Err(BenchError::answer(format!("quorate_submit: {error}")));
        }
        places.push(at);
    }
    Ok(places)
}

/// Runs a load: `warm_up`, then `time` of which figures are taken, then a wait for what is under way.
pub(crate) fn drive(
    network: &Network,
    stock: &Stock,
    mode: Mode,
    warm_up: Duration,
    time: Duration,
) -> Result<Outcome, BenchError> {
    let first = network.validator(0)?;
    let mut follower = Follower::subscribe(first.rpc, network.stop())?;
    let mut connections = Vec::new();
    let count = match mode {
        Mode::Closed(clients) => clients,
        Mode::Open(_) => CONNECTIONS * network.validators().len(),
    };
    for at in 0..count {
        connections.push(network.validator(at % network.validators().len())?.connect()?);
    }
    let driven = Driven {
        stock,
        moments: std::iter::repeat_with(Moments::default).take(stock.texts.len()).collect(),
        begun: Instant::now(),
        next: AtomicUsize::new(0),
        refused: AtomicUsize::new(0),
        over: AtomicBool::new(false),
        waiting: Mutex::new((0..stock.texts.len()).map(|_| None).collect()),
    };
    let (queue, rest) = (Mutex::new(()), AtomicBool::new(false));
    let nodes = std::thread::scope(|scope| {
        let driven = &driven;
        let following = scope.spawn(|| driven.follow(&mut follower, || rest.load(Ordering::Relaxed)));
        let senders: Vec<_> = connections
            .into_iter()
            .map(|connection| {
                let queue = &queue;
                scope.spawn(move || {
                    let ended = match mode {
                        Mode::Closed(_) => driven.client(connection),
                        Mode::Open(rate) => driven.sender(connection, queue, rate),
                    };
                    if ended.is_err() {
                        driven.over.store(true, Ordering::Relaxed);
                    }
                    ended
                })
            })
            .collect();
        let wait = |until: Duration, what: &str| {
            network.stop().until(what, || Ok((driven.begun.elapsed() >= until || driven.is_over()).then_some(())))
        };
        let measured = wait(warm_up, "the warm-up").and_then(|()| {
            let watch = Watch::begin(network);
            wait(warm_up + time, "the load").and_then(|()| watch.end(network))
        });
        driven.over.store(true, Ordering::Relaxed);
        let mut failed = None;
        for sender in senders {
            let ended = sender.join().unwrap_or_else(|_| Err(BenchError::answer("a client panicked")));
            failed = failed.or(ended.err());
        }
        let deadline = Instant::now() + REST_WAIT;
        let rested = network.stop().until("the rest", || {
            let open = driven
                .moments
                .iter()
                .any(|one| one.accepted.load(Ordering::Relaxed) > 0 && one.done.load(Ordering::Relaxed) == 0);
            Ok((!open || Instant::now() >= deadline || failed.is_some()).then_some(()))
        });
        rest.store(true, Ordering::Relaxed);
        let followed = following.join().unwrap_or_else(|_| Err(BenchError::answer("the follower panicked")));
        match failed {
            Some(error) => Err(error),
            None => rested.and(followed).and(measured),
        }
    })?;
    let window = (warm_up.as_micros() as u64, (warm_up + time).as_micros() as u64);
    Ok(outcome(network, &driven, mode, window, nodes))
}

fn outcome(
    network: &Network,
    driven: &Driven<'_>,
    mode: Mode,
    (from, to): (u64, u64),
    nodes: Vec<super::outcome::NodeUse>,
) -> Outcome {
    let (mut to_final, mut to_accepted) = (Vec::new(), Vec::new());
    let (mut finals, mut accepted, mut unfinished) = (0usize, 0usize, 0usize);
    let within = |moment: u64| moment > from && moment <= to;
    for one in &driven.moments {
        let [due, taken, done] = [&one.due, &one.accepted, &one.done].map(|moment| moment.load(Ordering::Relaxed));
        accepted += usize::from(within(taken));
        finals += usize::from(within(done));
        unfinished += usize::from(taken > 0 && done == 0);
        // Of an open loop every one counts that was due in time, however late it came.
        if within(due) && taken > 0 {
            to_accepted.push(taken.saturating_sub(due) as f64 / 1000.0);
            if done > 0 {
                to_final.push(done.saturating_sub(due) as f64 / 1000.0);
            }
        }
    }
    let (to_final, to_accepted) = (sorted(&to_final), sorted(&to_accepted));
    let at = |values: &[f64], thousandths: usize| {
        let place = (values.len() * thousandths / 1000).min(values.len().saturating_sub(1));
        values.get(place).copied().unwrap_or(0.0)
    };
    let seconds = (to - from) as f64 / 1e6;
    let mean = |of: fn(&super::outcome::NodeUse) -> f64| nodes.iter().map(of).sum::<f64>() / nodes.len().max(1) as f64;
    let blocks = nodes.first().map_or(0, |node| node.blocks);
    Outcome {
        mode: if matches!(mode, Mode::Closed(_)) { "closed" } else { "open" },
        kind: driven.stock.kind,
        validators: network.validators().len(),
        clients: if let Mode::Closed(clients) = mode { Some(clients) } else { None },
        rate: if let Mode::Open(rate) = mode { Some(rate) } else { None },
        seconds,
        transaction_bytes: driven.stock.transaction_bytes,
        finals,
        final_per_s: finals as f64 / seconds,
        accepted_per_s: accepted as f64 / seconds,
        accepted_p50_ms: at(&to_accepted, 500),
        accepted_p99_ms: at(&to_accepted, 990),
        p50_ms: at(&to_final, 500),
        p90_ms: at(&to_final, 900),
        p99_ms: at(&to_final, 990),
        p999_ms: at(&to_final, 999),
        max_ms: to_final.last().copied().unwrap_or(0.0),
        unfinished,
        refused: driven.refused.load(Ordering::Relaxed),
        rss_mib_max: nodes.iter().map(|node| node.rss_mib_max).fold(0.0, f64::max),
        fsyncs_per_block: mean(|node| node.fsyncs_per_block),
        transactions_per_block: if blocks > 0 { finals as f64 / blocks as f64 } else { 0.0 },
        nodes,
        steps: Vec::new(),
        knee_per_s: None,
        curve: (0..100).map(|hundredth| at(&to_final, hundredth * 10)).chain(to_final.last().copied()).collect(),
    }
}
