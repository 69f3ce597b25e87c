//! What an engine makes durable before it signs: where it stands, what it voted, and what it is bound to.

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use quorate::{Hash, Height, Round, Signature, block::BLOCK_BYTES_MAX, consensus::SAVED_BYTES_MAX};

use crate::{
    certificate::QuorumCertificate,
    message::{OVERHEAD_BYTES_MAX, Vote},
    signing::VoteKind,
};

const _: () = assert!(BLOCK_BYTES_MAX + OVERHEAD_BYTES_MAX <= SAVED_BYTES_MAX);

/// The first byte of a record.
const VERSION: u8 = 1;

/// A vote of the current round, given or about to be.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Cast {
    pub(crate) kind: VoteKind,
    pub(crate) block_hash: Option<Hash>,
    /// Once it came, and something else is made durable.
    pub(crate) signature: Option<Signature>,
}

/// The durable record (SPEC.md rule 13).
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Record {
    version: u8,
    pub(crate) height: Height,
    pub(crate) round: Round,
    /// The votes by which the round was entered.
    pub(crate) entry: Vec<Vote>,
    /// The votes of the round, prevote first.
    pub(crate) cast: Vec<Cast>,
    /// The polka of the lock.
    pub(crate) lock: Option<QuorumCertificate>,
    /// The polka of the valid block, when it is another than the lock's.
    pub(crate) valid: Option<QuorumCertificate>,
    /// The blocks of both, the lock's first.
    pub(crate) blocks: Vec<Bytes>,
}

impl Record {
    pub(crate) fn new(height: Height, round: Round) -> Self {
        Self {
            version: VERSION,
            height,
            round,
            entry: Vec::new(),
            cast: Vec::new(),
            lock: None,
            valid: None,
            blocks: Vec::new(),
        }
    }

    /// Adds a block, if there is room: the second may be asked of others.
    pub(crate) fn add_block(&mut self, encoded: &Bytes) {
        let used: usize = self.blocks.iter().map(Bytes::len).sum();
        if used.saturating_add(encoded.len()) <= BLOCK_BYTES_MAX {
            self.blocks.push(encoded.clone());
        }
    }

    pub(crate) fn encode(&self) -> Bytes {
        // Writing plain fields to memory does not fail.
        borsh::to_vec(self).unwrap_or_default().into()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let record = Self::try_from_slice(bytes).map_err(|error| error.to_string())?;
        if record.version != VERSION {
            return Err(format!("its version is {}; this node reads {VERSION}", record.version));
        }
        Ok(record)
    }
}
