//! Evidence: two signatures of one validator which no honest one makes both.

use borsh::{BorshDeserialize, BorshSerialize};
use quorate::{
    ChainId, Hash, Height, Round, Signature, ValidatorIndex, ValidatorSet, application::Misbehaviour,
    consensus::ProofError, engine::Verified,
};

use crate::{
    certificate::{Judge, VoteKind},
    signing::{proposal_request, timeout_request, vote_request},
};

/// A vote's block and signature.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedHash {
    /// The block.
    pub block_hash: Hash,
    /// The signature.
    pub signature: Signature,
}

/// A proposal's signed parts and signature.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedProposal {
    /// The block.
    pub block_hash: Hash,
    /// The round of the justifying certificate.
    pub justify: Option<Round>,
    /// The signature.
    pub signature: Signature,
}

/// Proof of misbehaviour (SPEC.md rules 22 to 24).
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Evidence {
    /// Two blocks proposed in one round; whose turn it was says who.
    Proposals {
        /// The height.
        height: Height,
        /// The round.
        round: Round,
        /// The one with the lower hash.
        first: SignedProposal,
        /// The other.
        second: SignedProposal,
    },
    /// Two blocks voted for in one round, with the same kind of vote.
    Votes {
        /// The kind.
        kind: VoteKind,
        /// The height.
        height: Height,
        /// The round.
        round: Round,
        /// Who.
        offender: ValidatorIndex,
        /// The one with the lower hash.
        first: SignedHash,
        /// The other.
        second: SignedHash,
    },
    /// A commit vote, and a timeout of the same round or a later one which hides the certificate that allowed the vote.
    HiddenLock {
        /// The height.
        height: Height,
        /// Who.
        offender: ValidatorIndex,
        /// The round of the commit vote.
        commit_round: Round,
        /// The commit vote.
        commit: SignedHash,
        /// The round of the timeout.
        timeout_round: Round,
        /// Round and block of the certificate which it names.
        high: Option<(Round, Hash)>,
        /// The timeout's signature.
        timeout: Signature,
    },
}

impl Evidence {
    /// Two proposals of one round, in the one order in which they are written.
    pub fn proposals(height: Height, round: Round, one: SignedProposal, other: SignedProposal) -> Self {
        let (first, second) = if one.block_hash < other.block_hash { (one, other) } else { (other, one) };
        Self::Proposals { height, round, first, second }
    }

    /// Two votes of one kind and round, in the one order in which they are written.
    pub fn votes(
        kind: VoteKind,
        (height, round): (Height, Round),
        offender: ValidatorIndex,
        one: SignedHash,
        other: SignedHash,
    ) -> Self {
        let (first, second) = if one.block_hash < other.block_hash { (one, other) } else { (other, one) };
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
            Self::Proposals { height, .. } | Self::Votes { height, .. } | Self::HiddenLock { height, .. } => *height,
        }
    }

    /// Checks it against the validators of its height.
    ///
    /// # Errors
    ///
    /// [`ProofError`] when it proves nothing.
    pub fn verify(&self, chain_id: &ChainId, validators: &ValidatorSet) -> Result<Misbehaviour, ProofError> {
        let mut verified = Verified::default();
        let mut judge = Judge { chain_id, validators, quorum: 0, verified: &mut verified };
        let (offender, offence) = match self {
            Self::Proposals { height, round, first, second } => {
                differ(&first.block_hash, &second.block_hash)?;
                let offender = validators.at_turn(height.0.saturating_add(u64::from(round.0)));
                for one in [first, second] {
                    let request = proposal_request(*height, *round, &one.block_hash, one.justify);
                    judge.signature(offender, request.sign_bytes(chain_id), one.signature)?;
                }
                (offender, format!("two proposals in round {round}"))
            }
            Self::Votes { kind, height, round, offender, first, second } => {
                differ(&first.block_hash, &second.block_hash)?;
                for one in [first, second] {
                    let request = vote_request(*kind, *height, *round, &one.block_hash);
                    judge.signature(*offender, request.sign_bytes(chain_id), one.signature)?;
                }
                let name = if *kind == VoteKind::Prepare { "prepare" } else { "commit" };
                (*offender, format!("two {name} votes in round {round}"))
            }
            Self::HiddenLock { height, offender, commit_round, commit, timeout_round, high, timeout } => {
                let hidden = timeout_round >= commit_round && high.is_none_or(|(round, _)| round < *commit_round);
                if !hidden {
                    return Err(ProofError::NoMisbehaviour("the timeout hides nothing".into()));
                }
                let request = vote_request(VoteKind::Commit, *height, *commit_round, &commit.block_hash);
                judge.signature(*offender, request.sign_bytes(chain_id), commit.signature)?;
                let request = timeout_request(*height, *timeout_round, *high);
                judge.signature(*offender, request.sign_bytes(chain_id), *timeout)?;
                (*offender, format!("hid in round {timeout_round} the lock of its commit vote in round {commit_round}"))
            }
        };
        let key = validators.get(offender).ok_or(ProofError::BadSignature(offender))?.public_key;
        Ok(Misbehaviour { height: self.height(), offender: key, offence })
    }
}

fn differ(first: &Hash, second: &Hash) -> Result<(), ProofError> {
    // One order only, so that the same two signatures are always the same bytes.
    if first < second {
        Ok(())
    } else if first == second {
        Err(ProofError::NoMisbehaviour("both signatures are for the same block".into()))
    } else {
        Err(ProofError::Malformed("the lower hash comes first".into()))
    }
}
