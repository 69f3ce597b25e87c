//! Each rule of the Storage slot catches a store that breaks it: a log in a file, with one mistake at a time.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod broken;

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    ops::Bound,
    path::Path,
    process::Command,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, RwLock},
    thread::sleep,
    time::Duration,
};

use broken::{assert_all_proven, catches, try_all};
use quorate::{
    Bytes, Hash, Settings, Storage,
    plugin::{Descriptor, SetupError, StoragePlugin},
    storage::{Batch, KEY_BYTES_MAX, Snapshot, StorageError, VALUE_BYTES_MAX},
};
use quorate_testkit::{
    conformance::{self, StorageSuite},
    memory::MemoryStoragePlugin,
};

/// One mistake of a store, and the rule that must catch it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    None,
    NamedBadly,
    BadExample,
    TakesAnyKey,
    OrdersByLength,
    IncludesTheEnd,
    FirstWriteWins,
    KeepsLongValues,
    ShowsTheCommitBefore,
    ViewsChange,
    ViewsLock,
    PublishesHalves,
    CutsLongValues,
    RefusesHalves,
    TakesEmptyKeys,
    ForgetsTheLast,
    OneForAll,
    LeaksFiles,
    NoLock,
    WritesLater,
    HalfMade,
    HalvesOnFullDisk,
    GoesOnAfterFailure,
}

const BUGS: &[(Bug, &str)] = &[
    (Bug::NamedBadly, "the descriptor says who it is"),
    (Bug::BadExample, "the example of its settings parses"),
    (Bug::TakesAnyKey, "an unknown key is refused with its place"),
    (Bug::OrdersByLength, "keys order as bytes"),
    (Bug::IncludesTheEnd, "ranges are half-open and limited"),
    (Bug::FirstWriteWins, "a later write to a key wins"),
    (Bug::KeepsLongValues, "it agrees with a map"),
    (Bug::ShowsTheCommitBefore, "a view sees every commit before it"),
    (Bug::ViewsChange, "a view does not change"),
    (Bug::ViewsLock, "a view delays no commit"),
    (Bug::PublishesHalves, "readers see a batch whole while others are written"),
    (Bug::CutsLongValues, "the longest keys and values are kept"),
    (Bug::RefusesHalves, "longer ones are refused with their batch"),
    (Bug::TakesEmptyKeys, "an empty key is refused"),
    (Bug::ForgetsTheLast, "opened again it holds what was committed"),
    (Bug::OneForAll, "two stores share nothing"),
    (Bug::NoLock, "a store in use is locked"),
    (Bug::WritesLater, "a killed writer loses nothing acknowledged"),
    (Bug::HalfMade, "killed while it is made it can be made again"),
    (Bug::HalvesOnFullDisk, "a full disk takes nothing back"),
    (Bug::GoesOnAfterFailure, "a failed store refuses until it is opened again"),
    (Bug::LeaksFiles, "made and dropped a hundred times leaves nothing"),
];

/// Which mistake a child process makes.
const BUG_VARIABLE: &str = "QUORATE_TEST_BUG";

fn suite(plugin: &LogPlugin) -> StorageSuite<'_> {
    let bug = BUGS.iter().position(|(bug, _)| *bug == plugin.0).map_or_else(String::new, |at| at.to_string());
    conformance::storage(plugin, "").child(move || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["every_rule_catches_a_store_that_breaks_it", "--exact", "--nocapture", "--test-threads=1"]);
        command.env(BUG_VARIABLE, &bug);
        command
    })
}

#[test]
fn every_rule_catches_a_store_that_breaks_it() {
    if let Ok(at) = std::env::var(BUG_VARIABLE) {
        let bug = at.parse().ok().and_then(|at: usize| BUGS.get(at)).map_or(Bug::None, |(bug, _)| *bug);
        suite(&LogPlugin(bug)).suite();
        unreachable!("a child does not come back");
    }
    try_all(BUGS, |bug, rule| catches(&suite(&LogPlugin(bug)).suite(), rule));
    assert_all_proven("storage", BUGS.iter().map(|(_, rule)| *rule));
}

#[test]
fn without_a_mistake_it_breaks_no_rule() {
    suite(&LogPlugin(Bug::None)).check();
}

#[test]
fn a_store_that_shall_survive_is_not_passed_without_being_killed() {
    let report = conformance::storage(&LogPlugin(Bug::None), "").run();
    assert!(report.broken().count() > 0 && report.to_string().contains("child_test"), "{report}");
}

#[test]
fn a_report_names_rule_sentence_and_seed() {
    let plugin = LogPlugin(Bug::IncludesTheEnd);
    let finding = suite(&plugin).suite().try_rule("ranges are half-open and limited").unwrap();
    let shown = finding.to_string();
    for words in ["\"At most `limit` pairs with `from <= key < to`", "storage.rs", "QUORATE_CONFORMANCE_SEED=1"] {
        assert!(shown.contains(words), "{shown}");
    }
    conformance::storage(&MemoryStoragePlugin::new(), "").volatile().suite().try_rule("keys order as bytes").unwrap();
}

/// A store that appends each batch to a log, and holds everything in memory.
struct LogPlugin(Bug);

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    #[serde(default, rename = "cache_bytes")]
    _cache_bytes: u64,
}

impl StoragePlugin for LogPlugin {
    fn descriptor(&self) -> Descriptor {
        let mut descriptor = MemoryStoragePlugin::new().descriptor();
        descriptor.name = if self.0 == Bug::NamedBadly { "My Log" } else { "log" };
        descriptor.example =
            if self.0 == Bug::BadExample { "# Bytes.\ncash_bytes = 1\n" } else { "# Bytes.\ncache_bytes = 1\n" };
        descriptor
    }

    fn check(&self, settings: &Settings) -> Result<(), SetupError> {
        if self.0 != Bug::TakesAnyKey {
            settings.parse::<Keys>()?;
        }
        Ok(())
    }

    fn open(&self, settings: &Settings, directory: &Path) -> Result<Arc<dyn Storage>, SetupError> {
        self.check(settings)?;
        let store = Log::open(self.0, directory)?;
        Ok(Arc::new(store))
    }
}

type Map = BTreeMap<Bytes, Bytes>;

struct Log {
    bug: Bug,
    map: Arc<RwLock<Arc<Map>>>,
    before: Mutex<Arc<Map>>,
    file: Mutex<Result<File, String>>,
    late: Mutex<Vec<u8>>,
}

static COMMON: LazyLock<Arc<RwLock<Arc<Map>>>> = LazyLock::new(Arc::default);

const MAGIC: &[u8] = b"a log/1\n";

fn io_error(source: io::Error) -> StorageError {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::FileTooLarge => StorageError::Full("the log".into()),
        _ => StorageError::Io { action: "log", source },
    }
}

impl Log {
    fn open(bug: Bug, directory: &Path) -> Result<Self, StorageError> {
        let path = directory.join("log");
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(path).map_err(io_error)?;
        if bug != Bug::NoLock && file.try_lock().is_err() {
            return Err(StorageError::Locked("log".into()));
        }
        if bug == Bug::LeaksFiles {
            std::mem::forget(File::open(directory));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io_error)?;
        let mut map = Map::new();
        let mut at = MAGIC.len();
        if bytes.len() < MAGIC.len() {
            if bug == Bug::HalfMade && !bytes.is_empty() {
                return Err(StorageError::Damaged("the log has no beginning".into()));
            }
            file.set_len(0).and_then(|()| file.rewind()).map_err(io_error)?;
            let (one, two) = MAGIC.split_at(3);
            file.write_all(one).map_err(io_error)?;
            if bug == Bug::HalfMade {
                sleep(Duration::from_millis(5));
            }
            file.write_all(two).and_then(|()| file.sync_all()).map_err(io_error)?;
        }
        while let Some((writes, end)) = record(&bytes, at) {
            at = end;
            apply(&mut map, &writes, bug);
        }
        // What a crash left half written.
        file.set_len(at as u64).and_then(|()| file.seek(SeekFrom::End(0)).map(drop)).map_err(io_error)?;
        let map = if bug == Bug::OneForAll { Arc::clone(&COMMON) } else { Arc::new(RwLock::new(Arc::new(map))) };
        let before = Mutex::new(Arc::clone(&locked(&map)));
        Ok(Self { bug, map, before, file: Mutex::new(Ok(file)), late: Mutex::default() })
    }
}

fn locked(map: &RwLock<Arc<Map>>) -> Arc<Map> {
    Arc::clone(&map.read().unwrap_or_else(PoisonError::into_inner))
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Writes = Vec<(Bytes, Option<Bytes>)>;

/// The record at `at`, if it is whole, and where it ends: a length, eight bytes of a hash, the writes.
fn record(bytes: &[u8], at: usize) -> Option<(Writes, usize)> {
    let (head, rest) = bytes.get(at..)?.split_at_checked(12)?;
    let (len, hash) = head.split_at(4);
    let len = u32::from_le_bytes(len.try_into().ok()?) as usize;
    let body = rest.get(..len)?;
    if Hash::of(&[body]).as_bytes()[..8] != *hash {
        return None;
    }
    let writes: Vec<(Vec<u8>, Option<Vec<u8>>)> = quorate::borsh::from_slice(body).ok()?;
    let writes = writes.into_iter().map(|(key, value)| (key.into(), value.map(Bytes::from))).collect();
    Some((writes, at + 12 + len))
}

fn encoded(writes: &[(Bytes, Option<Bytes>)]) -> Vec<u8> {
    let plain: Vec<(&[u8], Option<&[u8]>)> = writes.iter().map(|(key, value)| (&key[..], value.as_deref())).collect();
    let body = quorate::borsh::to_vec(&plain).unwrap();
    let len = u32::try_from(body.len()).unwrap().to_le_bytes();
    [&len[..], &Hash::of(&[&body]).as_bytes()[..8], &body].concat()
}

fn apply(map: &mut Map, writes: &[(Bytes, Option<Bytes>)], bug: Bug) {
    let mut done = Vec::new();
    for (key, value) in writes {
        if bug == Bug::FirstWriteWins && done.contains(&key) {
            continue;
        }
        done.push(key);
        match value {
            Some(value) if bug == Bug::CutsLongValues && value.len() > 1 << 24 => {
                map.insert(key.clone(), value.slice(..1 << 24))
            }
            Some(value) => map.insert(key.clone(), value.clone()),
            None if bug == Bug::KeepsLongValues && map.get(key).is_some_and(|old| old.len() > 250) => None,
            None => map.remove(key),
        };
    }
}

impl Log {
    fn append(&self, writes: &[(Bytes, Option<Bytes>)]) -> Result<(), StorageError> {
        let mut file = held(&self.file);
        let open = match &mut *file {
            Ok(file) => file,
            Err(why) => return Err(StorageError::Poisoned(why.clone())),
        };
        let mut bytes = encoded(writes);
        if self.bug == Bug::HalvesOnFullDisk {
            let (one, two) = writes.split_at(writes.len() / 2);
            bytes = [encoded(one), encoded(two)].concat();
        }
        if matches!(self.bug, Bug::WritesLater | Bug::ForgetsTheLast) {
            bytes = std::mem::replace(&mut held(&self.late), bytes);
        }
        let written = open.write_all(&bytes).and_then(|()| open.sync_data()).map_err(io_error);
        if let Err(error) = &written
            && self.bug != Bug::GoesOnAfterFailure
        {
            *file = Err(error.to_string());
        }
        written
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Ok(file) = &mut *held(&self.file)
            && self.bug == Bug::WritesLater
        {
            drop(file.write_all(&held(&self.late)));
        }
    }
}

impl Storage for Log {
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StorageError> {
        if let Err(why) = &*held(&self.file) {
            return Err(StorageError::Poisoned(why.clone()));
        }
        let map = match self.bug {
            Bug::ShowsTheCommitBefore => Arc::clone(&held(&self.before)),
            _ => locked(&self.map),
        };
        let live = (self.bug == Bug::ViewsChange).then(|| Arc::clone(&self.map));
        let lock = (self.bug == Bug::ViewsLock).then(|| Arc::clone(&self.map));
        let lock = lock.map(|map| {
            let (sender, over) = std::sync::mpsc::channel::<()>();
            let (locked, is_locked) = std::sync::mpsc::channel();
            // Holds the lock until the view is dropped.
            std::thread::spawn(move || {
                let guard = map.read();
                if locked.send(()).is_ok() {
                    over.recv().unwrap_err();
                }
                drop(guard);
            });
            is_locked.recv().expect("the thread says so");
            sender
        });
        Ok(Box::new(View { bug: self.bug, map, live, _lock: lock }))
    }

    fn commit(&self, batch: Batch) -> Result<(), StorageError> {
        let mut good = Batch::new();
        for (key, value) in batch.writes() {
            let limits =
                [("key", key.len(), KEY_BYTES_MAX), ("value", value.as_ref().map_or(0, Bytes::len), VALUE_BYTES_MAX)];
            for (what, len, limit) in limits {
                let empty = what == "key" && len == 0 && self.bug != Bug::TakesEmptyKeys;
                if len > limit || empty {
                    if self.bug == Bug::RefusesHalves {
                        self.commit(good)?;
                    }
                    return Err(StorageError::TooLong { what, len, limit });
                }
            }
            match value {
                Some(value) => good.put(key.clone(), value.clone()),
                None => good.delete(key.clone()),
            }
        }
        self.append(batch.writes())?;
        let old = locked(&self.map);
        let halves = if self.bug == Bug::PublishesHalves { 2 } else { 1 };
        for half in 1..=halves {
            let writes = batch.writes();
            let mut map = Map::clone(&old);
            apply(&mut map, writes.split_at(writes.len() * half / halves).0, self.bug);
            *self.map.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(map);
            if half < halves {
                sleep(Duration::from_micros(200));
            }
        }
        *held(&self.before) = old;
        Ok(())
    }
}

struct View {
    bug: Bug,
    map: Arc<Map>,
    live: Option<Arc<RwLock<Arc<Map>>>>,
    _lock: Option<std::sync::mpsc::Sender<()>>,
}

impl View {
    fn map(&self) -> Arc<Map> {
        self.live.as_ref().map_or_else(|| Arc::clone(&self.map), |map| locked(map))
    }
}

impl Snapshot for View {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        Ok(self.map().get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let end = if self.bug == Bug::IncludesTheEnd { Bound::Included(to) } else { Bound::Excluded(to) };
        let map = self.map();
        let mut found: Vec<_> = map.range::<[u8], _>((Bound::Included(from), end)).collect();
        if self.bug == Bug::OrdersByLength {
            found.sort_by_key(|(key, _)| key.len());
        }
        Ok(found.into_iter().take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}
