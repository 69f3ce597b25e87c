//! poa in the simulator: nothing goes wrong inside the envelope, and something does beyond it.
//!
//! `QUORATE_SIM_SEEDS` sets how many seeds each scenario gets; many more come from the example `campaign`.
#![expect(clippy::panic, reason = "what was found shall be seen")]

mod sim;

use std::sync::Arc;

use quorate::plugin::ConsensusPlugin;
use quorate_testkit::sim::{Coverage, Extent, FaultModel, Options, Report, Scenario, plan_of, torture};
use sim::scenarios;

/// Seeds of each scenario, unless the environment says otherwise.
const SEEDS: u64 = 12;

fn seeds() -> u64 {
    std::env::var("QUORATE_SIM_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SEEDS)
}

fn one(scenario: &Scenario, seeds: u64) -> Report {
    if scenario.name.contains("schemer") {
        sim::scheming(scenario, None, 0..seeds, 2)
    } else {
        sim::run(scenario, None, 0..seeds, 2, None)
    }
}

fn nothing_goes_wrong(model: FaultModel, wanted: &[&str]) {
    let mut coverage = Coverage::default();
    for scenario in scenarios::inside(model) {
        let report = one(&scenario, seeds());
        if let Some(failure) = report.failure {
            panic!("{failure}");
        }
        coverage.merge(&report.coverage);
    }
    println!("{coverage}");
    assert_eq!(coverage.missing(wanted), Vec::<&str>::new(), "{model} did not meet everything it should");
}

/// What every model must have met.
const ALWAYS: [&str; 18] = [
    "blocks committed by engines",
    "blocks decided after being proposed again",
    "blocks decided in later rounds",
    "catch-up wanted by engines",
    "commits signed in later rounds",
    "crashes after a step's actions",
    "crashes before a step's actions",
    "crashes between actions",
    "empty blocks",
    "messages doubled",
    "prepares in later rounds",
    "proposals in later rounds",
    "restarts",
    "runs repeated",
    "suspensions",
    "suspensions between actions",
    "timeouts signed",
    "validator changes",
];

/// What a wild network brings.
const WILD: [&str; 10] = [
    "blocks committed by catch-up",
    "clocks moved",
    "links lost one way",
    "messages cut off",
    "messages late",
    "messages lost",
    "nodes cut off",
    "partitions",
    "power cuts",
    "signers out of order",
];

/// What dishonest validators bring.
const DISHONEST: [&str; 9] = [
    "blocks found invalid",
    "evidence in blocks",
    "misbehaviour proven",
    "peers penalised",
    "records forgotten by dishonest nodes",
    "validators as puppets",
    "validators silent",
    "validators twinned",
    "validators twinned as puppets",
];

#[test]
fn crash_keeps_its_promise() {
    nothing_goes_wrong(
        FaultModel::Crash,
        &[&ALWAYS[..], &WILD, &["judgements put off", "blocks that could not be built"]].concat(),
    );
}

#[test]
fn byzantine_sync_keeps_its_promise() {
    nothing_goes_wrong(FaultModel::ByzantineSync, &[&ALWAYS[..], &WILD, &DISHONEST].concat());
}

#[test]
fn byzantine_keeps_its_promise() {
    nothing_goes_wrong(FaultModel::Byzantine, &[&ALWAYS[..], &WILD, &DISHONEST].concat());
}

#[test]
fn beyond_the_envelope_promises_are_broken() {
    for scenario in scenarios::outside() {
        let report = one(&scenario, 300);
        let Some(failure) = report.failure else { panic!("{}: nothing in {} schedules", scenario.name, report.runs) };
        println!("{failure}");
        let invariant = failure.violation.invariant;
        let safety = ["S1 agreement", "S2 strong finality", "S3 certificate uniqueness", "H1 halt"];
        assert!(safety.contains(&invariant), "{}: {invariant}", scenario.name);
    }
}

/// As the command `quorate sim` does it, for any plugin.
#[test]
fn the_simulator_runs_the_plugin_without_knowing_it() {
    let plugin: Arc<dyn ConsensusPlugin> = Arc::new(quorate_poa::PoaPlugin);
    for fault_model in FaultModel::ALL {
        let options = Options { fault_model: Some(fault_model), validators: Some(4), ..Options::default() };
        let plan = plan_of(plugin.as_ref(), &options).unwrap();
        let seeds = plan.scenarios.len() as u64;
        assert!(seeds > 10, "{seeds} scenarios");
        let extent = Extent { from: 100, seeds, threads: 2, progress: None };
        let report = torture(&plugin, &plan, extent, |campaign| campaign.run()).unwrap();
        assert!(report.failure.is_none(), "{}", report.failure.map(|failure| failure.to_string()).unwrap_or_default());
        assert_eq!(report.runs, seeds);
    }
}
