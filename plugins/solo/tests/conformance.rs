//! What every consensus promises, asked of the one that seals alone and of the follower.

use quorate::plugin::ConsensusPlugin as _;
use quorate_solo::{FollowerPlugin, SoloPlugin};
use quorate_testkit::{conformance, sim::FaultModel};

#[test]
fn one_that_seals_alone_keeps_the_contract_of_a_consensus() {
    let shared = SoloPlugin.descriptor().example.replace("\"never\"", "\"always\"").replace("_ms = 0", "_ms = 400");
    conformance::consensus(&SoloPlugin, &shared).network(FaultModel::Crash, 1).check();
}

#[test]
fn a_follower_keeps_the_contract_of_a_consensus() {
    conformance::consensus(&FollowerPlugin, "").check();
}
