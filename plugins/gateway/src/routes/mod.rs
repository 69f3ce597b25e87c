//! The routes. Their answers are described by `openapi.json`, which `GET /openapi.json` gives.

mod admin;
mod elections;
mod node;
mod params;
mod votes;

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{Method, StatusCode, Uri},
    routing::{get, post},
};

use crate::{answer::Problem, gateway::Gateway};

/// What a handler is given.
type Shared = State<Arc<Gateway>>;

/// The routes with their names in figures, which hold no id.
pub(crate) const ROUTES: &[&str] = &[
    "/api/votes/submit",
    "/api/votes/transaction-status",
    "/api/votes/receipt",
    "/api/votes/results",
    "/api/votes/verify-blockchain",
    "/api/elections",
    "/api/elections/{id}",
    "/api/admin/validators/health",
    "/api/admin/validators/refresh-status",
    "/api/admin/outbox",
    "/api/admin/outbox/export",
    "/api/admin/outbox/retry",
    "/openapi.json",
    "/health",
    "/ready",
    "/metrics",
];

/// All of them.
pub(crate) fn router(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/api/votes/submit", post(votes::submit))
        .route("/api/votes/transaction-status", get(votes::status))
        .route("/api/votes/receipt", get(votes::receipt))
        .route("/api/votes/results", get(elections::results))
        .route("/api/votes/verify-blockchain", post(elections::verify))
        .route("/api/elections", get(elections::list))
        .route("/api/elections/{id}", get(elections::one))
        .route("/api/admin/validators/health", get(admin::health))
        .route("/api/admin/validators/refresh-status", post(admin::refresh))
        .route("/api/admin/outbox", get(admin::outbox))
        .route("/api/admin/outbox/export", get(admin::export))
        .route("/api/admin/outbox/retry", post(admin::retry))
        .route("/openapi.json", get(node::openapi))
        .route("/health", get(node::health))
        .route("/ready", get(node::ready))
        .route("/metrics", get(node::metrics))
        .method_not_allowed_fallback(wrong_method)
        .fallback(nowhere)
        .with_state(gateway)
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("{} does not take {method}; GET /openapi.json lists the routes", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", detail)
}

async fn nowhere(method: Method, uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(100).collect();
    let hint = match (&method, path.as_str()) {
        (&Method::POST, "/" | "/rpc") => {
            "; JSON-RPC is answered by this node's rpc_listen address, and by every validator"
        }
        _ => "",
    };
    Problem::not_found(format!("there is no {path}; GET /openapi.json lists the routes{hint}"))
}
