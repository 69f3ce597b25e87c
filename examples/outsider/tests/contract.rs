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

#[test]
fn the_guide_shows_the_code_that_is_here() {
    let (guide, mut shown) = (include_str!("../../../docs/plugin-guide.md"), 0);
    let (mut code, all) = (false, [include_str!("../unanimous.rs"), include_str!("contract.rs")].concat());
    for line in guide.lines() {
        match line {
            "```rust" => code = true,
            "```" => code = false,
            line if code => {
                assert!(all.lines().any(|known| known == line), "the guide shows what is not here: {line}");
                shown += 1;
            }
            _ => {}
        }
    }
    assert!(shown > 8, "{shown} lines");
}
