//! The search for the highest rate that a network keeps up with: doubled until it does not, then halved in between.

use std::time::Duration;

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

/// A rate is kept up with when this part of it becomes final in the time, without what is still on its way at the end of it.
const KEPT_UP: f64 = 0.95;

/// And when the slowest hundredth takes less than this.
const P99_MAX_MS: f64 = 2_000.0;

fn kept_up(outcome: &Outcome, rate: f64) -> bool {
    let under_way = rate * outcome.p50_ms / 1000.0 / outcome.seconds;
    let final_per_s = outcome.final_per_s + under_way;
    final_per_s >= KEPT_UP * rate && outcome.p99_ms < P99_MAX_MS && outcome.refused == 0 && outcome.unfinished == 0
}

/// See the module. The outcome is that of the highest rate which was kept up with, with all steps.
pub(crate) fn search(bench: &Bench, network: &Network, progress: &mut dyn FnMut(&str)) -> Result<Outcome, BenchError> {
    let mut steps: Vec<Step> = Vec::new();
    let mut best: Option<Outcome> = None;
    let mut tried = |rate: f64| -> Result<bool, BenchError> {
        progress(&format!("{rate:.0} a second"));
        let warm_up = bench.warm_up.min(Duration::from_secs(1));
        let mode = Mode::Open(rate);
        let stock = Stock::new(network, mode.transactions(warm_up + bench.time), bench.bytes)?;
        let outcome = drive(network, &stock, mode, warm_up, bench.time)?;
        let good = kept_up(&outcome, rate);
        steps.push(Step {
            rate,
            final_per_s: outcome.final_per_s,
            p50_ms: outcome.p50_ms,
            p99_ms: outcome.p99_ms,
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
