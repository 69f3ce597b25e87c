//! What is allowed, and what it does.

use borsh::{BorshDeserialize, BorshSerialize};
use quorate::{
    Application, Bytes, ChainId, Hash, PublicKey, Timestamp, TransactionId,
    application::{Admission, BlockContext, ExecuteError, Mode, Outcome, QueryError, Rejection, StateRead, StateWrite},
    signature::{Signed, verify_batch},
    storage::StorageError,
};

use crate::{
    query, state,
    transaction::{Put, signed_bytes},
};

/// The application.
#[derive(Debug, Clone)]
pub struct Kv {
    chain_id: ChainId,
    value_bytes_max: usize,
}

/// What a transaction did: the bytes of its receipt are borsh of this, 45 to 108 bytes.
///
/// | bytes | content |
/// |---|---|
/// | 32 | the signer |
/// | 8 | the nonce, u64le |
/// | 4 + 1..=64 | the key's length, u32le, and the key |
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Written {
    /// Whose key.
    pub signer: PublicKey,
    /// The transaction's place among the signer's.
    pub nonce: u64,
    /// The key that was set or removed.
    pub key: Vec<u8>,
}

/// Why a transaction has no effect, or why that is not known.
enum Refusal {
    Rejected(Rejection),
    Storage(StorageError),
}

impl From<StorageError> for Refusal {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl Kv {
    /// The application of network `chain_id`, where values have at most `value_bytes_max` bytes (and never more than
    /// [`crate::VALUE_BYTES_CAP`]).
    pub fn new(chain_id: ChainId, value_bytes_max: usize) -> Self {
        Self { chain_id, value_bytes_max }
    }

    fn decode(&self, transaction: &[u8]) -> Result<Put, Rejection> {
        let put = Put::decode(transaction)?;
        match &put.value {
            Some(value) if value.len() > self.value_bytes_max => {
                let (len, limit) = (value.len(), self.value_bytes_max);
                Err(Rejection::Malformed(format!("value has {len} bytes; this network's limit is {limit}")))
            }
            _ => Ok(put),
        }
    }

    /// Applies one transaction.
    fn apply(
        &self,
        state: &mut dyn StateWrite,
        block: &BlockContext<'_>,
        transaction: &[u8],
    ) -> Result<(TransactionId, Bytes), Refusal> {
        let put = self.decode(transaction)?;
        let signer = put.public_key;
        let next = state::next_nonce(state, &signer)?;
        if put.nonce > next {
            let message = format!("nonce is {}; the next of this signer is {next}", put.nonce);
            return Err(Rejection::NotAllowed(message).into());
        }
        if put.nonce < next {
            return Err(used(state, &put)?.into());
        }
        let id = self.transaction_id(transaction);
        match &put.value {
            Some(value) => state::set_entry(state, &signer, &put.key, block.height, value),
            None => state::remove_entry(state, &signer, &put.key),
        }
        state::set_winner(state, &signer, put.nonce, &id);
        // Below u64::MAX, see `Put::decode`.
        state::set_next_nonce(state, &signer, next.saturating_add(1));
        let written = Written { signer, nonce: put.nonce, key: put.key };
        // Writing plain fields to memory does not fail.
        Ok((id, borsh::to_vec(&written).unwrap_or_default().into()))
    }
}

/// The rejection of a transaction whose nonce is used.
fn used(state: &dyn StateRead, put: &Put) -> Result<Rejection, StorageError> {
    let winner = state::winner(state, &put.public_key, put.nonce)?;
    let winner = winner.ok_or_else(|| StorageError::Damaged(format!("no transaction has used nonce {}", put.nonce)))?;
    Ok(Rejection::Duplicate { winner })
}

impl Application for Kv {
    fn genesis(&self, state: &mut dyn StateWrite) -> Result<Hash, StorageError> {
        let hash = state::genesis_hash(&self.chain_id);
        state::set_hash(state, hash);
        Ok(hash)
    }

    fn verify(&self, _: &dyn StateRead, transactions: &[Bytes]) -> Vec<Result<(), Rejection>> {
        let read: Vec<Result<(Put, Vec<u8>), Rejection>> = transactions
            .iter()
            .map(|bytes| self.decode(bytes).map(|put| (put, signed_bytes(&self.chain_id, bytes))))
            .collect();
        let signed: Vec<Signed<'_>> = read
            .iter()
            .flatten()
            .map(|(put, message)| Signed { key: put.public_key, message, signature: put.signature })
            .collect();
        let mut verdicts = verify_batch(&signed).into_iter();
        let answer = |read: &Result<_, Rejection>| match read {
            Err(rejection) => Err(rejection.clone()),
            Ok(_) if verdicts.next() == Some(true) => Ok(()),
            Ok(_) => Err(Rejection::NotAuthentic(
                "the signature is not of this public key over this transaction on this chain".into(),
            )),
        };
        read.iter().map(answer).collect()
    }

    fn check(&self, state: &dyn StateRead, _: Timestamp, transaction: &[u8]) -> Result<Admission, Rejection> {
        let put = self.decode(transaction)?;
        let next_sequence = state::next_nonce(state, &put.public_key)?;
        if put.nonce < next_sequence {
            return Err(used(state, &put)?);
        }
        let sender = Bytes::copy_from_slice(put.public_key.as_bytes());
        let conflict_key = [&sender[..], &put.nonce.to_le_bytes()].concat().into();
        Ok(Admission { sender, sequence: put.nonce, next_sequence, conflict_keys: vec![conflict_key] })
    }

    fn execute(&self, state: &mut dyn StateWrite, block: &BlockContext<'_>) -> Result<Outcome, ExecuteError> {
        let mut outcome = Outcome::default();
        let mut ids = Vec::with_capacity(block.transactions.len());
        for (index, transaction) in block.transactions.iter().enumerate() {
            match (self.apply(state, block, transaction), block.mode) {
                (Ok((id, receipt)), _) => {
                    ids.push(id);
                    outcome.receipts.push(receipt);
                }
                (Err(Refusal::Rejected(rejection)), Mode::Build) => outcome.left_out.push((index, rejection)),
                (Err(Refusal::Rejected(rejection)), Mode::Apply) => {
                    return Err(ExecuteError::Invalid { index, rejection });
                }
                (Err(Refusal::Storage(error)), _) => return Err(error.into()),
            }
        }
        outcome.app_hash = state::next_hash(state::hash(state)?, block.height, &ids);
        if !ids.is_empty() {
            state::set_hash(state, outcome.app_hash);
        }
        Ok(outcome)
    }

    fn query(&self, state: &dyn StateRead, path: &str, params: &[u8]) -> Result<Vec<u8>, QueryError> {
        query::answer(state, path, params)
    }
}
