//! The store `my-plugin`: one file, which every commit replaces as a whole.
//!
//! A commit writes everything there is, so its cost grows with the chain. In exchange the whole contract of a store fits on a page.

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io::{self, ErrorKind, Write as _},
    ops::Bound::{Excluded, Included},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use quorate::{
    Bytes, Hash, Settings, Storage,
    plugin::{Descriptor, SetupError, StoragePlugin},
    storage::{Batch, KEY_BYTES_MAX, Snapshot, StorageError, VALUE_BYTES_MAX},
};

/// `[storage]` of a node's file. A key that is not here is refused, with its place in the file.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default = "yes")]
    sync: bool,
}

const EXAMPLE: &str =
    "# Whether a commit waits until the disk has it. Without, a power cut may take what was committed: for tests only.
sync = true
";

fn yes() -> bool {
    true
}

/// The file begins with this; then come the SHA-256 of the rest, and all pairs in borsh.
const MAGIC: &[u8] = b"my-plugin 1\n";

type Map = BTreeMap<Bytes, Bytes>;

/// A store in one file.
struct Store {
    directory: PathBuf,
    sync: bool,
    /// Held for as long as this lives: a second process would overwrite what this one committed.
    _lock: File,
    /// What is committed, shared with snapshots; or why a commit failed, after which the file may be of either side of it.
    committed: Mutex<Result<Arc<Map>, String>>,
}

fn failed(action: &'static str) -> impl FnOnce(io::Error) -> StorageError {
    move |source| match source.kind() {
        ErrorKind::StorageFull => StorageError::Full(action.into()),
        _ => StorageError::Io { action, source },
    }
}

impl Store {
    fn open(directory: &Path, sync: bool) -> Result<Self, StorageError> {
        let lock = File::create(directory.join("lock")).map_err(failed("create the lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => StorageError::Locked(directory.display().to_string()),
            TryLockError::Error(error) => failed("lock")(error),
        })?;
        let map = match fs::read(directory.join("store")) {
            Ok(bytes) => decode(&bytes)?,
            // No commit has ever returned.
            Err(error) if error.kind() == ErrorKind::NotFound => Map::new(),
            Err(error) => return Err(failed("read")(error)),
        };
        Ok(Self { directory: directory.into(), sync, _lock: lock, committed: Mutex::new(Ok(Arc::new(map))) })
    }

    fn committed(&self) -> MutexGuard<'_, Result<Arc<Map>, String>> {
        self.committed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `map` what the file holds: after a crash at any point it is the old content or the new, whole.
    fn replace(&self, map: &Map) -> Result<(), StorageError> {
        let (fresh, path) = (self.directory.join("store.new"), self.directory.join("store"));
        let mut file = File::create(&fresh).map_err(failed("create"))?;
        file.write_all(&encode(map)).map_err(failed("write"))?;
        if self.sync {
            // The content must be on the disk before the name is: a name of an empty file would be a loss.
            file.sync_all().map_err(failed("sync"))?;
        }
        fs::rename(fresh, path).map_err(failed("rename"))?;
        if self.sync {
            // And the name too, or a power cut could bring the old one back after this commit was acknowledged.
            File::open(&self.directory)
                .and_then(|directory| directory.sync_all())
                .map_err(failed("sync the folder"))?;
        }
        Ok(())
    }
}

fn encode(map: &Map) -> Vec<u8> {
    // Writing plain fields to memory does not fail.
    let pairs = borsh::to_vec(map).unwrap_or_default();
    [MAGIC, Hash::of(&[&pairs]).as_bytes(), &pairs].concat()
}

fn decode(bytes: &[u8]) -> Result<Map, StorageError> {
    let damaged = |what: &str| StorageError::Damaged(what.into());
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| damaged("this is no store, or one of another version"))?;
    let (hash, pairs) = rest.split_at_checked(Hash::LEN).ok_or_else(|| damaged("the store is cut short"))?;
    if Hash::of(&[pairs]).as_bytes() != hash {
        return Err(damaged("the store's hash is not that of its content"));
    }
    borsh::from_slice(pairs).map_err(|error| StorageError::Damaged(error.to_string()))
}

fn within(what: &'static str, len: usize, least: usize, limit: usize) -> Result<(), StorageError> {
    if len < least || len > limit { Err(StorageError::TooLong { what, len, limit }) } else { Ok(()) }
}

impl Storage for Store {
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StorageError> {
        let map = self.committed().clone().map_err(StorageError::Poisoned)?;
        Ok(Box::new(View(map)))
    }

    fn commit(&self, batch: Batch) -> Result<(), StorageError> {
        let before = self.committed().clone().map_err(StorageError::Poisoned)?;
        for (key, value) in batch.writes() {
            within(if key.is_empty() { "empty key" } else { "key" }, key.len(), 1, KEY_BYTES_MAX)?;
            within("value", value.as_ref().map_or(0, Bytes::len), 0, VALUE_BYTES_MAX)?;
        }
        let mut map = Map::clone(&before); // the values are shared
        for (key, value) in batch.writes() {
            match value {
                Some(value) => map.insert(key.clone(), value.clone()),
                None => map.remove(key),
            };
        }
        // Not under the lock: whoever reads meanwhile sees what was committed before, and does not wait for the disk.
        let written = self.replace(&map);
        *self.committed() = written.as_ref().map(|()| Arc::new(map)).map_err(ToString::to_string);
        written
    }
}

/// The pairs as of one commit. A later commit makes a map of its own.
struct View(Arc<Map>);

impl Snapshot for View {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        if from >= to {
            return Ok(Vec::new()); // a range of the wrong way round would panic
        }
        let range = self.0.range::<[u8], _>((Included(from), Excluded(to)));
        Ok(range.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

/// What `plugin = "my-plugin"` stands for.
pub struct MyPlugin;

impl StoragePlugin for MyPlugin {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new("my-plugin", env!("CARGO_PKG_VERSION"), "one file, replaced by every commit")
            .with_example(EXAMPLE)
    }

    fn check(&self, settings: &Settings) -> Result<(), SetupError> {
        settings.parse::<Table>()?;
        Ok(())
    }

    fn open(&self, settings: &Settings, directory: &Path) -> Result<Arc<dyn Storage>, SetupError> {
        let Table { sync } = settings.parse()?;
        Ok(Arc::new(Store::open(directory, sync)?))
    }
}
