//! A load, from its first transaction to its last.

use std::{
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::Thread,
    time::{Duration, Instant},
};

use quorate::TransactionId;
use serde_json::Value;

use super::{
    CLIENTS_PER_VALIDATOR_MAX,
    outcome::{NodeUse, Outcome},
    resources::{Watch, store_of},
    stock::{Kind, Stock},
    tally::{Tally, Times, Window},
};
use crate::{
    failure::BenchError,
    follow::Follower,
    http::{Connection, call_text, post},
    network::Network,
};

/// Transactions in one request of an open loop at most.
const BATCH: usize = 100;

/// Connections to each validator of an open loop.
const CONNECTIONS: usize = 4;

/// How long after its end an open loop goes on to send what was due before.
const LATE_WAIT: Duration = Duration::from_secs(5);

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
    /// How many transactions a load of this length needs; of a closed loop a guess, which is told when it was too low.
    pub(crate) fn transactions(self, time: Duration, kind: Kind) -> usize {
        match self {
            Mode::Closed(clients) => kind.guess(clients, time.as_secs_f64()),
            Mode::Open(rate) => (rate * time.as_secs_f64()).ceil() as usize,
        }
    }

    /// Whether figures can be taken of this load.
    pub(crate) fn check(self, validators: usize, time: Duration) -> Result<(), BenchError> {
        match self {
            Mode::Closed(clients) if clients > CLIENTS_PER_VALIDATOR_MAX * validators => {
                Err(BenchError::answer(format!(
                    "{clients} clients at {validators} validators: a validator takes {CLIENTS_PER_VALIDATOR_MAX} of them at most"
                )))
            }
            Mode::Open(rate) if rate * time.as_secs_f64() < 1.0 => Err(BenchError::answer(format!(
                "at {rate} a second none may be due in {} s: choose a higher rate or a longer time",
                time.as_secs()
            ))),
            _ => Ok(()),
        }
    }
}

/// One transaction's moments, as in [`Times`].
#[derive(Default)]
struct Moments {
    due: AtomicU64,
    accepted: AtomicU64,
    done: AtomicU64,
    refused: AtomicBool,
}

impl Moments {
    fn times(&self) -> Times {
        let [due, accepted, done] =
            [&self.due, &self.accepted, &self.done].map(|moment| moment.load(Ordering::Relaxed));
        Times { due, accepted, done, refused: self.refused.load(Ordering::Relaxed) }
    }
}

struct Driven<'a> {
    stock: &'a Stock,
    moments: Vec<Moments>,
    begun: Instant,
    next: AtomicUsize,
    over: AtomicBool,
    /// Who waits for each transaction of a closed loop.
    waiting: Mutex<Vec<Option<Thread>>>,
}

impl<'a> Driven<'a> {
    /// A load of this length, which begins now. Of an open loop all that is due in it has its moment already.
    fn begin(stock: &'a Stock, mode: Mode, length: Duration) -> Self {
        let due = |place: usize| match mode {
            Mode::Closed(_) => Some(0),
            Mode::Open(rate) => Some((place as f64 * 1e6 / rate) as u64 + 1).filter(|due| *due <= micros(length)),
        };
        let moments =
            (0..stock.texts.len()).map_while(due).map(|due| Moments { due: due.into(), ..Moments::default() });
        Self {
            stock,
            moments: moments.collect(),
            begun: Instant::now(),
            next: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            waiting: Mutex::new((0..stock.texts.len()).map(|_| None).collect()),
        }
    }

    fn now(&self) -> u64 {
        micros(self.begun.elapsed()).max(1)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// How a thread of the load ended: with an error the load is over.
    fn ended(&self, ended: Result<(), BenchError>) -> Result<(), BenchError> {
        if ended.is_err() {
            self.over.store(true, Ordering::Relaxed);
        }
        ended
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
    fn hand_in(&self, connection: &mut Connection, places: Range<usize>) -> Result<(), BenchError> {
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
            let Some(moments) = self.moments.get(place) else { continue };
            if refused.contains(&at) {
                moments.refused.store(true, Ordering::Relaxed);
            } else {
                moments.accepted.store(now, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// The next transaction of a closed loop. That none is left is an error: with fewer clients at the end figures would be lower.
    fn take_next(&self) -> Result<(usize, &Moments), BenchError> {
        let place = self.next.fetch_add(1, Ordering::Relaxed);
        let moments = self.moments.get(place).ok_or_else(|| {
            BenchError::answer(format!(
                "all {} transactions that were made before were used in {:.1} s: choose fewer clients or a shorter time",
                self.moments.len(),
                self.begun.elapsed().as_secs_f64()
            ))
        })?;
        Ok((place, moments))
    }

    /// One client: the next when the one before is final.
    fn client(&self, mut connection: Connection) -> Result<(), BenchError> {
        while !self.is_over() {
            let (place, moments) = self.take_next()?;
            if let Some(waiting) = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).get_mut(place) {
                *waiting = Some(std::thread::current());
            }
            moments.due.store(self.now(), Ordering::Relaxed);
            self.hand_in(&mut connection, place..place + 1)?;
            if moments.refused.load(Ordering::Relaxed) {
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

    /// What is due and nobody has taken yet, at most [`BATCH`]; waits for it. `None` when all is taken or the load is over.
    fn take_due(&self, queue: &Mutex<()>) -> Option<Range<usize>> {
        let _mine = queue.lock().unwrap_or_else(PoisonError::into_inner);
        let first = self.next.load(Ordering::Relaxed);
        let due = self.moments.get(first)?.due.load(Ordering::Relaxed);
        while !self.is_over() && self.now() < due {
            std::thread::sleep(Duration::from_micros(due.saturating_sub(self.now())).min(LOOK_EVERY));
        }
        if self.is_over() {
            return None;
        }
        let now = self.now();
        let more = self.moments.iter().skip(first + 1).take(BATCH - 1);
        let last = first + 1 + more.take_while(|one| one.due.load(Ordering::Relaxed) <= now).count();
        self.next.store(last, Ordering::Relaxed);
        Some(first..last)
    }

    /// One connection of an open loop: takes what is due, together with others.
    fn sender(&self, mut connection: Connection, queue: &Mutex<()>) -> Result<(), BenchError> {
        while let Some(places) = self.take_due(queue) {
            self.hand_in(&mut connection, places)?;
        }
        Ok(())
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
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

/// How long a load runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Length {
    /// Before figures are taken.
    pub(crate) warm_up: Duration,
    /// While they are.
    pub(crate) time: Duration,
}

/// Runs a load: the warm-up, then the time of which figures are taken, which begins with `event`, then a wait for what is under way.
pub(crate) fn drive(
    network: &Network,
    stock: &Stock,
    mode: Mode,
    length: Length,
    event: impl FnOnce() -> Result<(), BenchError>,
) -> Result<Outcome, BenchError> {
    let Length { warm_up, time } = length;
    let first = network.validator(0)?;
    let mut follower = Follower::subscribe(first.rpc, network.stop())?;
    let mut connections = Vec::new();
    let count = match mode {
        Mode::Closed(clients) => clients,
        Mode::Open(_) => CONNECTIONS * network.loaded().len(),
    };
    for at in 0..count {
        connections.push(network.validator(at % network.loaded().len().max(1))?.connect()?);
    }
    let length = warm_up + time;
    let driven = Driven::begin(stock, mode, length);
    let (queue, rest) = (Mutex::new(()), AtomicBool::new(false));
    let nodes = std::thread::scope(|scope| {
        let driven = &driven;
        let (follower, rest) = (&mut follower, &rest);
        let following = scope.spawn(move || driven.ended(driven.follow(follower, || rest.load(Ordering::Relaxed))));
        let senders: Vec<_> = connections
            .into_iter()
            .map(|connection| {
                let queue = &queue;
                scope.spawn(move || {
                    driven.ended(match mode {
                        Mode::Closed(_) => driven.client(connection),
                        Mode::Open(_) => driven.sender(connection, queue),
                    })
                })
            })
            .collect();
        let wait = |until: Duration, what: &str| {
            network.stop().until(what, || Ok((driven.begun.elapsed() >= until || driven.is_over()).then_some(())))
        };
        let measured = wait(warm_up, "the warm-up").and_then(|()| {
            let watch = Watch::begin(network)?;
            event()?;
            wait(length, "the load").and_then(|()| watch.end(network))
        });
        // What was due in time is still sent, so that none is left out because the ones before it were slow.
        let sent = network.stop().until("the rest is handed in", || {
            let waits = matches!(mode, Mode::Open(_)) && measured.is_ok() && !driven.is_over();
            let late = driven.begun.elapsed() >= length + LATE_WAIT;
            Ok((!waits || late || senders.iter().all(|sender| sender.is_finished())).then_some(()))
        });
        driven.over.store(true, Ordering::Relaxed);
        let mut failed = None;
        for sender in senders {
            let ended = sender.join().unwrap_or_else(|_| Err(BenchError::answer("a client panicked")));
            failed = failed.or(ended.err());
        }
        let deadline = Instant::now() + REST_WAIT;
        let mut settled = 0;
        let rested = network.stop().until("the rest", || {
            let open =
                |one: &Moments| one.accepted.load(Ordering::Relaxed) > 0 && one.done.load(Ordering::Relaxed) == 0;
            settled += driven.moments.iter().skip(settled).take_while(|one| !open(one)).count();
            let all = settled == driven.moments.len();
            let nobody_tells = failed.is_some() || following.is_finished();
            Ok((all || Instant::now() >= deadline || nobody_tells).then_some(()))
        });
        rest.store(true, Ordering::Relaxed);
        let followed = following.join().unwrap_or_else(|_| Err(BenchError::answer("the follower panicked")));
        match failed {
            Some(error) => Err(error),
            None => sent.and(rested).and(followed).and(measured),
        }
    })?;
    let window = Window { from: micros(warm_up), to: micros(length), end: driven.now().max(micros(length)) };
    Ok(outcome(network, &driven, mode, window, nodes))
}

fn outcome(network: &Network, driven: &Driven<'_>, mode: Mode, window: Window, nodes: Vec<NodeUse>) -> Outcome {
    let tally = Tally::of(driven.moments.iter().map(Moments::times), window);
    let (to_final, to_accepted) = (&tally.to_final, &tally.to_accepted);
    let at = |values: &[f64], thousandths: usize| {
        let place = (values.len() * thousandths / 1000).min(values.len().saturating_sub(1));
        values.get(place).copied().unwrap_or(0.0)
    };
    let seconds = (window.to - window.from) as f64 / 1e6;
    let fsyncs: Option<Vec<f64>> = nodes.iter().map(|node| node.fsyncs_per_block).collect();
    let blocks = nodes.first().map_or(0, |node| node.blocks);
    Outcome {
        mode: if matches!(mode, Mode::Closed(_)) { "closed" } else { "open" },
        kind: driven.stock.kind,
        validators: network.validators().len(),
        storage: network.validators().first().and_then(|node| store_of(network, node)),
        clients: if let Mode::Closed(clients) = mode { Some(clients) } else { None },
        rate: if let Mode::Open(rate) = mode { Some(rate) } else { None },
        seconds,
        transaction_bytes: driven.stock.transaction_bytes,
        finals: tally.finals,
        final_per_s: tally.finals as f64 / seconds,
        accepted_per_s: tally.accepted as f64 / seconds,
        accepted_p50_ms: at(to_accepted, 500),
        accepted_p99_ms: at(to_accepted, 990),
        p50_ms: at(to_final, 500),
        p90_ms: at(to_final, 900),
        p99_ms: at(to_final, 990),
        p999_ms: at(to_final, 999),
        max_ms: to_final.last().copied().unwrap_or(0.0),
        backlog_grew_per_s: tally.backlog_grew_per_s,
        unfinished: tally.unfinished,
        unsent: tally.unsent,
        refused: tally.refused,
        rss_mib_max: nodes.iter().map(|node| node.rss_mib_max).fold(0.0, f64::max),
        fsyncs_per_block: fsyncs.map(|of_each| of_each.iter().sum::<f64>() / of_each.len().max(1) as f64),
        transactions_per_block: if blocks > 0 { tally.finals as f64 / blocks as f64 } else { 0.0 },
        nodes,
        stopped: None,
        steps: Vec::new(),
        knee_per_s: None,
        failed: None,
        curve: (0..100).map(|hundredth| at(to_final, hundredth * 10)).chain(to_final.last().copied()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stock(count: usize) -> Stock {
        Stock { texts: vec![String::new(); count], places: Default::default(), transaction_bytes: 0, kind: "kv" }
    }

    /// Also when nobody asks for a long time, all that was due in the load is given out, in order, in batches, and nothing that was due later.
    #[test]
    fn an_open_loop_gives_out_all_that_was_due() {
        let (stock, queue) = (stock(1000), Mutex::new(()));
        let mut driven = Driven::begin(&stock, Mode::Open(1e5), Duration::from_millis(5));
        driven.begun = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        let parts: Vec<Range<usize>> = std::iter::from_fn(|| driven.take_due(&queue)).collect();
        assert_eq!(parts, [0..100, 100..200, 200..300, 300..400, 400..500]);
        let driven = Driven::begin(&stock, Mode::Open(1e5), Duration::from_millis(5));
        driven.over.store(true, Ordering::Relaxed);
        assert_eq!(driven.take_due(&queue), None);
    }

    #[test]
    fn a_closed_loop_that_has_used_all_says_so() {
        let stock = stock(2);
        let driven = Driven::begin(&stock, Mode::Closed(1), Duration::from_secs(1));
        assert_eq!([0, 1].map(|_| driven.take_next().unwrap().0), [0, 1]);
        let error = driven.take_next().err().unwrap().to_string();
        assert!(error.starts_with("all 2 transactions that were made before were used"), "{error}");
    }

    #[test]
    fn a_load_has_what_can_be_measured() {
        let (second, hundred) = (Duration::from_secs(1), Duration::from_secs(100));
        assert!(Mode::Closed(750).check(3, second).is_ok() && Mode::Open(0.1).check(3, hundred).is_ok());
        assert!(Mode::Closed(751).check(3, second).is_err() && Mode::Open(0.1).check(3, second).is_err());
        assert_eq!(Mode::Open(0.1).transactions(hundred, Kind::Ballots), 10);
    }
}
