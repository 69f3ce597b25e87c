//! Loaded consensus in the simulator: in C it keeps every invariant, and poa takes the same steps as when it is linked in.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests may panic")]
#![expect(dead_code, reason = "not every test file uses all of the support")]

mod support;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use quorate::{
    Consensus, FinalityProof, Hash, Instant,
    consensus::{Action, Context, EngineStatus, Event},
    plugin::{ConsensusPlugin, Promise, SetupError},
};
use quorate_abi::wire::{self, ActionHead, EventHead};
use quorate_testkit::sim::{self, Engines, FaultModel, Run, Scenario, Setup};
use support::{built, compile, consensus, load, source, under_valgrind};

fn run(scenario: &Scenario, engines: &dyn Engines, seed: u64) -> Run {
    let setup = Setup { scenario, engines, kinds: None, inspector: None, adversary: None, faults: None, told: false };
    sim::run(setup, seed).unwrap_or_else(|error| panic!("{error}"))
}

/// Seeds of each run, unless the environment says otherwise.
fn seeds(otherwise: u64) -> u64 {
    std::env::var("QUORATE_SIM_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn the_template_in_c_agrees_through_loss_and_crashes() {
    let directory = tempfile::tempdir().unwrap();
    let library = directory.path().join("librotate.so");
    compile(&source("template/rotate.c"), &library, &[]);
    let plugin = consensus(&load(&library), "rotate");
    let scenario = Scenario::envelope(FaultModel::Crash, 3, 200, "").with(|scenario| {
        scenario.faults.left_away_max = 0;
        scenario.byzantine = 0;
    });
    let (mut height, mut restarts) = (0, 0);
    for seed in 0..seeds(40) {
        let run = run(&scenario, &plugin.as_ref(), seed);
        assert_eq!(run.violation, None, "seed {seed}");
        height += run.height;
        restarts += run.coverage.count("restarts");
    }
    assert!(height > 100 && restarts > 10 || seeds(40) < 40, "{height} blocks, {restarts} restarts");
}

#[test]
fn the_template_in_c_is_tortured_by_its_own_word() {
    let directory = tempfile::tempdir().unwrap();
    let library = directory.path().join("librotate.so");
    compile(&source("template/rotate.c"), &library, &[]);
    let plugin = consensus(&load(&library), "rotate");
    let plan = sim::plan_of(plugin.as_ref(), &sim::Options::default()).unwrap();
    assert_eq!(plan.promise, Promise::default());
    let extent = sim::Extent { from: 0, seeds: seeds(12), threads: 1, progress: None };
    let (report, told) = sim::torture(&plugin, &plan, extent, |campaign| {
        let report = campaign.run().unwrap_or_else(|error| panic!("{error}"));
        (report, campaign.run_seed(0, true).unwrap_or_else(|error| panic!("{error}")))
    });
    assert!(report.failure.is_none(), "{}", report.failure.unwrap());
    // Its own words are those of the story.
    for words in ["Block 1", "I am at 1"] {
        assert!(told.timeline.iter().any(|line| line.contains(words)), "{words}: {}", told.timeline.join("\n"));
    }
}

#[test]
fn the_template_in_c_is_clean_under_valgrind() {
    under_valgrind(
        &["the_template_in_c_agrees_through_loss_and_crashes", "the_template_in_c_is_tortured_by_its_own_word"],
        &[("QUORATE_SIM_SEEDS", "3")],
    );
}

/// Hashes every event and action of every engine, as bytes, in the order in which they happen.
struct Recording<'a> {
    plugin: &'a dyn ConsensusPlugin,
    transcript: Arc<Mutex<Hash>>,
    actions: Arc<AtomicU64>,
}

struct Recorded {
    engine: Box<dyn Consensus>,
    transcript: Arc<Mutex<Hash>>,
    actions: Arc<AtomicU64>,
}

impl Engines for Recording<'_> {
    fn engine(&self, context: &Context) -> Result<Box<dyn Consensus>, SetupError> {
        let (transcript, actions) = (Arc::clone(&self.transcript), Arc::clone(&self.actions));
        Ok(Box::new(Recorded { engine: self.plugin.build(context)?, transcript, actions }))
    }

    fn proof(&self, context: &Context) -> Result<Arc<dyn FinalityProof>, SetupError> {
        self.plugin.proof(context)
    }
}

impl Consensus for Recorded {
    fn step(&mut self, now: Instant, event: Event, out: &mut Vec<Action>) {
        let (head, body) = EventHead::split(event.clone());
        let mut transcript = self.transcript.lock().unwrap();
        *transcript = Hash::of(&[transcript.as_bytes(), &now.0.to_be_bytes(), &wire::encode(&head), &body]);
        self.engine.step(now, event, out);
        for action in out.iter().cloned() {
            let (head, body) = ActionHead::split(action);
            *transcript = Hash::of(&[transcript.as_bytes(), &wire::encode(&head), &body]);
            self.actions.fetch_add(1, Ordering::Relaxed);
        }
        let status = wire::encode(&self.engine.status(now));
        *transcript = Hash::of(&[transcript.as_bytes(), &status]);
    }

    fn status(&self, now: Instant) -> EngineStatus {
        self.engine.status(now)
    }
}

const POA: &str = "fault_model = \"byzantine\"\nblock_interval_ms = 0\nblock_transactions_max = 10\n\
    block_bytes_max = 65536\ndelta_ms = 200\nempty_blocks = \"never\"\ntimeout_ms = 1000\ntimeout_ms_max = 4000\n\
    drift_ms = 2000\nrebroadcast_ms = 1000\n";

/// The crate that is linked in and the library made of it by one line, through the same seeds.
#[test]
fn poa_from_a_library_takes_the_same_steps_as_poa_linked_in() {
    let library = consensus(&load(&built("quorate_poa_dylib")), "poa");
    let scenario = Scenario::envelope(FaultModel::Byzantine, 4, 200, POA);
    let transcript = |plugin: &dyn ConsensusPlugin, seed: u64| {
        let recording = Recording { plugin, transcript: Arc::default(), actions: Arc::default() };
        let run = run(&scenario, &recording, seed);
        assert_eq!(run.violation, None, "seed {seed}");
        let transcript = *recording.transcript.lock().unwrap();
        (transcript, run.trace_hash, run.height, recording.actions.load(Ordering::Relaxed))
    };
    let mut actions = 0;
    for seed in 0..seeds(6) {
        let linked = transcript(&quorate_poa::PoaPlugin, seed);
        assert_eq!(transcript(library.as_ref(), seed), linked, "seed {seed}");
        actions += linked.3;
    }
    assert!(actions > 5000, "{actions} actions");
}
