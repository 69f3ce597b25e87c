//! The node's state as functions which an application in a library calls.
#![expect(unsafe_code, reason = "functions which a library calls with pointers")]

use std::ffi::c_void;

use bytes::Bytes;
use quorate::{
    application::{StateRead, StateWrite},
    storage::StorageError,
};

use crate::{
    ffi::Out,
    raw::{QUORATE_DECODE, QUORATE_ERROR, QUORATE_OK, QuorateBytes, QuorateSink, QuorateState},
    wire::{self, storage::StorageFailure},
};

/// Lends a state that is only read, during `call`.
pub(super) fn lend<T>(state: &dyn StateRead, call: impl FnOnce(*const QuorateState) -> T) -> T {
    let mut context = state;
    let state = QuorateState {
        size: size_of::<QuorateState>() as u32,
        context: (&raw mut context).cast(),
        get: Some(get::<&dyn StateRead>),
        scan: Some(scan::<&dyn StateRead>),
        put: None,
        remove: None,
    };
    call(&raw const state)
}

/// Lends a state that is read and written, during `call`.
pub(super) fn lend_mut<T>(state: &mut dyn StateWrite, call: impl FnOnce(*const QuorateState) -> T) -> T {
    let mut context = state;
    let state = QuorateState {
        size: size_of::<QuorateState>() as u32,
        context: (&raw mut context).cast(),
        get: Some(get::<&mut dyn StateWrite>),
        scan: Some(scan::<&mut dyn StateWrite>),
        put: Some(put),
        remove: Some(remove),
    };
    call(&raw const state)
}

/// What a context points to, read.
trait Reads {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError>;

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, StorageError>;
}

impl Reads for &dyn StateRead {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        StateRead::get(*self, key)
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        StateRead::scan(*self, from, to, limit)
    }
}

impl Reads for &mut dyn StateWrite {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        StateRead::get(*self, key)
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        StateRead::scan(*self, from, to, limit)
    }
}

/// Answers a read.
///
/// # Safety
///
/// `context` is that of the state, `sink` is null or valid, both during the call.
unsafe fn answer<R: Reads>(
    context: *mut c_void,
    sink: *const QuorateSink,
    read: impl FnOnce(&R, Out<'_>) -> Result<(), StorageError>,
) -> i32 {
    // SAFETY: as the caller promises.
    let Some(out) = (unsafe { Out::new(sink) }) else { return QUORATE_DECODE };
    // SAFETY: as the caller promises.
    let Some(state) = (unsafe { context.cast::<R>().as_ref() }) else { return QUORATE_DECODE };
    match read(state, out) {
        Ok(()) => QUORATE_OK,
        Err(error) => {
            out.fail(&wire::encode(&StorageFailure::from(&error)));
            QUORATE_ERROR
        }
    }
}

unsafe extern "C" fn get<R: Reads>(context: *mut c_void, key: QuorateBytes, sink: *const QuorateSink) -> i32 {
    let read = |state: &R, out: Out<'_>| {
        // SAFETY: the library promises that the bytes are valid.
        if let Some(value) = state.get(unsafe { key.as_slice() })? {
            out.put(&[], &value);
        }
        Ok(())
    };
    // SAFETY: the library promises to pass the context it was given, and a valid sink.
    unsafe { answer(context, sink, read) }
}

unsafe extern "C" fn scan<R: Reads>(
    context: *mut c_void,
    from: QuorateBytes,
    to: QuorateBytes,
    limit: u64,
    sink: *const QuorateSink,
) -> i32 {
    let read = |state: &R, out: Out<'_>| {
        // SAFETY: the library promises that the bytes are valid.
        let from = unsafe { from.as_slice() };
        // SAFETY: as above.
        let to = unsafe { to.as_slice() };
        for (key, value) in state.scan(from, to, usize::try_from(limit).unwrap_or(usize::MAX))? {
            out.put(&key, &value);
        }
        Ok(())
    };
    // SAFETY: the library promises to pass the context it was given, and a valid sink.
    unsafe { answer(context, sink, read) }
}

unsafe extern "C" fn put(context: *mut c_void, key: QuorateBytes, value: QuorateBytes) {
    // SAFETY: the library promises to pass the context it was given, on the thread that lends it.
    let Some(state) = (unsafe { context.cast::<&mut dyn StateWrite>().as_mut() }) else { return };
    // SAFETY: the library promises that the bytes are valid.
    let key = unsafe { key.as_slice() };
    // SAFETY: as above.
    state.put(key, unsafe { value.as_slice() });
}

unsafe extern "C" fn remove(context: *mut c_void, key: QuorateBytes) {
    // SAFETY: the library promises to pass the context it was given, on the thread that lends it.
    let Some(state) = (unsafe { context.cast::<&mut dyn StateWrite>().as_mut() }) else { return };
    // SAFETY: the library promises that the bytes are valid.
    state.delete(unsafe { key.as_slice() });
}
