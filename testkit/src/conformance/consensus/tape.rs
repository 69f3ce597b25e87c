//! What engines were told and did in a simulated network without faults: events in, actions out.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use quorate::{
    Block, Consensus, FinalityProof, Hash, Header, Height, Instant, Settings, Timestamp, ValidatorIndex, ValidatorSet,
    consensus::{Action, Context, EngineStatus, Event, Start, Tip},
    plugin::{ConsensusPlugin, SetupError},
};

use super::{
    super::rule::{OrBroken, Trouble, broken},
    ConsensusSuite,
};
use crate::sim::{self, Engines, Faults, Setup};

/// The seed of the network that is recorded.
const SEED: u64 = 1;

/// How long transactions are submitted in it, in virtual milliseconds.
const RECORDED_MS: u64 = 4000;

/// One step of an engine.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) now: Instant,
    pub(super) event: Event,
    pub(super) actions: Vec<Action>,
}

/// All steps of one engine.
pub(super) type Tape = Vec<Step>;

type Shared = Arc<Mutex<Tape>>;

/// Makes engines which record themselves.
struct Recorder<'a> {
    plugin: &'a dyn ConsensusPlugin,
    settings: Settings,
    tapes: Mutex<Vec<Shared>>,
}

impl Engines for Recorder<'_> {
    fn engine(&self, context: &Context) -> Result<Box<dyn Consensus>, SetupError> {
        let context = Context { settings: self.settings.clone(), ..context.clone() };
        let inner = self.plugin.build(&context)?;
        let tape = Shared::default();
        self.tapes.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&tape));
        Ok(Box::new(Recorded { inner, tape }))
    }

    fn proof(&self, context: &Context) -> Result<Arc<dyn FinalityProof>, SetupError> {
        self.plugin.proof(context)
    }
}

struct Recorded {
    inner: Box<dyn Consensus>,
    tape: Shared,
}

impl Consensus for Recorded {
    fn step(&mut self, now: Instant, event: Event, out: &mut Vec<Action>) {
        let before = out.len();
        self.inner.step(now, event.clone(), out);
        let actions = out.iter().skip(before).cloned().collect();
        self.tape.lock().unwrap_or_else(PoisonError::into_inner).push(Step { now, event, actions });
    }

    fn status(&self, now: Instant) -> EngineStatus {
        self.inner.status(now)
    }
}

impl ConsensusSuite<'_> {
    /// What the engines of a network did, those that did most first.
    pub(super) fn tapes(&self) -> Result<&[Tape], Trouble> {
        if let Some(tapes) = self.tapes.get() {
            return Ok(tapes);
        }
        let tapes = if self.plugin.observes() { vec![vec![self.beginning()?]] } else { self.record()? };
        Ok(self.tapes.get_or_init(|| tapes))
    }

    fn record(&self) -> Result<Vec<Tape>, Trouble> {
        let recorder =
            Recorder { plugin: self.plugin, settings: Settings::from_text(&self.settings), tapes: Mutex::default() };
        let scenario = self.scenario().with(|scenario| {
            scenario.byzantine = 0;
            scenario.faults = Faults::none();
            scenario.chaos_ms = RECORDED_MS;
        });
        let setup = Setup {
            scenario: &scenario,
            engines: &recorder,
            kinds: None,
            inspector: None,
            adversary: None,
            faults: Some(Vec::new()),
            told: false,
        };
        // Whether it went well is the simulator's own rule.
        sim::run(setup, SEED).or_broken("making the engines of a network")?;
        let tapes = recorder.tapes.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut tapes: Vec<Tape> =
            tapes.iter().map(|tape| tape.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect();
        tapes.sort_by_key(|tape| std::cmp::Reverse(tape.len()));
        if tapes.first().is_none_or(Vec::is_empty) {
            return broken("no engine of the network was given an event");
        }
        Ok(tapes)
    }

    /// The start of an engine that is no validator.
    fn beginning(&self) -> Result<Step, Trouble> {
        let context = self.own_context()?;
        let tip = Tip {
            height: Height::GENESIS,
            hash: Hash::new(*context.chain_id.as_bytes()),
            time: Timestamp(1_700_000_000_000),
        };
        let validators = context.validators;
        let start = Start { tip, validators, me: None, saved: None, fresh: true, pending: false };
        Ok(Step { now: Instant(0), event: Event::Start(start), actions: Vec::new() })
    }
}

/// The messages on tapes, each once for each time it was received.
pub(super) fn messages(tapes: &[Tape]) -> Vec<Bytes> {
    let received = |step: &Step| match &step.event {
        Event::Message { bytes, .. } => Some(bytes.clone()),
        _ => None,
    };
    tapes.iter().flatten().filter_map(received).collect()
}

/// The blocks that an engine was given or asked about.
pub(super) fn blocks(tape: &[Step]) -> impl Iterator<Item = &Block> {
    tape.iter().flat_map(|step| {
        let built = match &step.event {
            Event::BlockBuilt { block, .. } => block.as_ref(),
            _ => None,
        };
        let checked = step.actions.iter().filter_map(|action| match action {
            Action::CheckBlock { block, .. } => Some(block),
            _ => None,
        });
        built.into_iter().chain(checked)
    })
}

/// A block that an engine made final: its header, the proof, and the validators of its height.
pub(super) struct Final {
    pub(super) header: Header,
    pub(super) proof: Bytes,
    pub(super) validators: ValidatorSet,
}

/// What an engine made final.
pub(super) fn finals(tape: &[Step]) -> Vec<Final> {
    let mut finals = Vec::new();
    let mut current = None;
    for step in tape {
        if let Some((_, _, validators)) = place(&step.event) {
            current = Some(validators.clone());
        }
        for action in &step.actions {
            let Action::Commit { hash, proof } = action else { continue };
            let header = blocks(tape).find(|block| block.hash() == *hash).map(|block| block.header().clone());
            if let (Some(header), Some(validators)) = (header, current.clone()) {
                finals.push(Final { header, proof: proof.clone(), validators });
            }
        }
    }
    finals
}

/// Where an engine is put by an event: the tip, its place, the validators.
pub(super) fn place(event: &Event) -> Option<(Tip, Option<ValidatorIndex>, &ValidatorSet)> {
    match event {
        Event::Start(start) => Some((start.tip, start.me, &start.validators)),
        Event::Committed { tip, me, validators, .. } => Some((*tip, *me, validators)),
        _ => None,
    }
}

/// Actions as they can be compared.
pub(super) fn written(actions: &[Action]) -> String {
    format!("{actions:?}")
}
