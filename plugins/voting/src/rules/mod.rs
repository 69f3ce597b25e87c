//! What the state allows: the rules of `SPEC.md` which need no more than reads.

mod admission;
mod ceremony;
mod enrolment;
mod votes;

use quorate::{Timestamp, application::StateRead};
use quorate_ballot::{
    contest::Rules,
    dkg::{self, PublicKeys},
    group::Element,
    record::{Draft, Manifest, Seat, transaction_id},
};

pub(crate) use admission::check;
pub(crate) use ceremony::{ack, commitment, next_attempt, reveal};
pub(crate) use enrolment::{entries, list, list_quorum};
pub(crate) use votes::{EVIDENCE_MAX, ballot, close, listed, share};

use crate::{
    application::Voting,
    refusal::{Refusal, Ruled},
    store::{self, Id, Stage},
};

/// Drafts of a chain at most.
pub(crate) const DRAFTS_MAX: u32 = 100_000;

fn utc(ms: u64) -> String {
    Timestamp(ms).utc()
}

fn hex(id: &Id) -> String {
    format!("0x{}", hex::encode(id))
}

pub(crate) fn damaged() -> Refusal {
    Refusal::Storage(quorate::storage::StorageError::Damaged("records of an election do not fit each other".into()))
}

/// The contests of a draft that was decoded.
pub(crate) fn of(draft: &Draft) -> Ruled<Rules> {
    draft.rules().map_err(|_| damaged())
}

pub(crate) fn no_election(rule: u8, eid: &Id) -> Refusal {
    let code = if rule == 20 { "ballot.election" } else { "election.unknown" };
    Refusal::not_allowed(rule, code, format!("no election {} was opened on this chain", hex(eid)))
}

/// V2.
pub(crate) fn known_draft(state: &dyn StateRead, id: &Id) -> Ruled<Draft> {
    let unknown = || Refusal::not_allowed(2, "draft.unknown", format!("no draft {} is on this chain", hex(id)));
    store::draft(state, id)?.ok_or_else(unknown)
}

/// V2.
pub(crate) fn known_stage(state: &dyn StateRead, id: &Id) -> Ruled<(Draft, Stage)> {
    let draft = known_draft(state, id)?;
    Ok((draft, store::stage(state, id)?.ok_or_else(damaged)?))
}

/// V2, V20.
pub(crate) fn known_election(state: &dyn StateRead, rule: u8, eid: &Id) -> Ruled<(Id, Manifest)> {
    store::election(state, eid)?.ok_or_else(|| no_election(rule, eid))
}

pub(crate) fn registrar(draft: &Draft, number: u16) -> Ruled<&Element> {
    draft.registrars.key(number).ok_or_else(|| {
        let what = format!("there is no registrar {number}; they are 1 to {}", draft.registrars.count());
        Refusal::not_allowed(9, "entries.registrar", what)
    })
}

pub(crate) fn trustee(draft: &Draft, number: u16) -> Ruled<&Element> {
    draft.trustees.key(number).ok_or_else(|| {
        let what = format!("there is no trustee {number}; they are 1 to {}", draft.trustees.count());
        Refusal::not_allowed(14, "ceremony.trustee", what)
    })
}

/// The id of the ceremony at an attempt.
pub(crate) fn ceremony(draft: &Draft, seat: &Seat) -> Id {
    let trustees = &draft.trustees;
    dkg::ceremony_id(&draft.chain_id, &seat.draft, &trustees.keys, trustees.needed, seat.attempt)
}

/// V5, V6.
pub(crate) fn draft_is_ours(voting: &Voting, draft: &Draft) -> Ruled {
    if draft.chain_id != *voting.chain_id().as_bytes() {
        let what = format!("the draft is for the chain {}; this is {}", hex(&draft.chain_id), voting.chain_id());
        return Err(Refusal::not_allowed(5, "draft.chain", what));
    }
    if !voting.admins().contains(&draft.admin) {
        let what = format!("{} is none of the election admins in genesis", draft.admin);
        return Err(Refusal::not_allowed(6, "draft.admin", what));
    }
    Ok(())
}

/// V4 to V8, without the signature.
pub(crate) fn draft(voting: &Voting, state: &dyn StateRead, now: Timestamp, draft: &Draft) -> Ruled {
    draft_is_ours(voting, draft)?;
    if draft.closes_ms <= now.0 {
        let what = format!("voting would end at {}, and it is {}", utc(draft.closes_ms), now.utc());
        return Err(Refusal::not_allowed(7, "draft.late", what));
    }
    let id = draft.hash();
    if store::draft_bytes(state, &id)?.is_some() {
        return Err(Refusal::not_allowed(8, "draft.known", format!("{} is on the chain already", hex(&id))));
    }
    if store::drafts(state)? >= DRAFTS_MAX {
        return Err(Refusal::not_allowed(
            8,
            "draft.many",
            format!("the chain has {DRAFTS_MAX} drafts, the most it may have"),
        ));
    }
    Ok(())
}

/// The manifest which the records of a draft make: V19 without `eid` and time.
pub(crate) fn manifest(state: &dyn StateRead, id: &Id) -> Ruled<(Stage, Manifest)> {
    let (draft, stage) = known_stage(state, id)?;
    if let Some(eid) = &stage.eid {
        return Err(Refusal::not_allowed(19, "open.twice", format!("the draft was opened as election {}", hex(eid))));
    }
    let n = draft.trustees.count();
    let (Some(list), Some(transcript), true) = (&stage.list, stage.transcript, stage.acks == n) else {
        let list = if stage.list.is_some() { "sealed" } else { "not sealed" };
        let what = format!("the list is {list}, and {} of {n} trustees have acknowledged the key", stage.acks);
        return Err(Refusal::not_allowed(19, "open.early", what));
    };
    let reveals = store::reveals(state, id, stage.attempt, n)?.ok_or_else(damaged)?;
    let coefficients: Vec<Vec<Element>> = reveals.into_iter().map(|one| one.coefficients).collect();
    let PublicKeys { y, x } = dkg::public_keys(&coefficients).map_err(|_| damaged())?;
    let manifest = Manifest { draft, transcript, y, x, credentials: list.count, root: list.root };
    Ok((stage, manifest))
}

/// V19.
pub(crate) fn open(state: &dyn StateRead, now: Timestamp, id: &Id, eid: &Id) -> Ruled<(Stage, Manifest)> {
    let (stage, manifest) = manifest(state, id)?;
    let right = manifest.eid();
    if right != *eid {
        let what = format!("the records make the election {}, not {}", hex(&right), hex(eid));
        return Err(Refusal::not_allowed(19, "open.eid", what));
    }
    if manifest.draft.closes_ms <= now.0 {
        let what = format!("voting ended at {}, and it is {}", utc(manifest.draft.closes_ms), now.utc());
        return Err(Refusal::not_allowed(19, "open.late", what));
    }
    Ok((stage, manifest))
}

/// What names a transaction.
pub(crate) fn id(bytes: &[u8]) -> Id {
    transaction_id(bytes)
}
