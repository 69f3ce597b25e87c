//! Locking, creating and accepting the file.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt,
    path::Path,
};

use quorate::storage::StorageError;
use redb::{
    Builder, Database, Durability, ReadableDatabase, StorageBackend, TableDefinition, TableError, WriteTransaction,
};
use tracing::{info, warn};

use crate::{
    failure::{from_io, from_redb, guarded},
    journal::{self, Generations},
    medium::{FileMedium, Staged},
    store::{CHAIN, FORMAT},
};

/// The store's file in the data directory.
pub const FILE: &str = "chain.redb";

/// The file while it is made; whatever is in it counts for nothing.
pub const FILE_NEW: &str = "chain.redb.new";

/// The files in the data directory with what was committed last.
pub const FILES_JOURNAL: [&str; 2] = journal::FILES;

/// Row of [`META`]: the format.
const FORMAT_KEY: &str = "format";

/// Row of [`META`]: the salt of the journal's frames that were committed after this state of the tree.
const SALT_KEY: &str = "journal";

/// Row of [`META`]: the salt of those which come after them.
const NEXT_SALT_KEY: &str = "journal-next";

/// Row of [`META`]: how many frames there were before the first of them.
const NUMBER_KEY: &str = "journal-number";

/// The table which says what this file is.
const META: TableDefinition<'static, &'static str, u64> = TableDefinition::new("quorate");

/// The format without a journal.
const FORMAT_1: u64 = 1;

/// The format whose journal is one file, with one salt.
const FORMAT_2: u64 = 2;

/// How often opening starts again because another process created or replaced the file meanwhile.
const ATTEMPTS_MAX: usize = 16;

/// How to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Options {
    /// Bytes of cached pages at most.
    pub(crate) cache_bytes: usize,
    /// A file of up to so many bytes is verified page by page before it is used.
    pub(crate) check_bytes_max: u64,
    /// Bytes of both files of the journal together, at most.
    pub(crate) journal_bytes: u64,
    /// Whether the file is made as small as it can be, before the store is used.
    pub(crate) compact_at_start: bool,
}

/// The locked file of the store in `directory`, made when there is none.
pub(crate) fn locked_file(directory: &Path) -> Result<File, StorageError> {
    let (path, fresh) = (directory.join(FILE), directory.join(FILE_NEW));
    for _ in 0..ATTEMPTS_MAX {
        match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => {
                lock(&file, &path)?;
                if is_at(&file, &path)? {
                    remove_if_there(&fresh)?;
                    // Whoever gave it its name may have ended before that was durable, and commits don't sync this file.
                    sync_directory(directory)?;
                    return Ok(file);
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if let Some(file) = create(directory, &path, &fresh)? {
                    info!(path = %path.display(), "storage created");
                    return Ok(file);
                }
            }
            Err(error) => return Err(from_io("open chain.redb", error)),
        }
    }
    Err(StorageError::Locked(path.display().to_string()))
}

/// Makes the file under another name and gives it its own when it is whole and durable. `None`: another process was faster.
fn create(directory: &Path, path: &Path, fresh: &Path) -> Result<Option<File>, StorageError> {
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(fresh);
    let file = open.map_err(|error| from_io("create chain.redb.new", error))?;
    lock(&file, fresh)?;
    // Between opening and locking, the former owner of the lock may have renamed it, or have removed it.
    if !is_at(&file, fresh)? || exists(path)? {
        return Ok(None);
    }
    let made = fill(&file).and_then(|()| {
        drop(new_journal(directory)?);
        fs::rename(fresh, path).map_err(|error| from_io("rename chain.redb.new", error))?;
        sync_directory(directory)
    });
    if let Err(error) = made {
        // Best effort: the next start removes it too.
        drop(fs::remove_file(fresh));
        return Err(error);
    }
    Ok(Some(file))
}

/// Makes the journal's file `name` empty; whatever it has counts for nothing.
fn new_journal_file(directory: &Path, name: &str) -> Result<File, StorageError> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(directory.join(name));
    file.map_err(|error| from_io("create chain.journal", error))
}

/// An empty journal.
fn new_journal(directory: &Path) -> Result<[File; 2], StorageError> {
    let [first, second] = FILES_JOURNAL;
    let files = [new_journal_file(directory, first)?, new_journal_file(directory, second)?];
    sync_directory(directory)?;
    Ok(files)
}

/// A file of the journal that belongs beside the tree.
fn journal_file(directory: &Path, name: &str) -> Result<File, StorageError> {
    match OpenOptions::new().read(true).write(true).open(directory.join(name)) {
        Ok(file) => Ok(file),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(StorageError::Damaged(format!(
            "{name} is missing; it belongs beside chain.redb and has what was committed last"
        ))),
        Err(error) => Err(from_io("open chain.journal", error)),
    }
}

/// The journal beside a tree of `format`, whose lock covers it.
pub(crate) fn journal_files(directory: &Path, format: u64) -> Result<[File; 2], StorageError> {
    let [first, second] = FILES_JOURNAL;
    match format {
        // A file which that format does not have is a leftover.
        FORMAT_1 => new_journal(directory),
        FORMAT_2 => {
            let files = [journal_file(directory, first)?, new_journal_file(directory, second)?];
            sync_directory(directory)?;
            Ok(files)
        }
        _ => Ok([journal_file(directory, first)?, journal_file(directory, second)?]),
    }
}

fn sync_directory(directory: &Path) -> Result<(), StorageError> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|error| from_io("sync the data directory", error))
}

/// Writes an empty store and makes it durable.
fn fill(file: &File) -> Result<(), StorageError> {
    const ACTION: &str = "create the store";
    let io = |error| from_io(ACTION, error);
    file.set_len(0).map_err(io)?;
    let medium = Staged::new(FileMedium::borrowing(file.try_clone().map_err(io)?)).map_err(io)?;
    medium.release().map_err(io)?;
    write_empty(medium)?;
    file.sync_all().map_err(io)
}

/// Writes an empty store to an empty medium.
pub(crate) fn write_empty(medium: Staged) -> Result<(), StorageError> {
    const ACTION: &str = "create the store";
    let database = Builder::new().create_with_backend(medium).map_err(|error| from_redb(ACTION, error))?;
    let mut transaction = database.begin_write().map_err(|error| from_redb(ACTION, error))?;
    prepare(&mut transaction)?;
    write_meta(&transaction, Generations::drawn(0)?)?;
    drop(transaction.open_table(CHAIN).map_err(|error| from_redb(ACTION, error))?);
    transaction.commit().map_err(|error| from_redb(ACTION, error))?;
    database.close().map_err(|error| from_redb(ACTION, error))
}

/// Names the format and which frames of the journal count beside what `transaction` makes durable.
pub(crate) fn write_meta(transaction: &WriteTransaction, journal: Generations) -> Result<(), StorageError> {
    const ACTION: &str = "write the format";
    let Generations { salts: [salt, next], number } = journal;
    let mut table = transaction.open_table(META).map_err(|error| from_redb(ACTION, error))?;
    for (key, value) in [(FORMAT_KEY, FORMAT), (SALT_KEY, salt), (NEXT_SALT_KEY, next), (NUMBER_KEY, number)] {
        table.insert(key, value).map_err(|error| from_redb(ACTION, error))?;
    }
    Ok(())
}

/// How the tree is made durable: two fsyncs, the first before the new state is named, so that a state which is named is
/// whole; and with the allocator's state, so that a killed process starts without reading the whole file.
pub(crate) fn prepare(transaction: &mut WriteTransaction) -> Result<(), StorageError> {
    let durable = transaction.set_durability(Durability::Immediate);
    durable.map_err(|error| StorageError::Damaged(format!("durability can't be set: {error}")))?;
    transaction.set_two_phase_commit(true);
    transaction.set_quick_repair(true);
    Ok(())
}

#[cfg(test)]
thread_local! {
    static CHECKS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// How often this thread went through a tree page by page, without being told to.
#[cfg(test)]
pub(crate) fn checks() -> u32 {
    CHECKS.get()
}

/// A tree that was accepted.
pub(crate) struct Opened {
    pub(crate) database: Database,
    /// Where it lies. Nothing is written before it is released.
    pub(crate) medium: Staged,
    pub(crate) found: Found,
}

/// What a tree says of itself.
pub(crate) struct Found {
    pub(crate) format: u64,
    /// Which frames of the journal count; none in the formats before.
    pub(crate) journal: Option<Generations>,
    /// The salt of the frames that count in the first file, and only there, in format 2.
    salt: Option<u64>,
}

impl Found {
    /// Which frames count: in which file, with which salt, and what the number of the first is, or would be.
    pub(crate) fn counting(&self) -> (Vec<(usize, u64)>, u64) {
        match (self.journal, self.salt) {
            (Some(journal), _) => (journal.salts.map(|salt| (journal::place(salt), salt)).to_vec(), journal.number),
            (None, salt) => (salt.map(|salt| (0, salt)).into_iter().collect(), 0),
        }
    }
}

const ACTION: &str = "open chain.redb";

/// Opens what is on `medium`, which is not changed before it is released.
pub(crate) fn accept(medium: impl StorageBackend, options: Options) -> Result<Opened, StorageError> {
    let staged = Staged::new(medium).map_err(|error| from_io(ACTION, error))?;
    let len = staged.len().map_err(|error| from_io(ACTION, error))?;
    let check = len <= options.check_bytes_max;
    if len == 0 {
        // redb would begin a new store in it, and the chain would begin anew.
        return Err(StorageError::Damaged("chain.redb is empty".into()));
    }
    guarded(ACTION, || {
        let mut builder = Builder::new();
        builder.set_cache_size(options.cache_bytes).set_check_integrity_on_open(check);
        if !check {
            builder.set_repair_callback(|session| {
                #[cfg(test)]
                CHECKS.set(CHECKS.get() + 1);
                warn!(
                    progress = session.progress(),
                    "storage is checked page by page: it has no valid list of free pages"
                );
            });
        }
        let database = builder.create_with_backend(staged.clone()).map_err(|error| from_redb(ACTION, error))?;
        let found = read_meta(&database)?;
        Ok(Opened { database, medium: staged.clone(), found })
    })
}

fn read_meta(database: &Database) -> Result<Found, StorageError> {
    const ACTION: &str = "read the format";
    let transaction = database.begin_read().map_err(|error| from_redb(ACTION, error))?;
    let table = match transaction.open_table(META) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => {
            return Err(StorageError::Damaged("chain.redb is a redb file, but not one of Quorate".into()));
        }
        Err(error) => return Err(from_redb(ACTION, error)),
    };
    let row = |key| table.get(key).map(|row| row.map(|row| row.value())).map_err(|error| from_redb(ACTION, error));
    let (format, number) = (row(FORMAT_KEY)?, row(NUMBER_KEY)?);
    let salts = (row(SALT_KEY)?, row(NEXT_SALT_KEY)?);
    let found = match (format, salts, number) {
        (Some(FORMAT), (Some(salt), Some(next)), Some(number)) if journal::place(salt) != journal::place(next) => {
            Found { format: FORMAT, journal: Some(Generations { salts: [salt, next], number }), salt: None }
        }
        (Some(FORMAT_2), (Some(salt), None), None) => Found { format: FORMAT_2, journal: None, salt: Some(salt) },
        (Some(FORMAT_1), (None, None), None) => Found { format: FORMAT_1, journal: None, salt: None },
        (Some(found), ..) if found > FORMAT => return Err(StorageError::Newer { found, known: FORMAT }),
        _ => {
            return Err(StorageError::Damaged(format!(
                "the format is {format:?} with a journal of {salts:?} from {number:?}; it must be {FORMAT} with two of \
                 different files and a number, {FORMAT_2} with one, or {FORMAT_1} with none"
            )));
        }
    };
    drop(transaction.open_table(CHAIN).map_err(|error| from_redb("open the table", error))?);
    Ok(found)
}

/// Takes the lock which one process holds as long as it has the store open.
fn lock(file: &File, path: &Path) -> Result<(), StorageError> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => StorageError::Locked(path.display().to_string()),
        TryLockError::Error(source) => StorageError::Io { action: "lock chain.redb", source },
    })
}

/// Whether `path` leads to this very file.
fn is_at(file: &File, path: &Path) -> Result<bool, StorageError> {
    let look = || -> io::Result<bool> {
        let ours = file.metadata()?;
        match fs::metadata(path) {
            Ok(there) => Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    };
    look().map_err(|error| from_io("look at the data directory", error))
}

fn exists(path: &Path) -> Result<bool, StorageError> {
    path.try_exists().map_err(|error| from_io("look at the data directory", error))
}

fn remove_if_there(path: &Path) -> Result<(), StorageError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(from_io("remove chain.redb.new", error)),
        _ => Ok(()),
    }
}
