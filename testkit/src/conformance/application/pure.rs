//! The same calls give the same answers: again, on another object, on several threads, between queries.

use quorate::Application;

use super::{
    super::{
        rule::{OrBroken, Outcome, Trouble, broken, ensure},
        suite::words,
    },
    ApplicationSuite,
    state::{Step, build, chain, differs, genesis},
};
use crate::{memory::MemoryState, sim::Rng};

/// Threads which execute at the same time.
const THREADS: usize = 4;

/// How often each thread executes every block.
const ROUNDS: usize = 5;

/// The application, and a chain of the suite's transactions.
fn prepared(suite: &ApplicationSuite<'_>) -> Result<(std::sync::Arc<dyn Application>, Vec<Step>), Trouble> {
    let application = suite.build()?;
    let steps = chain(&*application, &suite.verified(&*application)?)?;
    Ok((application, steps))
}

fn all_the_same<'a>(application: &dyn Application, steps: impl Iterator<Item = &'a Step>) -> Outcome {
    for step in steps {
        if let Some(difference) = differs(application, step)? {
            return broken(difference);
        }
    }
    Ok(())
}

pub(super) fn genesis_repeats(suite: &ApplicationSuite<'_>, _: &mut Rng) -> Outcome {
    let (one, other) = (suite.build()?, suite.build()?);
    let mut firsts = Vec::new();
    for application in [&one, &one, &other] {
        let mut state = MemoryState::new();
        let hash = application.genesis(&mut state).or_broken("genesis")?;
        firsts.push((hash, state));
    }
    let same = firsts.windows(2).all(|pair| matches!(pair, [one, other] if one == other));
    ensure(same, || {
        let hashes: Vec<String> = firsts.iter().map(|(hash, _)| hash.to_string()).collect();
        format!("genesis of one object, again, and of another: {}, or different states", hashes.join(", "))
    })
}

pub(super) fn two_objects(suite: &ApplicationSuite<'_>, _: &mut Rng) -> Outcome {
    let (_, steps) = prepared(suite)?;
    all_the_same(&*suite.build()?, steps.iter())
}

pub(super) fn again(suite: &ApplicationSuite<'_>, _: &mut Rng) -> Outcome {
    let (application, steps) = prepared(suite)?;
    // Later blocks first: what an object remembers of them shall not matter.
    all_the_same(&*application, steps.iter().rev())?;
    all_the_same(&*application, steps.iter())
}

pub(super) fn threads(suite: &ApplicationSuite<'_>, _: &mut Rng) -> Outcome {
    let (application, steps) = prepared(suite)?;
    let (application, steps) = (&*application, &steps);
    std::thread::scope(|scope| {
        let run = |first: usize| {
            // Each is at another block at the same time.
            let order = || steps.iter().cycle().skip(first).take(steps.len());
            (0..ROUNDS).try_for_each(|_| all_the_same(application, order()))
        };
        let running: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || run(thread))).collect();
        running.into_iter().try_for_each(|thread| match thread.join() {
            Ok(outcome) => outcome,
            Err(panic) => broken(format!("a thread panicked: {}", words(&*panic))),
        })
    })
}

pub(super) fn queries(suite: &ApplicationSuite<'_>, _: &mut Rng) -> Outcome {
    let queries = suite.queries()?;
    let (application, steps) = prepared(suite)?;
    let ask = |state: &MemoryState| -> Vec<_> {
        queries.iter().map(|(path, params)| application.query(state, path, params)).collect()
    };
    for step in &steps {
        let (first, then) = (ask(&step.before), ask(&step.before));
        ensure(first == then, || format!("asked again, queries answer {then:?} where they answered {first:?}"))?;
        if let Some(difference) = differs(&*application, step)? {
            return broken(format!("after queries, {difference}"));
        }
    }
    Ok(())
}

pub(super) fn apart(suite: &ApplicationSuite<'_>, _: &mut Rng) -> Outcome {
    let (one, steps) = prepared(suite)?;
    let other = suite.build()?;
    for step in &steps {
        // The other has a chain of its own, of empty blocks.
        build(&*other, &genesis(&*other)?, 1, &[])?;
        if let Some(difference) = differs(&*one, step)? {
            return broken(format!("after another object was used, {difference}"));
        }
    }
    Ok(())
}
