//! Certificates: what a quorum of signatures over the same thing proves.

use std::{collections::BTreeSet, time::Duration};

use borsh::{BorshDeserialize, BorshSerialize};
use quorate::{
    ChainId, Hash, Height, Round, Signature, ValidatorIndex, ValidatorSet,
    consensus::ProofError,
    engine::{Claim, Verified},
};

use crate::{
    planted::{Bugs, PlantedBug},
    settings::Rules,
    signing::{timeout_request, vote_request},
};

/// The two votes for a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub enum VoteKind {
    /// The block is valid here, and this validator supports it in this round.
    Prepare,
    /// A prepare certificate for it exists.
    Commit,
}

/// A quorum's votes for one block in one round.
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

/// One validator's part in a [`TimeoutCertificate`].
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TimeoutEntry {
    /// Who signed.
    pub validator: ValidatorIndex,
    /// Round and block of the highest prepare certificate that it knew.
    pub high: Option<(Round, Hash)>,
    /// Its signature over its timeout.
    pub signature: Signature,
}

/// A quorum's timeouts of one round: the next may begin.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TimeoutCertificate {
    /// The height.
    pub height: Height,
    /// The round which is over.
    pub round: Round,
    /// Who signed, ascending.
    pub entries: Vec<TimeoutEntry>,
    /// The highest prepare certificate named by an entry.
    pub high_qc: Option<QuorumCertificate>,
}

/// What certificates are checked against.
pub(crate) struct Judge<'a> {
    pub(crate) chain_id: &'a ChainId,
    pub(crate) validators: &'a ValidatorSet,
    pub(crate) quorum: usize,
    pub(crate) verified: &'a mut Verified,
}

/// Votes which a certificate needs.
pub(crate) fn quorum(rules: &Rules, bugs: Bugs, validators: &ValidatorSet) -> usize {
    let quorum = rules.model.quorum(validators.len());
    if bugs.has(PlantedBug::SmallQuorum) { quorum.saturating_sub(1).max(1) } else { quorum }
}

impl Judge<'_> {
    /// Checks one signature.
    pub(crate) fn signature(
        &mut self,
        validator: ValidatorIndex,
        message: Vec<u8>,
        signature: Signature,
    ) -> Result<(), ProofError> {
        self.signatures(vec![(validator, message, signature)])
    }

    fn signatures(&mut self, signed: Vec<(ValidatorIndex, Vec<u8>, Signature)>) -> Result<(), ProofError> {
        let indexes: Vec<ValidatorIndex> = signed.iter().map(|(validator, ..)| *validator).collect();
        let claims = self.claims(signed)?;
        self.verified
            .check(&claims)
            .map_err(|at| ProofError::BadSignature(indexes.get(at).copied().unwrap_or_default()))
    }

    fn claims(&self, signed: Vec<(ValidatorIndex, Vec<u8>, Signature)>) -> Result<Vec<Claim>, ProofError> {
        let claim = |(validator, message, signature)| {
            let key = self.validators.get(validator).ok_or(ProofError::BadSignature(validator))?.public_key;
            Ok(Claim { key, message, signature })
        };
        signed.into_iter().map(claim).collect()
    }

    /// Checks that the signers ascend, so that none counts twice, and are enough.
    fn count(&self, signers: impl Iterator<Item = ValidatorIndex>) -> Result<(), ProofError> {
        let signers: Vec<ValidatorIndex> = signers.collect();
        if !signers.is_sorted_by(|a, b| a < b) {
            return Err(ProofError::Malformed("signers must ascend, each once".into()));
        }
        if signers.len() < self.quorum {
            return Err(ProofError::NoQuorum { found: signers.len(), needed: self.quorum });
        }
        Ok(())
    }

    /// Checks a quorum certificate.
    pub(crate) fn quorum_certificate(&mut self, qc: &QuorumCertificate) -> Result<(), ProofError> {
        let signed = self.signed(qc)?;
        self.signatures(signed)
    }

    /// What must be true for a quorum certificate to convince, each with its signer at the same place.
    pub(crate) fn claims_of(&self, qc: &QuorumCertificate) -> Result<Vec<Claim>, ProofError> {
        self.claims(self.signed(qc)?)
    }

    fn signed(&self, qc: &QuorumCertificate) -> Result<Vec<(ValidatorIndex, Vec<u8>, Signature)>, ProofError> {
        self.count(qc.signatures.iter().map(|(validator, _)| *validator))?;
        let message = vote_request(qc.kind, qc.height, qc.round, &qc.block_hash).sign_bytes(self.chain_id);
        let signed = qc.signatures.iter().map(|(validator, signature)| (*validator, message.clone(), *signature));
        Ok(signed.collect())
    }

    /// Checks a timeout certificate (SPEC.md rule 9).
    pub(crate) fn timeout_certificate(&mut self, tc: &TimeoutCertificate) -> Result<(), ProofError> {
        self.count(tc.entries.iter().map(|entry| entry.validator))?;
        let highest = tc.entries.iter().filter_map(|entry| entry.high).max();
        let carried = tc.high_qc.as_ref().map(|qc| (qc.round, qc.block_hash));
        if highest != carried {
            return Err(ProofError::Malformed("timeout certificate does not carry the highest certificate".into()));
        }
        if highest.is_some_and(|(round, _)| round > tc.round) {
            return Err(ProofError::Malformed("timeout certificate names a certificate of a later round".into()));
        }
        let sign_bytes =
            |entry: &TimeoutEntry| timeout_request(tc.height, tc.round, entry.high).sign_bytes(self.chain_id);
        let signed = tc.entries.iter().map(|entry| (entry.validator, sign_bytes(entry), entry.signature)).collect();
        self.signatures(signed)?;
        match &tc.high_qc {
            Some(qc) if qc.height != tc.height || qc.kind != VoteKind::Prepare => {
                Err(ProofError::Malformed("timeout certificate carries a certificate of another kind or height".into()))
            }
            Some(qc) => self.quorum_certificate(qc),
            None => Ok(()),
        }
    }
}

impl TimeoutCertificate {
    /// The round of the highest certificate named.
    pub(crate) fn high_round(&self) -> Option<Round> {
        self.high_qc.as_ref().map(|qc| qc.round)
    }
}

/// Shows validators by name: `validator-2, validator-3`.
pub(crate) fn names(validators: &ValidatorSet, indexes: &BTreeSet<ValidatorIndex>) -> String {
    let names: Vec<&str> =
        indexes.iter().filter_map(|index| validators.get(*index)).map(|one| one.name.as_str()).collect();
    names.join(", ")
}

/// A wait for people: `1.5 s`.
pub(crate) fn seconds(wait: Duration) -> String {
    format!("{}.{} s", wait.as_secs(), wait.subsec_millis() / 100)
}
