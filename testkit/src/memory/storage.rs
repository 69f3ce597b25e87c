//! A store in memory: an ordered map behind a lock, shared with its snapshots until it is written to.

use std::{
    collections::BTreeMap,
    ops::Bound,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use quorate::{
    Settings, Storage,
    plugin::{Descriptor, SetupError, StoragePlugin},
    storage::{Batch, KEY_BYTES_MAX, Snapshot, StorageError, VALUE_BYTES_MAX},
};

type Map = BTreeMap<Bytes, Bytes>;

/// A store in memory. A commit while a snapshot is held copies the map (its values are shared).
#[derive(Debug, Default)]
pub struct MemoryStorage(Mutex<Arc<Map>>);

impl MemoryStorage {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn map(&self) -> MutexGuard<'_, Arc<Map>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage for MemoryStorage {
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StorageError> {
        Ok(Box::new(View(Arc::clone(&self.map()))))
    }

    fn commit(&self, batch: Batch) -> Result<(), StorageError> {
        for (key, value) in batch.writes() {
            within("key", key.len(), KEY_BYTES_MAX)?;
            within("value", value.as_ref().map_or(0, Bytes::len), VALUE_BYTES_MAX)?;
        }
        let mut shared = self.map();
        let map = Arc::make_mut(&mut shared);
        for (key, value) in batch.writes() {
            match value {
                Some(value) => map.insert(key.clone(), value.clone()),
                None => map.remove(key),
            };
        }
        Ok(())
    }
}

fn within(what: &'static str, len: usize, limit: usize) -> Result<(), StorageError> {
    if len > limit { Err(StorageError::TooLong { what, len, limit }) } else { Ok(()) }
}

struct View(Arc<Map>);

impl Snapshot for View {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let range = self.0.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)));
        Ok(range.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

/// The plugin `memory`. Opening a directory again, while this plugin or a clone of it lives, finds what was stored there.
#[derive(Debug, Clone, Default)]
pub struct MemoryStoragePlugin(Arc<Mutex<BTreeMap<PathBuf, Arc<MemoryStorage>>>>);

impl MemoryStoragePlugin {
    /// A plugin that has stored nothing yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl StoragePlugin for MemoryStoragePlugin {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new("memory", env!("CARGO_PKG_VERSION"), "keeps everything in memory; gone when the process ends")
    }

    fn check(&self, settings: &Settings) -> Result<(), SetupError> {
        super::no_settings(settings)
    }

    fn open(&self, settings: &Settings, directory: &Path) -> Result<Arc<dyn Storage>, SetupError> {
        self.check(settings)?;
        let mut stores = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(stores.entry(directory.to_owned()).or_default()) as Arc<dyn Storage>)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(store: &dyn Storage, key: &'static str, value: &'static str) {
        let mut batch = Batch::new();
        batch.put(key, value);
        store.commit(batch).unwrap();
    }

    #[test]
    fn a_snapshot_does_not_see_later_commits() {
        let store = MemoryStorage::new();
        put(&store, "a", "1");
        let before = store.snapshot().unwrap();
        put(&store, "a", "2");
        assert_eq!(before.get(b"a").unwrap().unwrap(), "1");
        assert_eq!(store.snapshot().unwrap().get(b"a").unwrap().unwrap(), "2");
    }

    #[test]
    fn a_scan_is_half_open_ordered_and_limited() {
        let store = MemoryStorage::new();
        for key in ["b", "a", "c", "d"] {
            put(&store, key, "");
        }
        let view = store.snapshot().unwrap();
        let keys = |from: &str, to: &str, limit| {
            let found = view.scan(from.as_bytes(), to.as_bytes(), limit).unwrap();
            found.into_iter().map(|(key, _)| String::from_utf8(key.to_vec()).unwrap()).collect::<String>()
        };
        assert_eq!(keys("a", "d", 9), "abc");
        assert_eq!(keys("a", "d", 2), "ab");
        assert_eq!(keys("d", "a", 9), "");
    }

    #[test]
    fn a_batch_with_a_too_long_key_changes_nothing() {
        let store = MemoryStorage::new();
        let mut batch = Batch::new();
        batch.put("a", "1");
        batch.put(vec![0; KEY_BYTES_MAX + 1], "2");
        assert!(matches!(store.commit(batch), Err(StorageError::TooLong { what: "key", .. })));
        assert_eq!(store.snapshot().unwrap().get(b"a").unwrap(), None);
    }

    #[test]
    fn a_directory_opened_again_holds_what_was_stored() {
        let plugin = MemoryStoragePlugin::new();
        let open = |directory: &str| plugin.open(&Settings::from_text(""), Path::new(directory)).unwrap();
        put(open("one").as_ref(), "a", "1");
        assert_eq!(open("one").snapshot().unwrap().get(b"a").unwrap().unwrap(), "1");
        assert_eq!(open("two").snapshot().unwrap().get(b"a").unwrap(), None);
    }
}
