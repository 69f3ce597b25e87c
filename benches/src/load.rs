//! Signed transactions: made before the clock starts, handed in at all validators, counted when they are final.

use std::{
    collections::HashSet,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use quorate::{ChainId, Hash, TransactionId};
use quorate_kv::Put;
use serde_json::Value;

use crate::{
    failure::BenchError,
    follow::Follower,
    http::{Connection, post},
    network::{Network, hash_at, tip},
};

/// Submissions in one request: as many as a node takes by default.
const BATCH: usize = 100;

/// Connections to each validator.
const CONNECTIONS: usize = 8;

/// Signers of each validator's transactions.
const SIGNERS: usize = 32;

/// Transactions handed in and not yet final at most: below what a pool holds by default.
pub(crate) const UNDER_WAY_MAX: usize = 8_000;

/// How long to wait when a pool is full and does not say how long.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// The bytes of every value written.
const VALUE: &[u8] = &[b'v'; 32];

/// Makes signed transactions of one signer.
pub(crate) struct Signer {
    seed: [u8; 32],
    chain_id: ChainId,
    nonce: u64,
}

impl Signer {
    /// A signer whom `label` names: the same label, the same key.
    pub(crate) fn new(chain_id: ChainId, label: &str) -> Self {
        Self { seed: *Hash::of(&[label.as_bytes()]).as_bytes(), chain_id, nonce: 0 }
    }

    /// The next transaction: its id and its text for `quorate_submit`.
    pub(crate) fn next(&mut self) -> (TransactionId, String) {
        let key = format!("key-{:08}", self.nonce % 1000);
        let bytes = Put::sign(&self.seed, &self.chain_id, self.nonce, key.as_bytes(), VALUE);
        self.nonce += 1;
        let id = TransactionId::new(*Hash::of(&[&bytes]).as_bytes());
        let mut text = String::with_capacity(2 + 2 * bytes.len());
        text.push_str("0x");
        for byte in &bytes {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
            }
        }
        (id, text)
    }

    pub(crate) fn public_key(&self) -> quorate::PublicKey {
        Put::signer(&self.seed)
    }
}

/// Transactions ready to be sent.
pub(crate) struct Prepared {
    /// Of each validator: requests, and how many transactions each carries.
    requests: Vec<Vec<(Vec<u8>, usize)>>,
    ids: HashSet<TransactionId>,
}

impl Prepared {
    /// Transactions made elsewhere, dealt out to the validators; each with its id and its text for `quorate_submit`.
    pub(crate) fn of(network: &Network, transactions: Vec<(TransactionId, String)>) -> Self {
        let validators = network.validators().len().max(1);
        let ids = transactions.iter().map(|(id, _)| *id).collect();
        let share = transactions.len().div_ceil(validators).max(1);
        let request = |part: &[(TransactionId, String)]| {
            let calls: Vec<String> = part.iter().enumerate().map(|(at, (_, text))| submission(at, text)).collect();
            (post(&format!("[{}]", calls.join(","))), calls.len())
        };
        let requests = transactions.chunks(share).map(|part| part.chunks(BATCH).map(request).collect()).collect();
        Self { requests, ids }
    }

    /// Signs `count` transactions, an equal share for every validator.
    pub(crate) fn sign(network: &Network, label: &str, count: usize) -> Self {
        let validators = network.validators().len();
        let share = count.div_ceil(validators);
        let chain_id = network.chain_id();
        let made: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..validators)
                .map(|at| scope.spawn(move || sign_share(chain_id, &format!("{label}/{at}"), share)))
                .collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        let mut prepared = Self { requests: Vec::new(), ids: HashSet::with_capacity(count) };
        for (requests, ids) in made {
            prepared.requests.push(requests);
            prepared.ids.extend(ids);
        }
        prepared
    }
}

/// A call which hands in one transaction.
fn submission(id: usize, text: &str) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"quorate_submit\",\"params\":[\"{text}\"]}}")
}

fn sign_share(chain_id: ChainId, label: &str, count: usize) -> (Vec<(Vec<u8>, usize)>, Vec<TransactionId>) {
    let mut signers: Vec<Signer> =
        (0..SIGNERS).map(|number| Signer::new(chain_id, &format!("{label}/{number}"))).collect();
    let mut ids = Vec::with_capacity(count);
    let mut requests = Vec::with_capacity(count.div_ceil(BATCH));
    let mut calls: Vec<String> = Vec::with_capacity(BATCH);
    let mut made = 0;
    while made < count {
        for signer in signers.iter_mut().take(count - made) {
            let (id, text) = signer.next();
            ids.push(id);
            calls.push(submission(calls.len(), &text));
            made += 1;
            if calls.len() == BATCH || made == count {
                requests.push((post(&format!("[{}]", calls.join(","))), calls.len()));
                calls.clear();
            }
        }
    }
    (requests, ids)
}

/// What a run of load showed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loaded {
    pub(crate) transactions: usize,
    pub(crate) blocks: u64,
    /// Blocks made in a later round than the first: a validator was too slow.
    pub(crate) late_blocks: u64,
    /// Requests repeated because a pool was full.
    pub(crate) full: usize,
    /// From the first submission until the last was accepted.
    pub(crate) accepted: Duration,
    /// From the first submission until all were final at all validators.
    pub(crate) took: Duration,
}

/// How far a run is.
struct Progress {
    under_way: Mutex<usize>,
    changed: Condvar,
    ended: AtomicBool,
    full: AtomicUsize,
}

impl Progress {
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room for `count` more; `false` when the run has ended.
    fn begin(&self, count: usize) -> bool {
        let mut under_way = self.lock();
        while *under_way + count > UNDER_WAY_MAX {
            if self.ended.load(Ordering::Relaxed) {
                return false;
            }
            let waited = self.changed.wait_timeout(under_way, Duration::from_millis(100));
            under_way = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *under_way += count;
        !self.ended.load(Ordering::Relaxed)
    }

    fn finished(&self, count: usize) {
        let mut under_way = self.lock();
        *under_way = under_way.saturating_sub(count);
        drop(under_way);
        self.changed.notify_all();
    }

    fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }
}

/// Hands in everything prepared at all validators at once, and waits until all of it is final at all of them.
pub(crate) fn load(network: &Network, prepared: &Prepared) -> Result<Loaded, BenchError> {
    let first = network.validator(0)?;
    let mut follower = Follower::subscribe(first.rpc, network.stop())?;
    let progress = Progress { under_way: Mutex::new(0), changed: Condvar::new(), ended: false.into(), full: 0.into() };
    let taken: Vec<AtomicUsize> = prepared.requests.iter().map(|_| AtomicUsize::new(0)).collect();
    let mut connections = Vec::new();
    for ((node, requests), taken) in network.validators().iter().zip(&prepared.requests).zip(&taken) {
        for _ in 0..CONNECTIONS.min(requests.len()) {
            connections.push((node.connect()?, requests, taken));
        }
    }
    let begun = Instant::now();
    let counted = std::thread::scope(|scope| {
        let senders: Vec<_> = connections
            .into_iter()
            .map(|(mut connection, requests, taken)| {
                let progress = &progress;
                scope.spawn(move || {
                    let sent = send_all(network, &mut connection, requests, taken, progress);
                    if sent.is_err() {
                        progress.end();
                    }
                    sent.map(|()| begun.elapsed())
                })
            })
            .collect();
        let counted = count_final(&mut follower, &prepared.ids, &progress);
        progress.end();
        let mut accepted = Duration::ZERO;
        for sender in senders {
            let sent = sender.join().map_err(|_| BenchError::answer("a thread of the load panicked"))??;
            accepted = accepted.max(sent);
        }
        Ok((counted?, accepted))
    })?;
    let (counted, accepted) = counted;
    let took = everywhere(network, counted.height, begun)?;
    Ok(Loaded {
        transactions: prepared.ids.len(),
        blocks: counted.blocks,
        late_blocks: counted.late_blocks,
        full: progress.full.load(Ordering::Relaxed),
        accepted,
        took,
    })
}

struct Counted {
    height: u64,
    blocks: u64,
    late_blocks: u64,
}

/// Counts those of our transactions that the first validator says are final, each once, until all are.
fn count_final(
    follower: &mut Follower,
    ids: &HashSet<TransactionId>,
    progress: &Progress,
) -> Result<Counted, BenchError> {
    let mut missing = ids.clone();
    let mut counted = Counted { height: 0, blocks: 0, late_blocks: 0 };
    while !missing.is_empty() {
        let new = follower.next(|block| {
            counted.height = block.height;
            counted.blocks += 1;
            counted.late_blocks += u64::from(block.created_round > 0);
            let ours = block.transactions.iter().filter_map(|id| id.parse::<TransactionId>().ok());
            ours.filter(|id| missing.remove(id)).count()
        })?;
        progress.finished(new);
        if progress.ended.load(Ordering::Relaxed) && !missing.is_empty() {
            return Err(BenchError::answer("the load ended before everything was final"));
        }
    }
    Ok(counted)
}

/// Waits until all validators have the block in which the last of our transactions became final: a chain has one block at a height, and
/// each names its parent, so that all the rest is final there too. Returns the time since `begun`.
fn everywhere(network: &Network, height: u64, begun: Instant) -> Result<Duration, BenchError> {
    let mut hashes = HashSet::new();
    let mut connections = Vec::new();
    for node in network.validators() {
        let mut connection = node.connect()?;
        let what = format!("{} has block {height}", node.name);
        network.stop().until(&what, || Ok((tip(&mut connection)?.0 >= height).then_some(())))?;
        connections.push(connection);
    }
    let took = begun.elapsed();
    for mut connection in connections {
        hashes.insert(hash_at(&mut connection, height)?.to_string());
    }
    if hashes.len() == 1 { Ok(took) } else { Err(BenchError::answer(format!("block {height} differs: {hashes:?}"))) }
}

fn send_all(
    network: &Network,
    connection: &mut Connection,
    requests: &[(Vec<u8>, usize)],
    taken: &AtomicUsize,
    progress: &Progress,
) -> Result<(), BenchError> {
    while let Some((request, count)) = requests.get(taken.fetch_add(1, Ordering::Relaxed)) {
        if !progress.begin(*count) {
            return Ok(());
        }
        loop {
            network.stop().check("transactions are handed in")?;
            let body = connection.exchange(request)?;
            let Some(wait) = full(body)? else { break };
            // The same bytes again are the same transactions: those that were taken are not taken twice.
            progress.full.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(wait);
        }
    }
    Ok(())
}

/// How long to wait when the pool was full for some; an error when any was refused for another reason.
fn full(body: &[u8]) -> Result<Option<Duration>, BenchError> {
    const POOL_FULL: i64 = -32012;
    let marked = body.windows(8).any(|part| part == b"\"error\":");
    if !marked {
        return Ok(None);
    }
    let answers: Value =
        serde_json::from_slice(body).map_err(|error| BenchError::answer(format!("quorate_submit: {error}")))?;
    let one = std::slice::from_ref(&answers);
    let mut wait = None;
    for error in answers.as_array().map_or(one, Vec::as_slice).iter().filter_map(|answer| answer.get("error")) {
        if error.get("code").and_then(Value::as_i64) != Some(POOL_FULL) {
            return Err(BenchError::answer(format!("quorate_submit: {error}")));
        }
        let told = error.pointer("/data/retry_after_ms").and_then(Value::as_u64).map(Duration::from_millis);
        wait = wait.max(Some(told.unwrap_or(RETRY_AFTER)));
    }
    Ok(wait)
}
