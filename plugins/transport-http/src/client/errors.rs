//! JSON-RPC errors: every code in one table, and how the node's answers map to them.

use quorate::{
    application::{QueryError, Rejection},
    node::{Pruned, SubmitError},
};
use serde::Serialize;
use serde_json::{Value, json};

/// A code, its name and what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ErrorCode {
    /// As in `error.code`.
    pub code: i32,
    /// As in `error.message`, or how it begins.
    pub message: &'static str,
    /// When it comes and what `error.data` says.
    pub meaning: &'static str,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $message:literal;)+) => {
        $(
            $(#[doc = $doc])+
            pub(crate) const $name: ErrorCode = ErrorCode { code: $code, message: $message, meaning: concat!($($doc),+) };
        )+

        /// Every code that a client can meet; those down to -32603 are the specification's
        /// (<https://www.jsonrpc.org/specification>).
        pub const ERROR_CODES: &[ErrorCode] = &[$($name),+];
    };
}

codes! {
    /// The body is not JSON. `data.reason` says where.
    PARSE_ERROR = -32700, "parse error";
    /// The JSON is not a request, or breaks a limit. `data.reason`.
    INVALID_REQUEST = -32600, "invalid request";
    /// No such method. `data.method`, and `data.did_you_mean` when one is close.
    METHOD_NOT_FOUND = -32601, "method not found";
    /// The parameters are wrong. `data.reason`; `data.parameter` names the one.
    INVALID_PARAMS = -32602, "invalid params";
    /// The node failed. `data.reason`.
    INTERNAL_ERROR = -32603, "internal error";
    /// Another transaction took the same effect. `data.winner` is the id that counts.
    DUPLICATE = -32010, "duplicate";
    /// The application refuses the transaction. `data.reason`; `data.kind` is malformed, not_authentic, not_allowed or state.
    REJECTED = -32011, "rejected";
    /// The pool has no room. `data.retry_after_ms` is the time to wait, `data.count` and `data.bytes` what is in it.
    POOL_FULL = -32012, "pool full";
    /// The transaction is too large. `data.len` and `data.limit` in bytes.
    TOO_LARGE = -32013, "transaction too large";
    /// The node can't answer now: it is starting, stopping, busy, or not of a kind that could. `data.reason`.
    UNAVAILABLE = -32014, "unavailable";
    /// Only for the operator: the token in `Authorization: Bearer` is missing or wrong. `data.reason`.
    NOT_OPERATOR = -32015, "operator only";
    /// The answers of a batch became too large; this call was not made. `data.limit_bytes`.
    ANSWER_TOO_LARGE = -32016, "answer too large";
    /// The application knows no such query. `data.path`, `data.known`.
    UNKNOWN_QUERY = -32017, "unknown query";
    /// Subscriptions need a WebSocket: connect to `/ws`.
    NEEDS_WEBSOCKET = -32018, "subscriptions need a websocket";
    /// A limit on subscriptions or filters is reached. `data.limit`.
    TOO_MANY = -32019, "too many subscriptions or filters";
    /// No such subscription or filter: it never was, expired, or was removed. `data.id`.
    NO_SUCH_ID = -32020, "no such subscription or filter";
    /// The range of blocks is too wide. `data.limit`.
    RANGE_TOO_WIDE = -32021, "range too wide";
    /// The block is final and was removed: the node keeps only the last. `data.height` is the block's, `data.blocks_from` the lowest here.
    PRUNED = -32022, "block removed";
}

/// An error of one call.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct RpcError {
    /// One of [`ERROR_CODES`].
    pub(crate) code: i32,
    /// In words.
    pub(crate) message: String,
    /// What was wrong.
    pub(crate) data: Value,
}

impl RpcError {
    /// An error with `data`.
    pub(crate) fn new(code: ErrorCode, data: Value) -> Self {
        let message = match data.get("reason").and_then(Value::as_str) {
            Some(reason) => format!("{}: {reason}", code.message),
            None => code.message.to_owned(),
        };
        Self { code: code.code, message, data }
    }

    /// An error for a reason in words.
    pub(crate) fn because(code: ErrorCode, reason: impl Into<String>) -> Self {
        Self::new(code, json!({ "reason": reason.into() }))
    }

    /// The node gave an answer of another kind than was asked for.
    pub(crate) fn unexpected() -> Self {
        Self::because(INTERNAL_ERROR, "the node's answer does not belong to the question")
    }
}

impl From<SubmitError> for RpcError {
    fn from(error: SubmitError) -> Self {
        let reason = error.to_string();
        match error {
            SubmitError::Rejected(Rejection::Duplicate { winner }) => {
                Self::new(DUPLICATE, json!({ "reason": format!("{winner} took the effect"), "winner": winner }))
            }
            SubmitError::Rejected(rejection) => {
                let kind = match &rejection {
                    Rejection::Malformed(_) => "malformed",
                    Rejection::NotAuthentic(_) => "not_authentic",
                    Rejection::State(_) => "state",
                    _ => "not_allowed",
                };
                Self::new(REJECTED, json!({ "reason": rejection.to_string(), "kind": kind }))
            }
            SubmitError::PoolFull { count, bytes, retry_after_ms } => {
                let reason = format!("{count} transactions wait; try again in {retry_after_ms} ms");
                let data =
                    json!({ "reason": reason, "retry_after_ms": retry_after_ms, "count": count, "bytes": bytes });
                Self::new(POOL_FULL, data)
            }
            SubmitError::TooLarge { len, limit } => {
                Self::new(TOO_LARGE, json!({ "reason": reason, "len": len, "limit": limit }))
            }
            _ => Self::because(UNAVAILABLE, reason),
        }
    }
}

impl From<Pruned> for RpcError {
    fn from(pruned: Pruned) -> Self {
        let Pruned { height, blocks_from } = pruned;
        Self::new(PRUNED, json!({ "reason": pruned.to_string(), "height": height, "blocks_from": blocks_from }))
    }
}

impl From<QueryError> for RpcError {
    fn from(error: QueryError) -> Self {
        let reason = error.to_string();
        match error {
            QueryError::UnknownPath { path, known } => {
                Self::new(UNKNOWN_QUERY, json!({ "reason": reason, "path": path, "known": known }))
            }
            QueryError::BadParams(_) => Self::new(INVALID_PARAMS, json!({ "reason": reason, "parameter": "params" })),
            _ => Self::because(INTERNAL_ERROR, reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_code_is_used_twice_and_each_is_in_the_documentation() {
        let document = include_str!("../../../../docs/rpc.md");
        for (at, one) in ERROR_CODES.iter().enumerate() {
            assert!(ERROR_CODES.iter().skip(at + 1).all(|other| other.code != one.code), "{one:?}");
            let row = format!("| {} | {} | {} |", one.code, one.message, one.meaning.trim());
            assert!(document.contains(&row), "docs/rpc.md should have the row\n{row}");
        }
    }

    #[test]
    fn the_answers_to_a_submission_are_kept_apart() {
        let winner = quorate::TransactionId::new([7; 32]);
        let duplicate = RpcError::from(SubmitError::Rejected(Rejection::Duplicate { winner }));
        assert_eq!((duplicate.code, duplicate.data["winner"].as_str()), (-32010, Some(winner.to_string().as_str())));
        let rejected = RpcError::from(SubmitError::Rejected(Rejection::NotAllowed("election is closed".into())));
        assert_eq!((rejected.code, rejected.data["reason"].as_str()), (-32011, Some("election is closed")));
        let full = RpcError::from(SubmitError::PoolFull { count: 3, bytes: 9, retry_after_ms: 250 });
        assert_eq!((full.code, full.data["retry_after_ms"].as_u64()), (-32012, Some(250)));
        assert_eq!(RpcError::from(SubmitError::TooLarge { len: 2, limit: 1 }).code, -32013);
        assert_eq!(RpcError::from(SubmitError::Unavailable("a bootnode has no chain".into())).code, -32014);
    }
}
