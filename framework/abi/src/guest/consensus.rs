//! A consensus as functions.
#![expect(unsafe_code, reason = "functions which a node calls with pointers")]

use std::{ffi::c_void, marker::PhantomData, sync::Arc};

use borsh::BorshSerialize;
use quorate::{
    ChainId, Consensus, FinalityProof, Header, Instant, ValidatorSet,
    consensus::{Action, Context, ProofError},
    plugin::{ConsensusPlugin, SetupError},
};

use super::{
    Exported,
    call::{self, Refusal, end, exclusive, frame, give, shared},
    describe,
};
use crate::{
    ffi::{self, Out},
    raw::{
        QUORATE_PLUGIN_OBSERVES, QUORATE_SLOT_CONSENSUS, QuorateBytes, QuorateConsensus, QuorateDescription,
        QuoratePlugin, QuorateSink,
    },
    wire::{self, ActionHead, EventHead, PromiseAnswer, setup::SetupFailure},
};

/// Declares a consensus.
pub const fn consensus<E: Exported<dyn ConsensusPlugin>>() -> QuoratePlugin {
    QuoratePlugin {
        slot: QUORATE_SLOT_CONSENSUS,
        flags: 0,
        describe: Some(Shim::<E>::describe),
        functions: std::ptr::from_ref(Shim::<E>::FUNCTIONS).cast(),
    }
}

/// An engine with the buffers of its calls.
struct Engine {
    engine: Box<dyn Consensus>,
    actions: Vec<Action>,
    head: Vec<u8>,
}

type Checker = Arc<dyn FinalityProof>;

struct Shim<E>(PhantomData<E>);

fn refused(error: SetupError) -> Refusal {
    Refusal::error(&SetupFailure::from(error))
}

fn answer<T: BorshSerialize>(out: Out<'_>, result: Result<T, ProofError>) -> Result<(), Refusal> {
    out.put(&wire::encode(&result.map_err(|error| Refusal::error(&error))?), &[]);
    Ok(())
}

impl<E: Exported<dyn ConsensusPlugin>> Shim<E> {
    const FUNCTIONS: &'static QuorateConsensus = &QuorateConsensus {
        size: size_of::<QuorateConsensus>() as u32,
        check: Some(Self::check),
        create: Some(Self::create),
        step: Some(Self::step),
        status: Some(Self::status),
        destroy: Some(Self::destroy),
        proof_create: Some(Self::proof_create),
        proof_verify: Some(Self::proof_verify),
        proof_certificate: Some(Self::proof_certificate),
        proof_evidence_height: Some(Self::proof_evidence_height),
        proof_evidence: Some(Self::proof_evidence),
        proof_destroy: Some(Self::proof_destroy),
        promise: Some(Self::promise),
        describe_message: Some(Self::describe_message),
    };

    fn name() -> &'static str {
        E::plugin().descriptor().name
    }

    /// The context in an argument.
    ///
    /// # Safety
    ///
    /// The bytes are valid during the call.
    unsafe fn context(bytes: QuorateBytes) -> Result<Context, Refusal> {
        // SAFETY: as the caller promises.
        Ok(wire::decode("Context", unsafe { bytes.as_slice() })?)
    }

    unsafe extern "C" fn describe(to: *mut QuorateDescription, sink: *const QuorateSink) -> i32 {
        let body = |_: Out<'_>| {
            let plugin = E::plugin();
            let flags = if plugin.observes() { QUORATE_PLUGIN_OBSERVES } else { 0 };
            // SAFETY: the node promises that the description is valid.
            unsafe { describe::fill(&plugin.descriptor(), flags, to) }
        };
        // SAFETY: the node promises that the sink is valid.
        unsafe { frame(Self::name, sink, body) }
    }

    unsafe extern "C" fn check(context: QuorateBytes, sink: *const QuorateSink) -> i32 {
        let body = |out: Out<'_>| {
            // SAFETY: the node promises that the bytes are valid.
            let context = unsafe { Self::context(context) }?;
            let report = E::plugin().check(&context).map_err(refused)?;
            out.put(&wire::encode(&report), &[]);
            Ok(())
        };
        // SAFETY: the node promises that the sink is valid.
        unsafe { frame(Self::name, sink, body) }
    }

    unsafe extern "C" fn create(context: QuorateBytes, to: *mut *mut c_void, sink: *const QuorateSink) -> i32 {
        let body = |_: Out<'_>| {
            // SAFETY: the node promises that the bytes are valid.
            let context = unsafe { Self::context(context) }?;
            let engine = E::plugin().build(&context).map_err(refused)?;
            // SAFETY: the node promises that there is room for a pointer.
            unsafe { give(Engine { engine, actions: Vec::new(), head: Vec::new() }, to) }
        };
        // SAFETY: the node promises that the sink is valid.
        unsafe { frame(Self::name, sink, body) }
    }

    unsafe extern "C" fn step(
        engine: *mut c_void,
        now_us: u64,
        event: QuorateBytes,
        body: QuorateBytes,
        sink: *const QuorateSink,
    ) -> i32 {
        let body = |out: Out<'_>| {
            // SAFETY: the node promises that the bytes are valid.
            let event = unsafe { event.as_slice() };
            // SAFETY: as above.
            let body = unsafe { body.as_slice() };
            let event = wire::decode::<EventHead>("Event", event)?.join(body)?;
            // SAFETY: the node promises that the engine is live, and that one thread at a time calls it.
            let Engine { engine, actions, head } = unsafe { exclusive(engine) }?;
            engine.step(Instant(now_us), event, actions);
            for action in actions.drain(..) {
                let (action, body) = ActionHead::split(action);
                wire::encode_into(&action, head);
                out.put(head, &body);
            }
            Ok(())
        };
        // SAFETY: the node promises that the sink is valid.
        unsafe { frame(Self::name, sink, body) }
    }

    unsafe extern "C" fn status(engine: *mut c_void, now_us: u64, sink: *const QuorateSink) -> i32 {
        let body = |out: Out<'_>| {
            // SAFETY: the node promises that the engine is live, and that one thread at a time calls it.
            let engine: &Engine = unsafe { shared(engine) }?;
            out.put(&wire::encode(&engine.engine.status(Instant(now_us))), &[]);
            Ok(())
        };
        // SAFETY: the node promises that the sink is valid.
        unsafe { frame(Self::name, sink, body) }
    }

    unsafe extern "C" fn destroy(engine: *mut c_void) {
        // SAFETY: the node promises that it came from `create` and is not used again.
        unsafe { end::<Engine>(Self::name, engine) }
    }

    unsafe extern "C" fn proof_create(context: QuorateBytes, to: *mut *mut c_void, sink: *const QuorateSink) -> i32 {
        let body = |_: Out<'_>| {
            // SAFETY: the node promises that the bytes are valid.
            let context = unsafe { Self::context(context) }?;
            let checker: Checker = E::plugin().proof(&context).map_err(refused)?;
            // SAFETY: the node promises that there is room for a pointer.
            unsafe { give(checker, to) }
        };
        // SAFETY: the node promises that the sink is valid.
        unsafe { frame(Self::name, sink, body) }
    }

    unsafe extern "C" fn proof_verify(
        checker: *mut c_void,
        chain_id: *const u8,
        header: QuorateBytes,
        proof: QuorateBytes,
        validators: QuorateBytes,
        sink: *const QuorateSink,
    ) -> i32 {
        let body = |_: Out<'_>| {
            // SAFETY: the node promises that the checker is live.
            let checker: &Checker = unsafe { shared(checker) }?;
            // SAFETY: the node promises that there are 32 bytes.
            let chain_id = ChainId::new(unsafe { ffi::digest(chain_id) });
            // SAFETY: the node promises that the bytes are valid.
            let header: Header = wire::decode("Header", unsafe { header.as_slice() })?;
            // SAFETY: as above.
            let proof = unsafe { proof.as_slice() };
            // SAFETY: as above.
            let validators: ValidatorSet = wire::decode("ValidatorSet", unsafe { validators.as_slice() })?;
            checker.verify(&chain_id, &header, proof, &validators).map_err(|error| Refusal::error(&error))
        };
        // SAFETY: the node promises that the sink is valid.
        unsafe { frame(Self::name, sink, body) }
    }

    unsafe extern "C" fn proof_certificate(checker: *mut c_void, proof: QuorateBytes, sink: *const QuorateSink) -> i32 {
        let body = |out: Out<'_>| {
            // SAFETY: the node promises that the checker is live.
            let checker: &Checker = unsafe { shared(checker) }?;
            // SAFETY: the node promises that the bytes are valid.
            answer(out, checker.certificate(unsafe { proof.as_slice() }))
        };
        // SAFETY: the node promises that the sink is valid.
        unsafe { frame(Self::name, sink, body) }
    }

    unsafe extern "C" fn proof_evidence_height(
        checker: *mut c_void,
        evidence: QuorateBytes,
        sink: *const QuorateSink,
    ) -> i32 {
        let body = |out: Out<'_>| {
            // SAFETY: the node promises that the checker is live.
            let checker: &Checker = unsafe { shared(checker) }?;
            // SAFETY: the node promises that the bytes are valid.
            answer(out, checker.evidence_height(unsafe { evidence.as_slice() }))
        };
        // SAFETY: the node promises that the sink is valid.
        unsafe { frame(Self::name, sink, body) }
    }

    unsafe extern "C" fn proof_evidence(
        checker: *mut c_void,
        chain_id: *const u8,
        evidence: QuorateBytes,
        validators: QuorateBytes,
        sink: *const QuorateSink,
    ) -> i32 {
        let body = |out: Out<'_>| {
            // SAFETY: the node promises that the checker is live.
            let checker: &Checker = unsafe { shared(checker) }?;
            // SAFETY: the node promises that there are 32 bytes.
            let chain_id = ChainId::new(unsafe { ffi::digest(chain_id) });
            // SAFETY: the node promises that the bytes are valid.
            let evidence = unsafe { evidence.as_slice() };
            // SAFETY: as above.
            let validators: ValidatorSet = wire::decode("ValidatorSet", unsafe { validators.as_slice() })?;
            answer(out, checker.evidence(&chain_id, evidence, &validators))
        };
        // SAFETY: the node promises that the sink is valid.
        unsafe { frame(Self::name, sink, body) }
    }

    unsafe extern "C" fn proof_destroy(checker: *mut c_void) {
        // SAFETY: the node promises that it came from `proof_create` and is not used again.
        unsafe { call::end::<Checker>(Self::name, checker) }
    }

    unsafe extern "C" fn promise(context: QuorateBytes, sink: *const QuorateSink) -> i32 {
        let body = |out: Out<'_>| {
            // SAFETY: the node promises that the bytes are valid.
            let context = unsafe { Self::context(context) }?;
            if let Some(promise) = E::plugin().promise(&context) {
                out.put(&wire::encode(&PromiseAnswer::from(promise)), &[]);
            }
            Ok(())
        };
        // SAFETY: the node promises that the sink is valid.
        unsafe { frame(Self::name, sink, body) }
    }

    unsafe extern "C" fn describe_message(message: QuorateBytes, sink: *const QuorateSink) -> i32 {
        let body = |out: Out<'_>| {
            // SAFETY: the node promises that the bytes are valid.
            let message = unsafe { message.as_slice() };
            if let Some(words) = E::plugin().describe_message(message) {
                out.put(&[], words.as_bytes());
            }
            Ok(())
        };
        // SAFETY: the node promises that the sink is valid.
        unsafe { frame(Self::name, sink, body) }
    }
}
