//! Opening, and what is found in the directory; the rest of the contract is asked by the suite in `conformance.rs`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::{fs, path::Path, sync::Arc};

use quorate::{
    Bytes, Settings, Storage,
    plugin::{SetupError, StoragePlugin},
    storage::{Batch, StorageError},
};
use quorate_storage_redb::{FILE, FILE_NEW, RedbPlugin};

fn open(directory: &Path) -> Arc<dyn Storage> {
    RedbPlugin.open(&Settings::from_text(""), directory).unwrap()
}

fn refused(directory: &Path) -> StorageError {
    match RedbPlugin.open(&Settings::from_text(""), directory) {
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
    assert!(matches!(&error, StorageError::Locked(path) if path.ends_with(FILE)), "{error}");
    store.commit(put(&[(b"a", b"1")])).unwrap();
    drop(store);
    assert_eq!(all(&*open(directory.path())).len(), 1);
}

#[test]
fn a_creation_under_way_elsewhere_is_locked_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let fresh = fs::File::create(directory.path().join(FILE_NEW)).unwrap();
    fresh.try_lock().unwrap();
    assert!(matches!(refused(directory.path()), StorageError::Locked(_)));
    assert!(directory.path().join(FILE_NEW).exists());
    drop(fresh);
    open(directory.path());
}

#[test]
fn leftovers_of_a_creation_count_for_nothing_and_are_removed() {
    let directory = tempfile::tempdir().unwrap();
    let leftover = directory.path().join(FILE_NEW);
    fs::write(&leftover, b"half a store").unwrap();
    open(directory.path()).commit(put(&[(b"a", b"1")])).unwrap();
    assert!(!leftover.exists());
    fs::write(&leftover, b"half a store").unwrap();
    assert_eq!(all(&*open(directory.path())).len(), 1);
    assert!(!leftover.exists());
}

#[test]
fn a_directory_which_is_missing_or_in_the_way_is_an_io_error() {
    let directory = tempfile::tempdir().unwrap();
    let error = refused(&directory.path().join("missing"));
    assert!(matches!(&error, StorageError::Io { .. }), "{error:?}");
    fs::create_dir(directory.path().join(FILE)).unwrap();
    let error = refused(directory.path());
    assert!(error.to_string().starts_with("storage open chain.redb failed: "), "{error}");
}

#[test]
fn an_opening_without_a_check_sees_the_same() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).commit(put(&[(b"a", b"1"), (b"b", b"2")])).unwrap();
    let unchecked = RedbPlugin.open(&Settings::from_text("check_bytes_max = 0"), directory.path()).unwrap();
    assert_eq!(all(&*unchecked).len(), 2);
    unchecked.commit(put(&[(b"c", b"3")])).unwrap();
    drop(unchecked);
    assert_eq!(all(&*open(directory.path())).len(), 3);
}
