//! Tendermint in the simulator: nothing goes wrong inside the envelope, and something does beyond it.
//!
//! `QUORATE_SIM_SEEDS` sets how many seeds each scenario gets.
#![expect(clippy::panic, reason = "what was found shall be seen")]

mod sim;

use std::sync::Arc;

use quorate::plugin::ConsensusPlugin;
use quorate_bft_tendermint::TendermintPlugin;
use quorate_testkit::sim::{Coverage, Extent, Options, plan_of, torture};
use sim::scenarios;

/// Seeds of each scenario, unless the environment says otherwise.
const SEEDS: u64 = 24;

fn seeds() -> u64 {
    std::env::var("QUORATE_SIM_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SEEDS)
}

/// What must have been met, so that the silence of the checks means something.
const WANTED: [&str; 34] = [
    "blocks committed by catch-up",
    "blocks committed by engines",
    "blocks decided after being proposed again",
    "blocks decided in later rounds",
    "blocks found invalid",
    "blocks that could not be built",
    "catch-up wanted by engines",
    "clocks moved",
    "commits signed in later rounds",
    "crashes after a step's actions",
    "crashes before a step's actions",
    "crashes between actions",
    "empty blocks",
    "evidence in blocks",
    "judgements put off",
    "links lost one way",
    "messages cut off",
    "messages doubled",
    "messages late",
    "messages lost",
    "misbehaviour proven",
    "nodes cut off",
    "partitions",
    "peers penalised",
    "power cuts",
    "prepares in later rounds",
    "proposals in later rounds",
    "records forgotten by dishonest nodes",
    "restarts",
    "runs repeated",
    "signers out of order",
    "suspensions",
    "timeouts signed",
    "validator changes",
];

#[test]
fn nothing_goes_wrong_inside_the_envelope() {
    let mut coverage = Coverage::default();
    for scenario in scenarios::inside() {
        let report = sim::run(&scenario, 0..seeds(), 2);
        if let Some(failure) = report.failure {
            panic!("{failure}");
        }
        coverage.merge(&report.coverage);
    }
    println!("{coverage}");
    assert_eq!(coverage.missing(&WANTED), Vec::<&str>::new(), "not everything was met that should be");
}

#[test]
fn with_two_dishonest_of_four_promises_are_broken() {
    let report = sim::run(&scenarios::outside(), 0..300, 2);
    let Some(failure) = report.failure else { panic!("nothing in {} schedules", report.runs) };
    println!("{failure}");
    let safety = ["S1 agreement", "S2 strong finality", "S3 certificate uniqueness", "H1 halt"];
    assert!(safety.contains(&failure.violation.invariant), "{}", failure.violation.invariant);
}

/// As the command `quorate sim` does it, for any plugin.
#[test]
fn the_simulator_runs_the_plugin_without_knowing_it() {
    let plugin: Arc<dyn ConsensusPlugin> = Arc::new(TendermintPlugin);
    let plan = plan_of(plugin.as_ref(), &Options { validators: Some(4), ..Options::default() }).unwrap();
    assert_eq!((plan.promise.gone, plan.promise.dishonest, plan.promise.delta), (1, 1, None));
    let extent = Extent { from: 100, seeds: 4, threads: 2, progress: None };
    let report = torture(&plugin, &plan, extent, |campaign| campaign.run()).unwrap();
    assert_eq!(report.runs, 4);
    assert!(report.failure.is_none(), "{}", report.failure.map(|failure| failure.to_string()).unwrap_or_default());
}
