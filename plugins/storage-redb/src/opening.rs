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
    medium::{FileMedium, Staged},
    store::{CHAIN, FORMAT},
};

/// The store's file in the data directory.
pub const FILE: &str = "chain.redb";

/// The file while it is made; whatever is in it counts for nothing.
pub const FILE_NEW: &str = "chain.redb.new";

/// The file in the data directory with what was committed last.
pub const FILE_JOURNAL: &str = "chain.journal";

/// Row of [`META`]: the format.
const FORMAT_KEY: &str = "format";

/// Row of [`META`]: which frames of the journal count, namely those that were committed after this state of the tree.
const SALT_KEY: &str = "journal";

/// The table which says what this file is.
const META: TableDefinition<'static, &'static str, u64> = TableDefinition::new("quorate");

/// The format without a journal.
const FORMAT_BEFORE: u64 = 1;

/// How often opening starts again because another process created or replaced the file meanwhile.
const ATTEMPTS_MAX: usize = 16;

/// How to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Options {
    /// Bytes of cached pages at most.
    pub(crate) cache_bytes: usize,
    /// A file of up to so many bytes is verified page by page before it is used.
    pub(crate) check_bytes_max: u64,
    /// Bytes of the journal at most.
    pub(crate) journal_bytes: u64,
    /// Bytes of a frame of the journal at most: a larger batch goes to the tree directly.
    pub(crate) frame_bytes_max: u64,
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

/// An empty journal; what a journal of that name has counts for nothing.
fn new_journal(directory: &Path) -> Result<File, StorageError> {
    let options =
        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(directory.join(FILE_JOURNAL));
    let file = options.map_err(|error| from_io("create chain.journal", error))?;
    sync_directory(directory)?;
    Ok(file)
}

/// The journal beside a tree of `format`, whose lock covers it.
pub(crate) fn journal_file(directory: &Path, format: u64) -> Result<File, StorageError> {
    if format < FORMAT {
        // The tree was written by a version without journal.
        return new_journal(directory);
    }
    match OpenOptions::new().read(true).write(true).open(directory.join(FILE_JOURNAL)) {
        Ok(file) => Ok(file),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(StorageError::Damaged(
            "chain.journal is missing; it belongs beside chain.redb and has what was committed last".into(),
        )),
        Err(error) => Err(from_io("open chain.journal", error)),
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
    write_meta(&transaction)?;
    drop(transaction.open_table(CHAIN).map_err(|error| from_redb(ACTION, error))?);
    transaction.commit().map_err(|error| from_redb(ACTION, error))?;
    database.close().map_err(|error| from_redb(ACTION, error))
}

fn draw(salt: &mut [u8; 8]) -> io::Result<()> {
    #[cfg(test)]
    if DRAWING_FAILS.take() {
        return Err(io::Error::other("told to fail"));
    }
    getrandom::fill(salt).map_err(io::Error::other)
}

/// Names the format and a new salt, so that no frame of the journal counts beside what `transaction` makes durable. Gives the salt.
pub(crate) fn write_meta(transaction: &WriteTransaction) -> Result<u64, StorageError> {
    const ACTION: &str = "write the format";
    let mut salt = [0; 8];
    draw(&mut salt).map_err(|source| StorageError::Io { action: "draw a random number", source })?;
    let salt = u64::from_le_bytes(salt);
    let mut table = transaction.open_table(META).map_err(|error| from_redb(ACTION, error))?;
    for (key, value) in [(FORMAT_KEY, FORMAT), (SALT_KEY, salt)] {
        table.insert(key, value).map_err(|error| from_redb(ACTION, error))?;
    }
    Ok(salt)
}

pub(crate) fn set_durability(transaction: &mut WriteTransaction, to: Durability) -> Result<(), StorageError> {
    transaction.set_durability(to).map_err(|error| StorageError::Damaged(format!("durability can't be set: {error}")))
}

/// How the tree is made durable: two fsyncs, the first before the new state is named, so that a state which is named is
/// whole; and with the allocator's state, so that a killed process starts without reading the whole file.
pub(crate) fn prepare(transaction: &mut WriteTransaction) -> Result<(), StorageError> {
    set_durability(transaction, Durability::Immediate)?;
    transaction.set_two_phase_commit(true);
    transaction.set_quick_repair(true);
    Ok(())
}

#[cfg(test)]
thread_local! {
    static CHECKS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
    /// The next salt of this thread can't be drawn: an error which redb knows nothing of.
    pub(crate) static DRAWING_FAILS: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// How often this thread went through a tree page by page, without being told to.
#[cfg(test)]
pub(crate) fn checks() -> u32 {
    CHECKS.get()
}

/// A tree that was accepted.
pub(crate) struct Opened {
    pub(crate) database: Database,
    /// Where it lies. Nothing is written before [`Opened::release`].
    pub(crate) medium: Staged,
    pub(crate) format: u64,
    /// Which frames of the journal count. In a format without journal: whatever, as its journal is empty.
    pub(crate) salt: u64,
}

impl Opened {
    /// Lets what opening wrote, and what is written later, through to the medium.
    pub(crate) fn release(&self) -> Result<(), StorageError> {
        self.medium.release().map_err(|error| from_io(ACTION, error))
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
        let (format, salt) = read_meta(&database)?;
        Ok(Opened { database, medium: staged.clone(), format, salt })
    })
}

/// The format and the salt.
fn read_meta(database: &Database) -> Result<(u64, u64), StorageError> {
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
    let meta = match (row(FORMAT_KEY)?, row(SALT_KEY)?) {
        (Some(FORMAT), Some(salt)) => (FORMAT, salt),
        (Some(FORMAT_BEFORE), None) => (FORMAT_BEFORE, 0),
        (Some(found), _) if found > FORMAT => return Err(StorageError::Newer { found, known: FORMAT }),
        (found, salt) => {
            let message = format!(
                "the format is {found:?} with journal {salt:?}; it must be {FORMAT} with one, or {FORMAT_BEFORE}"
            );
            return Err(StorageError::Damaged(message));
        }
    };
    drop(transaction.open_table(CHAIN).map_err(|error| from_redb("open the table", error))?);
    Ok(meta)
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
