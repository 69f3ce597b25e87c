//! Costly checks rest on the state: of the pool on the newest, of a block on its parent's, however it comes.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use quorate::{
    Application, Block, Bytes, ChainId, FinalityProof, Hash, Header, Height, Round, Settings, Timestamp,
    ValidatorIndex, ValidatorSet,
    application::{
        Admission, BlockContext, ExecuteError, Misbehaviour, Outcome, QueryError, Rejection, StateRead, StateWrite,
    },
    consensus::{Certificate, ProofError},
    merkle,
    node::{SubmitError, TransactionState},
    plugin::{ApplicationPlugin, Descriptor, SetupError},
    storage::StorageError,
};
use quorate_kernel::ledger::{BadBlock, Ledger, View};
use quorate_testkit::memory::{MemoryStorage, MemoryStoragePlugin};

use super::in_memory::{NAMES, Network, block_hash, status, submit, until_at, until_final};

/// So many that they are verified on all cores.
const MANY: usize = 40;

/// `open X` writes the record X; `pass X ..` rests on it, which `verify` alone looks at. What else there is fails in `verify`.
struct Gates {
    /// Verifies everything, as whoever proposes what others must refuse.
    believes: bool,
}

impl Gates {
    fn verdict(state: &dyn StateRead, transaction: &[u8]) -> Result<(), Rejection> {
        let text = str::from_utf8(transaction).map_err(|_| Rejection::Malformed("not a text".into()))?;
        match text.split(' ').collect::<Vec<_>>().as_slice() {
            ["open", _] => Ok(()),
            ["pass", gate, _] if state.get(gate.as_bytes())?.is_some() => Ok(()),
            ["pass", gate, _] => Err(Rejection::NotAllowed(format!("there is no gate {gate}"))),
            _ => Err(Rejection::State("the medium failed".into())),
        }
    }
}

impl Application for Gates {
    fn genesis(&self, _: &mut dyn StateWrite) -> Result<Hash, StorageError> {
        Ok(Hash::ZERO)
    }

    fn verify(&self, state: &dyn StateRead, transactions: &[Bytes]) -> Vec<Result<(), Rejection>> {
        if transactions.iter().any(|one| one.as_ref() == b"lose verdicts") {
            return Vec::new();
        }
        transactions.iter().map(|one| if self.believes { Ok(()) } else { Self::verdict(state, one) }).collect()
    }

    fn check(&self, _: &dyn StateRead, _: Timestamp, transaction: &[u8]) -> Result<Admission, Rejection> {
        Ok(Admission { sender: Bytes::copy_from_slice(transaction), ..Admission::default() })
    }

    fn execute(&self, state: &mut dyn StateWrite, block: &BlockContext<'_>) -> Result<Outcome, ExecuteError> {
        for gate in block.transactions.iter().filter_map(|one| one.strip_prefix(b"open ")) {
            state.put(gate, b"");
        }
        Ok(Outcome { receipts: vec![Bytes::new(); block.transactions.len()], ..Outcome::default() })
    }

    fn query(&self, _: &dyn StateRead, path: &str, _: &[u8]) -> Result<Vec<u8>, QueryError> {
        Err(QueryError::UnknownPath { path: path.into(), known: String::new() })
    }
}

/// Gates which note what they verified, and take their time.
struct Slow(Arc<Mutex<Vec<Bytes>>>);

impl Application for Slow {
    fn genesis(&self, _: &mut dyn StateWrite) -> Result<Hash, StorageError> {
        Ok(Hash::ZERO)
    }

    fn verify(&self, _: &dyn StateRead, transactions: &[Bytes]) -> Vec<Result<(), Rejection>> {
        self.0.lock().unwrap().extend_from_slice(transactions);
        std::thread::sleep(Duration::from_millis(50));
        vec![Ok(()); transactions.len()]
    }

    fn check(&self, _: &dyn StateRead, _: Timestamp, transaction: &[u8]) -> Result<Admission, Rejection> {
        match transaction {
            b"never" => Err(Rejection::NotAllowed("never".into())),
            _ => Ok(Admission { sender: Bytes::copy_from_slice(transaction), ..Admission::default() }),
        }
    }

    fn execute(&self, _: &mut dyn StateWrite, block: &BlockContext<'_>) -> Result<Outcome, ExecuteError> {
        Ok(Outcome { receipts: vec![Bytes::new(); block.transactions.len()], ..Outcome::default() })
    }

    fn query(&self, _: &dyn StateRead, path: &str, _: &[u8]) -> Result<Vec<u8>, QueryError> {
        Err(QueryError::UnknownPath { path: path.into(), known: String::new() })
    }
}

/// One for each of two nodes.
struct OfTwo([Slow; 2]);

impl ApplicationPlugin for OfTwo {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new("slow", "1.0.0", "notes what it verified")
    }

    fn check(&self, _: &Settings, _: &Settings) -> Result<(), SetupError> {
        Ok(())
    }

    fn build(&self, _: ChainId, _: &Settings, own: &Settings) -> Result<Arc<dyn Application>, SetupError> {
        let second = own.parse::<toml::Table>()?.contains_key("second");
        Ok(Arc::new(Slow(Arc::clone(&self.0[usize::from(second)].0))))
    }
}

/// However often a transaction comes, also after it was only judged, its proofs are checked once.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_verified_once_however_it_comes() {
    let seen: [Arc<Mutex<Vec<Bytes>>>; 2] = Default::default();
    let plugin = OfTwo(seen.each_ref().map(|seen| Slow(Arc::clone(seen))));
    let network = Network::with_application("crash", MemoryStoragePlugin::new(), plugin, "");
    let first = network.start(NAMES[0]);
    let one = first.handle();
    // While this is verified the others gather.
    let (busy, same, judged) =
        (Bytes::from_static(b"busy"), Bytes::from_static(b"same"), Bytes::from_static(b"judged"));
    let submissions: Vec<_> = std::iter::once(&busy)
        .chain(std::iter::repeat_n(&same, 20))
        .map(|transaction| {
            let (node, transaction) = (one.clone(), transaction.clone());
            tokio::spawn(async move { node.submit(transaction).await })
        })
        .collect();
    for submission in submissions {
        submission.await.unwrap().unwrap();
    }
    let id = one.check(judged.clone()).await.unwrap();
    assert!(matches!(one.transaction(id).await.unwrap(), TransactionState::Unknown), "it was not taken");
    assert!(matches!(one.check("never").await, Err(SubmitError::Rejected(Rejection::NotAllowed(_)))));
    // It comes from a peer, or in a block.
    let other = network.try_start_with(NAMES[1], "second = true\n").unwrap();
    assert_eq!(other.handle().submit(judged.clone()).await.unwrap(), id);
    until_final(&one, id).await;
    assert_eq!(one.check(judged.clone()).await.unwrap(), id, "also when it is final");
    let seen = seen[0].lock().unwrap().clone();
    for transaction in [&busy, &same, &judged] {
        assert_eq!(seen.iter().filter(|one| *one == transaction).count(), 1, "{transaction:?} in {seen:?}");
    }
    for node in [first, other] {
        node.stop().await;
    }
}

struct GatesPlugin;

impl ApplicationPlugin for GatesPlugin {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new("gates", "1.0.0", "gates that are opened once")
    }

    fn check(&self, _: &Settings, _: &Settings) -> Result<(), SetupError> {
        Ok(())
    }

    fn build(&self, _: ChainId, _: &Settings, own: &Settings) -> Result<Arc<dyn Application>, SetupError> {
        Ok(Arc::new(Gates { believes: own.parse::<toml::Table>()?.contains_key("believes") }))
    }
}

/// Any proof will do.
struct Anything;

impl FinalityProof for Anything {
    fn verify(&self, _: &ChainId, _: &Header, _: &[u8], _: &ValidatorSet) -> Result<(), ProofError> {
        Ok(())
    }

    fn certificate(&self, _: &[u8]) -> Result<Certificate, ProofError> {
        Ok(Certificate { round: Round(0), signatures: Vec::new() })
    }

    fn evidence_height(&self, _: &[u8]) -> Result<Height, ProofError> {
        Err(ProofError::NoMisbehaviour("there is none".into()))
    }

    fn evidence(&self, _: &ChainId, _: &[u8], _: &ValidatorSet) -> Result<Misbehaviour, ProofError> {
        Err(ProofError::NoMisbehaviour("there is none".into()))
    }
}

fn network() -> Network {
    Network::with_application("crash", MemoryStoragePlugin::new(), GatesPlugin, "")
}

fn ledger() -> (Ledger, View) {
    let storage = Arc::new(MemoryStorage::new());
    Ledger::open(network().genesis(), Arc::new(Gates { believes: false }), Arc::new(Anything), storage).unwrap()
}

fn texts(texts: &[&str]) -> Vec<Bytes> {
    texts.iter().map(|text| Bytes::copy_from_slice(text.as_bytes())).collect()
}

fn passes() -> Vec<Bytes> {
    (0..MANY).map(|nth| Bytes::from(format!("pass north {nth}"))).collect()
}

/// The next block on `view` as a good proposer would make it.
fn block(view: &View, chain_id: ChainId, transactions: &[Bytes]) -> Block {
    let receipts: Vec<Hash> = transactions.iter().map(|_| merkle::leaf(b"")).collect();
    let header = Header {
        version: quorate::block::BLOCK_VERSION,
        chain_id,
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
    Block::new(header, transactions, &[]).unwrap()
}

fn append(ledger: &Ledger, view: &View, transactions: &[Bytes]) -> Result<View, BadBlock> {
    ledger.append(view, &block(view, ledger.genesis.chain_id(), transactions), &Bytes::new())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rests_on_a_record_is_taken_once_the_record_is_final_and_by_whoever_catches_up() {
    let network = network();
    let nodes = [network.start(NAMES[0]), network.start(NAMES[1])];
    let (first, second) = (nodes[0].handle(), nodes[1].handle());
    let early = first.submit("pass north 0").await.unwrap_err();
    assert!(matches!(&early, SubmitError::Rejected(Rejection::NotAllowed(why)) if why.contains("north")), "{early}");
    let open = submit(&first, "open north".into()).await;
    let opened = until_final(&first, open).await;
    let mut ids = Vec::new();
    for pass in passes() {
        ids.push(submit(&first, pass).await);
    }
    for id in ids {
        assert!(until_final(&second, id).await > opened);
    }
    let height = status(&second).await.height;
    let late = network.start(NAMES[2]);
    until_at(&late.handle(), height).await;
    assert_eq!(block_hash(&late.handle(), height).await, block_hash(&second, height).await);
    let id = submit(&late.handle(), "pass north again".into()).await;
    until_final(&second, id).await;
    late.stop().await;
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proposer_that_believes_everything_convinces_nobody() {
    let network = network();
    // Block 1 is its turn.
    let believer = network.try_start_with(NAMES[1], "believes = true\n").unwrap();
    let others = [network.start(NAMES[0]), network.start(NAMES[2])];
    let pass = submit(&believer.handle(), "pass north 0".into()).await;
    let open = submit(&believer.handle(), "open north".into()).await;
    for node in &others {
        let (opened, passed) = (until_final(&node.handle(), open).await, until_final(&node.handle(), pass).await);
        assert!(opened < passed, "passed in block {passed}, opened in block {opened}");
    }
    believer.stop().await;
    for node in others {
        node.stop().await;
    }
}

#[test]
fn final_blocks_are_verified_each_against_its_parents_state() {
    let (ledger, view) = ledger();
    let view = append(&ledger, &view, &texts(&["open north"])).unwrap();
    let view = append(&ledger, &view, &passes()).unwrap();
    assert_eq!(view.tip.height, Height(2));
    match append(&ledger, &view, &texts(&["open south", "pass south 0"])).map(|_| ()) {
        Err(BadBlock::Conflict { what, .. }) => assert_eq!(what, "there is no gate south"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_application_that_can_not_verify_judges_no_block() {
    let (ledger, view) = ledger();
    let view = append(&ledger, &view, &texts(&["open north"])).unwrap();
    let fails = |one: &str, why: &str| {
        for others in [Vec::new(), passes()] {
            let transactions = [others, texts(&[one])].concat();
            match append(&ledger, &view, &transactions).map(|_| ()) {
                Err(BadBlock::Storage(StorageError::Plugin(told))) => assert!(told.contains(why), "{told}"),
                other => panic!("{other:?}"),
            }
        }
    };
    fails("fail", "the medium failed");
    fails("lose verdicts", "the application gave 0 verdicts for ");
    assert_eq!(ledger.view().unwrap().tip.height, Height(1));
}
