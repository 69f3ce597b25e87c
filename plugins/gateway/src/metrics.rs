//! The gateway's figures, in the Prometheus text format.

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// An answer's route and status.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Answered {
    pub(crate) route: &'static str,
    pub(crate) status: u16,
}

/// See the module.
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) answers: Family<Answered, Counter>,
    pub(crate) accepted: Counter,
    pub(crate) settled_final: Counter,
    pub(crate) settled_refused: Counter,
    pub(crate) limited: Counter,
    held: Gauge,
    held_bytes: Gauge,
    validators_answering: Gauge,
    height: Gauge,
}

/// What is measured when it is asked for.
pub(crate) struct Now {
    pub(crate) held: usize,
    pub(crate) held_bytes: usize,
    pub(crate) answering: usize,
    pub(crate) height: u64,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("quorate_gateway");
        macro_rules! metric {
            ($name:literal, $help:literal) => {{
                let metric = Default::default();
                registry.register($name, $help, Clone::clone(&metric));
                metric
            }};
        }
        let answers: Family<Answered, Counter> = metric!("answers", "Answers by route and HTTP status");
        let accepted: Counter = metric!("ballots_accepted", "Ballots made durable since the start");
        let settled_final: Counter = metric!("ballots_final", "Held ballots found final since the start");
        let settled_refused: Counter = metric!("ballots_refused", "Held ballots refused by the chain since the start");
        let limited: Counter = metric!("requests_limited", "Requests and connections refused by a limit");
        let held: Gauge = metric!("outbox_ballots", "Ballots held, not final yet");
        let held_bytes: Gauge = metric!("outbox_bytes", "Their bytes");
        let validators_answering: Gauge = metric!("validators_answering", "Validators that answer");
        let height: Gauge = metric!("height", "The last block that this node verified");
        Self {
            registry,
            answers,
            accepted,
            settled_final,
            settled_refused,
            limited,
            held,
            held_bytes,
            validators_answering,
            height,
        }
    }

    pub(crate) fn render(&self, now: &Now) -> String {
        let set = |gauge: &Gauge, value: u64| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.held, now.held as u64);
        set(&self.held_bytes, now.held_bytes as u64);
        set(&self.validators_answering, now.answering as u64);
        set(&self.height, now.height);
        let mut text = String::new();
        // Writing to a string does not fail.
        if encode(&mut text, &self.registry).is_err() {
            text.clear();
        }
        text
    }
}
