//! poa in the simulator: its scenarios, its own checks, and its messages in words.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod attack;
pub(crate) mod describe;
pub(crate) mod scenarios;
pub(crate) mod schemer;

use std::collections::BTreeMap;

use quorate::{
    Consensus, Height, Round,
    consensus::Context,
    plugin::{ConsensusPlugin, SetupError},
};
use quorate_poa::{KIND_COMMIT, KIND_PREPARE, KIND_PROPOSAL, KIND_TIMEOUT, PlantedBug, PoaPlugin, build_with_bug};
use quorate_testkit::sim::{
    Adversary, Breach, Campaign, Engines, FaultModel, Inspector, Kinds, Made, Report, Scenario,
};

use schemer::Schemer;

/// Which signatures of poa mean what.
pub(crate) const KINDS: Kinds =
    Kinds { proposal: KIND_PROPOSAL, prepare: KIND_PREPARE, commit: KIND_COMMIT, timeout: KIND_TIMEOUT };

/// Runs seeds of a scenario, with a bug or without.
pub(crate) fn run(
    scenario: &Scenario,
    bug: Option<PlantedBug>,
    seeds: std::ops::Range<u64>,
    threads: usize,
    adversary: Option<&(dyn Fn() -> Box<dyn Adversary> + Sync)>,
) -> Report {
    let plugin: &dyn ConsensusPlugin = &PoaPlugin;
    let make = |context: &Context| -> Result<Box<dyn Consensus>, SetupError> {
        match bug {
            Some(bug) => build_with_bug(context, bug),
            None => plugin.build(context),
        }
    };
    let made = Made { make, plugin };
    let engines: &dyn Engines = &made;
    let inspector = || -> Box<dyn Inspector> { Box::new(PoaInspector::default()) };
    let campaign = Campaign {
        scenarios: vec![scenario.clone()],
        engines,
        kinds: Some(KINDS),
        inspector: Some(&inspector),
        adversary,
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

/// As [`run`], the dishonest validators being one schemer.
pub(crate) fn scheming(
    scenario: &Scenario,
    bug: Option<PlantedBug>,
    seeds: std::ops::Range<u64>,
    threads: usize,
) -> Report {
    let model = match scenario.fault_model {
        FaultModel::Crash => quorate_poa::FaultModel::Crash,
        FaultModel::ByzantineSync => quorate_poa::FaultModel::ByzantineSync,
        FaultModel::Byzantine => quorate_poa::FaultModel::Byzantine,
    };
    let make = || -> Box<dyn Adversary> { Box::new(Schemer::new(model, scenario.validators)) };
    run(scenario, bug, seeds, threads, Some(&make))
}

/// What only poa's records and messages show.
#[derive(Default)]
pub(crate) struct PoaInspector {
    /// Height and round of the highest certificate in a node's durable record.
    locks: BTreeMap<usize, (Height, Option<Round>)>,
}

impl PoaInspector {
    /// S10: the lock never falls, also over a restart.
    fn lock(&mut self, node: usize, record: &[u8]) -> Result<(), Breach> {
        let Some((height, lock)) = describe::lock_of(record) else {
            return Err(Breach::new("S10 lock", format!("node {node}'s record does not decode")));
        };
        let before = self.locks.insert(node, (height, lock));
        match before {
            Some((of, before)) if of == height && lock < before => {
                let detail = format!("node {node}'s lock at height {height} fell from {before:?} to {lock:?}");
                Err(Breach::new("S10 lock", detail))
            }
            _ => Ok(()),
        }
    }
}

impl Inspector for PoaInspector {
    fn persisted(&mut self, node: usize, record: &[u8]) -> Result<(), Breach> {
        self.lock(node, record)
    }

    fn started(&mut self, node: usize, saved: Option<&[u8]>) -> Result<(), Breach> {
        // A record on which nothing depended may be lost with the process.
        match saved.and_then(describe::lock_of) {
            Some(lock) => drop(self.locks.insert(node, lock)),
            None => drop(self.locks.remove(&node)),
        }
        Ok(())
    }

    fn describe(&self, bytes: &[u8]) -> Option<String> {
        PoaPlugin.describe_message(bytes)
    }
}
