//! The text of a network's `genesis.toml`, every key commented.

use quorate::Hash;

use crate::network::{Choice, ConsensusChoice, FromLibrary, Plan, plan::is_key};

/// Between blocks, unless something else is asked for, in milliseconds.
const BLOCK_INTERVAL_MS: u64 = 5000;

/// Renders genesis.
pub fn genesis(plan: &Plan) -> String {
    let Plan { chain_name, genesis_time, chosen, .. } = plan;
    let consensus_settings = match &chosen.consensus {
        ConsensusChoice::Poa => poa(plan),
        ConsensusChoice::BftTendermint => bft_tendermint(plan),
        ConsensusChoice::Library(from) => of_library(from, plan.block_interval_ms),
    };
    let mut text = format!(
        r#"# Genesis: what all nodes of this network agree on before the first block. The chain id is the hash of these values
# (comments and the order of keys do not count), and every signature covers it: a node with other values is of another
# network. Change nothing here once a node has started.

# The network's name, for people: 1 to 64 bytes.
chain_name = {name}
# When the network began, in UTC. Every block is later.
genesis_time = {genesis_time}

# How blocks are decided.
[consensus]
{consensus_settings}
# What the chain is for.
[application]
{application_settings}
# The validators in turn order; block h is made by number h modulo their count, counted from 0. Each has a name, for people,
# and its node's public key (`quorate key show`).
"#,
        name = quoted(chain_name),
        application_settings = application_settings(&chosen.application, &plan.election_admins),
    );
    for member in &plan.validators {
        let (name, public_key) = (quoted(&member.name), member.public_key);
        text.push_str(&format!("[[validator]]\nname = {name}\npublic_key = \"{public_key}\"\n\n"));
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn poa(plan: &Plan) -> String {
    let delta_ms = plan.delta_ms;
    let block_interval_ms = plan.block_interval_ms.unwrap_or(BLOCK_INTERVAL_MS);
    format!(
        r#"# Validators take turns, and a quorum of signatures makes a block final.
plugin = "poa"
# What the network withstands:
#   "crash"           some may stop and return (1 of 3), on any network; a dishonest validator is noticed, not withstood;
#   "byzantine-sync"  some may be dishonest (1 of 3), as long as messages between honest ones arrive within delta_ms;
#   "byzantine"       fewer than a third may be dishonest (0 of 3, 1 of 4), on any network.
fault_model = "{fault_model}"
# Time between blocks, in milliseconds. 0 makes a block as soon as there is work.
block_interval_ms = {block_interval_ms}
# Transactions in a block at most.
block_transactions_max = 32
# Bytes of a block at most.
block_bytes_max = 1048576
# Bound on everything between an honest validator's sending and another's having judged it: network, disk, execution; in
# milliseconds. "byzantine-sync" relies on it; 400 suits one region, 1000 several.
delta_ms = {delta_ms}
# Blocks without transactions: "always" at every interval, "never", or "heartbeat" every heartbeat_ms.
empty_blocks = "heartbeat"
# Time between blocks while there is nothing to decide, in milliseconds.
heartbeat_ms = 60000
# How long one attempt to decide a block may grow to, in milliseconds, when attempts fail; at least 15 delta_ms.
timeout_ms_max = {timeout_ms_max}
# How far a block's time may be ahead of a validator's clock, in milliseconds.
drift_ms = 2000
"#,
        fault_model = plan.fault_model.as_str(),
        timeout_ms_max = delta_ms.saturating_mul(20).max(30_000),
    )
}

fn bft_tendermint(plan: &Plan) -> String {
    let block_interval_ms = plan.block_interval_ms.unwrap_or(BLOCK_INTERVAL_MS);
    format!(
        r#"# Tendermint: more than two thirds of the validators make a block final, on any network. Fewer than a third may be stopped
# or dishonest: 1 of 4, 2 of 7; none of 3.
plugin = "bft-tendermint"
# Time between blocks, in milliseconds. 0 makes a block as soon as there is work.
block_interval_ms = {block_interval_ms}
# Transactions in a block at most.
block_transactions_max = 32
# Bytes of a block at most.
block_bytes_max = 1048576
# Blocks without transactions: "always" at every interval, "never", or "heartbeat" every heartbeat_ms.
empty_blocks = "heartbeat"
# Time between blocks while there is nothing to decide, in milliseconds.
heartbeat_ms = 60000
# How long a proposal, and then missing votes, are waited for at first, in milliseconds. Nothing but speed depends on it.
timeout_propose_ms = 1000
timeout_vote_ms = 500
# How long these waits may grow to, in milliseconds, when attempts fail.
timeout_ms_max = 30000
# How far a block's time may be ahead of a validator's clock, in milliseconds.
drift_ms = 2000
"#
    )
}

/// The settings of a plugin of a library: its example.
fn of_library(from: &FromLibrary, block_interval_ms: Option<u64>) -> String {
    let mut text = format!("# Of a library, which each node's file names.\nplugin = {}\n", quoted(&from.plugin));
    for line in from.example.trim_end().lines() {
        match block_interval_ms.filter(|_| is_key(line, "block_interval_ms")) {
            Some(wanted) => text.push_str(&format!("block_interval_ms = {wanted}\n")),
            None => text.push_str(&format!("{line}\n")),
        }
    }
    text
}

fn application_settings(chosen: &Choice, election_admins: &[Hash]) -> String {
    if let Some(from) = &chosen.from {
        return of_library(from, None);
    }
    match chosen.plugin.as_str() {
        "kv" => "\
# Signed key-value writes.
plugin = \"kv\"
# Bytes of a value at most.
value_bytes_max = 1024
"
        .to_owned(),
        "voting" => {
            let admins: Vec<String> = election_admins.iter().map(|key| format!("\"{key}\"")).collect();
            format!(
                "\
# Verifiable elections.
plugin = \"voting\"
# Who may draft elections: 1 to 16 public keys (`quorate election key`).
admins = [{}]
",
                admins.join(", ")
            )
        }
        other => format!("plugin = {}\n", quoted(other)),
    }
}

/// A TOML basic string.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
