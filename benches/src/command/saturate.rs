//! The search for the highest rate that a network keeps up with: doubled until it does not, then halved in between.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{
    Bench, Mode,
    drive::drive,
    outcome::{Outcome, Step},
    stock::Stock,
};
use crate::{failure::BenchError, network::Network};

/// The first rate, transactions a second.
const FIRST: f64 = 500.0;

/// The highest that is tried.
const LAST: f64 = 200_000.0;

/// Rates tried between one that was kept up with and one that was not.
const BETWEEN: usize = 3;

/// A rate is kept up with when what is due and not final grows by less than this part of it.
const GROWTH_MAX: f64 = 0.05;

/// And when the slowest hundredth takes less than this.
const P99_MAX_MS: f64 = 2_000.0;

/// The same load runs this long before the figures of a rate are taken.
const WARM_UP: Duration = Duration::from_secs(1);

/// How long the pools may take to be empty before a rate.
const EMPTY_WAIT: Duration = Duration::from_secs(60);

fn kept_up(outcome: &Outcome, rate: f64) -> bool {
    outcome.backlog_grew_per_s < GROWTH_MAX * rate && outcome.p99_ms < P99_MAX_MS && outcome.lost() == 0
}

/// Waits until no validator has a transaction that waits: what one rate left behind is no load of the next.
fn wait_empty(network: &Network) -> Result<(), BenchError> {
    let deadline = Instant::now() + EMPTY_WAIT;
    for node in network.validators() {
        let mut connection = node.connect()?;
        network.stop().until("pools are empty", || {
            let pool = connection.call("quorate_pool", &json!([]))?;
            match pool.get("count").and_then(Value::as_u64) {
                Some(0) => Ok(Some(())),
                Some(count) if Instant::now() >= deadline => Err(BenchError::answer(format!(
                    "{count} transactions waited in the pool of {} after {} s without a load",
                    node.name,
                    EMPTY_WAIT.as_secs()
                ))),
                Some(_) => Ok(None),
                None => Err(BenchError::answer(format!("quorate_pool: {pool}"))),
            }
        })?;
    }
    Ok(())
}

/// See the module. The outcome is that of the highest rate which was kept up with, with all steps.
pub(crate) fn search(bench: &Bench, network: &Network, progress: &mut dyn FnMut(&str)) -> Result<Outcome, BenchError> {
    let mut steps: Vec<Step> = Vec::new();
    let mut best: Option<Outcome> = None;
    let mut tried = |rate: f64| -> Result<bool, BenchError> {
        progress(&format!("{rate:.0} a second"));
        let mode = Mode::Open(rate);
        let stock = Stock::new(network, mode.transactions(WARM_UP + bench.time), bench.bytes)?;
        wait_empty(network)?;
        let outcome = drive(network, &stock, mode, WARM_UP, bench.time)?;
        let good = kept_up(&outcome, rate);
        steps.push(Step {
            rate,
            final_per_s: outcome.final_per_s,
            p50_ms: outcome.p50_ms,
            p99_ms: outcome.p99_ms,
            backlog_grew_per_s: outcome.backlog_grew_per_s,
            lost: outcome.lost(),
            kept_up: good,
        });
        if best.as_ref().is_none_or(|best| good && best.rate.unwrap_or(0.0) < rate) {
            best = Some(outcome);
        }
        Ok(good)
    };
    let (mut low, mut high) = (0.0, FIRST);
    while high <= LAST && tried(high)? {
        (low, high) = (high, high * 2.0);
    }
    for _ in 0..BETWEEN {
        let middle = f64::midpoint(low, high);
        if tried(middle)? { low = middle } else { high = middle }
    }
    let mut outcome = best.ok_or_else(|| BenchError::answer("no rate was tried"))?;
    steps.sort_by(|one, other| one.rate.total_cmp(&other.rate));
    outcome.mode = "saturate";
    outcome.steps = steps;
    outcome.knee_per_s = Some(low);
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::tally::{Tally, Times, Window};

    const SECOND: u64 = 1_000_000;

    /// What 1000 a second for a second of warm-up and two more show where so many a second become final, each `wait` after its turn.
    fn shown(capacity: u64, wait: u64) -> Outcome {
        let one = |number: u64| {
            let due = number * 1000 + 1;
            Times { due, accepted: due + 1, done: due.max(number * SECOND / capacity) + wait, refused: false }
        };
        let tally = Tally::of((0..3000).map(one), Window { from: SECOND, to: 3 * SECOND, end: 9 * SECOND });
        Outcome {
            backlog_grew_per_s: tally.backlog_grew_per_s,
            p50_ms: tally.to_final[tally.to_final.len() / 2],
            p99_ms: tally.to_final[tally.to_final.len() * 99 / 100],
            ..Outcome::default()
        }
    }

    #[test]
    fn an_overload_is_not_kept_up_with() {
        for (capacity, wait) in [(2000, 5_000), (2000, 400_000), (1000, 400_000), (980, 5_000)] {
            assert!(kept_up(&shown(capacity, wait), 1000.0), "{capacity}, {wait}");
        }
        // The slowest of 700 a second takes less than P99_MAX_MS here, and all is final in the end.
        for (capacity, wait) in [(900, 5_000), (900, 400_000), (700, 5_000), (500, 5_000), (2000, 2_000_000)] {
            assert!(!kept_up(&shown(capacity, wait), 1000.0), "{capacity}, {wait}");
        }
        // Nothing grows, and what comes waits for long.
        assert!(!kept_up(&Outcome { p99_ms: P99_MAX_MS, ..Outcome::default() }, 1000.0));
    }

    #[test]
    fn a_rate_of_which_something_is_lost_is_not_kept_up_with() {
        for lost in [
            Outcome { refused: 1, ..Outcome::default() },
            Outcome { unfinished: 1, ..Outcome::default() },
            Outcome { unsent: 1, ..Outcome::default() },
        ] {
            assert!(!kept_up(&lost, 1000.0), "{lost:?}");
        }
        assert!(kept_up(&Outcome::default(), 1000.0));
    }
}
