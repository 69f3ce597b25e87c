//! What an application executes, and why it does not.

use std::borrow::Cow;

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use quorate::{
    ChainId, Height, Timestamp,
    application::{BlockContext, ExecuteError, Misbehaviour, Mode, Rejection},
};

use super::storage::StorageFailure;

/// A [`BlockContext`] without its transactions.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BlockHead {
    /// The network.
    pub chain_id: ChainId,
    /// The block's height.
    pub height: Height,
    /// The block's time.
    pub time: Timestamp,
    /// Making or following.
    pub mode: Mode,
    /// Misbehaviour proven in this block.
    pub misbehaviour: Vec<Misbehaviour>,
}

impl From<&BlockContext<'_>> for BlockHead {
    fn from(block: &BlockContext<'_>) -> Self {
        let BlockContext { chain_id, height, time, mode, misbehaviour, .. } = block;
        let misbehaviour = misbehaviour.to_vec();
        Self { chain_id: *chain_id, height: *height, time: *time, mode: *mode, misbehaviour }
    }
}

impl BlockHead {
    /// With the transactions.
    pub fn context<'a>(&'a self, transactions: &'a [Bytes]) -> BlockContext<'a> {
        BlockContext {
            chain_id: self.chain_id,
            height: self.height,
            time: self.time,
            mode: self.mode,
            transactions: Cow::Borrowed(transactions),
            misbehaviour: &self.misbehaviour,
        }
    }
}

/// An [`ExecuteError`].
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum ExecuteFailure {
    /// [`ExecuteError::Invalid`].
    Invalid {
        /// Its place in the block.
        index: u64,
        /// Which rule.
        rejection: Rejection,
    },
    /// [`ExecuteError::Storage`].
    Storage(StorageFailure),
}

impl From<ExecuteError> for ExecuteFailure {
    fn from(error: ExecuteError) -> Self {
        match error {
            ExecuteError::Invalid { index, rejection } => Self::Invalid { index: index as u64, rejection },
            ExecuteError::Storage(error) => Self::Storage((&error).into()),
            // A kind that this version does not know is not a judgement of the block.
            other => Self::Storage(StorageFailure::Plugin(other.to_string())),
        }
    }
}

impl From<ExecuteFailure> for ExecuteError {
    fn from(failure: ExecuteFailure) -> Self {
        match failure {
            ExecuteFailure::Invalid { index, rejection } => {
                Self::Invalid { index: usize::try_from(index).unwrap_or(usize::MAX), rejection }
            }
            ExecuteFailure::Storage(failure) => Self::Storage(failure.into()),
        }
    }
}
