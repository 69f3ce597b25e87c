//! Ballots, tallies, shares and results.

use quorate_ballot::{
    ballot::{self, Ballot, BallotHead},
    contest::Rules,
    record::{Body, Manifest, Receipt, Transaction},
    tally::{self, Share, ShareOf, Sums},
};

use super::{
    Checked, Place, broken, hex, must,
    officers::signed,
    state::{Drafted, Election, Elections, Id},
    unlike, utc,
};

/// Wrong shares of a trustee that are kept.
const EVIDENCE_MAX: usize = 4;

/// What a trustee decrypts, and what it rests on: all of it was checked.
#[derive(Debug, Clone)]
pub struct AuditedTally {
    /// The election.
    pub manifest: Manifest,
    /// Its contests.
    pub rules: Rules,
    /// The sums.
    pub sums: Sums,
    /// th.
    pub tally: Id,
    /// N.
    pub ballots: u32,
}

pub(super) fn tally(elections: &Elections, eid: &Id) -> Option<AuditedTally> {
    let drafted = elections.drafts.get(elections.by_eid.get(eid)?)?;
    let election = drafted.election.as_ref()?;
    let (tally, false) = election.closed? else { return None };
    Some(AuditedTally {
        manifest: election.manifest.clone(),
        rules: drafted.rules.clone(),
        sums: election.sums.clone(),
        tally,
        ballots: u32::try_from(election.trackers.len()).ok()?,
    })
}

/// The first ballot of a block whose signature or proof is wrong, on all cores. What ballots rest on is of earlier blocks.
pub(super) fn first_wrong(elections: &Elections, decoded: &[Transaction]) -> Option<(usize, String)> {
    let ballots: Vec<(usize, &[u8])> = decoded
        .iter()
        .enumerate()
        .filter_map(|(index, one)| match &one.body {
            Body::Ballot(bytes) => Some((index, bytes.as_slice())),
            _ => None,
        })
        .collect();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = ballots.len().div_ceil(cores).max(1);
    let check = |part: &[(usize, &[u8])]| {
        part.iter().find_map(|(index, bytes)| Some((*index, proven(elections, bytes).err()?)))
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = ballots.chunks(share).map(|part| scope.spawn(move || check(part))).collect();
        let failed = || Some((0, "the auditor itself failed".to_owned()));
        workers
            .into_iter()
            .filter_map(|worker| worker.join().unwrap_or_else(|_| failed()))
            .min_by_key(|(index, _)| *index)
    })
}

fn proven(elections: &Elections, bytes: &[u8]) -> Checked<()> {
    let head = BallotHead::read(bytes).map_err(|error| format!("rule V20: {error}"))?;
    let drafted = elections.by_eid.get(&head.eid).and_then(|draft| elections.drafts.get(draft));
    let Some(Drafted { rules, election: Some(election), .. }) = drafted else {
        return broken(20, format!("no election {} was opened before this block", hex(&head.eid)));
    };
    let ballot = Ballot::decode(bytes, rules).map_err(|error| format!("rule V23: {error}"))?;
    ballot::verify(&election.manifest.key(), rules, &ballot).map_err(|error| match error {
        ballot::BallotError::Signature => format!("rule V22: {error}"),
        _ => format!("rule V24: {error}"),
    })
}

pub(super) fn ballot(elections: &mut Elections, place: &mut Place<'_>, _: Id, body: &Body) -> Checked {
    let Body::Ballot(bytes) = body else { return unlike(body) };
    let head = BallotHead::read(bytes).map_err(|error| format!("rule V20: {error}"))?;
    let listed = entry_of(elections, &head)?;
    let (draft, rules, election) = elections.election(place.fresh, 20, &head.eid)?;
    let (opens, closes, time) = (draft.opens_ms, draft.closes_ms, place.time);
    must(20, opens <= time.0 && time.0 <= closes, || {
        format!("ballots count from {} to {}, and the block is of {}", utc(opens), utc(closes), time.utc())
    })?;
    must(21, listed == Some(head.key), || format!("credential {} is not in the list with this key", head.index))?;
    must(21, election.used.insert(head.index), || format!("credential {} has voted before", head.index))?;
    let ballot = Ballot::decode(bytes, rules).map_err(|error| format!("rule V23: {error}"))?;
    // A tracker covers eid and credential, so that one which is there has been refused above.
    for pair in ballot.pairs() {
        must(25, election.pairs.insert(pair.to_bytes()), || "a ciphertext was in a ballot before".into())?;
    }
    election.sums.add(&ballot);
    election.trackers.push(*ballot.tracker());
    let number = u32::try_from(election.trackers.len()).unwrap_or(u32::MAX);
    Ok(Receipt::Ballot { eid: head.eid, number, credential: head.index, tracker: *ballot.tracker() })
}

/// The key at the ballot's place in the list.
fn entry_of(elections: &Elections, head: &BallotHead) -> Checked<Option<Id>> {
    let drafted = elections.by_eid.get(&head.eid).and_then(|draft| elections.drafts.get(draft));
    let at = usize::try_from(head.index).unwrap_or(usize::MAX);
    Ok(drafted.and_then(Drafted::sealed).and_then(|list| list.get(at)).map(|entry| *entry.key.as_bytes()))
}

pub(super) fn close(elections: &mut Elections, place: &mut Place<'_>, body: &Body) -> Checked {
    let Body::Close { eid } = body else { return unlike(body) };
    let (draft, _, election) = elections.election(place.fresh, 2, eid)?;
    must(26, election.closed.is_none(), || "it was closed before".into())?;
    let (closes, time) = (draft.closes_ms, place.time);
    must(26, time.0 > closes, || format!("voting ends at {}, and the block is of {}", utc(closes), time.utc()))?;
    let tally = tally::tally_hash(eid, &election.trackers, &election.sums);
    let ballots = u32::try_from(election.trackers.len()).unwrap_or(u32::MAX);
    let is_void = ballots < draft.ballots_min;
    election.closed = Some((tally, is_void));
    Ok(Receipt::Close { eid: *eid, ballots, tally, is_void })
}

pub(super) fn share(elections: &mut Elections, place: &mut Place<'_>, id: Id, transaction: &Transaction) -> Checked {
    let Body::Share { eid, tally: named, trustee, parts } = &transaction.body else { return unlike(&transaction.body) };
    let (draft, rules, election) = elections.election(place.fresh, 2, eid)?;
    let Some(key) = draft.trustees.key(*trustee) else { return broken(27, format!("there is no trustee {trustee}")) };
    signed(transaction, key, "the trustee")?;
    let Some((right, false)) = election.closed else { return broken(27, "the election is not closed, or void") };
    must(27, right == *named, || format!("th is {}, not {}", hex(&right), hex(named)))?;
    must(27, !election.shares.contains_key(trustee), || format!("trustee {trustee} has decrypted before"))?;
    must(27, parts.len() == rules.options(), || format!("{} parts for {} options", parts.len(), rules.options()))?;
    let Some(x) = usize::from(*trustee).checked_sub(1).and_then(|at| election.manifest.x.get(at)) else {
        return broken(27, format!("trustee {trustee} has no key"));
    };
    let of = ShareOf { eid: *eid, tally: right, trustee: *trustee };
    if tally::check_share(&of, rules, &election.sums, x, parts).is_err() {
        let kept = election.evidence.entry(*trustee).or_default();
        must(28, kept.len() < EVIDENCE_MAX, || format!("{EVIDENCE_MAX} wrong shares are kept already"))?;
        kept.push(id);
        return Ok(Receipt::Share { eid: *eid, trustee: *trustee, is_valid: false, result: Vec::new() });
    }
    must(28, election.evidence.get(trustee).map_or(0, Vec::len) < EVIDENCE_MAX, || {
        format!("{EVIDENCE_MAX} wrong shares of trustee {trustee} were kept; none is taken after them")
    })?;
    election.shares.insert(*trustee, parts.clone());
    let result = decide(rules, election, usize::from(draft.trustees.needed))?;
    Ok(Receipt::Share { eid: *eid, trustee: *trustee, is_valid: true, result })
}

/// The result, when it is there for the first time; each further share must agree with it.
fn decide(rules: &Rules, election: &mut Election, needed: usize) -> Checked<Vec<u32>> {
    if election.shares.len() < needed {
        return Ok(Vec::new());
    }
    // The latest shares, so that each one is used in some count.
    let shares: Vec<Share<'_>> =
        election.shares.iter().rev().map(|(trustee, parts)| Share { trustee: *trustee, parts }).collect();
    let ballots = u32::try_from(election.trackers.len()).unwrap_or(u32::MAX);
    let counts =
        tally::count(rules, &election.sums, ballots, &shares, needed).map_err(|error| format!("rule V29: {error}"))?;
    match &election.result {
        None => {
            election.result = Some(counts.clone());
            Ok(counts)
        }
        Some(before) if *before == counts => Ok(Vec::new()),
        Some(before) => broken(29, format!("other shares give {counts:?}, where the result was {before:?}")),
    }
}
