//! The example keeps the contract of a consensus, and stays short.

use quorate_testkit::{conformance, sim::FaultModel};
use quorate_unanimous::Unanimous;

/// Lines of the whole consensus at most.
const LINES_MAX: usize = 119;

#[test]
fn it_keeps_the_contract_of_a_consensus() {
    conformance::consensus(&Unanimous, "").network(FaultModel::Crash, 3).schedules(100).check();
}

#[test]
fn a_whole_consensus_is_under_120_lines() {
    let lines = include_str!("../unanimous.rs").lines().count();
    assert!(lines <= LINES_MAX, "{lines} lines");
}
