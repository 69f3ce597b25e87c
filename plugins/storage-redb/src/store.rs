//! Snapshots and commits over an open database.

use std::sync::OnceLock;

use quorate::{
    Bytes, Storage,
    storage::{Batch, KEY_BYTES_MAX, Snapshot, StorageError, VALUE_BYTES_MAX},
};
use redb::{Database, Durability, ReadOnlyTable, ReadableDatabase as _, TableDefinition};

use crate::create::storage_error;

/// Every key and value of the chain.
pub(crate) const PAIRS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("pairs");

/// An open store.
pub(crate) struct RedbStorage {
    database: Database,
    poisoned: OnceLock<String>,
}

impl RedbStorage {
    pub(crate) fn new(database: Database) -> Self {
        Self { database, poisoned: OnceLock::new() }
    }

    fn alive(&self) -> Result<(), StorageError> {
        match self.poisoned.get() {
            Some(why) => Err(StorageError::Poisoned(why.clone())),
            None => Ok(()),
        }
    }

    fn write(&self, batch: &Batch) -> Result<(), StorageError> {
        let mut transaction = self.database.begin_write().map_err(|error| match error {
            redb::TransactionError::Storage(error) => storage_error("beginning a write")(error),
            other => StorageError::Io { action: "beginning a write", source: std::io::Error::other(other.to_string()) },
        })?;
        transaction.set_durability(Durability::Immediate).map_err(other("choosing durability"))?;
        transaction.set_two_phase_commit(true);
        {
            let mut table = transaction.open_table(PAIRS).map_err(table_error)?;
            for (key, value) in batch.writes() {
                match value {
                    Some(value) => drop(table.insert(key.as_ref(), value.as_ref()).map_err(storage_error("writing"))?),
                    None => drop(table.remove(key.as_ref()).map_err(storage_error("removing"))?),
                }
            }
        }
        transaction.commit().map_err(|error| match error {
            redb::CommitError::Storage(error) => storage_error("committing")(error),
            error => other("committing")(error),
        })
    }
}

fn other<E: std::fmt::Display>(action: &'static str) -> impl Fn(E) -> StorageError {
    move |error| StorageError::Io { action, source: std::io::Error::other(error.to_string()) }
}

fn table_error(error: redb::TableError) -> StorageError {
    match error {
        redb::TableError::Storage(error) => storage_error("opening the table")(error),
        error => StorageError::Damaged(error.to_string()),
    }
}

impl Storage for RedbStorage {
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StorageError> {
        self.alive()?;
        let transaction = self.database.begin_read().map_err(|error| match error {
            redb::TransactionError::Storage(error) => storage_error("beginning a read")(error),
            error => other("beginning a read")(error),
        })?;
        // The table keeps the transaction's view alive.
        Ok(Box::new(RedbSnapshot(transaction.open_table(PAIRS).map_err(table_error)?)))
    }

    fn commit(&self, batch: Batch) -> Result<(), StorageError> {
        self.alive()?;
        for (key, value) in batch.writes() {
            let value_len = value.as_ref().map_or(0, Bytes::len);
            if key.len() > KEY_BYTES_MAX {
                return Err(StorageError::TooLong { what: "key", len: key.len(), limit: KEY_BYTES_MAX });
            }
            if value_len > VALUE_BYTES_MAX {
                return Err(StorageError::TooLong { what: "value", len: value_len, limit: VALUE_BYTES_MAX });
            }
        }
        self.write(&batch).inspect_err(|error| {
            // The first reason is kept.
            drop(self.poisoned.set(error.to_string()));
        })
    }
}

struct RedbSnapshot(ReadOnlyTable<&'static [u8], &'static [u8]>);

impl Snapshot for RedbSnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let found = self.0.get(key).map_err(storage_error("reading"))?;
        Ok(found.map(|value| Bytes::copy_from_slice(value.value())))
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let range = self.0.range::<&[u8]>(from..to).map_err(storage_error("scanning"))?;
        let mut found = Vec::new();
        for pair in range.take(limit) {
            let (key, value) = pair.map_err(storage_error("scanning"))?;
            found.push((Bytes::copy_from_slice(key.value()), Bytes::copy_from_slice(value.value())));
        }
        Ok(found)
    }
}
