//! The `[transport]` table of the `http` plugin: addresses and limits, with their defaults and ranges.

use std::{net::SocketAddr, time::Duration};

use quorate::{diagnostics::Diagnostic, settings::Settings};
use serde::Deserialize;

/// An example of the table with every key; parses as it stands.
pub const EXAMPLE: &str = include_str!("example.toml");

/// Everything in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// For clients.
    pub client: ClientSettings,
    /// Where peers are listened for.
    pub peer_listen: SocketAddr,
    /// How peers reach this node, if that differs: `host:port`.
    pub peer_advertise: Option<String>,
    /// Peers' connections at most.
    pub peer_connections_max: usize,
    /// Peers' connections from one IP address at most.
    pub peer_connections_per_address_max: usize,
}

/// The side of clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSettings {
    /// Where clients are listened for.
    pub listen: SocketAddr,
    /// How clients reach this node, if that differs: a URL.
    pub advertise: Option<String>,
    /// Bytes of a request's body, or of a WebSocket message, at most.
    pub body_bytes_max: usize,
    /// Calls in a batch at most.
    pub batch_max: usize,
    /// How deep arrays and objects may be nested in a body.
    pub depth_max: usize,
    /// Bytes of a request's head at most.
    pub header_bytes_max: usize,
    /// From the first byte of a head to its last.
    pub header_timeout: Duration,
    /// From the end of a head to the end of the body.
    pub body_timeout: Duration,
    /// How long a connection may be silent between requests, and how long a client may read nothing of an answer.
    pub idle_timeout: Duration,
    /// Connections at most.
    pub connections_max: usize,
    /// Connections from one IP address at most.
    pub connections_per_address_max: usize,
    /// Subscriptions of one WebSocket at most.
    pub subscriptions_max: usize,
    /// Subscriptions of all WebSockets at most.
    pub subscriptions_total_max: usize,
}

macro_rules! table {
    ($( $(#[$attribute:meta])* $key:ident = $default:literal in $least:literal ..= $most:literal ),+ $(,)?) => {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            rpc_listen: String,
            peer_listen: String,
            rpc_advertise: Option<String>,
            peer_advertise: Option<String>,
            $( #[serde(default = $default)] $key: u32, )+
        }

        impl Table {
            /// Every number with the range it must be in.
            fn numbers(&self) -> Vec<(&'static str, u32, std::ops::RangeInclusive<u32>)> {
                vec![$( (stringify!($key), self.$key, $least..=$most) ),+]
            }
        }
    };
}

table! {
    body_bytes_max = "default::body_bytes_max" in 1_024..=67_108_864,
    batch_max = "default::batch_max" in 1..=10_000,
    depth_max = "default::depth_max" in 4..=100,
    header_bytes_max = "default::header_bytes_max" in 1_024..=262_144,
    header_timeout_s = "default::header_timeout_s" in 1..=3_600,
    body_timeout_s = "default::body_timeout_s" in 1..=3_600,
    idle_timeout_s = "default::idle_timeout_s" in 1..=86_400,
    connections_max = "default::connections_max" in 1..=1_000_000,
    connections_per_address_max = "default::connections_per_address_max" in 1..=1_000_000,
    subscriptions_max = "default::subscriptions_max" in 0..=10_000,
    subscriptions_total_max = "default::subscriptions_total_max" in 0..=1_000_000,
    peer_connections_max = "default::peer_connections_max" in 1..=10_000,
    peer_connections_per_address_max = "default::peer_connections_per_address_max" in 1..=10_000,
}

mod default {
    //! What holds for a key that is not there.
    macro_rules! defaults {
        ($($key:ident = $value:literal),+ $(,)?) => { $( pub(super) const fn $key() -> u32 { $value } )+ };
    }
    defaults! {
        body_bytes_max = 1_048_576,
        batch_max = 100,
        depth_max = 32,
        header_bytes_max = 16_384,
        header_timeout_s = 10,
        body_timeout_s = 10,
        idle_timeout_s = 30,
        connections_max = 1_024,
        connections_per_address_max = 256,
        subscriptions_max = 16,
        subscriptions_total_max = 4_096,
        peer_connections_max = 128,
        peer_connections_per_address_max = 32,
    }
}

impl HttpSettings {
    /// Reads the table.
    ///
    /// # Errors
    ///
    /// Every error in it, each with its place.
    pub fn read(settings: &Settings) -> Result<Self, Vec<Diagnostic>> {
        let table: Table = settings.parse()?;
        let mut errors = Vec::new();
        for (key, value, range) in table.numbers() {
            if !range.contains(&value) {
                let message = format!("`{key}` is {value}; it must be {} to {}", range.start(), range.end());
                errors.push(settings.error(key, message));
            }
        }
        let rpc_listen = listen(settings, "rpc_listen", &table.rpc_listen, &mut errors);
        let peer_listen = listen(settings, "peer_listen", &table.peer_listen, &mut errors);
        if let Some(url) = &table.rpc_advertise
            && !is_url(url)
        {
            errors.push(
                settings
                    .error("rpc_advertise", format!("`rpc_advertise` is \"{url}\", which is not a URL"))
                    .with_help("write it like \"http://validator-1.example:8001\""),
            );
        }
        if let Some(address) = &table.peer_advertise
            && !is_host_and_port(address)
        {
            errors.push(
                settings
                    .error("peer_advertise", format!("`peer_advertise` is \"{address}\", which is not host:port"))
                    .with_help("write it like \"validator-1.example:30303\""),
            );
        }
        match (rpc_listen, peer_listen) {
            (Some(rpc), Some(peer)) if rpc == peer && rpc.port() != 0 => {
                errors.push(settings.error("peer_listen", "`peer_listen` is the same address as `rpc_listen`"));
                Err(errors)
            }
            (Some(rpc), Some(peer)) if errors.is_empty() => Ok(Self::from_table(table, rpc, peer)),
            _ => Err(errors),
        }
    }

    fn from_table(table: Table, rpc_listen: SocketAddr, peer_listen: SocketAddr) -> Self {
        let count = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
        let seconds = |value: u32| Duration::from_secs(value.into());
        Self {
            client: ClientSettings {
                listen: rpc_listen,
                advertise: table.rpc_advertise,
                body_bytes_max: count(table.body_bytes_max),
                batch_max: count(table.batch_max),
                depth_max: count(table.depth_max),
                header_bytes_max: count(table.header_bytes_max),
                header_timeout: seconds(table.header_timeout_s),
                body_timeout: seconds(table.body_timeout_s),
                idle_timeout: seconds(table.idle_timeout_s),
                connections_max: count(table.connections_max),
                connections_per_address_max: count(table.connections_per_address_max),
                subscriptions_max: count(table.subscriptions_max),
                subscriptions_total_max: count(table.subscriptions_total_max),
            },
            peer_listen,
            peer_advertise: table.peer_advertise,
            peer_connections_max: count(table.peer_connections_max),
            peer_connections_per_address_max: count(table.peer_connections_per_address_max),
        }
    }
}

fn listen(settings: &Settings, key: &str, text: &str, errors: &mut Vec<Diagnostic>) -> Option<SocketAddr> {
    let address = text.parse().ok();
    if address.is_none() {
        errors.push(
            settings
                .error(key, format!("`{key}` is \"{text}\", which is not an IP address and a port"))
                .with_help("write it like \"127.0.0.1:8001\", or \"[::]:8001\" for every address of the machine"),
        );
    }
    address
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !rest.contains(char::is_whitespace))
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains(['/', ' ']) && port.parse::<u16>().is_ok_and(|port| port != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "rpc_listen = \"127.0.0.1:8001\"\npeer_listen = \"127.0.0.1:30303\"\n";

    fn read(text: &str) -> Result<HttpSettings, Vec<Diagnostic>> {
        HttpSettings::read(&Settings::from_text(text))
    }

    #[test]
    fn two_addresses_are_enough() {
        let settings = read(LEAST).unwrap();
        assert_eq!(settings.client.body_bytes_max, 1 << 20);
        assert_eq!(settings.client.batch_max, 100);
        assert_eq!(settings.client.header_bytes_max, 16 << 10);
        assert_eq!(settings.client.idle_timeout, Duration::from_secs(30));
    }

    #[test]
    fn the_example_is_the_defaults() {
        assert_eq!(read(EXAMPLE).unwrap(), read(LEAST).unwrap());
    }

    #[test]
    fn all_errors_come_at_once_with_what_would_be_right() {
        let errors = read(
            "rpc_listen = \"localhost\"\npeer_listen = \"127.0.0.1:1\"\nbatch_max = 0\nrpc_advertise = \"host:1\"\npeer_advertise = \"host\"\n",
        )
        .unwrap_err();
        let shown = quorate::diagnostics::render(&errors);
        for expected in [
            "settings:1:14: `rpc_listen` is \"localhost\"",
            "settings:3:13: `batch_max` is 0; it must be 1 to 10000",
            "settings:4:17: `rpc_advertise` is \"host:1\"",
            "settings:5:18: `peer_advertise` is \"host\"",
            "write it like \"127.0.0.1:8001\"",
        ] {
            assert!(shown.contains(expected), "{expected} is not in:\n{shown}");
        }
        assert_eq!(errors.len(), 4);
    }

    #[test]
    fn a_misspelt_key_is_refused_with_what_was_meant() {
        let errors = read(&format!("{LEAST}bach_max = 5\n")).unwrap_err();
        assert!(errors[0].to_string().contains("did you mean `batch_max`?"), "{}", errors[0]);
    }

    #[test]
    fn one_address_for_both_is_refused() {
        let errors = read("rpc_listen = \"127.0.0.1:1\"\npeer_listen = \"127.0.0.1:1\"\n").unwrap_err();
        assert!(errors[0].message.contains("same address"));
    }
}
