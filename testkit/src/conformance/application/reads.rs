//! Reads that fail, and queries.

use quorate::{
    Application,
    application::{ExecuteError, Mode, QueryError, Rejection},
};

use super::{
    super::{
        bytes::shown,
        rule::{OrBroken, Outcome, Trouble, broken, does_not_apply, ensure},
    },
    ApplicationSuite,
    state::{Failing, Step, chain, context, genesis},
};
use crate::{memory::MemoryState, sim::Rng};

/// Reads of one call that are made to fail at most, one after the other.
const READS_MAX: u32 = 200;

/// A path that no application has.
const NO_PATH: &str = "no_application_has_this_path";

/// Lets each read of a call fail, the first, the second and so on; `call` says whether it told of it.
fn each_read(
    what: &str,
    state: &MemoryState,
    call: impl Fn(&mut Failing) -> Result<(), String>,
) -> Result<u32, Trouble> {
    for reads in 0..READS_MAX {
        let mut failing = Failing::after(state, reads);
        let told = call(&mut failing);
        if !failing.failed.get() {
            return Ok(reads);
        }
        told.or_else(|instead| broken(format!("read {} of {what} failed, and it answered {instead}", reads + 1)))?;
    }
    Ok(READS_MAX)
}

fn of_step(suite: &ApplicationSuite<'_>, application: &dyn Application, step: &Step) -> Result<u32, Trouble> {
    let Step { height, before, transactions, .. } = step;
    let mut reads = 0;
    for mode in [Mode::Build, Mode::Apply] {
        reads += each_read(&format!("executing block {height} ({mode:?})"), before, |state| {
            match application.execute(state, &context(*height, mode, transactions)) {
                Err(ExecuteError::Storage(_)) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })?;
    }
    for one in transactions {
        let now = context(*height, Mode::Build, &[]).time;
        reads +=
            each_read(&format!("checking {}", shown(one)), before, |state| match application.check(state, now, one) {
                Err(Rejection::State(_)) => Ok(()),
                other => Err(format!("{other:?}")),
            })?;
        reads += each_read(&format!("verifying {}", shown(one)), before, |state| {
            match application.verify(state, std::slice::from_ref(one)).as_slice() {
                [Err(Rejection::State(_))] => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })?;
    }
    for (path, params) in &suite.queries {
        reads +=
            each_read(&format!("the query `{path}`"), before, |state| match application.query(state, path, params) {
                Err(QueryError::State(_)) => Ok(()),
                other => Err(format!("{other:?}")),
            })?;
    }
    Ok(reads)
}

pub(super) fn errors_are_passed_on(suite: &ApplicationSuite<'_>, _: &mut Rng) -> Outcome {
    let application = suite.build()?;
    each_read("genesis", &MemoryState::new(), |state| match application.genesis(state) {
        Err(_) => Ok(()),
        Ok(hash) => Err(hash.to_string()),
    })?;
    let mut reads = 0;
    for step in chain(&*application, &suite.verified(&*application)?)? {
        reads += of_step(suite, &*application, &step)?;
    }
    if reads == 0 {
        return does_not_apply("it reads nothing of the state");
    }
    Ok(())
}

pub(super) fn answers_are_json(suite: &ApplicationSuite<'_>, _: &mut Rng) -> Outcome {
    let queries = suite.queries()?;
    let application = suite.build()?;
    let state = genesis(&*application)?;
    for (path, params) in queries {
        let answer = application.query(&state, path, params).or_broken(format!("the query `{path}`"))?;
        serde_json::from_slice::<serde_json::Value>(&answer)
            .or_broken(format!("reading the answer to `{path}`, {}, as JSON", shown(&answer)))?;
    }
    Ok(())
}

pub(super) fn unknown_path(suite: &ApplicationSuite<'_>, _: &mut Rng) -> Outcome {
    let application = suite.build()?;
    let state = genesis(&*application)?;
    match application.query(&state, NO_PATH, b"{}") {
        Err(QueryError::UnknownPath { path, .. }) => {
            ensure(path == NO_PATH, || format!("asked for `{NO_PATH}`, it says that `{path}` is unknown"))
        }
        other => broken(format!("asked for `{NO_PATH}`, it answered {other:?}")),
    }
}
