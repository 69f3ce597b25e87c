//! Ballots, the close, and decryption: rules V20, V21 and V26 to V28.

use quorate::{Timestamp, application::StateRead};
use quorate_ballot::{ballot::BallotHead, contest::Rules, record::Manifest};

use super::{damaged, hex, known_election, no_election, of, utc};
use crate::{
    refusal::{Refusal, Ruled},
    store::{self, Closed, Id, Terms},
};

/// Wrong shares of a trustee that are kept as evidence.
pub(crate) const EVIDENCE_MAX: u16 = 4;

/// V20, the dates.
pub(crate) fn voting_time(terms: &Terms, now: Timestamp) -> Ruled {
    let Terms { opens_ms, closes_ms, .. } = terms;
    if now.0 < *opens_ms {
        let what = format!("voting begins at {}, and it is {}", utc(*opens_ms), now.utc());
        return Err(Refusal::not_allowed(20, "ballot.early", what));
    }
    if now.0 > *closes_ms {
        let what = format!("voting ended at {}, and it is {}", utc(*closes_ms), now.utc());
        return Err(Refusal::not_allowed(20, "ballot.late", what));
    }
    Ok(())
}

/// V21, the list.
pub(crate) fn listed(state: &dyn StateRead, terms: &Terms, head: &BallotHead) -> Ruled {
    let Terms { draft, registrar, count, .. } = terms;
    if head.index >= *count {
        let what = format!("credential {} is not in the list, which has {count}", head.index);
        return Err(Refusal::not_allowed(21, "ballot.credential", what));
    }
    let (key, _) = store::entry(state, draft, *registrar, head.index)?.ok_or_else(damaged)?;
    if key != head.key {
        let what = format!("credential {} has another key than the ballot", head.index);
        return Err(Refusal::not_allowed(21, "ballot.credential", what));
    }
    Ok(())
}

/// V21, once a credential.
pub(crate) fn unused(state: &dyn StateRead, head: &BallotHead) -> Ruled {
    match store::used(state, &head.eid, head.index)? {
        Some((winner, _)) => Err(Refusal::duplicate(21, "ballot.used", winner)),
        None => Ok(()),
    }
}

/// V20 and V21; gives the election's terms and rules.
pub(crate) fn ballot(state: &dyn StateRead, now: Timestamp, len: usize, head: &BallotHead) -> Ruled<(Terms, Rules)> {
    let terms = store::terms(state, &head.eid)?.ok_or_else(|| no_election(20, &head.eid))?;
    let rules = terms.rules()?;
    let right = rules.ballot_bytes();
    if len != right {
        let what = format!("it has {len} bytes; every ballot of this election has {right}");
        return Err(Refusal::malformed(20, "ballot.parse", what));
    }
    voting_time(&terms, now)?;
    listed(state, &terms, head)?;
    unused(state, head)?;
    Ok((terms, rules))
}

/// V26.
pub(crate) fn close(state: &dyn StateRead, now: Timestamp, eid: &Id) -> Ruled<Manifest> {
    let (_, manifest) = known_election(state, 2, eid)?;
    if store::closed(state, eid)?.is_some() {
        return Err(Refusal::not_allowed(26, "close.twice", "the election is closed already"));
    }
    let closes_ms = manifest.draft.closes_ms;
    if now.0 <= closes_ms {
        let what = format!("voting ends at {}, and it is {}; nobody can end it before", utc(closes_ms), now.utc());
        return Err(Refusal::not_allowed(26, "close.early", what));
    }
    Ok(manifest)
}

/// V27, V28 without the proof; gives how many wrong ones of this trustee are there.
pub(crate) fn share(
    state: &dyn StateRead,
    (eid, tally): (&Id, &Id),
    (number, parts): (u16, usize),
) -> Ruled<(Manifest, Closed, u16)> {
    let (_, manifest) = known_election(state, 2, eid)?;
    let Some(closed) = store::closed(state, eid)? else {
        return Err(Refusal::not_allowed(27, "share.early", "the election is not closed yet"));
    };
    if closed.is_void {
        let what =
            format!("{} ballots are fewer than {}; nothing is decrypted", closed.ballots, manifest.draft.ballots_min);
        return Err(Refusal::not_allowed(27, "share.void", what));
    }
    if closed.tally != *tally {
        let what = format!("the tally is {}, not {}", hex(&closed.tally), hex(tally));
        return Err(Refusal::not_allowed(27, "share.th", what));
    }
    if manifest.draft.trustees.key(number).is_none() {
        let what = format!("there is no trustee {number}; they are 1 to {}", manifest.draft.trustees.count());
        return Err(Refusal::not_allowed(27, "share.trustee", what));
    }
    if store::share(state, eid, number)?.is_some() {
        let what = format!("a valid share of trustee {number} is there already");
        return Err(Refusal::not_allowed(27, "share.twice", what));
    }
    let options = of(&manifest.draft)?.options();
    if parts != options {
        return Err(Refusal::not_allowed(
            27,
            "share.count",
            format!("{parts} parts; the election has {options} options"),
        ));
    }
    let kept = store::evidence(state, eid, number, EVIDENCE_MAX)?.len();
    let kept = u16::try_from(kept).unwrap_or(EVIDENCE_MAX);
    if kept >= EVIDENCE_MAX {
        let what = format!("{EVIDENCE_MAX} wrong shares of trustee {number} are kept; no more are taken");
        return Err(Refusal::not_allowed(28, "share.evidence", what));
    }
    Ok((manifest, closed, kept))
}
