//! Bytes from anybody, and states that are damaged.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use quorate::{
    Application, Height, Timestamp,
    application::{Misbehaviour, Mode, StateWrite},
};

use super::{
    super::{
        bytes::{hostile, shown},
        rule::{Outcome, broken},
        suite::words,
    },
    ApplicationSuite,
    state::{chain, context, genesis},
};
use crate::{memory::MemoryState, sim::Rng};

/// Hostile inputs.
const INPUTS: u64 = 4000;

/// Of a thousand inputs, how many meet a state that is damaged.
const DAMAGED_PERMILLE: u32 = 200;

pub(super) fn no_panic(suite: &ApplicationSuite<'_>, rng: &mut Rng) -> Outcome {
    let application = suite.build()?;
    let samples = suite.samples().unwrap_or_default();
    let states: Vec<MemoryState> = match chain(&*application, &samples) {
        Ok(steps) => steps.into_iter().map(|step| step.after).collect(),
        Err(_) => vec![genesis(&*application)?],
    };
    let texts: Vec<Bytes> = suite.queries.iter().map(|(_, params)| params.clone()).collect();
    for _ in 0..INPUTS {
        let mut state = rng.pick(&states).cloned().unwrap_or_default();
        if rng.chance(DAMAGED_PERMILLE) {
            damage(rng, &mut state);
        }
        let bytes = hostile(rng, &samples);
        let params = hostile(rng, &texts);
        let path = rng.pick(&suite.queries).map_or("", |(path, _)| path);
        let fed = catch_unwind(AssertUnwindSafe(|| feed(&*application, state, &bytes, path, &params)));
        if let Err(panic) = fed {
            return broken(format!(
                "the transaction {} or the query `{path}` with {} made it panic: {}",
                shown(&bytes),
                shown(&params),
                words(&*panic)
            ));
        }
    }
    Ok(())
}

/// Calls everything with the bytes; what it answers does not matter here.
fn feed(application: &dyn Application, mut state: MemoryState, bytes: &Bytes, path: &str, params: &Bytes) {
    let misbehaviour =
        [Misbehaviour { height: Height(u64::MAX), offender: quorate::PublicKey::new([7; 32]), offence: String::new() }];
    application.transaction_id(bytes);
    drop(application.verify(&state, std::slice::from_ref(bytes)));
    drop(application.check(&state, Timestamp(u64::MAX), bytes));
    drop(application.query(&state, path, params));
    drop(application.query(&state, &String::from_utf8_lossy(bytes), params));
    for mode in [Mode::Apply, Mode::Build] {
        let mut block = context(u64::MAX, mode, std::slice::from_ref(bytes));
        block.misbehaviour = &misbehaviour;
        drop(application.execute(&mut state, &block));
    }
    drop(application.genesis(&mut state));
}

/// Changes or removes some of the stored pairs.
fn damage(rng: &mut Rng, state: &mut MemoryState) {
    let pairs: Vec<(Bytes, Bytes)> = state.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    for _ in 0..=rng.below(2) {
        let Some((key, value)) = rng.pick(&pairs) else { return };
        if rng.chance(300) {
            state.delete(key);
        } else {
            state.put(key, &hostile(rng, std::slice::from_ref(value)));
        }
    }
}
