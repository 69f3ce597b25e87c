//! The store: durable batches, and silence after a failure.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use fjall::{Database, Keyspace, PersistMode};
use quorate::{
    Bytes,
    storage::{Batch, KEY_BYTES_MAX, Snapshot, Storage, StorageError, VALUE_BYTES_MAX},
};

use crate::{
    count::{self, Acknowledged},
    failure::{Contained, from_fjall, guarded},
    opening::{self, Lock, Opened},
    record::{self, COUNT_KEY},
    view::View,
};

/// Memtables that may wait to become tables before a commit waits for them. fjall itself waits at four, without looking whether
/// the thread that should make tables has failed.
const MEMTABLES_WAITING_MAX: usize = 1;

/// Tables not yet merged before a commit waits. fjall waits in the same way from twenty on.
const TABLES_UNMERGED_MAX: usize = 16;

/// How long a commit waits for them at most.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// An open store.
pub(crate) struct FjallStore {
    tree: Contained<(Database, Keyspace)>,
    acknowledged: Acknowledged,
    /// The number of the last commit. Held by a commit, so that a second one waits for the first to succeed or fail.
    commits: Mutex<u64>,
    /// Why nothing works any more, after a failed commit.
    failure: OnceLock<String>,
    lock: Arc<Lock>,
}

impl FjallStore {
    /// Opens or makes the store in `directory`.
    pub(crate) fn open(directory: &Path, cache_bytes: u64) -> Result<Self, StorageError> {
        let Opened { database, keyspace, acknowledged, commits, lock } = opening::open(directory, cache_bytes)?;
        Ok(Self {
            tree: Contained::new((database, keyspace)),
            acknowledged,
            commits: Mutex::new(commits),
            failure: OnceLock::new(),
            lock,
        })
    }

    fn not_failed(&self) -> Result<(), StorageError> {
        match self.failure.get() {
            Some(why) => Err(StorageError::Poisoned(why.clone())),
            None => Ok(()),
        }
    }

    fn write(&self, batch: &Batch, number: u64) -> Result<(), StorageError> {
        let (database, keyspace) = self.tree.get()?;
        wait_for_workers(database, keyspace)?;
        // All writes of a batch have one number in fjall: of two to one key it keeps either.
        let last: BTreeMap<&Bytes, Option<&Bytes>> =
            batch.writes().iter().map(|(key, value)| (key, value.as_ref())).collect();
        let mut writes = database.batch().durability(Some(PersistMode::SyncData));
        for (key, value) in last {
            match value {
                Some(value) => writes.insert(keyspace, record::stored_key(key), record::record(key, value)),
                None => writes.remove(keyspace, record::stored_key(key)),
            }
        }
        writes.insert(keyspace, COUNT_KEY, &count::encoded(number)[..]);
        writes.commit().map_err(|error| from_fjall("commit", error))?;
        self.acknowledged.note(number)
    }
}

/// Waits until fjall's threads have made room. Were they dead, fjall's own waits would not end.
fn wait_for_workers(database: &Database, keyspace: &Keyspace) -> Result<(), StorageError> {
    let start = Instant::now();
    while database.outstanding_flushes() > MEMTABLES_WAITING_MAX || keyspace.l0_table_count() > TABLES_UNMERGED_MAX {
        // Writes nothing; says whether a thread has failed.
        database.persist(PersistMode::Buffer).map_err(|error| from_fjall("commit", error))?;
        if start.elapsed() > WAIT_MAX {
            let source = std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                format!("tables were not written and merged within {} s", WAIT_MAX.as_secs()),
            );
            return Err(StorageError::Io { action: "commit", source });
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

impl Storage for FjallStore {
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StorageError> {
        self.not_failed()?;
        guarded("begin reading", || {
            let (database, keyspace) = self.tree.get()?;
            Ok(Box::new(View::new(database, keyspace, Arc::clone(&self.lock))) as Box<dyn Snapshot>)
        })
    }

    fn commit(&self, batch: Batch) -> Result<(), StorageError> {
        let mut commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        self.not_failed()?;
        check_lengths(&batch)?;
        if batch.is_empty() {
            return Ok(());
        }
        let number = commits.saturating_add(1);
        guarded("commit", || self.write(&batch, number)).inspect_err(|error| {
            // Set once: commits come one at a time, and none passes after the first failure.
            drop(self.failure.set(error.to_string()));
        })?;
        *commits = number;
        Ok(())
    }
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
