//! The Ethereum face: what existing clients ask when they connect, send, wait for a receipt and follow blocks.
//!
//! Its words live in this folder only. The chain has no accounts, no gas and no contracts: what clients ask about those is
//! answered by constants, so that they go on. Only final blocks are shown, so that every tag but `earliest` means the last
//! final one.

mod filters;
mod place;
mod shapes;

use quorate::{
    Bytes, TransactionId,
    node::{FinalBlock, Health, TransactionState},
};
use serde::Deserialize;
use serde_json::json;

pub(crate) use self::filters::Filters;
use self::{
    place::{HashParam, Index, LogRange, Place},
    shapes::{Address, Transaction},
};
use super::{
    caller::Caller,
    errors::{NEEDS_WEBSOCKET, RpcError},
    hexadecimal::{Decoded, Quantity},
    methods::methods,
    native,
    params::{Arguments, Params},
    rpc::write,
    server::Server,
    subscriptions::Topic,
};

/// This face's part of the OpenRPC document: an array of methods.
pub(crate) const OPENRPC_METHODS: &str = include_str!("openrpc-methods.json");

/// Blocks in one answer to `eth_feeHistory` at most.
const FEE_BLOCKS_MAX: u64 = 1024;

/// Percentiles in one call of `eth_feeHistory` at most.
const PERCENTILES_MAX: usize = 100;

/// The method of this face's notifications.
const NOTIFICATION: &str = "eth_subscription";

methods! {
    /// The methods, all described in `openrpc-methods.json`.
    Method {
        ClientVersion = "web3_clientVersion",
        NetVersion = "net_version",
        Listening = "net_listening",
        PeerCount = "net_peerCount",
        ChainId = "eth_chainId",
        Syncing = "eth_syncing",
        BlockNumber = "eth_blockNumber",
        Accounts = "eth_accounts",
        Coinbase = "eth_coinbase",
        GasPrice = "eth_gasPrice",
        MaxPriorityFee = "eth_maxPriorityFeePerGas",
        FeeHistory = "eth_feeHistory",
        EstimateGas = "eth_estimateGas",
        Call = "eth_call",
        Code = "eth_getCode",
        Balance = "eth_getBalance",
        TransactionCount = "eth_getTransactionCount",
        SendTransaction = "eth_sendTransaction",
        SendRawTransaction = "eth_sendRawTransaction",
        BlockByNumber = "eth_getBlockByNumber",
        BlockByHash = "eth_getBlockByHash",
        TransactionByHash = "eth_getTransactionByHash",
        TransactionReceipt = "eth_getTransactionReceipt",
        BlockReceipts = "eth_getBlockReceipts",
        CountByNumber = "eth_getBlockTransactionCountByNumber",
        CountByHash = "eth_getBlockTransactionCountByHash",
        TransactionByNumberAndIndex = "eth_getTransactionByBlockNumberAndIndex",
        TransactionByHashAndIndex = "eth_getTransactionByBlockHashAndIndex",
        Logs = "eth_getLogs",
        NewBlockFilter = "eth_newBlockFilter",
        NewFilter = "eth_newFilter",
        FilterChanges = "eth_getFilterChanges",
        FilterLogs = "eth_getFilterLogs",
        UninstallFilter = "eth_uninstallFilter",
        Subscribe = "eth_subscribe",
        Unsubscribe = "eth_unsubscribe",
    }
}

impl Method {
    /// The names of its parameters, in order.
    pub(crate) fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::ClientVersion | Self::NetVersion | Self::Listening | Self::PeerCount | Self::ChainId => &[],
            Self::Syncing | Self::BlockNumber | Self::Accounts | Self::Coinbase | Self::GasPrice => &[],
            Self::MaxPriorityFee | Self::NewBlockFilter => &[],
            Self::FeeHistory => &["blockCount", "newestBlock", "rewardPercentiles"],
            Self::EstimateGas | Self::Call => &["transaction", "block"],
            Self::Code | Self::Balance | Self::TransactionCount => &["address", "block"],
            Self::SendTransaction | Self::SendRawTransaction => &["transaction"],
            Self::BlockByNumber => &["block", "full"],
            Self::BlockByHash => &["hash", "full"],
            Self::TransactionByHash | Self::TransactionReceipt | Self::CountByHash => &["hash"],
            Self::BlockReceipts | Self::CountByNumber => &["block"],
            Self::TransactionByNumberAndIndex => &["block", "index"],
            Self::TransactionByHashAndIndex => &["hash", "index"],
            Self::Logs | Self::NewFilter => &["filter"],
            Self::FilterChanges | Self::FilterLogs | Self::UninstallFilter | Self::Unsubscribe => &["id"],
            Self::Subscribe => &["topic", "options"],
        }
    }
}

/// Makes a call; what it writes is the result's JSON. Parameters that are too many are ignored, as these clients expect.
pub(crate) async fn call(
    server: &Server,
    caller: &mut Caller,
    method: Method,
    params: Params<'_>,
    out: &mut Vec<u8>,
) -> Result<(), RpcError> {
    let arguments = params.read_first(method.parameters())?;
    match method {
        Method::ClientVersion => write(out, &format!("quorate/v{}", server.version)),
        Method::NetVersion => write(out, &shapes::chain_number(server.chain_id).to_string()),
        Method::Listening => write(out, &true),
        Method::ChainId => write(out, &Quantity(shapes::chain_number(server.chain_id))),
        Method::PeerCount | Method::Syncing | Method::BlockNumber => standing(server, method, out).await,
        // So that clients which insist on an account find one. Nothing is signed with it.
        Method::Accounts => write(out, &[Address::of_key(&server.public_key)]),
        Method::Coinbase => write(out, &Address::of_key(&server.public_key)),
        Method::GasPrice | Method::MaxPriorityFee | Method::Balance | Method::TransactionCount => {
            write(out, &Quantity(0))
        }
        Method::EstimateGas => write(out, &Quantity(shapes::GAS)),
        Method::Call | Method::Code => write(out, "0x"),
        Method::FeeHistory => fee_history(server, &arguments, out).await,
        Method::SendTransaction | Method::SendRawTransaction => {
            write(out, &server.submit(transaction(method, &arguments)?).await?)
        }
        Method::BlockByNumber | Method::BlockByHash | Method::BlockReceipts => {
            block(server, method, &arguments, out).await
        }
        Method::CountByNumber
        | Method::CountByHash
        | Method::TransactionByNumberAndIndex
        | Method::TransactionByHashAndIndex => in_block(server, method, &arguments, out).await,
        Method::TransactionByHash | Method::TransactionReceipt => by_hash(server, method, &arguments, out).await,
        Method::Logs => LogRange::read(server, &arguments).await.and_then(|_| write(out, &[(); 0])),
        Method::NewBlockFilter | Method::NewFilter => filters::add(server, caller, method, &arguments, out).await,
        Method::FilterChanges | Method::FilterLogs => filters::changes(server, method, &arguments, out).await,
        Method::UninstallFilter => filters::remove(server, &arguments, out),
        Method::Subscribe => subscribe(server, caller, &arguments, out),
        Method::Unsubscribe => native::remove(caller, &arguments.required::<String>(0)?, out),
    }
}

/// The header that subscribers to `newHeads` get.
pub(crate) fn header_text(block: &FinalBlock) -> Option<String> {
    serde_json::to_string(&shapes::Block::header(block)).ok()
}

async fn standing(server: &Server, method: Method, out: &mut Vec<u8>) -> Result<(), RpcError> {
    let status = server.status().await?;
    let height = Quantity(status.height.0);
    match method {
        Method::PeerCount => {
            let connected = status.peers.iter().filter(|peer| peer.connected).count();
            write(out, &Quantity(connected as u64))
        }
        Method::Syncing if status.status == Health::Syncing => {
            let highest = Quantity(status.best_known_height.max(status.height).0);
            write(out, &json!({ "startingBlock": height, "currentBlock": height, "highestBlock": highest }))
        }
        Method::Syncing => write(out, &false),
        _ => write(out, &height),
    }
}

async fn fee_history(server: &Server, arguments: &Arguments<'_>, out: &mut Vec<u8>) -> Result<(), RpcError> {
    let Index(wanted) = arguments.required(0)?;
    let newest: Place = arguments.optional(1)?.unwrap_or_default();
    let percentiles: Vec<f64> = arguments.optional(2)?.unwrap_or_default();
    if percentiles.len() > PERCENTILES_MAX {
        return Err(arguments.wrong(2, format!("{} percentiles; the limit is {PERCENTILES_MAX}", percentiles.len())));
    }
    let newest = newest.height(server).await?;
    let count = wanted.min(FEE_BLOCKS_MAX).min(newest.0.saturating_add(1));
    let blocks = usize::try_from(count).unwrap_or_default();
    let free = Quantity(0);
    let mut history = json!({
        "oldestBlock": Quantity(newest.0.saturating_add(1) - count),
        "baseFeePerGas": vec![free; blocks + 1],
        "gasUsedRatio": vec![0.0; blocks],
    });
    if !percentiles.is_empty()
        && let Some(object) = history.as_object_mut()
    {
        object.insert("reward".into(), json!(vec![vec![free; percentiles.len()]; blocks]));
    }
    write(out, &history)
}

/// The transaction that a call hands in.
pub(crate) fn transaction(method: Method, arguments: &Arguments<'_>) -> Result<Bytes, RpcError> {
    #[derive(Deserialize)]
    struct Carrier {
        data: Option<Decoded>,
        input: Option<Decoded>,
    }
    let bytes = if method == Method::SendRawTransaction {
        arguments.required::<Decoded>(0)?
    } else {
        let Carrier { data, input } = arguments.required(0)?;
        match (data, input) {
            (Some(data), Some(input)) if data != input => {
                return Err(arguments.wrong(0, "`data` and `input` differ; one of them is enough"));
            }
            (Some(bytes), _) | (None, Some(bytes)) => bytes,
            (None, None) => return Err(arguments.wrong(0, "`data` must have the transaction's bytes")),
        }
    };
    Ok(bytes.0.into())
}

/// A whole block, or the receipts of one.
async fn block(server: &Server, method: Method, arguments: &Arguments<'_>, out: &mut Vec<u8>) -> Result<(), RpcError> {
    let place = match method {
        Method::BlockByHash => Place::Hash(arguments.required::<HashParam>(0)?.0),
        _ => arguments.required(0)?,
    };
    let full = method != Method::BlockReceipts && arguments.optional::<bool>(1)?.unwrap_or(false);
    let found = match place.id(server) {
        Some(id) => server.block(id).await?,
        None => None,
    };
    match (method, found) {
        (Method::BlockReceipts, Some(block)) => write(out, &shapes::Receipts(&block)),
        (_, Some(block)) => write(out, &shapes::Block::of(&block, full)),
        // Block 0 has no bytes, but a place in the chain: its hash is the parent of block 1.
        (_, None) if place.is_genesis(server).await? => {
            if method == Method::BlockReceipts {
                return write(out, &[(); 0]);
            }
            let genesis = server.genesis().await?;
            write(out, &shapes::Block::genesis(genesis))
        }
        (_, None) => write(out, &()),
    }
}

/// How many transactions a block has, or one of them.
async fn in_block(
    server: &Server,
    method: Method,
    arguments: &Arguments<'_>,
    out: &mut Vec<u8>,
) -> Result<(), RpcError> {
    let place = match method {
        Method::CountByHash | Method::TransactionByHashAndIndex => Place::Hash(arguments.required::<HashParam>(0)?.0),
        _ => arguments.required(0)?,
    };
    let index = match method {
        Method::TransactionByNumberAndIndex | Method::TransactionByHashAndIndex => {
            Some(arguments.required::<Index>(1)?.0)
        }
        _ => None,
    };
    let found = match place.id(server) {
        Some(id) => server.block(id).await?,
        None => None,
    };
    match (found, index) {
        (Some(block), None) => write(out, &Quantity(block.transaction_ids.len() as u64)),
        (Some(block), Some(index)) => write(out, &Transaction::in_block(&block, index)),
        (None, None) if place.is_genesis(server).await? => write(out, &Quantity(0)),
        (None, _) => write(out, &()),
    }
}

async fn by_hash(
    server: &Server,
    method: Method,
    arguments: &Arguments<'_>,
    out: &mut Vec<u8>,
) -> Result<(), RpcError> {
    let HashParam(hash) = arguments.required(0)?;
    let id = TransactionId::new(*hash.as_bytes());
    match (method, server.transaction(id).await?) {
        (Method::TransactionByHash, TransactionState::Pending(bytes)) => {
            write(out, &Transaction::pending(server.chain_id, id, &bytes))
        }
        (Method::TransactionByHash, TransactionState::Final(receipt)) => write(out, &Transaction::of_receipt(&receipt)),
        (_, TransactionState::Final(receipt)) => write(out, &shapes::Receipt::of(&receipt)),
        (_, TransactionState::Pruned(pruned)) => Err(pruned.into()),
        _ => write(out, &()),
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
        "newHeads" => Topic::Headers,
        "logs" => Topic::Nothing,
        _ => {
            let reason = "expected \"newHeads\" or \"logs\"; what is not final is not announced";
            return Err(arguments.wrong(0, reason));
        }
    };
    let id = subscriptions.add(server, NOTIFICATION, topic)?;
    write(out, &Quantity(id))
}
