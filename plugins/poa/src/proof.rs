//! Checks of finality and evidence, without an engine.

use quorate::{
    ChainId, FinalityProof, Header, Height, ValidatorSet,
    application::Misbehaviour,
    consensus::{Certificate, ProofError},
};

use crate::{
    certificate::{COMMIT, Qc},
    evidence::Evidence,
    settings::Parameters,
};

pub(crate) struct Proofs(pub(crate) Parameters);

fn read(proof: &[u8]) -> Result<Qc, ProofError> {
    borsh::from_slice(proof).map_err(|error| ProofError::Malformed(error.to_string()))
}

fn read_evidence(bytes: &[u8]) -> Result<Evidence, ProofError> {
    borsh::from_slice(bytes).map_err(|error| ProofError::Malformed(error.to_string()))
}

impl FinalityProof for Proofs {
    fn verify(&self, chain_id: &ChainId, header: &Header, proof: &[u8], set: &ValidatorSet) -> Result<(), ProofError> {
        let qc = read(proof)?;
        if qc.kind != COMMIT || qc.height != header.height || qc.hash != header.hash() {
            return Err(ProofError::Mismatch {
                found: format!("kind {} height {} block {}", qc.kind, qc.height, qc.hash),
                expected: format!("kind {COMMIT} height {} block {}", header.height, header.hash()),
            });
        }
        if header.validators_hash != set.hash() {
            return Err(ProofError::Mismatch { found: "other validators".into(), expected: "the header's".into() });
        }
        qc.verify(chain_id, set, self.0.quorum(set.len()))
    }

    fn certificate(&self, proof: &[u8]) -> Result<Certificate, ProofError> {
        let qc = read(proof)?;
        Ok(Certificate { round: qc.round, signatures: qc.signatures })
    }

    fn evidence_height(&self, evidence: &[u8]) -> Result<Height, ProofError> {
        read_evidence(evidence).map(|evidence| evidence.height())
    }

    fn evidence(&self, chain_id: &ChainId, evidence: &[u8], set: &ValidatorSet) -> Result<Misbehaviour, ProofError> {
        read_evidence(evidence)?.verify(chain_id, set)
    }
}
