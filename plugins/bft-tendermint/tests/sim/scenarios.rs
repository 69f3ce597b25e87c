//! The scenarios inside the envelope, and one beyond it.

use quorate_testkit::sim::{FaultModel, Faults, Network, Scenario, Strategy, plan::Kind};

/// What links are measured by, in milliseconds; nothing in the plugin relies on it.
const DELTA_MS: u64 = 200;

/// `[consensus]` for the simulator: short intervals, so that a short run has many heights.
fn settings(more: &str) -> String {
    let base = [
        ("block_interval_ms", "400"),
        ("block_transactions_max", "8"),
        ("block_bytes_max", "65536"),
        ("empty_blocks", "\"always\""),
        ("rebroadcast_ms", "1000"),
    ];
    let mut text = String::new();
    for (name, value) in base.iter().filter(|(name, _)| !more.contains(name)) {
        text.push_str(&format!("{name} = {value}\n"));
    }
    text + more
}

/// What is promised for so many validators.
fn envelope(validators: usize) -> Scenario {
    Scenario::envelope(FaultModel::Byzantine, validators, DELTA_MS, &settings(""))
}

fn idle(policy: &str) -> Scenario {
    envelope(4).named(policy).with(|scenario| {
        scenario.settings = settings(&format!("empty_blocks = {policy}\n"));
        scenario.submit_every_ms = 1500;
    })
}

fn awkward_kernel(scenario: &mut Scenario) {
    scenario.kernel.not_now_permille = 150;
    scenario.kernel.not_now_max_us = 500_000;
    scenario.kernel.build_fails_permille = 150;
}

/// All processes die at once, again and again.
fn power_cuts(scenario: &mut Scenario) {
    scenario.faults.kinds = vec![Kind::PowerCut, Kind::Crash, Kind::Partition];
    scenario.faults.count_min = 3;
}

fn timely(scenario: &mut Scenario) {
    scenario.settings = settings("timeout_propose_ms = 3000\ntimeout_vote_ms = 1500\n");
    scenario.network = Network::within(DELTA_MS);
    scenario.faults = Faults::none();
    scenario.timely = true;
}

/// Honest nodes die one after the other, and most of what they had just sent with them.
fn many_crashes(scenario: &mut Scenario) {
    scenario.faults.kinds = vec![Kind::Crash];
    (scenario.faults.count_min, scenario.faults.count_max) = (10, 30);
    scenario.faults.lasts_max_ms = 800;
    scenario.faults.crash_loses_sent_permille = 800;
}

/// The scenarios in which nothing may go wrong.
pub(crate) fn inside() -> Vec<Scenario> {
    vec![
        envelope(4),
        envelope(7),
        // Three tolerate no fault that lasts, but all of those that pass.
        envelope(3),
        envelope(4).named("only a quorum is left").with(|scenario| {
            scenario.byzantine = 0;
            scenario.faults.left_away_max = 1;
        }),
        envelope(4).named("awkward kernel").with(awkward_kernel),
        envelope(4).named("power cuts").with(power_cuts),
        envelope(4).named("many crashes").with(many_crashes),
        envelope(4).named("twins").with(|scenario| scenario.strategies = vec![Strategy::Twins, Strategy::PuppetTwins]),
        envelope(4).named("timely").with(timely),
        envelope(4).named("validator changes").with(|scenario| scenario.standby = 2),
        idle("\"never\""),
        idle("\"heartbeat\"\nheartbeat_ms = 3000"),
    ]
}

/// One dishonest validator more than is tolerated: something must go wrong.
pub(crate) fn outside() -> Scenario {
    envelope(4).named("with two dishonest validators").with(|scenario| {
        scenario.byzantine = 2;
        scenario.strategies = vec![Strategy::Twins];
    })
}
