//! Catch-up: a validator without data gets the chain, in order and only the true one, whatever peers do and whenever its store fails.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ed25519_dalek::{Signer, SigningKey};
use quorate::{
    Application, Block, Bytes, ChainId, Genesis, Hash, Height, Settings, Storage, Timestamp,
    application::{Admission, BlockContext, ExecuteError, Outcome, QueryError, Rejection, StateRead, StateWrite},
    consensus::Context,
    node::{Health, NodeHandle, Request, Response},
    plugin::{ApplicationPlugin, ConsensusPlugin, Descriptor, SetupError, StoragePlugin},
    storage::{Batch, Snapshot, StorageError},
    validators::Validator,
};
use quorate_kernel::{key::NodeKey, node::Running};
use quorate_poa::{PoaPlugin, VoteKind, vote_request};
use quorate_testkit::memory::{Hub, MemoryStoragePlugin};

use super::{
    in_memory::{NAMES, Network, block_hash, status, submit, until_at, until_final},
    peers::{AT_ONCE, Chain, LATE, Log, Manner, join, peer_id},
};

/// Blocks of a test's chain at least.
const BLOCKS: u64 = 40;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who plays the one that misbehaves.
const STRANGER: &str = "stranger";

/// The chain of a node, from height 1 on.
async fn chain_of(node: &NodeHandle) -> Chain {
    let mut chain = Vec::new();
    loop {
        let from = Height(chain.len() as u64 + 1);
        match node.request(Request::BlockRange { from, bytes_max: u32::MAX }).await {
            Response::Blocks(blocks) if blocks.is_empty() => return Arc::new(chain),
            Response::Blocks(blocks) => chain.extend(blocks),
            other => panic!("{other:?}"),
        }
    }
}

/// A chain of writes by this seed, made by two of three validators.
async fn chain(seed: u8) -> Chain {
    let network = Network::new("crash", MemoryStoragePlugin::new());
    let nodes = [network.start(NAMES[0]), network.start(NAMES[1])];
    for nonce in 0..BLOCKS {
        let id = submit(&nodes[0].handle(), network.write(seed, nonce)).await;
        until_final(&nodes[1].handle(), id).await;
    }
    let chain = chain_of(&nodes[0].handle()).await;
    for node in nodes {
        node.stop().await;
    }
    chain
}

fn tip(chain: &Chain) -> Height {
    Height(chain.len() as u64)
}

/// The node has this chain and no other.
async fn assert_has(node: &NodeHandle, chain: &Chain) {
    until_at(node, tip(chain)).await;
    for (height, (encoded, _)) in (1..).zip(chain.iter()) {
        let hash = Block::decode(encoded.clone()).unwrap().hash();
        assert_eq!(block_hash(node, Height(height)).await, hash, "height {height}");
    }
}

/// What the store does with a commit, by its number from 0 on.
type Hook = dyn Fn(u64) -> Commit + Send + Sync;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Commit {
    Done,
    /// It fails, and nothing of it is there.
    Lost,
    /// It fails, and all of it is there.
    Kept,
}

/// A store in memory which asks the test before each commit.
#[derive(Clone)]
struct Watched {
    inner: MemoryStoragePlugin,
    commits: Arc<AtomicU64>,
    hook: Arc<Hook>,
}

impl Watched {
    fn new(hook: impl Fn(u64) -> Commit + Send + Sync + 'static) -> Self {
        Self { inner: MemoryStoragePlugin::new(), commits: Arc::default(), hook: Arc::new(hook) }
    }
}

impl StoragePlugin for Watched {
    fn descriptor(&self) -> Descriptor {
        self.inner.descriptor()
    }

    fn check(&self, settings: &Settings) -> Result<(), SetupError> {
        self.inner.check(settings)
    }

    fn open(&self, settings: &Settings, directory: &Path) -> Result<Arc<dyn Storage>, SetupError> {
        let inner = self.inner.open(settings, directory)?;
        Ok(Arc::new(WatchedStore { inner, commits: Arc::clone(&self.commits), hook: Arc::clone(&self.hook) }))
    }
}

struct WatchedStore {
    inner: Arc<dyn Storage>,
    commits: Arc<AtomicU64>,
    hook: Arc<Hook>,
}

impl Storage for WatchedStore {
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StorageError> {
        self.inner.snapshot()
    }

    fn commit(&self, batch: Batch) -> Result<(), StorageError> {
        let fate = (self.hook)(self.commits.fetch_add(1, Ordering::SeqCst));
        if fate != Commit::Lost {
            self.inner.commit(batch)?;
        }
        match fate {
            Commit::Done => Ok(()),
            _ => Err(StorageError::Io { action: "commit", source: std::io::Error::other("the medium failed") }),
        }
    }
}

/// Starts the third validator, without data, among two good peers.
fn late(chain: &Chain, storage: impl StoragePlugin + 'static, log: &Log) -> (Hub, Network, Running) {
    let hub = Hub::new();
    let network = Network::on(&hub, "crash", storage, quorate_kv::KvPlugin, "value_bytes_max = 1024");
    let chain_id = network.genesis().chain_id();
    for name in [NAMES[0], NAMES[1]] {
        join(&hub, chain_id, name, Manner::Good, chain, log);
    }
    let late = network.start(LATE);
    (hub, network, late)
}

/// Before the first blocks are durable the next range is asked for; ranges go on where the last one ended; blocks share commits.
#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_fetched_from_peers_in_turn_while_blocks_are_taken_and_small_blocks_share_commits() {
    let chain = chain(1).await;
    let log = Log::default();
    let answers = chain.len().div_ceil(AT_ONCE);
    let (seen, in_time) = (Arc::clone(&log), Arc::new(Mutex::new(true)));
    let told = Arc::clone(&in_time);
    let store = Watched::new(move |commit| {
        // As of a disk on which more than one block comes together while the one before is written.
        std::thread::sleep(Duration::from_millis(30));
        let deadline = Instant::now() + Duration::from_secs(4);
        // The commit before it is genesis.
        while commit == 1 && seen.lock().unwrap().asked.len() < 2 {
            if Instant::now() > deadline {
                *told.lock().unwrap() = false;
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Commit::Done
    });
    let commits = Arc::clone(&store.commits);
    let (_hub, _network, late) = late(&chain, store, &log);
    assert_has(&late.handle(), &chain).await;
    late.stop().await;
    assert!(*in_time.lock().unwrap(), "the second range was asked for after the first was taken: {log:?}");
    let asked = log.lock().unwrap().asked.clone();
    let expected = (0..answers).map(|at| Height((at * AT_ONCE) as u64 + 1));
    assert_eq!(asked.iter().map(|(_, from)| *from).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    assert!(asked.windows(2).all(|two| two[0].0 != two[1].0), "one was asked twice in a row: {asked:?}");
    let commits = commits.load(Ordering::SeqCst);
    assert!(commits <= BLOCKS / 2, "{commits} commits for {} blocks", chain.len());
}

/// A validator without data, two good peers and one that is not: whether that one was turned away.
async fn reaches_the_tip_beside(chain: &Chain, manner: Manner) -> bool {
    let log = Log::default();
    let hub = Hub::new();
    let network =
        Network::on(&hub, "crash", MemoryStoragePlugin::new(), quorate_kv::KvPlugin, "value_bytes_max = 1024");
    let chain_id = network.genesis().chain_id();
    join(&hub, chain_id, STRANGER, manner, chain, &log);
    for name in [NAMES[0], NAMES[1]] {
        join(&hub, chain_id, name, Manner::Good, chain, &log);
    }
    let late = network.start(LATE);
    assert_has(&late.handle(), chain).await;
    let asked = log.lock().unwrap().asked.clone();
    assert!(asked.iter().any(|(name, _)| *name == STRANGER), "it was never asked: {asked:?}");
    let peers = status(&late.handle()).await.peers;
    for name in [NAMES[0], NAMES[1]] {
        assert!(peers.iter().any(|one| one.peer == peer_id(name) && one.connected), "{name} was blamed: {peers:?}");
    }
    let gone = !peers.iter().any(|one| one.peer == peer_id(STRANGER) && one.connected);
    late.stop().await;
    gone
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_gives_what_is_no_part_of_the_chain_is_turned_away_and_the_others_are_not() {
    let (chain, fork) = tokio::join!(chain(1), chain(2));
    // The fork's first block is as final as the chain's; no honest validators make both.
    let fork: Chain = Arc::new(chain.iter().take(1).chain(fork.iter().skip(1)).cloned().collect());
    for manner in [Manner::Rubbish, Manner::FalseProofs, Manner::Splice(Arc::clone(&fork))] {
        assert!(reaches_the_tip_beside(&chain, manner.clone()).await, "{manner:?}");
    }
    // From the second range on, and from the first one, whichever it is asked for.
    let spliced: Chain = Arc::new(chain.iter().take(AT_ONCE).chain(fork.iter().skip(AT_ONCE)).cloned().collect());
    for manner in [Manner::Other(fork), Manner::Other(spliced)] {
        assert!(reaches_the_tip_beside(&chain, manner).await, "a fork");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_silent_or_answers_something_else_or_goes_is_done_without() {
    let chain = chain(1).await;
    assert!(!reaches_the_tip_beside(&chain, Manner::Silent).await, "a silent peer was turned away");
    assert!(!reaches_the_tip_beside(&chain, Manner::Ahead).await, "a peer that is ahead was turned away");
    assert!(reaches_the_tip_beside(&chain, Manner::Leaves).await);
}

/// A peer's engine has blocks sent too, when it hears where this node is, beside those that were asked for. Found by killing a validator
/// under load: each of the others was left alone for ten seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_gives_blocks_twice_is_asked_for_the_next() {
    let chain = chain(1).await;
    let (hub, log) = (Hub::new(), Log::default());
    let network =
        Network::on(&hub, "crash", MemoryStoragePlugin::new(), quorate_kv::KvPlugin, "value_bytes_max = 1024");
    join(&hub, network.genesis().chain_id(), NAMES[0], Manner::Twice, &chain, &log);
    let late = network.start(LATE);
    assert_has(&late.handle(), &chain).await;
    late.stop().await;
    let asked: Vec<Height> = log.lock().unwrap().asked.iter().map(|(_, from)| *from).collect();
    let expected = (0..chain.len().div_ceil(AT_ONCE)).map(|at| Height((at * AT_ONCE) as u64 + 1));
    assert_eq!(asked, expected.collect::<Vec<_>>(), "it was asked for something again");
}

/// A validator says that another block is final, and proves it: all trust is lost, and the node stops voting with words.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_final_block_at_a_height_that_is_final_here_halts_with_both_named() {
    let (ours, theirs) = tokio::join!(chain(1), chain(2));
    let (hub, log) = (Hub::new(), Log::default());
    let network =
        Network::on(&hub, "crash", MemoryStoragePlugin::new(), quorate_kv::KvPlugin, "value_bytes_max = 1024");
    let chain_id = network.genesis().chain_id();
    join(&hub, chain_id, NAMES[0], Manner::Good, &ours, &log);
    let late = network.start(LATE);
    assert_has(&late.handle(), &ours).await;
    assert_eq!(status(&late.handle()).await.status, Health::Ok);
    // It says so of a height that both chains have.
    let height = ours.len().min(theirs.len());
    let told: Chain = Arc::new(theirs.iter().take(height).cloned().collect());
    join(&hub, chain_id, NAMES[1], Manner::Other(theirs), &told, &log);
    let deadline = Instant::now() + PATIENCE;
    let detail = loop {
        let found = status(&late.handle()).await;
        if found.status == Health::Conflict {
            break found.detail.unwrap();
        }
        assert!(Instant::now() < deadline, "{found:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(detail.contains(&format!("two final blocks at height {height}: ")), "{detail}");
    late.stop().await;
}

/// The store fails at one commit amid catch-up: nothing was told that is not there afterwards, and what is there is a part of the chain.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_while_catching_up_leaves_a_part_of_the_chain_with_all_that_was_told() {
    let chain = chain(1).await;
    for (at, fate) in [(1, Commit::Lost), (2, Commit::Kept), (2, Commit::Lost), (4, Commit::Kept), (4, Commit::Lost)] {
        let log = Log::default();
        let mended = Arc::new(Mutex::new(false));
        let works = Arc::clone(&mended);
        let store = Watched::new(move |commit| {
            // So slow that several are needed.
            std::thread::sleep(Duration::from_millis(20));
            if commit == at && !*works.lock().unwrap() { fate } else { Commit::Done }
        });
        let (hub, network, mut late) = late(&chain, store, &log);
        let failed = tokio::time::timeout(PATIENCE, late.failed()).await.unwrap();
        assert!(failed.unwrap_err().to_string().contains("the medium failed"), "commit {at}");
        late.stop().await;
        let told = log.lock().unwrap().told;
        *mended.lock().unwrap() = true;
        // It does not ask for blocks before its consensus had time to get there by itself.
        let again = network.start(LATE);
        let height = status(&again.handle()).await.height;
        assert!(height >= told, "commit {at}, {fate:?}: it said {told} and has {height}");
        assert_has(&again.handle(), &chain).await;
        again.stop().await;
        drop(hub);
    }
}

/// `out NAME` and `in NAME` change who validates; all else is a note.
struct Members;

impl Application for Members {
    fn genesis(&self, _: &mut dyn StateWrite) -> Result<Hash, StorageError> {
        Ok(Hash::ZERO)
    }

    fn verify(&self, _: &dyn StateRead, transactions: &[Bytes]) -> Vec<Result<(), Rejection>> {
        vec![Ok(()); transactions.len()]
    }

    fn check(&self, _: &dyn StateRead, _: Timestamp, transaction: &[u8]) -> Result<Admission, Rejection> {
        Ok(Admission { sender: Bytes::copy_from_slice(transaction), ..Admission::default() })
    }

    fn execute(&self, _: &mut dyn StateWrite, block: &BlockContext<'_>) -> Result<Outcome, ExecuteError> {
        let members = |names: &[&str]| {
            let one =
                |name: &&str| Validator { name: (*name).into(), public_key: NodeKey::development(name).public_key() };
            Some(names.iter().map(one).collect())
        };
        let change = |transaction: &Bytes| match transaction.split(|byte| *byte == b' ').next() {
            Some(b"out") => members(&NAMES[..2]),
            Some(b"in") => members(&NAMES),
            _ => None,
        };
        let validators = block.transactions.iter().rev().find_map(change);
        Ok(Outcome { validators, receipts: vec![Bytes::new(); block.transactions.len()], ..Outcome::default() })
    }

    fn query(&self, _: &dyn StateRead, path: &str, _: &[u8]) -> Result<Vec<u8>, QueryError> {
        Err(QueryError::UnknownPath { path: path.into(), known: String::new() })
    }
}

impl ApplicationPlugin for Members {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new("members", "1.0.0", "changes who validates")
    }

    fn check(&self, _: &Settings, _: &Settings) -> Result<(), SetupError> {
        Ok(())
    }

    fn build(&self, _: ChainId, _: &Settings, _: &Settings) -> Result<Arc<dyn Application>, SetupError> {
        Ok(Arc::new(Members))
    }
}

/// A chain during which the third validator leaves and comes back, again and again.
async fn changing_chain() -> Chain {
    let network = Network::with_application("crash", MemoryStoragePlugin::new(), Members, "");
    let nodes = [network.start(NAMES[0]), network.start(NAMES[1])];
    for number in 0..BLOCKS / 2 {
        let word = match number % 4 {
            1 => "out",
            3 => "in",
            _ => "note",
        };
        let id = submit(&nodes[0].handle(), format!("{word} {number}").into()).await;
        until_final(&nodes[1].handle(), id).await;
    }
    let chain = chain_of(&nodes[0].handle()).await;
    for node in nodes {
        node.stop().await;
    }
    chain
}

/// The chain with proofs by the second and third of three validators, in place of the first two of two, wherever there are two.
fn signed_by_those_who_left(chain: &Chain, genesis: &Genesis) -> Chain {
    let chain_id = genesis.chain_id();
    let checker = PoaPlugin.proof(&Context::of(genesis)).unwrap();
    let first = Block::decode(chain[0].0.clone()).unwrap().header().validators_hash;
    let forge = |(encoded, proof): &(Bytes, Bytes)| {
        let header = Block::decode(encoded.clone()).unwrap().header().clone();
        if header.validators_hash == first {
            return (encoded.clone(), proof.clone());
        }
        let message =
            vote_request(VoteKind::Commit, header.height, header.created_round, &header.hash()).sign_bytes(&chain_id);
        let sign = |at: u16| {
            let key = SigningKey::from_bytes(&NodeKey::development(NAMES[usize::from(at)]).seed());
            (at, key.sign(&message).to_bytes())
        };
        // A certificate's bytes: kind, height, round, block, and who signed what.
        let mut proof = vec![1];
        proof.extend_from_slice(&header.height.0.to_le_bytes());
        proof.extend_from_slice(&header.created_round.0.to_le_bytes());
        proof.extend_from_slice(header.hash().as_bytes());
        proof.extend_from_slice(&2u32.to_le_bytes());
        for (at, signature) in [sign(1), sign(2)] {
            proof.extend_from_slice(&at.to_le_bytes());
            proof.extend_from_slice(&signature);
        }
        checker.verify(&chain_id, &header, &proof, genesis.validators()).unwrap();
        (encoded.clone(), Bytes::from(proof))
    };
    Arc::new(chain.iter().map(forge).collect())
}

/// Proofs are checked against the validators of their height, however far ahead that is done.
#[tokio::test(flavor = "multi_thread")]
async fn validators_that_change_within_a_range_are_those_against_whom_its_blocks_are_checked() {
    let chain = changing_chain().await;
    let heads = chain.iter().map(|(encoded, _)| Block::decode(encoded.clone()).unwrap().header().validators_hash);
    let of_first_range = heads.take(AT_ONCE).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(of_first_range.len(), 2, "the validators change within the first range");
    let log = Log::default();
    let hub = Hub::new();
    let network = Network::on(&hub, "crash", MemoryStoragePlugin::new(), Members, "");
    let chain_id = network.genesis().chain_id();
    let forged = signed_by_those_who_left(&chain, &network.genesis());
    join(&hub, chain_id, STRANGER, Manner::Other(forged), &chain, &log);
    let late = network.start(LATE);
    // It alone is asked for the first range, which is checked ahead when all three validate, and in which the third leaves.
    let deadline = Instant::now() + PATIENCE;
    while log.lock().unwrap().asked.is_empty() {
        assert!(Instant::now() < deadline, "nobody was asked");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for name in [NAMES[0], NAMES[1]] {
        join(&hub, chain_id, name, Manner::Good, &chain, &log);
    }
    assert_has(&late.handle(), &chain).await;
    assert_eq!(*chain_of(&late.handle()).await, *chain, "a block is kept with a proof of the validators before");
    let peers = status(&late.handle()).await.peers;
    let connected = |name| peers.iter().any(|one| one.peer == peer_id(name) && one.connected);
    assert_eq!([NAMES[0], NAMES[1], STRANGER].map(connected), [true, true, false]);
    late.stop().await;
}
