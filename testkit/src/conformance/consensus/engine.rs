//! One engine, played what was recorded.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant as Clock},
};

use quorate::{
    Consensus, Instant,
    consensus::{Action, CommitBy, Event, PROOF_BYTES_MAX, SAVED_BYTES_MAX, SignRequest, Start, TimerId, Verdict},
    transport::MESSAGE_BYTES_MAX,
};

use super::{
    super::rule::{Outcome, Trouble, broken, does_not_apply, ensure},
    ConsensusSuite,
    tape::{Step, Tape, place, written},
};
use crate::sim::{Rng, STEP_ACTIONS_MAX};

/// How long a step may take, even on a machine that is busy with others.
const STEP_TIME_MAX: Duration = Duration::from_secs(2);

/// Starts from a record.
const RESTARTS: usize = 40;

/// Timers fired at one time at most.
const FIRED_MAX: usize = 1000;

/// Characters of an action that are shown.
const SHOWN: usize = 300;

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

/// Gives one event.
pub(super) fn give(engine: &mut dyn Consensus, now: Instant, event: Event) -> Vec<Action> {
    let mut actions = Vec::new();
    engine.step(now, event, &mut actions);
    actions
}

/// Gives a recorded step again; its actions must be those recorded.
fn repeat(engine: &mut dyn Consensus, at: usize, step: &Step) -> Outcome {
    let (now, then) = (written(&give(engine, step.now, step.event.clone())), written(&step.actions));
    ensure(now == then, || {
        let event = shown(&format!("{:?}", step.event));
        let same = now.bytes().zip(then.bytes()).take_while(|(now, then)| now == then).count().saturating_sub(60);
        let from = |text: &str| shown(&text.chars().skip(same).collect::<String>());
        format!("event {at}, {event}, gave first ..{}, and again ..{}", from(&then), from(&now))
    })
}

pub(super) fn same_actions(suite: &ConsensusSuite<'_>, _: &mut Rng) -> Outcome {
    for tape in suite.tapes()? {
        let mut engine = suite.engine()?;
        for (at, step) in tape.iter().enumerate() {
            repeat(&mut *engine, at, step)?;
        }
    }
    Ok(())
}

pub(super) fn does_not_block(suite: &ConsensusSuite<'_>, _: &mut Rng) -> Outcome {
    let Some(tape) = suite.tapes()?.first() else { return Ok(()) };
    let mut engine = suite.engine()?;
    for (at, step) in tape.iter().enumerate() {
        let began = Clock::now();
        give(&mut *engine, step.now, step.event.clone());
        engine.status(step.now);
        let took = began.elapsed();
        ensure(took < STEP_TIME_MAX, || format!("event {at}, {}, took {took:?}", shown(&format!("{:?}", step.event))))?;
    }
    Ok(())
}

/// Whether a step's actions are few.
pub(super) fn few(actions: &[Action]) -> Outcome {
    ensure(actions.len() <= STEP_ACTIONS_MAX, || {
        format!("one event gave {} actions; the limit is {STEP_ACTIONS_MAX}", actions.len())
    })
}

/// Whether what an action carries is short.
pub(super) fn short(action: &Action) -> Outcome {
    let (what, len, limit) = match action {
        Action::Persist(bytes) => ("a record", bytes.len(), SAVED_BYTES_MAX),
        Action::Sign(request) => ("a body to be signed", request.body.len(), SignRequest::BODY_BYTES_MAX),
        Action::Broadcast(bytes) | Action::Send { bytes, .. } => ("a message", bytes.len(), MESSAGE_BYTES_MAX),
        Action::Commit { proof, .. } => ("a proof", proof.len(), PROOF_BYTES_MAX),
        _ => return Ok(()),
    };
    ensure(len <= limit, || format!("{what} has {len} bytes; the limit is {limit}"))
}

pub(super) fn bounded_actions(suite: &ConsensusSuite<'_>, rng: &mut Rng) -> Outcome {
    suite.tapes()?.iter().flatten().try_for_each(|step| few(&step.actions))?;
    super::hostile::each_step(suite, rng, |_, actions| few(actions))
}

pub(super) fn bounded_bytes(suite: &ConsensusSuite<'_>, rng: &mut Rng) -> Outcome {
    suite.tapes()?.iter().flatten().flat_map(|step| &step.actions).try_for_each(short)?;
    super::hostile::each_step(suite, rng, |_, actions| actions.iter().try_for_each(short))
}

pub(super) fn apart(suite: &ConsensusSuite<'_>, _: &mut Rng) -> Outcome {
    let tapes: Vec<&Tape> = suite.tapes()?.iter().cycle().take(2).collect();
    let mut engines = Vec::new();
    for tape in tapes {
        engines.push((suite.engine()?, tape));
    }
    let longest = engines.iter().map(|(_, tape)| tape.len()).max().unwrap_or(0);
    for at in 0..longest {
        for (engine, tape) in &mut engines {
            if let Some(step) = tape.get(at) {
                repeat(&mut **engine, at, step)?;
            }
        }
    }
    Ok(())
}

/// What an engine was told last of its place, as the start of one that comes back.
fn start_of(before: &Event) -> Option<Start> {
    let (tip, me, validators) = place(before)?;
    Some(Start { tip, validators: validators.clone(), me, saved: None, fresh: false, pending: false })
}

pub(super) fn starts_from_record(suite: &ConsensusSuite<'_>, rng: &mut Rng) -> Outcome {
    let mut records = Vec::new();
    for tape in suite.tapes()? {
        let mut last = None;
        for step in tape {
            last = start_of(&step.event).or(last);
            for action in &step.actions {
                if let (Action::Persist(record), Some(start)) = (action, &last) {
                    records.push((step.now, Start { saved: Some(record.clone()), ..start.clone() }));
                }
            }
        }
    }
    if records.is_empty() {
        return does_not_apply("it persists nothing");
    }
    rng.shuffle(&mut records);
    for (now, start) in records.into_iter().take(RESTARTS) {
        let mut engine = suite.engine()?;
        let height = start.tip.height.next();
        let actions = give(&mut *engine, now, Event::Start(start));
        for action in &actions {
            if let Action::Halt { reason } = action {
                return broken(format!("started from its own record of height {height}, it halts: {reason}"));
            }
        }
        let status = engine.status(now);
        ensure(status.height == height, || {
            format!("started from its own record of height {height}, it says that it decides height {}", status.height)
        })?;
    }
    Ok(())
}

pub(super) fn goes_on_far_above(suite: &ConsensusSuite<'_>, _: &mut Rng) -> Outcome {
    for tape in suite.tapes()? {
        let start = tape.iter().find(|step| matches!(step.event, Event::Start(_)));
        let last = tape.iter().rfind(|step| matches!(step.event, Event::Committed { .. }));
        let (Some(start), Some(last)) = (start, last) else { continue };
        let Event::Committed { tip, .. } = &last.event else { continue };
        let mut engine = suite.engine()?;
        drop(give(&mut *engine, start.now, start.event.clone()));
        let mut event = last.event.clone();
        if let Event::Committed { by, .. } = &mut event {
            *by = CommitBy::Sync;
        }
        for action in give(&mut *engine, last.now, event) {
            if let Action::Halt { reason } = action {
                return broken(format!(
                    "told that block {} is final, which it did not see come, it halts: {reason}",
                    tip.height
                ));
            }
        }
        let found = engine.status(last.now).height;
        ensure(found == tip.height.next(), || {
            format!("told that block {} is final, it says that it decides height {found}", tip.height)
        })?;
    }
    Ok(())
}

pub(super) fn follower_does_not_sign(suite: &ConsensusSuite<'_>, _: &mut Rng) -> Outcome {
    for tape in suite.tapes()? {
        let mut player = Player { engine: suite.engine()?, timers: BTreeMap::new(), answers: Vec::new() };
        for step in tape {
            player.until(step.now)?;
            match &step.event {
                // Those are answers to what the recorded engine asked for.
                Event::Timer { .. } | Event::Signed { .. } | Event::BlockBuilt { .. } | Event::BlockChecked { .. } => {}
                event => player.give(step.now, without_place(event.clone()))?,
            }
        }
    }
    Ok(())
}

fn without_place(mut event: Event) -> Event {
    match &mut event {
        Event::Start(start) => start.me = None,
        Event::Committed { me, .. } => *me = None,
        _ => {}
    }
    event
}

/// An engine that has no key, with its own timers.
struct Player {
    engine: Box<dyn Consensus>,
    timers: BTreeMap<TimerId, Instant>,
    answers: Vec<Event>,
}

impl Player {
    fn give(&mut self, now: Instant, event: Event) -> Result<(), Trouble> {
        for action in give(&mut *self.engine, now, event) {
            match action {
                Action::Sign(request) => {
                    return broken(format!("it asks for a signature at {:?}, and is no validator", request.guard));
                }
                Action::SetTimer { id, at } => {
                    self.timers.insert(id, at);
                }
                Action::CancelTimer(id) => {
                    self.timers.remove(&id);
                }
                Action::CheckBlock { block, .. } => {
                    self.answers.push(Event::BlockChecked { hash: block.hash(), verdict: Verdict::Valid });
                }
                Action::BuildBlock { token, .. } => self.answers.push(Event::BlockBuilt { token, block: None }),
                _ => {}
            }
        }
        Ok(())
    }

    /// Gives what is due until `now`.
    fn until(&mut self, now: Instant) -> Result<(), Trouble> {
        for _ in 0..FIRED_MAX {
            for answer in std::mem::take(&mut self.answers) {
                self.give(now, answer)?;
            }
            let due = self.timers.iter().min_by_key(|(_, at)| **at).map(|(id, at)| (*id, *at));
            let Some((id, due)) = due.filter(|(_, at)| *at <= now) else { break };
            self.timers.remove(&id);
            // The recorded network's time goes on from event to event.
            self.give(now, Event::Timer { id, due })?;
        }
        Ok(())
    }
}
