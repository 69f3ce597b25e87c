//! How the pool and blocks use the rules.

use quorate::{
    Application, Bytes, ChainId, Hash, Timestamp, TransactionId,
    application::{Admission, BlockContext, ExecuteError, Mode, Outcome, QueryError, Rejection, StateRead, StateWrite},
    storage::StorageError,
};
use quorate_ballot::{group::Element, record};

use crate::{
    effect::{self, Boxes, Place},
    query,
    refusal::Refusal,
    rules, store, verify,
};

/// The application.
#[derive(Debug, Clone)]
pub struct Voting {
    chain_id: ChainId,
    admins: Vec<Element>,
}

impl Voting {
    /// The elections of a chain, which `admins` may draft.
    pub fn new(chain_id: ChainId, admins: Vec<Element>) -> Self {
        Self { chain_id, admins }
    }

    /// The chain.
    pub fn chain_id(&self) -> &ChainId {
        &self.chain_id
    }

    /// Who may draft elections.
    pub fn admins(&self) -> &[Element] {
        &self.admins
    }
}

impl Application for Voting {
    fn genesis(&self, state: &mut dyn StateWrite) -> Result<Hash, StorageError> {
        let hash = Hash::new(record::genesis_hash(self.chain_id.as_bytes()));
        store::set_hash(state, &hash);
        Ok(hash)
    }

    fn transaction_id(&self, transaction: &[u8]) -> TransactionId {
        TransactionId::new(rules::id(transaction))
    }

    fn verify(&self, state: &dyn StateRead, transactions: &[Bytes]) -> Vec<Result<(), Rejection>> {
        verify::verify(self, state, transactions)
    }

    fn check(&self, state: &dyn StateRead, now: Timestamp, transaction: &[u8]) -> Result<Admission, Rejection> {
        let decoded = verify::decode(transaction)?;
        let admitted = rules::check(self, state, now, &decoded)?;
        let sender = Bytes::from(admitted.sender);
        Ok(Admission {
            sequence: admitted.sequence,
            next_sequence: admitted.next,
            // Two at one place exclude each other by that alone.
            conflict_keys: Vec::new(),
            sender,
        })
    }

    fn execute(&self, state: &mut dyn StateWrite, block: &BlockContext<'_>) -> Result<Outcome, ExecuteError> {
        let mut outcome = Outcome::default();
        let mut done = Vec::with_capacity(block.transactions.len());
        let mut boxes = Boxes::default();
        for (index, bytes) in block.transactions.iter().enumerate() {
            let mut place = Place { voting: self, time: block.time, boxes: &mut boxes };
            let applied = verify::decode(bytes).and_then(|one| effect::apply(&mut place, state, bytes, one));
            match (applied, block.mode) {
                (Ok(receipt), _) => {
                    let receipt = receipt.encode();
                    outcome.receipts.push(receipt.clone().into());
                    done.push((rules::id(bytes), receipt));
                }
                (Err(Refusal::Storage(error)), _) => return Err(error.into()),
                (Err(refusal), Mode::Build) => outcome.left_out.push((index, refusal.into())),
                (Err(refusal), Mode::Apply) => {
                    return Err(ExecuteError::Invalid { index, rejection: refusal.into() });
                }
            }
        }
        boxes.write(state);
        let previous = store::hash(state)?;
        outcome.app_hash = Hash::new(record::next_hash(*previous.as_bytes(), block.height.0, &done));
        if !done.is_empty() {
            store::set_hash(state, &outcome.app_hash);
        }
        Ok(outcome)
    }

    fn query(&self, state: &dyn StateRead, path: &str, params: &[u8]) -> Result<Vec<u8>, QueryError> {
        query::answer(state, path, params)
    }
}
