//! Files which are not what was written: a clear error, no panic, and the file stays as it is.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]

use std::{fs, path::Path};

use quorate::{
    Settings,
    plugin::{SetupError, StoragePlugin},
    storage::{Batch, StorageError},
};
use quorate_storage_redb::{FILE, FORMAT, RedbPlugin};
use redb::{Database, TableDefinition};

const META: TableDefinition<'static, &'static str, u64> = TableDefinition::new("quorate");

/// In memory where the system has such a place: these tests open thousands of files, and none is about durability.
fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

fn refused(directory: &Path) -> StorageError {
    match RedbPlugin.open(&Settings::from_text(""), directory) {
        Err(SetupError::Storage(error)) => error,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("opened"),
    }
}

/// A fresh seed, or that of a run which is to be repeated.
fn seed() -> u64 {
    if let Ok(text) = std::env::var("QUORATE_SEED") {
        return text.parse().unwrap();
    }
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).unwrap();
    u64::from_le_bytes(seed)
}

/// A store with some content, closed. Returns its bytes.
fn written(directory: &Path) -> Vec<u8> {
    let store = RedbPlugin.open(&Settings::from_text(""), directory).unwrap();
    for height in 0..20u64 {
        let mut batch = Batch::new();
        for row in 0..10u64 {
            batch.put(format!("{height:04}/{row}"), vec![fill(u8::try_from(height).unwrap()); 300]);
        }
        store.commit(batch).unwrap();
    }
    drop(store);
    fs::read(directory.join(FILE)).unwrap()
}

/// What the values of a height are filled with.
fn fill(height: u8) -> u8 {
    100 + height
}

fn is_expected(key: &[u8], value: &[u8]) -> bool {
    let height: u8 = std::str::from_utf8(&key[..4]).unwrap().parse().unwrap();
    value == [fill(height); 300]
}

/// Opens and reads everything. Wrong bytes never come out as if they were right.
fn nothing_wrong_is_read(directory: &Path, checked: bool, what: &str) -> bool {
    let settings = Settings::from_text(if checked { "" } else { "check_bytes_max = 0" });
    let store = match RedbPlugin.open(&settings, directory) {
        Ok(store) => store,
        Err(SetupError::Storage(StorageError::Damaged(_) | StorageError::Newer { .. })) => return false,
        Err(other) => panic!("{what}: {other}"),
    };
    let pairs = store.snapshot().and_then(|view| view.scan(b"0", b"1", usize::MAX));
    match pairs {
        Ok(pairs) => assert!(pairs.iter().all(|(key, value)| is_expected(key, value)), "{what}"),
        Err(StorageError::Damaged(_) | StorageError::Poisoned(_)) => {}
        Err(other) => panic!("{what}: {other}"),
    }
    if !checked {
        return true;
    }
    let mut batch = Batch::new();
    batch.put(&b"0001/1"[..], vec![fill(1); 300]);
    match store.commit(batch) {
        Ok(()) | Err(StorageError::Damaged(_) | StorageError::Poisoned(_)) => true,
        Err(other) => panic!("{what}: {other}"),
    }
}

#[test]
fn a_newer_format_is_refused_and_left_to_the_byte() {
    let directory = directory();
    written(directory.path());
    let database = Database::open(directory.path().join(FILE)).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(META).unwrap().insert("format", FORMAT + 6).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let before = fs::read(directory.path().join(FILE)).unwrap();
    let error = refused(directory.path());
    assert!(matches!(error, StorageError::Newer { found, known: FORMAT } if found == FORMAT + 6), "{error}");
    assert_eq!(fs::read(directory.path().join(FILE)).unwrap(), before);
}

#[test]
fn what_is_no_store_of_ours_is_damaged_and_left_to_the_byte() {
    let directory = directory();
    let good = written(directory.path());
    let path = directory.path().join(FILE);
    let foreign = {
        let path = directory.path().join("foreign");
        let database = Database::create(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(TableDefinition::<u64, u64>::new("other")).unwrap();
        transaction.commit().unwrap();
        drop(database);
        fs::read(path).unwrap()
    };
    let mut cases = vec![Vec::new(), b"not a database".to_vec(), vec![0; 8192], vec![0xff; 1 << 20], foreign];
    cases.extend([1, 9, 64, 319, 320, 4096, 8192, good.len() / 2, good.len() - 1].map(|len| good[..len].to_vec()));
    for (case, bytes) in cases.iter().enumerate() {
        fs::write(&path, bytes).unwrap();
        let error = refused(directory.path());
        assert!(matches!(error, StorageError::Damaged(_)), "case {case}: {error:?}");
        assert_eq!(fs::read(&path).unwrap(), *bytes, "case {case}");
    }
    fs::write(&path, &good).unwrap();
    assert!(nothing_wrong_is_read(directory.path(), true, "the good file"));
}

/// Writes `bad` as the store's file and reads it.
fn try_bad(directory: &Path, bad: &[u8], checked: bool, what: &str) -> bool {
    let path = directory.join(FILE);
    fs::write(&path, bad).unwrap();
    let case = std::panic::catch_unwind(|| nothing_wrong_is_read(directory, checked, what));
    let opened = case.unwrap_or_else(|_| panic!("{what}"));
    if !opened {
        assert_eq!(fs::read(&path).unwrap(), bad, "{what}");
    }
    opened
}

/// Flips every byte of the header, and random bytes behind it.
#[test]
fn no_flipped_byte_of_a_checked_file_makes_a_panic_or_a_wrong_value() {
    let directory = directory();
    let good = written(directory.path());
    let seed = seed();
    println!("QUORATE_SEED={seed}");
    let mut state = seed;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let header = (0..320).map(|at| (at, 1));
    let used = good.len() - good.iter().rev().take_while(|byte| **byte == 0).count();
    let behind: Vec<_> = (0..400).map(|_| (320 + random(used - 320), 1 + random(64))).collect();
    let (mut opened, mut refused) = (0, 0);
    for (at, count) in header.chain(behind) {
        let mut bad = good.clone();
        for byte in bad.iter_mut().skip(at).take(count) {
            *byte ^= u8::try_from(1 + random(255)).unwrap();
        }
        match try_bad(directory.path(), &bad, true, &format!("QUORATE_SEED={seed}: {count} bytes at {at}")) {
            true => opened += 1,
            false => refused += 1,
        }
    }
    // Many pages are free or padding; every one that counts is noticed before the store is used.
    assert!(opened > 0 && refused > 300, "{opened} opened, {refused} refused");
}

/// A file too large to be verified whole: what is wrong with a value is noticed when it is read.
#[test]
fn a_flipped_byte_of_a_value_is_noticed_when_it_is_read() {
    let directory = directory();
    let good = written(directory.path());
    for height in 0..20u8 {
        let mut bad = good.clone();
        // Flips a byte in every copy of the height's values: also in those of pages that are free by now.
        let mut at = 0;
        while let Some(found) = bad[at..].windows(300).position(|window| window == [fill(height); 300]) {
            at += found + usize::from(height) * 15;
            bad[at] ^= 1;
        }
        fs::write(directory.path().join(FILE), &bad).unwrap();
        let store = RedbPlugin.open(&Settings::from_text("check_bytes_max = 0"), directory.path()).unwrap();
        let view = store.snapshot().unwrap();
        for row in 0..10 {
            let key = format!("{height:04}/{row}");
            let error = view.get(key.as_bytes()).unwrap_err();
            assert!(matches!(error, StorageError::Damaged(_)), "{key}: {error}");
        }
        let other = format!("{:04}/3", (height + 1) % 20);
        assert!(is_expected(other.as_bytes(), &view.get(other.as_bytes()).unwrap().unwrap()));
    }
}

#[test]
fn no_flipped_byte_of_the_header_of_an_unchecked_file_makes_a_panic_or_a_wrong_value() {
    let directory = directory();
    let good = written(directory.path());
    for bit in 0..320 * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        try_bad(directory.path(), &bad, false, &format!("bit {bit}"));
    }
}
