//! Files which are not what was written: a clear error, no wrong value, and nothing acknowledged missing unnoticed.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use quorate::{
    Settings,
    plugin::{SetupError, StoragePlugin},
    storage::{Batch, StorageError},
};
use quorate_storage_fjall::{FOLDER, FORMAT, FjallPlugin};

/// Commits of a store.
const HEIGHTS: u64 = 20;

/// Rows of each.
const ROWS: u64 = 10;

/// In memory where the system has such a place: these tests open a store hundreds of times, and none is about durability.
fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

fn open(directory: &Path) -> Result<std::sync::Arc<dyn quorate::Storage>, StorageError> {
    FjallPlugin.open(&Settings::from_text(""), directory).map_err(|error| match error {
        SetupError::Storage(error) => error,
        other => panic!("{other}"),
    })
}

fn refused(directory: &Path) -> StorageError {
    match open(directory) {
        Err(error) => error,
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

/// What the values of a height are filled with.
fn fill(height: u64) -> u8 {
    100 + u8::try_from(height).unwrap()
}

fn commit(store: &dyn quorate::Storage, height: u64, bytes: usize) -> Result<(), StorageError> {
    let mut batch = Batch::new();
    for row in 0..ROWS {
        batch.put(format!("{height:04}/{row}"), vec![fill(height); bytes]);
    }
    store.commit(batch)
}

/// A store with some content, closed, its journal cut to what is in it. With `large` values a part of it is in tables.
fn written(directory: &Path, large: bool) {
    let store = open(directory).unwrap();
    for height in 0..HEIGHTS {
        commit(&*store, height, if large { 200_000 } else { 300 }).unwrap();
    }
    drop(store);
    drop(open(directory).unwrap());
}

/// All files of the store, smallest path first.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// Opens and reads everything. Either it says that something is wrong, or all that was acknowledged is there and right.
fn says_or_has_everything(directory: &Path, what: &str) -> bool {
    let store = match open(directory) {
        Ok(store) => store,
        Err(StorageError::Damaged(_) | StorageError::Newer { .. } | StorageError::Io { .. }) => return false,
        Err(other) => panic!("{what}: {other}"),
    };
    match store.snapshot().and_then(|view| view.scan(b"0", b"1", usize::MAX)) {
        Ok(pairs) => {
            assert_eq!(pairs.len() as u64, HEIGHTS * ROWS, "{what}: rows are missing, and nobody says so");
            for (key, value) in pairs {
                let height: u64 = std::str::from_utf8(&key[..4]).unwrap().parse().unwrap();
                assert!(value.iter().all(|byte| *byte == fill(height)), "{what}: a wrong value of {key:?}");
            }
            true
        }
        Err(StorageError::Damaged(_) | StorageError::Poisoned(_) | StorageError::Io { .. }) => false,
        Err(other) => panic!("{what}: {other}"),
    }
}

#[test]
fn a_newer_format_is_refused_and_left_to_the_byte() {
    let directory = directory();
    written(directory.path(), false);
    let folder = directory.path().join(FOLDER);
    let newer = fs::read_to_string(folder.join("format")).unwrap().replace(&format!("format {FORMAT}"), "format 7");
    fs::write(folder.join("format"), newer).unwrap();
    let before: Vec<Vec<u8>> = files(&folder).iter().map(|path| fs::read(path).unwrap()).collect();
    let error = refused(directory.path());
    assert!(matches!(error, StorageError::Newer { found: 7, known: FORMAT }), "{error}");
    let after: Vec<Vec<u8>> = files(&folder).iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(before == after);
}

#[test]
fn what_is_no_store_of_ours_is_damaged() {
    let directory = directory();
    let folder = directory.path().join(FOLDER);
    fs::create_dir(&folder).unwrap();
    assert!(matches!(refused(directory.path()), StorageError::Damaged(_)), "an empty folder");
    for text in ["", "no store", "quorate chain in fjall, format 0\n", "quorate chain in fjall, format -1", "\u{0}"] {
        fs::write(folder.join("format"), text).unwrap();
        let error = refused(directory.path());
        assert!(matches!(&error, StorageError::Damaged(why) if why.contains("none of Quorate's")), "{text:?}: {error}");
    }
    fs::write(folder.join("format"), "quorate chain in fjall, format 1\n").unwrap();
    assert!(matches!(refused(directory.path()), StorageError::Damaged(_)), "without its files");
    assert_eq!(files(&folder).len(), 1, "nothing was made in it");
}

#[test]
fn a_file_that_is_missing_is_damage_and_no_new_beginning() {
    let good = directory();
    written(good.path(), true);
    let names: Vec<PathBuf> = files(&good.path().join(FOLDER));
    assert!(names.len() > 6, "{names:?}");
    for name in names {
        let name = name.strip_prefix(good.path()).unwrap();
        // Made anew, and empty anyway.
        if name.ends_with("lock") {
            continue;
        }
        let bad = directory();
        copy(&good.path().join(FOLDER), &bad.path().join(FOLDER));
        fs::remove_file(bad.path().join(name)).unwrap();
        let error = refused(bad.path());
        assert!(matches!(error, StorageError::Damaged(_)), "without {}: {error}", name.display());
    }
}

/// The end of the journal rots, or is cut off: fjall shortens it and goes on; the number of what was acknowledged tells.
#[test]
fn a_journal_that_lost_its_end_is_noticed() {
    let good = directory();
    written(good.path(), false);
    let is_journal = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "jnl");
    let journal = files(&good.path().join(FOLDER)).iter().rfind(is_journal).unwrap().clone();
    let name = journal.strip_prefix(good.path()).unwrap();
    let bytes = fs::read(&journal).unwrap();
    for cut in [1, 5, 40, bytes.len() / 2, bytes.len()] {
        let bad = directory();
        copy(&good.path().join(FOLDER), &bad.path().join(FOLDER));
        fs::write(bad.path().join(name), &bytes[..bytes.len() - cut]).unwrap();
        let error = refused(bad.path());
        assert!(
            matches!(&error, StorageError::Damaged(why) if why.contains("number 20 was acknowledged")),
            "{cut}: {error}"
        );
    }
}

fn no_flipped_byte_goes_unnoticed(large: bool, flips: usize) {
    let good = directory();
    written(good.path(), large);
    let whole = directory();
    copy(&good.path().join(FOLDER), &whole.path().join(FOLDER));
    assert!(says_or_has_everything(whole.path(), "a copy without a flip"));
    let all = files(&good.path().join(FOLDER));
    let seed = seed();
    println!("QUORATE_SEED={seed}");
    let mut state = seed;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let (mut noticed, mut harmless) = (0, 0);
    for file in &all {
        let name = file.strip_prefix(good.path()).unwrap();
        let bytes = fs::read(file).unwrap();
        if bytes.is_empty() {
            continue;
        }
        for _ in 0..flips {
            let (at, with) = (random(bytes.len()), u8::try_from(1 + random(255)).unwrap());
            let bad = directory();
            copy(&good.path().join(FOLDER), &bad.path().join(FOLDER));
            let mut flipped = bytes.clone();
            flipped[at] ^= with;
            fs::write(bad.path().join(name), &flipped).unwrap();
            let what = format!("QUORATE_SEED={seed}: {} of {} at {at}", name.display(), bytes.len());
            let case = std::panic::catch_unwind(|| says_or_has_everything(bad.path(), &what));
            match case.unwrap_or_else(|_| panic!("{what}")) {
                true => harmless += 1,
                false => noticed += 1,
            }
        }
    }
    println!("{noticed} noticed, {harmless} harmless, of {} files", all.len());
    assert!(noticed > flips, "{noticed} {harmless}");
}

#[test]
fn no_flipped_byte_of_a_journal_makes_a_panic_a_wrong_value_or_a_loss() {
    no_flipped_byte_goes_unnoticed(false, 30);
}

#[test]
fn no_flipped_byte_of_a_table_makes_a_panic_a_wrong_value_or_a_loss() {
    no_flipped_byte_goes_unnoticed(true, 4);
}
