//! Blocks, an application and a store for tests.

use quorate::{
    Application, Block, Bytes, ChainId, Hash, Header, Height, Round, Storage, Timestamp, ValidatorIndex,
    application::{Admission, BlockContext, ExecuteError, Outcome, QueryError, Rejection, StateRead, StateWrite},
    block::BLOCK_VERSION,
    storage::{Batch, Snapshot, StorageError},
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

/// Takes what begins with `y`, each from a sender of its own, and panics over what begins with `p`.
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
        Ok(Admission { sender: Bytes::copy_from_slice(transaction), ..Admission::default() })
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
