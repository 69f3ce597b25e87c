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
            Ok(Response::Unavailable(reason)) => Err(RpcError::because(UNAVAILABLE, reason)),
            Ok(Response::Pruned(pruned)) => Err(pruned.into()),
            Ok(response) => Ok(response),
            Err(_) => {
                let reason = format!("the node gave no answer within {} s; it may still act on it", wait.as_secs());
                Err(RpcError::because(UNAVAILABLE, reason))
            }
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
        match self.ask(Request::Submit(bytes)).await? {
            Response::Submitted(result) => Ok(result?),
            _ => Err(RpcError::unexpected()),
        }
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
