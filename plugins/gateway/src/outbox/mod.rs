//! The outbox: ballots that were accepted and are not final yet, in a ledger of the gateway's own.
//!
//! ```text
//!   accept ──► local ledger (solo, one fsync for all that wait) ──► answer to the voter
//!                  │
//!                  ├──► forwarder ──► validators           sent again until it is settled
//!                  │
//!                  └──◄ settled: a verified receipt, or a refusal by the chain that this node verified
//! ```
//!
//! The ledger is the truth; the index in memory is what there is to do, and is made anew from the ledger at start.

pub(crate) mod application;
mod index;
pub(crate) mod record;
#[cfg(test)]
mod tests;

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use quorate::{
    Hash, TransactionId,
    application::Rejection,
    node::{NodeHandle, SubmitError, TransactionState},
    plugin::SetupError,
    service::{Ledgers, OpenLedger, OwnLedger},
};
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) use self::index::{Index, Standing};
use self::{
    application::{LIST_MAX, OutboxLedger},
    record::{Parcel, Record, SETTLED_MAX, Settled},
};

/// The name of the ledger and its application.
pub(crate) const NAME: &str = "outbox";

/// Records that may wait for the ledger's next block, and their bytes.
const WAITING_MAX: (usize, usize) = (8192, 64 << 20);

/// How long the ledger may take to make a record durable: a disk that needs longer is as good as broken.
const DURABLE_WITHIN: Duration = Duration::from_secs(10);

/// A block as soon as there is work, so that those who come meanwhile share the next fsync.
const CONSENSUS: &str =
    "block_interval_ms = 0\nblock_transactions_max = 2048\nblock_bytes_max = 8388608\nempty_blocks = \"never\"\n";

/// What bounds the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Ballots that are held at a time at most.
    pub(crate) count_max: usize,
    /// Their bytes at most.
    pub(crate) bytes_max: usize,
}

/// A ballot in the ledger.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Held {
    pub(crate) id: TransactionId,
    pub(crate) sequence: u64,
    pub(crate) accepted_ms: u64,
    pub(crate) len: usize,
    pub(crate) eid: Hash,
    pub(crate) tracker: Hash,
    pub(crate) settled: Option<Ended>,
}

/// How the work on it ended.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Ended {
    #[serde(rename = "final")]
    pub(crate) is_final: bool,
    pub(crate) height: Option<u64>,
    pub(crate) block_hash: Option<Hash>,
    pub(crate) source: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) winner: Option<TransactionId>,
}

/// Why a ballot was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AcceptError {
    #[error("another ballot of this credential, {0}, is held already")]
    Taken(TransactionId),
    #[error("the outbox is full: it holds {count} ballots, {bytes} bytes")]
    Full { count: usize, bytes: usize },
    #[error("the outbox did not make it durable: {0}")]
    Failed(String),
}

/// See the module.
pub(crate) struct Outbox {
    node: NodeHandle,
    ledger: OpenLedger,
    bounds: Bounds,
    index: Mutex<Index>,
}

impl Outbox {
    /// Opens the ledger in `directory`, or begins it. [`Outbox::load`] comes next.
    pub(crate) fn open(
        ledgers: &Arc<dyn Ledgers>,
        directory: &Path,
        (consensus, storage): (&str, &str),
        bounds: Bounds,
    ) -> Result<Self, SetupError> {
        let ledger = ledgers.open(OwnLedger {
            name: NAME,
            directory: directory.join(NAME),
            consensus: consensus.into(),
            consensus_settings: CONSENSUS.into(),
            storage: storage.into(),
            application: Arc::new(OutboxLedger),
            pool: WAITING_MAX,
        })?;
        Ok(Self { node: ledger.node.clone(), ledger, bounds, index: Mutex::default() })
    }

    /// Reads what is held into the index.
    pub(crate) async fn load(&self) -> Result<usize, String> {
        let mut from = 0;
        loop {
            let page = self.held(from, LIST_MAX).await?;
            let mut index = self.index();
            for one in &page.entries {
                index.insert(one, None);
            }
            match page.next {
                Some(next) => from = next,
                None => return Ok(index.len()),
            }
        }
    }

    pub(crate) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Whether there is room for one more.
    pub(crate) fn is_full(&self) -> bool {
        let index = self.index();
        index.len() >= self.bounds.count_max || index.bytes() >= self.bounds.bytes_max
    }

    async fn query<T: for<'de> Deserialize<'de>>(&self, path: &str, params: Value) -> Result<T, String> {
        let answer = self.node.query(path, params.to_string()).await.map_err(|error| error.to_string())?;
        serde_json::from_slice(&answer).map_err(|error| error.to_string())
    }

    /// What the ledger knows of a ballot.
    pub(crate) async fn find(&self, id: &TransactionId) -> Result<Option<Held>, String> {
        self.query("entry", json!({ "id": id })).await
    }

    /// Which ballot of a credential is held or final here.
    pub(crate) async fn holder(&self, parcel: &Parcel) -> Result<Option<TransactionId>, String> {
        self.query("holder", json!({ "eid": Hash::new(parcel.eid), "credential": parcel.credential })).await
    }

    /// A ballot's transaction, while it is held or when it was refused.
    pub(crate) async fn ballot(&self, id: &TransactionId) -> Result<Option<Bytes>, String> {
        let found: Option<String> = self.query("ballot", json!({ "id": id })).await?;
        let digits = found.as_deref().and_then(|text| text.strip_prefix("0x"));
        Ok(digits.and_then(|digits| hex::decode(digits).ok()).map(Bytes::from))
    }

    /// Ballots that are held, in the order of acceptance.
    pub(crate) async fn held(&self, from: u64, limit: usize) -> Result<Page, String> {
        self.query("held", json!({ "from": from, "limit": limit })).await
    }

    /// How many there are of each kind.
    pub(crate) async fn counts(&self) -> Result<Value, String> {
        self.query("counts", json!({})).await
    }

    /// Makes a ballot durable. When this returns an entry, no crash loses it.
    pub(crate) async fn accept(&self, parcel: &Parcel) -> Result<Held, AcceptError> {
        let room = self.index().reserve(parcel.transaction.len(), self.bounds);
        let Some(reserved) = room else {
            let index = self.index();
            return Err(AcceptError::Full { count: index.len(), bytes: index.bytes() });
        };
        let record = Record::Accept { transaction: parcel.transaction.clone(), accepted_ms: now_ms() };
        let written = self.write(&record).await;
        // Whoever was here first with the same ballot wrote the entry which is read now.
        let found = self.find(&parcel.id).await.map_err(AcceptError::Failed)?;
        let outcome = match (found, written) {
            (Some(held), _) if held.settled.as_ref().is_none_or(|ended| ended.is_final) => Ok(held),
            (_, Err(Unwritten::Refused(Rejection::Duplicate { winner }))) => Err(self.taken(winner, parcel).await),
            (_, Err(error)) => Err(AcceptError::Failed(error.to_string())),
            (_, Ok(())) => Err(AcceptError::Failed("the ledger does not have what it made durable".into())),
        };
        let mut index = self.index();
        index.release(reserved);
        if let Ok(held) = &outcome
            && held.settled.is_none()
        {
            index.insert(held, Some(parcel.transaction.clone()));
        }
        outcome
    }

    /// The ballot that holds the credential; the ledger may have named its own record instead.
    async fn taken(&self, winner: TransactionId, parcel: &Parcel) -> AcceptError {
        match self.holder(parcel).await {
            Ok(Some(holder)) => AcceptError::Taken(holder),
            // Another ballot of this credential is being written just now.
            _ => AcceptError::Taken(winner),
        }
    }

    /// Notes how the work on ballots ended; they leave the index when that is durable.
    pub(crate) async fn settle(&self, entries: Vec<(TransactionId, Settled)>) -> Result<(), String> {
        for part in entries.chunks(SETTLED_MAX) {
            match self.write(&Record::Settle { entries: part.to_vec() }).await {
                // Refused: they were settled before.
                Ok(()) | Err(Unwritten::Refused(Rejection::NotAllowed(_))) => {
                    let mut index = self.index();
                    part.iter().for_each(|(id, _)| index.remove(id));
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    /// Has a refused ballot tried again.
    pub(crate) async fn reopen(&self, id: &TransactionId) -> Result<(), String> {
        self.write(&Record::Reopen { id: *id, at_ms: now_ms() }).await.map_err(|error| error.to_string())?;
        if let Some(held) = self.find(id).await? {
            self.index().insert(&held, None);
        }
        Ok(())
    }

    /// Hands a record to the ledger and waits until it is final there.
    async fn write(&self, record: &Record) -> Result<(), Unwritten> {
        let bytes = borsh::to_vec(record).map_err(|error| Unwritten::Failed(error.to_string()))?;
        let mut heads = self.ledger.heads.clone();
        heads.mark_unchanged();
        let before = heads.borrow().as_ref().map_or(0, |head| head.header.height.0);
        let id = match self.node.submit(bytes).await {
            Ok(id) => id,
            Err(SubmitError::Rejected(rejection)) => return Err(Unwritten::Refused(rejection)),
            Err(error) => return Err(Unwritten::Failed(error.to_string())),
        };
        let is_final = async {
            let mut seen = before;
            loop {
                let head = heads.borrow_and_update().clone();
                if let Some(head) = head {
                    let height = head.header.height.0;
                    if head.transaction_ids.contains(&id) {
                        return Ok(());
                    }
                    // Heads in between were not told.
                    if height > seen + 1 && self.is_final(&id).await? {
                        return Ok(());
                    }
                    seen = height;
                }
                if heads.changed().await.is_err() {
                    return Err(Unwritten::Failed("the ledger is closed".into()));
                }
            }
        };
        match tokio::time::timeout(DURABLE_WITHIN, is_final).await {
            Ok(done) => done,
            Err(_) if self.is_final(&id).await? => Ok(()),
            Err(_) => Err(Unwritten::Failed(format!("it is not durable after {} s", DURABLE_WITHIN.as_secs()))),
        }
    }

    async fn is_final(&self, id: &TransactionId) -> Result<bool, Unwritten> {
        let state = self.node.transaction(*id).await.map_err(|error| Unwritten::Failed(error.to_string()))?;
        Ok(matches!(state, TransactionState::Final(_)))
    }
}

/// A page of what is held.
#[derive(Debug, Deserialize)]
pub(crate) struct Page {
    pub(crate) entries: Vec<Held>,
    pub(crate) next: Option<u64>,
}

/// Why a record is not in the ledger, or may be in it unseen.
#[derive(Debug, thiserror::Error)]
enum Unwritten {
    #[error("{0}")]
    Refused(Rejection),
    #[error("{0}")]
    Failed(String),
}

/// This node's clock.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
