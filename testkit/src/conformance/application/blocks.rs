//! Building a block and applying one.

use bytes::Bytes;
use quorate::{
    Application,
    application::{ExecuteError, Mode, Outcome as Executed, RECEIPT_BYTES_MAX},
};

use super::{
    super::rule::{OrBroken, Outcome, Trouble, broken, does_not_apply, ensure},
    ApplicationSuite,
    state::{build, execute, genesis, kept},
};
use crate::{memory::MemoryState, sim::Rng};

/// Blocks of candidates in random order.
const BLOCKS: u64 = 40;

/// Candidates of a block at most.
const CANDIDATES_MAX: u64 = 12;

/// Candidates as a pool might offer them: any order, some twice.
fn candidates(rng: &mut Rng, samples: &[Bytes]) -> Vec<Bytes> {
    let count = rng.below(CANDIDATES_MAX + 1);
    (0..count).filter_map(|_| rng.pick(samples).cloned()).collect()
}

/// A block that was built, and what it was built of.
struct Built<'a> {
    application: &'a dyn Application,
    height: u64,
    before: &'a MemoryState,
    candidates: &'a [Bytes],
    outcome: &'a Executed,
    after: &'a MemoryState,
}

/// Builds blocks of the suite's transactions in random order, one on the other, and looks at each.
fn each_built(
    suite: &ApplicationSuite<'_>,
    rng: &mut Rng,
    mut look: impl FnMut(&Built<'_>) -> Outcome,
) -> Result<(), Trouble> {
    let application = suite.build()?;
    let samples = suite.verified(&*application)?;
    let mut state = genesis(&*application)?;
    let mut in_order = samples.iter().cloned();
    for height in 1..=BLOCKS {
        // The next in order goes first, so that the state moves on whatever the order of the others.
        let candidates: Vec<Bytes> = in_order.next().into_iter().chain(candidates(rng, &samples)).collect();
        let (outcome, after) = build(&*application, &state, height, &candidates)?;
        let (before, candidates) = (&state, &candidates);
        look(&Built { application: &*application, height, before, candidates, outcome: &outcome, after: &after })?;
        state = after;
    }
    Ok(())
}

pub(super) fn built_is_applied(suite: &ApplicationSuite<'_>, rng: &mut Rng) -> Outcome {
    let mut executed = 0;
    each_built(suite, rng, |built| {
        let (height, transactions) = (built.height, kept(built.outcome, built.candidates));
        executed += transactions.len();
        let (applied, after) = execute(built.application, built.before, height, Mode::Apply, &transactions)
            .or_broken(format!("applying block {height}, of what was kept when it was built,"))?;
        let mut wanted = built.outcome.clone();
        wanted.left_out.clear();
        ensure(applied == wanted, || {
            format!("block {height} applied gives {applied:?}, and gave {wanted:?} when built")
        })?;
        ensure(after == *built.after, || format!("block {height} leaves another state when applied than when built"))
    })?;
    ensure(executed > 0, || "it executes none of the transactions that the suite was given".into())
}

pub(super) fn bad_block_is_invalid(suite: &ApplicationSuite<'_>, rng: &mut Rng) -> Outcome {
    let mut bad = 0;
    each_built(suite, rng, |built| {
        let Some((first, _)) = built.outcome.left_out.first() else { return Ok(()) };
        bad += 1;
        match execute(built.application, built.before, built.height, Mode::Apply, built.candidates) {
            Ok(_) => {
                broken(format!("candidate {first} was left out when block {} was built, and applied", built.height))
            }
            Err(ExecuteError::Invalid { index, .. }) if index == *first => Ok(()),
            Err(ExecuteError::Invalid { index, .. }) => {
                broken(format!("transaction {first} can't be executed, and transaction {index} was named"))
            }
            Err(other) => broken(format!("a transaction that can't be executed is answered with {other:?}")),
        }
    })?;
    if bad == 0 {
        return does_not_apply("it executes the transactions that it was given in any order, and again");
    }
    Ok(())
}

pub(super) fn left_out(suite: &ApplicationSuite<'_>, rng: &mut Rng) -> Outcome {
    let mut some = false;
    each_built(suite, rng, |built| {
        let positions: Vec<usize> = built.outcome.left_out.iter().map(|(at, _)| *at).collect();
        some |= !positions.is_empty();
        let ascending = positions.windows(2).all(|pair| matches!(pair, [one, next] if one < next));
        let there = positions.iter().all(|at| *at < built.candidates.len());
        ensure(ascending && there, || {
            format!("of {} candidates positions {positions:?} were left out", built.candidates.len())
        })
    })?;
    if some { Ok(()) } else { does_not_apply("it leaves out nothing of what it was given") }
}

pub(super) fn receipts(suite: &ApplicationSuite<'_>, rng: &mut Rng) -> Outcome {
    each_built(suite, rng, |built| {
        let (outcome, kept) = (built.outcome, kept(built.outcome, built.candidates).len());
        ensure(outcome.receipts.len() == kept, || {
            format!("{kept} transactions were kept, with {} receipts", outcome.receipts.len())
        })?;
        let longest = outcome.receipts.iter().map(Bytes::len).max().unwrap_or(0);
        ensure(longest <= RECEIPT_BYTES_MAX, || {
            format!("a receipt has {longest} bytes; the limit is {RECEIPT_BYTES_MAX}")
        })
    })
}
