//! Transactions which are ready before the clock starts. No two rest on each other: any of them can be final without the others.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use quorate::{Hash, TransactionId};
use quorate_ballot::record::{Body, transaction_id};
use quorate_kv::Put;

use super::TRANSACTIONS_MAX;
use crate::{
    ballots::{cast, hex, open},
    failure::BenchError,
    machine,
    network::Network,
};

/// The key that every signer writes.
const KEY: &[u8] = b"bench";

/// See the module.
pub(crate) struct Stock {
    /// `quorate_submit` parameters, in hexadecimal.
    pub(crate) texts: Vec<String>,
    /// The place of each, by its id.
    pub(crate) places: HashMap<TransactionId, usize>,
    /// Bytes of a transaction.
    pub(crate) transaction_bytes: usize,
    /// What they are.
    pub(crate) kind: &'static str,
}

impl Stock {
    /// As many transactions as this of the kind that the network's application takes.
    pub(crate) fn new(network: &Network, count: usize, value_bytes: usize) -> Result<Self, BenchError> {
        if count == 0 || count > TRANSACTIONS_MAX {
            return Err(BenchError::answer(format!(
                "{count} transactions would be needed; 1 to {TRANSACTIONS_MAX} can be made: choose a lower rate or a shorter time"
            )));
        }
        match network.application() {
            "kv" => Ok(Self::writes(network, count, value_bytes)),
            "voting" => Self::ballots(network, count),
            other => Err(BenchError::answer(format!(
                "the network's application is `{other}`; transactions are made for `kv` and `voting`"
            ))),
        }
    }

    fn of(kind: &'static str, made: Vec<(TransactionId, String)>) -> Self {
        let transaction_bytes = made.first().map_or(0, |(_, text)| text.len().saturating_sub(2) / 2);
        let places = made.iter().enumerate().map(|(at, (id, _))| (*id, at)).collect();
        Self { texts: made.into_iter().map(|(_, text)| text).collect(), places, transaction_bytes, kind }
    }

    /// Signed writes, each by a signer of its own, so that none waits for another.
    fn writes(network: &Network, count: usize, value_bytes: usize) -> Self {
        let value = vec![b'v'; value_bytes];
        let salt = salt();
        let one = |number: usize| {
            let seed = *Hash::of(&[b"quorate bench", &salt, &number.to_le_bytes()]).as_bytes();
            let bytes = Put::sign(&seed, &network.chain_id(), 0, KEY, &value);
            (TransactionId::new(*Hash::of(&[&bytes]).as_bytes()), hex(&bytes))
        };
        Self::of("kv", on_all_cores(count, one))
    }

    /// Ballots of an election which is opened for this, with as many voters.
    fn ballots(network: &Network, count: usize) -> Result<Self, BenchError> {
        let election = open(network, count)?;
        let ballots = cast(&election)?;
        let made = ballots.into_iter().map(|ballot| {
            let bytes = Body::Ballot(ballot).unsigned().encode();
            (TransactionId::new(transaction_id(&bytes)), hex(&bytes))
        });
        Ok(Self::of("ballots", made.collect()))
    }
}

/// Differs from run to run, and within one.
fn salt() -> [u8; 24] {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut salt = [0; 24];
    salt[..16].copy_from_slice(&since.as_nanos().to_le_bytes());
    salt[16..].copy_from_slice(&RUNS.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    salt
}

fn on_all_cores<T: Send>(count: usize, one: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let share = count.div_ceil(machine::cores()).max(1);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..count)
            .step_by(share)
            .map(|first| {
                let one = &one;
                scope.spawn(move || (first..(first + share).min(count)).map(one).collect::<Vec<T>>())
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    })
}
