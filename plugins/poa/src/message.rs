//! What validators send each other, and how it is read from hostile bytes.
//!
//! A message is the borsh encoding of [`Message`]: one byte for the kind, then its fields. Lists are counted before they are
//! believed, so that reading takes no more memory than a small multiple of the bytes that came.

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use quorate::{Hash, Height, Round, Signature, ValidatorIndex, validators::VALIDATORS_MAX};

use crate::certificate::{QuorumCertificate, TimeoutCertificate, VoteKind};

/// Bytes of a message beside a block's at most: two quorum certificates and a timeout certificate of [`VALIDATORS_MAX`]
/// signatures fit.
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
    /// The prepare certificate for this block of an earlier round, when the block is proposed again.
    pub justify: Option<QuorumCertificate>,
    /// Why the round began; none in round 0.
    pub timeout: Option<TimeoutCertificate>,
    /// The proposer's.
    pub signature: Signature,
}

/// A vote for a block.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Vote {
    /// Which vote.
    pub kind: VoteKind,
    /// The height.
    pub height: Height,
    /// The round.
    pub round: Round,
    /// The block.
    pub block_hash: Hash,
    /// Who votes.
    pub validator: ValidatorIndex,
    /// Its signature.
    pub signature: Signature,
}

/// A round took too long.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Timeout {
    /// The height.
    pub height: Height,
    /// The round.
    pub round: Round,
    /// The highest prepare certificate that the signer knows.
    pub high_qc: Option<QuorumCertificate>,
    /// Who signs.
    pub validator: ValidatorIndex,
    /// Its signature.
    pub signature: Signature,
}

/// Where a node stands, with the proofs.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct NewRound {
    /// The height being decided.
    pub height: Height,
    /// Why its round began; none in round 0, or when `high_qc` is why.
    pub timeout: Option<TimeoutCertificate>,
    /// The highest prepare certificate that it knows.
    pub high_qc: Option<QuorumCertificate>,
}

/// Anything one validator sends another.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Message {
    /// A block is proposed.
    Proposal(Proposal),
    /// A block is voted for.
    Vote(Vote),
    /// A round is given up.
    Timeout(Timeout),
    /// Where the sender stands.
    NewRound(NewRound),
    /// A prepare certificate, relayed.
    Certificate(QuorumCertificate),
    /// A commit certificate: the block is final.
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
    /// A certificate has more signatures than a set has validators.
    #[error("certificate has {0} signatures; the limit is {VALIDATORS_MAX}")]
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
            Self::Timeout(timeout) => timeout.height,
            Self::NewRound(status) => status.height,
            Self::Certificate(qc) | Self::Decided(qc) => qc.height,
            Self::Hello { height } | Self::Fetch { height, .. } | Self::Body { height, .. } => *height,
        }
    }

    /// Signatures in its longest list.
    fn signatures_most(&self) -> usize {
        let of_qc = |qc: &Option<QuorumCertificate>| qc.as_ref().map_or(0, |qc| qc.signatures.len());
        let of_tc =
            |tc: &Option<TimeoutCertificate>| tc.as_ref().map_or(0, |tc| tc.entries.len().max(of_qc(&tc.high_qc)));
        match self {
            Self::Proposal(proposal) => of_qc(&proposal.justify).max(of_tc(&proposal.timeout)),
            Self::Timeout(timeout) => of_qc(&timeout.high_qc),
            Self::NewRound(status) => of_qc(&status.high_qc).max(of_tc(&status.timeout)),
            Self::Certificate(qc) | Self::Decided(qc) => qc.signatures.len(),
            Self::Vote(_) | Self::Hello { .. } | Self::Fetch { .. } | Self::Body { .. } => 0,
        }
    }
}
