//! Why a measurement could not be taken.

use std::io;

/// Why a measurement could not be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// A file, process or connection.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A node, or the command which writes a network, did not do what it should.
    #[error("{name}: {what}\n{log}")]
    Node {
        /// Which.
        name: String,
        /// What is wrong.
        what: String,
        /// The end of its log.
        log: String,
    },
    /// An answer was not what the interface promises.
    #[error("{what}")]
    Answer {
        /// What came, and what should have.
        what: String,
    },
    /// It took longer than the whole run may.
    #[error("the time for the whole run ended while waiting: {what}")]
    TimedOut {
        /// What was waited for.
        what: String,
    },
    /// The user wants no more.
    #[error("stopped")]
    Stopped,
}

impl BenchError {
    pub(crate) fn answer(what: impl Into<String>) -> Self {
        Self::Answer { what: what.into() }
    }
}

/// Names what was attempted.
pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> BenchError {
    let what = what.into();
    move |source| BenchError::Io { what, source }
}
