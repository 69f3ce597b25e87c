//! One validator: its address, how it stands, and JSON-RPC to it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hyper::Uri;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::{
    health::{Failure, Said, State, ValidatorStatus},
    http::{ANSWER_BYTES_MAX, Http, NoAnswer},
    settings::{Endpoint, Settings, SettingsError, url},
};

/// An error object of JSON-RPC.
#[derive(Debug, Clone)]
pub(crate) struct RpcError {
    pub(crate) code: i64,
    pub(crate) message: String,
    pub(crate) data: Value,
}

impl RpcError {
    /// A text of `data`, no longer than what is kept of a validator's words.
    pub(crate) fn text(&self, key: &str) -> Option<String> {
        self.data.get(key).and_then(Value::as_str).map(cut)
    }

    fn of(error: &Value) -> Self {
        let message = error.get("message").and_then(Value::as_str).unwrap_or("no message");
        let data = error.get("data").cloned().unwrap_or(Value::Null);
        let reason = data.get("reason").and_then(Value::as_str);
        let message = reason.map_or_else(|| message.to_owned(), |reason| format!("{message}: {reason}"));
        Self { code: error.get("code").and_then(Value::as_i64).unwrap_or_default(), message: cut(&message), data }
    }

    /// Whether it says only that this validator can't answer now.
    pub(crate) fn is_failure(&self) -> bool {
        matches!(self.code, -32603 | -32014)
    }
}

/// Characters that are kept of a validator's words.
const WORDS_MAX: usize = 300;

fn cut(text: &str) -> String {
    text.chars().take(WORDS_MAX).collect()
}

/// Bytes of the answer to one call at most: what an honest node may give, and not much more, as an answer in memory is a multiple of its text.
fn answer_bytes_max(method: &str) -> usize {
    match method {
        "quorate_submit" => 4 << 10,
        "quorate_status" => 256 << 10,
        "quorate_blockRange" => ANSWER_BYTES_MAX,
        // A transaction in hexadecimal, twice at most, with its paths; an election's description.
        _ => 1 << 20,
    }
}

/// What a call gave.
pub(crate) type Called = Result<Value, RpcError>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Validator {
    pub(crate) endpoint: Endpoint,
    uri: Uri,
    calls: Semaphore,
    calls_max: usize,
    state: Mutex<State>,
}

impl Validator {
    pub(crate) fn new(endpoint: Endpoint, settings: &Settings) -> Result<Self, SettingsError> {
        let calls_max = settings.calls_per_validator_max.max(1);
        Ok(Self {
            uri: url(&endpoint.rpc_url)?,
            calls: Semaphore::new(calls_max),
            calls_max,
            state: Mutex::default(),
            endpoint,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.endpoint.name
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.calls_max.saturating_sub(self.calls.available_permits())
    }

    /// It was caught with what can't be true.
    pub(crate) fn lied(&self, what: &str, settings: &Settings) {
        tracing::warn!(validator = self.name(), what, "a validator says what can't be true");
        self.state().lied(Instant::now(), what.into(), settings);
    }

    /// Makes calls in one request. An `Err` inside is the validator's answer; an `Err` outside is none, and counted.
    pub(crate) async fn calls(
        &self,
        http: &Http,
        settings: &Settings,
        calls: &[(&str, Value)],
        within: Duration,
    ) -> Result<Vec<Called>, NoAnswer> {
        // The wait for a free connection is part of the attempt's time, but says nothing of the validator.
        let waited = Instant::now();
        let Ok(Ok(_permit)) = tokio::time::timeout(within, self.calls.acquire()).await else {
            let why = format!("this client asks it {} things at a time already", self.calls_max);
            return Err(NoAnswer { kind: Failure::Timeout, why });
        };
        let begun = Instant::now();
        let within = within.saturating_sub(waited.elapsed()).max(Duration::from_millis(1));
        let max = calls.iter().map(|(method, _)| answer_bytes_max(method)).sum();
        let answer = http.post(&self.uri, body(calls), within, max).await;
        let read = answer.and_then(|bytes| Ok((read(&bytes, calls.len())?, begun.elapsed())));
        match read {
            Ok((answers, took)) => {
                let failing = answers.iter().find_map(|one| one.as_ref().err().filter(|error| error.is_failure()));
                match failing.map(|error| error.message.clone()) {
                    // It says itself that it can't.
                    Some(why) if answers.iter().all(Result::is_err) => {
                        self.failed(begun, Failure::Nonsense, why, settings);
                    }
                    _ => self.state().answered(Instant::now(), took),
                }
                Ok(answers)
            }
            Err(no_answer) => {
                self.failed(begun, no_answer.kind, no_answer.why.clone(), settings);
                Err(no_answer)
            }
        }
    }

    fn failed(&self, begun: Instant, kind: Failure, why: String, settings: &Settings) {
        let mut jitter = [0u8];
        // Without randomness all rest equally long, which harms nobody.
        let _ = getrandom::fill(&mut jitter);
        let [jitter] = jitter;
        self.state().failed(begun, Instant::now(), (kind, why), jitter, settings);
    }

    /// One call.
    pub(crate) async fn call(
        &self,
        http: &Http,
        settings: &Settings,
        method: &str,
        params: Value,
        within: Duration,
    ) -> Result<Called, NoAnswer> {
        let mut answers = self.calls(http, settings, &[(method, params)], within).await?;
        answers.pop().ok_or_else(|| NoAnswer::nonsense("an empty answer"))
    }

    /// Asks how it stands, and keeps the answer; gives its chain's id, as it says.
    pub(crate) async fn probe(&self, http: &Http, settings: &Settings) -> Result<Option<String>, NoAnswer> {
        let status = match self.call(http, settings, "quorate_status", json!([]), settings.attempt_timeout).await? {
            Ok(status) => status,
            Err(error) => return Err(NoAnswer::nonsense(error.message)),
        };
        let text = |key: &str| status.get(key).and_then(Value::as_str).map(str::to_owned);
        let Some(height) = status.get("height").and_then(Value::as_u64) else {
            let why = "a status without height";
            self.failed(Instant::now(), Failure::Nonsense, why.into(), settings);
            return Err(NoAnswer::nonsense(why));
        };
        self.state().said(Said {
            height,
            hash: text("hash").and_then(|hash| hash.parse().ok()),
            status: text("status").unwrap_or_default().chars().take(40).collect(),
            detail: text("detail").map(|detail| detail.chars().take(300).collect()),
            quorum: status.pointer("/engine/quorum").and_then(Value::as_u64),
            key: text("public_key").and_then(|key| key.parse().ok()),
        });
        Ok(text("chain_id"))
    }

    pub(crate) fn status(&self, now: Instant, best: u64, settings: &Settings) -> ValidatorStatus {
        let state = self.state();
        let (status, reason) = state.health(now, best, settings);
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        ValidatorStatus {
            node_id: self.endpoint.name.clone(),
            rpc_url: self.endpoint.rpc_url.clone(),
            p2p_url: self.endpoint.p2p_url.clone(),
            status,
            reason,
            height: state.height(),
            hash: state.hash(),
            quorum: state.quorum(),
            latency_ms: state.latency().map(|latency| (latency.as_secs_f64() * 1e5).round() / 100.0),
            last_seen_ms: state.seen().map(|seen| ms(now.saturating_duration_since(seen))),
            failures: state.failures(),
            in_flight: self.in_flight(),
        }
    }
}

fn body(calls: &[(&str, Value)]) -> quorate::Bytes {
    let one = |(id, (method, params)): (usize, &(&str, Value))| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
    let mut all: Vec<Value> = calls.iter().enumerate().map(one).collect();
    let body = if all.len() == 1 { all.swap_remove(0) } else { Value::Array(all) };
    body.to_string().into()
}

/// The answers in the order of the calls.
fn read(bytes: &[u8], count: usize) -> Result<Vec<Called>, NoAnswer> {
    let answer: Value =
        serde_json::from_slice(bytes).map_err(|_| NoAnswer::nonsense("it answers with what is not JSON"))?;
    let answers = match answer {
        Value::Array(answers) if count > 1 => answers,
        one => vec![one],
    };
    let mut sorted: Vec<Option<Called>> = (0..count).map(|_| None).collect();
    for mut answer in answers {
        let id = answer.get("id").and_then(Value::as_u64).and_then(|id| usize::try_from(id).ok());
        let called = match (answer.get("error"), answer.get("result")) {
            (Some(error), _) if !error.is_null() => Err(RpcError::of(error)),
            (_, Some(_)) => Ok(answer.get_mut("result").map(Value::take).unwrap_or_default()),
            _ => return Err(NoAnswer::nonsense("it answers with neither result nor error")),
        };
        match id.and_then(|id| sorted.get_mut(id)) {
            Some(place) => *place = Some(called),
            // An error without id is about the whole request.
            None => {
                let why = called.err().map_or_else(|| "an answer to nothing".into(), |error| error.message);
                return Err(NoAnswer::nonsense(why));
            }
        }
    }
    let all: Option<Vec<Called>> = sorted.into_iter().collect();
    all.ok_or_else(|| NoAnswer::nonsense("it left a call unanswered"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_any_order_and_every_call_has_one() {
        let text =
            br#"[{"id":1,"result":"b"},{"id":0,"error":{"code":-32011,"message":"rejected","data":{"reason":"x"}}}]"#;
        let answers = read(text, 2).unwrap();
        assert_eq!(answers[0].as_ref().unwrap_err().message, "rejected: x");
        assert_eq!(answers[1].as_ref().unwrap(), "b");
        for wrong in ["", "{}", "[]", r#"[{"id":0,"result":1}]"#, r#"{"id":7,"result":1}"#, r#"[{"id":0},{"id":1}]"#] {
            assert!(read(wrong.as_bytes(), 2).is_err(), "{wrong}");
        }
        assert!(read(br#"{"id":null,"error":{"code":-32600,"message":"no"}}"#, 1).is_err());
    }
}
