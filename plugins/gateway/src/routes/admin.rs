//! The operator's routes: `Authorization: Bearer TOKEN`, compared in constant time.

use axum::{
    body::{Body, Bytes},
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use quorate::{Timestamp, TransactionId};
use quorate_ballot::record::{Body as BallotBody, Transaction};
use quorate_client::{Health, ValidatorStatus};
use serde::Deserialize;
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;

use super::{
    Shared,
    params::{query, transaction_id},
};
use crate::{
    answer::{Answer, Problem},
    gateway::Gateway,
    outbox::{Standing, now_ms},
};

/// Rows of the outbox in one answer at most.
const ROWS_MAX: usize = 1000;

/// Ballots read at a time for an export.
const EXPORT_PAGE: usize = 256;

fn operator(gateway: &Gateway, headers: &HeaderMap) -> Result<(), Problem> {
    let refused = |detail: &str| Err(Problem::new(StatusCode::UNAUTHORIZED, "operator_only", detail));
    let Some(token) = &gateway.admin_token else {
        return refused("this node has no operator's token; name a file with one in its TOML: [node] admin_token_file");
    };
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(given) = given.and_then(|value| value.strip_prefix("Bearer ")) else {
        return refused("only for the operator: send `Authorization: Bearer` and the token");
    };
    if bool::from(given.trim().as_bytes().ct_eq(token.as_bytes())) {
        Ok(())
    } else {
        refused("the operator's token is wrong")
    }
}

/// A share in percent, two decimal places.
fn percentage(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 * 10_000.0 / whole as f64).round() / 100.0 }
}

fn summary(validators: &[ValidatorStatus]) -> Value {
    let count = |health: Health| validators.iter().filter(|one| one.status == health).count();
    let healthy = count(Health::Healthy);
    json!({
        "healthy": healthy,
        "degraded": count(Health::Degraded),
        "unreachable": count(Health::Unreachable),
        "total": validators.len(),
        "health_percentage": percentage(healthy, validators.len()),
    })
}

/// `GET /api/admin/validators/health`.
pub(super) async fn health(State(gateway): Shared, headers: HeaderMap) -> Result<Answer, Problem> {
    operator(&gateway, &headers)?;
    let validators = gateway.client.validator_status();
    Answer::ok(json!({
        "timestamp": Timestamp(now_ms()).utc(),
        "summary": summary(&validators),
        "reach": gateway.reach(),
        "validators": validators,
        "disagreements": gateway.client.disagreements(),
    }))
}

/// `POST /api/admin/validators/refresh-status`.
pub(super) async fn refresh(State(gateway): Shared, headers: HeaderMap) -> Result<Answer, Problem> {
    operator(&gateway, &headers)?;
    let validators = gateway.client.refresh_validator_status().await;
    gateway.work.notify_one();
    let healthy = validators.iter().filter(|one| one.status == Health::Healthy).count();
    Answer::ok(json!({
        "message": format!("{healthy} of {} validators are healthy", validators.len()),
        "summary": summary(&validators),
        "validators": validators,
        "timestamp": Timestamp(now_ms()).utc(),
    }))
}

#[derive(Deserialize)]
struct Rows {
    #[serde(default)]
    from: u64,
    #[serde(default = "most")]
    limit: usize,
}

fn most() -> usize {
    ROWS_MAX
}

/// `GET /api/admin/outbox`: what is held, in the order of acceptance.
pub(super) async fn outbox(
    State(gateway): Shared,
    headers: HeaderMap,
    RawQuery(text): RawQuery,
) -> Result<Answer, Problem> {
    operator(&gateway, &headers)?;
    let Rows { from, limit } = query(text.as_deref())?;
    if !(1..=ROWS_MAX).contains(&limit) {
        return Err(Problem::malformed(format!("`limit` is {limit}; it must be 1 to {ROWS_MAX}")));
    }
    let counts = gateway.outbox.counts().await.map_err(|why| Problem::later("unavailable", why, 2))?;
    let rows = gateway.outbox.index().rows(from, limit);
    let next = rows.last().filter(|_| rows.len() == limit).map(|row| row.sequence + 1);
    let entries: Vec<Value> = rows
        .iter()
        .map(|row| {
            let (status, validator, reason) = match &row.standing {
                Standing::Taken { by } => ("submitted", Some(by), None),
                Standing::Queued { reason } => ("queued", None, reason.as_ref()),
            };
            json!({
                "transaction_id": row.id,
                "sequence": row.sequence,
                "election_id": row.eid,
                "ballot_hash": row.tracker,
                "accepted": Timestamp(row.accepted_ms).utc(),
                "status": status,
                "validator": validator,
                "attempts": row.attempts,
                "reason": reason,
            })
        })
        .collect();
    Answer::ok(json!({ "counts": counts, "bounds": bounds(&gateway), "entries": entries, "next": next }))
}

fn bounds(gateway: &Gateway) -> Value {
    let bounds = gateway.outbox.bounds();
    json!({ "count_max": bounds.count_max, "bytes_max": bounds.bytes_max })
}

/// `GET /api/admin/outbox/export`: every ballot that is held, one JSON object a line, as it was submitted. Anybody may submit them to any validator.
pub(super) async fn export(State(gateway): Shared, headers: HeaderMap) -> Result<Response<Body>, Problem> {
    operator(&gateway, &headers)?;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(4);
    tokio::spawn(async move {
        let mut from = 0;
        loop {
            let page = match gateway.outbox.held(from, EXPORT_PAGE).await {
                Ok(page) => page,
                // The connection breaks, so that nobody takes a part for the whole.
                Err(why) => return drop(sender.send(Err(std::io::Error::other(why))).await),
            };
            let mut lines = String::new();
            for held in &page.entries {
                let ballot = match gateway.outbox.ballot(&held.id).await {
                    Ok(ballot) => ballot,
                    Err(why) => return drop(sender.send(Err(std::io::Error::other(why))).await),
                };
                // Settled meanwhile: it is not held any more.
                let decoded = ballot.and_then(|bytes| Transaction::decode(&bytes).ok());
                let Some(Transaction { body: BallotBody::Ballot(ballot), .. }) = decoded else { continue };
                let line = json!({
                    "transaction_id": held.id,
                    "election_id": held.eid,
                    "accepted": Timestamp(held.accepted_ms).utc(),
                    "encrypted_vote": STANDARD.encode(ballot),
                });
                lines.push_str(&format!("{line}\n"));
            }
            if sender.send(Ok(lines.into())).await.is_err() {
                return;
            }
            match page.next {
                Some(next) => from = next,
                None => return,
            }
        }
    });
    let mut response = Response::new(Body::from_stream(Lines(receiver)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"outbox.ndjson\""));
    Ok(response)
}

/// Pieces of a body as they come.
struct Lines(tokio::sync::mpsc::Receiver<Result<Bytes, std::io::Error>>);

impl futures_core::Stream for Lines {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Retry {
    transaction_id: Option<String>,
}

/// `POST /api/admin/outbox/retry`: all that is held is due at once; or one ballot, also one that was refused.
pub(super) async fn retry(State(gateway): Shared, headers: HeaderMap, body: Bytes) -> Result<Answer, Problem> {
    operator(&gateway, &headers)?;
    let wanted: Retry = match body.is_empty() {
        true => Retry::default(),
        false => serde_json::from_slice(&body).map_err(|error| Problem::malformed(format!("the body: {error}")))?,
    };
    let retried = match wanted.transaction_id {
        None => gateway.outbox.index().all_due(),
        Some(text) => {
            one(&gateway, &transaction_id(&text)?).await?;
            1
        }
    };
    gateway.work.notify_one();
    Answer::ok(json!({ "message": format!("{retried} ballots are tried again"), "retried": retried }))
}

async fn one(gateway: &Gateway, id: &TransactionId) -> Result<(), Problem> {
    let unavailable = |why: String| Problem::later("unavailable", why, 2);
    let held = gateway.outbox.find(id).await.map_err(unavailable)?;
    let held = held.ok_or_else(|| Problem::not_found(format!("{id} was not accepted here")))?;
    match held.settled {
        None => gateway.outbox.index().due_now(id),
        Some(ended) if ended.is_final => {
            let detail = format!("{id} is final; there is nothing to retry");
            return Err(Problem::new(StatusCode::CONFLICT, "final", detail));
        }
        Some(_) => {
            let refused = |why: String| Problem::new(StatusCode::CONFLICT, "not_retried", why);
            gateway.outbox.reopen(id).await.map_err(refused)?;
        }
    }
    Ok(())
}
