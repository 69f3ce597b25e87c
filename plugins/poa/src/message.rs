//! Messages between validators.

use borsh::{BorshDeserialize, BorshSerialize};
use quorate::{Bytes, Hash, Height, Round, Signature, ValidatorIndex, transport::MESSAGE_BYTES_MAX};

use crate::certificate::{Qc, Tc, TimeoutEntry};

/// A proposed block.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Proposal {
    pub(crate) height: Height,
    pub(crate) round: Round,
    pub(crate) block: Bytes,
    /// Why this block: its Prepare certificate, if it was prepared before.
    pub(crate) justify: Option<Qc>,
    /// Why this round; none in round 0.
    pub(crate) tc: Option<Tc>,
    pub(crate) signature: Signature,
}

/// A Prepare or Commit.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Vote {
    pub(crate) kind: u8,
    pub(crate) height: Height,
    pub(crate) round: Round,
    pub(crate) hash: Hash,
    pub(crate) validator: ValidatorIndex,
    pub(crate) signature: Signature,
}

/// A statement that a round took too long.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Timeout {
    pub(crate) height: Height,
    pub(crate) round: Round,
    pub(crate) entry: TimeoutEntry,
    pub(crate) high_qc: Option<Qc>,
}

#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum Message {
    Proposal(Proposal),
    Vote(Vote),
    Timeout(Timeout),
    /// Why the sender is in its round, and its highest certificate.
    NewRound {
        height: Height,
        tc: Option<Tc>,
        high_qc: Option<Qc>,
    },
    /// A Prepare certificate, passed on.
    Cert(Qc),
    /// A Commit certificate.
    Decided(Qc),
    /// The height that the sender decides.
    Hello {
        height: Height,
    },
    /// Asks for a block.
    Fetch {
        height: Height,
        hash: Hash,
    },
    /// A block that was asked for.
    Body {
        block: Bytes,
    },
}

impl Message {
    pub(crate) fn encode(&self) -> Bytes {
        // Writing to memory does not fail.
        borsh::to_vec(self).unwrap_or_default().into()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return None;
        }
        borsh::from_slice(bytes).ok()
    }

    /// The height it is about.
    pub(crate) fn height(&self) -> Option<Height> {
        match self {
            Self::Proposal(proposal) => Some(proposal.height),
            Self::Vote(vote) => Some(vote.height),
            Self::Timeout(timeout) => Some(timeout.height),
            Self::NewRound { height, .. } | Self::Hello { height } | Self::Fetch { height, .. } => Some(*height),
            Self::Cert(qc) | Self::Decided(qc) => Some(qc.height),
            Self::Body { .. } => None,
        }
    }
}
