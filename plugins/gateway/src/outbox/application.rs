//! The application of the outbox' ledger: which ballots are held, and how the work on each ended. Once a credential, as in the election itself.
//!
//! | key | value |
//! |---|---|
//! | `e` id | [`Entry`] |
//! | `b` id | the ballot's transaction, while it is held |
//! | `q` sequence, u64be | id, while it is held |
//! | `c` eid, credential u32be | id, unless it was refused |
//! | `n` | [`Counts`] |
//! | `h` | the application hash: SHA-256 over the one before and every transaction since |

use borsh::{BorshDeserialize, BorshSerialize};
use quorate::{
    Application, Bytes, Hash, Timestamp, TransactionId,
    application::{Admission, BlockContext, ExecuteError, Mode, Outcome, QueryError, Rejection, StateRead, StateWrite},
    storage::StorageError,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::record::{Counts, Entry, Parcel, Record, SETTLED_MAX, Settled};

/// Entries in one answer at most.
pub(crate) const LIST_MAX: usize = 1000;

/// The application, which has no settings: bounds are the service's.
#[derive(Debug, Clone, Copy, Default)]
pub struct OutboxLedger;

/// Why a record has no effect, or why that is not known.
enum Refusal {
    Rejected(Rejection),
    Storage(StorageError),
}

impl From<StorageError> for Refusal {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Rejected(rejection) => rejection,
            Refusal::Storage(error) => error.into(),
        }
    }
}

fn key(area: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = vec![area];
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

fn read<T: BorshDeserialize>(state: &dyn StateRead, key: &[u8]) -> Result<Option<T>, StorageError> {
    let Some(bytes) = state.get(key)? else { return Ok(None) };
    T::try_from_slice(&bytes).map(Some).map_err(|error| StorageError::Damaged(format!("outbox: {error}")))
}

fn write<T: BorshSerialize>(state: &mut dyn StateWrite, key: &[u8], value: &T) {
    // Writing to memory does not fail.
    state.put(key, &borsh::to_vec(value).unwrap_or_default());
}

fn entry(state: &dyn StateRead, id: &TransactionId) -> Result<Option<Entry>, StorageError> {
    read(state, &key(b'e', &[id.as_bytes()]))
}

fn counts(state: &dyn StateRead) -> Result<Counts, StorageError> {
    Ok(read(state, b"n")?.unwrap_or_default())
}

fn holder(state: &dyn StateRead, eid: &[u8; 32], credential: u32) -> Result<Option<TransactionId>, StorageError> {
    read(state, &key(b'c', &[eid, &credential.to_be_bytes()]))
}

fn decode(transaction: &[u8]) -> Result<Record, Rejection> {
    let record = Record::try_from_slice(transaction).map_err(|error| Rejection::Malformed(error.to_string()))?;
    match &record {
        Record::Settle { entries, .. } if entries.is_empty() || entries.len() > SETTLED_MAX => {
            Err(Rejection::Malformed(format!("{} entries are settled; 1 to {SETTLED_MAX} can be", entries.len())))
        }
        _ => Ok(record),
    }
}

fn parcel(transaction: &Bytes) -> Result<Parcel, Rejection> {
    Parcel::of_transaction(transaction.clone()).map_err(Rejection::Malformed)
}

/// Whether the state allows a record.
fn allowed(state: &dyn StateRead, record: &Record) -> Result<(), Refusal> {
    match record {
        Record::Accept { transaction, .. } => {
            let parcel = parcel(transaction)?;
            if let Some(known) = entry(state, &parcel.id)?
                && !matches!(known.settled, Some(Settled::Refused { .. }))
            {
                return Err(Rejection::NotAllowed("the ballot is held already".into()).into());
            }
            match holder(state, &parcel.eid, parcel.credential)? {
                Some(winner) => Err(Rejection::Duplicate { winner }.into()),
                None => Ok(()),
            }
        }
        Record::Settle { entries, .. } => {
            for (id, _) in entries {
                if entry(state, id)?.is_some_and(|entry| entry.settled.is_none()) {
                    return Ok(());
                }
            }
            Err(Rejection::NotAllowed("none of these ballots is held".into()).into())
        }
        Record::Reopen { id, .. } => match entry(state, id)? {
            Some(Entry { settled: Some(Settled::Refused { .. }), eid, credential, .. }) => {
                match holder(state, &eid, credential)? {
                    Some(winner) => Err(Rejection::Duplicate { winner }.into()),
                    None => Ok(()),
                }
            }
            Some(_) => Err(Rejection::NotAllowed("the ballot was not refused".into()).into()),
            None => Err(Rejection::NotAllowed("no such ballot was accepted here".into()).into()),
        },
    }
}

/// Applies a record that is allowed.
fn apply(state: &mut dyn StateWrite, record: &Record) -> Result<(), Refusal> {
    allowed(state, record)?;
    let mut counts = counts(state)?;
    match record {
        Record::Accept { transaction, accepted_ms } => {
            let Parcel { id, eid, credential, tracker, .. } = parcel(transaction)?;
            if entry(state, &id)?.is_some() {
                counts.refused = counts.refused.saturating_sub(1);
            }
            counts.accepted += 1;
            let len = transaction.len() as u64;
            let sequence = counts.accepted;
            let held = Entry { sequence, accepted_ms: *accepted_ms, len, eid, credential, tracker, settled: None };
            hold(state, &mut counts, &id, &held);
            state.put(&key(b'b', &[id.as_bytes()]), transaction);
        }
        Record::Settle { entries, .. } => {
            for (id, settled) in entries {
                let Some(mut known) = entry(state, id)?.filter(|entry| entry.settled.is_none()) else { continue };
                counts.held = counts.held.saturating_sub(1);
                counts.held_bytes = counts.held_bytes.saturating_sub(known.len);
                state.delete(&key(b'q', &[&known.sequence.to_be_bytes()]));
                match settled {
                    Settled::Final { .. } => {
                        counts.finals += 1;
                        state.delete(&key(b'b', &[id.as_bytes()]));
                    }
                    // Its bytes stay, so that it can be tried again; its credential is free.
                    Settled::Refused { .. } => {
                        counts.refused += 1;
                        state.delete(&key(b'c', &[&known.eid, &known.credential.to_be_bytes()]));
                    }
                }
                known.settled = Some(settled.clone());
                write(state, &key(b'e', &[id.as_bytes()]), &known);
            }
        }
        Record::Reopen { id, .. } => {
            let gone = || Refusal::Storage(StorageError::Damaged("outbox: an entry is gone".into()));
            let mut known = entry(state, id)?.ok_or_else(gone)?;
            counts.refused = counts.refused.saturating_sub(1);
            known.settled = None;
            hold(state, &mut counts, id, &known);
        }
    }
    write(state, b"n", &counts);
    Ok(())
}

fn hold(state: &mut dyn StateWrite, counts: &mut Counts, id: &TransactionId, entry: &Entry) {
    counts.held += 1;
    counts.held_bytes += entry.len;
    write(state, &key(b'e', &[id.as_bytes()]), entry);
    write(state, &key(b'q', &[&entry.sequence.to_be_bytes()]), id);
    write(state, &key(b'c', &[&entry.eid, &entry.credential.to_be_bytes()]), id);
}

impl Application for OutboxLedger {
    fn genesis(&self, state: &mut dyn StateWrite) -> Result<Hash, StorageError> {
        let hash = Hash::of(&[b"quorate/outbox/1"]);
        state.put(b"h", hash.as_bytes());
        Ok(hash)
    }

    fn verify(&self, _: &dyn StateRead, transactions: &[Bytes]) -> Vec<Result<(), Rejection>> {
        // There is one writer, which is the node itself.
        transactions.iter().map(|transaction| decode(transaction).map(drop)).collect()
    }

    fn check(&self, state: &dyn StateRead, _: Timestamp, transaction: &[u8]) -> Result<Admission, Rejection> {
        let record = decode(transaction)?;
        allowed(state, &record)?;
        let sender = match &record {
            Record::Accept { transaction, .. } => {
                let parcel = parcel(transaction)?;
                key(b'a', &[&parcel.eid, &parcel.credential.to_be_bytes()])
            }
            _ => key(b'o', &[Hash::of(&[transaction]).as_bytes()]),
        };
        Ok(Admission { sender: sender.into(), sequence: 0, next_sequence: 0, conflict_keys: Vec::new() })
    }

    fn execute(&self, state: &mut dyn StateWrite, block: &BlockContext<'_>) -> Result<Outcome, ExecuteError> {
        let mut outcome = Outcome::default();
        let before = read::<Hash>(state, b"h")?.unwrap_or_default();
        let mut hash = before;
        for (index, bytes) in block.transactions.iter().enumerate() {
            let applied = decode(bytes).map_err(Refusal::from).and_then(|record| apply(state, &record));
            match (applied, block.mode) {
                (Ok(()), _) => {
                    hash = Hash::of(&[hash.as_bytes(), bytes]);
                    outcome.receipts.push(Bytes::new());
                }
                (Err(Refusal::Storage(error)), _) => return Err(error.into()),
                (Err(refusal), Mode::Build) => outcome.left_out.push((index, refusal.into())),
                (Err(refusal), Mode::Apply) => {
                    return Err(ExecuteError::Invalid { index, rejection: refusal.into() });
                }
            }
        }
        if hash != before {
            state.put(b"h", hash.as_bytes());
        }
        outcome.app_hash = hash;
        Ok(outcome)
    }

    fn query(&self, state: &dyn StateRead, path: &str, params: &[u8]) -> Result<Vec<u8>, QueryError> {
        let params = if params.is_empty() { b"{}" } else { params };
        let bad = |error: serde_json::Error| QueryError::BadParams(error.to_string());
        let answer = match path {
            "counts" => counts_json(&counts(state)?),
            "entry" => {
                let Named { id } = serde_json::from_slice(params).map_err(bad)?;
                entry(state, &id)?.map_or(Value::Null, |found| entry_json(&id, &found))
            }
            "ballot" => {
                let Named { id } = serde_json::from_slice(params).map_err(bad)?;
                let found = state.get(&key(b'b', &[id.as_bytes()]))?;
                json!(found.map(|bytes| format!("0x{}", hex::encode(bytes))))
            }
            "holder" => {
                let Seat { eid, credential } = serde_json::from_slice(params).map_err(bad)?;
                json!(holder(state, eid.as_bytes(), credential)?)
            }
            "held" => {
                let Page { from, limit } = serde_json::from_slice(params).map_err(bad)?;
                held(state, from, limit.min(LIST_MAX))?
            }
            _ => {
                let known = "counts, entry, ballot, holder, held".into();
                return Err(QueryError::UnknownPath { path: path.chars().take(80).collect(), known });
            }
        };
        serde_json::to_vec(&answer).map_err(|error| QueryError::State(error.to_string()))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    id: TransactionId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Seat {
    eid: Hash,
    credential: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    #[serde(default)]
    from: u64,
    #[serde(default = "most")]
    limit: usize,
}

fn most() -> usize {
    LIST_MAX
}

fn counts_json(counts: &Counts) -> Value {
    let Counts { accepted, held, held_bytes, finals, refused } = counts;
    json!({ "accepted": accepted, "held": held, "held_bytes": held_bytes, "final": finals, "refused": refused })
}

fn entry_json(id: &TransactionId, entry: &Entry) -> Value {
    let settled = match &entry.settled {
        None => Value::Null,
        Some(Settled::Final { height, block_hash, source }) => {
            json!({ "final": true, "height": height, "block_hash": block_hash, "source": source })
        }
        Some(Settled::Refused { reason, winner }) => json!({ "final": false, "reason": reason, "winner": winner }),
    };
    json!({
        "id": id,
        "sequence": entry.sequence,
        "accepted_ms": entry.accepted_ms,
        "len": entry.len,
        "eid": Hash::new(entry.eid),
        "credential": entry.credential,
        "tracker": Hash::new(entry.tracker),
        "settled": settled,
    })
}

fn held(state: &dyn StateRead, from: u64, limit: usize) -> Result<Value, QueryError> {
    let found = state.scan(&key(b'q', &[&from.to_be_bytes()]), &[b'q' + 1], limit)?;
    let mut entries = Vec::with_capacity(found.len());
    for (_, id) in &found {
        let id = TransactionId::try_from_slice(id).map_err(|error| QueryError::State(error.to_string()))?;
        if let Some(known) = entry(state, &id)? {
            entries.push(entry_json(&id, &known));
        }
    }
    let last = entries.last().and_then(|entry| entry.get("sequence")).and_then(Value::as_u64);
    let next = last.filter(|_| found.len() == limit).map(|last| last + 1);
    Ok(json!({ "entries": entries, "next": next }))
}
