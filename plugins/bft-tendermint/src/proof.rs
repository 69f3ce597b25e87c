//! The proof of finality: 2f+1 precommits, checked by anybody who knows the validators.

use borsh::BorshDeserialize;
use quorate::{
    ChainId, FinalityProof, Hash, Header, Height, ValidatorSet,
    application::Misbehaviour,
    consensus::{Certificate, PROOF_BYTES_MAX, ProofError},
    engine::Verified,
    validators::VALIDATORS_MAX,
};

use crate::{
    certificate::{Judge, QuorumCertificate},
    evidence::Evidence,
    signing::VoteKind,
};

// Kind, height, round, hash and count, then an index and a signature each.
const _: () = assert!(1 + 8 + 4 + 32 + 4 + VALIDATORS_MAX * (2 + 64) <= PROOF_BYTES_MAX);

/// Checks certificates of precommits; the bytes are the borsh encoding of a [`QuorumCertificate`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct CommitProof;

fn decode(proof: &[u8]) -> Result<QuorumCertificate, ProofError> {
    if proof.len() > PROOF_BYTES_MAX {
        return Err(ProofError::Malformed(format!("{} bytes; the limit is {PROOF_BYTES_MAX}", proof.len())));
    }
    QuorumCertificate::try_from_slice(proof).map_err(|error| ProofError::Malformed(error.to_string()))
}

fn subject(kind: VoteKind, height: Height, hash: &Hash) -> String {
    format!("{} of block {height} {hash}", kind.name())
}

impl FinalityProof for CommitProof {
    fn verify(
        &self,
        chain_id: &ChainId,
        header: &Header,
        proof: &[u8],
        validators: &ValidatorSet,
    ) -> Result<(), ProofError> {
        let qc = decode(proof)?;
        let found = subject(qc.kind, qc.height, &qc.block_hash);
        let expected = subject(VoteKind::Precommit, header.height, &header.hash());
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
        Judge { chain_id, validators, verified: &mut Verified::default() }.certificate(&qc)
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
