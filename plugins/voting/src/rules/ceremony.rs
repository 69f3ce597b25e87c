//! The trustees' key: rules V13 to V18.

use quorate::application::StateRead;
use quorate_ballot::{
    dkg::{self, PublicKeys, Revealed},
    group::Element,
    record::{Draft, Seat},
};

use super::{ceremony, damaged, hex, known_stage, trustee};
use crate::{
    refusal::{Refusal, Ruled},
    store::{self, Id, Stage},
};

/// Attempts of a ceremony at most.
const ATTEMPTS_MAX: u32 = 1000;

/// V13, and that the ceremony is not over.
pub(crate) fn attempt(state: &dyn StateRead, id: &Id, attempt: u32) -> Ruled<(Draft, Stage)> {
    let (draft, stage) = known_stage(state, id)?;
    if stage.acks == draft.trustees.count() {
        return Err(Refusal::not_allowed(13, "ceremony.over", "all trustees have acknowledged the transcript"));
    }
    if stage.attempt != attempt {
        let what = format!("the attempt is {attempt}; the ceremony is at {}", stage.attempt);
        return Err(Refusal::not_allowed(13, "ceremony.attempt", what));
    }
    Ok((draft, stage))
}

fn seated(state: &dyn StateRead, seat: &Seat) -> Ruled<(Draft, Stage)> {
    let (draft, stage) = attempt(state, &seat.draft, seat.attempt)?;
    trustee(&draft, seat.trustee)?;
    Ok((draft, stage))
}

fn twice(seat: &Seat, what: &str) -> Refusal {
    let what = format!("trustee {} has sent its {what} in attempt {}", seat.trustee, seat.attempt);
    Refusal::not_allowed(14, "ceremony.twice", what)
}

/// V13, V14.
pub(crate) fn commitment(state: &dyn StateRead, seat: &Seat) -> Ruled<Stage> {
    let (_, stage) = seated(state, seat)?;
    match store::step(state, "commit", seat)? {
        Some(_) => Err(twice(seat, "commitment")),
        None => Ok(stage),
    }
}

/// V13, V14, V15 without the proof; gives the keys when this reveal is the last.
pub(crate) fn reveal(
    state: &dyn StateRead,
    seat: &Seat,
    revealed: &Revealed,
) -> Ruled<(Stage, Option<(Id, PublicKeys)>)> {
    let (draft, stage) = seated(state, seat)?;
    let n = draft.trustees.count();
    if stage.commitments < n {
        let what = format!("{} of {n} trustees have committed themselves; reveal when all have", stage.commitments);
        return Err(Refusal::not_allowed(15, "reveal.early", what));
    }
    if store::reveal(state, seat)?.is_some() {
        return Err(twice(seat, "reveal"));
    }
    let (coefficients, sealed) = (revealed.coefficients.len(), revealed.sealed.len());
    if coefficients != usize::from(draft.trustees.needed) || sealed != usize::from(n) {
        let what = format!(
            "{coefficients} coefficients and {sealed} sealed shares; {} and {n} must be",
            draft.trustees.needed
        );
        return Err(Refusal::not_allowed(15, "reveal.count", what));
    }
    let cid = ceremony(&draft, seat);
    let committed = store::step(state, "commit", seat)?.ok_or_else(damaged)?;
    if dkg::commitment(&cid, seat.trustee, &revealed.coefficients) != committed {
        return Err(Refusal::not_allowed(15, "reveal.commitment", "the coefficients are not those committed to"));
    }
    if stage.reveals.saturating_add(1) < n {
        return Ok((stage, None));
    }
    let mut all = Vec::with_capacity(usize::from(n));
    for trustee in 1..=n {
        let other = if trustee == seat.trustee {
            Some(revealed.clone())
        } else {
            store::reveal(state, &Seat { trustee, ..*seat })?
        };
        all.push(other.ok_or_else(damaged)?);
    }
    let coefficients: Vec<Vec<Element>> = all.iter().map(|one| one.coefficients.clone()).collect();
    let keys = dkg::public_keys(&coefficients).map_err(|error| Refusal::not_allowed(15, "reveal.identity", error))?;
    Ok((stage, Some((dkg::transcript(&cid, &all), keys))))
}

/// V13, V14, V16.
pub(crate) fn ack(state: &dyn StateRead, seat: &Seat, transcript: &Id) -> Ruled<Stage> {
    let (draft, stage) = seated(state, seat)?;
    let Some(right) = stage.transcript else {
        let what = format!("{} of {} trustees have revealed", stage.reveals, draft.trustees.count());
        return Err(Refusal::not_allowed(16, "ack.early", what));
    };
    if right != *transcript {
        let what = format!("the transcript's hash is {}, not {}", hex(&right), hex(transcript));
        return Err(Refusal::not_allowed(16, "ack.transcript", what));
    }
    match store::step(state, "ack", seat)? {
        Some(_) => Err(twice(seat, "ack")),
        None => Ok(stage),
    }
}

/// V13, V17 without the proof, V18.
pub(crate) fn next_attempt(state: &dyn StateRead, id: &Id, number: u32) -> Ruled<Stage> {
    let (_, stage) = attempt(state, id, number)?;
    match number.checked_add(1) {
        Some(next) if next < ATTEMPTS_MAX => Ok(Stage { attempt: next, list: stage.list, ..Stage::default() }),
        _ => Err(Refusal::not_allowed(
            13,
            "ceremony.attempts",
            format!("there were {ATTEMPTS_MAX} attempts; make a new draft"),
        )),
    }
}
