//! Locking, creating and accepting the folder.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind},
    path::Path,
    sync::Arc,
};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, Readable};
use quorate::storage::StorageError;
use tracing::info;

use crate::{
    count::{self, Acknowledged},
    examine::examine,
    failure::{from_fjall, from_io, guarded},
    record::COUNT_KEY,
};

/// The store's folder in the data directory.
pub const FOLDER: &str = "chain.fjall";

/// The folder while it is made; whatever is in it counts for nothing.
pub const FOLDER_NEW: &str = "chain.fjall.new";

/// Held locked by the process that has the store open; never removed.
pub const LOCK: &str = "chain.fjall.lock";

/// The format of the folder that this version writes; it reads this one only. See `FORMAT.md`.
pub const FORMAT: u64 = 1;

/// The file in the folder that says what it is.
const FORMAT_FILE: &str = "format";

/// Before the number in [`FORMAT_FILE`].
const FORMAT_HEAD: &str = "quorate chain in fjall, format ";

/// Bytes of [`FORMAT_FILE`] that are read at most.
const FORMAT_BYTES_MAX: u64 = 100;

/// fjall's own folder in the folder.
const TREE_FOLDER: &str = "tree";

/// The only keyspace.
const KEYSPACE: &str = "chain";

/// Bytes of a memtable, after which it becomes a table.
const MEMTABLE_BYTES: u64 = 16 << 20;

/// Bytes of all journals at most, about.
const JOURNALS_BYTES_MAX: u64 = 128 << 20;

/// Threads which write tables and merge them.
const WORKERS: usize = 2;

/// Files of tables held open at most.
const FILES_OPEN_MAX: usize = 64;

/// An opened store's parts.
pub(crate) struct Opened {
    pub(crate) database: Database,
    pub(crate) keyspace: Keyspace,
    pub(crate) acknowledged: Acknowledged,
    /// The number of the last commit.
    pub(crate) commits: u64,
    /// Whoever has it has the store.
    pub(crate) lock: Arc<Lock>,
}

/// The lock which one process holds as long as it has the store open.
pub(crate) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing would not do: a process that is being started at this instant has the file open too, until it runs its program.
        drop(self.0.unlock());
    }
}

/// Opens the store in `directory`, or makes it.
pub(crate) fn open(directory: &Path, cache_bytes: u64) -> Result<Opened, StorageError> {
    let lock = lock(directory)?;
    let (folder, fresh) = (directory.join(FOLDER), directory.join(FOLDER_NEW));
    remove_if_there(&fresh)?;
    if !folder.try_exists().map_err(|error| from_io("look at the data directory", error))? {
        create(directory, &folder, &fresh, cache_bytes)?;
        info!(path = %folder.display(), "storage created");
    }
    check_format(&folder)?;
    let (acknowledged, number) = Acknowledged::open(&folder)?;
    let (database, keyspace, commits) = guarded("open chain.fjall", || open_tree(&folder, cache_bytes))?;
    if commits < number {
        return Err(StorageError::Damaged(format!(
            "its last commit is number {commits}, but number {number} was acknowledged: a journal or table was lost"
        )));
    }
    Ok(Opened { database, keyspace, acknowledged, commits, lock: Arc::new(lock) })
}

/// Takes the lock.
fn lock(directory: &Path) -> Result<Lock, StorageError> {
    const ACTION: &str = "lock chain.fjall.lock";
    let path = directory.join(LOCK);
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    // A data directory that is missing is no damage: nothing was ever in it.
    let file = open.map_err(|source| StorageError::Io { action: ACTION, source })?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(StorageError::Locked(directory.join(FOLDER).display().to_string())),
        Err(TryLockError::Error(source)) => Err(StorageError::Io { action: ACTION, source }),
    }
}

/// Makes the store under another name and gives it its own when it is whole and durable.
fn create(directory: &Path, folder: &Path, fresh: &Path, cache_bytes: u64) -> Result<(), StorageError> {
    const ACTION: &str = "create chain.fjall";
    let io = |source| StorageError::Io { action: ACTION, source };
    let make = || {
        fs::create_dir(fresh).map_err(io)?;
        let database = builder(fresh, cache_bytes).open().map_err(|error| from_fjall(ACTION, error))?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
        let keyspace = database.keyspace(KEYSPACE, options).map_err(|error| from_fjall(ACTION, error))?;
        drop((keyspace, database));
        Acknowledged::create(fresh)?;
        fs::write(fresh.join(FORMAT_FILE), format!("{FORMAT_HEAD}{FORMAT}\n")).map_err(io)?;
        sync_all(fresh).map_err(io)?;
        fs::rename(fresh, folder).map_err(io)?;
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(io)
    };
    guarded(ACTION, make).inspect_err(|_| {
        // Best effort: the next start removes it too.
        drop(fs::remove_dir_all(fresh));
    })
}

/// Makes everything in a folder durable.
fn sync_all(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_all(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    File::open(folder)?.sync_all()
}

fn builder(folder: &Path, cache_bytes: u64) -> fjall::DatabaseBuilder<Database> {
    Database::builder(folder.join(TREE_FOLDER))
        .cache_size(cache_bytes)
        .max_journaling_size(JOURNALS_BYTES_MAX)
        .max_cached_files(Some(FILES_OPEN_MAX))
        .worker_threads(WORKERS)
}

/// Reads what the folder says it is, before anything in it is touched.
fn check_format(folder: &Path) -> Result<(), StorageError> {
    let path = folder.join(FORMAT_FILE);
    let not_ours = |why: &str| StorageError::Damaged(format!("{FOLDER} is none of Quorate's stores: {why}"));
    let metadata = match fs::metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound) => return Err(not_ours("it has no file `format`")),
        Err(error) => return Err(from_io("read the format of chain.fjall", error)),
    };
    if metadata.len() > FORMAT_BYTES_MAX {
        return Err(not_ours("its file `format` is too long"));
    }
    let bytes = fs::read(&path).map_err(|error| from_io("read the format of chain.fjall", error))?;
    let text = String::from_utf8_lossy(&bytes);
    let number = text.strip_prefix(FORMAT_HEAD).and_then(|rest| rest.strip_suffix('\n'));
    match number.and_then(|number| number.parse::<u64>().ok()) {
        Some(FORMAT) => Ok(()),
        Some(found) if found > FORMAT => Err(StorageError::Newer { found, known: FORMAT }),
        _ => Err(not_ours(&format!("its file `format` says {text:?}"))),
    }
}

/// Opens fjall's folder, which exists; gives the number of the last commit in it.
fn open_tree(folder: &Path, cache_bytes: u64) -> Result<(Database, Keyspace, u64), StorageError> {
    const ACTION: &str = "open chain.fjall";
    // fjall would begin a new tree in a folder without its marker, and the chain would begin anew.
    if !folder.join(TREE_FOLDER).join("version").is_file() {
        return Err(StorageError::Damaged(format!("{FOLDER}/{TREE_FOLDER} has no file `version`")));
    }
    examine(&folder.join(TREE_FOLDER))?;
    let database = builder(folder, cache_bytes).open().map_err(|error| from_fjall(ACTION, error))?;
    if !database.keyspace_exists(KEYSPACE) {
        return Err(StorageError::Damaged(format!("{FOLDER}/{TREE_FOLDER} has no keyspace `{KEYSPACE}`")));
    }
    let keyspace =
        database.keyspace(KEYSPACE, KeyspaceCreateOptions::default).map_err(|error| from_fjall(ACTION, error))?;
    let found = database.snapshot().get(&keyspace, COUNT_KEY).map_err(|error| from_fjall(ACTION, error))?;
    let commits = found.map_or(Ok(0), |bytes| count::decoded("the last commit's number", &bytes))?;
    Ok((database, keyspace, commits))
}

fn remove_if_there(fresh: &Path) -> Result<(), StorageError> {
    match fs::remove_dir_all(fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(StorageError::Io { action: "remove chain.fjall.new", source: error })
        }
        _ => Ok(()),
    }
}
