//! The simulator finds what is wrong with a toy consensus, and nothing where nothing is.
#![expect(clippy::expect_used, clippy::panic, reason = "the set-up of a test may fail loudly")]

mod toy;

use quorate::plugin::ConsensusPlugin;
use quorate_testkit::sim::{
    self, Campaign, Engines, FaultModel, Kinds, Options, Report, Scenario, Schedule, Setup, SignerModel, plan_of,
};
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
    with_campaign(bug, scenario, seeds, 2, |campaign| campaign.run().expect("a toy that can be made"))
}

fn with_campaign<T>(
    bug: Bug,
    scenario: Scenario,
    seeds: u64,
    threads: usize,
    act: impl FnOnce(&Campaign<'_>) -> T,
) -> T {
    let plugin = ToyPlugin(bug);
    let plugin: &dyn ConsensusPlugin = &plugin;
    let engines: &dyn Engines = &plugin;
    act(&Campaign {
        scenarios: vec![scenario],
        engines,
        kinds: Some(KINDS),
        inspector: None,
        adversary: None,
        from: 0,
        seeds,
        threads,
        progress: None,
    })
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

fn forgetful() -> Scenario {
    scenario().with(|scenario| scenario.signer = SignerModel::Forgetful)
}

/// Whichever thread is sooner: the same seeds are counted, and the same violation is found and shrunk to the same.
#[test]
fn the_number_of_threads_makes_no_difference() {
    for (bug, scenario, seeds) in [(Bug::None, scenario(), 16), (Bug::NoRecord, forgetful(), 300)] {
        let on =
            |threads| with_campaign(bug, scenario.clone(), seeds, threads, |campaign| campaign.run().expect("a toy"));
        let (one, four) = (on(1), on(4));
        assert_eq!(one.runs, four.runs);
        assert_eq!(one.trace_hash, four.trace_hash);
        assert_eq!(one.coverage, four.coverage);
        assert_eq!(one.failure.map(|failure| failure.to_string()), four.failure.map(|failure| failure.to_string()));
    }
}

#[test]
fn a_shrunk_schedule_is_small_and_runs_again_from_its_file() {
    with_campaign(Bug::NoRecord, forgetful(), 300, 2, |campaign| {
        let failure = campaign.run().expect("a toy").failure.expect("a violation");
        assert!(failure.faults.len() <= 3 && failure.faults.len() < failure.faults_drawn, "{failure}");
        assert!(failure.left_out.contains(&"wall clocks agree"), "{failure}");
        let schedule = Schedule {
            format: Schedule::FORMAT,
            consensus: "toy".into(),
            library: None,
            seed: failure.seed,
            scenario: failure.scenario.clone(),
            faults: failure.faults.clone(),
        };
        let file = serde_json::to_string(&schedule).expect("a schedule as JSON");
        let read: Schedule = serde_json::from_str(&file).expect("its own JSON");
        assert_eq!(read.check(), Ok(()));
        let run = campaign.replay(&read).expect("a toy");
        assert_eq!(run.violation.as_ref(), Some(&failure.violation));
        assert_eq!((run.timeline, run.marks), (failure.timeline, failure.marks));
        let beyond = file.replace("\"node\":", "\"node\":9");
        let read: Schedule = serde_json::from_str(&beyond).expect("JSON of another network");
        assert!(read.check().is_err_and(|why| why.contains("a fault of another")), "{beyond}");
    });
}

/// The fault that does the harm comes at the same point of the same schedule whether or not others come before it.
#[test]
fn a_fault_that_makes_no_difference_can_be_left_out() {
    with_campaign(Bug::None, scenario(), 1, 1, |campaign| {
        let mut calm = scenario();
        calm.faults = sim::Faults::none();
        let with = |faults| {
            let setup = Setup {
                scenario: &calm,
                engines: campaign.engines,
                kinds: None,
                inspector: None,
                adversary: None,
                faults: Some(faults),
                told: true,
            };
            sim::run(setup, 3).expect("a toy that can be made")
        };
        let late = sim::plan::Fault { at_us: 3_000_000, until_us: 3_500_000, what: sim::plan::What::Stop { node: 1 } };
        let (without, stopped) = (with(Vec::new()), with(vec![late]));
        let before = |run: &sim::Run| run.timeline.iter().take_while(|line| !line.contains("FAULT")).count();
        let shared = before(&stopped);
        assert!(shared > 50, "{shared} lines");
        assert_eq!(without.timeline.get(..shared), stopped.timeline.get(..shared));
        let sent_later = |run: &sim::Run| {
            let of_node_0 = |line: &&String| line.contains("node0 signs") && line.as_str() > "   3600";
            run.timeline.iter().filter(of_node_0).count()
        };
        assert!(sent_later(&stopped) > 0);
    });
}

#[test]
fn a_plugin_that_promises_nothing_must_be_told_what_it_is_held_to() {
    let plugin = ToyPlugin(Bug::None);
    let silent = plan_of(&plugin, &Options::default());
    assert!(silent.is_err_and(|why| why.contains("does not say in numbers")));
    let held = Options { fault_model: Some(FaultModel::Crash), ..Options::default() };
    let plan = plan_of(&plugin, &held).expect("a plan");
    assert_eq!((plan.validators, plan.promise.gone, plan.promise.dishonest), (3, 1, 0));
    assert!(plan.scenarios.iter().all(|scenario| scenario.byzantine == 0));
    let unknown = Options { scenarios: vec!["storms".into()], ..held };
    assert!(plan_of(&plugin, &unknown).is_err_and(|why| why.contains("power-cuts")), "the known ones are named");
}
