//! A checker of proofs in a library.
#![expect(unsafe_code, reason = "calls a library's functions")]

use borsh::BorshDeserialize;
use quorate::{
    ChainId, FinalityProof, Header, Height, ValidatorSet,
    application::Misbehaviour,
    consensus::{Certificate, ProofError},
};

use super::{
    call::{Answers, Fault, Unanswered, ask, single},
    object::Object,
};
use crate::{
    raw::{QuorateBytes, QuorateConsensus, QuorateSink},
    wire,
};

/// A checker of proofs.
pub(super) struct LibraryProof {
    pub(super) object: Object,
    pub(super) functions: &'static QuorateConsensus,
}

impl LibraryProof {
    /// Makes a call. A checker that failed judges nothing.
    fn ask(
        &self,
        call: &'static str,
        make: impl FnOnce(*const QuorateSink) -> Option<i32>,
    ) -> Result<Answers, ProofError> {
        if let Some(why) = self.object.poisoned() {
            return Err(ProofError::Failed(why));
        }
        let answers = ask(call, |sink| make(sink).unwrap_or(crate::raw::QUORATE_DECODE));
        answers.map_err(|unanswered| match unanswered {
            Unanswered::Error(bytes) => match wire::decode::<ProofError>("ProofError", &bytes) {
                Ok(error) => error,
                Err(error) => self.failed(Fault::wire(call, &error)),
            },
            Unanswered::Fault(fault) => self.failed(fault),
        })
    }

    fn failed(&self, fault: Fault) -> ProofError {
        let why = self.object.sentence(&fault);
        self.object.poison(fault);
        ProofError::Failed(why)
    }

    fn value<T: BorshDeserialize>(
        &self,
        call: &'static str,
        what: &'static str,
        answers: Answers,
    ) -> Result<T, ProofError> {
        let value = single(call, answers)
            .and_then(|(head, _)| wire::decode(what, &head).map_err(|error| Fault::wire(call, &error)));
        value.map_err(|fault| self.failed(fault))
    }
}

impl FinalityProof for LibraryProof {
    fn verify(
        &self,
        chain_id: &ChainId,
        header: &Header,
        proof: &[u8],
        validators: &ValidatorSet,
    ) -> Result<(), ProofError> {
        let (header, validators) = (header.encode(), wire::encode(validators));
        let (header, validators) = (QuorateBytes::of(&header), QuorateBytes::of(&validators));
        let (checker, chain_id) = (self.object.pointer(), chain_id.as_bytes().as_ptr());
        let proof = QuorateBytes::of(proof);
        self.ask("proof_verify", |sink| {
            // SAFETY: the library's own function and object, and arguments which live during the call.
            self.functions.proof_verify.map(|call| unsafe { call(checker, chain_id, header, proof, validators, sink) })
        })
        .map(drop)
    }

    fn certificate(&self, proof: &[u8]) -> Result<Certificate, ProofError> {
        let (checker, proof) = (self.object.pointer(), QuorateBytes::of(proof));
        let answers = self.ask("proof_certificate", |sink| {
            // SAFETY: the library's own function and object, and arguments which live during the call.
            self.functions.proof_certificate.map(|call| unsafe { call(checker, proof, sink) })
        })?;
        self.value("proof_certificate", "Certificate", answers)
    }

    fn evidence_height(&self, evidence: &[u8]) -> Result<Height, ProofError> {
        let (checker, evidence) = (self.object.pointer(), QuorateBytes::of(evidence));
        let answers = self.ask("proof_evidence_height", |sink| {
            // SAFETY: the library's own function and object, and arguments which live during the call.
            self.functions.proof_evidence_height.map(|call| unsafe { call(checker, evidence, sink) })
        })?;
        self.value("proof_evidence_height", "Height", answers)
    }

    fn evidence(
        &self,
        chain_id: &ChainId,
        evidence: &[u8],
        validators: &ValidatorSet,
    ) -> Result<Misbehaviour, ProofError> {
        let validators = wire::encode(validators);
        let (evidence, validators) = (QuorateBytes::of(evidence), QuorateBytes::of(&validators));
        let (checker, chain_id) = (self.object.pointer(), chain_id.as_bytes().as_ptr());
        let answers = self.ask("proof_evidence", |sink| {
            // SAFETY: the library's own function and object, and arguments which live during the call.
            self.functions.proof_evidence.map(|call| unsafe { call(checker, chain_id, evidence, validators, sink) })
        })?;
        self.value("proof_evidence", "Misbehaviour", answers)
    }
}
