//! What an allowed transaction does to the state, and its receipt.

use std::collections::BTreeMap;

use quorate::{
    Hash, Timestamp,
    application::{StateRead, StateWrite},
};
use quorate_ballot::{
    ballot::{self, BallotHead},
    contest::Rules,
    credential,
    dkg::Revealed,
    record::{Body, Draft, Entry, Kind, ListSignature, Receipt, Seat, SharePart, Transaction},
    tally::{self, Share, ShareOf, Sums},
};

use crate::{
    application::Voting,
    refusal::{Refusal, Ruled},
    rules,
    store::{self, BallotBox, Closed, Ended, Id, SealedList},
};

/// The ballot boxes that a block changes: read, added to, and written once a block.
#[derive(Default)]
pub(crate) struct Boxes(BTreeMap<Id, OpenBox>);

struct OpenBox {
    count: u32,
    sums: Sums,
}

/// Where and when a transaction is executed.
pub(crate) struct Place<'a> {
    pub(crate) voting: &'a Voting,
    pub(crate) time: Timestamp,
    pub(crate) boxes: &'a mut Boxes,
}

impl Boxes {
    fn of(&mut self, state: &dyn StateRead, eid: &Id, rules: &Rules) -> Ruled<&mut OpenBox> {
        if !self.0.contains_key(eid) {
            let BallotBox { count, sums } = store::ballot_box(state, eid)?;
            let sums = if count == 0 { Ok(Sums::new(rules)) } else { Sums::decode(rules, &sums) };
            let sums = sums.map_err(|_| rules::damaged())?;
            self.0.insert(*eid, OpenBox { count, sums });
        }
        self.0.get_mut(eid).ok_or_else(rules::damaged)
    }

    /// Writes what was added.
    pub(crate) fn write(self, state: &mut dyn StateWrite) {
        for (eid, OpenBox { count, sums }) in self.0 {
            store::set_ballot_box(state, &eid, &BallotBox { count, sums: sums.encode().concat() });
        }
    }
}

/// Checks all rules but those of `verify`, and applies; a transaction that is refused changes nothing.
pub(crate) fn apply(
    place: &mut Place<'_>,
    state: &mut dyn StateWrite,
    bytes: &[u8],
    transaction: Transaction,
) -> Ruled<Receipt> {
    let time = place.time;
    match transaction.body {
        Body::Draft(draft) => add_draft(place.voting, state, time, &draft),
        Body::Entries { draft, registrar, first, entries } => {
            add_entries(state, (&draft, registrar), (rules::id(bytes), first), &entries)
        }
        Body::List { draft, registrar, count, root, signatures } => {
            seal(state, draft, SealedList { registrar, count, root }, &signatures)
        }
        Body::Commitment { seat, commitment } => {
            let mut stage = rules::commitment(state, &seat)?;
            stage.commitments = stage.commitments.saturating_add(1);
            store::set_step(state, "commit", &seat, &commitment);
            store::set_stage(state, &seat.draft, &stage);
            Ok(Receipt::Step { kind: Kind::Commitment, seat, count: stage.commitments })
        }
        Body::Reveal { seat, coefficients, proof, sealed } => {
            add_reveal(state, seat, &Revealed { coefficients, proof, sealed })
        }
        Body::Ack { seat, transcript } => {
            let mut stage = rules::ack(state, &seat, &transcript)?;
            stage.acks = stage.acks.saturating_add(1);
            store::set_step(state, "ack", &seat, &transcript);
            store::set_stage(state, &seat.draft, &stage);
            Ok(Receipt::Step { kind: Kind::Ack, seat, count: stage.acks })
        }
        Body::Complaint { seat, dealer, .. } => {
            let why = Ended::Complaint { trustee: seat.trustee, dealer };
            again(state, Kind::Complaint, (&seat.draft, seat.attempt), why)
        }
        Body::Restart { draft, attempt } => again(state, Kind::Restart, (&draft, attempt), Ended::Restart),
        Body::Open { draft, eid } => {
            let (mut stage, manifest) = rules::open(state, time, &draft, &eid)?;
            let list = stage.list.clone().ok_or_else(rules::damaged)?;
            stage.eid = Some(eid);
            store::set_election(state, &eid, (&draft, &list), &manifest);
            store::set_stage(state, &draft, &stage);
            Ok(Receipt::Open { draft, eid })
        }
        Body::Ballot(ballot) => count(place, state, rules::id(bytes), &ballot),
        Body::Close { eid } => close(place, state, &eid),
        Body::Share { eid, tally, trustee, parts } => decrypt(state, bytes, &ShareOf { eid, tally, trustee }, &parts),
        _ => Err(Refusal::malformed(1, "parse", "the kind is not known")),
    }
}

fn add_draft(voting: &Voting, state: &mut dyn StateWrite, time: Timestamp, draft: &Draft) -> Ruled<Receipt> {
    rules::draft(voting, state, time, draft)?;
    let id = draft.hash();
    store::add_draft(state, &id, &draft.encode())?;
    Ok(Receipt::Draft { draft: id })
}

fn add_entries(
    state: &mut dyn StateWrite,
    (draft, registrar): (&Id, u16),
    (id, first): (Id, u32),
    entries: &[Entry],
) -> Ruled<Receipt> {
    let mut area = rules::entries(state, draft, (registrar, first), entries)?;
    if first == 0 {
        if store::has_begun(state, draft, registrar, &id)? {
            let what = "the area was begun by this very transaction already";
            return Err(Refusal::not_allowed(10, "entries.twice", what));
        }
        store::set_begun(state, draft, registrar, &id);
    }
    for (index, entry) in (first..).zip(entries) {
        store::set_entry(state, draft, registrar, index, entry);
        area.tree.push(credential::leaf(draft, index, entry));
        area.last = *entry.key.as_bytes();
    }
    store::set_area(state, draft, registrar, &area);
    Ok(Receipt::Entries { draft: *draft, registrar, entries: area.tree.leaves() })
}

fn seal(state: &mut dyn StateWrite, draft: Id, list: SealedList, signatures: &[ListSignature]) -> Ruled<Receipt> {
    let mut stage = rules::list(state, &draft, &list, signatures)?;
    let SealedList { count, root, .. } = list;
    stage.list = Some(list);
    store::set_stage(state, &draft, &stage);
    Ok(Receipt::List { draft, count, root })
}

fn add_reveal(state: &mut dyn StateWrite, seat: Seat, revealed: &Revealed) -> Ruled<Receipt> {
    let (mut stage, last) = rules::reveal(state, &seat, revealed)?;
    stage.reveals = stage.reveals.saturating_add(1);
    stage.transcript = last.map(|(transcript, _)| transcript);
    store::set_reveal(state, &seat, revealed);
    store::set_stage(state, &seat.draft, &stage);
    Ok(Receipt::Step { kind: Kind::Reveal, seat, count: stage.reveals })
}

fn again(state: &mut dyn StateWrite, kind: Kind, (draft, attempt): (&Id, u32), why: Ended) -> Ruled<Receipt> {
    let stage = rules::next_attempt(state, draft, attempt)?;
    store::set_ended(state, draft, attempt, why);
    store::set_stage(state, draft, &stage);
    Ok(Receipt::Again { kind, draft: *draft, attempt: stage.attempt })
}

/// V20, V21, V25.
fn count(place: &mut Place<'_>, state: &mut dyn StateWrite, id: Id, bytes: &[u8]) -> Ruled<Receipt> {
    let wrong = |error| crate::verify::wrong_ballot(&error);
    let head = BallotHead::read(bytes).map_err(wrong)?;
    let (_, rules) = rules::ballot(state, place.time, bytes.len(), &head)?;
    let (tracker, pairs) = ballot::read_votes(bytes, &rules).map_err(wrong)?;
    if store::tracked(state, &head.eid, &tracker)?.is_some() {
        return Err(Refusal::not_allowed(25, "ballot.copied", "a ballot with this tracker is counted already"));
    }
    let hashes: Vec<Hash> = pairs.iter().map(|pair| Hash::of(&[&pair.to_bytes()])).collect();
    for (at, hash) in hashes.iter().enumerate() {
        let before = hashes.get(..at).is_some_and(|earlier| earlier.contains(hash));
        if before || store::has_pair(state, &head.eid, hash)? {
            let what = format!("the ciphertext of option {at}, counted over all contests, was in a ballot before");
            return Err(Refusal::not_allowed(25, "ballot.copied", what));
        }
    }
    let open = place.boxes.of(state, &head.eid, &rules)?;
    let number = open.count.saturating_add(1);
    open.count = number;
    open.sums.add_pairs(pairs.iter());
    hashes.iter().for_each(|hash| store::set_pair(state, &head.eid, hash));
    store::set_used(state, &head.eid, head.index, &(id, number));
    store::add_tracker(state, &head.eid, number, &tracker)?;
    Ok(Receipt::Ballot { eid: head.eid, number, credential: head.index, tracker })
}

/// V26.
fn close(place: &mut Place<'_>, state: &mut dyn StateWrite, eid: &Id) -> Ruled<Receipt> {
    let manifest = rules::close(state, place.time, eid)?;
    let rules = rules::of(&manifest.draft)?;
    let OpenBox { count, sums } = place.boxes.of(state, eid, &rules)?;
    let trackers = store::trackers(state, eid, 0, *count)?;
    let tally = tally::tally_hash(eid, &trackers, sums);
    let closed = Closed { ballots: *count, tally, is_void: *count < manifest.draft.ballots_min };
    store::set_closed(state, eid, &closed);
    Ok(Receipt::Close { eid: *eid, ballots: closed.ballots, tally, is_void: closed.is_void })
}

/// V27 to V29.
fn decrypt(state: &mut dyn StateWrite, bytes: &[u8], of: &ShareOf, parts: &[SharePart]) -> Ruled<Receipt> {
    let ShareOf { eid, trustee, .. } = of;
    let (manifest, closed, wrong) = rules::share(state, (eid, &of.tally), (*trustee, parts.len()))?;
    let rules = rules::of(&manifest.draft)?;
    let sums = Sums::decode(&rules, &store::ballot_box(state, eid)?.sums).map_err(|_| rules::damaged())?;
    let key = usize::from(*trustee).checked_sub(1).and_then(|at| manifest.x.get(at)).ok_or_else(rules::damaged)?;
    if tally::check_share(of, &rules, &sums, key, parts).is_err() {
        store::add_evidence(state, eid, (*trustee, wrong), &rules::id(bytes));
        return Ok(Receipt::Share { eid: *eid, trustee: *trustee, is_valid: false, result: Vec::new() });
    }
    let needed = usize::from(manifest.draft.trustees.needed);
    let result = match store::result(state, eid)? {
        Some(_) => Vec::new(),
        None => decided(
            state,
            (eid, &closed),
            (&rules, &sums),
            (*trustee, parts),
            (manifest.draft.trustees.count(), needed),
        )?,
    };
    store::set_share(state, eid, *trustee, bytes);
    if !result.is_empty() {
        store::set_result(state, eid, &result);
    }
    Ok(Receipt::Share { eid: *eid, trustee: *trustee, is_valid: true, result })
}

/// The counts, when this share is the last that is needed.
fn decided(
    state: &dyn StateRead,
    (eid, closed): (&Id, &Closed),
    (rules, sums): (&Rules, &Sums),
    (trustee, parts): (u16, &[SharePart]),
    (trustees, needed): (u16, usize),
) -> Ruled<Vec<u32>> {
    let mut all = vec![(trustee, parts.to_vec())];
    for other in (1..=trustees).filter(|other| *other != trustee) {
        if let Some(parts) = store::share(state, eid, other)? {
            all.push((other, parts));
        }
    }
    if all.len() < needed {
        return Ok(Vec::new());
    }
    let shares: Vec<Share<'_>> = all.iter().map(|(trustee, parts)| Share { trustee: *trustee, parts }).collect();
    tally::count(rules, sums, closed.ballots, &shares, needed)
        .map_err(|error| Refusal::not_allowed(29, "result", error))
}
