//! Why a transaction is not accepted: the rule's number, a code, and a sentence.

use quorate::{TransactionId, application::Rejection, storage::StorageError};

/// What kind of refusal it is: whether the sender lies, or is only early, late or second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Never was a transaction.
    Malformed,
    /// A signature or proof is wrong.
    NotAuthentic,
    /// The state or the time does not allow it.
    NotAllowed,
    /// Another one counts.
    Duplicate(TransactionId),
}

/// A refusal, or why there is no judgement.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// By a rule of the specification.
    Rule { rule: u8, code: &'static str, kind: Kind, what: String },
    /// The state could not be read.
    Storage(StorageError),
}

/// What a rule says.
pub(crate) type Ruled<T = ()> = Result<T, Refusal>;

impl Refusal {
    pub(crate) fn malformed(rule: u8, code: &'static str, what: impl ToString) -> Self {
        Self::Rule { rule, code, kind: Kind::Malformed, what: what.to_string() }
    }

    pub(crate) fn not_authentic(rule: u8, code: &'static str, what: impl ToString) -> Self {
        Self::Rule { rule, code, kind: Kind::NotAuthentic, what: what.to_string() }
    }

    pub(crate) fn not_allowed(rule: u8, code: &'static str, what: impl ToString) -> Self {
        Self::Rule { rule, code, kind: Kind::NotAllowed, what: what.to_string() }
    }

    pub(crate) fn duplicate(rule: u8, code: &'static str, winner: [u8; 32]) -> Self {
        Self::Rule { rule, code, kind: Kind::Duplicate(TransactionId::new(winner)), what: String::new() }
    }
}

impl From<StorageError> for Refusal {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Storage(error) => error.into(),
            Refusal::Rule { rule, code, kind, what } => {
                let text = format!("V{rule} {code}: {what}");
                match kind {
                    Kind::Malformed => Rejection::Malformed(text),
                    Kind::NotAuthentic => Rejection::NotAuthentic(text),
                    Kind::NotAllowed => Rejection::NotAllowed(text),
                    Kind::Duplicate(winner) => Rejection::Duplicate { winner },
                }
            }
        }
    }
}
