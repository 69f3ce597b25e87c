//! A campaign of the simulator: crashes between all actions, slow and refusing signers, pauses, twins, loss, partitions.

use super::{
    super::rule::{OrBroken, Outcome, broken, does_not_apply},
    ConsensusSuite,
};
use crate::sim::{self, Options, Rng};

/// Threads on which schedules are run.
const THREADS: usize = 2;

pub(super) fn campaign(suite: &ConsensusSuite<'_>, rng: &mut Rng) -> Outcome {
    if suite.plugin.observes() {
        return does_not_apply("it watches a network that another plugin decides");
    }
    let options = Options {
        fault_model: suite.fault_model,
        validators: suite.validators,
        // Each seed of the suite has schedules of its own.
        from: rng.fork(1).next_u64() % (1 << 32),
        seeds: suite.schedules,
        threads: THREADS,
        settings: Some(suite.shared.clone()),
        kinds: suite.kinds,
    };
    let report = sim::campaign(suite.plugin, &options).or_broken("making the engines of a network")?;
    match report.failure {
        Some(failure) => broken(failure.to_string()),
        None => Ok(()),
    }
}
