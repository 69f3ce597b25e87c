//! Ballots: taking them, saying how they stand, and their receipts.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::{RawQuery, State},
    http::StatusCode,
};
use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use quorate::{
    Hash, Receipt, Timestamp, TransactionId,
    application::Rejection,
    node::{Health, SubmitError, TransactionState},
};
use quorate_client::Confirmation;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    Shared,
    params::{ALIAS, election_id, query, transaction_id},
};
use crate::{
    answer::{Answer, Problem},
    gateway::{Gateway, Word},
    outbox::{AcceptError, Held, Standing, record::Parcel},
};

/// Base64 of RFC 4648, section 4, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Fields beside an encrypted ballot which would give the choice away.
const TELLTALES: [&str; 6] = ["candidate_id", "candidate", "candidates", "choice", "choices", "vote"];

/// How long a validator may take to say how a transaction stands that this node does not know.
const ASK_WITHIN: Duration = Duration::from_secs(3);

/// When a full outbox may have room again, in seconds.
const FULL_RETRY_S: u64 = 5;

#[derive(Deserialize)]
struct Submission {
    election_id: String,
    encrypted_vote: String,
    #[serde(flatten)]
    beside: Map<String, Value>,
}

/// What was sent, whatever its content type says.
fn read(body: &[u8]) -> Result<Parcel, Problem> {
    let read: Submission = serde_json::from_slice(body)
        .map_err(|error| Problem::malformed(format!("the body is not what was expected: {error}")))?;
    if let Some(field) = TELLTALES.iter().find(|field| read.beside.contains_key(**field)) {
        let detail = format!(
            "`{field}` beside an encrypted vote would give the choice away; send `election_id` and `encrypted_vote` only. \
             The ballot was not taken"
        );
        return Err(Problem::new(StatusCode::BAD_REQUEST, "choice_revealed", detail));
    }
    let election = election_id(&read.election_id)?;
    let ballot = BASE64
        .decode(&read.encrypted_vote)
        .map_err(|error| Problem::malformed(format!("`encrypted_vote` is not base64: {error}")))?;
    let parcel = Parcel::of_ballot(ballot).map_err(|why| Problem::malformed(format!("`encrypted_vote`: {why}")))?;
    if parcel.eid != *election.as_bytes() {
        let detail = format!("the ballot is of election {}, `election_id` is {election}", Hash::new(parcel.eid));
        return Err(Problem::malformed(detail));
    }
    Ok(parcel)
}

/// `POST /api/votes/submit`.
pub(super) async fn submit(State(gateway): Shared, body: Bytes) -> Result<Answer, Problem> {
    let parcel = read(&body)?;
    let unreadable = |why: String| Problem::later("unavailable", why, 2);
    // The same ballot again has the same answer.
    if let Some(held) = gateway.outbox.find(&parcel.id).await.map_err(unreadable)?
        && held.settled.as_ref().is_none_or(|ended| ended.is_final)
    {
        if held.settled.is_none() {
            gateway.outbox.index().insert(&held, None);
            gateway.work.notify_one();
        }
        return answer(&gateway, &held).await;
    }
    if let Some(holder) = gateway.outbox.holder(&parcel).await.map_err(unreadable)? {
        return Err(Problem::duplicate(&holder));
    }
    match gateway.node.check(parcel.transaction.clone()).await {
        Ok(_) => {}
        // Another way than through here.
        Err(SubmitError::Rejected(Rejection::Duplicate { winner })) if winner == parcel.id => {}
        Err(error) => return Err(refusal(&gateway, &error).await),
    }
    if let Ok(TransactionState::Final(receipt)) = gateway.node.transaction(parcel.id).await {
        return Ok(known_final(&receipt, &parcel));
    }
    if gateway.outbox.is_full() {
        return Err(full(&gateway));
    }
    let held = match gateway.outbox.accept(&parcel).await {
        Ok(held) => held,
        Err(AcceptError::Taken(winner)) => return Err(Problem::duplicate(&winner)),
        Err(AcceptError::Full { .. }) => return Err(full(&gateway)),
        Err(error @ AcceptError::Failed(_)) => {
            let detail =
                format!("{error}; whether it is held is not known: send the same ballot again, it counts once");
            return Err(Problem::later("unavailable", detail, 2));
        }
    };
    gateway.metrics.accepted.inc();
    // The ballot is durable: whatever happens from here on, it is forwarded.
    let first = gateway.outbox.index().first_attempt(&parcel.id);
    gateway.work.notify_one();
    if let Some(first) = first
        && gateway.client.can_ask()
    {
        let _ = tokio::time::timeout(gateway.forward_wait, first).await;
    }
    answer(&gateway, &held).await
}

/// Why the node refuses a ballot; one that is behind may only not know the election yet.
async fn refusal(gateway: &Gateway, error: &SubmitError) -> Problem {
    let problem = Problem::of_submit(error);
    let may_not_know = match error {
        SubmitError::Rejected(Rejection::NotAllowed(why)) => why.contains("ballot.election"),
        _ => false,
    };
    if may_not_know {
        let status = gateway.status().await;
        let behind = status.as_ref().is_none_or(|status| status.status == Health::Syncing);
        if behind || gateway.verified(status.as_ref()).stale {
            let detail = "this backend does not know the election, and may be behind the chain; try again, or submit to a validator";
            return Problem::later("behind", detail, 2);
        }
    }
    problem
}

fn full(gateway: &Gateway) -> Problem {
    let (count, bounds) = (gateway.outbox.index().len(), gateway.outbox.bounds());
    let detail = format!(
        "the outbox is full: it holds {count} ballots of at most {}, {} bytes of at most {}. The ballot was not taken; try again later, or submit to a validator",
        bounds.count_max,
        gateway.outbox.index().bytes(),
        bounds.bytes_max
    );
    Problem::later("outbox_full", detail, FULL_RETRY_S)
}

/// What is answered for a ballot that is held, or was.
async fn answer(gateway: &Gateway, held: &Held) -> Result<Answer, Problem> {
    let mut body = json!({
        "id": alias(&held.id),
        "transaction_id": held.id,
        "ballot_hash": held.tracker,
        "timestamp": Timestamp(held.accepted_ms).utc(),
    });
    let standing = gateway.outbox.index().standing(&held.id);
    let (word, warning) = match standing {
        Some(standing) => {
            if let Standing::Taken { by } = &standing {
                set(&mut body, "validator", json!(by));
            }
            gateway.told(&standing)
        }
        // It is settled, perhaps since a moment ago.
        None => {
            let now = gateway.outbox.find(&held.id).await.map_err(|why| Problem::later("unavailable", why, 2))?;
            match now.and_then(|held| held.settled) {
                Some(ended) if ended.is_final => {
                    set(&mut body, "block_hash", json!(ended.block_hash));
                    set(&mut body, "block_number", json!(ended.height));
                    (Word::Submitted, None)
                }
                Some(ended) => {
                    let problem = match &ended.winner {
                        Some(winner) => Problem::duplicate(winner),
                        None => {
                            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "not_open", ended.reason.unwrap_or_default())
                        }
                    };
                    return Err(problem);
                }
                None => (Word::Queued, Some("the vote is held by this backend".into())),
            }
        }
    };
    set(&mut body, "status", json!(word));
    if let Some(warning) = warning {
        set(&mut body, "warning", json!(warning));
    }
    Ok(Answer(if word == Word::Submitted { StatusCode::OK } else { StatusCode::ACCEPTED }, body))
}

fn set(body: &mut Value, key: &str, value: Value) {
    if let Some(fields) = body.as_object_mut() {
        fields.insert(key.into(), value);
    }
}

fn alias(id: &TransactionId) -> String {
    format!("{ALIAS}{}", hex::encode(id.as_bytes()))
}

/// A ballot that went another way, and is final.
fn known_final(receipt: &Receipt, parcel: &Parcel) -> Answer {
    Answer(
        StatusCode::OK,
        json!({
            "id": alias(&parcel.id),
            "transaction_id": parcel.id,
            "ballot_hash": Hash::new(parcel.tracker),
            "timestamp": receipt.header.time.utc(),
            "status": Word::Submitted,
            "block_hash": receipt.block_hash,
            "block_number": receipt.header.height,
        }),
    )
}

#[derive(Deserialize)]
struct OfTransaction {
    transaction_id: Option<String>,
    election_id: Option<String>,
}

impl OfTransaction {
    fn read(text: Option<&str>) -> Result<(TransactionId, Option<Hash>), Problem> {
        let read: Self = query(text)?;
        let id = read.transaction_id.ok_or_else(|| Problem::malformed("the parameter `transaction_id` is missing"))?;
        let election = read.election_id.map(|id| election_id(&id)).transpose()?;
        Ok((transaction_id(&id)?, election))
    }
}

/// The election of a ballot's transaction.
fn election_of(transaction: &quorate::Bytes) -> Option<Hash> {
    Parcel::of_transaction(transaction.clone()).ok().map(|parcel| Hash::new(parcel.eid))
}

fn same_election(wanted: Option<Hash>, found: Option<Hash>) -> Result<(), Problem> {
    match (wanted, found) {
        (Some(wanted), Some(found)) if wanted != found => {
            let detail = format!("the transaction is of election {found}, `election_id` is {wanted}");
            Err(Problem::malformed(detail))
        }
        (Some(wanted), None) => {
            Err(Problem::malformed(format!("the transaction is no ballot, and so none of election {wanted}")))
        }
        _ => Ok(()),
    }
}

/// `GET /api/votes/transaction-status`.
pub(super) async fn status(State(gateway): Shared, RawQuery(text): RawQuery) -> Result<Answer, Problem> {
    let (id, election) = OfTransaction::read(text.as_deref())?;
    if let Ok(TransactionState::Final(receipt)) = gateway.node.transaction(id).await {
        same_election(election, election_of(&receipt.transaction))?;
        return Ok(confirmed(&id, receipt.header.height.0, receipt.block_hash, "follower"));
    }
    let held = gateway.outbox.find(&id).await.map_err(|why| Problem::later("unavailable", why, 2))?;
    if let Some(held) = held {
        same_election(election, Some(held.eid))?;
        return Ok(of_held(&gateway, &held));
    }
    of_others(&gateway, &id, election).await
}

fn confirmed(id: &TransactionId, height: u64, block_hash: Hash, source: &str) -> Answer {
    Answer(
        StatusCode::OK,
        json!({
            "status": "confirmed",
            "confirmed": true,
            "transaction_id": id,
            "block_number": height,
            "block_hash": block_hash,
            "gas_used": 0,
            "source": source,
        }),
    )
}

fn not_confirmed(id: &TransactionId, status: &str, source: &str, more: Value) -> Answer {
    let mut body = json!({
        "status": status,
        "confirmed": false,
        "transaction_id": id,
        "block_number": null,
        "block_hash": null,
        "gas_used": null,
        "source": source,
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        set(&mut body, key, value.clone());
    }
    Answer(StatusCode::OK, body)
}

fn of_held(gateway: &Gateway, held: &Held) -> Answer {
    if let Some(ended) = &held.settled {
        return match (ended.is_final, ended.height, ended.block_hash) {
            // Whose receipt was verified when it was settled.
            (true, Some(height), Some(hash)) => {
                confirmed(&held.id, height, hash, ended.source.as_deref().unwrap_or("follower"))
            }
            _ => {
                let more = json!({ "reason": ended.reason, "winner": ended.winner });
                not_confirmed(&held.id, "rejected", "follower", more)
            }
        };
    }
    let standing = gateway.outbox.index().standing(&held.id).unwrap_or(Standing::Queued { reason: None });
    let (word, warning) = gateway.told(&standing);
    match (standing, word) {
        (Standing::Taken { by }, Word::Submitted) => {
            not_confirmed(&held.id, "pending", &format!("validator:{by}"), json!({ "validator": by }))
        }
        _ => not_confirmed(&held.id, "queued", "outbox", json!({ "warning": warning })),
    }
}

/// What neither this node's chain nor its outbox knows: validators may.
async fn of_others(gateway: &Arc<Gateway>, id: &TransactionId, election: Option<Hash>) -> Result<Answer, Problem> {
    if !gateway.client.can_ask() {
        let warning = "no validator answers: one of them may know it";
        return Ok(not_confirmed(id, "unknown", "none", json!({ "warning": warning })));
    }
    let Ok(_room) = gateway.look_ups.try_acquire() else {
        let warning = "too many are asked for that this backend does not know; ask again";
        return Ok(not_confirmed(id, "unknown", "none", json!({ "warning": warning })));
    };
    match tokio::time::timeout(ASK_WITHIN, gateway.client.confirmation_status(id)).await {
        Ok(Ok(Confirmation::Final(receipt))) => {
            same_election(election, election_of(&receipt.transaction))?;
            Ok(confirmed(id, receipt.header.height.0, receipt.block_hash, "validators"))
        }
        Ok(Ok(Confirmation::Pending(by))) if gateway.reach().is_quorum() => {
            Ok(not_confirmed(id, "pending", &format!("validator:{by}"), json!({ "validator": by })))
        }
        Ok(Ok(Confirmation::Pending(by))) => {
            let warning = format!("{by} has it, but {}", gateway.reach().in_words());
            Ok(not_confirmed(id, "unknown", &format!("validator:{by}"), json!({ "warning": warning })))
        }
        Ok(Ok(Confirmation::Unknown)) => Ok(not_confirmed(id, "unknown", "validators", json!({}))),
        Ok(Err(error)) => Ok(not_confirmed(id, "unknown", "none", json!({ "warning": error.to_string() }))),
        Err(_) => {
            let warning = format!("validators did not answer within {} s", ASK_WITHIN.as_secs());
            Ok(not_confirmed(id, "unknown", "none", json!({ "warning": warning })))
        }
    }
}

/// `GET /api/votes/receipt`: what `quorate verify receipt` checks.
pub(super) async fn receipt(State(gateway): Shared, RawQuery(text): RawQuery) -> Result<Answer, Problem> {
    let (id, election) = OfTransaction::read(text.as_deref())?;
    let found = match gateway.node.transaction(id).await {
        Ok(TransactionState::Final(receipt)) => Some(receipt),
        _ if gateway.client.can_ask() => {
            let Ok(_room) = gateway.look_ups.try_acquire() else {
                return Err(Problem::later(
                    "busy",
                    "too many receipts are asked for that this backend does not have",
                    1,
                ));
            };
            let asked = tokio::time::timeout(ASK_WITHIN, gateway.client.receipt(&id)).await;
            asked.ok().and_then(Result::ok).flatten().map(Box::new)
        }
        _ => None,
    };
    let Some(receipt) = found else {
        let detail = format!("{id} is not final as far as this backend can see; ask transaction-status how it stands");
        return Err(Problem::not_found(detail));
    };
    same_election(election, election_of(&receipt.transaction))?;
    Ok(Answer(
        StatusCode::OK,
        json!({
            "status": "final",
            "transaction_id": id,
            "block_number": receipt.header.height,
            "block_hash": receipt.block_hash,
            "index": receipt.transaction_path.index,
            "time": receipt.header.time,
            "receipt": receipt,
        }),
    ))
}
