//! The store: durable batches, and silence after a failure.

use std::{
    io,
    path::Path,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Instant,
};

use quorate::storage::{Batch, KEY_BYTES_MAX, Snapshot, Storage, StorageError, VALUE_BYTES_MAX};
use redb::{Database, Durability, StorageBackend, TableDefinition, WriteTransaction};
use tracing::info;

use crate::{
    failure::{Contained, from_io, from_redb, guarded},
    journal::Journal,
    medium::{FileMedium, Staged},
    opening::{self, Options},
    record,
    view::View,
};

/// The format of the files that this version writes; it reads the one before too. See `FORMAT.md`.
pub const FORMAT: u64 = 2;

/// The table which holds everything.
pub(crate) const CHAIN: TableDefinition<'static, &'static [u8], &'static [u8]> = TableDefinition::new("chain");

const ACTION: &str = "commit";

const COMPACT: &str = "compact chain.redb";

/// An open store.
pub(crate) struct RedbStore {
    database: Contained<Database>,
    medium: Staged,
    /// Why nothing works any more, after a failed commit.
    failure: OnceLock<String>,
    /// Held by a commit, so that a second one waits for the first to succeed or fail.
    journal: Mutex<Journal>,
}

impl RedbStore {
    /// Opens or makes the store in `directory`.
    pub(crate) fn open(directory: &Path, options: Options) -> Result<Self, StorageError> {
        let tree = FileMedium::owning(opening::locked_file(directory)?);
        let journal = |format| opening::journal_file(directory, format).map(FileMedium::borrowing);
        Self::on(tree, journal, options)
    }

    /// Opens the store with its tree on `tree`; `journal` gives the medium of its journal, when the tree's format is known.
    pub(crate) fn on<J: StorageBackend>(
        tree: impl StorageBackend,
        journal: impl FnOnce(u64) -> Result<J, StorageError>,
        options: Options,
    ) -> Result<Self, StorageError> {
        let opened = opening::accept(tree, options)?;
        let medium = Box::new(journal(opened.format)?);
        let (journal, found) = Journal::open(medium, opened.salt, options.journal_bytes, options.frame_bytes_max)?;
        opened.release()?;
        let mut store = Self {
            database: Contained::new(opened.database),
            medium: opened.medium,
            failure: OnceLock::new(),
            journal: Mutex::new(journal),
        };
        let mut made = Ok(());
        if opened.format < FORMAT || !found.is_empty() {
            made = guarded("apply chain.journal", || store.write_through(&mut store.lock(), &found));
        }
        if made.is_ok() && options.compact_at_start {
            made = guarded(COMPACT, || store.compact());
        }
        // A store that failed is not closed as a good one is: the tree would be made durable without the journal's frames, and void them.
        made.inspect_err(|error| drop(store.failure.set(error.to_string())))?;
        Ok(store)
    }

    /// Moves pages from the file's end to free places before them, and cuts the end off. The tree is durable and the journal empty: each step of
    /// this is a transaction that leaves the same rows, so that a kill between two leaves a store.
    fn compact(&mut self) -> Result<(), StorageError> {
        let len = |medium: &Staged| medium.len().map_err(|error| from_io(COMPACT, error));
        let (begun, before_bytes) = (Instant::now(), len(&self.medium)?);
        self.database.get_mut()?.compact().map_err(|error| from_redb(COMPACT, error))?;
        let (after_bytes, took_ms) = (len(&self.medium)?, begun.elapsed().as_millis());
        info!(before_bytes, after_bytes, took_ms, "storage compacted");
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn not_failed(&self) -> Result<(), StorageError> {
        match self.failure.get() {
            Some(why) => Err(StorageError::Poisoned(why.clone())),
            None => Ok(()),
        }
    }

    /// Appends to the journal, and lets the tree have it without waiting for the disk.
    fn write_ahead(&self, journal: &mut Journal, batch: &Batch) -> Result<(), StorageError> {
        let mut transaction = self.database.get()?.begin_write().map_err(|error| from_redb(ACTION, error))?;
        opening::set_durability(&mut transaction, Durability::None)?;
        // First, because it is here that room may be lacking: then the journal has nothing of it.
        apply(&transaction, batch)?;
        journal.append(batch)?;
        transaction.commit().map_err(|error| maybe_written(from_redb(ACTION, error)))
    }

    /// Makes the tree durable with `batches`, and the journal begin anew.
    fn write_through(&self, journal: &mut Journal, batches: &[Batch]) -> Result<(), StorageError> {
        let mut transaction = self.database.get()?.begin_write().map_err(|error| from_redb(ACTION, error))?;
        opening::prepare(&mut transaction)?;
        batches.iter().try_for_each(|batch| apply(&transaction, batch))?;
        let salt = opening::write_meta(&transaction)?;
        transaction.commit().map_err(|error| from_redb(ACTION, error))?;
        journal.restart(salt);
        Ok(())
    }
}

impl Drop for RedbStore {
    /// What the journal has is put into the tree, so that the next opening has nothing to do and the tree's file is whole alone.
    fn drop(&mut self) {
        let mut journal = self.lock();
        if self.failure.get().is_none() && !journal.is_empty() {
            // Nothing is lost if it fails: the journal stays.
            drop(guarded("close", || self.write_through(&mut journal, &[])));
        }
    }
}

/// Does what `batch` says: in the order of keys, so that a page which several rows go to is looked for once and is still in memory, and
/// of several writes to one key in their order.
fn apply(transaction: &WriteTransaction, batch: &Batch) -> Result<(), StorageError> {
    let mut table = transaction.open_table(CHAIN).map_err(|error| from_redb(ACTION, error))?;
    let mut writes: Vec<_> = batch.writes().iter().collect();
    writes.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (key, value) in writes {
        match value {
            Some(value) => {
                let len = record::CHECKSUM_BYTES + value.len();
                let mut slot = table.insert_reserve(&key[..], len).map_err(|error| from_redb(ACTION, error))?;
                record::fill(slot.as_mut(), key, value);
            }
            None => drop(table.remove(&key[..]).map_err(|error| from_redb(ACTION, error))?),
        }
    }
    Ok(())
}

impl Storage for RedbStore {
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StorageError> {
        self.not_failed()?;
        guarded("begin reading", || Ok(Box::new(View::new(self.database.get()?)?) as Box<dyn Snapshot>))
    }

    fn commit(&self, batch: Batch) -> Result<(), StorageError> {
        let mut journal = self.lock();
        self.not_failed()?;
        check_lengths(&batch)?;
        if batch.is_empty() {
            return Ok(());
        }
        let syncs = self.medium.syncs();
        let written = guarded(ACTION, || {
            if journal.takes(&batch) {
                self.write_ahead(&mut journal, &batch)
            } else {
                self.write_through(&mut journal, std::slice::from_ref(&batch))
            }
        });
        written.map_err(|error| {
            // Set once: commits come one at a time, and none passes after the first failure.
            drop(self.failure.set(error.to_string()));
            match error {
                // Nothing was written only if redb had not yet come to the fsync after which it names the new state.
                full @ StorageError::Full(_) if self.medium.syncs() != syncs => maybe_written(full),
                StorageError::Full(_) => StorageError::Full(described(&batch)),
                other => other,
            }
        })
    }
}

/// `error`, without the promise that nothing was written.
fn maybe_written(error: StorageError) -> StorageError {
    match error {
        StorageError::Full(what) => {
            StorageError::Io { action: ACTION, source: io::Error::new(io::ErrorKind::StorageFull, what) }
        }
        other => other,
    }
}

fn described(batch: &Batch) -> String {
    let bytes: usize =
        batch.writes().iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, |v| v.len())).sum();
    format!("a batch of {} writes with {bytes} bytes", batch.writes().len())
}

fn check_lengths(batch: &Batch) -> Result<(), StorageError> {
    for (key, value) in batch.writes() {
        if key.is_empty() {
            return Err(StorageError::TooLong { what: "empty key", len: 0, limit: KEY_BYTES_MAX });
        }
        if key.len() > KEY_BYTES_MAX {
            return Err(StorageError::TooLong { what: "key", len: key.len(), limit: KEY_BYTES_MAX });
        }
        if let Some(value) = value
            && value.len() > VALUE_BYTES_MAX
        {
            return Err(StorageError::TooLong { what: "value", len: value.len(), limit: VALUE_BYTES_MAX });
        }
    }
    Ok(())
}
