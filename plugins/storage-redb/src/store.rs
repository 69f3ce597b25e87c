//! The store: durable batches, and silence after a failure.

use std::{
    path::Path,
    sync::{Mutex, OnceLock, PoisonError},
};

use quorate::storage::{Batch, KEY_BYTES_MAX, Snapshot, Storage, StorageError, VALUE_BYTES_MAX};
use redb::{Database, StorageBackend, TableDefinition};

use crate::{
    failure::{Contained, from_redb, guarded},
    medium::{FileMedium, Staged},
    opening::{self, Options},
    record,
    view::View,
};

/// The format of the file that this version writes; it reads this one only. See `FORMAT.md`.
pub const FORMAT: u64 = 1;

/// The table which holds everything.
pub(crate) const CHAIN: TableDefinition<'static, &'static [u8], &'static [u8]> = TableDefinition::new("chain");

/// An open store.
pub(crate) struct RedbStore {
    database: Contained<Database>,
    medium: Staged,
    /// Why nothing works any more, after a failed commit.
    failure: OnceLock<String>,
    /// Held by a commit, so that a second one waits for the first to succeed or fail.
    committing: Mutex<()>,
}

impl RedbStore {
    /// Opens or makes the store in `directory`.
    pub(crate) fn open(directory: &Path, options: Options) -> Result<Self, StorageError> {
        Self::on(FileMedium::owning(opening::locked_file(directory)?), options)
    }

    /// Opens the store on `medium`.
    pub(crate) fn on(medium: impl StorageBackend, options: Options) -> Result<Self, StorageError> {
        let (database, medium) = opening::accept(medium, options)?;
        Ok(Self { database: Contained::new(database), medium, failure: OnceLock::new(), committing: Mutex::new(()) })
    }

    fn not_failed(&self) -> Result<(), StorageError> {
        match self.failure.get() {
            Some(why) => Err(StorageError::Poisoned(why.clone())),
            None => Ok(()),
        }
    }

    fn write(&self, batch: &Batch) -> Result<(), StorageError> {
        const ACTION: &str = "commit";
        let mut transaction = self.database.get()?.begin_write().map_err(|error| from_redb(ACTION, error))?;
        opening::prepare(&mut transaction)?;
        {
            let mut table = transaction.open_table(CHAIN).map_err(|error| from_redb(ACTION, error))?;
            for (key, value) in batch.writes() {
                match value {
                    Some(value) => {
                        let len = record::CHECKSUM_BYTES + value.len();
                        let mut slot = table.insert_reserve(&key[..], len).map_err(|error| from_redb(ACTION, error))?;
                        record::fill(slot.as_mut(), key, value);
                    }
                    None => drop(table.remove(&key[..]).map_err(|error| from_redb(ACTION, error))?),
                }
            }
        }
        transaction.commit().map_err(|error| from_redb(ACTION, error))
    }
}

impl Storage for RedbStore {
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StorageError> {
        self.not_failed()?;
        guarded("begin reading", || Ok(Box::new(View::new(self.database.get()?)?) as Box<dyn Snapshot>))
    }

    fn commit(&self, batch: Batch) -> Result<(), StorageError> {
        let _one_at_a_time = self.committing.lock().unwrap_or_else(PoisonError::into_inner);
        self.not_failed()?;
        check_lengths(&batch)?;
        if batch.is_empty() {
            return Ok(());
        }
        let syncs = self.medium.syncs();
        guarded("commit", || self.write(&batch)).map_err(|error| {
            // Set once: commits come one at a time, and none passes after the first failure.
            drop(self.failure.set(error.to_string()));
            match error {
                // Nothing was written only if redb had not yet come to the fsync after which it names the new state.
                StorageError::Full(what) if self.medium.syncs() != syncs => StorageError::Io {
                    action: "commit",
                    source: std::io::Error::new(std::io::ErrorKind::StorageFull, what),
                },
                StorageError::Full(_) => StorageError::Full(described(&batch)),
                other => other,
            }
        })
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
