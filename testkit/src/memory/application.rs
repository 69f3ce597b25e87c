//! The smallest application: a log to which every transaction is appended as it is.

use std::sync::Arc;

use bytes::Bytes;
use quorate::{
    Application, ChainId, Hash, Settings, Timestamp, TransactionId,
    application::{Admission, BlockContext, ExecuteError, Mode, Outcome, QueryError, Rejection, StateRead, StateWrite},
    plugin::{ApplicationPlugin, Descriptor, SetupError},
    storage::StorageError,
};

/// Bytes of an entry at most; an empty one is refused.
pub const ENTRY_BYTES_MAX: usize = 1024;

/// Entries in one answer at most.
const LOG_MAX: usize = 100;

const COUNT: &[u8] = b"count";
const HASH: &[u8] = b"hash";

/// A log. Any 1 to [`ENTRY_BYTES_MAX`] bytes are a transaction, and each counts once.
///
/// | key | value |
/// |---|---|
/// | `count` | entries, u64be |
/// | `hash` | the application's hash: SHA-256 of the one before and the entry's id |
/// | `e` u64be | an entry |
/// | `i` id | its place, u64be |
///
/// Queries: `count` gives `{"count": n}`; `log`, with `{"from": n}`, the entries from there on as hexadecimal texts.
#[derive(Debug, Clone, Copy, Default)]
pub struct MemoryApplication;

fn count(state: &(impl StateRead + ?Sized)) -> Result<u64, StorageError> {
    let stored = state.get(COUNT)?;
    Ok(stored.and_then(|bytes| bytes.as_ref().try_into().ok()).map_or(0, u64::from_be_bytes))
}

fn entry_key(at: u64) -> Vec<u8> {
    [b"e".as_slice(), &at.to_be_bytes()].concat()
}

fn id_key(id: &TransactionId) -> Vec<u8> {
    [b"i".as_slice(), id.as_bytes()].concat()
}

impl MemoryApplication {
    fn known(&self, state: &(impl StateRead + ?Sized), id: TransactionId) -> Result<bool, StorageError> {
        Ok(state.get(&id_key(&id))?.is_some())
    }
}

impl Application for MemoryApplication {
    fn genesis(&self, state: &mut dyn StateWrite) -> Result<Hash, StorageError> {
        state.put(HASH, Hash::ZERO.as_bytes());
        Ok(Hash::ZERO)
    }

    fn verify(&self, _: &dyn StateRead, transactions: &[Bytes]) -> Vec<Result<(), Rejection>> {
        let judge = |entry: &Bytes| {
            if (1..=ENTRY_BYTES_MAX).contains(&entry.len()) {
                return Ok(());
            }
            Err(Rejection::Malformed(format!("entry has {} bytes; it must have 1 to {ENTRY_BYTES_MAX}", entry.len())))
        };
        transactions.iter().map(judge).collect()
    }

    fn check(&self, state: &dyn StateRead, _: Timestamp, transaction: &[u8]) -> Result<Admission, Rejection> {
        let id = self.transaction_id(transaction);
        if self.known(state, id)? {
            return Err(Rejection::Duplicate { winner: id });
        }
        Ok(Admission { sender: Bytes::copy_from_slice(id.as_bytes()), ..Admission::default() })
    }

    fn execute(&self, state: &mut dyn StateWrite, block: &BlockContext<'_>) -> Result<Outcome, ExecuteError> {
        let mut outcome = Outcome::default();
        let mut count = count(state)?;
        let mut hash = state.get(HASH)?.unwrap_or_default();
        for (index, entry) in block.transactions.iter().enumerate() {
            let id = self.transaction_id(entry);
            if self.known(state, id)? {
                let rejection = Rejection::Duplicate { winner: id };
                if block.mode == Mode::Apply {
                    return Err(ExecuteError::Invalid { index, rejection });
                }
                outcome.left_out.push((index, rejection));
                continue;
            }
            state.put(&entry_key(count), entry);
            state.put(&id_key(&id), &count.to_be_bytes());
            hash = Bytes::copy_from_slice(Hash::of(&[&hash, id.as_bytes()]).as_bytes());
            outcome.receipts.push(Bytes::copy_from_slice(&count.to_be_bytes()));
            count = count.saturating_add(1);
        }
        state.put(COUNT, &count.to_be_bytes());
        state.put(HASH, &hash);
        outcome.app_hash = Hash::new(hash.as_ref().try_into().unwrap_or_default());
        Ok(outcome)
    }

    fn query(&self, state: &dyn StateRead, path: &str, params: &[u8]) -> Result<Vec<u8>, QueryError> {
        let answer = match path {
            "count" => serde_json::json!({ "count": count(state)? }),
            "log" => {
                let from = from_of(params)?;
                let entries = state.scan(&entry_key(from), &entry_key(u64::MAX), LOG_MAX)?;
                let texts: Vec<String> = entries.iter().map(|(_, entry)| format!("0x{entry:x}")).collect();
                serde_json::json!(texts)
            }
            _ => return Err(QueryError::UnknownPath { path: path.into(), known: "count, log".into() }),
        };
        Ok(answer.to_string().into_bytes())
    }
}

fn from_of(params: &[u8]) -> Result<u64, QueryError> {
    if params.is_empty() {
        return Ok(0);
    }
    let params: serde_json::Value = serde_json::from_slice(params)
        .map_err(|error| QueryError::BadParams(format!("params are not JSON: {error}")))?;
    match params.get("from") {
        None => Ok(0),
        Some(from) => {
            from.as_u64().ok_or_else(|| QueryError::BadParams(format!("`from` is {from}; it must be a number from 0")))
        }
    }
}

/// The plugin `memory`.
#[derive(Debug, Clone, Copy, Default)]
pub struct MemoryApplicationPlugin;

impl ApplicationPlugin for MemoryApplicationPlugin {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new("memory", env!("CARGO_PKG_VERSION"), "a log to which every transaction is appended")
    }

    fn check(&self, shared: &Settings, settings: &Settings) -> Result<(), SetupError> {
        super::no_settings(shared)?;
        super::no_settings(settings)
    }

    fn build(&self, _: ChainId, shared: &Settings, settings: &Settings) -> Result<Arc<dyn Application>, SetupError> {
        self.check(shared, settings)?;
        Ok(Arc::new(MemoryApplication))
    }
}
