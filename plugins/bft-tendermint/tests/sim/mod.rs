//! Tendermint in the simulator: its scenarios and its own checks.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod describe;
pub(crate) mod scenarios;

use std::collections::BTreeMap;

use quorate::{Height, Round, plugin::ConsensusPlugin};
use quorate_bft_tendermint::{KIND_PRECOMMIT, KIND_PRECOMMIT_NIL, KIND_PREVOTE, KIND_PROPOSAL, TendermintPlugin};
use quorate_testkit::sim::{Breach, Campaign, Inspector, Kinds, Report, Scenario};

/// Which signatures mean what. Who precommits nil gives up the round.
pub(crate) const KINDS: Kinds =
    Kinds { proposal: KIND_PROPOSAL, prepare: KIND_PREVOTE, commit: KIND_PRECOMMIT, timeout: KIND_PRECOMMIT_NIL };

/// Runs seeds of a scenario.
pub(crate) fn run(scenario: &Scenario, seeds: std::ops::Range<u64>, threads: usize) -> Report {
    let plugin: &dyn ConsensusPlugin = &TendermintPlugin;
    let inspector = || -> Box<dyn Inspector> { Box::new(LockInspector::default()) };
    let campaign = Campaign {
        scenarios: vec![scenario.clone()],
        engines: &plugin,
        kinds: Some(KINDS),
        inspector: Some(&inspector),
        adversary: None,
        from: seeds.start,
        seeds: seeds.end - seeds.start,
        threads,
        progress: None,
    };
    match campaign.run() {
        Ok(report) => report,
        Err(error) => panic!("{}: {error}", scenario.name),
    }
}

/// What only this plugin's records show.
#[derive(Default)]
pub(crate) struct LockInspector {
    /// Height, and rounds of lock and valid block, in a node's record.
    locks: BTreeMap<usize, (Height, Option<Round>, Option<Round>)>,
}

impl Inspector for LockInspector {
    /// S10: within a height neither falls, also over a restart.
    fn persisted(&mut self, node: usize, record: &[u8]) -> Result<(), Breach> {
        let Some((height, lock, valid)) = describe::locks_of(record) else {
            return Err(Breach::new("S10 lock", format!("node {node}'s record does not decode")));
        };
        match self.locks.insert(node, (height, lock, valid)) {
            Some((of, before, before_valid)) if of == height && (lock < before || valid < before_valid) => {
                let detail = format!("node {node}'s lock at height {height} fell from {before:?} to {lock:?}");
                Err(Breach::new("S10 lock", detail))
            }
            _ => Ok(()),
        }
    }

    fn started(&mut self, node: usize, saved: Option<&[u8]>) -> Result<(), Breach> {
        // A record on which nothing depended may be lost with the process.
        match saved.and_then(describe::locks_of) {
            Some(locks) => drop(self.locks.insert(node, locks)),
            None => drop(self.locks.remove(&node)),
        }
        Ok(())
    }

    fn describe(&self, bytes: &[u8]) -> Option<String> {
        TendermintPlugin.describe_message(bytes)
    }
}
