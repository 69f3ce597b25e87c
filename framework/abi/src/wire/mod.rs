//! The encodings of what crosses: borsh, with large bytes beside. `ABI.md` has them as tables, `vectors/` as bytes.

pub mod action;
pub mod actor;
pub mod application;
pub mod event;
pub mod promise;
pub mod response;
pub mod setup;
pub mod storage;

pub use action::ActionHead;
pub use actor::{ActorCommand, ActorEvent};
pub use event::EventHead;
pub use promise::PromiseAnswer;

use std::{collections::BTreeSet, sync::Mutex};

use borsh::{BorshDeserialize, BorshSerialize};

/// Bytes of an encoded head at most.
pub const HEAD_BYTES_MAX: usize = 32 << 20;

/// Bytes that belong to one head at most.
pub const BODY_BYTES_MAX: usize = quorate::storage::VALUE_BYTES_MAX;

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct WireError {
    /// What they should be.
    pub what: &'static str,
    /// What is wrong.
    pub why: String,
}

impl WireError {
    /// An error about `what`.
    pub fn new(what: &'static str, why: impl Into<String>) -> Self {
        Self { what, why: why.into() }
    }
}

/// The encoding of a value.
pub fn encode(value: &impl BorshSerialize) -> Vec<u8> {
    // Writing to memory does not fail.
    borsh::to_vec(value).unwrap_or_default()
}

/// The encoding of a value, into a buffer that is used again.
pub(crate) fn encode_into(value: &impl BorshSerialize, buffer: &mut Vec<u8>) {
    buffer.clear();
    // Writing to memory does not fail.
    drop(value.serialize(buffer));
}

/// Reads a value.
///
/// # Errors
///
/// [`WireError`] naming `what` when the bytes are none, or more than one.
pub fn decode<T: BorshDeserialize>(what: &'static str, bytes: &[u8]) -> Result<T, WireError> {
    if bytes.len() > HEAD_BYTES_MAX {
        return Err(WireError::new(what, format!("{} bytes; the limit is {HEAD_BYTES_MAX}", bytes.len())));
    }
    T::try_from_slice(bytes).map_err(|error| WireError::new(what, error.to_string()))
}

/// Short texts kept for good at most, in one process.
const INTERNED_MAX: usize = 1024;

/// Bytes of one of them at most.
const INTERNED_BYTES_MAX: usize = 256;

/// The text as one that lives for good, `instead` when there are too many such already.
pub(crate) fn intern(text: &str, instead: &'static str) -> &'static str {
    static KNOWN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut known = KNOWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(found) = known.get(text) {
        return found;
    }
    if known.len() >= INTERNED_MAX || text.len() > INTERNED_BYTES_MAX {
        return instead;
    }
    let kept: &'static str = Box::leak(text.to_owned().into_boxed_str());
    known.insert(kept);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_once_and_a_long_one_is_not() {
        let first = intern("fsync", "io");
        assert!(std::ptr::eq(first, intern("fsync", "io")));
        assert_eq!(intern(&"x".repeat(INTERNED_BYTES_MAX + 1), "io"), "io");
    }
}
