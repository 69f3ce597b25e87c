//! What validators send each other, and how it is read from hostile bytes.
//!
//! A message is the borsh encoding of [`Message`]: one byte for the kind, then its fields. Lists are counted before they are
//! believed, so that reading takes no more memory than a small multiple of the bytes that came.

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use quorate::{ChainId, Hash, Height, Round, Signature, ValidatorIndex, validators::VALIDATORS_MAX};

use crate::{
    certificate::QuorumCertificate,
    signing::{VoteKind, vote_request},
};

/// Bytes of a message beside a block's at most: a certificate and an entry of [`VALIDATORS_MAX`] signatures fit.
pub(crate) const OVERHEAD_BYTES_MAX: usize = 128 << 10;

/// A block whose turn has come.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Proposal {
    /// The height.
    pub height: Height,
    /// The round whose proposer signs.
    pub round: Round,
    /// The encoded block.
    pub block: Bytes,
    /// The polka for this block in an earlier round, when the block is proposed again.
    pub polka: Option<QuorumCertificate>,
    /// The proposer's.
    pub signature: Signature,
}

/// A vote for a block, or for none.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Vote {
    /// Which vote.
    pub kind: VoteKind,
    /// The height.
    pub height: Height,
    /// The round.
    pub round: Round,
    /// The block; none for nil.
    pub block_hash: Option<Hash>,
    /// Who votes.
    pub validator: ValidatorIndex,
    /// Its signature.
    pub signature: Signature,
}

impl Vote {
    /// The bytes under its signature.
    pub(crate) fn sign_bytes(&self, chain_id: &ChainId) -> Vec<u8> {
        vote_request(self.kind, self.height, self.round, self.block_hash.as_ref()).sign_bytes(chain_id)
    }
}

/// Where a node stands, with the proofs.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Status {
    /// The height being decided.
    pub height: Height,
    /// The round.
    pub round: Round,
    /// The votes by which it was entered: 2f+1 precommits of the round before, or f+1 votes of the round; none in round 0.
    pub entry: Vec<Vote>,
    /// The polka of the highest round that the sender knows.
    pub polka: Option<QuorumCertificate>,
}

/// Anything one validator sends another.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Message {
    /// A block is proposed.
    Proposal(Proposal),
    /// A vote.
    Vote(Vote),
    /// Where the sender stands.
    Status(Status),
    /// 2f+1 precommits: the block is final.
    Decided(QuorumCertificate),
    /// The sender begins to listen at this height; what it missed, it asks for.
    Hello {
        /// The height it is deciding.
        height: Height,
    },
    /// A block's bytes are asked for.
    Fetch {
        /// The block's height.
        height: Height,
        /// Its hash.
        hash: Hash,
    },
    /// The answer to `Fetch`.
    Body {
        /// The block's height.
        height: Height,
        /// The encoded block.
        block: Bytes,
    },
}

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// More bytes than any message of this network has.
    #[error("message has {found} bytes; the limit is {limit}")]
    TooLarge {
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Not the encoding of a message.
    #[error("message does not decode: {0}")]
    Malformed(String),
    /// A list has more signatures than a set has validators.
    #[error("message has a list of {0} signatures; the limit is {VALIDATORS_MAX}")]
    Signatures(usize),
}

impl Message {
    /// Reads a message; a block in it may have `block_bytes_max` bytes.
    ///
    /// # Errors
    ///
    /// [`MessageError`].
    pub fn decode(bytes: &[u8], block_bytes_max: usize) -> Result<Self, MessageError> {
        let limit = block_bytes_max.saturating_add(OVERHEAD_BYTES_MAX);
        if bytes.len() > limit {
            return Err(MessageError::TooLarge { found: bytes.len(), limit });
        }
        let message = Self::try_from_slice(bytes).map_err(|error| MessageError::Malformed(error.to_string()))?;
        match message.signatures_most() {
            most if most > VALIDATORS_MAX => Err(MessageError::Signatures(most)),
            _ => Ok(message),
        }
    }

    /// The bytes to send.
    pub fn encode(&self) -> Bytes {
        // Writing plain fields to memory does not fail.
        borsh::to_vec(self).unwrap_or_default().into()
    }

    /// The height it is about.
    pub fn height(&self) -> Height {
        match self {
            Self::Proposal(proposal) => proposal.height,
            Self::Vote(vote) => vote.height,
            Self::Status(status) => status.height,
            Self::Decided(qc) => qc.height,
            Self::Hello { height } | Self::Fetch { height, .. } | Self::Body { height, .. } => *height,
        }
    }

    /// Signatures in its longest list.
    fn signatures_most(&self) -> usize {
        let of = |qc: &Option<QuorumCertificate>| qc.as_ref().map_or(0, |qc| qc.signatures.len());
        match self {
            Self::Proposal(proposal) => of(&proposal.polka),
            Self::Status(status) => of(&status.polka).max(status.entry.len()),
            Self::Decided(qc) => qc.signatures.len(),
            Self::Vote(_) | Self::Hello { .. } | Self::Fetch { .. } | Self::Body { .. } => 0,
        }
    }
}
