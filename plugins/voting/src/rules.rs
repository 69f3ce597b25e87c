//! What the state allows: the rules of `SPEC.md` which need no more than reads.

use quorate::{Timestamp, application::StateRead};
use quorate_ballot::{
    ballot::BallotHead,
    contest::Rules,
    dkg::{self, PublicKeys, Revealed},
    group::Element,
    record::{Body, CREDENTIALS_MAX, Draft, Entry, Kind, ListSignature, Manifest, Seat, Transaction, transaction_id},
};

use crate::{
    application::Voting,
    refusal::{Refusal, Ruled},
    store::{self, Closed, Id, SealedList, Stage, Terms},
};

/// Drafts of a chain at most.
pub(crate) const DRAFTS_MAX: u32 = 100_000;

/// Attempts of a ceremony at most.
pub(crate) const ATTEMPTS_MAX: u32 = 1000;

/// Wrong shares of a trustee that are kept as evidence.
pub(crate) const EVIDENCE_MAX: u16 = 4;

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

fn list_is_open(stage: &Stage) -> Ruled {
    match &stage.list {
        None => Ok(()),
        Some(SealedList { count, .. }) => {
            Err(Refusal::not_allowed(9, "list.sealed", format!("the list is sealed, with {count} credentials")))
        }
    }
}

/// V9, V10; gives the area's count before.
pub(crate) fn entries(
    state: &dyn StateRead,
    id: &Id,
    (number, first): (u16, u32),
    entries: &[Entry],
) -> Ruled<store::Area> {
    let (draft, stage) = known_stage(state, id)?;
    registrar(&draft, number)?;
    list_is_open(&stage)?;
    let stored = store::area(state, id, number)?;
    let area = if first == 0 { store::Area::default() } else { stored.clone() };
    if first != area.tree.leaves() {
        let what =
            format!("the first is {first}; {} are there, so it must be that, or 0 to begin anew", stored.tree.leaves());
        return Err(Refusal::not_allowed(10, "entries.order", what));
    }
    let count = u32::try_from(entries.len()).unwrap_or(u32::MAX);
    if count == 0 || first.saturating_add(count) > CREDENTIALS_MAX {
        let what = format!("{count} entries after {first}; at least 1, and {CREDENTIALS_MAX} in all");
        return Err(Refusal::not_allowed(10, "entries.count", what));
    }
    let mut last = (first > 0).then_some(area.last);
    for entry in entries {
        let key = *entry.key.as_bytes();
        if last.is_some_and(|last| last >= key) {
            let what = format!("{} is not above the entry before it; entries ascend by key, none twice", entry.key);
            return Err(Refusal::not_allowed(10, "entries.order", what));
        }
        last = Some(key);
    }
    Ok(area)
}

/// V12 without the signatures.
pub(crate) fn list_quorum(draft: &Draft, signatures: &[ListSignature]) -> Ruled {
    let needed = draft.registrars.needed;
    let numbers: Vec<u16> = signatures.iter().map(|one| one.registrar).collect();
    if numbers.len() < usize::from(needed) {
        let what = format!("{} registrars signed; {needed} must", numbers.len());
        return Err(Refusal::not_allowed(12, "list.quorum", what));
    }
    if !numbers.is_sorted_by(|a, b| a < b) {
        return Err(Refusal::malformed(12, "list.quorum", "the registrars are not in ascending order, each once"));
    }
    numbers.iter().try_for_each(|number| registrar(draft, *number).map(drop))
}

/// V9, V11, V12 without the signatures.
pub(crate) fn list(state: &dyn StateRead, id: &Id, named: &SealedList, signatures: &[ListSignature]) -> Ruled<Stage> {
    let (draft, stage) = known_stage(state, id)?;
    registrar(&draft, named.registrar)?;
    list_is_open(&stage)?;
    list_quorum(&draft, signatures)?;
    let area = store::area(state, id, named.registrar)?;
    let found = area.tree.leaves();
    if found == 0 || found != named.count {
        let what = format!("registrar {} has entered {found} credentials, not {}", named.registrar, named.count);
        return Err(Refusal::not_allowed(11, "list.count", what));
    }
    let root = area.tree.root();
    if *root.as_bytes() != named.root {
        let what =
            format!("the root of what registrar {} entered is {root}, not {}", named.registrar, hex(&named.root));
        return Err(Refusal::not_allowed(11, "list.root", what));
    }
    Ok(stage)
}

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

/// All rules but costly proofs, for the pool; gives what tells apart transactions that exclude each other, with the place among them.
pub(crate) fn check(
    voting: &Voting,
    state: &dyn StateRead,
    now: Timestamp,
    transaction: &Transaction,
) -> Ruled<Admitted> {
    let kind = transaction.body.kind();
    let one = |parts: &[&[u8]]| Admitted::new(kind, parts);
    Ok(match &transaction.body {
        Body::Draft(body) => {
            draft(voting, state, now, body)?;
            one(&[&body.hash()])
        }
        Body::Entries { draft, registrar, first, entries: list } => {
            let count = store::area(state, draft, *registrar)?.tree.leaves();
            let admitted = one(&[draft, &registrar.to_be_bytes()]);
            if *first > count {
                // A later part of the list waits for those before it.
                let (known, stage) = known_stage(state, draft)?;
                self::registrar(&known, *registrar)?;
                list_is_open(&stage)?;
                return Ok(Admitted { sequence: (*first).into(), next: count.into(), ..admitted });
            }
            entries(state, draft, (*registrar, *first), list)?;
            // Beginning anew is next, wherever the area is.
            Admitted { sequence: count.into(), next: count.into(), ..admitted }
        }
        Body::List { draft, registrar, count, root, signatures } => {
            list(state, draft, &SealedList { registrar: *registrar, count: *count, root: *root }, signatures)?;
            one(&[draft])
        }
        Body::Commitment { seat, .. } => {
            commitment(state, seat)?;
            Admitted::of_seat(kind, seat)
        }
        Body::Reveal { seat, coefficients, proof, sealed } => {
            let revealed = Revealed { coefficients: coefficients.clone(), proof: *proof, sealed: sealed.clone() };
            reveal(state, seat, &revealed)?;
            Admitted::of_seat(kind, seat)
        }
        Body::Ack { seat, transcript } => {
            ack(state, seat, transcript)?;
            Admitted::of_seat(kind, seat)
        }
        Body::Complaint { seat, .. } => {
            next_attempt(state, &seat.draft, seat.attempt)?;
            Admitted::of_seat(kind, seat)
        }
        Body::Restart { draft, attempt } => {
            next_attempt(state, draft, *attempt)?;
            one(&[draft])
        }
        Body::Open { draft, eid } => {
            open(state, now, draft, eid)?;
            one(&[draft])
        }
        Body::Ballot(bytes) => {
            let head = BallotHead::read(bytes).map_err(|error| crate::verify::wrong_ballot(&error))?;
            ballot(state, now, bytes.len(), &head)?;
            one(&[&head.eid, &head.index.to_be_bytes()])
        }
        Body::Close { eid } => {
            close(state, now, eid)?;
            one(&[eid])
        }
        Body::Share { eid, tally, trustee, parts } => {
            share(state, (eid, tally), (*trustee, parts.len()))?;
            one(&[eid, &trustee.to_be_bytes()])
        }
        _ => return Err(Refusal::malformed(1, "parse", "the kind is not known")),
    })
}

/// What the pool tells transactions apart by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Admitted {
    pub(crate) sender: Vec<u8>,
    pub(crate) sequence: u64,
    pub(crate) next: u64,
}

impl Admitted {
    fn new(kind: Kind, parts: &[&[u8]]) -> Self {
        let mut sender = vec![kind.byte()];
        parts.iter().for_each(|part| sender.extend_from_slice(part));
        Self { sender, sequence: 0, next: 0 }
    }

    fn of_seat(kind: Kind, seat: &Seat) -> Self {
        Self::new(kind, &[&seat.draft, &seat.attempt.to_be_bytes(), &seat.trustee.to_be_bytes()])
    }
}

/// What names a transaction.
pub(crate) fn id(bytes: &[u8]) -> Id {
    transaction_id(bytes)
}
