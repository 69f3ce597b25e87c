//! Every rule of the protocol is there for a reason: without it, the simulator finds what goes wrong.
//!
//! What random schedules do not find in reasonable time stands in `directed.rs`.
#![expect(clippy::panic, reason = "a bug that is not found shall be seen")]

mod sim;

use quorate_poa::PlantedBug;
use quorate_testkit::sim::{FaultModel, Faults, Scenario, SignerModel, Strategy};
use sim::scenarios::{envelope, many_restarts, power_cuts};

/// Runs seeds with a bug until one fails, and shows it.
fn found(bug: PlantedBug, scenario: &Scenario, seeds: u64, invariants: &[&str]) {
    let report = sim::run(scenario, Some(bug), 0..seeds, 2, None);
    let Some(failure) = report.failure else {
        panic!("{bug:?} was not found in {} schedules of {}", report.runs, scenario.name);
    };
    println!("{bug:?} found after {} schedules\n{failure}", report.runs);
    let invariant = failure.violation.invariant;
    assert!(invariants.contains(&invariant), "{bug:?} broke {invariant}; expected one of {invariants:?}");
}

const SAFETY: [&str; 3] = ["S1 agreement", "S2 strong finality", "S3 certificate uniqueness"];

/// As [`found`], the dishonest validators being one schemer.
fn schemed(bug: PlantedBug, scenario: &Scenario, seeds: u64, invariants: &[&str]) {
    let report = sim::scheming(scenario, Some(bug), 0..seeds, 2);
    let Some(failure) = report.failure else {
        panic!("{bug:?} was not found in {} schedules of {}", report.runs, scenario.name);
    };
    println!("{bug:?} found after {} schedules\n{failure}", report.runs);
    let invariant = failure.violation.invariant;
    assert!(invariants.contains(&invariant), "{bug:?} broke {invariant}; expected one of {invariants:?}");
}

fn twins(n: usize) -> Scenario {
    envelope(FaultModel::ByzantineSync, n).with(|scenario| {
        scenario.strategies = vec![Strategy::Twins];
        scenario.faults = Faults::none();
        scenario.chaos_ms = 5000;
    })
}

#[test]
fn a_quorum_that_is_one_too_small() {
    for (model, n) in [(FaultModel::Crash, 3), (FaultModel::ByzantineSync, 3), (FaultModel::Byzantine, 4)] {
        found(PlantedBug::SmallQuorum, &envelope(model, n), 20, &["S6 proof"]);
    }
}

#[test]
fn voting_at_once() {
    found(PlantedBug::VoteAtOnce, &twins(3), 100, &SAFETY);
}

#[test]
fn not_relaying_proposals() {
    found(PlantedBug::NoProposalRelay, &twins(3), 100, &SAFETY);
}

#[test]
fn a_leader_that_does_not_wait() {
    let timely = envelope(FaultModel::ByzantineSync, 3).with(|scenario| {
        scenario.faults = Faults::none();
        scenario.timely = true;
    });
    found(PlantedBug::LeaderDoesNotWait, &timely, 1000, &["L1 first honest round"]);
}

#[test]
fn forgetting_the_lock() {
    found(
        PlantedBug::LockForgotten,
        &envelope(FaultModel::Crash, 3),
        1000,
        &["L2 progress", "S1 agreement", "S2 strong finality"],
    );
}

/// The kernel's guard refuses what these ask for, so they show only without it.
#[test]
fn forgetting_what_was_signed() {
    let unguarded = |model, n| envelope(model, n).with(|scenario| scenario.signer = SignerModel::Unguarded);
    let crash = unguarded(FaultModel::Crash, 3);
    found(PlantedBug::GuardForgotten, &crash, 100, &["S7 double signature", "S8 commit after timeout"]);
    // No restarts here: the engine's own memory is all the guard there is, and without a bug it suffices.
    let steady = unguarded(FaultModel::ByzantineSync, 3);
    found(PlantedBug::CommitAfterTimeout, &steady, 100, &["S8 commit after timeout"]);
    let report = sim::run(&steady, None, 0..100, 2, None);
    assert!(report.failure.is_none(), "{}", report.failure.map(|failure| failure.to_string()).unwrap_or_default());
}

/// A signer which forgets by a restart what it signed.
#[test]
fn a_guard_that_is_lost_with_the_process() {
    let forgetful = envelope(FaultModel::Crash, 3).with(|scenario| scenario.signer = SignerModel::Forgetful);
    let report = sim::run(&forgetful, None, 0..200, 2, None);
    let Some(failure) = report.failure else { panic!("not found in {} schedules", report.runs) };
    println!("{failure}");
    assert!(["S7 double signature", "S8 commit after timeout"].contains(&failure.violation.invariant));
}

#[test]
fn ignoring_the_highest_certificate_of_a_timeout_certificate() {
    schemed(PlantedBug::TimeoutMaximumIgnored, &envelope(FaultModel::Byzantine, 4), 300, &SAFETY);
}

#[test]
fn voting_at_once_after_a_restart() {
    let restarts = envelope(FaultModel::ByzantineSync, 5).named("many restarts").with(many_restarts);
    schemed(PlantedBug::VoteAfterRestart, &restarts, 1000, &SAFETY);
}

#[test]
fn a_timeout_that_is_never_signed_again() {
    let wanted = ["L2 progress"];
    found(PlantedBug::RigidTimeout, &envelope(FaultModel::Crash, 4), 500, &wanted);
}

#[test]
fn sending_before_the_record_is_durable() {
    let cuts = envelope(FaultModel::Crash, 3).named("power cuts").with(power_cuts);
    found(PlantedBug::SendBeforePersist, &cuts, 500, &["L2 progress", "S1 agreement", "S2 strong finality"]);
}
