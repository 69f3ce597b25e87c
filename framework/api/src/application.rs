//! The Application slot: a deterministic state machine over the chain's key-value state.

use std::borrow::Cow;

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use serde::Serialize;

use crate::{
    primitives::{ChainId, Hash, Height, PublicKey, Timestamp, TransactionId},
    storage::StorageError,
    validators::Validator,
};

/// Bytes of a receipt at most.
pub const RECEIPT_BYTES_MAX: usize = 4096;

/// Conflict keys of one transaction at most.
pub const CONFLICT_KEYS_MAX: usize = 8;

/// Reads of the application's own keys.
pub trait StateRead {
    /// The value of `key`, if any.
    ///
    /// # Errors
    ///
    /// [`StorageError`]; an application passes it on.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError>;

    /// At most `limit` pairs with `from <= key < to` in ascending order.
    ///
    /// # Errors
    ///
    /// [`StorageError`]; an application passes it on.
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, StorageError>;
}

/// A state without a key.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoState;

impl StateRead for NoState {
    fn get(&self, _: &[u8]) -> Result<Option<Bytes>, StorageError> {
        Ok(None)
    }

    fn scan(&self, _: &[u8], _: &[u8], _: usize) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        Ok(Vec::new())
    }
}

/// Reads and writes of the application's own keys. Reads see the writes made before.
pub trait StateWrite: StateRead {
    /// Sets `key` to `value`.
    fn put(&mut self, key: &[u8], value: &[u8]);
    /// Removes `key`, if there.
    fn delete(&mut self, key: &[u8]);
}

/// What the pool needs to know of an acceptable transaction.
#[derive(Debug, Clone, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct Admission {
    /// Who sent it; transactions of one sender are ordered by `sequence`, senders take turns.
    pub sender: Bytes,
    /// Its place among the sender's; gaps wait for what is missing.
    pub sequence: u64,
    /// The `sequence` of the sender which the state accepts next. Below `sequence`: it waits.
    pub next_sequence: u64,
    /// At most one pending transaction holds each of these keys, the first to come. At most [`CONFLICT_KEYS_MAX`].
    pub conflict_keys: Vec<Bytes>,
}

/// Why a transaction is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, BorshSerialize, BorshDeserialize)]
#[non_exhaustive]
pub enum Rejection {
    /// The bytes are not a transaction, or never can be one.
    #[error("not a valid transaction: {0}")]
    Malformed(String),
    /// A signature or proof is wrong.
    #[error("{0}")]
    NotAuthentic(String),
    /// The state does not allow it (any more).
    #[error("{0}")]
    NotAllowed(String),
    /// Another transaction took the same effect.
    #[error("duplicate of {winner}")]
    Duplicate {
        /// The transaction which counts.
        winner: TransactionId,
    },
    /// The state could not be read.
    #[error("state could not be read: {0}")]
    State(String),
}

impl From<StorageError> for Rejection {
    fn from(error: StorageError) -> Self {
        Self::State(error.to_string())
    }
}

/// Whether a block is being made or followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Mode {
    /// A proposer tries candidates: those which can't be executed are left out and named in the outcome.
    Build,
    /// The block stands: a transaction which can't be executed makes it invalid.
    Apply,
}

/// The block to execute.
#[derive(Debug, Clone)]
pub struct BlockContext<'a> {
    /// The network.
    pub chain_id: ChainId,
    /// The block's height.
    pub height: Height,
    /// The block's time.
    pub time: Timestamp,
    /// Making or following.
    pub mode: Mode,
    /// Transactions in order. [`Application::verify`] accepted each.
    pub transactions: Cow<'a, [Bytes]>,
    /// Misbehaviour proven in this block, with the offenders' keys.
    pub misbehaviour: &'a [Misbehaviour],
}

/// A proven offence of a validator.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Misbehaviour {
    /// Where.
    pub height: Height,
    /// Who.
    pub offender: PublicKey,
    /// What, in a few words: `two proposals in round 3`.
    pub offence: String,
}

/// What a block did.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Outcome {
    /// The hash of the state after the block.
    pub app_hash: Hash,
    /// One a kept transaction, in order; at most [`RECEIPT_BYTES_MAX`] bytes each.
    pub receipts: Vec<Bytes>,
    /// The validators from the next height on; `None` leaves them.
    pub validators: Option<Vec<Validator>>,
    /// In [`Mode::Build`]: positions of transactions left out, ascending, with the reason.
    pub left_out: Vec<(usize, Rejection)>,
}

/// Why a block can't be executed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecuteError {
    /// The block breaks the application's rules: vote against it.
    #[error("transaction {index}: {rejection}")]
    Invalid {
        /// Its place in the block.
        index: usize,
        /// Which rule.
        rejection: Rejection,
    },
    /// The state could not be read: this node stops, the block is not judged.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why a query has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, BorshSerialize, BorshDeserialize)]
#[non_exhaustive]
pub enum QueryError {
    /// No such path.
    #[error("unknown query path `{path}`; known: {known}")]
    UnknownPath {
        /// What was asked.
        path: String,
        /// What there is, comma-separated.
        known: String,
    },
    /// The parameters are wrong.
    #[error("{0}")]
    BadParams(String),
    /// The state could not be read.
    #[error("state could not be read: {0}")]
    State(String),
}

impl From<StorageError> for QueryError {
    fn from(error: StorageError) -> Self {
        Self::State(error.to_string())
    }
}

/// A deterministic state machine.
///
/// Pure: it keeps no state of its own between calls, reads no clock, draws no randomness and iterates no hash map; the same
/// calls give the same answers on every machine. No input makes it panic. Calls come from several threads.
pub trait Application: Send + Sync {
    /// Writes the state before block 1 and returns its hash.
    ///
    /// # Errors
    ///
    /// [`StorageError`] of the state.
    fn genesis(&self, state: &mut dyn StateWrite) -> Result<Hash, StorageError>;

    /// What names a transaction. Two transactions with one id are one transaction.
    fn transaction_id(&self, transaction: &[u8]) -> TransactionId {
        TransactionId::new(*Hash::of(&[transaction]).as_bytes())
    }

    /// Checks all that is costly (form, signatures, proofs), once a node for each transaction, against a final state: the newest when
    /// the pool asks, the parent's when a block is judged. The answers are in the order of `transactions`.
    ///
    /// An `Ok` is kept for ever: it holds in every later state of the chain, so it rests only on what the state never changes again,
    /// such as a public key that is written once. A transaction which rests on a record that is not there, or is made in the same block, is
    /// [`Rejection::NotAllowed`], not [`Rejection::NotAuthentic`]: whoever sent it may be ahead of this node, and is not a liar.
    fn verify(&self, state: &dyn StateRead, transactions: &[Bytes]) -> Vec<Result<(), Rejection>>;

    /// Checks a transaction against the state, cheaply, for the pool, before it is verified; `now` is the node's clock, from which the time of the
    /// next block does not differ by much.
    ///
    /// # Errors
    ///
    /// [`Rejection`] if no later state (other than by this transaction's predecessors) would accept it, or none that is near: what comes
    /// too early is refused, not kept.
    fn check(&self, state: &dyn StateRead, now: Timestamp, transaction: &[u8]) -> Result<Admission, Rejection>;

    /// Executes a block of verified transactions.
    ///
    /// # Errors
    ///
    /// [`ExecuteError::Invalid`] in [`Mode::Apply`] for a transaction which the state does not allow.
    fn execute(&self, state: &mut dyn StateWrite, block: &BlockContext<'_>) -> Result<Outcome, ExecuteError>;

    /// Answers `path` with JSON; `params` is JSON too.
    ///
    /// # Errors
    ///
    /// [`QueryError`].
    fn query(&self, state: &dyn StateRead, path: &str, params: &[u8]) -> Result<Vec<u8>, QueryError>;
}
