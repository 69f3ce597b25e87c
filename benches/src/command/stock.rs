//! Transactions which are ready before the clock starts. No two rest on each other: any of them can be final without the others.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use quorate::{ChainId, Hash, TransactionId};
use quorate_ballot::record::{Body, transaction_id};
use quorate_kv::Put;

use super::TRANSACTIONS_MAX;
use crate::{
    ballots::{cast, hex, open},
    failure::BenchError,
    machine,
    network::Network,
    stop::Stop,
};

/// The key that every signer writes.
const KEY: &[u8] = b"bench";

/// Memory that all transactions of a load may take.
const BYTES_MAX: usize = 1 << 30;

/// Memory that a transaction takes beside its text: its id, its place, its moments.
const BESIDE_BYTES: usize = 256;

/// Bytes of a ballot at most.
const BALLOT_BYTES_MAX: usize = 2_048;

/// What a client of a closed loop may make final a second, to know how many transactions to make: no client is as fast.
const WRITES_PER_CLIENT_S_MAX: usize = 1_000;

/// What all clients together may make final a second, for the same.
const WRITES_PER_S_MAX: usize = 30_000;

/// Ballots of a client, for the same: a validator alone takes longer to answer for one.
const BALLOTS_PER_CLIENT_S_MAX: usize = 250;

/// Ballots of all clients, a second and core, for the same: a core verifies some 3500, and each validator verifies each.
const BALLOTS_PER_CORE_S_MAX: usize = 1_500;

/// What transactions are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// Signed writes of a value of so many bytes.
    Writes(usize),
    /// Ballots of an election.
    Ballots,
}

impl Kind {
    /// The kind that the network's application takes; values written have so many bytes.
    pub(crate) fn of(network: &Network, value_bytes: usize) -> Result<Self, BenchError> {
        match network.application() {
            "kv" => Ok(Self::Writes(value_bytes)),
            "voting" => Ok(Self::Ballots),
            other => Err(BenchError::answer(format!(
                "the network's application is `{other}`; transactions are made for `kv` and `voting`"
            ))),
        }
    }

    /// Transactions of one load at most: by number and by memory.
    pub(crate) fn most(self) -> usize {
        let bytes = match self {
            Self::Writes(value) => Put::sign(&[0; 32], &ChainId::new([0; 32]), 0, KEY, &vec![0; value]).len(),
            Self::Ballots => BALLOT_BYTES_MAX,
        };
        TRANSACTIONS_MAX.min(BYTES_MAX / (2 * bytes + BESIDE_BYTES))
    }

    /// What so many clients of a closed loop may make final in so many seconds: more than any do, and at most what can be made.
    pub(crate) fn guess(self, clients: usize, seconds: f64) -> usize {
        let per_s = match self {
            Self::Writes(_) => (clients * WRITES_PER_CLIENT_S_MAX).min(WRITES_PER_S_MAX),
            Self::Ballots => (clients * BALLOTS_PER_CLIENT_S_MAX).min(BALLOTS_PER_CORE_S_MAX * machine::cores()),
        };
        ((per_s as f64 * seconds) as usize + clients).min(self.most())
    }
}

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
    /// As many transactions as this.
    pub(crate) fn new(network: &Network, count: usize, kind: Kind) -> Result<Self, BenchError> {
        if count == 0 || count > kind.most() {
            return Err(BenchError::answer(format!(
                "{count} transactions would be needed; 1 to {} can be made: choose a lower rate or a shorter time",
                kind.most()
            )));
        }
        match kind {
            Kind::Writes(bytes) => Self::writes(network, count, bytes),
            Kind::Ballots => Self::ballots(network, count),
        }
    }

    fn of(kind: &'static str, made: Vec<(TransactionId, String)>) -> Self {
        let transaction_bytes = made.first().map_or(0, |(_, text)| text.len().saturating_sub(2) / 2);
        let places = made.iter().enumerate().map(|(at, (id, _))| (*id, at)).collect();
        Self { texts: made.into_iter().map(|(_, text)| text).collect(), places, transaction_bytes, kind }
    }

    /// Signed writes, each by a signer of its own, so that none waits for another.
    fn writes(network: &Network, count: usize, value_bytes: usize) -> Result<Self, BenchError> {
        let value = vec![b'v'; value_bytes];
        let salt = salt();
        let one = |number: usize| {
            let seed = *Hash::of(&[b"quorate bench", &salt, &number.to_le_bytes()]).as_bytes();
            let bytes = Put::sign(&seed, &network.chain_id(), 0, KEY, &value);
            (TransactionId::new(*Hash::of(&[&bytes]).as_bytes()), hex(&bytes))
        };
        Ok(Self::of("kv", on_all_cores(network.stop(), count, one)?))
    }

    /// Ballots of an election which is opened for this, with as many voters.
    fn ballots(network: &Network, count: usize) -> Result<Self, BenchError> {
        let election = open(network, count)?;
        let ballots = cast(&election, network.stop())?;
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

fn on_all_cores<T: Send>(stop: &Stop, count: usize, one: impl Fn(usize) -> T + Sync) -> Result<Vec<T>, BenchError> {
    let share = count.div_ceil(machine::cores()).max(1);
    let one = |number: usize| stop.check("transactions are made").map(|()| one(number));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..count)
            .step_by(share)
            .map(|first| {
                let one = &one;
                scope.spawn(move || (first..(first + share).min(count)).map(one).collect::<Result<Vec<T>, _>>())
            })
            .collect();
        let mut all = Vec::with_capacity(count);
        for worker in workers {
            all.extend(worker.join().map_err(|_| BenchError::answer("a thread of the bench panicked"))??);
        }
        Ok(all)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ballots::trial;

    #[test]
    fn what_is_made_is_bounded_in_number_and_memory() {
        assert!(Kind::Writes(32).most() <= TRANSACTIONS_MAX);
        for kind in [Kind::Writes(32), Kind::Writes(1024), Kind::Ballots] {
            assert!(kind.most() >= 100_000, "{kind:?}: {}", kind.most());
            assert_eq!(kind.guess(64, 3_600.0), kind.most(), "{kind:?}");
        }
        assert!(Kind::Writes(1024).most() * (2 * 1024 + BESIDE_BYTES) < BYTES_MAX);
        assert_eq!(Kind::Writes(32).guess(2, 3.0), 2 * WRITES_PER_CLIENT_S_MAX * 3 + 2);
        assert_eq!(Kind::Ballots.guess(2, 3.0), 2 * BALLOTS_PER_CLIENT_S_MAX * 3 + 2);
        assert!(Kind::Ballots.guess(64, 10.0) < Kind::Writes(32).guess(64, 10.0));
    }

    #[test]
    fn a_ballot_has_no_more_bytes_than_are_reckoned_with() {
        let ballot = cast(&trial(1), &Stop::after(Duration::from_secs(60))).unwrap().remove(0);
        let bytes = Body::Ballot(ballot).unsigned().encode().len();
        assert!((BALLOT_BYTES_MAX / 2..=BALLOT_BYTES_MAX).contains(&bytes), "{bytes}");
    }

    #[test]
    fn making_transactions_ends_when_the_run_shall() {
        let stop = Stop::after(Duration::from_secs(60));
        let made = on_all_cores(&stop, 1000, |number| number).unwrap();
        assert!(made.into_iter().eq(0..1000));
        let ended = on_all_cores(&stop, 1 << 20, |_| stop.now());
        assert!(matches!(ended, Err(BenchError::Stopped)), "{ended:?}");
        assert!(matches!(cast(&trial(1), &stop), Err(BenchError::Stopped)));
    }
}
