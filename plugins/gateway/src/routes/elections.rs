//! Elections and their results, from the chain that this node verified.

use axum::{
    extract::{Path, RawQuery, State},
    http::StatusCode,
};
use quorate::Hash;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Shared,
    params::{election_id, query},
};
use crate::{
    answer::{Answer, Problem},
    gateway::Gateway,
    verify,
};

/// Elections in one answer at most.
const LIST_MAX: u32 = 1000;

#[derive(Deserialize)]
struct OfElection {
    election_id: Option<String>,
}

impl OfElection {
    fn read(text: Option<&str>) -> Result<Option<Hash>, Problem> {
        let read: Self = query(text)?;
        read.election_id.map(|id| election_id(&id)).transpose()
    }
}

async fn election(gateway: &Gateway, id: &Hash) -> Result<Value, Problem> {
    gateway.query("election", json!({ "id": id })).await.map_err(|error| Problem::of_query(&error))
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    from: u32,
    #[serde(default = "most")]
    limit: u32,
}

fn most() -> u32 {
    LIST_MAX
}

/// `GET /api/elections`.
pub(super) async fn list(State(gateway): Shared, RawQuery(text): RawQuery) -> Result<Answer, Problem> {
    let Page { from, limit } = query(text.as_deref())?;
    let params = json!({ "from": from, "limit": limit });
    let mut answer = gateway.query("elections", params).await.map_err(|error| Problem::of_query(&error))?;
    about(&gateway, &mut answer).await;
    Answer::ok(answer)
}

/// `GET /api/elections/{id}`: `id` is the election's, or its draft's.
pub(super) async fn one(State(gateway): Shared, Path(id): Path<String>) -> Result<Answer, Problem> {
    let id = election_id(&id)?;
    let mut answer = election(&gateway, &id).await?;
    set(&mut answer, "held", json!(gateway.outbox.index().of_election(&id)));
    about(&gateway, &mut answer).await;
    Answer::ok(answer)
}

fn set(answer: &mut Value, key: &str, value: Value) {
    if let Some(fields) = answer.as_object_mut() {
        fields.insert(key.into(), value);
    }
}

/// From where an answer is, and how far that is verified.
async fn about(gateway: &Gateway, answer: &mut Value) {
    let status = gateway.status().await;
    set(answer, "source", json!("follower"));
    set(answer, "verified", json!(gateway.verified(status.as_ref())));
}

/// `GET /api/votes/results`.
pub(super) async fn results(State(gateway): Shared, RawQuery(text): RawQuery) -> Result<Answer, Problem> {
    let id = OfElection::read(text.as_deref())?;
    let id = id.ok_or_else(|| Problem::malformed("the parameter `election_id` is missing"))?;
    let found = election(&gateway, &id).await?;
    let Some(eid) = found.get("eid").and_then(Value::as_str).and_then(|eid| eid.parse::<Hash>().ok()) else {
        let detail = format!("election {id} is not opened yet");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "not_open", detail));
    };
    let chain = verify::grown(&gateway, &eid).await?;
    let proof = verify::tally(&gateway, &eid).await?;
    let ballots = found.get("ballots").and_then(Value::as_u64).unwrap_or(0);
    let credentials = found.pointer("/list/credentials").and_then(Value::as_u64).unwrap_or(0);
    let counted = matches!(proof, Some(Ok(())));
    let contests: Vec<Value> = found
        .get("contests")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .enumerate()
        .map(|(at, contest)| contest_of(contest, found.get("result").filter(|_| counted).and_then(|all| all.get(at))))
        .collect();
    let (tally_proof, tally_problem) = match proof {
        None => ("not_decided", None),
        Some(Ok(())) => ("verified", None),
        Some(Err(what)) => ("failed", Some(what)),
    };
    // The application may have counted a block that came after the check.
    let agrees = chain.total_votes == ballots || found.get("state").and_then(Value::as_str) == Some("manifest");
    let mut answer = json!({
        "election_id": eid,
        "title": found.get("title"),
        "state": found.get("state"),
        "contests": contests,
        "total_votes": ballots,
        "participation": {
            "credentials": credentials,
            "ballots": ballots,
            "percentage": percentage(ballots, credentials),
        },
        "held": gateway.outbox.index().of_election(&eid),
        "verification": {
            "chain_valid": chain.chain_valid && agrees,
            "total_blocks": chain.total_blocks,
            "total_votes": chain.total_votes,
            "head_hash": chain.head_hash,
            "tally_proof": tally_proof,
            "problem": chain.problem.or(tally_problem),
            "took_ms": chain.took_ms,
            "checked_at": chain.checked_at,
        },
    });
    about(&gateway, &mut answer).await;
    Answer::ok(answer)
}

/// A contest's options with their counts; null before they are proven.
fn contest_of(contest: &Value, counts: Option<&Value>) -> Value {
    let options: Vec<Value> = contest
        .get("options")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .enumerate()
        .map(|(at, option)| json!({ "option": option, "votes": counts.and_then(|counts| counts.get(at)) }))
        .collect();
    json!({ "title": contest.get("title"), "options": options })
}

/// Two decimal places.
fn percentage(part: u64, whole: u64) -> f64 {
    match whole {
        0 => 0.0,
        _ => (part as f64 * 10_000.0 / whole as f64).round() / 100.0,
    }
}

/// `POST /api/votes/verify-blockchain`.
pub(super) async fn verify(State(gateway): Shared, RawQuery(text): RawQuery) -> Result<Answer, Problem> {
    let id = OfElection::read(text.as_deref())?;
    let (eid, counted) = match &id {
        None => (None, None),
        Some(id) => {
            let found = election(&gateway, id).await?;
            let eid = found.get("eid").and_then(Value::as_str).and_then(|eid| eid.parse::<Hash>().ok());
            let eid = eid.ok_or_else(|| Problem::not_found(format!("election {id} is not opened yet")))?;
            let ballots = found.get("ballots").and_then(Value::as_u64);
            let is_over = found.get("state").and_then(Value::as_str) != Some("manifest");
            (Some(eid), ballots.filter(|_| is_over))
        }
    };
    let mut chain = verify::anew(&gateway, eid.as_ref()).await?;
    if let (true, Some(counted)) = (chain.chain_valid, counted)
        && counted != chain.total_votes
    {
        chain.chain_valid = false;
        chain.problem = Some(format!("the chain has {} ballots, the application counted {counted}", chain.total_votes));
    }
    let mut answer = serde_json::to_value(&chain).map_err(|error| Problem::internal(error.to_string()))?;
    set(&mut answer, "election_id", json!(eid));
    set(&mut answer, "head_height", json!(chain.total_blocks));
    about(&gateway, &mut answer).await;
    Answer::ok(answer)
}
