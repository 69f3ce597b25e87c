//! A node's signed record: its name, key and addresses, as a bootnode keeps and tells them.
//!
//! The signed bytes are [`RECORD_TAG`] (`"quorate/record/1\0"`) and then the borsh of:
//!
//! | field | bytes |
//! |---|---|
//! | `chain_id` | 0, or 1 and 32 bytes |
//! | `node_id` | length u32le, UTF-8 |
//! | `public_key` | 32 |
//! | `p2p_url` | length u32le, UTF-8 |
//! | `rpc_url` | length u32le, UTF-8 |
//! | `sequence` | u64le |
//!
//! A heartbeat's are the tag, a byte 2 (which no record begins with), then `node_id`, `public_key` and `sequence` as above.

use std::net::{IpAddr, Ipv6Addr};

use quorate::{
    ChainId, PublicKey, Signature,
    borsh::{self, BorshSerialize},
    transport::{Identity, IdentityError, IdentityUse, RECORD_TAG},
};
use serde::{Deserialize, Serialize};

/// Bytes of a node's name at most.
pub const NODE_ID_BYTES_MAX: usize = 64;

/// Bytes of an address at most.
pub const URL_BYTES_MAX: usize = 256;

/// The scheme of `p2p_url`; it may be left out.
pub const PEER_SCHEME: &str = "tcp://";

/// Begins a heartbeat's signed bytes: neither tag of the option with which a record's begin.
const HEARTBEAT: u8 = 2;

/// Why a record or heartbeat is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The name.
    #[error("node_id has {len} bytes; it must have 1 to {NODE_ID_BYTES_MAX}, none of them control characters")]
    NodeId {
        /// Its length.
        len: usize,
    },
    /// The peers' address.
    #[error("p2p_url `{found}` is no address for peers; write it like tcp://192.0.2.1:30303")]
    PeerUrl {
        /// What was given, cut to 80 characters.
        found: String,
    },
    /// The clients' address.
    #[error("rpc_url `{found}` is no URL for clients; write it like http://192.0.2.1:8001, or leave it empty")]
    RpcUrl {
        /// What was given, cut to 80 characters.
        found: String,
    },
    /// The signature is not the key's.
    #[error("the signature is not one of public_key {key} over this record")]
    Signature {
        /// The key that is named.
        key: PublicKey,
    },
}

/// Where a node is, signed by its own key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The node's name, for people.
    pub node_id: String,
    /// The node's key: who it is.
    pub public_key: PublicKey,
    /// Where peers reach it: `tcp://host:port`, or `host:port`.
    pub p2p_url: String,
    /// Where clients reach it; empty when it serves none.
    #[serde(default)]
    pub rpc_url: String,
    /// The network it belongs to, so that networks that share a bootnode don't mix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain_id: Option<ChainId>,
    /// Rises with every record and heartbeat of this key: an older one is refused.
    pub sequence: u64,
    /// By `public_key` over all of the above.
    pub signature: Signature,
}

#[derive(BorshSerialize)]
struct Statement<'a> {
    chain_id: Option<ChainId>,
    node_id: &'a str,
    public_key: PublicKey,
    p2p_url: &'a str,
    rpc_url: &'a str,
    sequence: u64,
}

/// What a node says of itself, not yet signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// As in [`Record`].
    pub node_id: String,
    /// As in [`Record`].
    pub p2p_url: String,
    /// As in [`Record`].
    pub rpc_url: String,
    /// As in [`Record`].
    pub chain_id: Option<ChainId>,
}

impl Record {
    /// Has `identity` sign its place.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] if the key does not sign.
    pub fn sign(identity: &dyn Identity, place: Place, sequence: u64) -> Result<Self, IdentityError> {
        let Place { node_id, p2p_url, rpc_url, chain_id } = place;
        let public_key = identity.public_key();
        let signature = Signature::new([0; Signature::LEN]);
        let mut record = Self { node_id, public_key, p2p_url, rpc_url, chain_id, sequence, signature };
        record.signature = identity.sign(IdentityUse::Record, &record.statement())?;
        Ok(record)
    }

    /// What is signed, without the tag.
    fn statement(&self) -> Vec<u8> {
        to_bytes(&Statement {
            chain_id: self.chain_id,
            node_id: &self.node_id,
            public_key: self.public_key,
            p2p_url: &self.p2p_url,
            rpc_url: &self.rpc_url,
            sequence: self.sequence,
        })
    }

    /// Checks everything but the signature; returns the peers' address as `host:port`, the host in lower case.
    ///
    /// # Errors
    ///
    /// [`RecordError`] names the field.
    pub fn check_fields(&self) -> Result<String, RecordError> {
        check_node_id(&self.node_id)?;
        let address =
            peer_address(&self.p2p_url).ok_or_else(|| RecordError::PeerUrl { found: shortened(&self.p2p_url) })?;
        if !self.rpc_url.is_empty() && !is_client_url(&self.rpc_url) {
            return Err(RecordError::RpcUrl { found: shortened(&self.rpc_url) });
        }
        Ok(address)
    }

    /// Checks the signature.
    ///
    /// # Errors
    ///
    /// [`RecordError::Signature`].
    pub fn check_signature(&self) -> Result<(), RecordError> {
        verify(&self.public_key, &self.statement(), &self.signature)
    }
}

/// Says that a node is still there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// As in [`Record`].
    pub node_id: String,
    /// As in [`Record`].
    pub public_key: PublicKey,
    /// As in [`Record`]; above that of the record and of earlier heartbeats.
    pub sequence: u64,
    /// By `public_key`.
    pub signature: Signature,
}

#[derive(BorshSerialize)]
struct HeartbeatStatement<'a> {
    tag: u8,
    node_id: &'a str,
    public_key: PublicKey,
    sequence: u64,
}

impl Heartbeat {
    /// Has `identity` sign a heartbeat.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] if the key does not sign.
    pub fn sign(identity: &dyn Identity, node_id: String, sequence: u64) -> Result<Self, IdentityError> {
        let public_key = identity.public_key();
        let mut beat = Self { node_id, public_key, sequence, signature: Signature::new([0; Signature::LEN]) };
        beat.signature = identity.sign(IdentityUse::Record, &beat.statement())?;
        Ok(beat)
    }

    fn statement(&self) -> Vec<u8> {
        to_bytes(&HeartbeatStatement {
            tag: HEARTBEAT,
            node_id: &self.node_id,
            public_key: self.public_key,
            sequence: self.sequence,
        })
    }

    /// Checks the signature.
    ///
    /// # Errors
    ///
    /// [`RecordError::Signature`].
    pub fn check_signature(&self) -> Result<(), RecordError> {
        verify(&self.public_key, &self.statement(), &self.signature)
    }
}

fn to_bytes(value: &impl BorshSerialize) -> Vec<u8> {
    // Writing plain values to memory does not fail; were it to, nothing verifies.
    borsh::to_vec(value).unwrap_or_default()
}

fn verify(key: &PublicKey, statement: &[u8], signature: &Signature) -> Result<(), RecordError> {
    if key.verifies(&[RECORD_TAG, statement].concat(), signature) {
        Ok(())
    } else {
        Err(RecordError::Signature { key: *key })
    }
}

pub(crate) fn check_node_id(node_id: &str) -> Result<(), RecordError> {
    let len = node_id.len();
    if len == 0 || len > NODE_ID_BYTES_MAX || node_id.chars().any(char::is_control) {
        return Err(RecordError::NodeId { len });
    }
    Ok(())
}

/// `host:port` of a peers' address with or without `tcp://`, the host in lower case. `None` if there is no host or port, if it
/// names no machine (`0.0.0.0`), or if it is anything else than that.
pub fn peer_address(url: &str) -> Option<String> {
    if url.len() > URL_BYTES_MAX {
        return None;
    }
    let address = url.strip_prefix(PEER_SCHEME).unwrap_or(url);
    let (host, port) = address.rsplit_once(':')?;
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse::<u16>().ok().filter(|port| digits && *port != 0)?;
    let host = host.to_ascii_lowercase();
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let ip = inner.parse::<Ipv6Addr>().ok().filter(|ip| !ip.is_unspecified())?;
        return Some(format!("[{ip}]:{port}"));
    }
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if host.is_empty() || !host.bytes().all(known) || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()) {
        return None;
    }
    Some(format!("{host}:{port}"))
}

fn is_client_url(url: &str) -> bool {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")).unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'@');
    url.len() <= URL_BYTES_MAX && !rest.is_empty() && !rest.starts_with('/') && rest.bytes().all(plain)
}

fn shortened(text: &str) -> String {
    text.chars().take(80).map(|shown| if shown.is_control() { '?' } else { shown }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Signs nothing: gives its key's bytes back, so that golden bytes need no key.
    struct Fixed;

    impl Identity for Fixed {
        fn public_key(&self) -> PublicKey {
            PublicKey::new([7; 32])
        }

        fn sign(&self, _: IdentityUse, _: &[u8]) -> Result<Signature, IdentityError> {
            Ok(Signature::new([9; 64]))
        }
    }

    fn place(chain_id: Option<ChainId>) -> Place {
        Place { node_id: "a".into(), p2p_url: "tcp://h:1".into(), rpc_url: String::new(), chain_id }
    }

    #[test]
    fn signed_bytes_are_the_documented_ones() {
        let record = Record::sign(&Fixed, place(Some(ChainId::new([3; 32]))), 5).unwrap();
        let mut expected = vec![1];
        expected.extend([3; 32]);
        expected.extend([1, 0, 0, 0, b'a']);
        expected.extend([7; 32]);
        expected.extend([9, 0, 0, 0]);
        expected.extend(b"tcp://h:1");
        expected.extend([0, 0, 0, 0]);
        expected.extend(5u64.to_le_bytes());
        assert_eq!(record.statement(), expected);
        assert_eq!(Record::sign(&Fixed, place(None), 5).unwrap().statement().first(), Some(&0));
        let beat = Heartbeat::sign(&Fixed, "a".into(), 6).unwrap();
        assert_eq!(beat.statement().first(), Some(&2), "no record begins like a heartbeat");
    }

    #[test]
    fn addresses_are_read_with_and_without_a_scheme() {
        assert_eq!(peer_address("tcp://127.0.0.1:30303").as_deref(), Some("127.0.0.1:30303"));
        assert_eq!(peer_address("Node-1.example:1").as_deref(), Some("node-1.example:1"));
        assert_eq!(peer_address("[::0:1]:9").as_deref(), Some("[::1]:9"));
        for wrong in [
            "",
            "host",
            "host:",
            ":1",
            "host:0",
            "host:65536",
            "host:+1",
            "0.0.0.0:1",
            "[::]:1",
            "::1:9",
            "http://host:1",
            "tcp://host:1/",
            "a b:1",
            "user@host:1",
        ] {
            assert_eq!(peer_address(wrong), None, "{wrong}");
        }
        assert_eq!(peer_address(&format!("{}:1", "a".repeat(URL_BYTES_MAX))), None);
    }

    #[test]
    fn names_and_urls_that_could_harm_a_reader_are_refused() {
        let good = Record::sign(&Fixed, place(None), 1).unwrap();
        assert_eq!(good.check_fields().as_deref(), Ok("h:1"));
        for node_id in [String::new(), "a\nb".into(), "a".repeat(65), "\u{1b}[2J".into()] {
            let record = Record { node_id, ..good.clone() };
            assert!(matches!(record.check_fields(), Err(RecordError::NodeId { .. })));
        }
        for rpc_url in ["ftp://h", "http://", "http:///x", "http://a b", "http://u@h", "javascript:alert(1)"] {
            let record = Record { rpc_url: rpc_url.into(), ..good.clone() };
            assert!(matches!(record.check_fields(), Err(RecordError::RpcUrl { .. })), "{rpc_url}");
        }
    }
}
