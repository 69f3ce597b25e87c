//! The search for the highest rate that a network keeps up with: doubled until it does not, then halved in between.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{
    Bench, Mode,
    drive::{Length, drive},
    outcome::{Outcome, Step},
    stock::{Kind, Stock},
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

/// See the module.
pub(crate) fn search(
    bench: &Bench,
    network: &Network,
    kind: Kind,
    progress: &mut dyn FnMut(&str),
) -> Result<Outcome, BenchError> {
    let most = kind.most() as f64 / (WARM_UP + bench.time).as_secs_f64();
    climb(LAST.min(most.floor()), |rate| {
        progress(&format!("{rate:.0} a second"));
        let mode = Mode::Open(rate);
        let stock = Stock::new(network, mode.transactions(WARM_UP + bench.time, kind), kind)?;
        wait_empty(network)?;
        drive(network, &stock, mode, Length { warm_up: WARM_UP, time: bench.time }, || Ok(()))
    })
}

/// Tries rates of at most `last`. The outcome is that of the highest which was kept up with, else of the lowest of all, with all steps. A rate at which
/// something fails ends the search: what was found before is kept, with what failed.
fn climb(last: f64, mut load: impl FnMut(f64) -> Result<Outcome, BenchError>) -> Result<Outcome, BenchError> {
    let mut steps: Vec<Step> = Vec::new();
    let (mut best, mut knee, mut too_high) = (None, None, None);
    let (mut rate, mut between, mut failed) = (FIRST.min(last), 0, None);
    loop {
        let outcome = match load(rate) {
            Ok(outcome) => outcome,
            Err(error) if steps.is_empty() => return Err(error),
            Err(error) => {
                failed = Some(format!("at {rate:.0} a second: {error}"));
                break;
            }
        };
        let kept_up = kept_up(&outcome, rate);
        steps.push(Step {
            rate,
            final_per_s: outcome.final_per_s,
            p50_ms: outcome.p50_ms,
            p99_ms: outcome.p99_ms,
            backlog_grew_per_s: outcome.backlog_grew_per_s,
            lost: outcome.lost(),
            kept_up,
        });
        // Each that is kept up with is higher than the ones before, each that is not is lower.
        if kept_up || knee.is_none() {
            best = Some(outcome);
        }
        if kept_up {
            knee = Some(rate)
        } else {
            too_high = Some(rate)
        }
        rate = match too_high {
            None if rate < last => (rate * 2.0).min(last),
            Some(too_high) if between < BETWEEN => {
                between += 1;
                f64::midpoint(knee.unwrap_or(0.0), too_high)
            }
            _ => break,
        };
    }
    let outcome = best.ok_or_else(|| BenchError::answer("no rate was tried"))?;
    steps.sort_by(|one, other| one.rate.total_cmp(&other.rate));
    Ok(Outcome { mode: "saturate", steps, knee_per_s: knee, failed, ..outcome })
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

    /// A network which makes so many a second final.
    fn network(capacity: f64) -> impl FnMut(f64) -> Result<Outcome, BenchError> {
        move |rate| {
            let grew = (rate - capacity).max(0.0);
            Ok(Outcome { rate: Some(rate), backlog_grew_per_s: grew, p99_ms: rate / 100.0, ..Outcome::default() })
        }
    }

    #[test]
    fn the_outcome_is_that_of_the_highest_rate_that_was_kept_up_with() {
        // Below the first rate, between, and above all that are tried.
        for (capacity, knee, tried) in [(320.0, 312.5, 4), (3_100.0, 3_250.0, 7), (1e9, 16_000.0, 6)] {
            let outcome = climb(16_000.0, network(capacity)).unwrap();
            assert_eq!((outcome.rate, outcome.knee_per_s, outcome.steps.len()), (Some(knee), Some(knee), tried));
            assert!(outcome.steps.is_sorted_by(|one, other| one.rate < other.rate), "{:?}", outcome.steps);
            assert!(outcome.to_string().contains("the highest rate that is kept up with: "), "{outcome}");
        }
    }

    #[test]
    fn where_none_was_kept_up_with_there_is_no_highest() {
        let outcome = climb(LAST, network(10.0)).unwrap();
        assert_eq!((outcome.rate, outcome.knee_per_s), (Some(62.5), None));
        assert!(outcome.steps.iter().all(|step| !step.kept_up), "{:?}", outcome.steps);
        assert!(outcome.to_string().contains("kept up with: none"), "{outcome}");
        assert_eq!(serde_json::to_value(&outcome).unwrap().get("knee_per_s"), Some(&Value::Null));
    }

    #[test]
    fn no_rate_above_the_last_is_tried() {
        let outcome = climb(1_200.0, network(1e9)).unwrap();
        let rates: Vec<f64> = outcome.steps.iter().map(|step| step.rate).collect();
        assert_eq!((rates, outcome.knee_per_s), (vec![500.0, 1_000.0, 1_200.0], Some(1_200.0)));
    }

    #[test]
    fn a_rate_that_fails_takes_nothing_from_the_ones_before() {
        let failing = |rate: f64| if rate > 1_500.0 { Err(BenchError::Stopped) } else { network(1e9)(rate) };
        let outcome = climb(LAST, failing).unwrap();
        assert_eq!((outcome.steps.len(), outcome.knee_per_s), (2, Some(1_000.0)));
        assert_eq!(outcome.failed.as_deref(), Some("at 2000 a second: stopped"));
        assert!(outcome.to_string().ends_with("the search ended at 2000 a second: stopped\n"), "{outcome}");
        assert!(climb(LAST, |_| Err(BenchError::Stopped)).is_err());
    }
}
