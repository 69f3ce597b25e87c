//! The proof of finality: a commit certificate, checked by anybody who knows the validators.

use borsh::BorshDeserialize;
use quorate::{
    ChainId, FinalityProof, Hash, Header, Height, ValidatorSet,
    application::Misbehaviour,
    consensus::{Certificate, PROOF_BYTES_MAX, ProofError},
    engine::{Claim, Verified},
    signature::{Signed, verify_batch},
    validators::VALIDATORS_MAX,
};

use crate::{
    certificate::{Judge, QuorumCertificate, VoteKind},
    evidence::Evidence,
    model::FaultModel,
};

// Kind, height, round, hash and count, then an index and a signature each.
const _: () = assert!(1 + 8 + 4 + 32 + 4 + VALIDATORS_MAX * (2 + 64) <= PROOF_BYTES_MAX);

/// Checks commit certificates of one fault model; the bytes are the borsh encoding of a [`QuorumCertificate`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct CommitProof {
    pub(crate) model: FaultModel,
}

fn decode(proof: &[u8]) -> Result<QuorumCertificate, ProofError> {
    if proof.len() > PROOF_BYTES_MAX {
        return Err(ProofError::Malformed(format!("{} bytes; the limit is {PROOF_BYTES_MAX}", proof.len())));
    }
    QuorumCertificate::try_from_slice(proof).map_err(|error| ProofError::Malformed(error.to_string()))
}

fn subject(kind: VoteKind, height: Height, hash: &Hash) -> String {
    let kind = if kind == VoteKind::Commit { "commit" } else { "prepare" };
    format!("{kind} of block {height} {hash}")
}

/// Reads a commit certificate which is about the block with this header.
fn certificate_of(header: &Header, proof: &[u8]) -> Result<QuorumCertificate, ProofError> {
    let qc = decode(proof)?;
    let found = subject(qc.kind, qc.height, &qc.block_hash);
    let expected = subject(VoteKind::Commit, header.height, &header.hash());
    if found != expected {
        return Err(ProofError::Mismatch { found, expected });
    }
    if header.created_round > qc.round {
        let (created, decided) = (header.created_round, qc.round);
        return Err(ProofError::Mismatch {
            found: format!("round {decided}"),
            expected: format!("round {created}, in which the block was created, or a later one"),
        });
    }
    Ok(qc)
}

impl FinalityProof for CommitProof {
    fn verify(
        &self,
        chain_id: &ChainId,
        header: &Header,
        proof: &[u8],
        validators: &ValidatorSet,
    ) -> Result<(), ProofError> {
        let qc = certificate_of(header, proof)?;
        let quorum = self.model.quorum(validators.len());
        Judge { chain_id, validators, quorum, verified: &mut Verified::default() }.quorum_certificate(&qc)
    }

    /// The signatures of all certificates are checked in batches.
    fn verify_many(
        &self,
        chain_id: &ChainId,
        blocks: &[(&Header, &[u8])],
        validators: &ValidatorSet,
    ) -> Vec<Result<(), ProofError>> {
        let quorum = self.model.quorum(validators.len());
        let mut verified = Verified::default();
        let judge = Judge { chain_id, validators, quorum, verified: &mut verified };
        let read = |(header, proof): &(&Header, &[u8])| {
            let qc = certificate_of(header, proof)?;
            Ok((judge.claims_of(&qc)?, qc))
        };
        let read: Vec<Result<(Vec<Claim>, QuorumCertificate), ProofError>> = blocks.iter().map(read).collect();
        let claims = read.iter().flatten().flat_map(|(claims, _)| claims);
        let signed: Vec<Signed<'_>> = claims
            .map(|claim| Signed { key: claim.key, message: &claim.message, signature: claim.signature })
            .collect();
        let mut good = verify_batch(&signed).into_iter();
        let answer = |read: &Result<(Vec<Claim>, QuorumCertificate), ProofError>| {
            let (claims, qc) = read.as_ref().map_err(Clone::clone)?;
            let good: Vec<bool> = good.by_ref().take(claims.len()).collect();
            // Every signature of a certificate must be good, as when it is checked alone.
            match qc.signatures.iter().zip(good).find(|(_, good)| !good) {
                Some(((validator, _), _)) => Err(ProofError::BadSignature(*validator)),
                None => Ok(()),
            }
        };
        read.iter().map(answer).collect()
    }

    fn certificate(&self, proof: &[u8]) -> Result<Certificate, ProofError> {
        let qc = decode(proof)?;
        Ok(Certificate { round: qc.round, signatures: qc.signatures })
    }

    fn evidence_height(&self, evidence: &[u8]) -> Result<Height, ProofError> {
        Evidence::decode(evidence).map(|evidence| evidence.height())
    }

    fn evidence(
        &self,
        chain_id: &ChainId,
        evidence: &[u8],
        validators: &ValidatorSet,
    ) -> Result<Misbehaviour, ProofError> {
        Evidence::decode(evidence)?.verify(chain_id, validators)
    }
}
