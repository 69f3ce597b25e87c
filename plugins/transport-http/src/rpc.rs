//! JSON-RPC 2.0: requests, batches, notifications and errors, as its specification has them.

use quorate::Bytes;
use serde_json::{Value, json};

use crate::methods::{Caller, RpcError};

/// How deep a request may be nested.
const DEPTH_MAX: usize = 32;

/// Answers the body of a request; `None` when nothing is to be said.
pub(crate) async fn answer(body: &[u8], caller: &Caller, admin: bool, batch_max: usize) -> Option<Bytes> {
    let answer = match parse(body) {
        Err(error) => Some(error_response(Value::Null, &error)),
        Ok(Value::Array(calls)) => batch(calls, caller, admin, batch_max).await,
        Ok(call) => one(call, caller, admin).await,
    }?;
    // Values of plain JSON always can be written.
    serde_json::to_vec(&answer).ok().map(Bytes::from)
}

fn parse(body: &[u8]) -> Result<Value, RpcError> {
    let mut depth = 0usize;
    let mut in_text = false;
    let mut escaped = false;
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => depth += 1,
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Err(RpcError::new(-32700, "parse error", format!("nested deeper than {DEPTH_MAX}")));
        }
    }
    serde_json::from_slice(body).map_err(|error| RpcError::new(-32700, "parse error", error.to_string()))
}

async fn batch(calls: Vec<Value>, caller: &Caller, admin: bool, batch_max: usize) -> Option<Value> {
    if calls.is_empty() || calls.len() > batch_max {
        let why = format!("a batch has 1 to {batch_max} calls, this one has {}", calls.len());
        return Some(error_response(Value::Null, &RpcError::new(-32600, "invalid request", why)));
    }
    let mut answers = Vec::with_capacity(calls.len());
    for call in calls {
        answers.extend(one(call, caller, admin).await);
    }
    (!answers.is_empty()).then_some(Value::Array(answers))
}

async fn one(call: Value, caller: &Caller, admin: bool) -> Option<Value> {
    let invalid = |why: &str| RpcError::new(-32600, "invalid request", why.to_owned());
    let Value::Object(mut call) = call else {
        return Some(error_response(Value::Null, &invalid("a call is an object")));
    };
    let id = call.remove("id");
    let shown = match &id {
        None | Some(Value::Null | Value::String(_) | Value::Number(_)) => id.clone().unwrap_or(Value::Null),
        Some(_) => return Some(error_response(Value::Null, &invalid("id must be a text, a number or null"))),
    };
    if call.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Some(error_response(shown, &invalid("jsonrpc must be \"2.0\"")));
    }
    let Some(Value::String(method)) = call.remove("method") else {
        return Some(error_response(shown, &invalid("method must be a text")));
    };
    let params = call.remove("params").unwrap_or(Value::Array(Vec::new()));
    let result = match params {
        Value::Array(_) | Value::Object(_) => caller.call(&method, params, admin).await,
        _ => Err(RpcError::params("params must be an array or an object")),
    };
    // A notification has no id and no answer.
    id?;
    Some(match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": shown, "result": result }),
        Err(error) => error_response(shown, &error),
    })
}

fn error_response(id: Value, error: &RpcError) -> Value {
    json!({
        "jsonrpc": "2.0",
        "id": id,
        "error": { "code": error.code, "message": error.message, "data": error.data },
    })
}
