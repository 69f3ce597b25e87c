//! How the backend itself stands.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, Response, StatusCode, header},
};
use quorate::node::Health as NodeHealth;
use serde_json::{Value, json};

use super::Shared;
use crate::{answer::Answer, gateway::Gateway, metrics::Now, outbox::now_ms};

/// The description of all routes (OpenAPI 3.1).
pub(crate) const OPENAPI: &str = include_str!("../openapi.json");

fn text(body: String, kind: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// `GET /openapi.json`.
pub(super) async fn openapi() -> Response<Body> {
    text(OPENAPI.into(), "application/json")
}

/// How it stands, and whether it serves and takes ballots.
async fn stand(gateway: &Gateway) -> (bool, bool, Value) {
    let status = gateway.status().await;
    let verified = gateway.verified(status.as_ref());
    let reach = gateway.reach();
    let (held, held_bytes, taken, oldest_ms) = {
        let index = gateway.outbox.index();
        (index.len(), index.bytes(), index.taken(), index.oldest_ms(now_ms()))
    };
    let (bounds, is_full) = (gateway.outbox.bounds(), gateway.outbox.is_full());
    let conflict = status.as_ref().is_some_and(|status| status.status == NodeHealth::Conflict);
    let serving = status.is_some() && !conflict;
    let word = match &status {
        None => "unavailable",
        Some(_) if conflict => "conflict",
        Some(_) if is_full => "full",
        Some(status) if status.status == NodeHealth::Syncing => "syncing",
        Some(_) if verified.stale || !reach.is_quorum() => "degraded",
        Some(_) => "ok",
    };
    let mut detail: Vec<String> = verified.detail.clone().into_iter().collect();
    if !reach.is_quorum() && !detail.contains(&reach.in_words()) {
        detail.push(reach.in_words());
    }
    if is_full {
        detail.push("the outbox is full: ballots are refused with 503".into());
    }
    let body = json!({
        "status": word,
        "detail": detail.join("; "),
        "name": gateway.name,
        "role": "gateway",
        "version": gateway.version,
        "height": verified.height,
        "peers": status.as_ref().map_or(0, |status| status.peers.iter().filter(|peer| peer.connected).count()),
        "uptime_s": gateway.started.elapsed().as_secs(),
        "accepting": serving && !is_full,
        "verified": verified,
        "reach": reach,
        "outbox": {
            "held": held,
            "held_bytes": held_bytes,
            "submitted": taken,
            "queued": held.saturating_sub(taken),
            "oldest_ms": oldest_ms,
            "count_max": bounds.count_max,
            "bytes_max": bounds.bytes_max,
            "full": is_full,
        },
        "disagreements": gateway.client.disagreements().len(),
    });
    (serving, serving && !is_full, body)
}

fn code(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// `GET /health`: 200 while it serves, also when no validator answers.
pub(super) async fn health(State(gateway): Shared) -> Answer {
    let (serving, _, body) = stand(&gateway).await;
    Answer(code(serving), body)
}

/// `GET /ready`: 200 while it takes ballots.
pub(super) async fn ready(State(gateway): Shared) -> Answer {
    let (_, accepting, body) = stand(&gateway).await;
    Answer(code(accepting), body)
}

/// `GET /metrics`.
pub(super) async fn metrics(State(gateway): Shared) -> Response<Body> {
    let (held, held_bytes) = {
        let index = gateway.outbox.index();
        (index.len(), index.bytes())
    };
    let height = gateway.status().await.map_or(0, |status| status.height.0);
    let now = Now { held, held_bytes, answering: gateway.reach().answering, height };
    text(gateway.metrics.render(&now), "application/openmetrics-text; version=1.0.0; charset=utf-8")
}
