//! The contract of the Consensus slot, asked of this plugin.

use my_plugin::MyPlugin;
use quorate::plugin::ConsensusPlugin as _;
use quorate_testkit::{conformance, sim::FaultModel};

#[test]
fn it_keeps_the_contract_of_a_consensus() {
    conformance::consensus(&MyPlugin, MyPlugin.descriptor().example).network(FaultModel::Crash, 3).check();
}
