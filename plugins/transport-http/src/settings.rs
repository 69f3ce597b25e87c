//! The `[transport]` table.

use std::{net::SocketAddr, time::Duration};

use quorate::{Settings, plugin::SetupError};
use serde::Deserialize;

/// An example with every key at its default.
pub(crate) const EXAMPLE: &str = r#"# Where clients reach this node: JSON-RPC, /health, /metrics.
rpc_listen = "127.0.0.1:8001"
# Where peers reach this node.
peer_listen = "127.0.0.1:30303"
# How others reach these, when that differs: host:port for peers, a URL for clients.
# peer_advertise = "validator-1.example:30303"
# rpc_advertise = "https://validator-1.example"
# Bytes of a request's body at most.
body_bytes_max = 1048576
# Calls in one batch at most.
batch_max = 100
# Bytes of a request's headers at most.
header_bytes_max = 16384
# Seconds that headers may take, that a body may take, and that a connection may idle.
header_timeout_s = 10
body_timeout_s = 10
idle_timeout_s = 30
# Connections of clients at most, in all and from one address.
connections_max = 512
connections_per_address_max = 256
# Connections of peers at most.
peer_connections_max = 64
"#;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    rpc_listen: SocketAddr,
    peer_listen: SocketAddr,
    peer_advertise: Option<String>,
    rpc_advertise: Option<String>,
    #[serde(default = "body_bytes_max")]
    body_bytes_max: usize,
    #[serde(default = "batch_max")]
    batch_max: usize,
    #[serde(default = "header_bytes_max")]
    header_bytes_max: usize,
    #[serde(default = "ten")]
    header_timeout_s: u64,
    #[serde(default = "ten")]
    body_timeout_s: u64,
    #[serde(default = "thirty")]
    idle_timeout_s: u64,
    #[serde(default = "connections_max")]
    connections_max: usize,
    #[serde(default = "connections_per_address_max")]
    connections_per_address_max: usize,
    #[serde(default = "peer_connections_max")]
    peer_connections_max: usize,
}

const fn body_bytes_max() -> usize {
    1 << 20
}
const fn batch_max() -> usize {
    100
}
const fn header_bytes_max() -> usize {
    16 << 10
}
const fn ten() -> u64 {
    10
}
const fn thirty() -> u64 {
    30
}
const fn connections_max() -> usize {
    512
}
const fn connections_per_address_max() -> usize {
    256
}
const fn peer_connections_max() -> usize {
    64
}

/// The settings, checked.
#[derive(Debug, Clone)]
pub(crate) struct HttpSettings {
    pub(crate) rpc_listen: SocketAddr,
    pub(crate) peer_listen: SocketAddr,
    pub(crate) peer_advertise: Option<String>,
    pub(crate) rpc_advertise: Option<String>,
    pub(crate) body_bytes_max: usize,
    pub(crate) batch_max: usize,
    pub(crate) header_bytes_max: usize,
    pub(crate) header_timeout: Duration,
    pub(crate) body_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) connections_max: usize,
    pub(crate) connections_per_address_max: usize,
    pub(crate) peer_connections_max: usize,
}

impl HttpSettings {
    pub(crate) fn read(settings: &Settings) -> Result<Self, SetupError> {
        let table: Table = settings.parse()?;
        let mut errors = Vec::new();
        let mut range = |key: &str, value: u64, low: u64, high: u64| {
            if !(low..=high).contains(&value) {
                errors.push(settings.error(key, format!("{key} is {value}; it must be {low} to {high}")));
            }
        };
        range("body_bytes_max", table.body_bytes_max as u64, 1024, 64 << 20);
        range("batch_max", table.batch_max as u64, 1, 10_000);
        range("header_bytes_max", table.header_bytes_max as u64, 8192, 1 << 20);
        range("header_timeout_s", table.header_timeout_s, 1, 600);
        range("body_timeout_s", table.body_timeout_s, 1, 600);
        range("idle_timeout_s", table.idle_timeout_s, 1, 3600);
        range("connections_max", table.connections_max as u64, 1, 100_000);
        range("connections_per_address_max", table.connections_per_address_max as u64, 1, 100_000);
        range("peer_connections_max", table.peer_connections_max as u64, 4, 4096);
        if !errors.is_empty() {
            return Err(errors.into());
        }
        Ok(Self {
            rpc_listen: table.rpc_listen,
            peer_listen: table.peer_listen,
            peer_advertise: table.peer_advertise,
            rpc_advertise: table.rpc_advertise,
            body_bytes_max: table.body_bytes_max,
            batch_max: table.batch_max,
            header_bytes_max: table.header_bytes_max,
            header_timeout: Duration::from_secs(table.header_timeout_s),
            body_timeout: Duration::from_secs(table.body_timeout_s),
            idle_timeout: Duration::from_secs(table.idle_timeout_s),
            connections_max: table.connections_max,
            connections_per_address_max: table.connections_per_address_max,
            peer_connections_max: table.peer_connections_max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_holds_the_defaults() {
        let shown = HttpSettings::read(&Settings::from_text(EXAMPLE)).unwrap();
        let bare = "rpc_listen = \"127.0.0.1:8001\"\npeer_listen = \"127.0.0.1:30303\"";
        let bare = HttpSettings::read(&Settings::from_text(bare)).unwrap();
        assert_eq!(format!("{shown:?}"), format!("{bare:?}"));
    }
}
