//! What every consensus promises, asked of this one.

use quorate_poa::{KIND_COMMIT, KIND_PREPARE, KIND_PROPOSAL, KIND_TIMEOUT, PoaPlugin};
use quorate_testkit::{
    conformance,
    sim::{FaultModel, Kinds},
};

const KINDS: Kinds =
    Kinds { proposal: KIND_PROPOSAL, prepare: KIND_PREPARE, commit: KIND_COMMIT, timeout: KIND_TIMEOUT };

fn keeps_the_contract(fault_model: FaultModel, validators: usize) {
    let shared = format!(
        "fault_model = \"{fault_model}\"\ndelta_ms = 200\nblock_interval_ms = 400\nblock_transactions_max = 8
block_bytes_max = 65536\nempty_blocks = \"always\"\nrebroadcast_ms = 1000\n"
    );
    conformance::consensus(&PoaPlugin, &shared).network(fault_model, validators).kinds(KINDS).check();
}

#[test]
fn with_crash_faults_it_keeps_the_contract_of_a_consensus() {
    keeps_the_contract(FaultModel::Crash, 3);
}

#[test]
fn with_byzantine_faults_and_synchrony_it_keeps_the_contract_of_a_consensus() {
    keeps_the_contract(FaultModel::ByzantineSync, 3);
}

#[test]
fn with_byzantine_faults_it_keeps_the_contract_of_a_consensus() {
    keeps_the_contract(FaultModel::Byzantine, 4);
}
