//! Engines in the midst of a height, and messages that nobody should send.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use quorate::{
    Hash, Header, PeerId, ValidatorIndex, ValidatorSet,
    consensus::{Action, Event, Verdict},
};

use super::{
    super::{
        bytes::{hostile, shown},
        rule::{OrBroken, Outcome, Trouble, broken, ensure},
        suite::words,
    },
    ConsensusSuite,
    engine::give,
    tape::{blocks, messages, place},
};
use crate::sim::Rng;

/// Hostile messages in all.
const MESSAGES: u64 = 20_000;

/// Points at which engines are given them.
const PLACES: u64 = 10;

/// What an engine knows of blocks, and who decides.
pub(super) struct Known {
    headers: BTreeMap<Hash, Header>,
    validators: Option<ValidatorSet>,
}

/// Plays each of some engines up to a point of its tape, then gives it hostile messages; looks at what each brings about.
pub(super) fn each_step(
    suite: &ConsensusSuite<'_>,
    rng: &mut Rng,
    mut look: impl FnMut(&Known, &[Action]) -> Outcome,
) -> Outcome {
    let tapes = suite.tapes()?;
    let good = messages(tapes);
    for _ in 0..PLACES {
        let Some(tape) = rng.pick(tapes) else { return Ok(()) };
        let (played, _) = tape.split_at(1 + rng.index(tape.len()));
        let mut engine = suite.engine()?;
        let mut known = Known {
            headers: blocks(played).map(|block| (block.hash(), block.header().clone())).collect(),
            validators: None,
        };
        let mut now = quorate::Instant(0);
        for step in played {
            now = step.now;
            known.validators = place(&step.event).map(|(_, _, validators)| validators.clone()).or(known.validators);
            give(&mut *engine, now, step.event.clone());
        }
        for _ in 0..MESSAGES / PLACES {
            let bytes = hostile(rng, &good);
            if good.contains(&bytes) {
                continue;
            }
            let from = PeerId::new([rng.next_u64().to_le_bytes()[0]; 32]);
            let validator = rng.chance(700).then(|| ValidatorIndex(u16::try_from(rng.below(5)).unwrap_or(0)));
            let mut events = vec![Event::Message { from, validator, bytes: bytes.clone() }];
            // A block that it asks about is found good, so that it may go as far as it can.
            while let Some(event) = events.pop() {
                let given = catch_unwind(AssertUnwindSafe(|| {
                    let actions = give(&mut *engine, now, event);
                    engine.status(now);
                    actions
                }));
                let actions = match given {
                    Ok(actions) => actions,
                    Err(panic) => return broken(format!("{} made it panic: {}", shown(&bytes), words(&*panic))),
                };
                look(&known, &actions)?;
                for action in actions {
                    if let Action::CheckBlock { block, .. } = action {
                        known.headers.insert(block.hash(), block.header().clone());
                        events.push(Event::BlockChecked { hash: block.hash(), verdict: Verdict::Valid });
                    }
                }
            }
        }
    }
    Ok(())
}

pub(super) fn no_panic(suite: &ConsensusSuite<'_>, rng: &mut Rng) -> Outcome {
    each_step(suite, rng, |_, _| Ok(()))
}

pub(super) fn no_commit(suite: &ConsensusSuite<'_>, rng: &mut Rng) -> Outcome {
    if suite.plugin.observes() {
        let commits = |action: &Action| matches!(action, Action::Commit { .. });
        return each_step(suite, rng, |_, actions| {
            ensure(!actions.iter().any(commits), || "it commits, and watches what another plugin decides".into())
        });
    }
    let (proof, chain_id) = (suite.proof()?, suite.own_context()?.chain_id);
    each_step(suite, rng, |known, actions| {
        for action in actions {
            let Action::Commit { hash, proof: shown_by } = action else { continue };
            let (header, validators) = known
                .headers
                .get(hash)
                .zip(known.validators.as_ref())
                .ok_or_else(|| Trouble::Broken(format!("it commits block {hash}, which it never had judged")))?;
            ensure(header.hash() == *hash, || format!("it commits block {hash}, of which it has another header"))?;
            proof
                .verify(&chain_id, header, shown_by, validators)
                .or_broken(format!("it commits block {hash} after a forged message, and its proof"))?;
        }
        Ok(())
    })
}
