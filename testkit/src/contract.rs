//! The contract of a store, asked of any plugin: what its author runs first.
//!
//! What can be asked inside one process is asked here. That a commit survives a power cut, and that a second process is locked out,
//! takes faults and processes: see the tests of `plugins/storage-redb`.

use std::path::Path;

use bytes::Bytes;
use quorate::{
    Settings, Storage,
    plugin::{SetupError, StoragePlugin},
    storage::{Batch, KEY_BYTES_MAX, StorageError, VALUE_BYTES_MAX},
};

/// What a store does that it must not.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// It could not be opened.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// It failed where it must not.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// It gives something else than what was committed.
    #[error("{what}: expected {expected}, found {found}")]
    Differs {
        /// What was asked.
        what: &'static str,
        /// What the contract says.
        expected: String,
        /// What came.
        found: String,
    },
}

fn same<T: std::fmt::Debug + PartialEq>(what: &'static str, found: T, expected: T) -> Result<(), Violation> {
    if found == expected {
        return Ok(());
    }
    Err(Violation::Differs { what, expected: format!("{expected:?}"), found: format!("{found:?}") })
}

fn put(pairs: &[(&[u8], &[u8])]) -> Batch {
    let mut batch = Batch::new();
    for (key, value) in pairs {
        batch.put(key.to_vec(), value.to_vec());
    }
    batch
}

fn keys(store: &dyn Storage, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, StorageError> {
    Ok(store.snapshot()?.scan(from, to, limit)?.into_iter().map(|(key, _)| key.to_vec()).collect())
}

/// Asks everything of the store which `plugin` makes of `settings` in `directory`: an empty one, left with what was written.
///
/// # Errors
///
/// The first [`Violation`].
pub fn storage(plugin: &dyn StoragePlugin, settings: &Settings, directory: &Path) -> Result<(), Violation> {
    plugin.check(settings)?;
    let store = plugin.open(settings, directory)?;
    same("a new store is empty", keys(store.as_ref(), &[], &[0xff; 64], usize::MAX)?, Vec::new())?;
    batches(store.as_ref())?;
    order(store.as_ref())?;
    lengths(store.as_ref())?;
    let view = store.snapshot()?;
    store.commit(put(&[(b"a", b"changed")]))?;
    drop(store);
    same("a snapshot after the store is gone", view.get(b"a")?, Some(Bytes::from_static(b"last")))?;
    drop(view);
    let again = plugin.open(settings, directory)?.snapshot()?;
    same("what was committed, after opening again", again.get(b"a")?, Some(Bytes::from_static(b"changed")))?;
    same("what was removed, after opening again", again.get(b"gone")?, None)
}

/// A batch applies in order; a snapshot shows the commits before it.
fn batches(store: &dyn Storage) -> Result<(), Violation> {
    let empty = store.snapshot()?;
    store.commit(put(&[(b"a", b"1"), (b"gone", b"2"), (b"empty", b"")]))?;
    let before = store.snapshot()?;
    let mut batch = put(&[(b"a", b"first"), (b"a", b"last"), (b"b", b"")]);
    batch.delete(&b"b"[..]);
    batch.delete(&b"gone"[..]);
    batch.delete(&b"never there"[..]);
    store.commit(batch)?;
    store.commit(Batch::new())?;
    let after = store.snapshot()?;
    same("a snapshot made before all commits", empty.get(b"a")?, None)?;
    same("a snapshot made before a commit", before.get(b"a")?, Some(Bytes::from_static(b"1")))?;
    same("a removed key, in a snapshot made before", before.get(b"gone")?, Some(Bytes::from_static(b"2")))?;
    same("the later of two writes to a key", after.get(b"a")?, Some(Bytes::from_static(b"last")))?;
    same("a key written and removed in one batch", after.get(b"b")?, None)?;
    same("a removed key", after.get(b"gone")?, None)?;
    same("an empty value", after.get(b"empty")?, Some(Bytes::new()))
}

/// Keys order as bytes, ranges are half-open, and a limit is kept.
fn order(store: &dyn Storage) -> Result<(), Violation> {
    let ordered: [&[u8]; 6] = [b"o\x00", b"o\x00\x00", b"oa", b"oaa", b"ob", b"o\xff"];
    let mixed: Vec<(&[u8], &[u8])> =
        [5, 2, 0, 3, 1, 4].iter().filter_map(|at| ordered.get(*at)).map(|key| (*key, *key)).collect();
    store.commit(put(&mixed))?;
    let of = |range: &[&[u8]]| range.iter().map(|key| key.to_vec()).collect::<Vec<_>>();
    same("a scan in order", keys(store, b"o", b"p", usize::MAX)?, of(&ordered))?;
    same("a scan without its end", keys(store, b"oa", b"ob", 9)?, of(&[b"oa", b"oaa"]))?;
    same("a scan with a limit", keys(store, b"oa", b"p", 1)?, of(&[b"oa"]))?;
    same("a scan with limit 0", keys(store, b"oa", b"p", 0)?, of(&[]))?;
    same("a scan of nothing", keys(store, b"oa", b"oa", 9)?, of(&[]))?;
    same("a scan the wrong way round", keys(store, b"ob", b"oa", 9)?, of(&[]))
}

/// The longest key and value are kept; a batch with a longer one is refused whole, and the store goes on.
fn lengths(store: &dyn Storage) -> Result<(), Violation> {
    let (key, value) = (vec![7; KEY_BYTES_MAX], vec![0xab; VALUE_BYTES_MAX]);
    store.commit(put(&[(&key, &value)]))?;
    same("whether the longest value is kept", store.snapshot()?.get(&key)?.as_deref() == Some(&value), true)?;
    let longer = (vec![7; KEY_BYTES_MAX + 1], vec![0; VALUE_BYTES_MAX + 1]);
    let pairs: [(&[u8], &[u8]); 2] = [(&longer.0, b""), (b"v", &longer.1)];
    for pair in pairs {
        let refused = store.commit(put(&[(b"with it", b"1"), pair]));
        same("whether what is too long is refused", matches!(refused, Err(StorageError::TooLong { .. })), true)?;
    }
    same("a pair beside one that is too long", store.snapshot()?.get(b"with it")?, None)?;
    let mut batch = put(&[(b"after it", b"2")]);
    batch.delete(key);
    store.commit(batch)?;
    same("a commit after a refused one", store.snapshot()?.get(b"after it")?, Some(Bytes::from_static(b"2")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStoragePlugin;

    #[test]
    fn the_memory_store_keeps_the_contract() {
        storage(&MemoryStoragePlugin::new(), &Settings::from_text(""), Path::new("a")).unwrap();
    }

    /// A store that forgets what it had when it is opened again.
    struct Forgetful;

    impl StoragePlugin for Forgetful {
        fn descriptor(&self) -> quorate::plugin::Descriptor {
            MemoryStoragePlugin::new().descriptor()
        }

        fn check(&self, settings: &Settings) -> Result<(), SetupError> {
            MemoryStoragePlugin::new().check(settings)
        }

        fn open(&self, settings: &Settings, directory: &Path) -> Result<std::sync::Arc<dyn Storage>, SetupError> {
            MemoryStoragePlugin::new().open(settings, directory)
        }
    }

    #[test]
    fn what_is_broken_is_named() {
        let error = storage(&Forgetful, &Settings::from_text(""), Path::new("a")).unwrap_err().to_string();
        assert_eq!(error, "what was committed, after opening again: expected Some(b\"changed\"), found None");
    }
}
