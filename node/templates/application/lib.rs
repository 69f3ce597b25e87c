//! The application `my-plugin`: a log. Any bytes are a transaction, and each counts once.
//!
//! | key | value |
//! |---|---|
//! | `count` | entries, u64be |
//! | `hash` | the application's hash: SHA-256 of the one before and the entry's id |
//! | `e` u64be | an entry |
//! | `i` id | its place, u64be |

use std::sync::Arc;

use quorate::{
    Application, Bytes, ChainId, Hash, Settings, Timestamp, TransactionId,
    application::{Admission, BlockContext, ExecuteError, Mode, Outcome, QueryError, Rejection, StateRead, StateWrite},
    plugin::{ApplicationPlugin, Descriptor, SetupError},
    storage::StorageError,
};

/// `[application]` of genesis. A key that is not here is refused, with its place in the file.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    entry_bytes_max: usize,
}

const EXAMPLE: &str = "# Bytes of an entry at most.
entry_bytes_max = 1024
";

/// `[application]` of a node's own file: nothing.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeRules {}

const COUNT: &[u8] = b"count";
const HASH: &[u8] = b"hash";

/// The log. All of its state is in the node's store.
struct Log(Rules);

fn count(state: &(impl StateRead + ?Sized)) -> Result<u64, StorageError> {
    let stored = state.get(COUNT)?;
    Ok(stored.and_then(|bytes| bytes.as_ref().try_into().ok()).map_or(0, u64::from_be_bytes))
}

fn id_key(id: &TransactionId) -> Vec<u8> {
    [b"i".as_slice(), id.as_bytes()].concat()
}

impl Log {
    fn is_known(&self, state: &(impl StateRead + ?Sized), id: TransactionId) -> Result<bool, StorageError> {
        Ok(state.get(&id_key(&id))?.is_some())
    }
}

impl Application for Log {
    fn genesis(&self, state: &mut dyn StateWrite) -> Result<Hash, StorageError> {
        state.put(HASH, Hash::ZERO.as_bytes());
        Ok(Hash::ZERO)
    }

    fn verify(&self, _: &dyn StateRead, transactions: &[Bytes]) -> Vec<Result<(), Rejection>> {
        let most = self.0.entry_bytes_max;
        let judge = |entry: &Bytes| match entry.len() {
            len if (1..=most).contains(&len) => Ok(()),
            len => Err(Rejection::Malformed(format!("an entry has {len} bytes; it must have 1 to {most}"))),
        };
        transactions.iter().map(judge).collect()
    }

    fn check(&self, state: &dyn StateRead, _: Timestamp, transaction: &[u8]) -> Result<Admission, Rejection> {
        let id = self.transaction_id(transaction);
        if self.is_known(state, id)? {
            return Err(Rejection::Duplicate { winner: id });
        }
        // Every entry is of a sender of its own: none waits for another.
        Ok(Admission { sender: Bytes::copy_from_slice(id.as_bytes()), ..Admission::default() })
    }

    fn execute(&self, state: &mut dyn StateWrite, block: &BlockContext<'_>) -> Result<Outcome, ExecuteError> {
        let mut outcome = Outcome::default();
        let mut count = count(state)?;
        let mut hash = state.get(HASH)?.unwrap_or_default();
        for (index, entry) in block.transactions.iter().enumerate() {
            let id = self.transaction_id(entry);
            if self.is_known(state, id)? {
                let rejection = Rejection::Duplicate { winner: id };
                match block.mode {
                    Mode::Apply => return Err(ExecuteError::Invalid { index, rejection }),
                    Mode::Build => outcome.left_out.push((index, rejection)),
                }
                continue;
            }
            let place = count.to_be_bytes();
            state.put(&[b"e".as_slice(), &place].concat(), entry);
            state.put(&id_key(&id), &place);
            hash = Bytes::copy_from_slice(Hash::of(&[&hash, id.as_bytes()]).as_bytes());
            outcome.receipts.push(Bytes::copy_from_slice(&place));
            count = count.saturating_add(1);
        }
        state.put(COUNT, &count.to_be_bytes());
        state.put(HASH, &hash);
        outcome.app_hash = Hash::new(hash.as_ref().try_into().unwrap_or_default());
        Ok(outcome)
    }

    fn query(&self, state: &dyn StateRead, path: &str, _params: &[u8]) -> Result<Vec<u8>, QueryError> {
        match path {
            "count" => Ok(format!("{{\"count\":{}}}", count(state)?).into_bytes()),
            _ => Err(QueryError::UnknownPath { path: path.into(), known: "count".into() }),
        }
    }
}

/// What `plugin = "my-plugin"` stands for.
pub struct MyPlugin;

impl ApplicationPlugin for MyPlugin {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new("my-plugin", env!("CARGO_PKG_VERSION"), "a log to which every transaction is appended")
            .with_example(EXAMPLE)
    }

    fn check(&self, shared: &Settings, settings: &Settings) -> Result<(), SetupError> {
        let Rules { .. } = shared.parse()?;
        let NodeRules {} = settings.parse()?;
        Ok(())
    }

    fn build(&self, _: ChainId, shared: &Settings, settings: &Settings) -> Result<Arc<dyn Application>, SetupError> {
        self.check(shared, settings)?;
        Ok(Arc::new(Log(shared.parse()?)))
    }
}
