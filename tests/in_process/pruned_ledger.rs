//! A ledger that keeps only the last blocks: what it removes and when, what it never does, and that it agrees with one that keeps all.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use quorate::{
    Application, Block, Bytes, ChainId, FinalityProof, Genesis, Hash, Header, Height, PublicKey, Round, Settings,
    Storage, Timestamp, ValidatorIndex, ValidatorSet,
    application::{
        Admission, BlockContext, ExecuteError, Misbehaviour, Outcome, QueryError, Rejection, StateRead, StateWrite,
    },
    consensus::{Certificate, ProofError},
    merkle,
    plugin::StoragePlugin as _,
    storage::{Batch, Snapshot, StorageError},
};
use quorate_kernel::{
    ledger::{BadBlock, Ledger, View},
    prune::REMOVED_PER_COMMIT_MAX,
};
use quorate_storage_redb::RedbPlugin;
use quorate_testkit::memory::{MemoryStorage, MemoryStoragePlugin};

use super::in_memory::Network;

/// Bytes of a large transaction.
const LARGE: usize = 20_000;

/// Blocks between two looks at a store.
const PART: u64 = 40;

/// Takes whatever it is given, as often as it is given: that no transaction is final twice is left to the kernel.
struct Forgetful;

impl Application for Forgetful {
    fn genesis(&self, _: &mut dyn StateWrite) -> Result<Hash, StorageError> {
        Ok(Hash::ZERO)
    }

    fn verify(&self, _: &dyn StateRead, transactions: &[Bytes]) -> Vec<Result<(), Rejection>> {
        vec![Ok(()); transactions.len()]
    }

    fn check(&self, _: &dyn StateRead, _: Timestamp, _: &[u8]) -> Result<Admission, Rejection> {
        Ok(Admission::default())
    }

    fn execute(&self, state: &mut dyn StateWrite, block: &BlockContext<'_>) -> Result<Outcome, ExecuteError> {
        block.transactions.iter().for_each(|one| state.put(&one[..one.len().min(64)], b"done"));
        Ok(Outcome { receipts: vec![Bytes::new(); block.transactions.len()], ..Outcome::default() })
    }

    fn query(&self, _: &dyn StateRead, path: &str, _: &[u8]) -> Result<Vec<u8>, QueryError> {
        Err(QueryError::UnknownPath { path: path.into(), known: String::new() })
    }
}

/// Any proof will do, and evidence is the height at which the first validator misbehaved.
struct Anything;

impl FinalityProof for Anything {
    fn verify(&self, _: &ChainId, _: &Header, _: &[u8], _: &ValidatorSet) -> Result<(), ProofError> {
        Ok(())
    }

    fn certificate(&self, _: &[u8]) -> Result<Certificate, ProofError> {
        Ok(Certificate { round: Round(0), signatures: Vec::new() })
    }

    fn evidence_height(&self, evidence: &[u8]) -> Result<Height, ProofError> {
        Ok(Height(evidence.first().copied().unwrap_or_default().into()))
    }

    fn evidence(&self, _: &ChainId, evidence: &[u8], validators: &ValidatorSet) -> Result<Misbehaviour, ProofError> {
        let offender = validators.get(ValidatorIndex(0)).map_or(PublicKey::new([0; 32]), |one| one.public_key);
        Ok(Misbehaviour { height: self.evidence_height(evidence)?, offender, offence: "two votes".into() })
    }
}

/// A store that counts its commits, and fails one when it is told to.
#[derive(Default)]
struct Counted {
    inner: MemoryStorage,
    commits: AtomicUsize,
    fails: AtomicBool,
}

impl Storage for Counted {
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StorageError> {
        self.inner.snapshot()
    }

    fn commit(&self, batch: Batch) -> Result<(), StorageError> {
        if self.fails.swap(false, Ordering::Relaxed) {
            return Err(StorageError::Poisoned("killed".into()));
        }
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.inner.commit(batch)
    }
}

fn genesis() -> Genesis {
    Network::new("crash", MemoryStoragePlugin::new()).genesis()
}

fn open(storage: &Arc<Counted>, keep_blocks: Option<u64>) -> (Ledger, View) {
    open_on(Arc::clone(storage) as Arc<dyn Storage>, keep_blocks)
}

fn open_on(storage: Arc<dyn Storage>, keep_blocks: Option<u64>) -> (Ledger, View) {
    let (mut ledger, view) = Ledger::open(genesis(), Arc::new(Forgetful), Arc::new(Anything), storage).unwrap();
    ledger.keep_blocks = keep_blocks;
    (ledger, view)
}

/// The next block on `view`, as every ledger of the network computes it.
fn block(view: &View, transactions: &[Bytes], evidence: &[Bytes]) -> Block {
    let receipts: Vec<Hash> = transactions.iter().map(|_| merkle::leaf(b"")).collect();
    let header = Header {
        version: quorate::block::BLOCK_VERSION,
        chain_id: genesis().chain_id(),
        height: view.tip.height.next(),
        parent_hash: view.tip.hash,
        time: Timestamp(view.tip.time.0 + 1),
        creator: ValidatorIndex(0),
        created_round: Round(0),
        tx_root: Hash::ZERO,
        evidence_root: Hash::ZERO,
        app_hash: Hash::ZERO,
        receipts_root: merkle::root(&receipts),
        validators_hash: view.validators.hash(),
        next_validators_hash: view.validators.hash(),
    };
    Block::new(header, transactions, evidence).unwrap()
}

fn transaction(height: u64) -> Bytes {
    Bytes::from(format!("transaction of block {height}"))
}

fn grow(ledger: &Ledger, view: View, blocks: u64) -> View {
    (0..blocks).fold(view, |view, _| {
        let next = block(&view, &[transaction(view.tip.height.next().0)], &[]);
        ledger.append(&view, &next, &Bytes::from_static(b"proof")).unwrap()
    })
}

/// Says which heights have a block, after looking at everything that must be there of every height.
fn kept(view: &View) -> std::ops::RangeInclusive<u64> {
    let (chain, tip) = (view.chain(), view.tip.height.0);
    let mut parent = None;
    for height in 1..=tip {
        let place = chain.transaction(&Forgetful.transaction_id(&transaction(height))).unwrap();
        assert_eq!(place, Some((Height(height), 0)), "the place of a transaction stays");
        assert_eq!(chain.validators(Height(height)).unwrap().len(), 3);
        let found = chain.block(Height(height)).unwrap();
        assert_eq!(found.is_some(), height >= view.blocks_from.0, "block {height} of {tip}, from {}", view.blocks_from);
        if let Some(stored) = found {
            let header = stored.block.header();
            assert_eq!(chain.height_of(&header.parent_hash).unwrap(), (height > 1).then(|| Height(height - 1)));
            assert!(parent.is_none_or(|parent| parent == header.parent_hash));
            parent = Some(stored.block.hash());
        }
    }
    assert_eq!(parent, Some(view.tip.hash));
    assert_eq!(chain.blocks_from().unwrap(), view.blocks_from);
    view.blocks_from.0..=tip
}

#[test]
fn the_last_blocks_are_kept_and_removing_costs_no_commit_of_its_own() {
    let storage = Arc::new(Counted::default());
    let (ledger, mut view) = open(&storage, Some(5));
    let begun = storage.commits.load(Ordering::Relaxed);
    for tip in 1..=60u64 {
        view = grow(&ledger, view, 1);
        assert_eq!(kept(&view), tip.saturating_sub(4).max(1)..=tip);
    }
    assert_eq!(storage.commits.load(Ordering::Relaxed) - begun, 60);
    // State is not history.
    let state = view.snapshot.get(b"stransaction of block 1").unwrap();
    assert_eq!(state.as_deref(), Some(b"done".as_slice()));
}

#[test]
fn a_ledger_may_be_told_to_keep_less_more_or_all_again() {
    let storage = Arc::new(Counted::default());
    let (ledger, view) = open(&storage, None);
    let view = grow(&ledger, view, 100);
    assert_eq!(kept(&view), 1..=100);
    drop((ledger, view));
    // Less: a few with each block, until it is so.
    let (ledger, mut view) = open(&storage, Some(10));
    let mut from = 1;
    for tip in 101..=110u64 {
        view = grow(&ledger, view, 1);
        from = (from + REMOVED_PER_COMMIT_MAX).min(tip - 9);
        assert_eq!(kept(&view), from..=tip);
    }
    assert_eq!(kept(&view), 101..=110);
    drop((ledger, view));
    // More: what is gone stays gone, and nothing else goes before it is too old.
    let (ledger, view) = open(&storage, Some(15));
    let view = grow(&ledger, view, 5);
    assert_eq!(kept(&view), 101..=115);
    let view = grow(&ledger, view, 1);
    assert_eq!(kept(&view), 102..=116);
    drop((ledger, view));
    let (ledger, view) = open(&storage, None);
    let view = grow(&ledger, view, 30);
    assert_eq!(kept(&view), 102..=146);
}

#[test]
fn a_kill_at_any_commit_leaves_a_whole_chain_that_goes_on() {
    let storage = Arc::new(Counted::default());
    let (ledger, view) = open(&storage, None);
    drop(grow(&ledger, view, 40));
    for tip in 41..=80u64 {
        let (ledger, view) = open(&storage, Some(7));
        let before = kept(&view);
        storage.fails.store(true, Ordering::Relaxed);
        let next = block(&view, &[transaction(tip)], &[]);
        let error = ledger.append(&view, &next, &Bytes::from_static(b"proof")).map(drop).unwrap_err();
        assert!(matches!(error, BadBlock::Storage(StorageError::Poisoned(_))), "{error}");
        drop((ledger, view));
        let (ledger, view) = open(&storage, Some(7));
        assert_eq!(kept(&view), before);
        let view = grow(&ledger, view, 1);
        assert_eq!(view.tip.height, Height(tip));
    }
    assert_eq!(kept(&open(&storage, None).1), 74..=80);
}

/// If they did not, nodes which keep all would hold what the others make final for a conflict.
#[test]
fn ledgers_that_keep_all_and_few_refuse_and_take_the_same_blocks() {
    let storages = [Arc::new(Counted::default()), Arc::new(Counted::default())];
    let ledgers = [open(&storages[0], None), open(&storages[1], Some(3))];
    let ledgers = ledgers.map(|(ledger, view)| {
        let view = grow(&ledger, view, 30);
        (ledger, view)
    });
    assert_eq!((kept(&ledgers[0].1), kept(&ledgers[1].1)), (1..=30, 28..=30));
    for (ledger, view) in &ledgers {
        let again = block(view, &[transaction(2)], &[]);
        match ledger.append(view, &again, &Bytes::new()).map(drop) {
            Err(BadBlock::Conflict { what, .. }) => {
                let id = Forgetful.transaction_id(&transaction(2));
                assert_eq!(what, format!("transaction {id} is final already"));
            }
            other => panic!("{other:?}"),
        }
        // Evidence of a height whose block was removed counts, and counts once.
        let evidence = [Bytes::from_static(&[4])];
        let with = block(view, &[], &evidence);
        let view = ledger.append(view, &with, &Bytes::new()).unwrap();
        assert_eq!(view.chain().evidence(10).unwrap()[0].misbehaviour.height, Height(4));
        let mut view = view;
        for height in 32..=40 {
            let next = block(&view, &[transaction(height)], &[]);
            view = ledger.append(&view, &next, &Bytes::new()).unwrap();
        }
        let twice = block(&view, &[], &evidence);
        assert!(matches!(ledger.append(&view, &twice, &Bytes::new()), Err(BadBlock::Conflict { .. })));
        assert_eq!(view.chain().evidence(10).unwrap()[0].included_at, Some(Height(31)), "evidence stays");
    }
}

/// Bytes of a store after each part of large blocks, of which so many are kept; then after compacting it.
fn sizes(keep_blocks: Option<u64>) -> Vec<u64> {
    let directory = tempfile::tempdir().unwrap();
    let open = |settings| RedbPlugin.open(&Settings::from_text(settings), directory.path()).unwrap();
    let size = || std::fs::metadata(directory.path().join("chain.redb")).unwrap().len();
    // A small journal: the tree, whose freed pages are used again once it is durable, is made so often.
    let (ledger, mut view) = open_on(open("journal_bytes = 65536"), keep_blocks);
    let mut sizes = Vec::new();
    for _ in 0..3 {
        for _ in 0..PART {
            let number = view.tip.height.next().0;
            let mut large = transaction(number).to_vec();
            large.resize(LARGE, 0);
            view = ledger.append(&view, &block(&view, &[large.into()], &[]), &Bytes::new()).unwrap();
        }
        sizes.push(size());
    }
    drop((ledger, view));
    drop(open("compact_at_start = true"));
    sizes.push(size());
    sizes
}

#[test]
fn a_store_stops_growing_when_old_blocks_go_and_compacting_gives_the_room_back() {
    let (all, few) = (sizes(None), sizes(Some(10)));
    assert!(all[2..].iter().all(|bytes| *bytes > 3 * PART * LARGE as u64), "{all:?}");
    assert_eq!(few[1], few[2], "{few:?}");
    assert!(few[2] < PART * 2 * LARGE as u64 && few[3] < few[2] && all[3] < all[2], "{all:?} {few:?}");
    println!("bytes of all blocks and of the last 10, after each part and compacted: {all:?} {few:?}");
}
