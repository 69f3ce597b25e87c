//! Figures for operators, in the Prometheus text format.

use prometheus_client::{
    encoding::text::encode,
    metrics::{
        counter::Counter,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// All figures of a node's kernel.
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) height: Gauge,
    pub(crate) round: Gauge,
    pub(crate) peers: Gauge,
    pub(crate) pool_transactions: Gauge,
    pub(crate) pool_bytes: Gauge,
    pub(crate) transactions: Counter,
    pub(crate) blocks_by_engine: Counter,
    pub(crate) blocks_by_sync: Counter,
    pub(crate) signatures: Counter,
    pub(crate) signatures_refused: Counter,
    pub(crate) persists: Counter,
    pub(crate) guard_writes: Counter,
    pub(crate) messages_dropped: Counter,
    pub(crate) messages_named: Counter,
    pub(crate) messages_wanted: Counter,
    pub(crate) submissions_rejected: Counter,
    pub(crate) commit_seconds: Histogram,
    pub(crate) step_seconds: Histogram,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("quorate");
        let buckets = || exponential_buckets(0.000_1, 2.0, 16);
        let metrics = Self {
            height: Gauge::default(),
            round: Gauge::default(),
            peers: Gauge::default(),
            pool_transactions: Gauge::default(),
            pool_bytes: Gauge::default(),
            transactions: Counter::default(),
            blocks_by_engine: Counter::default(),
            blocks_by_sync: Counter::default(),
            signatures: Counter::default(),
            signatures_refused: Counter::default(),
            persists: Counter::default(),
            guard_writes: Counter::default(),
            messages_dropped: Counter::default(),
            messages_named: Counter::default(),
            messages_wanted: Counter::default(),
            submissions_rejected: Counter::default(),
            commit_seconds: Histogram::new(buckets()),
            step_seconds: Histogram::new(buckets()),
            registry: Registry::default(),
        };
        registry.register("height", "Height of the last final block", metrics.height.clone());
        registry.register("round", "Round of the height being decided", metrics.round.clone());
        registry.register("peers", "Connected peers", metrics.peers.clone());
        registry.register("pool_transactions", "Transactions that wait", metrics.pool_transactions.clone());
        registry.register("pool_bytes", "Bytes of transactions that wait", metrics.pool_bytes.clone());
        registry.register("transactions", "Transactions made final since start", metrics.transactions.clone());
        registry.register("blocks_by_engine", "Blocks made final by consensus", metrics.blocks_by_engine.clone());
        registry.register("blocks_by_sync", "Blocks taken by catch-up", metrics.blocks_by_sync.clone());
        registry.register("signatures", "Consensus signatures made", metrics.signatures.clone());
        registry.register("signatures_refused", "Signatures the guard refused", metrics.signatures_refused.clone());
        registry.register("persists", "Records the consensus asked to make durable", metrics.persists.clone());
        registry.register("guard_writes", "Times the guard was written and waited for", metrics.guard_writes.clone());
        registry.register("messages_dropped", "Messages of peers dropped", metrics.messages_dropped.clone());
        let named = "Consensus messages put together from the pool";
        registry.register("messages_named", named, metrics.messages_named.clone());
        let wanted = "Consensus messages asked for whole, as the pool lacked a transaction";
        registry.register("messages_wanted", wanted, metrics.messages_wanted.clone());
        registry.register("submissions_rejected", "Transactions not accepted", metrics.submissions_rejected.clone());
        registry.register("commit_seconds", "Time to make a block durable", metrics.commit_seconds.clone());
        registry.register("step_seconds", "Time of one step of the consensus", metrics.step_seconds.clone());
        Self { registry, ..metrics }
    }

    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.registry) {
            tracing::error!(error = &error as &dyn std::error::Error, "metrics could not be rendered");
        }
        text
    }
}
