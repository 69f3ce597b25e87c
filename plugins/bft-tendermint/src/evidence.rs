//! Evidence: two signatures of one validator which no honest one makes both.

use borsh::{BorshDeserialize, BorshSerialize};
use quorate::{
    ChainId, Hash, Height, Round, Signature, ValidatorIndex, ValidatorSet, application::Misbehaviour,
    consensus::ProofError, engine::Verified,
};

use crate::{
    certificate::Judge,
    signing::{VoteKind, proposal_request, vote_request},
};

/// A vote's block, or none, and signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct SignedVote {
    /// The block; none for nil.
    pub block_hash: Option<Hash>,
    /// The signature.
    pub signature: Signature,
}

/// A proposal's signed parts and signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct SignedProposal {
    /// The block.
    pub block_hash: Hash,
    /// The round of the polka it rests on.
    pub polka: Option<Round>,
    /// The signature.
    pub signature: Signature,
}

/// Proof of misbehaviour (SPEC.md rules 19 and 20).
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Evidence {
    /// Two proposals in one round; whose turn it was says who.
    Proposals {
        /// The height.
        height: Height,
        /// The round.
        round: Round,
        /// The lower one: by hash, then by polka.
        first: SignedProposal,
        /// The other.
        second: SignedProposal,
    },
    /// Two votes of one kind in one round.
    Votes {
        /// The kind.
        kind: VoteKind,
        /// The height.
        height: Height,
        /// The round.
        round: Round,
        /// Who.
        offender: ValidatorIndex,
        /// The lower one: nil, or by hash.
        first: SignedVote,
        /// The other.
        second: SignedVote,
    },
}

impl Evidence {
    /// Two proposals of one round, in the one order in which they are written.
    pub fn proposals(height: Height, round: Round, one: SignedProposal, other: SignedProposal) -> Self {
        let (first, second) = if one < other { (one, other) } else { (other, one) };
        Self::Proposals { height, round, first, second }
    }

    /// Two votes of one kind and round, in the one order in which they are written.
    pub fn votes(
        kind: VoteKind,
        (height, round): (Height, Round),
        offender: ValidatorIndex,
        one: SignedVote,
        other: SignedVote,
    ) -> Self {
        let (first, second) = if one < other { (one, other) } else { (other, one) };
        Self::Votes { kind, height, round, offender, first, second }
    }

    /// Reads evidence.
    ///
    /// # Errors
    ///
    /// [`ProofError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ProofError> {
        Self::try_from_slice(bytes).map_err(|error| ProofError::Malformed(error.to_string()))
    }

    /// The height at which it happened.
    pub fn height(&self) -> Height {
        match self {
            Self::Proposals { height, .. } | Self::Votes { height, .. } => *height,
        }
    }

    /// Checks it against the validators of its height.
    ///
    /// # Errors
    ///
    /// [`ProofError`] when it proves nothing.
    pub fn verify(&self, chain_id: &ChainId, validators: &ValidatorSet) -> Result<Misbehaviour, ProofError> {
        let mut verified = Verified::default();
        let mut judge = Judge { chain_id, validators, verified: &mut verified };
        let (offender, offence) = match self {
            Self::Proposals { height, round, first, second } => {
                differ(&(first.block_hash, first.polka), &(second.block_hash, second.polka))?;
                let offender = validators.at_turn(height.0.saturating_add(u64::from(round.0)));
                for one in [first, second] {
                    let request = proposal_request(*height, *round, &one.block_hash, one.polka);
                    judge.signature(offender, request.sign_bytes(chain_id), one.signature)?;
                }
                (offender, format!("two proposals in round {round}"))
            }
            Self::Votes { kind, height, round, offender, first, second } => {
                differ(&first.block_hash, &second.block_hash)?;
                for one in [first, second] {
                    let request = vote_request(*kind, *height, *round, one.block_hash.as_ref());
                    judge.signature(*offender, request.sign_bytes(chain_id), one.signature)?;
                }
                (*offender, format!("two {}s in round {round}", kind.name()))
            }
        };
        let key = validators.get(offender).ok_or(ProofError::BadSignature(offender))?.public_key;
        Ok(Misbehaviour { height: self.height(), offender: key, offence })
    }
}

fn differ<T: Ord>(first: &T, second: &T) -> Result<(), ProofError> {
    // One order only, so that the same two signatures are always the same bytes.
    if first < second {
        Ok(())
    } else if first == second {
        Err(ProofError::NoMisbehaviour("both signatures are for the same".into()))
    } else {
        Err(ProofError::Malformed("the lower one comes first".into()))
    }
}
