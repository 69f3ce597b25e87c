//! Opening, and what is found in the directory; the rest of the contract is asked by the suite in `conformance.rs`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::{fs, path::Path, sync::Arc};

use quorate::{
    Bytes, Settings, Storage,
    plugin::{SetupError, StoragePlugin},
    storage::{Batch, StorageError},
};
use quorate_storage_fjall::{FOLDER, FOLDER_NEW, FjallPlugin, LOCK};

fn open(directory: &Path) -> Arc<dyn Storage> {
    FjallPlugin.open(&Settings::from_text(""), directory).unwrap()
}

fn refused(directory: &Path) -> StorageError {
    match FjallPlugin.open(&Settings::from_text(""), directory) {
        Err(SetupError::Storage(error)) => error,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("opened"),
    }
}

fn put(pairs: &[(&[u8], &[u8])]) -> Batch {
    let mut batch = Batch::new();
    for (key, value) in pairs {
        batch.put(key.to_vec(), value.to_vec());
    }
    batch
}

fn all(store: &dyn Storage) -> Vec<(Bytes, Bytes)> {
    store.snapshot().unwrap().scan(&[], &[0xff; 64], usize::MAX).unwrap()
}

#[test]
fn a_second_opening_is_locked_out_until_the_first_is_over() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let error = refused(directory.path());
    assert!(matches!(&error, StorageError::Locked(path) if path.ends_with(FOLDER)), "{error}");
    store.commit(put(&[(b"a", b"1")])).unwrap();
    drop(store);
    assert_eq!(all(&*open(directory.path())).len(), 1);
}

#[test]
fn a_creation_under_way_elsewhere_is_locked_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let lock = fs::File::create(directory.path().join(LOCK)).unwrap();
    lock.try_lock().unwrap();
    fs::create_dir(directory.path().join(FOLDER_NEW)).unwrap();
    assert!(matches!(refused(directory.path()), StorageError::Locked(_)));
    assert!(directory.path().join(FOLDER_NEW).exists());
    drop(lock);
    open(directory.path());
}

#[test]
fn leftovers_of_a_creation_count_for_nothing_and_are_removed() {
    let directory = tempfile::tempdir().unwrap();
    let leftover = directory.path().join(FOLDER_NEW);
    let half_a_store = || {
        fs::create_dir(&leftover).unwrap();
        fs::write(leftover.join("format"), b"half a store").unwrap();
    };
    half_a_store();
    open(directory.path()).commit(put(&[(b"a", b"1")])).unwrap();
    assert!(!leftover.exists());
    half_a_store();
    assert_eq!(all(&*open(directory.path())).len(), 1);
    assert!(!leftover.exists());
}

#[test]
fn a_directory_which_is_missing_or_in_the_way_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let error = refused(&directory.path().join("missing"));
    assert!(matches!(&error, StorageError::Io { .. }), "{error:?}");
    fs::write(directory.path().join(FOLDER), b"a file").unwrap();
    let error = refused(directory.path());
    assert!(matches!(&error, StorageError::Io { .. } | StorageError::Damaged(_)), "{error:?}");
    assert_eq!(fs::read(directory.path().join(FOLDER)).unwrap(), b"a file");
}

/// Two writes of a batch to one key: fjall would keep either.
#[test]
fn the_last_write_of_a_batch_wins_whatever_came_before() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.commit(put(&[(b"there", b"0"), (b"gone", b"0")])).unwrap();
    let mut batch = Batch::new();
    for value in [&b"1"[..], b"2", b"3"] {
        batch.delete(&b"there"[..]);
        batch.put(&b"there"[..], value.to_vec());
        batch.put(&b"gone"[..], value.to_vec());
        batch.delete(&b"gone"[..]);
    }
    store.commit(batch).unwrap();
    assert_eq!(all(&*store), [(Bytes::from("there"), Bytes::from("3"))]);
    drop(store);
    assert_eq!(all(&*open(directory.path())), [(Bytes::from("there"), Bytes::from("3"))]);
}

/// Enough for several memtables, journals and merges, with a view from the beginning, and an opening at the end.
#[test]
fn what_is_merged_in_the_background_stays_the_same() {
    const ROUNDS: u8 = 60;
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.commit(put(&[(b"first", b"seen")])).unwrap();
    let view = store.snapshot().unwrap();
    let key = |row: u32| format!("row/{row:03}");
    for round in 0..ROUNDS {
        let mut batch = Batch::new();
        for row in 0..100 {
            batch.put(key(row), vec![round; 20_000]);
        }
        batch.delete(&b"first"[..]);
        store.commit(batch).unwrap();
    }
    let check = |store: &dyn Storage| {
        let found = store.snapshot().unwrap().scan(b"row/", b"row0", usize::MAX).unwrap();
        assert_eq!(found.len(), 100);
        assert!(found.iter().all(|(_, value)| value == &vec![ROUNDS - 1; 20_000]));
        assert_eq!(store.snapshot().unwrap().get(b"first").unwrap(), None);
    };
    check(&*store);
    assert_eq!(view.scan(&[], &[0xff], usize::MAX).unwrap(), [(Bytes::from("first"), Bytes::from("seen"))]);
    drop((view, store));
    check(&*open(directory.path()));
}
