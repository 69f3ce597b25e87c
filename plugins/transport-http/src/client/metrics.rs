//! Figures about clients, in the Prometheus text format.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use super::{errors::ERROR_CODES, methods::Method};

/// Counters and gauges; all are since start.
#[derive(Debug)]
pub(crate) struct Metrics {
    calls: [AtomicU64; Method::COUNT],
    errors: Vec<AtomicU64>,
    /// HTTP requests with a body or without.
    pub(crate) requests: AtomicU64,
    /// Connections turned away: too many in all, too many from one address.
    pub(crate) refused: [AtomicU64; 2],
    /// Connections closed because the client was too slow to send or to read.
    pub(crate) slow: AtomicU64,
    /// Open connections, WebSockets among them.
    pub(crate) connections: AtomicUsize,
    /// Open WebSockets.
    pub(crate) websockets: AtomicUsize,
    /// Subscriptions of all WebSockets.
    pub(crate) subscriptions: Arc<AtomicUsize>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            calls: [const { AtomicU64::new(0) }; Method::COUNT],
            errors: ERROR_CODES.iter().map(|_| AtomicU64::new(0)).collect(),
            requests: AtomicU64::new(0),
            refused: [const { AtomicU64::new(0) }; 2],
            slow: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
            websockets: AtomicUsize::new(0),
            subscriptions: Arc::default(),
        }
    }

    /// Counts a call.
    pub(crate) fn called(&self, method: Method) {
        if let Some(counter) = self.calls.get(method.index()) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts an error.
    pub(crate) fn failed(&self, code: i32) {
        let at = ERROR_CODES.iter().position(|one| one.code == code);
        if let Some(counter) = at.and_then(|at| self.errors.get(at)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The figures as text; methods and errors that never came are left out.
    pub(crate) fn render(&self) -> String {
        let mut out = String::with_capacity(4096);
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        family(&mut out, "quorate_rpc_calls_total", "counter", "Calls by method.");
        for (name, counter) in Method::names().zip(&self.calls) {
            line(&mut out, "quorate_rpc_calls_total", &format!("{{method=\"{name}\"}}"), load(counter));
        }
        family(&mut out, "quorate_rpc_errors_total", "counter", "Error answers by code.");
        for (code, counter) in ERROR_CODES.iter().zip(&self.errors) {
            line(&mut out, "quorate_rpc_errors_total", &format!("{{code=\"{}\"}}", code.code), load(counter));
        }
        family(&mut out, "quorate_http_refused_total", "counter", "Connections turned away, by the limit reached.");
        for (limit, counter) in ["connections_max", "connections_per_address_max"].iter().zip(&self.refused) {
            line(&mut out, "quorate_http_refused_total", &format!("{{limit=\"{limit}\"}}"), load(counter));
        }
        let counters = [
            ("quorate_http_requests_total", "HTTP requests.", &self.requests),
            ("quorate_http_slow_total", "Connections closed because the client was too slow.", &self.slow),
        ];
        for (name, help, counter) in counters {
            family(&mut out, name, "counter", help);
            line(&mut out, name, " ", load(counter));
        }
        let gauges = [
            ("quorate_http_connections", "Open connections.", &self.connections),
            ("quorate_http_websockets", "Open WebSockets.", &self.websockets),
            ("quorate_http_subscriptions", "Subscriptions.", &*self.subscriptions),
        ];
        for (name, help, gauge) in gauges {
            family(&mut out, name, "gauge", help);
            line(&mut out, name, " ", gauge.load(Ordering::Relaxed) as u64);
        }
        out
    }
}

fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    out.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
}

fn line(out: &mut String, name: &str, labels: &str, value: u64) {
    if value > 0 || labels == " " {
        let labels = labels.trim();
        out.push_str(&format!("{name}{labels} {value}\n"));
    }
}
