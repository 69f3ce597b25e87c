//! What routes answer: JSON, and errors of one shape: `{error, detail}`, a word for programs and a sentence for people.

use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
    response::IntoResponse,
};
use quorate::{
    TransactionId,
    application::{QueryError, Rejection},
    node::SubmitError,
};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// JSON with a status.
pub(crate) struct Answer(pub(crate) StatusCode, pub(crate) Value);

impl Answer {
    pub(crate) fn ok(value: impl Serialize) -> Result<Self, Problem> {
        let value = serde_json::to_value(value).map_err(|error| Problem::internal(error.to_string()))?;
        Ok(Self(StatusCode::OK, value))
    }
}

fn respond(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response<Body> {
        respond(self.0, &self.1)
    }
}

/// An error.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    error: &'static str,
    detail: String,
    more: Map<String, Value>,
    retry_after_s: Option<u64>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, error: &'static str, detail: impl Into<String>) -> Self {
        Self { status, error, detail: detail.into(), more: Map::new(), retry_after_s: None }
    }

    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    pub(crate) fn internal(detail: impl Into<String>) -> Self {
        let detail = detail.into();
        tracing::error!(detail, "a request could not be answered");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// Comes again when the client waits.
    pub(crate) fn later(error: &'static str, detail: impl Into<String>, after_s: u64) -> Self {
        Self { retry_after_s: Some(after_s), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, error, detail) }
    }

    /// The same, for a client that waits.
    #[must_use]
    pub(crate) fn after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    pub(crate) fn duplicate(winner: &TransactionId) -> Self {
        let detail = format!("this voter's ballot is {winner}; a voter has one, and it can't be replaced");
        Self::new(StatusCode::CONFLICT, "duplicate", detail).with("winner", json!(winner))
    }

    #[must_use]
    pub(crate) fn with(mut self, key: &str, value: Value) -> Self {
        self.more.insert(key.to_owned(), value);
        self
    }

    /// Why the voting application refuses a ballot: the rule's number and its code stand in the text.
    pub(crate) fn of_rejection(rejection: &Rejection) -> Self {
        let unprocessable = |error, detail: &str| Self::new(StatusCode::UNPROCESSABLE_ENTITY, error, detail);
        match rejection {
            Rejection::Duplicate { winner } => Self::duplicate(winner),
            Rejection::Malformed(why) => Self::malformed(why),
            Rejection::NotAuthentic(why) if why.contains("ballot.signature") => {
                Self::new(StatusCode::UNAUTHORIZED, "not_signed", why)
            }
            Rejection::NotAuthentic(why) => unprocessable("not_valid", why),
            Rejection::NotAllowed(why) if why.contains("ballot.credential") => {
                Self::new(StatusCode::UNAUTHORIZED, "not_listed", why)
            }
            Rejection::NotAllowed(why) if why.contains("ballot.election") => unprocessable("unknown_election", why),
            Rejection::NotAllowed(why) if why.contains("ballot.early") || why.contains("ballot.late") => {
                unprocessable("not_open", why)
            }
            Rejection::NotAllowed(why) => unprocessable("not_allowed", why),
            Rejection::State(why) => Self::internal(why),
            _ => Self::internal(rejection.to_string()),
        }
    }

    /// Why the node does not judge a ballot well.
    pub(crate) fn of_submit(error: &SubmitError) -> Self {
        match error {
            SubmitError::Rejected(rejection) => Self::of_rejection(rejection),
            SubmitError::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error.to_string()),
            SubmitError::PoolFull { retry_after_ms, .. } => {
                Self::later("busy", "too many ballots are being checked", retry_after_ms.div_ceil(1000).max(1))
            }
            _ => Self::later("unavailable", error.to_string(), 2),
        }
    }

    /// Why the application gives no answer.
    pub(crate) fn of_query(error: &QueryError) -> Self {
        match error {
            QueryError::BadParams(why) if why.starts_with("no draft and no election") => Self::not_found(why),
            QueryError::BadParams(why) => Self::malformed(why),
            QueryError::UnknownPath { path, .. } => {
                Self::not_found(format!("this chain has no elections: its application has no query `{path}`"))
            }
            _ => Self::later("unavailable", error.to_string(), 2),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let mut body = self.more;
        body.insert("error".into(), json!(self.error));
        body.insert("detail".into(), json!(self.detail));
        let mut response = respond(self.status, &Value::Object(body));
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
