//! A store that fails at any one commit: the node stops with that as its reason, takes back nothing that it said, and goes on
//! when the store works again.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may panic")]

#[path = "support/in_memory.rs"]
mod in_memory;

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use in_memory::{NAMES, Network, block_hash, status, submit, until_at, until_final};
use quorate::{
    Height, Settings, Storage, TransactionId,
    node::{NodeHandle, Request, Response, TransactionState},
    plugin::{Descriptor, SetupError, StoragePlugin},
    storage::{Batch, Snapshot, StorageError},
};
use quorate_kernel::node::{CoreError, NodeError, Running, StartError};
use quorate_testkit::memory::MemoryStoragePlugin;

/// What becomes of the batch whose commit fails; both are allowed to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Lost,
    Kept,
}

/// Burns down with every commit of the first validator, and fails the one at which it is 0 and all that follow.
#[derive(Debug)]
struct Fuse {
    left: AtomicI64,
    blown: AtomicBool,
    /// Commits which were tried after the one that failed.
    after: AtomicU64,
    fate: Fate,
}

impl Fuse {
    fn new(commits: i64, fate: Fate) -> Arc<Self> {
        Arc::new(Self { left: AtomicI64::new(commits), blown: AtomicBool::new(false), after: AtomicU64::new(0), fate })
    }

    fn mend(&self) {
        self.left.store(i64::MAX, Ordering::SeqCst);
        self.blown.store(false, Ordering::SeqCst);
    }
}

struct FailingPlugin {
    inner: MemoryStoragePlugin,
    fuse: Arc<Fuse>,
}

struct Failing {
    inner: Arc<dyn Storage>,
    fuse: Arc<Fuse>,
}

impl StoragePlugin for FailingPlugin {
    fn descriptor(&self) -> Descriptor {
        self.inner.descriptor()
    }

    fn check(&self, settings: &Settings) -> Result<(), SetupError> {
        self.inner.check(settings)
    }

    fn open(&self, settings: &Settings, directory: &Path) -> Result<Arc<dyn Storage>, SetupError> {
        let inner = self.inner.open(settings, directory)?;
        let first = directory.file_name().is_some_and(|name| name == NAMES[0]);
        Ok(if first { Arc::new(Failing { inner, fuse: Arc::clone(&self.fuse) }) } else { inner })
    }
}

impl Storage for Failing {
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StorageError> {
        if self.fuse.blown.load(Ordering::SeqCst) {
            return Err(StorageError::Poisoned("a commit failed".into()));
        }
        self.inner.snapshot()
    }

    fn commit(&self, batch: Batch) -> Result<(), StorageError> {
        if self.fuse.left.fetch_sub(1, Ordering::SeqCst) > 0 {
            return self.inner.commit(batch);
        }
        if self.fuse.blown.swap(true, Ordering::SeqCst) {
            self.fuse.after.fetch_add(1, Ordering::SeqCst);
        } else if self.fuse.fate == Fate::Kept {
            self.inner.commit(batch)?;
        }
        Err(StorageError::Io { action: "commit", source: std::io::Error::other("the medium failed") })
    }
}

/// Every one of `ids` that the node says is final.
async fn said_final(node: &NodeHandle, ids: &[TransactionId]) -> BTreeSet<TransactionId> {
    let mut found = BTreeSet::new();
    for id in ids {
        if let Response::Transaction(TransactionState::Final(_)) = node.request(Request::Transaction(*id)).await {
            found.insert(*id);
        }
    }
    found
}

/// Writes through the second validator until the first one's store has failed; what the first said to be final meanwhile.
async fn write_until_failed(
    network: &Network,
    first: &mut Running,
    others: &[NodeHandle],
) -> (Vec<TransactionId>, BTreeSet<TransactionId>) {
    let (mut ids, mut said) = (Vec::new(), BTreeSet::new());
    let watched = first.handle();
    let failed = first.failed();
    tokio::pin!(failed);
    loop {
        let id = submit(&others[0], network.write(1, ids.len() as u64)).await;
        ids.push(id);
        for other in others {
            until_final(other, id).await;
        }
        said.extend(said_final(&watched, &ids).await);
        match tokio::time::timeout(Duration::from_millis(1), &mut failed).await {
            Err(_) => assert!(ids.len() < 200, "the store did not fail"),
            Ok(Err(NodeError::Core(CoreError::Storage { source: StorageError::Io { .. }, .. }))) => {
                said.extend(said_final(&watched, &ids).await);
                return (ids, said);
            }
            Ok(other) => panic!("{other:?}"),
        }
    }
}

async fn stops_and_takes_nothing_back(commits: i64, fate: Fate) {
    let fuse = Fuse::new(commits, fate);
    let plugin = FailingPlugin { inner: MemoryStoragePlugin::new(), fuse: Arc::clone(&fuse) };
    let network = Network::new("crash", plugin);
    let mut first = network.start(NAMES[0]);
    let others = [network.start(NAMES[1]), network.start(NAMES[2])];
    let handles = [others[0].handle(), others[1].handle()];
    let (ids, said) = write_until_failed(&network, &mut first, &handles).await;
    first.stop().await;
    for other in others {
        other.stop().await;
    }

    assert_eq!(fuse.after.load(Ordering::SeqCst), 0, "the node went on after its store had failed");

    // Alone, so that nobody can tell it what it forgot.
    fuse.mend();
    let first = network.start(NAMES[0]);
    assert_eq!(
        said_final(&first.handle(), &ids).await.intersection(&said).count(),
        said.len(),
        "after {commits} commits"
    );

    let others = [network.start(NAMES[1]), network.start(NAMES[2])];
    let id = submit(&first.handle(), network.write(2, 0)).await;
    until_final(&first.handle(), id).await;
    let height = status(&first.handle()).await.height;
    until_at(&others[0].handle(), height).await;
    for height in 1..=height.0 {
        let height = Height(height);
        assert_eq!(block_hash(&first.handle(), height).await, block_hash(&others[0].handle(), height).await);
    }
    first.stop().await;
    for other in others {
        other.stop().await;
    }
}

/// The first commit is genesis; a block takes two or three: so every kind of commit fails here.
const COMMITS: std::ops::Range<i64> = 1..13;

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_failed_and_is_lost_stops_the_node_and_nothing_said_is_taken_back() {
    for commits in COMMITS {
        stops_and_takes_nothing_back(commits, Fate::Lost).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_failed_and_is_kept_stops_the_node_and_nothing_said_is_taken_back() {
    for commits in COMMITS {
        stops_and_takes_nothing_back(commits, Fate::Kept).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_at_genesis_is_a_failed_start_which_can_be_repeated() {
    let fuse = Fuse::new(0, Fate::Lost);
    let plugin = FailingPlugin { inner: MemoryStoragePlugin::new(), fuse: Arc::clone(&fuse) };
    let network = Network::new("crash", plugin);
    match network.try_start(NAMES[0]).map(drop) {
        Err(StartError::Ledger(error)) => assert!(error.to_string().contains("the medium failed"), "{error}"),
        other => panic!("{other:?}"),
    }
    fuse.mend();
    network.start(NAMES[0]).stop().await;
}
