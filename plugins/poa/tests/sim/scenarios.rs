//! The scenarios inside the envelope, and a few beyond it.

use quorate_testkit::sim::{
    FaultModel, Faults, Network, Scenario, Strategy,
    plan::{Fault, Kind, What},
};

/// Delta in milliseconds.
pub(crate) const DELTA_MS: u64 = 200;

/// `[consensus]` for the simulator: short intervals, so that a short run has many heights.
pub(crate) fn settings(model: FaultModel, more: &str) -> String {
    let base = [
        ("fault_model", format!("\"{model}\"")),
        ("block_interval_ms", "400".into()),
        ("block_transactions_max", "8".into()),
        ("block_bytes_max", "65536".into()),
        ("delta_ms", DELTA_MS.to_string()),
        ("empty_blocks", "\"always\"".into()),
        ("rebroadcast_ms", "1000".into()),
    ];
    let mut text = String::new();
    for (name, value) in base.iter().filter(|(name, _)| !more.contains(name)) {
        text.push_str(&format!("{name} = {value}\n"));
    }
    text + more
}

/// What is promised for `model`, in short intervals.
pub(crate) fn envelope(model: FaultModel, validators: usize) -> Scenario {
    Scenario::envelope(model, validators, DELTA_MS, &settings(model, ""))
}

fn idle(scenario: Scenario, policy: &str) -> Scenario {
    let model = scenario.fault_model;
    scenario.named(policy).with(|scenario| {
        scenario.settings = settings(model, &format!("empty_blocks = {policy}\n"));
        scenario.submit_every_ms = 1500;
    })
}

fn awkward_kernel(scenario: &mut Scenario) {
    scenario.kernel.not_now_permille = 150;
    scenario.kernel.not_now_max_us = 500_000;
    scenario.kernel.build_fails_permille = 150;
}

/// All processes die at once, again and again.
pub(crate) fn power_cuts(scenario: &mut Scenario) {
    scenario.faults.kinds = vec![Kind::PowerCut, Kind::Crash, Kind::Partition];
    scenario.faults.count_min = 3;
}

/// Everything that is promised for `crash`.
fn crash() -> Vec<Scenario> {
    let model = FaultModel::Crash;
    let base = |n| envelope(model, n);
    vec![
        base(3),
        base(4),
        base(5),
        base(3).named("awkward kernel").with(awkward_kernel),
        base(3).named("power cuts").with(power_cuts),
        base(3).named("validator changes").with(|scenario| scenario.standby = 2),
        idle(base(3), "\"never\""),
        idle(base(3), "\"heartbeat\"\nheartbeat_ms = 3000"),
    ]
}

fn timely(scenario: &mut Scenario) {
    scenario.faults = Faults::none();
    scenario.timely = true;
}

/// Processes are held up all the time, mostly shortly.
pub(crate) fn many_suspensions(scenario: &mut Scenario) {
    scenario.faults.count_min = 6;
    scenario.faults.count_max = 20;
    scenario.faults.lasts_max_ms = 2000;
}

/// Honest nodes restart one at a time, though as many as can be are dishonest: what was sent to them meanwhile must be made good.
pub(crate) fn many_restarts(scenario: &mut Scenario) {
    scenario.faults = Faults {
        count_min: 8,
        count_max: 24,
        kinds: vec![Kind::Crash, Kind::Stop],
        away_max: 1,
        apart_ms: 6 * DELTA_MS,
        lasts_max_ms: 600,
        crash_loses_sent_permille: 0,
        left_away_max: 0,
        fixed: Vec::new(),
    };
}

/// Everything that is promised for `byzantine-sync`.
fn byzantine_sync() -> Vec<Scenario> {
    let model = FaultModel::ByzantineSync;
    let base = |n| envelope(model, n);
    let one_at_a_time = |scenario: &mut Scenario| {
        scenario.faults = Faults {
            count_min: 1,
            count_max: 6,
            kinds: vec![Kind::Crash, Kind::Stop, Kind::Suspend],
            away_max: 1,
            apart_ms: 10 * DELTA_MS,
            lasts_max_ms: 3000,
            crash_loses_sent_permille: 0,
            left_away_max: 0,
            fixed: Vec::new(),
        };
    };
    vec![
        base(3),
        base(4),
        base(5),
        base(3).named("restarts besides").with(one_at_a_time),
        base(5).named("restarts besides").with(one_at_a_time),
        base(3).named("timely").with(timely),
        base(5).named("timely").with(timely),
        // Nothing is lost against `crash` when the network misbehaves.
        base(3).named("asynchrony, crashes only").with(|scenario| {
            scenario.byzantine = 0;
            scenario.network = Network::wild(DELTA_MS);
            scenario.faults = Faults::anything(3, 1);
        }),
        base(3).named("validator changes").with(|scenario| scenario.standby = 2),
        base(3).named("schemer"),
        base(5).named("schemer"),
        base(3).named("schemer timely").with(timely),
        base(5).named("schemer timely").with(timely),
        base(3).named("schemer and many suspensions").with(many_suspensions),
        base(3).named("schemer and many restarts").with(many_restarts),
        base(5).named("schemer and many restarts").with(many_restarts),
        idle(base(3), "\"never\""),
        idle(base(3), "\"heartbeat\"\nheartbeat_ms = 3000"),
    ]
}

/// Everything that is promised for `byzantine`.
fn byzantine() -> Vec<Scenario> {
    let model = FaultModel::Byzantine;
    let base = |n| envelope(model, n);
    vec![
        base(4),
        base(7),
        base(4).named("only a quorum is left").with(|scenario| {
            scenario.byzantine = 0;
            scenario.faults.left_away_max = 1;
        }),
        base(4).named("awkward kernel").with(awkward_kernel),
        base(4).named("timely").with(|scenario| {
            scenario.settings = settings(model, "timeout_ms = 3000\n");
            scenario.network = Network::within(DELTA_MS);
            scenario.faults = Faults::none();
            scenario.timely = true;
        }),
        base(4).named("validator changes").with(|scenario| scenario.standby = 2),
        base(4).named("schemer"),
        base(7).named("schemer"),
        idle(base(4), "\"never\""),
        idle(base(4), "\"heartbeat\"\nheartbeat_ms = 3000"),
    ]
}

/// The scenarios in which nothing may go wrong.
pub(crate) fn inside(model: FaultModel) -> Vec<Scenario> {
    match model {
        FaultModel::Crash => crash(),
        FaultModel::ByzantineSync => byzantine_sync(),
        FaultModel::Byzantine => byzantine(),
    }
}

/// One fault more than is tolerated, or an assumption that does not hold: something must go wrong.
pub(crate) fn outside() -> Vec<Scenario> {
    vec![
        envelope(FaultModel::Crash, 3).named("with a dishonest validator").with(|scenario| {
            scenario.byzantine = 1;
            scenario.strategies = vec![Strategy::Twins];
        }),
        envelope(FaultModel::ByzantineSync, 3).named("with late messages").with(|scenario| {
            scenario.network = Network::wild(DELTA_MS);
            scenario.strategies = vec![Strategy::Twins];
        }),
        envelope(FaultModel::Byzantine, 4).named("with two dishonest validators").with(|scenario| {
            scenario.byzantine = 2;
            scenario.strategies = vec![Strategy::Twins];
        }),
    ]
}

/// A quiet network in which dishonest nodes 1, or 1 and 2, attack height 1.
pub(crate) fn attacked(validators: usize) -> Scenario {
    envelope(FaultModel::ByzantineSync, validators).named("attacked").with(|scenario| {
        // Repair must not do in time what relaying should have done.
        scenario.settings = settings(FaultModel::ByzantineSync, "rebroadcast_ms = 5000\n");
        scenario.byzantine_are = Some(vec![1, 2]);
        scenario.faults = Faults::none();
        scenario.timely = true;
        scenario.chaos_ms = 4000;
    })
}

/// The same with three validators, of which node 2 is not scheduled when the block that node 0 relays to it comes.
pub(crate) fn attacked_while_suspended() -> Scenario {
    attacked(3).with(|scenario| {
        let at_us = 1000 * (super::attack::SPLIT_MS + DELTA_MS * 11 / 20);
        let what = What::Suspend { node: 2, after: None };
        scenario.faults.fixed = vec![Fault { at_us, until_us: at_us + 1000 * 3 * DELTA_MS, what }];
        scenario.timely = false;
    })
}
