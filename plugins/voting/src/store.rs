//! What of elections is kept where.
//!
//! | key | value | changes |
//! |---|---|---|
//! | `hash` | the application's hash | each block with transactions |
//! | `drafts` | how many there are, u32 | |
//! | `order` u32 | a draft's id | never |
//! | `draft` draft | its bytes | never |
//! | `stage` draft | [`Stage`] | until it is opened |
//! | `area` draft, u16 registrar | [`Area`] | until the list is sealed |
//! | `begun` draft, u16 registrar, transaction | nothing | never |
//! | `entry` draft, u16 registrar, u32 index | K, pseudonym | until the list is sealed |
//! | `commit` draft, u32 attempt, u16 trustee | commitment | never |
//! | `reveal` draft, u32 attempt, u16 trustee | [`StoredReveal`] | never |
//! | `ack` draft, u32 attempt, u16 trustee | the transcript's hash | never |
//! | `ended` draft, u32 attempt | [`Ended`] | never |
//! | `elect` eid | draft, manifest | never |
//! | `terms` eid | [`Terms`]: of the manifest what every ballot needs, without a key to decode | never |
//! | `used` eid, u32 credential | transaction, u32 number | never |
//! | `track` eid, tracker | u32 number | never |
//! | `pair` eid, SHA-256 of a pair | nothing | never |
//! | `list` eid, u32 chunk | 128 trackers | until the chunk is full |
//! | `box` eid | [`BallotBox`] | with each block of ballots |
//! | `closed` eid | [`Closed`] | never |
//! | `share` eid, u16 trustee | its parts as in the transaction | never |
//! | `evid` eid, u16 trustee, u16 n | transaction | never |
//! | `result` eid | u32 counts | never |
//!
//! Numbers in keys are big-endian, so that scans go in their order.

use borsh::{BorshDeserialize, BorshSerialize};
use quorate::{
    Bytes, Hash,
    application::{StateRead, StateWrite},
    merkle::Frontier,
    storage::StorageError,
};
use quorate_ballot::{
    contest::{Contest, Rules},
    dkg::Revealed,
    group::Element,
    record::{Body, Draft, Entry, Manifest, SEALED_BYTES, Seat, SharePart},
    schnorr::SIGNATURE_BYTES,
};

/// Trackers in a row.
pub(crate) const TRACKERS_A_ROW: u32 = 128;

/// A 32-byte id.
pub(crate) type Id = [u8; 32];

type Stored<T> = Result<T, StorageError>;

/// Where a draft stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Stage {
    /// The sealed list.
    pub(crate) list: Option<SealedList>,
    /// The ceremony's attempt.
    pub(crate) attempt: u32,
    /// How many of each step of this attempt are there.
    pub(crate) commitments: u16,
    pub(crate) reveals: u16,
    pub(crate) acks: u16,
    /// Once all are revealed.
    pub(crate) transcript: Option<Id>,
    /// Once it is opened.
    pub(crate) eid: Option<Id>,
}

#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct SealedList {
    /// Whose area it is.
    pub(crate) registrar: u16,
    pub(crate) count: u32,
    pub(crate) root: Id,
}

/// A registrar's entries.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Area {
    /// The key of the last entry.
    pub(crate) last: Id,
    /// The tree over the entries.
    pub(crate) tree: Frontier,
}

/// A reveal's fields as encoded.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct StoredReveal {
    coefficients: Vec<Id>,
    proof: [u8; SIGNATURE_BYTES],
    sealed: Vec<[u8; SEALED_BYTES]>,
}

/// Why an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum Ended {
    /// A justified complaint.
    Complaint {
        /// Who complained.
        trustee: u16,
        /// About whom.
        dealer: u16,
    },
    /// By the admin.
    Restart,
}

/// What every ballot of an election is measured by.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Terms {
    pub(crate) draft: Id,
    /// Whose area the list is.
    pub(crate) registrar: u16,
    /// Credentials in it.
    pub(crate) count: u32,
    /// Options, lo, hi of each contest.
    contests: Vec<(u16, u16, u16)>,
    y: Id,
    pub(crate) opens_ms: u64,
    pub(crate) closes_ms: u64,
}

impl Terms {
    pub(crate) fn new(id: &Id, manifest: &Manifest, list: &SealedList) -> Self {
        let Draft { contests, opens_ms, closes_ms, .. } = &manifest.draft;
        let numbers = contests.iter().map(|one| (one.contest.options(), one.contest.lo(), one.contest.hi()));
        Self {
            draft: *id,
            registrar: list.registrar,
            count: list.count,
            contests: numbers.collect(),
            y: *manifest.y.as_bytes(),
            opens_ms: *opens_ms,
            closes_ms: *closes_ms,
        }
    }

    pub(crate) fn rules(&self) -> Stored<Rules> {
        let contests = self.contests.iter().map(|(options, lo, hi)| Contest::new(*options, *lo, *hi));
        let contests = contests.collect::<Result<_, _>>().map_err(|_| damaged("terms"))?;
        Rules::new(contests).map_err(|_| damaged("terms"))
    }

    pub(crate) fn y(&self) -> Stored<Element> {
        Element::decode(&self.y).map_err(|_| damaged("terms"))
    }
}

/// The ballots of an election, added up.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct BallotBox {
    pub(crate) count: u32,
    /// A || Bt of every option.
    pub(crate) sums: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Closed {
    pub(crate) ballots: u32,
    pub(crate) tally: Id,
    pub(crate) is_void: bool,
}

fn key(name: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = name.as_bytes().to_vec();
    key.push(b'/');
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}

fn damaged(what: &str) -> StorageError {
    StorageError::Damaged(format!("the voting application's `{what}` is not what it wrote"))
}

fn read<T: BorshDeserialize>(state: &dyn StateRead, name: &str, parts: &[&[u8]]) -> Stored<Option<T>> {
    let Some(bytes) = state.get(&key(name, parts))? else { return Ok(None) };
    borsh::from_slice(&bytes).map(Some).map_err(|_| damaged(name))
}

fn write<T: BorshSerialize>(state: &mut dyn StateWrite, name: &str, parts: &[&[u8]], value: &T) {
    // Writing plain fields to memory does not fail.
    state.put(&key(name, parts), &borsh::to_vec(value).unwrap_or_default());
}

pub(crate) fn hash(state: &dyn StateRead) -> Stored<Hash> {
    let bytes: Id = read(state, "hash", &[])?.ok_or_else(|| damaged("hash"))?;
    Ok(Hash::new(bytes))
}

pub(crate) fn set_hash(state: &mut dyn StateWrite, hash: &Hash) {
    write(state, "hash", &[], hash.as_bytes());
}

pub(crate) fn drafts(state: &dyn StateRead) -> Stored<u32> {
    Ok(read(state, "drafts", &[])?.unwrap_or_default())
}

/// The ids of drafts from number `from` on.
pub(crate) fn drafts_from(state: &dyn StateRead, from: u32, limit: usize) -> Stored<Vec<Id>> {
    let (from, to) = (key("order", &[&from.to_be_bytes()]), key("order", &[&[0xff; 5]]));
    let rows = state.scan(&from, &to, limit)?;
    rows.iter().map(|(_, id)| id.as_ref().try_into().map_err(|_| damaged("order"))).collect()
}

pub(crate) fn draft(state: &dyn StateRead, id: &Id) -> Stored<Option<Draft>> {
    let Some(bytes) = draft_bytes(state, id)? else { return Ok(None) };
    Draft::decode(&bytes).map(Some).map_err(|_| damaged("draft"))
}

pub(crate) fn draft_bytes(state: &dyn StateRead, id: &Id) -> Stored<Option<Bytes>> {
    state.get(&key("draft", &[id]))
}

pub(crate) fn add_draft(state: &mut dyn StateWrite, id: &Id, bytes: &[u8]) -> Stored<()> {
    let number = drafts(state)?;
    state.put(&key("draft", &[id]), bytes);
    state.put(&key("order", &[&number.to_be_bytes()]), id);
    write(state, "drafts", &[], &number.saturating_add(1));
    set_stage(state, id, &Stage::default());
    Ok(())
}

pub(crate) fn stage(state: &dyn StateRead, draft: &Id) -> Stored<Option<Stage>> {
    read(state, "stage", &[draft])
}

pub(crate) fn set_stage(state: &mut dyn StateWrite, draft: &Id, stage: &Stage) {
    write(state, "stage", &[draft], stage);
}

pub(crate) fn area(state: &dyn StateRead, draft: &Id, registrar: u16) -> Stored<Area> {
    Ok(read(state, "area", &[draft, &registrar.to_be_bytes()])?.unwrap_or_default())
}

pub(crate) fn set_area(state: &mut dyn StateWrite, draft: &Id, registrar: u16, area: &Area) {
    write(state, "area", &[draft, &registrar.to_be_bytes()], area);
}

fn begun_key(draft: &Id, registrar: u16, transaction: &Id) -> Vec<u8> {
    key("begun", &[draft, &registrar.to_be_bytes(), transaction])
}

/// Whether a transaction has begun this area: none does it twice.
pub(crate) fn has_begun(state: &dyn StateRead, draft: &Id, registrar: u16, transaction: &Id) -> Stored<bool> {
    Ok(state.get(&begun_key(draft, registrar, transaction))?.is_some())
}

pub(crate) fn set_begun(state: &mut dyn StateWrite, draft: &Id, registrar: u16, transaction: &Id) {
    state.put(&begun_key(draft, registrar, transaction), &[]);
}

fn entry_key(draft: &Id, registrar: u16, index: u32) -> Vec<u8> {
    key("entry", &[draft, &registrar.to_be_bytes(), &index.to_be_bytes()])
}

/// An entry as stored: the encoded key, the pseudonym.
pub(crate) fn entry(state: &dyn StateRead, draft: &Id, registrar: u16, index: u32) -> Stored<Option<(Id, Id)>> {
    let Some(bytes) = state.get(&entry_key(draft, registrar, index))? else { return Ok(None) };
    split(&bytes).map(Some).ok_or_else(|| damaged("entry"))
}

/// Entries from `from` on.
pub(crate) fn entries(
    state: &dyn StateRead,
    draft: &Id,
    registrar: u16,
    (from, to): (u32, u32),
) -> Stored<Vec<(Id, Id)>> {
    let limit = usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX);
    let rows = state.scan(&entry_key(draft, registrar, from), &entry_key(draft, registrar, to), limit)?;
    rows.iter().map(|(_, bytes)| split(bytes).ok_or_else(|| damaged("entry"))).collect()
}

fn split(bytes: &[u8]) -> Option<(Id, Id)> {
    let (first, second) = bytes.split_at_checked(32)?;
    Some((first.try_into().ok()?, second.try_into().ok()?))
}

pub(crate) fn set_entry(state: &mut dyn StateWrite, draft: &Id, registrar: u16, index: u32, entry: &Entry) {
    let value = [entry.key.as_bytes().as_slice(), &entry.pseudonym].concat();
    state.put(&entry_key(draft, registrar, index), &value);
}

fn seat_parts(seat: &Seat) -> [Vec<u8>; 3] {
    [seat.draft.to_vec(), seat.attempt.to_be_bytes().to_vec(), seat.trustee.to_be_bytes().to_vec()]
}

fn seat_key(name: &str, seat: &Seat) -> Vec<u8> {
    key(name, &seat_parts(seat).each_ref().map(Vec::as_slice))
}

/// A commitment (`commit`) or an ack (`ack`).
pub(crate) fn step(state: &dyn StateRead, name: &str, seat: &Seat) -> Stored<Option<Id>> {
    let Some(bytes) = state.get(&seat_key(name, seat))? else { return Ok(None) };
    bytes.as_ref().try_into().map(Some).map_err(|_| damaged(name))
}

pub(crate) fn set_step(state: &mut dyn StateWrite, name: &str, seat: &Seat, value: &Id) {
    state.put(&seat_key(name, seat), value);
}

pub(crate) fn reveal(state: &dyn StateRead, seat: &Seat) -> Stored<Option<Revealed>> {
    let parts = seat_parts(seat);
    let Some(stored) = read::<StoredReveal>(state, "reveal", &parts.each_ref().map(Vec::as_slice))? else {
        return Ok(None);
    };
    stored.decode().map(Some).ok_or_else(|| damaged("reveal"))
}

pub(crate) fn set_reveal(state: &mut dyn StateWrite, seat: &Seat, reveal: &Revealed) {
    let stored = StoredReveal {
        coefficients: reveal.coefficients.iter().map(|c| *c.as_bytes()).collect(),
        proof: reveal.proof.to_bytes(),
        sealed: reveal.sealed.clone(),
    };
    let parts = seat_parts(seat);
    write(state, "reveal", &parts.each_ref().map(Vec::as_slice), &stored);
}

impl StoredReveal {
    fn decode(self) -> Option<Revealed> {
        use quorate_ballot::{codec::Reader, schnorr::Signature};
        let coefficients = self.coefficients.iter().map(|c| Element::decode(c).ok()).collect::<Option<_>>()?;
        let proof = Signature::read(&mut Reader::new(&self.proof), "R", "z").ok()?;
        Some(Revealed { coefficients, proof, sealed: self.sealed })
    }
}

/// All reveals of an attempt, in order, when all `n` are there.
pub(crate) fn reveals(state: &dyn StateRead, draft: &Id, attempt: u32, n: u16) -> Stored<Option<Vec<Revealed>>> {
    let of = |trustee| reveal(state, &Seat { draft: *draft, attempt, trustee });
    (1..=n).map(of).collect()
}

pub(crate) fn ended(state: &dyn StateRead, draft: &Id, attempt: u32) -> Stored<Option<Ended>> {
    read(state, "ended", &[draft, &attempt.to_be_bytes()])
}

pub(crate) fn set_ended(state: &mut dyn StateWrite, draft: &Id, attempt: u32, ended: Ended) {
    write(state, "ended", &[draft, &attempt.to_be_bytes()], &ended);
}

/// An election's draft and manifest.
pub(crate) fn election(state: &dyn StateRead, eid: &Id) -> Stored<Option<(Id, Manifest)>> {
    let Some((draft, bytes)) = read::<(Id, Vec<u8>)>(state, "elect", &[eid])? else { return Ok(None) };
    Manifest::decode(&bytes).map(|manifest| Some((draft, manifest))).map_err(|_| damaged("elect"))
}

pub(crate) fn set_election(
    state: &mut dyn StateWrite,
    eid: &Id,
    (draft, list): (&Id, &SealedList),
    manifest: &Manifest,
) {
    write(state, "elect", &[eid], &(draft, manifest.encode()));
    write(state, "terms", &[eid], &Terms::new(draft, manifest, list));
}

pub(crate) fn terms(state: &dyn StateRead, eid: &Id) -> Stored<Option<Terms>> {
    read(state, "terms", &[eid])
}

/// Who used a credential: the transaction, and its number.
pub(crate) fn used(state: &dyn StateRead, eid: &Id, index: u32) -> Stored<Option<(Id, u32)>> {
    read(state, "used", &[eid, &index.to_be_bytes()])
}

pub(crate) fn set_used(state: &mut dyn StateWrite, eid: &Id, index: u32, by: &(Id, u32)) {
    write(state, "used", &[eid, &index.to_be_bytes()], by);
}

pub(crate) fn tracked(state: &dyn StateRead, eid: &Id, tracker: &Id) -> Stored<Option<u32>> {
    read(state, "track", &[eid, tracker])
}

pub(crate) fn has_pair(state: &dyn StateRead, eid: &Id, hash: &Hash) -> Stored<bool> {
    Ok(state.get(&key("pair", &[eid, hash.as_bytes()]))?.is_some())
}

pub(crate) fn set_pair(state: &mut dyn StateWrite, eid: &Id, hash: &Hash) {
    state.put(&key("pair", &[eid, hash.as_bytes()]), &[]);
}

/// Appends the tracker of ballot `number`, counted from 1.
pub(crate) fn add_tracker(state: &mut dyn StateWrite, eid: &Id, number: u32, tracker: &Id) -> Stored<()> {
    let row = number.saturating_sub(1) / TRACKERS_A_ROW;
    let key = key("list", &[eid, &row.to_be_bytes()]);
    let mut trackers = state.get(&key)?.map(|bytes| bytes.to_vec()).unwrap_or_default();
    trackers.extend_from_slice(tracker);
    state.put(&key, &trackers);
    write(state, "track", &[eid, tracker], &number);
    Ok(())
}

/// Trackers from number `from` (counted from 0), at most `limit`.
pub(crate) fn trackers(state: &dyn StateRead, eid: &Id, from: u32, limit: u32) -> Stored<Vec<Id>> {
    let to = from.saturating_add(limit);
    let rows = (from / TRACKERS_A_ROW, to.div_ceil(TRACKERS_A_ROW));
    let count = usize::try_from(rows.1.saturating_sub(rows.0)).unwrap_or(usize::MAX);
    let [begin, end] = [rows.0, rows.1].map(|row| key("list", &[eid, &row.to_be_bytes()]));
    let mut all = Vec::new();
    for (_, row) in state.scan(&begin, &end, count)? {
        let (trackers, rest) = row.as_chunks::<32>();
        if !rest.is_empty() {
            return Err(damaged("list"));
        }
        all.extend_from_slice(trackers);
    }
    let skip = usize::try_from(from % TRACKERS_A_ROW).unwrap_or(usize::MAX);
    Ok(all.into_iter().skip(skip).take(usize::try_from(limit).unwrap_or(usize::MAX)).collect())
}

pub(crate) fn ballot_box(state: &dyn StateRead, eid: &Id) -> Stored<BallotBox> {
    Ok(read(state, "box", &[eid])?.unwrap_or_default())
}

pub(crate) fn set_ballot_box(state: &mut dyn StateWrite, eid: &Id, ballots: &BallotBox) {
    write(state, "box", &[eid], ballots);
}

pub(crate) fn closed(state: &dyn StateRead, eid: &Id) -> Stored<Option<Closed>> {
    read(state, "closed", &[eid])
}

pub(crate) fn set_closed(state: &mut dyn StateWrite, eid: &Id, closed: &Closed) {
    write(state, "closed", &[eid], closed);
}

/// A trustee's valid share.
pub(crate) fn share(state: &dyn StateRead, eid: &Id, trustee: u16) -> Stored<Option<Vec<SharePart>>> {
    use quorate_ballot::record::Transaction;
    let Some(bytes) = state.get(&key("share", &[eid, &trustee.to_be_bytes()]))? else { return Ok(None) };
    match Transaction::decode(&bytes).map(|transaction| transaction.body) {
        Ok(Body::Share { parts, .. }) => Ok(Some(parts)),
        _ => Err(damaged("share")),
    }
}

pub(crate) fn set_share(state: &mut dyn StateWrite, eid: &Id, trustee: u16, transaction: &[u8]) {
    state.put(&key("share", &[eid, &trustee.to_be_bytes()]), transaction);
}

/// Transactions with wrong shares of a trustee.
pub(crate) fn evidence(state: &dyn StateRead, eid: &Id, trustee: u16, max: u16) -> Stored<Vec<Id>> {
    let at = |n: u16| key("evid", &[eid, &trustee.to_be_bytes(), &n.to_be_bytes()]);
    let rows = state.scan(&at(0), &at(u16::MAX), usize::from(max))?;
    rows.iter().map(|(_, id)| id.as_ref().try_into().map_err(|_| damaged("evid"))).collect()
}

pub(crate) fn add_evidence(state: &mut dyn StateWrite, eid: &Id, (trustee, n): (u16, u16), transaction: &Id) {
    state.put(&key("evid", &[eid, &trustee.to_be_bytes(), &n.to_be_bytes()]), transaction);
}

pub(crate) fn result(state: &dyn StateRead, eid: &Id) -> Stored<Option<Vec<u32>>> {
    read(state, "result", &[eid])
}

pub(crate) fn set_result(state: &mut dyn StateWrite, eid: &Id, counts: &[u32]) {
    write(state, "result", &[eid], &counts.to_vec());
}
