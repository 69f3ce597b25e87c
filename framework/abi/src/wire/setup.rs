//! What a plugin is checked with and made from, and why it can't be.

use borsh::{BorshDeserialize, BorshSerialize};
use quorate::{diagnostics::Diagnostic, plugin::SetupError};

use super::{
    intern,
    storage::{StorageFailure, SystemError},
};

/// A [`SetupError`].
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum SetupFailure {
    /// [`SetupError::Settings`]: the diagnostics point into the operator's file.
    Settings(Vec<Diagnostic>),
    /// [`SetupError::Storage`].
    Storage(StorageFailure),
    /// [`SetupError::Listen`].
    Listen {
        /// The setting.
        key: String,
        /// Its value.
        address: String,
        /// What the system said.
        source: SystemError,
    },
    /// [`SetupError::Other`].
    Other(String),
}

impl From<SetupError> for SetupFailure {
    fn from(error: SetupError) -> Self {
        match error {
            SetupError::Settings(diagnostics) => Self::Settings(diagnostics),
            SetupError::Storage(error) => Self::Storage((&error).into()),
            SetupError::Listen { key, address, source } => {
                Self::Listen { key: key.into(), address, source: (&source).into() }
            }
            SetupError::Other(why) => Self::Other(why),
            // A kind that this version does not know: its words remain.
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<SetupFailure> for SetupError {
    fn from(failure: SetupFailure) -> Self {
        match failure {
            SetupFailure::Settings(diagnostics) => Self::Settings(diagnostics),
            SetupFailure::Storage(failure) => Self::Storage(failure.into()),
            SetupFailure::Listen { key, address, source } => {
                Self::Listen { key: intern(&key, "listen"), address, source: source.into() }
            }
            SetupFailure::Other(why) => Self::Other(why),
        }
    }
}
