//! Attacks that random schedules hardly ever find: the protocol withstands them, and without the rule in question it does not.
#![expect(clippy::panic, reason = "what was found shall be seen")]

mod sim;

use quorate_poa::PlantedBug;
use quorate_testkit::sim::{Adversary, Report};
use sim::{
    attack::{Attack, Plan},
    scenarios::{self, DELTA_MS},
};

/// How long round 0 lasts from a start: the interval, and six Delta.
const ROUND_MS: u64 = 400 + 6 * DELTA_MS;

/// Seeds by which an attack is varied: clocks, and who starts when.
const SEEDS: u64 = 60;

fn attack(plan: Plan, validators: usize, bug: Option<PlantedBug>) -> Report {
    let make = || -> Box<dyn Adversary> { Box::new(Attack::new(plan, DELTA_MS, ROUND_MS)) };
    let scenario = match plan {
        Plan::Split => scenarios::attacked_while_suspended(),
        _ => scenarios::attacked(validators),
    };
    sim::run(&scenario, bug, 0..SEEDS, 2, Some(&make))
}

fn withstood(plan: Plan, validators: usize) {
    if let Some(failure) = attack(plan, validators, None).failure {
        panic!("{plan:?}\n{failure}");
    }
}

fn succeeds(plan: Plan, validators: usize, bug: PlantedBug, invariant: &str) {
    let report = attack(plan, validators, Some(bug));
    let Some(failure) = report.failure else {
        panic!("{bug:?} was not found by {plan:?} in {SEEDS} seeds");
    };
    println!("{bug:?} found by {plan:?}\n{failure}");
    assert_eq!(failure.violation.invariant, invariant);
}

#[test]
fn a_late_commit_and_an_early_quit_do_not_make_two_blocks_final() {
    withstood(Plan::SecondBlock, 5);
}

#[test]
fn without_the_wait_after_entering_a_round_they_do() {
    succeeds(Plan::SecondBlock, 5, PlantedBug::NoEntryWait, "S2 strong finality");
}

#[test]
fn without_the_lock_rule_they_do() {
    succeeds(Plan::SecondBlock, 5, PlantedBug::NoLockRule, "S2 strong finality");
}

#[test]
fn a_certificate_released_before_a_vote_does_not_stop_an_honest_leader() {
    withstood(Plan::ReleaseBeforeVote, 3);
    withstood(Plan::ReleaseToOne, 3);
}

#[test]
fn comparing_with_the_live_lock_lets_it_be_stopped() {
    succeeds(Plan::ReleaseBeforeVote, 3, PlantedBug::LiveLock, "L1 first honest round");
}

#[test]
fn certificates_that_are_not_relayed_let_it_be_stopped() {
    succeeds(Plan::ReleaseToOne, 3, PlantedBug::NoCertificateRelay, "L1 first honest round");
}

#[test]
fn a_process_that_was_held_up_does_not_vote_before_it_knows_what_it_missed() {
    withstood(Plan::Split, 3);
}

#[test]
fn without_the_suspension_rule_it_does() {
    succeeds(Plan::Split, 3, PlantedBug::NoSuspensionRule, "S3 certificate uniqueness");
}
