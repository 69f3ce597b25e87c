//! What transports and services may ask of the node they run in.

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use serde::Serialize;

use crate::{
    application::{Misbehaviour, QueryError, Rejection},
    block::Header,
    consensus::{Certificate, EngineStatus},
    primitives::{ChainId, Hash, Height, PeerId, Timestamp, TransactionId, hexadecimal},
    receipt::Receipt,
    validators::ValidatorSet,
};

/// Which block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum BlockId {
    /// The last final one.
    Latest,
    /// By height.
    Height(Height),
    /// By hash.
    Hash(Hash),
}

/// A question to the node. Every one is answered from what is durable, beside the consensus loop.
#[derive(Debug, Clone, BorshSerialize, BorshDeserialize)]
#[non_exhaustive]
pub enum Request {
    /// How the node stands.
    Status,
    /// The validators of a height; `None` is the height being decided.
    Validators(Option<Height>),
    /// A final block.
    Block(BlockId),
    /// Take a transaction.
    Submit(Bytes),
    /// A transaction by its id, with its receipt when final.
    Transaction(TransactionId),
    /// How full the pool is, and the ids of its first transactions.
    Pool,
    /// Known proofs of misbehaviour, at most [`EVIDENCE_LIST_MAX`], the newest first.
    Evidence,
    /// Ask the application.
    Query {
        /// Which question.
        path: String,
        /// JSON.
        params: Bytes,
    },
    /// Figures in the Prometheus text format.
    Metrics,
    /// The canonical bytes of genesis, as TOML text.
    Genesis,
    /// Final blocks with proofs, from a height on, as many as fit in `bytes_max`.
    BlockRange {
        /// The first.
        from: Height,
        /// Bytes at most (one block is always given).
        bytes_max: u32,
    },
    /// Write a consistent copy of the store to this new directory on the node's machine. Only for the operator.
    Backup {
        /// An absolute path that does not exist.
        directory: String,
    },
    /// Judge a transaction as [`Request::Submit`] does, all checks, but don't take it.
    Check(Bytes),
}

/// Pieces of evidence in a reply at most.
pub const EVIDENCE_LIST_MAX: usize = 100;

/// Transaction ids in a [`PoolStatus`] at most.
pub const POOL_LIST_MAX: usize = 100;

/// An answer, of the kind that the request names.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Response {
    /// To [`Request::Status`].
    Status(Box<NodeStatus>),
    /// To [`Request::Validators`].
    Validators {
        /// Whose.
        height: Height,
        /// Who.
        validators: ValidatorSet,
    },
    /// To [`Request::Block`]; `None` if there is none such. Shared, since everybody asks for the same few.
    Block(Option<Arc<FinalBlock>>),
    /// To [`Request::Submit`].
    Submitted(Result<TransactionId, SubmitError>),
    /// To [`Request::Transaction`].
    Transaction(TransactionState),
    /// To [`Request::Pool`].
    Pool(PoolStatus),
    /// To [`Request::Evidence`].
    Evidence(Vec<EvidenceRecord>),
    /// To [`Request::Query`]: JSON.
    Query(Result<Bytes, QueryError>),
    /// To [`Request::Metrics`] and [`Request::Genesis`].
    Text(String),
    /// To [`Request::BlockRange`]: encoded blocks with their proofs.
    Blocks(Vec<(Bytes, Bytes)>),
    /// To [`Request::Backup`]: the height of the copy.
    BackedUp(Height),
    /// To [`Request::Check`]: the id, also of a transaction that is final already, or why it would not be taken.
    Checked(Result<TransactionId, SubmitError>),
    /// To [`Request::Block`] and [`Request::BlockRange`]: the block is final, and was removed.
    Pruned(Pruned),
    /// The node can't answer.
    Unavailable(String),
}

/// A final block, or one of its transactions, is asked for of a node that keeps only the last blocks and has removed this one.
///
/// What stays of a removed block is that it is final: its hash, its height and the ids of its transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, BorshSerialize, BorshDeserialize)]
#[error(
    "block {height} is final and was removed here: this node has the blocks from {blocks_from} on; ask one that keeps all"
)]
pub struct Pruned {
    /// The block's height.
    pub height: Height,
    /// The lowest height whose block this node has.
    pub blocks_from: Height,
}

/// A final block with its proof.
#[derive(Debug, Clone)]
pub struct FinalBlock {
    /// The block.
    pub block: crate::Block,
    /// The proof as stored.
    pub proof: Bytes,
    /// What the proof says.
    pub certificate: Certificate,
    /// Ids of the transactions, in order.
    pub transaction_ids: Vec<TransactionId>,
    /// The name of the creator.
    pub creator: String,
    /// The key of the creator.
    pub creator_key: crate::PublicKey,
}

/// Why a transaction was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, BorshSerialize, BorshDeserialize)]
#[non_exhaustive]
pub enum SubmitError {
    /// The application refuses it.
    #[error("rejected: {0}")]
    Rejected(Rejection),
    /// The pool has no room.
    #[error("pool full: {count} transactions, {bytes} bytes")]
    PoolFull {
        /// Transactions in it.
        count: u64,
        /// Bytes in it.
        bytes: u64,
        /// When to try again, in milliseconds.
        retry_after_ms: u64,
    },
    /// It is too large.
    #[error("transaction has {len} bytes; the limit is {limit}")]
    TooLarge {
        /// Its length.
        len: u64,
        /// The limit.
        limit: u64,
    },
    /// This node takes none.
    #[error("this node can't take transactions: {0}")]
    Unavailable(String),
}

/// Where a transaction stands.
#[derive(Debug, Clone)]
pub enum TransactionState {
    /// This node does not know it: lost on the way, never sent, or not yet here.
    Unknown,
    /// In this node's pool.
    Pending(Bytes),
    /// In a final block.
    Final(Box<Receipt>),
    /// In a final block which this node has removed: there is no receipt here.
    Pruned(Pruned),
}

/// How full the pool is.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct PoolStatus {
    /// Transactions waiting.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Transactions it holds at most.
    pub count_max: u64,
    /// Bytes it holds at most.
    pub bytes_max: u64,
    /// The ids of the first, at most [`POOL_LIST_MAX`].
    pub transactions: Vec<TransactionId>,
}

/// A proof of misbehaviour that this node verified.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct EvidenceRecord {
    /// What it proves.
    #[serde(flatten)]
    pub misbehaviour: Misbehaviour,
    /// The offender's name, when it is a validator's.
    pub name: String,
    /// The block that carries it; `None` while it waits.
    pub included_at: Option<Height>,
    /// The proof.
    #[serde(serialize_with = "as_hex")]
    pub proof: Vec<u8>,
}

fn as_hex<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hexadecimal(bytes))
}

/// The state of a node in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Blocks become final, or nothing waits for one.
    #[default]
    Ok,
    /// It is behind its peers and catching up.
    Syncing,
    /// No quorum: nothing becomes final.
    Stalled,
    /// It saw what can't be: two certificates, or a final block that it computes differently. It votes no more.
    Conflict,
}

/// How a node stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct NodeStatus {
    /// From the node's file.
    pub name: String,
    /// `validator`, `follower` or `bootnode`.
    pub role: String,
    /// The program's version.
    pub version: String,
    /// The network.
    pub chain_id: Option<ChainId>,
    /// The network's name.
    pub chain_name: String,
    /// This node's key.
    pub public_key: Option<PeerId>,
    /// In a word.
    pub status: Health,
    /// Why it is not `ok`: who is silent, what is missing.
    pub detail: Option<String>,
    /// The last final block's height.
    pub height: Height,
    /// The last final block's hash.
    pub hash: Option<Hash>,
    /// The last final block's time.
    pub time: Timestamp,
    /// The lowest height whose block is here: 1, unless the node keeps only the last blocks.
    pub blocks_from: Height,
    /// The highest height that a peer says is final.
    pub best_known_height: Height,
    /// What the network tolerates, in one sentence.
    pub tolerates: String,
    /// The engine.
    pub engine: EngineStatus,
    /// Peers.
    pub peers: Vec<PeerStatus>,
    /// Peers turned away, and why: a wrong genesis, a wrong key.
    pub refused: Vec<RefusedPeer>,
    /// The pool, without ids.
    pub pool: PoolStatus,
    /// Proofs of misbehaviour known.
    pub evidence: u64,
    /// Seconds since start.
    pub uptime_s: u64,
}

/// A peer.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct PeerStatus {
    /// Its key.
    pub peer: PeerId,
    /// Its name, as it says or as genesis knows it.
    pub name: String,
    /// Whether it is connected.
    pub connected: bool,
    /// Whether it is a validator.
    pub validator: bool,
    /// Its address.
    pub address: String,
    /// Its last final height, as it says.
    pub height: Height,
}

/// A peer that was turned away.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct RefusedPeer {
    /// Where it is or came from.
    pub address: String,
    /// Why.
    pub reason: String,
    /// How often in a row.
    pub count: u64,
}

/// A new final block, told to transports and services.
#[derive(Debug, Clone)]
pub struct Head {
    /// Its header.
    pub header: Header,
    /// Its hash.
    pub hash: Hash,
    /// Ids of its transactions, in order.
    pub transaction_ids: Arc<[TransactionId]>,
}

/// Receives the answer to a request; called once, on any thread, and must not block.
pub type Reply = Box<dyn FnOnce(Response) + Send>;

/// The node, seen from a transport or service.
pub trait Node: Send + Sync {
    /// Answers `request` through `reply`, at once or later. Never blocks for long.
    fn call(&self, request: Request, reply: Reply);
}

/// A shared reference to the node.
#[derive(Clone)]
pub struct NodeHandle(Arc<dyn Node>);

impl NodeHandle {
    /// Wraps a node.
    pub fn new(node: Arc<dyn Node>) -> Self {
        Self(node)
    }

    /// Asks; the answer goes to `reply`, as [`Node::call`] says.
    pub fn call(&self, request: Request, reply: Reply) {
        self.0.call(request, reply);
    }

    /// Asks and waits for the answer; [`Response::Unavailable`] when the node stops meanwhile.
    pub async fn request(&self, request: Request) -> Response {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.0.call(
            request,
            Box::new(move |response| {
                // The asker may have gone away; then nobody needs the answer.
                drop(sender.send(response));
            }),
        );
        receiver.await.unwrap_or_else(|_| Response::Unavailable("the node is stopping".into()))
    }

    /// How the node stands.
    ///
    /// # Errors
    ///
    /// [`Unavailable`].
    pub async fn status(&self) -> Result<NodeStatus, Unavailable> {
        match self.request(Request::Status).await {
            Response::Status(status) => Ok(*status),
            other => Err(Unavailable::instead(other)),
        }
    }

    /// Gives the node a transaction. Its id comes back once it waits in the pool (or is known already): it is pending then, not final.
    ///
    /// # Errors
    ///
    /// [`SubmitError`].
    pub async fn submit(&self, transaction: impl Into<Bytes>) -> Result<TransactionId, SubmitError> {
        match self.request(Request::Submit(transaction.into())).await {
            Response::Submitted(result) => result,
            other => Err(SubmitError::Unavailable(Unavailable::instead(other).0)),
        }
    }

    /// Has the node judge a transaction as if it were submitted, without taking it. What it found good it does not verify again when a block
    /// brings the transaction.
    ///
    /// # Errors
    ///
    /// [`SubmitError`].
    pub async fn check(&self, transaction: impl Into<Bytes>) -> Result<TransactionId, SubmitError> {
        match self.request(Request::Check(transaction.into())).await {
            Response::Checked(result) => result,
            other => Err(SubmitError::Unavailable(Unavailable::instead(other).0)),
        }
    }

    /// Where a transaction stands, with its receipt when it is final.
    ///
    /// # Errors
    ///
    /// [`Unavailable`].
    pub async fn transaction(&self, id: TransactionId) -> Result<TransactionState, Unavailable> {
        match self.request(Request::Transaction(id)).await {
            Response::Transaction(state) => Ok(state),
            other => Err(Unavailable::instead(other)),
        }
    }

    /// Asks the application, as of the last final block. `params` and the answer are JSON.
    ///
    /// # Errors
    ///
    /// [`QueryError`]; [`QueryError::State`] also when the node can't answer.
    pub async fn query(&self, path: &str, params: impl Into<Bytes>) -> Result<Bytes, QueryError> {
        match self.request(Request::Query { path: path.into(), params: params.into() }).await {
            Response::Query(result) => result,
            other => Err(QueryError::State(Unavailable::instead(other).0)),
        }
    }
}

/// The node can't answer: it is starting or stopping, it has no chain, or its store failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the node can't answer: {0}")]
pub struct Unavailable(pub String);

impl Unavailable {
    /// What it means that this came and not the answer.
    fn instead(response: Response) -> Self {
        match response {
            Response::Unavailable(why) => Self(why),
            Response::Pruned(pruned) => Self(pruned.to_string()),
            other => Self(format!("the answer is of another kind: {other:?}")),
        }
    }
}

impl std::fmt::Debug for NodeHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NodeHandle")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says the same to every question.
    struct Says(fn() -> Response);

    impl Node for Says {
        fn call(&self, _: Request, reply: Reply) {
            reply(self.0());
        }
    }

    /// Drives a future that never waits.
    fn now<T>(future: impl Future<Output = T>) -> T {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::pin!(future).poll(&mut context) {
            std::task::Poll::Ready(value) => value,
            std::task::Poll::Pending => panic!("it waits"),
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error_that_says_why() {
        let stopping = NodeHandle::new(Arc::new(Says(|| Response::Unavailable("stopping".into()))));
        assert_eq!(now(stopping.submit("a")), Err(SubmitError::Unavailable("stopping".into())));
        assert_eq!(now(stopping.query("a", "")), Err(QueryError::State("stopping".into())));
        assert_eq!(now(stopping.status()), Err(Unavailable("stopping".into())));
        let confused = NodeHandle::new(Arc::new(Says(|| Response::BackedUp(Height(1)))));
        let error = now(confused.transaction(TransactionId::new([0; 32]))).unwrap_err();
        assert!(error.to_string().contains("BackedUp"), "{error}");
    }
}
