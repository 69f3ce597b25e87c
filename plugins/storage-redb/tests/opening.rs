//! Opening, and what is found in the directory; the rest of the contract is asked by the suite in `conformance.rs`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::{fs, path::Path, sync::Arc};

use quorate::{
    Bytes, Settings, Storage,
    plugin::{SetupError, StoragePlugin},
    storage::{Batch, StorageError},
};
use quorate_storage_redb::{FILE, FILE_NEW, FILES_JOURNAL, RedbPlugin};
use redb::{Database, ReadableDatabase, TableDefinition};

/// The table of a file which says what it is.
const META: TableDefinition<'static, &'static str, u64> = TableDefinition::new("quorate");

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

/// What a kill leaves: the tree without what was committed last, and the journal with it.
fn killed(directory: &Path, batches: u64) -> tempfile::TempDir {
    let store = open(directory);
    for number in 0..batches {
        store.commit(put(&[(&number.to_be_bytes(), b"value")])).unwrap();
    }
    let copy = tempfile::tempdir().unwrap();
    for file in [&[FILE][..], &FILES_JOURNAL].concat() {
        fs::copy(directory.join(file), copy.path().join(file)).unwrap();
    }
    copy
}

#[test]
fn what_only_the_journal_has_is_there_after_a_kill_and_the_tree_is_whole_alone_after_a_close() {
    let directory = tempfile::tempdir().unwrap();
    let killed = killed(directory.path(), 100);
    assert_eq!(all(&*open(killed.path())).len(), 100);
    // That opening and closing put it into the tree.
    for file in FILES_JOURNAL {
        fs::write(killed.path().join(file), b"").unwrap();
    }
    assert_eq!(all(&*open(killed.path())).len(), 100);
}

#[test]
fn a_missing_journal_is_damage_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    for missing in FILES_JOURNAL {
        let killed = killed(directory.path(), 3);
        let before = fs::read(killed.path().join(FILE)).unwrap();
        fs::remove_file(killed.path().join(missing)).unwrap();
        let error = refused(killed.path());
        let said = format!("{missing} is missing");
        assert!(matches!(&error, StorageError::Damaged(what) if what.contains(&said)), "{error}");
        assert_eq!(fs::read(killed.path().join(FILE)).unwrap(), before);
        assert!(!killed.path().join(missing).exists());
    }
}

#[test]
fn a_damaged_journal_is_said_and_left_with_the_tree_to_the_byte() {
    let directory = tempfile::tempdir().unwrap();
    let killed = killed(directory.path(), 3);
    let [first, _] = FILES_JOURNAL;
    let mut journal = fs::read(killed.path().join(first)).unwrap();
    journal[40] ^= 1;
    fs::write(killed.path().join(first), &journal).unwrap();
    let before = fs::read(killed.path().join(FILE)).unwrap();
    let error = refused(killed.path());
    assert!(error.to_string().contains("chain.journal, byte 0: frame 0 is not what was written"), "{error}");
    assert_eq!(fs::read(killed.path().join(FILE)).unwrap(), before);
    assert_eq!(fs::read(killed.path().join(first)).unwrap(), journal);
}

/// A journal that lies there when a store is made is a leftover.
#[test]
fn a_new_store_takes_nothing_from_a_journal_that_was_there() {
    let directory = tempfile::tempdir().unwrap();
    let killed = killed(directory.path(), 3);
    fs::remove_file(killed.path().join(FILE)).unwrap();
    assert!(all(&*open(killed.path())).is_empty());
}

/// Makes the store in `directory`, which is closed, one of `format`.
fn lowered(directory: &Path, format: u64) {
    let database = Database::open(directory.join(FILE)).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut meta = transaction.open_table(META).unwrap();
        meta.insert("format", format).unwrap();
        let since_3 = ["journal-next", "journal-number"];
        let rows = if format == 1 { [&["journal"][..], &since_3].concat() } else { since_3.to_vec() };
        rows.into_iter().for_each(|row| drop(meta.remove(row).unwrap()));
    }
    transaction.commit().unwrap();
}

/// The format and which rows beside it say what the file is.
fn meta(directory: &Path) -> (u64, Vec<String>) {
    let database = Database::open(directory.join(FILE)).unwrap();
    let meta = database.begin_read().unwrap().open_table(META).unwrap();
    let rows = meta.range::<&str>(..).unwrap().map(|row| row.unwrap().0.value().to_owned());
    (meta.get("format").unwrap().unwrap().value(), rows.collect())
}

/// Format 1 had no journal. It is read, and is of this version's format from then on.
#[test]
fn a_file_of_format_1_is_read_and_raised() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).commit(put(&[(b"a", b"1"), (b"b", b"2")])).unwrap();
    lowered(directory.path(), 1);
    // Whatever lies in the journal's place, or nothing.
    fs::write(directory.path().join(FILES_JOURNAL[0]), b"rubbish").unwrap();
    fs::remove_file(directory.path().join(FILES_JOURNAL[1])).unwrap();
    assert_eq!(all(&*open(directory.path())).len(), 2);
    let rows = ["format", "journal", "journal-next", "journal-number"].map(str::to_owned).to_vec();
    assert_eq!(meta(directory.path()), (quorate_storage_redb::FORMAT, rows));
}

/// Format 2 had one file of journal and one salt.
#[test]
fn files_of_format_2_are_read_with_what_only_their_journal_has_and_raised() {
    let directory = tempfile::tempdir().unwrap();
    let killed = killed(directory.path(), 100);
    lowered(killed.path(), 2);
    fs::remove_file(killed.path().join(FILES_JOURNAL[1])).unwrap();
    assert_eq!(all(&*open(killed.path())).len(), 100);
    assert_eq!(meta(killed.path()).0, quorate_storage_redb::FORMAT);
    open(killed.path()).commit(put(&[(b"a", b"1")])).unwrap();
    assert_eq!(all(&*open(killed.path())).len(), 101);
}

#[test]
fn rows_that_say_what_a_file_is_and_do_not_fit_are_damage() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).commit(put(&[(b"a", b"1")])).unwrap();
    for (row, value) in [("format", 2), ("format", 1), ("format", 0), ("journal-next", 4)] {
        let copy = tempfile::tempdir().unwrap();
        for file in [&[FILE][..], &FILES_JOURNAL].concat() {
            fs::copy(directory.path().join(file), copy.path().join(file)).unwrap();
        }
        let database = Database::open(copy.path().join(FILE)).unwrap();
        let transaction = database.begin_write().unwrap();
        drop(transaction.open_table(META).unwrap().insert(row, value).unwrap());
        transaction.commit().unwrap();
        drop(database);
        let error = refused(copy.path());
        // Both salts in one file, once the second is even; the first one is.
        assert!(matches!(&error, StorageError::Damaged(what) if what.starts_with("the format is ")), "{error}");
    }
}

/// The file once was twice as long after compacting: making the tree durable once more took a page, and the file grew by as much as it had.
#[test]
fn a_file_is_not_longer_after_compacting_however_full_it_is() {
    for rows in [0u32, 10, 100, 400, 1000, 2000, 3000] {
        let directory = tempfile::tempdir().unwrap();
        let len = || fs::metadata(directory.path().join(FILE)).unwrap().len();
        let mut batch = Batch::new();
        for row in 0..rows {
            batch.put(row.wrapping_mul(2_654_435_761).to_be_bytes().to_vec(), vec![7; 500]);
        }
        open(directory.path()).commit(batch).unwrap();
        let before = len();
        let compacted = RedbPlugin.open(&Settings::from_text("compact_at_start = true"), directory.path()).unwrap();
        let running = len();
        assert_eq!(all(&*compacted).len(), rows as usize);
        drop(compacted);
        assert!(running <= before && len() <= before, "{rows} rows: {before} before, {running} then, {} closed", len());
        assert_eq!(all(&*open(directory.path())).len(), rows as usize);
    }
}
