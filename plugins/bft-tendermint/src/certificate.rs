//! Certificates: what 2f+1 votes for one block in one round prove.

use borsh::{BorshDeserialize, BorshSerialize};
use quorate::{
    ChainId, Hash, Height, Round, Signature, ValidatorIndex, ValidatorSet,
    consensus::ProofError,
    engine::{Claim, Verified},
};

use crate::{
    settings::quorum,
    signing::{VoteKind, vote_request},
};

/// 2f+1 votes for one block: a *polka* of prevotes, or the precommits that make it final.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct QuorumCertificate {
    /// What was voted.
    pub kind: VoteKind,
    /// The block's height.
    pub height: Height,
    /// The round of the votes.
    pub round: Round,
    /// The block.
    pub block_hash: Hash,
    /// Who signed, ascending.
    pub signatures: Vec<(ValidatorIndex, Signature)>,
}

/// What signatures are checked against.
pub(crate) struct Judge<'a> {
    pub(crate) chain_id: &'a ChainId,
    pub(crate) validators: &'a ValidatorSet,
    pub(crate) verified: &'a mut Verified,
}

impl Judge<'_> {
    /// Checks signatures over messages, all of them in one batch.
    pub(crate) fn signatures(&mut self, signed: Vec<(ValidatorIndex, Vec<u8>, Signature)>) -> Result<(), ProofError> {
        let indexes: Vec<ValidatorIndex> = signed.iter().map(|(validator, ..)| *validator).collect();
        let mut claims = Vec::with_capacity(signed.len());
        for (validator, message, signature) in signed {
            let key = self.validators.get(validator).ok_or(ProofError::BadSignature(validator))?.public_key;
            claims.push(Claim { key, message, signature });
        }
        self.verified
            .check(&claims)
            .map_err(|at| ProofError::BadSignature(indexes.get(at).copied().unwrap_or_default()))
    }

    /// Checks one signature.
    pub(crate) fn signature(
        &mut self,
        validator: ValidatorIndex,
        message: Vec<u8>,
        signature: Signature,
    ) -> Result<(), ProofError> {
        self.signatures(vec![(validator, message, signature)])
    }

    /// Checks a certificate: enough signers, each once, all signatures good.
    pub(crate) fn certificate(&mut self, qc: &QuorumCertificate) -> Result<(), ProofError> {
        if !qc.signatures.is_sorted_by(|(a, _), (b, _)| a < b) {
            return Err(ProofError::Malformed("signers must ascend, each once".into()));
        }
        let needed = quorum(self.validators.len());
        if qc.signatures.len() < needed {
            return Err(ProofError::NoQuorum { found: qc.signatures.len(), needed });
        }
        let message = vote_request(qc.kind, qc.height, qc.round, Some(&qc.block_hash)).sign_bytes(self.chain_id);
        let signed = qc.signatures.iter().map(|(validator, signature)| (*validator, message.clone(), *signature));
        self.signatures(signed.collect())
    }
}
