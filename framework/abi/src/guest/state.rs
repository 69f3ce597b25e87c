//! The node's state as an application reads and writes it.
#![expect(unsafe_code, reason = "calls the node's functions")]

use bytes::Bytes;
use quorate::{
    application::{StateRead, StateWrite},
    storage::StorageError,
};

use super::call::Refusal;
use crate::{
    ffi::{Receive, with_sink},
    raw::{QUORATE_ERROR, QUORATE_OK, QuorateBytes, QuorateSink, QuorateState},
    wire::{self, storage::StorageFailure},
};

/// The state of one call.
pub(super) struct State<'a>(&'a QuorateState);

/// Pairs, and why there are none.
#[derive(Default)]
struct Pairs {
    pairs: Vec<(Bytes, Bytes)>,
    failed: Vec<u8>,
}

impl Receive for Pairs {
    fn put(&mut self, head: &[u8], body: &[u8]) {
        self.pairs.push((Bytes::copy_from_slice(head), Bytes::copy_from_slice(body)));
    }

    fn fail(&mut self, why: &[u8]) {
        self.failed = why.to_vec();
    }
}

fn unreadable(why: impl Into<String>) -> StorageError {
    StorageError::Plugin(why.into())
}

/// Makes a read and takes its answers.
fn read(call: impl FnOnce(*const QuorateSink) -> i32) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
    let mut pairs = Pairs::default();
    match with_sink(&mut pairs, call) {
        QUORATE_OK => Ok(pairs.pairs),
        QUORATE_ERROR => match wire::decode::<StorageFailure>("StorageError", &pairs.failed) {
            Ok(failure) => Err(failure.into()),
            Err(error) => Err(unreadable(error.to_string())),
        },
        _ => Err(unreadable(String::from_utf8_lossy(&pairs.failed))),
    }
}

impl<'a> State<'a> {
    /// The state at a pointer.
    ///
    /// # Safety
    ///
    /// `state` is null or valid for `'a`.
    pub(super) unsafe fn new(state: *const QuorateState) -> Result<Self, Refusal> {
        // SAFETY: as the caller promises.
        match unsafe { state.as_ref() } {
            Some(state) if state.size as usize >= size_of::<QuorateState>() => Ok(Self(state)),
            _ => Err(Refusal::Arguments("no state".into())),
        }
    }
}

impl StateRead for State<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let Some(get) = self.0.get else { return Err(unreadable("the state can't be read")) };
        // SAFETY: the node's own function and context, and arguments which live during the call.
        let found = read(|sink| unsafe { get(self.0.context, QuorateBytes::of(key), sink) })?;
        Ok(found.into_iter().next().map(|(_, value)| value))
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        let Some(scan) = self.0.scan else { return Err(unreadable("the state can't be read")) };
        let (from, to) = (QuorateBytes::of(from), QuorateBytes::of(to));
        // SAFETY: the node's own function and context, and arguments which live during the call.
        read(|sink| unsafe { scan(self.0.context, from, to, limit as u64, sink) })
    }
}

impl StateWrite for State<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        if let Some(put) = self.0.put {
            // SAFETY: the node's own function and context, and arguments which live during the call.
            unsafe { put(self.0.context, QuorateBytes::of(key), QuorateBytes::of(value)) }
        }
    }

    fn delete(&mut self, key: &[u8]) {
        if let Some(remove) = self.0.remove {
            // SAFETY: the node's own function and context, and arguments which live during the call.
            unsafe { remove(self.0.context, QuorateBytes::of(key)) }
        }
    }
}
