//! JSON-RPC 2.0: from a body to the answer's body.

use std::time::Duration;

use quorate::Bytes;
use serde::{Deserialize, Deserializer, de};
use serde_json::{json, value::RawValue};
use tokio::time::Instant;

use super::{
    caller::Caller,
    errors::{
        ANSWER_TOO_LARGE, ErrorCode, INTERNAL_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, PARSE_ERROR, RpcError,
        UNAVAILABLE,
    },
    ethereum,
    methods::Method,
    native,
    params::Params,
    server::Server,
};

/// Bytes of a batch's answers after which no further call of it is made. A single answer may be larger.
pub(crate) const BATCH_ANSWER_BYTES_MAX: usize = 16 << 20;

/// How long the calls of one batch may take together.
pub(crate) const BATCH_TIME_MAX: Duration = Duration::from_secs(30);

/// Transactions of one batch that are handed in together at most.
const TOGETHER_MAX: usize = 128;

/// Bytes of a request's id at most.
pub(crate) const ID_BYTES_MAX: usize = 1024;

/// A request object. Unknown members are ignored.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    jsonrpc: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    method: std::borrow::Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

/// Tells an id of null from no id.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Answers a body; `None` when it has only notifications.
pub(crate) async fn answer(server: &Server, caller: &mut Caller, body: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(256);
    let text = match check(body, server.settings.depth_max) {
        Ok(text) => text,
        Err(error) => {
            write_error(&mut out, "null", &error);
            server.metrics.failed(error.code);
            return Some(out);
        }
    };
    if text.trim_ascii_start().starts_with('[') {
        batch(server, caller, text, &mut out).await;
    } else {
        one(server, caller, text, &mut out).await;
    }
    (!out.is_empty()).then_some(out)
}

/// What must hold before anything is read: UTF-8, and not nested too deep.
fn check(body: &[u8], depth_max: usize) -> Result<&str, RpcError> {
    let text = std::str::from_utf8(body).map_err(|error| {
        RpcError::because(PARSE_ERROR, format!("the body is not UTF-8 from byte {} on", error.valid_up_to()))
    })?;
    let (mut depth, mut in_text, mut escaped) = (0usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'[' | b'{' => {
                depth += 1;
                if depth > depth_max {
                    let reason = format!("arrays and objects are nested deeper than {depth_max}");
                    return Err(RpcError::new(INVALID_REQUEST, json!({ "reason": reason, "limit": depth_max })));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(text)
}

async fn batch(server: &Server, caller: &mut Caller, text: &str, out: &mut Vec<u8>) {
    let calls = match read_batch(text, server.settings.batch_max) {
        Ok(calls) => calls,
        Err(error) => {
            server.metrics.failed(error.code);
            return write_error(out, "null", &error);
        }
    };
    let end = Instant::now() + BATCH_TIME_MAX;
    out.push(b'[');
    let mut left = calls.as_slice();
    while let Some((call, after)) = left.split_first() {
        let within = out.len() <= BATCH_ANSWER_BYTES_MAX && Instant::now() < end;
        let most = if within { TOGETHER_MAX } else { 0 };
        let together: Vec<HandsIn<'_>> = left.iter().take(most).map_while(|call| HandsIn::read(call.get())).collect();
        if let Some((_, after)) = left.split_at_checked(together.len()).filter(|_| together.len() > 1) {
            hand_in(server, &together, out).await;
            left = after;
        } else {
            let entry = Entry::begin(out);
            if out.len() > BATCH_ANSWER_BYTES_MAX {
                let reason = format!("the answers of this batch passed {BATCH_ANSWER_BYTES_MAX} bytes");
                let data = json!({ "reason": reason, "limit_bytes": BATCH_ANSWER_BYTES_MAX });
                refuse(server, call.get(), &RpcError::new(ANSWER_TOO_LARGE, data), out);
            } else if !within {
                let reason = format!("this batch took more than {} s", BATCH_TIME_MAX.as_secs());
                refuse(server, call.get(), &RpcError::because(UNAVAILABLE, reason), out);
            } else {
                one(server, caller, call.get(), out).await;
            }
            entry.end(out);
            left = after;
        }
        // A node that answers at once would let one batch hold the thread.
        tokio::task::yield_now().await;
    }
    if out.len() == 1 { out.clear() } else { out.push(b']') }
}

/// An answer's place in the array of a batch's answers.
struct Entry {
    mark: usize,
    start: usize,
}

impl Entry {
    fn begin(out: &mut Vec<u8>) -> Self {
        let mark = out.len();
        if mark > 1 {
            out.push(b',');
        }
        Self { mark, start: out.len() }
    }

    /// Leaves no trace of a call that has no answer.
    fn end(self, out: &mut Vec<u8>) {
        if out.len() == self.start {
            out.truncate(self.mark);
        }
    }
}

/// A call that hands in a transaction.
struct HandsIn<'a> {
    envelope: Envelope<'a>,
    method: Method,
}

impl<'a> HandsIn<'a> {
    /// Reads a call; `None` for any other.
    fn read(text: &'a str) -> Option<Self> {
        let envelope = read_envelope(text).ok()?;
        let method = Method::from_name(&envelope.method)?;
        let hands_in = matches!(
            method,
            Method::Native(native::Method::Submit)
                | Method::Ethereum(ethereum::Method::SendTransaction | ethereum::Method::SendRawTransaction)
        );
        hands_in.then_some(Self { envelope, method })
    }

    fn transaction(&self) -> Result<Bytes, RpcError> {
        let params = Params(self.envelope.params);
        match self.method {
            Method::Native(method) => native::transaction(&params.read(method.parameters())?),
            Method::Ethereum(method) => ethereum::transaction(method, &params.read_first(method.parameters())?),
        }
    }
}

/// Hands in transactions together, in their order, and writes the answers in their order: the node checks the signatures of those that
/// come together in one go, which costs it much less than one by one.
async fn hand_in(server: &Server, calls: &[HandsIn<'_>], out: &mut Vec<u8>) {
    let mut transactions = Vec::with_capacity(calls.len());
    let mut refused = Vec::with_capacity(calls.len());
    for call in calls {
        server.metrics.called(call.method);
        refused.push(call.transaction().map(|bytes| transactions.push(bytes)).err());
    }
    let mut answers = server.submit_all(transactions).await.into_iter();
    for (HandsIn { envelope, .. }, refused) in calls.iter().zip(refused) {
        let entry = Entry::begin(out);
        let mark = envelope.begin(out);
        let answer = refused.map_or_else(|| answers.next().unwrap_or_else(|| Err(RpcError::unexpected())), Err);
        let result = answer.and_then(|id| write(out, &id));
        envelope.end(server, mark, result, out);
        entry.end(out);
    }
}

/// Answers one request object; writes nothing for a notification.
async fn one(server: &Server, caller: &mut Caller, text: &str, out: &mut Vec<u8>) {
    let envelope = match read_envelope(text) {
        Ok(envelope) => envelope,
        Err(error) => return refuse(server, text, &error, out),
    };
    let mark = envelope.begin(out);
    let result = call(server, caller, &envelope.method, Params(envelope.params), out).await;
    envelope.end(server, mark, result, out);
}

impl Envelope<'_> {
    fn id(&self) -> &str {
        self.id.map_or("null", RawValue::get)
    }

    /// Begins the answer, for the result to follow; gives its place.
    fn begin(&self, out: &mut Vec<u8>) -> usize {
        let mark = out.len();
        out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
        out.extend_from_slice(self.id().as_bytes());
        out.extend_from_slice(b",\"result\":");
        mark
    }

    /// Ends the answer at `mark`, or writes the error instead; of a notification nothing stays.
    fn end(&self, server: &Server, mark: usize, result: Result<(), RpcError>, out: &mut Vec<u8>) {
        match result {
            Ok(()) => out.push(b'}'),
            Err(error) => {
                server.metrics.failed(error.code);
                out.truncate(mark);
                write_error(out, self.id(), &error);
            }
        }
        if self.id.is_none() {
            out.truncate(mark);
        }
    }
}

/// Makes the call; what it writes is the result's JSON.
async fn call(
    server: &Server,
    caller: &mut Caller,
    name: &str,
    params: Params<'_>,
    out: &mut Vec<u8>,
) -> Result<(), RpcError> {
    let Some(method) = Method::from_name(name) else {
        // `voting_elections` on a chain of `voting` is the application's query `elections`.
        let genesis = server.genesis().await.ok();
        let rest = genesis.and_then(|genesis| name.strip_prefix(genesis.application_plugin()));
        let Some(path) = rest.and_then(|rest| rest.strip_prefix('_')) else { return Err(unknown(name)) };
        server.metrics.called(Method::Native(native::Method::Query));
        return native::ask_application(server, path, params, out).await;
    };
    server.metrics.called(method);
    match method {
        Method::Native(method) => native::call(server, caller, method, params, out).await,
        Method::Ethereum(method) => ethereum::call(server, caller, method, params, out).await,
    }
}

fn unknown(name: &str) -> RpcError {
    let shown: String = name.chars().take(64).collect();
    let mut data = json!({ "method": shown, "reason": format!("there is no method `{shown}`") });
    if let Some(meant) = quorate::diagnostics::closest(&shown, Method::names())
        && let Some(object) = data.as_object_mut()
    {
        object.insert("did_you_mean".into(), meant.into());
    }
    RpcError::new(METHOD_NOT_FOUND, data)
}

/// Writes `value` as JSON.
///
/// # Errors
///
/// [`INTERNAL_ERROR`] when it can't be JSON.
pub(crate) fn write<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Result<(), RpcError> {
    serde_json::to_writer(out, value).map_err(|error| RpcError::because(INTERNAL_ERROR, error.to_string()))
}

/// A response with an error and no answer to any call, for what is refused before it is read.
pub(crate) fn refusal(code: ErrorCode, reason: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write_error(&mut out, "null", &RpcError::because(code, reason));
    out
}

/// Answers a request that is not carried out, unless it says that it is a notification.
fn refuse(server: &Server, text: &str, error: &RpcError, out: &mut Vec<u8>) {
    server.metrics.failed(error.code);
    match read_envelope(text) {
        Ok(Envelope { id: None, .. }) => {}
        Ok(Envelope { id: Some(id), .. }) => write_error(out, id.get(), error),
        Err(_) => write_error(out, lone_id(text).unwrap_or("null"), error),
    }
}

/// The id of what is not a request otherwise, so that its sender can tell which was wrong.
fn lone_id(text: &str) -> Option<&str> {
    #[derive(Deserialize)]
    struct Lone<'a> {
        #[serde(borrow)]
        id: Option<&'a RawValue>,
    }
    let lone: Lone<'_> = serde_json::from_str(text).ok()?;
    lone.id.map(RawValue::get).filter(|id| is_id(id))
}

fn write_error(out: &mut Vec<u8>, id: &str, error: &RpcError) {
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(b",\"error\":");
    let mark = out.len();
    if write(out, error).is_err() {
        out.truncate(mark);
        out.extend_from_slice(b"{\"code\":-32603,\"message\":\"internal error\"}");
    }
    out.push(b'}');
}

fn is_id(text: &str) -> bool {
    text.len() <= ID_BYTES_MAX
        && (text == "null" || text.starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit()))
}

fn read_envelope(text: &str) -> Result<Envelope<'_>, RpcError> {
    let invalid = |reason: String| RpcError::because(INVALID_REQUEST, reason);
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|error| {
        let code = if error.is_data() { INVALID_REQUEST } else { PARSE_ERROR };
        RpcError::because(code, error.to_string())
    })?;
    if envelope.jsonrpc != "2.0" {
        return Err(invalid("`jsonrpc` must be \"2.0\"".into()));
    }
    if let Some(id) = envelope.id
        && !is_id(id.get())
    {
        return Err(invalid(format!("`id` must be a text, a number or null, of at most {ID_BYTES_MAX} bytes")));
    }
    if let Some(params) = envelope.params
        && !params.get().starts_with(['[', '{'])
    {
        return Err(invalid("`params` must be an array or an object".into()));
    }
    Ok(envelope)
}

/// The calls of a batch; stops reading at the first too many.
fn read_batch(text: &str, limit: usize) -> Result<Vec<&RawValue>, RpcError> {
    struct Calls<'a>(Vec<&'a RawValue>);
    struct Limit(usize);
    impl<'de> de::DeserializeSeed<'de> for Limit {
        type Value = Calls<'de>;

        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
            deserializer.deserialize_seq(self)
        }
    }
    impl<'de> de::Visitor<'de> for Limit {
        type Value = Calls<'de>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an array of requests")
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut calls = Vec::new();
            while let Some(call) = list.next_element()? {
                if calls.len() == self.0 {
                    return Err(de::Error::custom(format_args!("more than {} calls in a batch", self.0)));
                }
                calls.push(call);
            }
            Ok(Calls(calls))
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = de::DeserializeSeed::deserialize(Limit(limit), &mut deserializer);
    let calls = read.and_then(|calls| deserializer.end().map(|()| calls)).map_err(|error| {
        let code = if error.is_data() { INVALID_REQUEST } else { PARSE_ERROR };
        RpcError::because(code, error.to_string())
    })?;
    if calls.0.is_empty() {
        return Err(RpcError::because(INVALID_REQUEST, "a batch must have at least one call"));
    }
    Ok(calls.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_counted_outside_of_texts_only() {
        assert!(check(b"[[[[]]]]", 4).is_ok());
        assert!(check(b"[[[[[]]]]]", 4).is_err());
        assert!(check(br#"["[[[[[[\"[[[[[["]"#, 4).is_ok());
        assert!(check(&[b'['; 100_000], 32).is_err());
    }

    #[test]
    fn a_batch_is_not_read_beyond_its_limit() {
        assert_eq!(read_batch("[1,2,3]", 3).unwrap().len(), 3);
        let error = read_batch("[1,2,3,4,", 3).unwrap_err();
        assert!(error.message.contains("more than 3 calls"), "{error:?}");
        assert_eq!(read_batch("[]", 3).unwrap_err().code, -32600);
        assert_eq!(read_batch("[1", 3).unwrap_err().code, -32700);
        assert_eq!(read_batch("[1] 2", 3).unwrap_err().code, -32700);
    }

    #[test]
    fn an_id_of_null_is_not_a_notification() {
        assert!(read_envelope(r#"{"jsonrpc":"2.0","method":"m","id":null}"#).unwrap().id.is_some());
        assert!(read_envelope(r#"{"jsonrpc":"2.0","method":"m"}"#).unwrap().id.is_none());
    }

    #[test]
    fn what_is_not_a_request_is_refused_by_its_kind() {
        for (text, code) in [
            ("{", -32700),
            ("nul", -32700),
            ("1", -32600),
            ("{}", -32600),
            (r#"{"jsonrpc":"1.0","method":"m"}"#, -32600),
            (r#"{"jsonrpc":"2.0","method":1}"#, -32600),
            (r#"{"jsonrpc":"2.0","method":"a","method":"b"}"#, -32600),
            (r#"{"jsonrpc":"2.0","method":"m","id":[]}"#, -32600),
            (r#"{"jsonrpc":"2.0","method":"m","id":true}"#, -32600),
            (r#"{"jsonrpc":"2.0","method":"m","params":"x"}"#, -32600),
        ] {
            assert_eq!(read_envelope(text).err().map(|error| error.code), Some(code), "{text}");
        }
    }
}
