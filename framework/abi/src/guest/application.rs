//! An application as functions.
#![expect(unsafe_code, reason = "functions which a node calls with pointers")]

use std::{ffi::c_void, marker::PhantomData, sync::Arc};

use bytes::Bytes;
use quorate::{
    Application, ChainId, Settings, Timestamp,
    plugin::{ApplicationPlugin, SetupError},
    storage::StorageError,
};

use super::{
    Exported,
    call::{Refusal, end, frame, give, shared},
    describe,
    state::State,
};
use crate::{
    ffi::{self, Out},
    raw::{
        QUORATE_SLOT_APPLICATION, QuorateApplication, QuorateBytes, QuorateDescription, QuoratePlugin, QuorateSink,
        QuorateState,
    },
    wire::{
        self,
        application::{BlockHead, ExecuteFailure},
        setup::SetupFailure,
        storage::StorageFailure,
    },
};

/// Declares an application.
pub const fn application<E: Exported<dyn ApplicationPlugin>>() -> QuoratePlugin {
    QuoratePlugin {
        slot: QUORATE_SLOT_APPLICATION,
        flags: 0,
        describe: Some(Shim::<E>::describe),
        functions: std::ptr::from_ref(Shim::<E>::FUNCTIONS).cast(),
    }
}

type Machine = Arc<dyn Application>;

struct Shim<E>(PhantomData<E>);

fn unmade(error: SetupError) -> Refusal {
    Refusal::error(&SetupFailure::from(error))
}

fn failed(error: &StorageError) -> Refusal {
    Refusal::error(&StorageFailure::from(error))
}

/// Copies the node's transactions.
///
/// # Safety
///
/// The list and its bytes are valid during the call.
unsafe fn copied(transactions: *const QuorateBytes, len: usize) -> Vec<Bytes> {
    // SAFETY: as the caller promises.
    let transactions = unsafe { ffi::list(transactions, len) };
    // SAFETY: as the caller promises.
    transactions.iter().map(|one| Bytes::copy_from_slice(unsafe { one.as_slice() })).collect()
}

impl<E: Exported<dyn ApplicationPlugin>> Shim<E> {
    const FUNCTIONS: &'static QuorateApplication = &QuorateApplication {
        size: size_of::<QuorateApplication>() as u32,
        check: Some(Self::check),
        create: Some(Self::create),
        genesis: Some(Self::genesis),
        transaction_id: Some(Self::transaction_id),
        verify: Some(Self::verify),
        admit: Some(Self::admit),
        execute: Some(Self::execute),
        query: Some(Self::query),
        destroy: Some(Self::destroy),
    };

    fn name() -> &'static str {
        E::plugin().descriptor().name
    }

    unsafe extern "C" fn describe(to: *mut QuorateDescription, sink: *const QuorateSink) -> i32 {
        // SAFETY: the node promises that the description is valid.
        let body = |_: Out<'_>| unsafe { describe::fill(&E::plugin().descriptor(), 0, to) };
        // SAFETY: the node promises that the sink is valid.
        unsafe { frame(Self::name, sink, body) }
    }

    unsafe extern "C" fn check(shared: QuorateBytes, settings: QuorateBytes, sink: *const QuorateSink) -> i32 {
        let body = |_: Out<'_>| {
            // SAFETY: the node promises that the bytes are valid.
            let shared: Settings = wire::decode("Settings", unsafe { shared.as_slice() })?;
            // SAFETY: as above.
            let settings: Settings = wire::decode("Settings", unsafe { settings.as_slice() })?;
            E::plugin().check(&shared, &settings).map_err(unmade)
        };
        // SAFETY: the node promises that the sink is valid.
        unsafe { frame(Self::name, sink, body) }
    }

    unsafe extern "C" fn create(
        chain_id: *const u8,
        shared: QuorateBytes,
        settings: QuorateBytes,
        to: *mut *mut c_void,
        sink: *const QuorateSink,
    ) -> i32 {
        let body = |_: Out<'_>| {
            // SAFETY: the node promises that there are 32 bytes.
            let chain_id = ChainId::new(unsafe { ffi::digest(chain_id) });
            // SAFETY: the node promises that the bytes are valid.
            let shared: Settings = wire::decode("Settings", unsafe { shared.as_slice() })?;
            // SAFETY: as above.
            let settings: Settings = wire::decode("Settings", unsafe { settings.as_slice() })?;
            let machine: Machine = E::plugin().build(chain_id, &shared, &settings).map_err(unmade)?;
            // SAFETY: the node promises that there is room for a pointer.
            unsafe { give(machine, to) }
        };
        // SAFETY: the node promises that the sink is valid.
        unsafe { frame(Self::name, sink, body) }
    }

    unsafe extern "C" fn genesis(machine: *mut c_void, state: *const QuorateState, sink: *const QuorateSink) -> i32 {
        let body = |out: Out<'_>| {
            // SAFETY: the node promises that the application is live.
            let machine: &Machine = unsafe { shared(machine) }?;
            // SAFETY: the node promises that the state is valid.
            let mut state = unsafe { State::new(state) }?;
            let hash = machine.genesis(&mut state).map_err(|error| failed(&error))?;
            out.put(&wire::encode(&hash), &[]);
            Ok(())
        };
        // SAFETY: the node promises that the sink is valid.
        unsafe { frame(Self::name, sink, body) }
    }

    unsafe extern "C" fn transaction_id(
        machine: *mut c_void,
        transaction: QuorateBytes,
        id: *mut u8,
        sink: *const QuorateSink,
    ) -> i32 {
        let body = |_: Out<'_>| {
            // SAFETY: the node promises that the application is live.
            let machine: &Machine = unsafe { shared(machine) }?;
            // SAFETY: the node promises that the bytes are valid.
            let found = machine.transaction_id(unsafe { transaction.as_slice() });
            // SAFETY: the node promises that there is room for 32 bytes.
            unsafe { id.cast::<[u8; 32]>().write_unaligned(*found.as_bytes()) };
            Ok(())
        };
        // SAFETY: the node promises that the sink is valid.
        unsafe { frame(Self::name, sink, body) }
    }

    unsafe extern "C" fn verify(
        machine: *mut c_void,
        state: *const QuorateState,
        transactions: *const QuorateBytes,
        transactions_len: usize,
        sink: *const QuorateSink,
    ) -> i32 {
        let body = |out: Out<'_>| {
            // SAFETY: the node promises that the application is live.
            let machine: &Machine = unsafe { shared(machine) }?;
            // SAFETY: the node promises that the state is valid.
            let state = unsafe { State::new(state) }?;
            // SAFETY: the node promises that the list and its bytes are valid.
            let transactions = unsafe { copied(transactions, transactions_len) };
            for verdict in machine.verify(&state, &transactions) {
                out.put(&wire::encode(&verdict), &[]);
            }
            Ok(())
        };
        // SAFETY: the node promises that the sink is valid.
        unsafe { frame(Self::name, sink, body) }
    }

    unsafe extern "C" fn admit(
        machine: *mut c_void,
        state: *const QuorateState,
        now: u64,
        transaction: QuorateBytes,
        sink: *const QuorateSink,
    ) -> i32 {
        let body = |out: Out<'_>| {
            // SAFETY: the node promises that the application is live.
            let machine: &Machine = unsafe { shared(machine) }?;
            // SAFETY: the node promises that the state is valid.
            let state = unsafe { State::new(state) }?;
            // SAFETY: the node promises that the bytes are valid.
            let transaction = unsafe { transaction.as_slice() };
            let admission =
                machine.check(&state, Timestamp(now), transaction).map_err(|error| Refusal::error(&error))?;
            out.put(&wire::encode(&admission), &[]);
            Ok(())
        };
        // SAFETY: the node promises that the sink is valid.
        unsafe { frame(Self::name, sink, body) }
    }

    unsafe extern "C" fn execute(
        machine: *mut c_void,
        state: *const QuorateState,
        block: QuorateBytes,
        transactions: *const QuorateBytes,
        transactions_len: usize,
        sink: *const QuorateSink,
    ) -> i32 {
        let body = |out: Out<'_>| {
            // SAFETY: the node promises that the application is live.
            let machine: &Machine = unsafe { shared(machine) }?;
            // SAFETY: the node promises that the state is valid.
            let mut state = unsafe { State::new(state) }?;
            // SAFETY: the node promises that the bytes are valid.
            let block: BlockHead = wire::decode("BlockContext", unsafe { block.as_slice() })?;
            // SAFETY: the node promises that the list and its bytes are valid.
            let transactions = unsafe { copied(transactions, transactions_len) };
            let outcome = machine.execute(&mut state, &block.context(&transactions));
            let mut outcome = outcome.map_err(|error| Refusal::error(&ExecuteFailure::from(error)))?;
            for receipt in std::mem::take(&mut outcome.receipts) {
                out.put(&[], &receipt);
            }
            out.put(&wire::encode(&outcome), &[]);
            Ok(())
        };
        // SAFETY: the node promises that the sink is valid.
        unsafe { frame(Self::name, sink, body) }
    }

    unsafe extern "C" fn query(
        machine: *mut c_void,
        state: *const QuorateState,
        path: QuorateBytes,
        params: QuorateBytes,
        sink: *const QuorateSink,
    ) -> i32 {
        let body = |out: Out<'_>| {
            // SAFETY: the node promises that the application is live.
            let machine: &Machine = unsafe { shared(machine) }?;
            // SAFETY: the node promises that the state is valid.
            let state = unsafe { State::new(state) }?;
            // SAFETY: the node promises that the bytes are valid.
            let path = std::str::from_utf8(unsafe { path.as_slice() })
                .map_err(|error| Refusal::Arguments(format!("the path: {error}")))?;
            // SAFETY: as above.
            let params = unsafe { params.as_slice() };
            let answer = machine.query(&state, path, params).map_err(|error| Refusal::error(&error))?;
            out.put(&[], &answer);
            Ok(())
        };
        // SAFETY: the node promises that the sink is valid.
        unsafe { frame(Self::name, sink, body) }
    }

    unsafe extern "C" fn destroy(machine: *mut c_void) {
        // SAFETY: the node promises that it came from `create` and is not used again.
        unsafe { end::<Machine>(Self::name, machine) }
    }
}
