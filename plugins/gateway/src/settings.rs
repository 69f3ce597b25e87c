//! `[[service]] plugin = "gateway"`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use quorate::{Settings, diagnostics::Diagnostic};
use quorate_client::Endpoint;
use serde::Deserialize;

/// An example of the settings, every key commented.
pub const EXAMPLE: &str = r#"# Where voters' booths and operators ask. Beyond loopback: any other address of this machine, with TLS or behind a proxy that has it.
listen = "127.0.0.1:8000"
# Asked for validators that are not listed below. It may be away, also at the start.
bootnode = "http://127.0.0.1:8546"
# Pages of these origins may ask from a browser, such as "https://booth.example". None by default.
cors_origins = []
# Ballots which may be held at a time until they are final, and their bytes; beyond, ballots are refused with 503.
outbox_count_max = 50000
outbox_bytes_max = 268435456
# Plugins of the ledger in which ballots are held.
outbox_consensus = "solo"
outbox_storage = "redb"
# How long an answer waits for a validator to take the ballot before it says `queued`, in milliseconds.
forward_wait_ms = 1000
# How long one validator may take to answer before the next is asked, in milliseconds.
attempt_timeout_ms = 2000
# Time between two looks at a validator, in milliseconds.
probe_interval_ms = 1000
# Bytes of a request's body at most.
body_bytes_max = 65536
# Requests a second from one address; two seconds' worth may come at once.
requests_per_address_per_s = 1000
# Connections at a time, in all and from one address.
connections_max = 1024
connections_per_address_max = 256
# Seconds within which a request's head, and then its body, must be here. A connection lasts 60 s at most.
header_timeout_s = 10
body_timeout_s = 10

# The validators to which ballots are forwarded, such as { name = "validator-1", rpc_url = "http://127.0.0.1:8001", p2p_url = "tcp://127.0.0.1:30303" }.
validator = []

# Serves TLS 1.2 and 1.3: the certificate chain and its key, both PEM, relative to this file.
# [service.tls]
# cert_file = "gateway.pem"
# key_file = "gateway.key"
"#;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ValidatorTable {
    name: String,
    rpc_url: String,
    p2p_url: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsTable {
    cert_file: PathBuf,
    key_file: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    listen: SocketAddr,
    bootnode: Option<String>,
    #[serde(default)]
    validator: Vec<ValidatorTable>,
    #[serde(default)]
    cors_origins: Vec<String>,
    tls: Option<TlsTable>,
    #[serde(default = "outbox_count_max")]
    outbox_count_max: u64,
    #[serde(default = "outbox_bytes_max")]
    outbox_bytes_max: u64,
    #[serde(default = "outbox_consensus")]
    outbox_consensus: String,
    #[serde(default = "outbox_storage")]
    outbox_storage: String,
    #[serde(default = "forward_wait_ms")]
    forward_wait_ms: u64,
    #[serde(default = "attempt_timeout_ms")]
    attempt_timeout_ms: u64,
    #[serde(default = "probe_interval_ms")]
    probe_interval_ms: u64,
    #[serde(default = "body_bytes_max")]
    body_bytes_max: u64,
    #[serde(default = "requests_per_address_per_s")]
    requests_per_address_per_s: u64,
    #[serde(default = "connections_max")]
    connections_max: u64,
    #[serde(default = "connections_per_address_max")]
    connections_per_address_max: u64,
    #[serde(default = "timeout_s")]
    header_timeout_s: u64,
    #[serde(default = "timeout_s")]
    body_timeout_s: u64,
}

fn outbox_count_max() -> u64 {
    50_000
}

fn outbox_bytes_max() -> u64 {
    256 << 20
}

fn outbox_consensus() -> String {
    "solo".into()
}

fn outbox_storage() -> String {
    "redb".into()
}

fn forward_wait_ms() -> u64 {
    1000
}

fn attempt_timeout_ms() -> u64 {
    2000
}

fn probe_interval_ms() -> u64 {
    1000
}

fn body_bytes_max() -> u64 {
    64 << 10
}

fn requests_per_address_per_s() -> u64 {
    1000
}

fn connections_max() -> u64 {
    1024
}

fn connections_per_address_max() -> u64 {
    256
}

fn timeout_s() -> u64 {
    10
}

/// The certificate chain and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// The settings, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewaySettings {
    pub(crate) listen: SocketAddr,
    pub(crate) bootnode: Option<String>,
    pub(crate) validators: Vec<Endpoint>,
    pub(crate) cors_origins: Vec<String>,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) outbox_count_max: usize,
    pub(crate) outbox_bytes_max: usize,
    pub(crate) outbox_consensus: String,
    pub(crate) outbox_storage: String,
    pub(crate) forward_wait: Duration,
    pub(crate) attempt_timeout: Duration,
    pub(crate) probe_interval: Duration,
    pub(crate) body_bytes_max: usize,
    pub(crate) requests_per_address_per_s: u32,
    pub(crate) connections_max: usize,
    pub(crate) connections_per_address_max: usize,
    pub(crate) header_timeout: Duration,
    pub(crate) body_timeout: Duration,
}

impl Table {
    fn numbers(&self) -> [(&'static str, u64, std::ops::RangeInclusive<u64>); 11] {
        [
            ("outbox_count_max", self.outbox_count_max, 1..=10_000_000),
            ("outbox_bytes_max", self.outbox_bytes_max, 1 << 16..=1 << 40),
            ("forward_wait_ms", self.forward_wait_ms, 0..=30_000),
            ("attempt_timeout_ms", self.attempt_timeout_ms, 50..=60_000),
            ("probe_interval_ms", self.probe_interval_ms, 50..=60_000),
            ("body_bytes_max", self.body_bytes_max, 1 << 10..=1 << 20),
            ("requests_per_address_per_s", self.requests_per_address_per_s, 1..=1_000_000),
            ("connections_max", self.connections_max, 1..=65_536),
            ("connections_per_address_max", self.connections_per_address_max, 1..=self.connections_max.max(1)),
            ("header_timeout_s", self.header_timeout_s, 1..=60),
            ("body_timeout_s", self.body_timeout_s, 1..=60),
        ]
    }
}

fn is_origin(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'))
}

impl GatewaySettings {
    /// Reads and checks the settings.
    ///
    /// # Errors
    ///
    /// Every error, with its place.
    pub fn read(settings: &Settings) -> Result<Self, Vec<Diagnostic>> {
        let table: Table = settings.parse()?;
        let mut errors = Vec::new();
        for (key, value, range) in table.numbers() {
            if !range.contains(&value) {
                let message = format!("`{key}` is {value}; it must be {} to {}", range.start(), range.end());
                errors.push(settings.error(key, message));
            }
        }
        for origin in table.cors_origins.iter().filter(|origin| !is_origin(origin)) {
            let message = format!("`{origin}` is not an origin; write it like \"https://booth.example\"");
            errors.push(settings.error("cors_origins", message));
        }
        let validators: Vec<Endpoint> = table
            .validator
            .iter()
            .map(|one| Endpoint { p2p_url: one.p2p_url.clone(), ..Endpoint::new(&one.name, &one.rpc_url) })
            .collect();
        let (names, count): (std::collections::BTreeSet<&str>, usize) =
            (validators.iter().map(|one| one.name.as_str()).collect(), validators.len());
        if names.len() < count {
            errors.push(settings.error("validator", "two validators have one name"));
        }
        let bootnode = table.bootnode.clone();
        let client =
            quorate_client::Settings { bootnode: bootnode.clone(), ..quorate_client::Settings::of(validators) };
        if let Err(error) = client.check() {
            let key = if client.validators.is_empty() { "bootnode" } else { "validator" };
            errors.push(settings.error(key, error.to_string()));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let count = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let directory = Path::new(settings.file()).parent().unwrap_or(Path::new(""));
        Ok(Self {
            listen: table.listen,
            bootnode,
            validators: client.validators,
            cors_origins: table.cors_origins,
            tls: table
                .tls
                .map(|tls| TlsFiles { cert: directory.join(tls.cert_file), key: directory.join(tls.key_file) }),
            outbox_count_max: count(table.outbox_count_max),
            outbox_bytes_max: count(table.outbox_bytes_max),
            outbox_consensus: table.outbox_consensus,
            outbox_storage: table.outbox_storage,
            forward_wait: Duration::from_millis(table.forward_wait_ms),
            attempt_timeout: Duration::from_millis(table.attempt_timeout_ms),
            probe_interval: Duration::from_millis(table.probe_interval_ms),
            body_bytes_max: count(table.body_bytes_max),
            requests_per_address_per_s: u32::try_from(table.requests_per_address_per_s).unwrap_or(u32::MAX),
            connections_max: count(table.connections_max),
            connections_per_address_max: count(table.connections_per_address_max),
            header_timeout: Duration::from_secs(table.header_timeout_s),
            body_timeout: Duration::from_secs(table.body_timeout_s),
        })
    }

    /// What the client is made from.
    pub(crate) fn client(&self) -> quorate_client::Settings {
        quorate_client::Settings {
            bootnode: self.bootnode.clone(),
            attempt_timeout: self.attempt_timeout,
            probe_interval: self.probe_interval,
            ..quorate_client::Settings::of(self.validators.clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<GatewaySettings, Vec<Diagnostic>> {
        GatewaySettings::read(&Settings::from_text(text))
    }

    #[test]
    fn the_example_is_the_defaults() {
        let least = "listen = \"127.0.0.1:8000\"\nbootnode = \"http://127.0.0.1:8546\"\n";
        assert_eq!(read(EXAMPLE).unwrap(), read(least).unwrap());
    }

    #[test]
    fn all_errors_come_at_once_with_what_would_be_right() {
        let errors = read(
            "listen = \"127.0.0.1:8000\"\nbody_bytes_max = 1\nconnections_max = 0\ncors_origins = [\"booth\"]\n\
             [[validator]]\nname = \"a\"\nrpc_url = \"127.0.0.1:1\"\n",
        )
        .unwrap_err();
        let shown = quorate::diagnostics::render(&errors);
        for expected in
            ["body_bytes_max", "connections_max", "https://booth.example", "write it like http://192.0.2.1:8001"]
        {
            assert!(shown.contains(expected), "{expected} is not in:\n{shown}");
        }
        let nobody = read("listen = \"127.0.0.1:8000\"\n").unwrap_err();
        assert!(nobody[0].message.contains("no validator and no bootnode"), "{nobody:?}");
        let misspelt = read("listen = \"127.0.0.1:8000\"\nbootnod = \"http://a\"\n").unwrap_err();
        assert!(misspelt[0].to_string().contains("did you mean `bootnode`?"), "{}", misspelt[0]);
    }
}
