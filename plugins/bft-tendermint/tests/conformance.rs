//! What every consensus promises, asked of this one.

use quorate_bft_tendermint::TendermintPlugin;
use quorate_testkit::{conformance, sim::FaultModel};

#[test]
fn it_keeps_the_contract_of_a_consensus() {
    let shared = "block_interval_ms = 400\nblock_transactions_max = 8\nblock_bytes_max = 65536\n\
        empty_blocks = \"always\"\nrebroadcast_ms = 1000\n";
    conformance::consensus(&TendermintPlugin, shared).network(FaultModel::Byzantine, 4).check();
}
