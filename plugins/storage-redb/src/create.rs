//! Opening the file, and making it so that a kill at any instant leaves either none or a whole one.

use std::{fs::File, io, path::Path};

use quorate::storage::StorageError;
use redb::{Builder, Database, DatabaseError, ReadableDatabase as _, TableDefinition};

use crate::store::{PAIRS, RedbStorage};

/// The file's name in the data directory.
pub(crate) const FILE: &str = "chain.redb";

const NEW_FILE: &str = "chain.redb.new";

/// The format that this version writes and reads.
pub(crate) const FORMAT: u64 = 1;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

fn io_error(action: &'static str) -> impl Fn(io::Error) -> StorageError {
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            StorageError::Full(format!("{action}: {source}"))
        }
        _ => StorageError::Io { action, source },
    }
}

/// What redb says, in our words.
pub(crate) fn storage_error(action: &'static str) -> impl Fn(redb::StorageError) -> StorageError {
    move |error| match error {
        redb::StorageError::Io(source) => io_error(action)(source),
        redb::StorageError::Corrupted(what) => StorageError::Damaged(what),
        other => StorageError::Io { action, source: io::Error::other(other.to_string()) },
    }
}

/// Opens the file in `directory`, or makes it.
pub(crate) fn open(directory: &Path, cache_bytes: usize) -> Result<RedbStorage, StorageError> {
    let path = directory.join(FILE);
    if !path.try_exists().map_err(io_error("looking for the database"))? {
        create(directory, &path, cache_bytes)?;
    }
    let database = open_file(&path, cache_bytes)?;
    check_format(&database)?;
    Ok(RedbStorage::new(database))
}

fn builder(cache_bytes: usize) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(cache_bytes);
    builder
}

fn open_file(path: &Path, cache_bytes: usize) -> Result<Database, StorageError> {
    builder(cache_bytes).open(path).map_err(|error| database_error(path, error))
}

fn database_error(path: &Path, error: DatabaseError) -> StorageError {
    let name = path.display();
    match error {
        DatabaseError::DatabaseAlreadyOpen => StorageError::Locked(name.to_string()),
        DatabaseError::UpgradeRequired(found) => {
            StorageError::Damaged(format!("{name}: redb file format {found} is older than this version reads"))
        }
        DatabaseError::Storage(redb::StorageError::Io(source)) if source.kind() == io::ErrorKind::InvalidData => {
            StorageError::Damaged(format!("{name}: {source}"))
        }
        DatabaseError::Storage(error) => match storage_error("opening the database")(error) {
            StorageError::Damaged(what) => StorageError::Damaged(format!("{name}: {what}")),
            other => other,
        },
        other => StorageError::Damaged(format!("{name}: {other}")),
    }
}

/// The new file has another name until it is whole and durable.
fn create(directory: &Path, path: &Path, cache_bytes: usize) -> Result<(), StorageError> {
    let new = directory.join(NEW_FILE);
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(io_error("removing an unfinished database")(error));
        }
        _ => {}
    }
    let database = builder(cache_bytes).create(&new).map_err(|error| database_error(&new, error))?;
    write_format(&database)?;
    drop(database);
    File::open(&new).and_then(|file| file.sync_all()).map_err(io_error("making the new database durable"))?;
    std::fs::rename(&new, path).map_err(io_error("naming the new database"))?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(io_error("making its name durable"))
}

fn failed(action: &'static str) -> impl Fn(redb::Error) -> StorageError {
    move |error| match error {
        redb::Error::Io(source) => io_error(action)(source),
        redb::Error::Corrupted(what) => StorageError::Damaged(what),
        other => StorageError::Io { action, source: io::Error::other(other.to_string()) },
    }
}

fn write_format(database: &Database) -> Result<(), StorageError> {
    let write = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        transaction.open_table(META)?.insert("format", FORMAT)?;
        transaction.open_table(PAIRS)?;
        transaction.commit()?;
        Ok(())
    };
    write().map_err(failed("writing the format"))
}

fn check_format(database: &Database) -> Result<(), StorageError> {
    let read = || -> Result<Option<u64>, redb::Error> {
        let transaction = database.begin_read()?;
        match transaction.open_table(META) {
            Ok(table) => Ok(table.get("format")?.map(|found| found.value())),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    };
    match read().map_err(failed("reading the format"))? {
        Some(FORMAT) => Ok(()),
        Some(found) if found > FORMAT => Err(StorageError::Newer { found, known: FORMAT }),
        Some(found) => Err(StorageError::Damaged(format!("format {found} was never written"))),
        None => Err(StorageError::Damaged("not a Quorate database: it has no format".into())),
    }
}

#[cfg(test)]
mod tests {
    use quorate::{Storage as _, storage::Batch};

    use super::*;

    #[test]
    fn what_is_committed_is_there_after_opening_again() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path(), 1 << 20).unwrap();
        let mut batch = Batch::new();
        for n in 0..100u8 {
            batch.put(vec![n], vec![n; 1000]);
        }
        batch.delete(vec![7]);
        store.commit(batch).unwrap();
        let before = store.snapshot().unwrap();
        let mut batch = Batch::new();
        batch.put(vec![7], b"later".to_vec());
        store.commit(batch).unwrap();
        assert_eq!(before.get(&[7]).unwrap(), None, "a snapshot does not change");
        drop((before, store));
        let store = open(directory.path(), 1 << 20).unwrap();
        let now = store.snapshot().unwrap();
        assert_eq!(now.get(&[7]).unwrap().unwrap().as_ref(), b"later");
        let found = now.scan(&[5], &[9], 3).unwrap();
        assert_eq!(found.iter().map(|(key, _)| key[0]).collect::<Vec<_>>(), [5, 6, 7]);
    }

    #[test]
    fn a_second_process_a_newer_format_and_damage_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path(), 1 << 20).unwrap();
        assert!(matches!(open(directory.path(), 1 << 20), Err(StorageError::Locked(_))));
        drop(store);
        let path = directory.path().join(FILE);
        let database = Database::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(META).unwrap().insert("format", 9).unwrap();
        transaction.commit().unwrap();
        drop(database);
        assert!(matches!(open(directory.path(), 1 << 20), Err(StorageError::Newer { found: 9, known: 1 })));
        std::fs::write(&path, b"this is not a database, whatever its name says").unwrap();
        let refused = open(directory.path(), 1 << 20);
        assert!(matches!(refused, Err(StorageError::Damaged(_))), "{:?}", refused.err());
        assert_eq!(std::fs::read(&path).unwrap().len(), 46, "the file is left as it is");
    }

    #[test]
    fn an_unfinished_creation_is_begun_again() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(NEW_FILE), b"half").unwrap();
        assert!(open(directory.path(), 1 << 20).is_ok());
        assert!(!directory.path().join(NEW_FILE).exists());
    }

    #[test]
    fn a_too_long_key_is_refused_whole_and_leaves_the_store_usable() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path(), 1 << 20).unwrap();
        let mut batch = Batch::new();
        batch.put(vec![1], vec![1]);
        batch.put(vec![0; 2000], vec![1]);
        assert!(matches!(store.commit(batch), Err(StorageError::TooLong { what: "key", len: 2000, .. })));
        assert_eq!(store.snapshot().unwrap().get(&[1]).unwrap(), None);
        let mut batch = Batch::new();
        batch.put(vec![2], vec![2]);
        assert!(store.commit(batch).is_ok());
    }
}
