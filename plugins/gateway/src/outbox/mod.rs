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
    collections::HashMap,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use quorate::{
    Hash, TransactionId,
    application::Rejection,
    node::{Health, NodeHandle, SubmitError, TransactionState},
    plugin::SetupError,
    service::{Ledgers, OpenLedger, OwnLedger},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

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

/// Ballots that are being written, by election and credential, with where the outcome will be.
type Accepting = HashMap<([u8; 32], u32), (TransactionId, watch::Receiver<Option<Result<Held, AcceptError>>>)>;

/// A ballot that is being written. However that ends, its room is free and its voter's next ballot is looked at.
struct Writing {
    outbox: Arc<Outbox>,
    seat: ([u8; 32], u32),
    reserved: usize,
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.outbox.index().release(self.reserved);
        self.outbox.accepting().remove(&self.seat);
    }
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
    accepting: Mutex<Accepting>,
    unsure: AtomicBool,
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
        Ok(Self {
            node: ledger.node.clone(),
            ledger,
            bounds,
            index: Mutex::default(),
            accepting: Mutex::default(),
            unsure: AtomicBool::new(false),
        })
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
        !index.has_room(1, self.bounds)
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

    /// Makes a ballot durable. When this returns an entry, no crash loses it, and it is forwarded. The work goes on when the caller goes away; the same ballot
    /// meanwhile waits for the same outcome, another one of its voter for its end.
    pub(crate) async fn accept(self: &Arc<Self>, parcel: &Parcel) -> Result<Held, AcceptError> {
        let seat = (parcel.eid, parcel.credential);
        loop {
            let (id, mut outcome) = {
                let mut accepting = self.accepting();
                match accepting.get(&seat) {
                    Some((id, outcome)) => (*id, outcome.clone()),
                    None => {
                        let len = parcel.transaction.len();
                        let Some(reserved) = self.index().reserve(len, self.bounds) else {
                            let index = self.index();
                            return Err(AcceptError::Full { count: index.len(), bytes: index.bytes() });
                        };
                        let (sender, receiver) = watch::channel(None);
                        accepting.insert(seat, (parcel.id, receiver.clone()));
                        let writing = Writing { outbox: Arc::clone(self), seat, reserved };
                        let written = parcel.clone();
                        tokio::spawn(async move {
                            let outcome = writing.outbox.record(&written).await;
                            drop(writing);
                            sender.send_replace(Some(outcome));
                        });
                        (parcel.id, receiver)
                    }
                }
            };
            let outcome = match outcome.wait_for(Option::is_some).await {
                Ok(outcome) => outcome.clone(),
                Err(_) => None,
            };
            match outcome {
                Some(outcome) if id == parcel.id => return outcome,
                // Another ballot of this voter: it may hold the credential now.
                _ => {}
            }
            if id == parcel.id {
                return Err(AcceptError::Failed("it could not be written".into()));
            }
            if let Some(holder) = self.holder(parcel).await.map_err(AcceptError::Failed)? {
                return Err(AcceptError::Taken(holder));
            }
        }
    }

    /// Writes a ballot and puts it into the index.
    async fn record(&self, parcel: &Parcel) -> Result<Held, AcceptError> {
        let record = Record::Accept { transaction: parcel.transaction.clone(), accepted_ms: now_ms() };
        let written = self.write(&record).await;
        if matches!(written, Err(Unwritten::Failed(_))) {
            // It may become durable yet.
            self.unsure.store(true, Ordering::Relaxed);
        }
        let held = match (self.find(&parcel.id).await, written) {
            (Ok(Some(held)), _) if held.settled.as_ref().is_none_or(|ended| ended.is_final) => held,
            (_, Err(Unwritten::Refused(Rejection::Duplicate { .. }))) => {
                let holder = self.holder(parcel).await.map_err(AcceptError::Failed)?;
                let unclear = || AcceptError::Failed("another ballot of this voter is being written".into());
                return Err(holder.map_or_else(unclear, AcceptError::Taken));
            }
            (_, Err(error)) => return Err(AcceptError::Failed(error.to_string())),
            (Err(why), Ok(())) => {
                self.unsure.store(true, Ordering::Relaxed);
                return Err(AcceptError::Failed(why));
            }
            (Ok(_), Ok(())) => {
                return Err(AcceptError::Failed("the ledger does not have what it made durable".into()));
            }
        };
        if held.settled.is_none() {
            self.index().insert(&held, Some(parcel.transaction.clone()));
        }
        Ok(held)
    }

    fn accepting(&self) -> MutexGuard<'_, Accepting> {
        self.accepting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the ledger may hold what the index does not have: then [`Outbox::load`] is due.
    pub(crate) fn is_unsure(&self) -> bool {
        self.unsure.swap(false, Ordering::Relaxed)
    }

    /// How the ledger itself stands; an error in words when it can't go on.
    pub(crate) async fn stands(&self) -> Result<(), String> {
        let status = self.node.status().await.map_err(|error| error.to_string())?;
        let why = status.detail.unwrap_or_else(|| "it does not say why".into());
        match status.status {
            Health::Conflict => Err(format!("the outbox' ledger has stopped: {why}")),
            _ => Ok(()),
        }
    }

    /// Notes how the work on ballots ended; they leave the index when that is durable.
    pub(crate) async fn settle(&self, entries: Vec<(TransactionId, Settled)>) -> Result<(), String> {
        for part in entries.chunks(SETTLED_MAX) {
            match self.write(&Record::Settle { entries: part.to_vec(), at_ms: now_ms() }).await {
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
            loop {
                let head = heads.borrow_and_update().clone();
                if let Some(head) = head {
                    let height = head.header.height.0;
                    if head.transaction_ids.contains(&id) {
                        return Ok(());
                    }
                    // Heads in between were not told; or a block was made without it, which may be because the state no longer allows it.
                    if height > before + 1 {
                        match self.state_of(&id).await? {
                            TransactionState::Final(_) | TransactionState::Pruned(_) => return Ok(()),
                            TransactionState::Unknown => {
                                let why = "the state does not allow it any more";
                                return Err(Unwritten::Refused(Rejection::NotAllowed(why.into())));
                            }
                            TransactionState::Pending(_) => {}
                        }
                    }
                }
                if heads.changed().await.is_err() {
                    return Err(Unwritten::Failed("the ledger is closed".into()));
                }
            }
        };
        match tokio::time::timeout(DURABLE_WITHIN, is_final).await {
            Ok(done) => done,
            Err(_) if matches!(self.state_of(&id).await?, TransactionState::Final(_)) => Ok(()),
            Err(_) => Err(Unwritten::Failed(format!("it is not durable after {} s", DURABLE_WITHIN.as_secs()))),
        }
    }

    async fn state_of(&self, id: &TransactionId) -> Result<TransactionState, Unwritten> {
        self.node.transaction(*id).await.map_err(|error| Unwritten::Failed(error.to_string()))
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
