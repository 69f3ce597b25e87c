//! Why a question has no answer.

use std::fmt;

use quorate::TransactionId;
use serde::Serialize;

/// What one validator said, or did not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// Who.
    pub validator: String,
    /// What came of it, in words.
    pub outcome: String,
}

/// Several of them, for people.
fn list(asked: &[Asked]) -> String {
    if asked.is_empty() {
        return "all are resting after failures".into();
    }
    let each: Vec<String> = asked.iter().map(|one| format!("{}: {}", one.validator, one.outcome)).collect();
    each.join("; ")
}

/// Why the network gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No validator answered usefully.
    #[error("no validator gives an answer ({})", list(.asked))]
    Unavailable {
        /// Who was asked, and what came of it; empty when all are resting after failures.
        asked: Vec<Asked>,
        /// When the first of them may be tried again, in milliseconds.
        retry_after_ms: u64,
    },
    /// Validators refuse the question.
    #[error("{validator} refuses: {message}")]
    Refused {
        /// Who.
        validator: String,
        /// What it says.
        message: String,
    },
    /// The deadline of the call has passed.
    #[error("no answer within {within_ms} ms ({})", list(.asked))]
    TimedOut {
        /// The time it had.
        within_ms: u64,
        /// Who was asked, and what came of it.
        asked: Vec<Asked>,
    },
}

/// Why a transaction was not taken. The first three are answers; after the others it may be pending all the same: submit the same bytes again, or ask
/// for a receipt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// Another transaction took the same effect.
    #[error("another transaction, {winner}, took the same effect, say {}", .by.join(", "))]
    Duplicate {
        /// The one that counts.
        winner: TransactionId,
        /// Who says so.
        by: Vec<String>,
    },
    /// The application refuses it.
    #[error("refused by {}: {reason}", .by.join(", "))]
    Rejected {
        /// Why.
        reason: String,
        /// `malformed`, `not_authentic`, `not_allowed` or `state`.
        kind: String,
        /// Who says so.
        by: Vec<String>,
    },
    /// It is too large.
    #[error("refused by {}: {reason}", .by.join(", "))]
    TooLarge {
        /// How large it is, and may be.
        reason: String,
        /// Who says so.
        by: Vec<String>,
    },
    /// Nobody has room.
    #[error("the pools are full; try again in {retry_after_ms} ms")]
    PoolFull {
        /// When to try again.
        retry_after_ms: u64,
    },
    /// Nobody answered usefully.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Why a wait ended without a receipt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// Not final in time; it may become so.
    #[error("{id} is not final after {waited_ms} ms; it is {last}, and may become final")]
    TimedOut {
        /// Which.
        id: TransactionId,
        /// How long it was waited for.
        waited_ms: u64,
        /// How it stood last.
        last: Last,
    },
}

/// How a transaction stood when it was last asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// In the pool of a validator.
    Pending,
    /// Nobody knows it.
    Unknown,
    /// Nobody answered.
    Unanswered,
}

impl fmt::Display for Last {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "pending",
            Self::Unknown => "unknown to those who answered",
            Self::Unanswered => "not known, as nobody answered",
        })
    }
}
