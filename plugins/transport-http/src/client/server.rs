//! What all connections share: the node to ask, the settings, the counters.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use quorate::{
    ChainId, Genesis, PublicKey, TransactionId,
    node::{BlockId, FinalBlock, NodeHandle, NodeStatus, Request, Response, TransactionState},
    transport::TransportContext,
};
use tokio::sync::OnceCell;

use super::{
    budget::Budget,
    errors::{INTERNAL_ERROR, RpcError, UNAVAILABLE},
    ethereum::Filters,
    metrics::Metrics,
    rendered::Rendered,
    subscriptions::Feed,
    together::{self, Unanswered},
};
use crate::settings::ClientSettings;

/// How long the node may take for an answer.
pub(crate) const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);

/// How long it may take to copy its store.
pub(crate) const BACKUP_WAIT_MAX: Duration = Duration::from_secs(3600);

/// Shared by all connections.
pub(crate) struct Server {
    pub(crate) settings: ClientSettings,
    pub(crate) chain_id: ChainId,
    pub(crate) version: String,
    pub(crate) public_key: PublicKey,
    pub(crate) admin_token: Option<Arc<str>>,
    pub(crate) metrics: Metrics,
    pub(crate) budget: Budget,
    pub(crate) feed: Feed,
    pub(crate) filters: Filters,
    pub(crate) rendered: Rendered,
    node: NodeHandle,
    genesis: OnceCell<Genesis>,
}

impl Server {
    pub(crate) fn new(settings: &ClientSettings, context: &TransportContext) -> Self {
        Self {
            settings: settings.clone(),
            chain_id: context.chain_id,
            version: context.version.clone(),
            public_key: context.identity.public_key(),
            admin_token: context.admin_token.clone(),
            metrics: Metrics::new(),
            budget: Budget::new(),
            feed: Feed::new(),
            filters: Filters::new(),
            rendered: Rendered::default(),
            node: context.node.clone(),
            genesis: OnceCell::new(),
        }
    }

    /// Asks the node.
    ///
    /// # Errors
    ///
    /// [`UNAVAILABLE`] when it can't answer or takes longer than [`ANSWER_WAIT_MAX`], [`PRUNED`](super::errors::PRUNED).
    pub(crate) async fn ask(&self, request: Request) -> Result<Response, RpcError> {
        self.ask_within(request, ANSWER_WAIT_MAX).await
    }

    /// Asks the node for what may take up to [`BACKUP_WAIT_MAX`].
    ///
    /// # Errors
    ///
    /// [`UNAVAILABLE`].
    pub(crate) async fn ask_patiently(&self, request: Request) -> Result<Response, RpcError> {
        self.ask_within(request, BACKUP_WAIT_MAX).await
    }

    async fn ask_within(&self, request: Request, wait: Duration) -> Result<Response, RpcError> {
        match tokio::time::timeout(wait, self.node.request(request)).await {
            Ok(response) => answered(response),
            Err(_) => Err(late(wait)),
        }
    }

    pub(crate) async fn status(&self) -> Result<Box<NodeStatus>, RpcError> {
        match self.ask(Request::Status).await? {
            Response::Status(status) => Ok(status),
            _ => Err(RpcError::unexpected()),
        }
    }

    pub(crate) async fn block(&self, id: BlockId) -> Result<Option<Arc<FinalBlock>>, RpcError> {
        match self.ask(Request::Block(id)).await? {
            Response::Block(block) => Ok(block),
            _ => Err(RpcError::unexpected()),
        }
    }

    pub(crate) async fn transaction(&self, id: TransactionId) -> Result<TransactionState, RpcError> {
        match self.ask(Request::Transaction(id)).await? {
            Response::Transaction(state) => Ok(state),
            _ => Err(RpcError::unexpected()),
        }
    }

    /// Hands in a transaction.
    ///
    /// # Errors
    ///
    /// What the node says against it.
    pub(crate) async fn submit(&self, bytes: Bytes) -> Result<TransactionId, RpcError> {
        submitted(self.ask(Request::Submit(bytes)).await?)
    }

    /// Hands in several transactions, in their order; the answers are in their order.
    pub(crate) async fn submit_all(&self, transactions: Vec<Bytes>) -> Vec<Result<TransactionId, RpcError>> {
        let answers = together::submit(&self.node, transactions, ANSWER_WAIT_MAX).await;
        let read = |answer: Result<Response, Unanswered>| match answer {
            Ok(response) => submitted(answered(response)?),
            Err(Unanswered::Stopping) => Err(RpcError::because(UNAVAILABLE, "the node is stopping")),
            Err(Unanswered::Late) => Err(late(ANSWER_WAIT_MAX)),
        };
        answers.into_iter().map(read).collect()
    }

    /// The network's genesis, read once.
    pub(crate) async fn genesis(&self) -> Result<&Genesis, RpcError> {
        self.genesis
            .get_or_try_init(|| async {
                match self.ask(Request::Genesis).await? {
                    Response::Text(text) => Genesis::parse("genesis", &text)
                        .map_err(|errors| RpcError::because(INTERNAL_ERROR, quorate::diagnostics::render(&errors))),
                    _ => Err(RpcError::unexpected()),
                }
            })
            .await
    }
}

/// An answer, if it is one.
fn answered(response: Response) -> Result<Response, RpcError> {
    match response {
        Response::Unavailable(reason) => Err(RpcError::because(UNAVAILABLE, reason)),
        Response::Pruned(pruned) => Err(pruned.into()),
        response => Ok(response),
    }
}

fn late(wait: Duration) -> RpcError {
    let reason = format!("the node gave no answer within {} s; it may still act on it", wait.as_secs());
    RpcError::because(UNAVAILABLE, reason)
}

fn submitted(response: Response) -> Result<TransactionId, RpcError> {
    match response {
        Response::Submitted(result) => Ok(result?),
        _ => Err(RpcError::unexpected()),
    }
}
