//! A campaign of the simulator: crashes between all actions, slow and refusing signers, pauses, twins, loss, partitions.

use super::{
    super::rule::{OrBroken, Outcome, broken, does_not_apply},
    ConsensusSuite,
};
use crate::sim::{Campaign, Options, Rng, plan_of};

/// Threads on which schedules are run.
const THREADS: usize = 2;

pub(super) fn campaign(suite: &ConsensusSuite<'_>, rng: &mut Rng) -> Outcome {
    if suite.plugin.observes() {
        return does_not_apply("it watches a network that another plugin decides");
    }
    let options = Options {
        fault_model: Some(suite.fault_model),
        validators: Some(suite.validators),
        settings: Some(suite.shared.clone()),
        scenarios: Vec::new(),
    };
    let plan = plan_of(suite.plugin, &options).or_broken("making a network")?;
    let campaign = Campaign {
        scenarios: plan.scenarios,
        engines: &suite.plugin,
        kinds: suite.kinds.or(plan.promise.kinds),
        inspector: None,
        adversary: None,
        // Each seed of the suite has schedules of its own.
        from: rng.fork(1).next_u64() % (1 << 32),
        seeds: suite.schedules,
        threads: THREADS,
        progress: None,
    };
    let report = campaign.run().or_broken("making the engines of a network")?;
    match report.failure {
        Some(failure) => broken(failure.to_string()),
        None => Ok(()),
    }
}
