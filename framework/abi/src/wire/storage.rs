//! Why a store could not do what was asked, as bytes.

use std::io;

use borsh::{BorshDeserialize, BorshSerialize};
use quorate::storage::StorageError;

use super::intern;

/// What an operating system said: its number where it has one, and its words.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SystemError {
    /// `errno`.
    pub number: Option<i32>,
    /// The words.
    pub text: String,
}

impl From<&io::Error> for SystemError {
    fn from(error: &io::Error) -> Self {
        Self { number: error.raw_os_error(), text: error.to_string() }
    }
}

impl From<SystemError> for io::Error {
    fn from(error: SystemError) -> Self {
        error.number.map_or_else(|| io::Error::other(error.text), io::Error::from_raw_os_error)
    }
}

/// A [`StorageError`].
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum StorageFailure {
    /// [`StorageError::Io`].
    Io {
        /// What was attempted.
        action: String,
        /// What the system said.
        source: SystemError,
    },
    /// [`StorageError::Full`].
    Full(String),
    /// [`StorageError::Damaged`].
    Damaged(String),
    /// [`StorageError::Newer`].
    Newer {
        /// The format on disk.
        found: u64,
        /// The newest it reads.
        known: u64,
    },
    /// [`StorageError::Locked`].
    Locked(String),
    /// [`StorageError::TooLong`].
    TooLong {
        /// `key` or `value`.
        what: String,
        /// Its length.
        len: u64,
        /// The limit.
        limit: u64,
    },
    /// [`StorageError::Poisoned`].
    Poisoned(String),
    /// [`StorageError::Plugin`].
    Plugin(String),
}

impl From<&StorageError> for StorageFailure {
    fn from(error: &StorageError) -> Self {
        match error {
            StorageError::Io { action, source } => Self::Io { action: (*action).into(), source: source.into() },
            StorageError::Full(what) => Self::Full(what.clone()),
            StorageError::Damaged(what) => Self::Damaged(what.clone()),
            StorageError::Newer { found, known } => Self::Newer { found: *found, known: *known },
            StorageError::Locked(what) => Self::Locked(what.clone()),
            StorageError::TooLong { what, len, limit } => {
                Self::TooLong { what: (*what).into(), len: *len as u64, limit: *limit as u64 }
            }
            StorageError::Poisoned(why) => Self::Poisoned(why.clone()),
            StorageError::Plugin(why) => Self::Plugin(why.clone()),
            // A kind that this version does not know: its words remain.
            other => Self::Poisoned(other.to_string()),
        }
    }
}

impl From<StorageFailure> for StorageError {
    fn from(failure: StorageFailure) -> Self {
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        match failure {
            StorageFailure::Io { action, source } => {
                Self::Io { action: intern(&action, "access"), source: source.into() }
            }
            StorageFailure::Full(what) => Self::Full(what),
            StorageFailure::Damaged(what) => Self::Damaged(what),
            StorageFailure::Newer { found, known } => Self::Newer { found, known },
            StorageFailure::Locked(what) => Self::Locked(what),
            StorageFailure::TooLong { what, len, limit } => {
                Self::TooLong { what: intern(&what, "entry"), len: size(len), limit: size(limit) }
            }
            StorageFailure::Poisoned(why) => Self::Poisoned(why),
            StorageFailure::Plugin(why) => Self::Plugin(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_crosses_with_its_words() {
        let errors = [
            StorageError::Io { action: "write", source: io::Error::from_raw_os_error(28) },
            StorageError::Io { action: "write", source: io::Error::other("odd") },
            StorageError::Full("/data".into()),
            StorageError::Damaged("page 3".into()),
            StorageError::Newer { found: 2, known: 1 },
            StorageError::Locked("/data".into()),
            StorageError::TooLong { what: "key", len: 2000, limit: 1024 },
            StorageError::Poisoned("fsync".into()),
            StorageError::Plugin("plugin `a` of `b` panicked".into()),
        ];
        for error in errors {
            let bytes = super::super::encode(&StorageFailure::from(&error));
            let back: StorageFailure = super::super::decode("StorageError", &bytes).unwrap();
            assert_eq!(StorageError::from(back).to_string(), error.to_string());
        }
    }
}
