//! Quorate's own methods.

use quorate::{
    Bytes, Height, TransactionId,
    node::{BlockId, Request, Response},
};
use serde::{Deserialize, Deserializer, de};
use serde_json::{json, value::RawValue};

use super::{
    caller::Caller,
    discover,
    errors::{INTERNAL_ERROR, INVALID_PARAMS, NEEDS_WEBSOCKET, NO_SUCH_ID, RpcError},
    hexadecimal::{Decoded, Quantity, parse_quantity},
    methods::methods,
    params::{Arguments, Params},
    rpc::write,
    server::Server,
    shapes,
    subscriptions::{RECEIPTS_MAX, Topic},
};

/// Bytes of blocks in one answer to `quorate_blockRange` when the call does not say.
pub(crate) const RANGE_BYTES_DEFAULT: u32 = 1 << 20;

/// Bytes of blocks in one answer to `quorate_blockRange` at most.
pub(crate) const RANGE_BYTES_MAX: u32 = 4 << 20;

/// The method of a native notification.
const NOTIFICATION: &str = "quorate_subscription";

methods! {
    /// The methods, all described in `openrpc.json`.
    Method {
        Status = "quorate_status",
        Validators = "quorate_validators",
        Block = "quorate_block",
        Submit = "quorate_submit",
        Receipt = "quorate_receipt",
        Pool = "quorate_pool",
        Evidence = "quorate_evidence",
        Query = "quorate_query",
        Genesis = "quorate_genesis",
        BlockRange = "quorate_blockRange",
        Backup = "quorate_backup",
        Subscribe = "quorate_subscribe",
        Unsubscribe = "quorate_unsubscribe",
        Discover = "rpc.discover",
    }
}

impl Method {
    /// The names of its parameters, in order.
    pub(crate) fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Status | Self::Pool | Self::Evidence | Self::Genesis | Self::Discover => &[],
            Self::Validators => &["height"],
            Self::Block => &["block"],
            Self::Submit => &["transaction"],
            Self::Receipt => &["id"],
            Self::Query => &["path", "params"],
            Self::BlockRange => &["from", "bytes_max"],
            Self::Backup => &["directory"],
            Self::Subscribe => &["topic", "ids"],
            Self::Unsubscribe => &["subscription"],
        }
    }
}

/// Makes a call; what it writes is the result's JSON.
pub(crate) async fn call(
    server: &Server,
    caller: &mut Caller,
    method: Method,
    params: Params<'_>,
    out: &mut Vec<u8>,
) -> Result<(), RpcError> {
    let arguments = params.read(method.parameters())?;
    match method {
        Method::Status => write(out, &*server.status().await?),
        Method::Validators => validators(server, &arguments, out).await,
        Method::Block => block(server, &arguments, out).await,
        Method::Submit => write(out, &server.submit(transaction(&arguments)?).await?),
        Method::Receipt => receipt(server, arguments.required(0)?, out).await,
        Method::Pool => match server.ask(Request::Pool).await? {
            Response::Pool(pool) => write(out, &pool),
            _ => Err(RpcError::unexpected()),
        },
        Method::Evidence => match server.ask(Request::Evidence).await? {
            Response::Evidence(evidence) => write(out, &evidence),
            _ => Err(RpcError::unexpected()),
        },
        Method::Query => query(server, &arguments, out).await,
        Method::Genesis => match server.ask(Request::Genesis).await? {
            Response::Text(text) => write(out, &text),
            _ => Err(RpcError::unexpected()),
        },
        Method::BlockRange => block_range(server, &arguments, out).await,
        Method::Backup => backup(server, caller, &arguments, out).await,
        Method::Subscribe => subscribe(server, caller, &arguments, out),
        Method::Unsubscribe => unsubscribe(caller, &arguments, out),
        Method::Discover => {
            out.extend_from_slice(discover::document().as_bytes());
            Ok(())
        }
    }
}

/// The transaction that `quorate_submit` hands in.
pub(crate) fn transaction(arguments: &Arguments<'_>) -> Result<Bytes, RpcError> {
    let Decoded(bytes) = arguments.required(0)?;
    Ok(bytes.into())
}

/// A height, a hash or a tag.
struct Place(BlockId);

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl de::Visitor<'_> for Words {
            type Value = Place;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a height (7 or \"0x7\"), a block's hash, \"latest\" or \"earliest\"")
            }

            fn visit_u64<E: de::Error>(self, height: u64) -> Result<Place, E> {
                Ok(Place(BlockId::Height(Height(height))))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Place, E> {
                let id = match text {
                    "latest" => Some(BlockId::Latest),
                    "earliest" => Some(BlockId::Height(Height(1))),
                    _ if text.len() == 66 => text.parse().ok().map(BlockId::Hash),
                    _ => parse_quantity(text).or_else(|| text.parse().ok()).map(|n| BlockId::Height(Height(n))),
                };
                id.map(Place).ok_or_else(|| E::invalid_value(de::Unexpected::Str(shorten(text)), &self))
            }
        }
        deserializer.deserialize_any(Words)
    }
}

fn shorten(text: &str) -> &str {
    text.char_indices().nth(80).and_then(|(at, _)| text.get(..at)).unwrap_or(text)
}

async fn validators(server: &Server, arguments: &Arguments<'_>, out: &mut Vec<u8>) -> Result<(), RpcError> {
    let height = arguments.optional::<u64>(0)?.map(Height);
    match server.ask(Request::Validators(height)).await? {
        Response::Validators { height, validators } => {
            write(out, &json!({ "height": height, "validators": validators }))
        }
        _ => Err(RpcError::unexpected()),
    }
}

async fn block(server: &Server, arguments: &Arguments<'_>, out: &mut Vec<u8>) -> Result<(), RpcError> {
    let id = arguments.optional::<Place>(0)?.map_or(BlockId::Latest, |place| place.0);
    match server.block(id).await? {
        Some(block) => {
            let text = server.rendered.block(&block, |text| write(text, &shapes::Block::of(&block)))?;
            out.extend_from_slice(&text);
            Ok(())
        }
        None => write(out, &()),
    }
}

/// Writes how a transaction stands, as `quorate_receipt` and the receipts' notifications tell it.
pub(crate) async fn receipt(server: &Server, id: TransactionId, out: &mut Vec<u8>) -> Result<(), RpcError> {
    use quorate::node::TransactionState;
    match server.transaction(id).await? {
        TransactionState::Unknown => write(out, &()),
        TransactionState::Pending(_) => write(out, &json!({ "status": "pending", "transaction_id": id })),
        TransactionState::Pruned(pruned) => Err(pruned.into()),
        TransactionState::Final(receipt) => {
            // By its height, for which the node need not look into its store.
            let block = server.block(BlockId::Height(receipt.header.height)).await?;
            let certificate = block.as_ref().map(|block| shapes::Certificate::of(&block.certificate));
            write(out, &shapes::Final::of(&receipt, certificate))
        }
    }
}

async fn query(server: &Server, arguments: &Arguments<'_>, out: &mut Vec<u8>) -> Result<(), RpcError> {
    let path: String = arguments.required(0)?;
    ask(server, path, arguments.raw(1).map_or("{}", RawValue::get), out).await
}

/// A query by a method's name; its parameters are those of the query, by name, or the one object that has them.
pub(crate) async fn ask_application(
    server: &Server,
    path: &str,
    params: Params<'_>,
    out: &mut Vec<u8>,
) -> Result<(), RpcError> {
    let text = params.0.map_or("{}", RawValue::get);
    let list: Option<Vec<&RawValue>> = serde_json::from_str(text).ok();
    let text = match list.as_deref() {
        None => text,
        Some([]) => "{}",
        Some([one]) => one.get(),
        Some(_) => {
            let reason = "the parameters are named: give an object, or a list with one object";
            return Err(RpcError::because(INVALID_PARAMS, reason));
        }
    };
    ask(server, path.to_owned(), text, out).await
}

async fn ask(server: &Server, path: String, params: &str, out: &mut Vec<u8>) -> Result<(), RpcError> {
    let request = Request::Query { path, params: Bytes::copy_from_slice(params.as_bytes()) };
    match server.ask(request).await? {
        Response::Query(answer) => {
            let answer = answer?;
            // What is no JSON would make the whole answer unreadable.
            let json: &RawValue = serde_json::from_slice(&answer).map_err(|error| {
                RpcError::because(INTERNAL_ERROR, format!("the application's answer is not JSON: {error}"))
            })?;
            out.extend_from_slice(json.get().as_bytes());
            Ok(())
        }
        _ => Err(RpcError::unexpected()),
    }
}

async fn block_range(server: &Server, arguments: &Arguments<'_>, out: &mut Vec<u8>) -> Result<(), RpcError> {
    let from: u64 = arguments.required(0)?;
    let bytes_max = arguments.optional(1)?.unwrap_or(RANGE_BYTES_DEFAULT).min(RANGE_BYTES_MAX);
    let from = Height(from.max(1));
    match server.ask(Request::BlockRange { from, bytes_max }).await? {
        Response::Blocks(blocks) => write(out, &shapes::Range::of(from, &blocks)),
        _ => Err(RpcError::unexpected()),
    }
}

async fn backup(
    server: &Server,
    caller: &Caller,
    arguments: &Arguments<'_>,
    out: &mut Vec<u8>,
) -> Result<(), RpcError> {
    caller.require_operator()?;
    let directory: String = arguments.required(0)?;
    if !std::path::Path::new(&directory).is_absolute() {
        return Err(arguments.wrong(0, "it must be an absolute path on the node's machine"));
    }
    // Copying may take longer than any other answer.
    match server.ask_patiently(Request::Backup { directory }).await? {
        Response::BackedUp(height) => write(out, &json!({ "height": height })),
        _ => Err(RpcError::unexpected()),
    }
}

fn subscribe(
    server: &Server,
    caller: &mut Caller,
    arguments: &Arguments<'_>,
    out: &mut Vec<u8>,
) -> Result<(), RpcError> {
    let Some(subscriptions) = &mut caller.subscriptions else {
        return Err(RpcError::because(NEEDS_WEBSOCKET, "connect to /ws"));
    };
    let topic: String = arguments.required(0)?;
    let topic = match topic.as_str() {
        "blocks" => Topic::Blocks,
        "receipts" => {
            let ids: Vec<TransactionId> = arguments.required(1)?;
            if ids.is_empty() || ids.len() > RECEIPTS_MAX {
                return Err(arguments.wrong(1, format!("{} ids; there must be 1 to {RECEIPTS_MAX}", ids.len())));
            }
            Topic::receipts(ids)
        }
        _ => return Err(arguments.wrong(0, "expected \"blocks\" or \"receipts\"")),
    };
    let id = subscriptions.add(server, NOTIFICATION, topic)?;
    write(out, &Quantity(id))
}

fn unsubscribe(caller: &mut Caller, arguments: &Arguments<'_>, out: &mut Vec<u8>) -> Result<(), RpcError> {
    let text: String = arguments.required(0)?;
    remove(caller, &text, out)
}

/// Ends a subscription of either namespace.
pub(crate) fn remove(caller: &mut Caller, id: &str, out: &mut Vec<u8>) -> Result<(), RpcError> {
    let Some(subscriptions) = &mut caller.subscriptions else {
        return Err(RpcError::because(NEEDS_WEBSOCKET, "connect to /ws"));
    };
    if parse_quantity(id).is_some_and(|id| subscriptions.remove(id)) {
        return write(out, &true);
    }
    let id = shorten(id);
    let reason = format!("this connection has no subscription {id}");
    Err(RpcError::new(NO_SUCH_ID, json!({ "reason": reason, "id": id })))
}
