//! What the pool asks: verdicts, ids, admissions.

use bytes::Bytes;
use quorate::{
    Application,
    application::{CONFLICT_KEYS_MAX, Mode, Rejection},
};

use super::{
    super::{
        bytes::{hostile, shown},
        rule::{OrBroken, Outcome, Trouble, broken, does_not_apply, ensure},
    },
    ApplicationSuite,
    state::{build, chain, context, genesis},
};
use crate::{memory::MemoryState, sim::Rng};

/// Batches that are verified.
const BATCHES: u64 = 60;

/// Transactions of a batch at most.
const BATCH_MAX: u64 = 16;

/// Good and hostile transactions in any order.
fn batch(rng: &mut Rng, samples: &[Bytes]) -> Vec<Bytes> {
    let count = rng.below(BATCH_MAX + 1);
    (0..count)
        .map(|_| match rng.pick(samples).cloned() {
            Some(good) if rng.chance(600) => good,
            // No transaction anywhere.
            _ if rng.chance(300) => Bytes::new(),
            _ => hostile(rng, samples),
        })
        .collect()
}

fn verdict(verdict: Option<&Result<(), Rejection>>) -> String {
    match verdict {
        None => "no answer".into(),
        Some(Ok(())) => "yes".into(),
        Some(Err(rejection)) => format!("no: {rejection}"),
    }
}

pub(super) fn verdicts_in_order(suite: &ApplicationSuite<'_>, rng: &mut Rng) -> Outcome {
    let (application, samples) = (suite.build()?, suite.samples()?);
    let states = states(&*application, suite)?;
    for _ in 0..BATCHES {
        let batch = batch(rng, &samples);
        let Some(state) = rng.pick(&states) else { continue };
        let together = application.verify(state, &batch);
        ensure(together.len() == batch.len(), || {
            format!("{} transactions have {} answers", batch.len(), together.len())
        })?;
        for (at, one) in batch.iter().enumerate() {
            let alone = application.verify(state, std::slice::from_ref(one));
            let (together, alone) = (together.get(at), alone.first());
            ensure(together.map(Result::is_ok) == alone.map(Result::is_ok), || {
                let (together, alone) = (verdict(together), verdict(alone));
                format!(
                    "transaction {at} of a batch, {}, is answered \"{together}\", and alone \"{alone}\"",
                    shown(one)
                )
            })?;
        }
    }
    Ok(())
}

/// The states of a chain of all samples, from genesis on.
fn states(application: &dyn Application, suite: &ApplicationSuite<'_>) -> Result<Vec<MemoryState>, Trouble> {
    let steps = chain(application, &suite.verified(application)?)?;
    let after = steps.into_iter().map(|step| step.after);
    Ok(std::iter::once(genesis(application)?).chain(after).collect())
}

pub(super) fn verdicts_stay(suite: &ApplicationSuite<'_>, rng: &mut Rng) -> Outcome {
    let (application, samples) = (suite.build()?, suite.samples()?);
    let batch: Vec<Bytes> = samples.iter().cloned().chain(batch(rng, &samples)).collect();
    let mut good: Vec<Option<usize>> = vec![None; batch.len()];
    for (height, state) in states(&*application, suite)?.iter().enumerate() {
        let verdicts = application.verify(state, &batch);
        let other = suite.build()?.verify(state, &batch);
        for (((one, verdict), other), since) in batch.iter().zip(&verdicts).zip(&other).zip(&mut good) {
            let (now, elsewhere) = (self::verdict(Some(verdict)), self::verdict(Some(other)));
            ensure(verdict.is_ok() == other.is_ok(), || {
                format!("{} was answered \"{now}\", and by another object \"{elsewhere}\"", shown(one))
            })?;
            match (*since, verdict) {
                (None, Ok(())) => *since = Some(height),
                (Some(since), Err(_)) => {
                    let what = format!("was good in the state after block {since}, and after block {height} \"{now}\"");
                    return broken(format!("{} {what}", shown(one)));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

pub(super) fn ahead_is_no_lie(suite: &ApplicationSuite<'_>, _: &mut Rng) -> Outcome {
    let application = suite.build()?;
    let samples = suite.verified(&*application)?;
    for (height, state) in states(&*application, suite)?.iter().enumerate() {
        for (one, verdict) in samples.iter().zip(application.verify(state, &samples)) {
            ensure(!matches!(verdict, Err(Rejection::NotAuthentic(_) | Rejection::Malformed(_))), || {
                let now = self::verdict(Some(&verdict));
                format!("{} is good later, and after block {height} it is \"{now}\"", shown(one))
            })?;
        }
    }
    Ok(())
}

pub(super) fn one_id(suite: &ApplicationSuite<'_>, _: &mut Rng) -> Outcome {
    let (application, other) = (suite.build()?, suite.build()?);
    let samples = suite.verified(&*application)?;
    for one in &samples {
        let (id, again) = (application.transaction_id(one), other.transaction_id(one));
        ensure(id == again, || format!("{} has the ids {id} and {again}", shown(one)))?;
    }
    let mut state = genesis(&*application)?;
    for (height, one) in (1..).zip(&samples) {
        let id = application.transaction_id(one);
        let same: Vec<Bytes> = samples.iter().filter(|two| application.transaction_id(two) == id).cloned().collect();
        // Itself, then all that have its id, itself among them.
        let candidates: Vec<Bytes> = std::iter::once(one.clone()).chain(same).collect();
        let (outcome, after) = build(&*application, &state, height, &candidates)?;
        let kept = candidates.len() - outcome.left_out.len().min(candidates.len());
        ensure(kept <= 1, || format!("{kept} transactions of the id {id} were executed in one block"))?;
        let (next, _) = build(&*application, &after, height + 1, &candidates)?;
        ensure(kept == 0 || next.left_out.len() == candidates.len(), || {
            format!("a transaction of the id {id} was executed in two blocks")
        })?;
        state = after;
    }
    Ok(())
}

pub(super) fn takes_what_executes(suite: &ApplicationSuite<'_>, _: &mut Rng) -> Outcome {
    let application = suite.build()?;
    let samples = suite.verified(&*application)?;
    for step in chain(&*application, &samples)? {
        for one in &samples {
            let (outcome, _) = build(&*application, &step.before, step.height, std::slice::from_ref(one))?;
            if !outcome.left_out.is_empty() {
                continue;
            }
            let admission =
                application.check(&step.before, context(step.height, Mode::Build, &[]).time, one).or_broken(
                    format!("in the state before block {}, which would execute {}, its check", step.height, shown(one)),
                )?;
            ensure(admission.sequence <= admission.next_sequence, || {
                format!("{} can be executed, and is said to wait: {admission:?}", shown(one))
            })?;
        }
    }
    Ok(())
}

pub(super) fn few_conflict_keys(suite: &ApplicationSuite<'_>, _: &mut Rng) -> Outcome {
    let application = suite.build()?;
    let state = genesis(&*application)?;
    let mut admitted = false;
    for one in suite.verified(&*application)? {
        let Ok(admission) = application.check(&state, context(1, Mode::Build, &[]).time, &one) else { continue };
        admitted = true;
        let count = admission.conflict_keys.len();
        ensure(count <= CONFLICT_KEYS_MAX, || {
            format!("{} has {count} conflict keys; the limit is {CONFLICT_KEYS_MAX}", shown(&one))
        })?;
    }
    if admitted { Ok(()) } else { does_not_apply("at genesis it admits none of the transactions that it was given") }
}
