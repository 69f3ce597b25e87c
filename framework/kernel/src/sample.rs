//! Blocks, an application, a store and a chain for tests.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use quorate::{
    Application, Block, Bytes, ChainId, FinalityProof, Genesis, Hash, Header, Height, PublicKey, Round, Storage,
    Timestamp, TransactionId, ValidatorIndex, ValidatorSet,
    application::{
        Admission, BlockContext, ExecuteError, Misbehaviour, Outcome, QueryError, Rejection, StateRead, StateWrite,
    },
    block::BLOCK_VERSION,
    consensus::{Certificate, ProofError, Tip},
    merkle,
    storage::{Batch, Snapshot, StorageError},
};

use crate::{
    layout,
    ledger::{Ledger, View},
    packed::Packed,
    pool::{Pool, PoolLimits},
    shared::{Identification, Shared},
};

/// A block with these transactions and pieces of evidence; all else in its header is zero.
pub(crate) fn block(height: u64, parent_hash: Hash, transactions: &[Bytes], evidence: &[Bytes]) -> Block {
    let header = Header {
        version: BLOCK_VERSION,
        chain_id: ChainId::new([0; 32]),
        height: Height(height),
        parent_hash,
        time: Timestamp(height),
        creator: ValidatorIndex(0),
        created_round: Round(0),
        tx_root: Hash::ZERO,
        evidence_root: Hash::ZERO,
        app_hash: Hash::ZERO,
        receipts_root: Hash::ZERO,
        validators_hash: Hash::ZERO,
        next_validators_hash: Hash::ZERO,
    };
    Block::new(header, transactions, evidence).unwrap()
}

/// An empty block which is valid at `height`, with the validators of `view`.
pub(crate) fn next_block(view: &View, height: u64, parent_hash: Hash) -> Block {
    let header = Header {
        version: BLOCK_VERSION,
        chain_id: genesis().chain_id(),
        height: Height(height),
        parent_hash,
        time: Timestamp(height),
        creator: ValidatorIndex(0),
        created_round: Round(0),
        tx_root: Hash::ZERO,
        evidence_root: Hash::ZERO,
        app_hash: Hash::ZERO,
        receipts_root: merkle::root(&[]),
        validators_hash: view.validators.hash(),
        next_validators_hash: view.validators.hash(),
    };
    Block::new(header, &[], &[]).unwrap()
}

/// Takes what begins with `y`, each from a sender of its own, panics over what begins with `p`, and fails over what begins with `s`.
pub(crate) struct Judge;

impl Application for Judge {
    fn genesis(&self, _: &mut dyn StateWrite) -> Result<Hash, StorageError> {
        Ok(Hash::ZERO)
    }

    fn verify(&self, _: &dyn StateRead, transactions: &[Bytes]) -> Vec<Result<(), Rejection>> {
        let judge = |transaction: &Bytes| match transaction.first() {
            Some(b'y') => Ok(()),
            Some(b'p') => panic!("as it was told to"),
            _ => Err(Rejection::NotAuthentic(format!("{transaction:?}"))),
        };
        transactions.iter().map(judge).collect()
    }

    fn check(&self, _: &dyn StateRead, _: Timestamp, transaction: &[u8]) -> Result<Admission, Rejection> {
        match transaction.first() {
            Some(b's') => Err(Rejection::State("as it was told to".into())),
            _ => Ok(Admission { sender: Bytes::copy_from_slice(transaction), ..Admission::default() }),
        }
    }

    fn execute(&self, _: &mut dyn StateWrite, _: &BlockContext<'_>) -> Result<Outcome, ExecuteError> {
        Ok(Outcome::default())
    }

    fn query(&self, _: &dyn StateRead, _: &str, _: &[u8]) -> Result<Vec<u8>, QueryError> {
        Ok(Vec::new())
    }
}

/// A store with nothing in it.
pub(crate) struct Empty;

impl Snapshot for Empty {
    fn get(&self, _: &[u8]) -> Result<Option<Bytes>, StorageError> {
        Ok(None)
    }

    fn scan(&self, _: &[u8], _: &[u8], _: usize) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        Ok(Vec::new())
    }
}

impl Storage for Empty {
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StorageError> {
        Ok(Box::new(Self))
    }

    fn commit(&self, _: Batch) -> Result<(), StorageError> {
        Ok(())
    }
}

/// A store's rows.
#[derive(Clone, Default)]
pub(crate) struct Rows(BTreeMap<Bytes, Bytes>);

impl Rows {
    /// And a transaction of the block at `height`, of which nothing else is here any more.
    pub(crate) fn with_removed(mut self, id: &TransactionId, height: u64) -> Self {
        let (key, place) = layout::transaction(&mut Packed::default(), id, Height(height), 0);
        self.0.insert(key, place);
        self.0.insert(layout::BLOCKS_FROM.into(), layout::with_height(Height(height + 1), &[]));
        self
    }
}

impl Snapshot for Rows {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        let found = self.0.iter().filter(|(key, _)| from <= &key[..] && &key[..] < to);
        Ok(found.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

/// A store in memory.
#[derive(Default)]
pub(crate) struct Store(Mutex<Rows>);

impl Storage for Store {
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StorageError> {
        Ok(Box::new(self.0.lock().unwrap().clone()))
    }

    fn commit(&self, batch: Batch) -> Result<(), StorageError> {
        let mut rows = self.0.lock().unwrap();
        for (key, value) in batch.writes() {
            match value {
                Some(value) => drop(rows.0.insert(key.clone(), value.clone())),
                None => drop(rows.0.remove(key)),
            }
        }
        Ok(())
    }
}

/// Proves nothing; evidence is of the height with which it begins, a digit.
struct Hearsay;

impl FinalityProof for Hearsay {
    fn verify(&self, _: &ChainId, _: &Header, _: &[u8], _: &ValidatorSet) -> Result<(), ProofError> {
        Err(ProofError::NoQuorum { found: 0, needed: 1 })
    }

    fn certificate(&self, _: &[u8]) -> Result<Certificate, ProofError> {
        Err(ProofError::Malformed("none".into()))
    }

    fn evidence_height(&self, evidence: &[u8]) -> Result<Height, ProofError> {
        let digit = evidence.first().and_then(|digit| char::from(*digit).to_digit(10));
        digit.map(|digit| Height(digit.into())).ok_or_else(|| ProofError::Malformed("no height".into()))
    }

    fn evidence(&self, _: &ChainId, _: &[u8], _: &ValidatorSet) -> Result<Misbehaviour, ProofError> {
        Err(ProofError::NoMisbehaviour("nothing happened".into()))
    }
}

const GENESIS: &str = r#"
chain_name = "test"
genesis_time = 2026-01-01T00:00:00Z
[consensus]
plugin = "poa"
[application]
plugin = "kv"
[[validator]]
name = "validator-1"
public_key = "0x0101010101010101010101010101010101010101010101010101010101010101"
"#;

fn genesis() -> Genesis {
    Genesis::parse("genesis", GENESIS).unwrap()
}

/// A chain in `rows` whose last final block is at `height`.
pub(crate) fn view(height: u64, rows: Rows) -> View {
    let validators = genesis().validators().clone();
    let tip = Tip { height: Height(height), hash: Hash::ZERO, time: Timestamp(height) };
    View::on(tip, validators, Box::new(rows)).unwrap()
}

/// What is shared in a node at height 3, without any transaction.
pub(crate) fn shared(application: Arc<dyn Application>) -> Shared {
    let mut rows = Rows::default();
    rows.0.insert(layout::validators(Height(1)), layout::to_borsh(genesis().validators()));
    let view = view(3, rows.clone());
    let (finality, storage) = (Arc::new(Hearsay), Arc::new(Store(Mutex::new(rows))));
    let ledger = Ledger { genesis: genesis(), application, finality, storage, keep_blocks: None };
    let who = Identification {
        name: String::new(),
        role: String::new(),
        version: String::new(),
        key: PublicKey::new([1; 32]),
        tolerates: String::new(),
    };
    let pool = Pool::new(PoolLimits::default(), 1);
    Shared::new(ledger, view, pool, who, tokio::sync::oneshot::channel().0)
}
