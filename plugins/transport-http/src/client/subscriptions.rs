//! What WebSocket clients have subscribed to, and the feed that serves them.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use quorate::{
    TransactionId,
    node::{BlockId, Head},
};
use serde_json::json;
use tokio::sync::{broadcast, watch};

use super::{
    errors::{PRUNED, RpcError, TOO_MANY},
    ethereum,
    hexadecimal::Quantity,
    native,
    server::Server,
    shapes,
};

/// Announced blocks that may wait for a subscriber; one that is further behind is disconnected.
pub(crate) const ANNOUNCEMENTS_MAX: usize = 64;

/// Blocks announced in a row while the node catches up, before subscribers get [`BURST_PAUSE`] to read.
const BURST: u64 = 16;

/// See [`BURST`].
const BURST_PAUSE: Duration = Duration::from_millis(10);

/// Blocks that the announcements may be behind the chain; older ones are left out then.
const BEHIND_MAX: u64 = 4096;

/// Ids in one subscription to receipts at most.
pub(crate) const RECEIPTS_MAX: usize = 256;

/// A final block, its texts made once for all subscribers.
#[derive(Debug)]
pub(crate) struct Announcement {
    transaction_ids: Vec<TransactionId>,
    native: String,
    ethereum: String,
}

/// Tells subscribers of new blocks, in order.
#[derive(Debug)]
pub(crate) struct Feed {
    latest: watch::Sender<Option<Arc<Head>>>,
    announcements: broadcast::Sender<Arc<Announcement>>,
}

impl Feed {
    pub(crate) fn new() -> Self {
        Self { latest: watch::Sender::new(None), announcements: broadcast::Sender::new(ANNOUNCEMENTS_MAX) }
    }

    /// Takes note of a final block. Never waits.
    pub(crate) fn publish(&self, head: Arc<Head>) {
        self.latest.send_replace(Some(head));
    }

    /// Announces block after block, as long as there are subscribers. Ends never.
    pub(crate) async fn run(&self, server: &Server) {
        let mut latest = self.latest.subscribe();
        let mut next = None;
        while latest.changed().await.is_ok() {
            let Some(head) = latest.borrow_and_update().clone() else { continue };
            let head = head.header.height;
            let mut height = next.unwrap_or(head).max(quorate::Height(head.0.saturating_sub(BEHIND_MAX)));
            while height <= head && self.announcements.receiver_count() > 0 {
                let Some(announcement) = announcement(server, height).await else { break };
                // Without subscribers nobody is to be told.
                drop(self.announcements.send(Arc::new(announcement)));
                height = height.next();
                if height.0.is_multiple_of(BURST) && height <= head {
                    tokio::time::sleep(BURST_PAUSE).await;
                }
            }
            let done = height > head || self.announcements.receiver_count() == 0;
            next = Some(if done { head.next() } else { height });
        }
    }
}

async fn announcement(server: &Server, height: quorate::Height) -> Option<Announcement> {
    let block = match server.block(BlockId::Height(height)).await {
        Ok(block) => block?,
        Err(error) => {
            tracing::warn!(%height, reason = error.message, "block could not be announced");
            return None;
        }
    };
    Some(Announcement {
        native: serde_json::to_string(&shapes::Block::of(&block)).ok()?,
        ethereum: ethereum::header_text(&block)?,
        transaction_ids: block.transaction_ids.clone(),
    })
}

/// What a subscription is about.
#[derive(Debug)]
pub(crate) enum Topic {
    /// Every final block, as native JSON.
    Blocks,
    /// Each of these transactions, once, when it is final.
    Receipts {
        /// Those not yet told.
        ids: BTreeSet<TransactionId>,
        /// Those of them to look up now.
        due: Vec<TransactionId>,
    },
    /// Every final block's header, for existing clients.
    Headers,
    /// What never happens on such a chain, such as logs.
    Nothing,
}

impl Topic {
    /// About these transactions.
    pub(crate) fn receipts(ids: Vec<TransactionId>) -> Self {
        // Some may be final already.
        Self::Receipts { ids: ids.iter().copied().collect(), due: ids }
    }
}

#[derive(Debug)]
struct Subscription {
    id: u64,
    method: &'static str,
    topic: Topic,
}

impl Subscription {
    fn notification(&self, result: &str) -> String {
        let id = serde_json::to_string(&Quantity(self.id)).unwrap_or_default();
        let method = self.method;
        format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"{method}\",\"params\":{{\"subscription\":{id},\"result\":{result}}}}}"
        )
    }
}

/// The subscriptions of one WebSocket.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    receiver: Option<broadcast::Receiver<Arc<Announcement>>>,
    active: Vec<Subscription>,
    last_id: u64,
    total: Arc<AtomicUsize>,
}

/// A subscriber that reads too slowly: this many announcements were lost to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lagged(pub(crate) u64);

impl Subscriptions {
    /// None yet; `total` counts those of all WebSockets.
    pub(crate) fn new(total: Arc<AtomicUsize>) -> Self {
        Self { receiver: None, active: Vec::new(), last_id: 0, total }
    }

    /// Adds one and returns its id.
    ///
    /// # Errors
    ///
    /// [`TOO_MANY`].
    pub(crate) fn add(&mut self, server: &Server, method: &'static str, topic: Topic) -> Result<u64, RpcError> {
        let limit = server.settings.subscriptions_max;
        if self.active.len() >= limit {
            let reason = format!("this connection has {limit} subscriptions");
            return Err(RpcError::new(TOO_MANY, json!({ "reason": reason, "limit": limit })));
        }
        let limit = server.settings.subscriptions_total_max;
        let counted =
            self.total.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count < limit).then_some(count + 1));
        if counted.is_err() {
            let reason = format!("this node has {limit} subscriptions");
            return Err(RpcError::new(TOO_MANY, json!({ "reason": reason, "limit": limit })));
        }
        self.receiver.get_or_insert_with(|| server.feed.announcements.subscribe());
        self.last_id += 1;
        self.active.push(Subscription { id: self.last_id, method, topic });
        Ok(self.last_id)
    }

    /// Ends one; whether there was one.
    pub(crate) fn remove(&mut self, id: u64) -> bool {
        let Some(at) = self.active.iter().position(|one| one.id == id) else { return false };
        self.active.swap_remove(at);
        self.total.fetch_sub(1, Ordering::Relaxed);
        if self.active.is_empty() {
            self.receiver = None;
        }
        true
    }

    /// Waits for the next block; for ever without subscriptions.
    pub(crate) async fn next(&mut self) -> Result<Arc<Announcement>, Lagged> {
        let Some(receiver) = &mut self.receiver else { return std::future::pending().await };
        match receiver.recv().await {
            Ok(announcement) => Ok(announcement),
            Err(broadcast::error::RecvError::Lagged(count)) => Err(Lagged(count)),
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }

    /// The notifications that a block brings; receipts follow by [`Subscriptions::next_receipt`].
    pub(crate) fn notifications(&mut self, block: &Announcement) -> Vec<String> {
        let mut texts = Vec::new();
        for one in &mut self.active {
            match &mut one.topic {
                Topic::Blocks => texts.push(one.notification(&block.native)),
                Topic::Headers => texts.push(one.notification(&block.ethereum)),
                Topic::Nothing => {}
                Topic::Receipts { ids, due } => {
                    due.extend(block.transaction_ids.iter().filter(|id| ids.contains(id)));
                }
            }
        }
        texts
    }

    /// The notification of a transaction that is due, one at a time: together they could be large.
    pub(crate) async fn next_receipt(&mut self, server: &Server) -> Option<String> {
        for one in &mut self.active {
            while let Topic::Receipts { ids, due } = &mut one.topic
                && let Some(id) = due.pop()
            {
                if ids.contains(&id)
                    && let Some(receipt) = final_receipt(server, id).await
                {
                    ids.remove(&id);
                    return Some(one.notification(&receipt));
                }
            }
        }
        None
    }
}

impl Drop for Subscriptions {
    fn drop(&mut self) {
        self.total.fetch_sub(self.active.len(), Ordering::Relaxed);
    }
}

/// The text of a final transaction's receipt, or that its block was removed here.
async fn final_receipt(server: &Server, id: TransactionId) -> Option<String> {
    let mut out = Vec::new();
    match native::receipt(server, id, &mut out).await {
        Ok(()) => {}
        Err(error) if error.code == PRUNED.code => {
            return Some(json!({ "status": "removed", "transaction_id": id, "error": error }).to_string());
        }
        Err(_) => return None,
    }
    let text = String::from_utf8(out).ok()?;
    text.starts_with("{\"status\":\"final\"").then_some(text)
}
