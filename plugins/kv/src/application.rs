//! What is allowed, and what it does.

use borsh::{BorshDeserialize, BorshSerialize};
use quorate::{
    Application, Bytes, ChainId, Hash, PublicKey, Timestamp, TransactionId,
    application::{Admission, BlockContext, ExecuteError, Mode, Outcome, QueryError, Rejection, StateRead, StateWrite},
    bytes::{BufMut, BytesMut},
    signature::{Signed, verify_batch},
    storage::StorageError,
};

use crate::{
    query, state,
    transaction::{Read, SIGN_TAG, put_signed_bytes},
};

/// Room for the receipt of a transaction whose key has twenty bytes.
const RECEIPT_BYTES: usize = 64;

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

    fn decode<'a>(&self, transaction: &'a [u8]) -> Result<Read<'a>, Rejection> {
        let put = Read::of(transaction)?;
        match put.value {
            Some(value) if value.len() > self.value_bytes_max => {
                let (len, limit) = (value.len(), self.value_bytes_max);
                Err(Rejection::Malformed(format!("value has {len} bytes; this network's limit is {limit}")))
            }
            _ => Ok(put),
        }
    }

    /// Applies one transaction, and appends its receipt.
    fn apply(
        &self,
        state: &mut dyn StateWrite,
        block: &BlockContext<'_>,
        transaction: &[u8],
        receipt: &mut BytesMut,
    ) -> Result<TransactionId, Refusal> {
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
        match put.value {
            Some(value) => state::set_entry(state, &signer, put.key, block.height, value),
            None => state::remove_entry(state, &signer, put.key),
        }
        state::set_winner(state, &signer, put.nonce, &id);
        // Below u64::MAX, see `Put::decode`.
        state::set_next_nonce(state, &signer, next.saturating_add(1));
        // `Written`, as borsh has it; keys have 64 bytes at most.
        receipt.put_slice(signer.as_bytes());
        receipt.put_u64_le(put.nonce);
        receipt.put_u32_le(u32::try_from(put.key.len()).unwrap_or(u32::MAX));
        receipt.put_slice(put.key);
        Ok(id)
    }
}

/// The rejection of a transaction whose nonce is used.
fn used(state: &dyn StateRead, put: &Read<'_>) -> Result<Rejection, StorageError> {
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
        let read: Vec<Result<Read<'_>, Rejection>> = transactions.iter().map(|bytes| self.decode(bytes)).collect();
        // What is signed, one after the other: memory is asked for once.
        let each = SIGN_TAG.len() + ChainId::LEN;
        let mut messages = Vec::with_capacity(transactions.iter().map(|bytes| bytes.len() + each).sum());
        let mut ends = Vec::with_capacity(transactions.len());
        for bytes in read.iter().zip(transactions).filter_map(|(read, bytes)| read.is_ok().then_some(bytes)) {
            put_signed_bytes(&mut messages, &self.chain_id, bytes);
            ends.push(messages.len());
        }
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let message = |(start, end): (usize, &usize)| messages.get(start..*end).unwrap_or_default();
        let signed: Vec<Signed<'_>> = read
            .iter()
            .flatten()
            .zip(starts.zip(&ends).map(message))
            .map(|(put, message)| Signed { key: put.public_key, message, signature: put.signature })
            .collect();
        let mut verdicts = verify_batch(&signed).into_iter();
        let answer = |read: Result<Read<'_>, Rejection>| match read {
            Err(rejection) => Err(rejection),
            Ok(_) if verdicts.next() == Some(true) => Ok(()),
            Ok(_) => Err(Rejection::NotAuthentic(
                "the signature is not of this public key over this transaction on this chain".into(),
            )),
        };
        read.into_iter().map(answer).collect()
    }

    fn check(&self, state: &dyn StateRead, _: Timestamp, transaction: &[u8]) -> Result<Admission, Rejection> {
        let put = self.decode(transaction)?;
        let next_sequence = state::next_nonce(state, &put.public_key)?;
        if put.nonce < next_sequence {
            return Err(used(state, &put)?);
        }
        let sender = Bytes::copy_from_slice(put.public_key.as_bytes());
        // Of one signer's transactions with one nonce the pool keeps the first anyway.
        Ok(Admission { sender, sequence: put.nonce, next_sequence, conflict_keys: Vec::new() })
    }

    fn execute(&self, state: &mut dyn StateWrite, block: &BlockContext<'_>) -> Result<Outcome, ExecuteError> {
        let mut outcome = Outcome::default();
        let mut ids = Vec::with_capacity(block.transactions.len());
        outcome.receipts.reserve(block.transactions.len());
        // One after the other in one buffer, which grows if keys are long.
        let mut receipts = BytesMut::with_capacity(block.transactions.len() * RECEIPT_BYTES);
        for (index, transaction) in block.transactions.iter().enumerate() {
            match (self.apply(state, block, transaction, &mut receipts), block.mode) {
                (Ok(id), _) => {
                    ids.push(id);
                    outcome.receipts.push(receipts.split().freeze());
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
