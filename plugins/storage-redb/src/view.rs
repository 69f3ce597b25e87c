//! A consistent view of the store, kept by redb for as long as it lives.

use quorate::{
    Bytes,
    storage::{Snapshot, StorageError},
};
use redb::{Database, ReadOnlyTable, ReadableDatabase};

use crate::{
    failure::{Contained, from_redb, guarded},
    record,
    store::CHAIN,
};

/// One committed state. Pages which it can reach are not reused while it lives, so a view held for long makes the file grow.
pub(crate) struct View {
    table: Contained<ReadOnlyTable<&'static [u8], &'static [u8]>>,
}

impl View {
    /// The state committed last.
    pub(crate) fn new(database: &Database) -> Result<Self, StorageError> {
        let transaction = database.begin_read().map_err(|error| from_redb("begin reading", error))?;
        let table = transaction.open_table(CHAIN).map_err(|error| from_redb("open the table", error))?;
        Ok(Self { table: Contained::new(table) })
    }
}

impl Snapshot for View {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        guarded("read", || {
            let found = self.table.get()?.get(key).map_err(|error| from_redb("read", error))?;
            found.map(|stored| record::value(key, stored.value())).transpose()
        })
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        if from >= to {
            return Ok(Vec::new());
        }
        guarded("scan", || {
            let range = self.table.get()?.range::<&[u8]>(from..to).map_err(|error| from_redb("scan", error))?;
            let mut pairs = Vec::new();
            for entry in range.take(limit) {
                let (key, stored) = entry.map_err(|error| from_redb("scan", error))?;
                let key = key.value();
                pairs.push((Bytes::copy_from_slice(key), record::value(key, stored.value())?));
            }
            Ok(pairs)
        })
    }
}
