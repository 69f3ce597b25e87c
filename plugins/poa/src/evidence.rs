//! Proof that a validator misbehaved: two signed messages which an honest one never signs both (`SPEC.md`, E1 to E3).

use borsh::{BorshDeserialize, BorshSerialize};
use quorate::{
    ChainId, Hash, Height, Round, Signature, ValidatorIndex, ValidatorSet,
    application::Misbehaviour,
    consensus::{ProofError, sign_bytes},
};

use crate::certificate::{COMMIT, PREPARE, PROPOSAL, TIMEOUT, TimeoutEntry, proposal_body, timeout_body};

/// A signed block: its hash, the justify round of a proposal (unused for votes), the signature.
pub(crate) type SignedHash = (Hash, i64, Signature);

#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum Evidence {
    /// E1, E2: two proposals, Prepares or Commits of one round for different blocks.
    Double { kind: u8, height: Height, round: Round, validator: ValidatorIndex, first: SignedHash, second: SignedHash },
    /// E3: a Commit in a round, and a Timeout of that or a later round which hides its certificate.
    LockHiding {
        height: Height,
        commit_round: Round,
        commit: (Hash, Signature),
        timeout_round: Round,
        timeout: TimeoutEntry,
    },
}

impl Evidence {
    pub(crate) fn height(&self) -> Height {
        match self {
            Self::Double { height, .. } | Self::LockHiding { height, .. } => *height,
        }
    }

    pub(crate) fn verify(&self, chain_id: &ChainId, set: &ValidatorSet) -> Result<Misbehaviour, ProofError> {
        let nothing = |why: &str| Err(ProofError::NoMisbehaviour(why.into()));
        let offender =
            |index: ValidatorIndex| set.get(index).map(|one| one.public_key).ok_or(ProofError::BadSignature(index));
        match self {
            Self::Double { kind, height, round, validator, first, second } => {
                let what = match *kind {
                    PROPOSAL => "proposals",
                    PREPARE => "prepares",
                    COMMIT => "commits",
                    _ => return nothing("unknown kind of message"),
                };
                if first.0 == second.0 {
                    return nothing("both are for one block");
                }
                let key = offender(*validator)?;
                for (hash, justify, signature) in [first, second] {
                    let body = if *kind == PROPOSAL { proposal_body(hash, *justify) } else { hash.as_bytes().to_vec() };
                    if !key.verifies(&sign_bytes(chain_id, *kind, *height, *round, &body), signature) {
                        return Err(ProofError::BadSignature(*validator));
                    }
                }
                let offence = format!("two {what} in round {round}");
                Ok(Misbehaviour { height: *height, offender: key, offence })
            }
            Self::LockHiding { height, commit_round, commit, timeout_round, timeout } => {
                if timeout_round < commit_round || timeout.hqc_round >= i64::from(commit_round.0) {
                    return nothing("the timeout hides nothing");
                }
                let key = offender(timeout.validator)?;
                let committed = sign_bytes(chain_id, COMMIT, *height, *commit_round, commit.0.as_bytes());
                let body = timeout_body(timeout.hqc_round, &timeout.hqc_hash);
                let timed_out = sign_bytes(chain_id, TIMEOUT, *height, *timeout_round, &body);
                if !key.verifies(&committed, &commit.1) || !key.verifies(&timed_out, &timeout.signature) {
                    return Err(ProofError::BadSignature(timeout.validator));
                }
                let offence = format!("a timeout in round {timeout_round} hides the commit of round {commit_round}");
                Ok(Misbehaviour { height: *height, offender: key, offence })
            }
        }
    }
}
