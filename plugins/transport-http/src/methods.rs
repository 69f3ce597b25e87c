//! The native methods, `quorate_*`, and what their errors mean.
//!
//! | code | meaning | `data` |
//! |---|---|---|
//! | -32010 | duplicate: another transaction took the same effect | `winner`, its id |
//! | -32011 | rejected by the application | `reason` |
//! | -32012 | pool full | `retry_after_ms` |
//! | -32013 | transaction too large | `limit` |
//! | -32014 | the node can't answer now | `reason` |
//! | -32015 | only for the operator | `reason` |

use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HeaderMap};
use quorate::{
    Bytes, Hash, Height, TransactionId,
    application::{QueryError, Rejection},
    node::{BlockId, FinalBlock, NodeHandle, Request, Response, SubmitError, TransactionState},
};
use serde_json::{Value, json};

/// Bytes of blocks in one answer at most.
const RANGE_BYTES: u32 = 4 << 20;

/// An error as JSON-RPC has it.
#[derive(Debug)]
pub(crate) struct RpcError {
    pub(crate) code: i32,
    pub(crate) message: String,
    pub(crate) data: Value,
}

impl RpcError {
    pub(crate) fn new(code: i32, message: impl Into<String>, why: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: json!({ "reason": why.into() }) }
    }

    pub(crate) fn params(why: impl Into<String>) -> Self {
        Self::new(-32602, "invalid params", why)
    }

    fn unavailable(why: impl Into<String>) -> Self {
        Self::new(-32014, "the node can't answer", why)
    }
}

/// Calls the node for clients.
pub(crate) struct Caller {
    pub(crate) node: NodeHandle,
    pub(crate) version: String,
    pub(crate) admin_token: Option<Arc<str>>,
}

type Answer = Result<Value, RpcError>;

fn hex_of(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

/// The parameter at `index`, or of this name.
fn param<'a>(params: &'a Value, index: usize, name: &str) -> Option<&'a Value> {
    match params {
        Value::Array(list) => list.get(index),
        Value::Object(map) => map.get(name),
        _ => None,
    }
}

fn text<'a>(params: &'a Value, index: usize, name: &str) -> Result<&'a str, RpcError> {
    let found = param(params, index, name).and_then(Value::as_str);
    found.ok_or_else(|| RpcError::params(format!("parameter {index}, `{name}`, must be a text")))
}

fn bytes(params: &Value, index: usize, name: &str) -> Result<Bytes, RpcError> {
    let digits = text(params, index, name)?;
    let digits = digits.strip_prefix("0x").ok_or_else(|| RpcError::params(format!("`{name}` must begin with 0x")))?;
    hex::decode(digits).map(Bytes::from).map_err(|error| RpcError::params(format!("`{name}`: {error}")))
}

fn transaction_id(params: &Value) -> Result<TransactionId, RpcError> {
    text(params, 0, "id")?
        .parse()
        .map_err(|error: quorate::primitives::HexError| RpcError::params(format!("`id`: {error}")))
}

fn block_id(params: &Value) -> Result<BlockId, RpcError> {
    let wrong = || RpcError::params("`block` must be a height, a 32-byte hash in 0x-hexadecimal, or \"latest\"");
    match param(params, 0, "block") {
        None => Ok(BlockId::Latest),
        Some(Value::Number(number)) => number.as_u64().map(|height| BlockId::Height(Height(height))).ok_or_else(wrong),
        Some(Value::String(word)) if word == "latest" => Ok(BlockId::Latest),
        Some(Value::String(word)) => match word.parse::<Hash>() {
            Ok(hash) => Ok(BlockId::Hash(hash)),
            Err(_) => word.parse().map(|height| BlockId::Height(Height(height))).map_err(|_| wrong()),
        },
        Some(_) => Err(wrong()),
    }
}

fn submit_error(error: SubmitError) -> RpcError {
    let message = error.to_string();
    let (code, data) = match error {
        SubmitError::Rejected(Rejection::Duplicate { winner }) => (-32010, json!({ "winner": winner })),
        SubmitError::Rejected(rejection) => (-32011, json!({ "reason": rejection.to_string() })),
        SubmitError::PoolFull { count, bytes, retry_after_ms } => {
            (-32012, json!({ "count": count, "bytes": bytes, "retry_after_ms": retry_after_ms }))
        }
        SubmitError::TooLarge { limit, .. } => (-32013, json!({ "limit": limit })),
        other => (-32014, json!({ "reason": other.to_string() })),
    };
    RpcError { code, message, data }
}

fn block_json(found: &FinalBlock) -> Value {
    json!({
        "hash": found.block.hash(),
        "header": found.block.header(),
        "height": found.block.height(),
        "time": found.block.header().time,
        "proposer": found.creator,
        "proposer_key": found.creator_key,
        "transactions": found.transaction_ids,
        "evidence": found.block.evidence().len(),
        "bytes": found.block.encoded().len(),
        "certificate": certificate_json(&found.certificate),
        "proof": hex_of(&found.proof),
    })
}

fn certificate_json(certificate: &quorate::consensus::Certificate) -> Value {
    let signatures: Vec<Value> = certificate
        .signatures
        .iter()
        .map(|(validator, signature)| json!({ "validator": validator, "signature": signature }))
        .collect();
    json!({ "round": certificate.round, "signatures": signatures })
}

/// Every method, for the error that names them.
const METHODS: &str = "quorate_status, quorate_validators, quorate_block, quorate_submit, quorate_receipt, quorate_pool, \
                       quorate_evidence, quorate_query, quorate_genesis, quorate_blockRange, quorate_backup, web3_clientVersion";

impl Caller {
    /// Whether the request carries the operator's token; the comparison takes the same time wherever they differ.
    pub(crate) fn is_admin(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.admin_token else { return false };
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let given = given.strip_prefix("Bearer ").unwrap_or_default();
        let (a, b) = (Hash::of(&[given.as_bytes()]), Hash::of(&[token.as_bytes()]));
        a.as_bytes().iter().zip(b.as_bytes()).fold(0, |acc, (x, y)| acc | (x ^ y)) == 0
    }

    pub(crate) async fn call(&self, method: &str, params: Value, admin: bool) -> Answer {
        let request = match method {
            "quorate_status" => Request::Status,
            "quorate_validators" => {
                Request::Validators(param(&params, 0, "height").and_then(Value::as_u64).map(Height))
            }
            "quorate_block" => Request::Block(block_id(&params)?),
            "quorate_submit" => Request::Submit(bytes(&params, 0, "transaction")?),
            "quorate_receipt" => Request::Transaction(transaction_id(&params)?),
            "quorate_pool" => Request::Pool,
            "quorate_evidence" => Request::Evidence,
            "quorate_query" => Request::Query {
                path: text(&params, 0, "path")?.into(),
                params: param(&params, 1, "params").unwrap_or(&Value::Null).to_string().into(),
            },
            "quorate_genesis" => Request::Genesis,
            "quorate_blockRange" => {
                let from = param(&params, 0, "from").and_then(Value::as_u64);
                let from = from.ok_or_else(|| RpcError::params("`from` must be a height"))?;
                Request::BlockRange { from: Height(from), bytes_max: RANGE_BYTES }
            }
            "quorate_backup" if admin => Request::Backup { directory: text(&params, 0, "directory")?.into() },
            "quorate_backup" => {
                let why = "send the operator's token as `Authorization: Bearer ..`";
                return Err(RpcError::new(-32015, "only for the operator", why));
            }
            "web3_clientVersion" => return Ok(json!(format!("Quorate/v{}", self.version))),
            _ => {
                let why = format!("there are {METHODS}");
                return Err(RpcError::new(-32601, format!("unknown method `{method}`"), why));
            }
        };
        answer(self.node.request(request).await)
    }
}

fn answer(response: Response) -> Answer {
    Ok(match response {
        Response::Status(status) => json!(status),
        Response::Validators { height, validators } => json!({ "height": height, "validators": validators }),
        Response::Block(found) => found.map_or(Value::Null, |found| block_json(&found)),
        Response::Submitted(result) => json!(result.map_err(submit_error)?),
        Response::Transaction(TransactionState::Unknown) => Value::Null,
        Response::Transaction(TransactionState::Pending(_)) => json!({ "status": "pending" }),
        Response::Transaction(TransactionState::Final(receipt)) => json!({
            "status": "final",
            "block_number": receipt.header.height,
            "block_hash": receipt.block_hash,
            "receipt": receipt,
        }),
        Response::Pool(pool) => json!(pool),
        Response::Evidence(records) => json!(records),
        Response::Query(Ok(found)) => serde_json::from_slice(&found)
            .map_err(|error| RpcError::new(-32603, "internal error", error.to_string()))?,
        Response::Query(Err(error @ (QueryError::UnknownPath { .. } | QueryError::BadParams(_)))) => {
            return Err(RpcError::params(error.to_string()));
        }
        Response::Query(Err(error)) => return Err(RpcError::unavailable(error.to_string())),
        Response::Text(text) => json!(text),
        Response::Blocks(blocks) => {
            let blocks: Vec<Value> =
                blocks.iter().map(|(block, proof)| json!({ "block": hex_of(block), "proof": hex_of(proof) })).collect();
            json!({ "blocks": blocks })
        }
        Response::BackedUp(height) => json!({ "height": height }),
        Response::Unavailable(why) => return Err(RpcError::unavailable(why)),
        _ => return Err(RpcError::new(-32603, "internal error", "the node gave an unknown answer")),
    })
}
