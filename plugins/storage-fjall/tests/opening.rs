//! What the Storage trait promises, asked of a store in a directory.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use quorate::{
    Bytes, Settings, Storage,
    plugin::{SetupError, StoragePlugin},
    storage::{Batch, KEY_BYTES_MAX, StorageError, VALUE_BYTES_MAX},
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
fn what_was_committed_is_there_after_opening_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.commit(put(&[(b"a", b"1"), (b"b", b""), (b"c", b"3")])).unwrap();
    let mut batch = put(&[(b"a", b"first"), (b"a", b"last")]);
    batch.delete(&b"c"[..]);
    batch.delete(&b"never there"[..]);
    store.commit(batch).unwrap();
    store.commit(Batch::new()).unwrap();
    drop(store);
    let expected = [(Bytes::from("a"), Bytes::from("last")), (Bytes::from("b"), Bytes::new())];
    assert_eq!(all(&*open(directory.path())), expected);
}

#[test]
fn keys_order_as_bytes_and_ranges_are_half_open() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let keys: [&[u8]; 7] = [b"\xff\xff", b"a", b"\x00", b"aa", b"\x00\x00", b"b", b"\x80"];
    store.commit(put(&keys.map(|key| (key, key)))).unwrap();
    let view = store.snapshot().unwrap();
    let keys = |from: &[u8], to: &[u8], limit| -> Vec<Bytes> {
        view.scan(from, to, limit).unwrap().into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(keys(b"", b"\xff\xff\xff", 99), [&b"\x00"[..], b"\x00\x00", b"a", b"aa", b"b", b"\x80", b"\xff\xff"]);
    assert_eq!(keys(b"a", b"b", 99), [&b"a"[..], b"aa"]);
    assert_eq!(keys(b"a", b"b", 1), [&b"a"[..]]);
    assert_eq!(keys(b"a", b"b", 0), [&b""[..]; 0]);
    assert_eq!(keys(b"b", b"a", 99), [&b""[..]; 0]);
    assert_eq!(keys(b"a", b"a", 99), [&b""[..]; 0]);
    assert_eq!(keys(b"", b"", 99), [&b""[..]; 0]);
}

/// Random batches against a map, with a view held across later batches.
#[test]
fn it_agrees_with_a_map_and_views_do_not_change() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path());
    let mut model = BTreeMap::new();
    let mut seed = 1u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut held = Vec::new();
    for round in 0..60 {
        let mut batch = Batch::new();
        for _ in 0..random(30) {
            let key = Bytes::from(format!("key {}", random(50)));
            if random(3) == 0 {
                model.remove(&key);
                batch.delete(key);
            } else {
                let value = Bytes::from(vec![round; usize::try_from(random(3000)).unwrap()]);
                model.insert(key.clone(), value.clone());
                batch.put(key, value);
            }
        }
        store.commit(batch).unwrap();
        if round % 7 == 0 {
            held.push((store.snapshot().unwrap(), model.clone()));
        }
        if round % 20 == 19 {
            held.clear();
            drop(store);
            store = open(directory.path());
        }
        for (view, then) in held.iter().map(|(view, then)| (view, then)).chain([(&store.snapshot().unwrap(), &model)]) {
            let found = view.scan(b"key", b"kez", usize::MAX).unwrap();
            assert!(found.iter().map(|(key, value)| (key, value)).eq(then.iter()), "round {round}");
            assert_eq!(view.get(b"key 7").unwrap(), then.get(&b"key 7"[..]).cloned());
        }
    }
}

#[test]
fn a_view_outlives_the_store_which_made_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.commit(put(&[(b"a", b"1")])).unwrap();
    let view = store.snapshot().unwrap();
    store.commit(put(&[(b"a", b"2")])).unwrap();
    drop(store);
    let read = std::thread::spawn(move || view.get(b"a").unwrap()).join().unwrap();
    assert_eq!(read, Some(Bytes::from("1")));
}

#[test]
fn the_largest_key_and_value_are_kept_and_larger_ones_refused_whole() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let (key, value) = (vec![7; KEY_BYTES_MAX], Bytes::from(vec![0xab; VALUE_BYTES_MAX]));
    let mut batch = Batch::new();
    batch.put(key.clone(), value.clone());
    store.commit(batch).unwrap();
    assert!(store.snapshot().unwrap().get(&key).unwrap() == Some(value));

    let too_long: [(&[u8], usize, &str); 3] = [
        (&[7; KEY_BYTES_MAX + 1], 0, "key has 1025 bytes; the limit is 1024"),
        (b"v", VALUE_BYTES_MAX + 1, "value has 33554433 bytes; the limit is 33554432"),
        (b"", 0, "empty key has 0 bytes; the limit is 1024"),
    ];
    for (key, value_len, message) in too_long {
        let mut batch = put(&[(b"before", b"1")]);
        batch.put(key.to_vec(), vec![0; value_len]);
        let error = store.commit(batch).unwrap_err();
        assert!(matches!(error, StorageError::TooLong { .. }), "{error}");
        assert_eq!(error.to_string(), message);
    }
    assert_eq!(store.snapshot().unwrap().get(b"before").unwrap(), None);
    store.commit(put(&[(b"after", b"2")])).unwrap();
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
