//! A consistent view of the store, kept by fjall for as long as it lives.

use std::sync::Arc;

use fjall::{Database, Keyspace, Readable};
use quorate::{
    Bytes,
    storage::{Snapshot, StorageError},
};

use crate::{
    failure::{Contained, from_fjall, guarded},
    opening::Lock,
    record,
};

/// One committed state. What it can reach is not merged away while it lives, so a view held for long makes the store grow.
pub(crate) struct View {
    tree: Contained<(fjall::Snapshot, Keyspace)>,
    /// While it lives no other process may change the files.
    _lock: Arc<Lock>,
}

impl View {
    /// The state committed last.
    pub(crate) fn new(database: &Database, keyspace: &Keyspace, lock: Arc<Lock>) -> Self {
        Self { tree: Contained::new((database.snapshot(), keyspace.clone())), _lock: lock }
    }
}

impl Snapshot for View {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        guarded("read", || {
            let (snapshot, keyspace) = self.tree.get()?;
            let found = snapshot.get(keyspace, record::stored_key(key)).map_err(|error| from_fjall("read", error))?;
            found.map(|stored| record::value(key, &stored)).transpose()
        })
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        if from >= to {
            return Ok(Vec::new());
        }
        guarded("scan", || {
            let (snapshot, keyspace) = self.tree.get()?;
            let mut pairs = Vec::new();
            for entry in snapshot.range(keyspace, record::stored_key(from)..record::stored_key(to)).take(limit) {
                let (stored_key, stored) = entry.into_inner().map_err(|error| from_fjall("scan", error))?;
                let key = record::user_key(&stored_key)?;
                pairs.push((Bytes::copy_from_slice(key), record::value(key, &stored)?));
            }
            Ok(pairs)
        })
    }
}
