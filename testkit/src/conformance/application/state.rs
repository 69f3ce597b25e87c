//! Chains of blocks executed on states in memory, and a state that fails.

use std::{borrow::Cow, cell::Cell};

use bytes::Bytes;
use quorate::{
    Application, Height, Timestamp,
    application::{BlockContext, ExecuteError, Mode, Outcome as Executed, StateRead, StateWrite},
    storage::StorageError,
};

use super::{
    super::rule::{OrBroken, Trouble, ensure},
    CHAIN,
};
use crate::memory::MemoryState;

/// Transactions of a block.
const BLOCK: usize = 4;

pub(super) fn genesis(application: &dyn Application) -> Result<MemoryState, Trouble> {
    MemoryState::genesis(application).or_broken("genesis")
}

pub(super) fn context(height: u64, mode: Mode, transactions: &[Bytes]) -> BlockContext<'_> {
    BlockContext {
        chain_id: CHAIN,
        height: Height(height),
        time: Timestamp(1_700_000_000_000_u64.saturating_add(height.saturating_mul(1000))),
        mode,
        transactions: Cow::Borrowed(transactions),
        misbehaviour: &[],
    }
}

/// Executes on a copy of `state`; gives the outcome and the state after.
pub(super) fn execute(
    application: &dyn Application,
    state: &MemoryState,
    height: u64,
    mode: Mode,
    transactions: &[Bytes],
) -> Result<(Executed, MemoryState), ExecuteError> {
    let mut after = state.clone();
    let outcome = application.execute(&mut after, &context(height, mode, transactions))?;
    Ok((outcome, after))
}

/// The same in [`Mode::Build`], which leaves out what can't be executed and so does not fail.
pub(super) fn build(
    application: &dyn Application,
    state: &MemoryState,
    height: u64,
    candidates: &[Bytes],
) -> Result<(Executed, MemoryState), Trouble> {
    execute(application, state, height, Mode::Build, candidates).or_broken(format!("building block {height}"))
}

/// What a built block keeps of its candidates.
pub(super) fn kept(outcome: &Executed, candidates: &[Bytes]) -> Vec<Bytes> {
    let left_out = |at: usize| outcome.left_out.iter().any(|(position, _)| *position == at);
    candidates.iter().enumerate().filter(|(at, _)| !left_out(*at)).map(|(_, one)| one.clone()).collect()
}

/// A block that was executed.
pub(super) struct Step {
    pub(super) height: u64,
    pub(super) before: MemoryState,
    pub(super) transactions: Vec<Bytes>,
    pub(super) outcome: Executed,
    pub(super) after: MemoryState,
}

/// A chain from genesis on with all of `samples` which can be executed, and an empty block at its end.
pub(super) fn chain(application: &dyn Application, samples: &[Bytes]) -> Result<Vec<Step>, Trouble> {
    let mut steps: Vec<Step> = Vec::new();
    let mut state = genesis(application)?;
    for (height, candidates) in (1..).zip(samples.chunks(BLOCK).chain([[].as_slice()])) {
        let (built, _) = build(application, &state, height, candidates)?;
        let transactions = kept(&built, candidates);
        let (outcome, after) = execute(application, &state, height, Mode::Apply, &transactions)
            .or_broken(format!("applying block {height}, of what was kept when it was built,"))?;
        let before = std::mem::replace(&mut state, after.clone());
        steps.push(Step { height, before, transactions, outcome, after });
    }
    let executed: usize = steps.iter().map(|step| step.transactions.len()).sum();
    ensure(executed > 0, || "it executes none of the transactions that the suite was given".into())?;
    Ok(steps)
}

/// Executes a step's block again; what differs, in words.
pub(super) fn differs(application: &dyn Application, step: &Step) -> Result<Option<String>, Trouble> {
    let height = step.height;
    let (outcome, after) = execute(application, &step.before, height, Mode::Apply, &step.transactions)
        .or_broken(format!("applying block {height} again"))?;
    if outcome != step.outcome {
        return Ok(Some(format!("block {height}: the outcome is {outcome:?}, and was {:?}", step.outcome)));
    }
    if after != step.after {
        let other = after.iter().find(|(key, value)| step.after.get(key).ok().flatten().as_ref() != Some(*value));
        return Ok(Some(format!("block {height}: the state differs, first at {other:?}")));
    }
    Ok(None)
}

/// A state of which one read fails.
pub(super) struct Failing {
    state: MemoryState,
    /// Reads until then.
    left: Cell<u32>,
    pub(super) failed: Cell<bool>,
}

impl Failing {
    /// `state`, which answers so many reads.
    pub(super) fn after(state: &MemoryState, reads: u32) -> Self {
        Self { state: state.clone(), left: Cell::new(reads), failed: Cell::new(false) }
    }

    fn read(&self) -> Result<(), StorageError> {
        match self.left.get().checked_sub(1) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => {
                self.failed.set(true);
                Err(StorageError::Damaged("a read that the suite lets fail".into()))
            }
        }
    }
}

impl StateRead for Failing {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.read().and_then(|()| self.state.get(key))
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        self.read().and_then(|()| self.state.scan(from, to, limit))
    }
}

impl StateWrite for Failing {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.state.put(key, value);
    }

    fn delete(&mut self, key: &[u8]) {
        self.state.delete(key);
    }
}
