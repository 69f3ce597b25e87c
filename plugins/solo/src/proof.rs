//! The proof of finality: the seal, one signature by the first validator of the block's height.

use borsh::{BorshDeserialize, BorshSerialize};
use quorate::{
    ChainId, FinalityProof, Hash, Header, Height, Round, Signature, ValidatorIndex, ValidatorSet,
    application::Misbehaviour,
    consensus::{Certificate, Guard, ProofError, SignRequest},
};

/// The kind of signature; the body is the block's hash.
pub const KIND_SEAL: u8 = 3;

/// Who seals.
pub(crate) const SEALER: ValidatorIndex = ValidatorIndex(0);

/// A sealed block's proof, as borsh.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Seal {
    /// The block's height.
    pub height: Height,
    /// The block's hash.
    pub block_hash: Hash,
    /// The sealer's, over [`KIND_SEAL`], height, round 0 and the hash.
    pub signature: Signature,
}

/// What the sealer signs.
pub(crate) fn seal_request(height: Height, hash: &Hash) -> SignRequest {
    let guard = Guard { height, ..Guard::default() };
    SignRequest { guard, kind: KIND_SEAL, body: hash.as_bytes().to_vec() }
}

/// Checks seals.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SealProof;

fn decode(proof: &[u8]) -> Result<Seal, ProofError> {
    Seal::try_from_slice(proof).map_err(|error| ProofError::Malformed(error.to_string()))
}

impl FinalityProof for SealProof {
    fn verify(
        &self,
        chain_id: &ChainId,
        header: &Header,
        proof: &[u8],
        validators: &ValidatorSet,
    ) -> Result<(), ProofError> {
        let seal = decode(proof)?;
        let hash = header.hash();
        if (seal.height, seal.block_hash) != (header.height, hash) {
            return Err(ProofError::Mismatch {
                found: format!("block {} {}", seal.height, seal.block_hash),
                expected: format!("block {} {hash}", header.height),
            });
        }
        if header.creator != SEALER {
            return Err(ProofError::Mismatch {
                found: format!("a block of validator {}", header.creator),
                expected: format!("a block of validator {SEALER}"),
            });
        }
        let sealer = validators.get(SEALER).ok_or(ProofError::BadSignature(SEALER))?;
        let message = seal_request(header.height, &hash).sign_bytes(chain_id);
        if sealer.public_key.verifies(&message, &seal.signature) {
            Ok(())
        } else {
            Err(ProofError::BadSignature(SEALER))
        }
    }

    fn certificate(&self, proof: &[u8]) -> Result<Certificate, ProofError> {
        Ok(Certificate { round: Round(0), signatures: vec![(SEALER, decode(proof)?.signature)] })
    }

    fn evidence_height(&self, _evidence: &[u8]) -> Result<Height, ProofError> {
        Err(ProofError::Malformed("a chain sealed by one node has no evidence".into()))
    }

    fn evidence(
        &self,
        _chain_id: &ChainId,
        _evidence: &[u8],
        _validators: &ValidatorSet,
    ) -> Result<Misbehaviour, ProofError> {
        Err(ProofError::Malformed("a chain sealed by one node has no evidence".into()))
    }
}
