//! The simulator finds what is wrong with a toy consensus, and nothing where nothing is.
#![expect(clippy::expect_used, clippy::panic, reason = "the set-up of a test may fail loudly")]

mod toy;

use quorate::plugin::ConsensusPlugin;
use quorate_testkit::sim::{self, Campaign, Engines, FaultModel, Kinds, Report, Scenario, Setup, SignerModel};
use toy::{Bug, ToyPlugin};

const KINDS: Kinds = Kinds { proposal: 1, prepare: 2, commit: 3, timeout: 4 };

/// A leader that is away stops the toy, so that nobody is left away.
fn scenario() -> Scenario {
    Scenario::envelope(FaultModel::Crash, 3, 100, "").with(|scenario| {
        scenario.faults.left_away_max = 0;
        scenario.chaos_ms = 6000;
    })
}

fn campaign(bug: Bug, scenario: Scenario, seeds: u64) -> Report {
    let plugin = ToyPlugin(bug);
    let plugin: &dyn ConsensusPlugin = &plugin;
    let engines: &dyn Engines = &plugin;
    let campaign = Campaign {
        scenario,
        engines,
        kinds: Some(KINDS),
        inspector: None,
        adversary: None,
        from: 0,
        seeds,
        threads: 2,
    };
    campaign.run().expect("a toy that can be made")
}

#[test]
fn nothing_is_wrong_with_the_toy_inside_its_envelope() {
    let report = campaign(Bug::None, scenario(), 150);
    if let Some(failure) = &report.failure {
        panic!("{failure}");
    }
    println!("{}", report.coverage);
    let wanted = [
        "blocks committed by catch-up",
        "blocks committed by engines",
        "clocks moved",
        "crashes after a step's actions",
        "crashes before a step's actions",
        "crashes between actions",
        "links lost one way",
        "messages cut off",
        "messages doubled",
        "messages late",
        "messages lost",
        "nodes cut off",
        "partitions",
        "power cuts",
        "restarts",
        "runs repeated",
        "signatures refused",
        "signers out of order",
        "stops in order",
        "suspensions",
        "suspensions between actions",
    ];
    assert_eq!(report.coverage.missing(&wanted), Vec::<&str>::new());
}

fn found(bug: Bug, scenario: Scenario, seeds: u64) -> (&'static str, String) {
    let report = campaign(bug, scenario, seeds);
    let failure = report.failure.unwrap_or_else(|| panic!("{bug:?} was not found in {seeds} seeds"));
    println!("{failure}");
    (failure.violation.invariant, failure.to_string())
}

#[test]
fn a_quorum_that_is_too_small_is_found() {
    assert_eq!(found(Bug::OneVote, scenario(), 10).0, "S6 proof");
}

#[test]
fn a_vote_that_is_forgotten_by_a_restart_is_found_and_told() {
    let forgetful = scenario().with(|scenario| scenario.signer = SignerModel::Forgetful);
    let (invariant, told) = found(Bug::NoRecord, forgetful, 300);
    assert!(["S1 agreement", "S2 strong finality", "S7 double signature"].contains(&invariant), "{invariant}");
    assert!(told.contains("DIES") && told.contains("faults are needed"), "{told}");
}

#[test]
fn an_engine_that_depends_on_a_hash_map_is_found() {
    assert_eq!(found(Bug::HashMap, scenario(), 40).0, "F1 determinism");
}

#[test]
fn an_engine_that_panics_is_found() {
    assert_eq!(found(Bug::Panic, scenario(), 5).0, "H2 panic");
}

#[test]
fn an_engine_that_floods_is_found() {
    assert_eq!(found(Bug::Storm, scenario(), 20).0, "L3 bounds");
}

#[test]
fn more_nodes_away_than_a_quorum_can_miss_is_found_as_a_lack_of_progress() {
    let stalled = scenario().with(|scenario| scenario.faults.left_away_max = 2);
    assert_eq!(found(Bug::None, stalled, 50).0, "L2 progress");
}

#[test]
fn a_seed_gives_the_same_run_again() {
    let plugin = ToyPlugin(Bug::None);
    let plugin: &dyn ConsensusPlugin = &plugin;
    let scenario = scenario();
    let run = |seed| {
        let (scenario, engines) = (&scenario, &plugin);
        let setup =
            Setup { scenario, engines, kinds: None, inspector: None, adversary: None, faults: None, told: true };
        sim::run(setup, seed).expect("a toy that can be made")
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).trace_hash, run(8).trace_hash);
    assert!(!run(7).timeline.is_empty());
}
