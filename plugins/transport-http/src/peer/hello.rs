//! What peers say to each other at the start and at the end of a connection.

use borsh::{BorshDeserialize, BorshSerialize};
use quorate::ChainId;

use super::frame::{GREETING_BYTES_MAX, Kind, Violation};

/// The version of everything inside TLS.
pub(super) const PROTOCOL_VERSION: u16 = 2;

/// Bytes of a node's name at most; the rest is cut.
pub(super) const NAME_BYTES_MAX: usize = 64;

/// Bytes of a role at most.
const ROLE_BYTES_MAX: usize = 16;

/// Bytes of `host:port` at most: a DNS name of 253, a colon, five digits, and the brackets of IPv6.
pub(super) const ADDRESS_BYTES_MAX: usize = 261;

/// Bytes of a goodbye's reason at most; the rest is cut.
pub(super) const REASON_BYTES_MAX: usize = 200;

/// A number drawn at start, by which two processes with one key are told apart.
pub(super) type Instance = [u8; 16];

/// The first frame each way.
///
/// `version` stays the first field in every version to come, so that it can be named to a peer of another.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Hello {
    pub(super) version: u16,
    pub(super) chain_id: ChainId,
    pub(super) instance: Instance,
    /// The sender has no connection to the receiver but was told that one stands: that one is dead, take this instead.
    pub(super) replace: bool,
    pub(super) name: String,
    pub(super) role: String,
    /// Where the sender can be dialled, `host:port`, as it says.
    pub(super) listen: String,
}

/// A hello that was read: ours, or one of another version.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Hello(Hello),
    OtherVersion(u16),
}

impl Hello {
    pub(super) fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads a hello; texts come out cut and without control characters.
    pub(super) fn decode(body: &[u8]) -> Result<Heard, Violation> {
        let malformed = Violation::Malformed { kind: Kind::Hello, bytes: body.len() };
        let Some(version) = body.first_chunk::<2>() else { return Err(malformed) };
        let version = u16::from_le_bytes(*version);
        if version != PROTOCOL_VERSION {
            return Ok(Heard::OtherVersion(version));
        }
        let mut hello: Hello = borsh::from_slice(body).map_err(|_| malformed)?;
        hello.name = printable(&hello.name, NAME_BYTES_MAX);
        hello.role = printable(&hello.role, ROLE_BYTES_MAX);
        hello.listen = printable(&hello.listen, ADDRESS_BYTES_MAX);
        Ok(Heard::Hello(hello))
    }
}

/// Why a connection is refused or closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub(super) enum Farewell {
    /// The node stops.
    Stopping = 0,
    /// Another chain id.
    WrongNetwork = 1,
    /// Another version inside TLS.
    WrongVersion = 2,
    /// Another key than was dialled.
    WrongKey = 3,
    /// No room.
    TooMany = 4,
    /// Disconnected for a time.
    Banned = 5,
    /// A connection between the two stands already, or a newer one took this one's place.
    Duplicate = 6,
    /// Bytes which no peer may send.
    Violation = 7,
    /// Votes wait that the peer does not take.
    TooSlow = 8,
    /// The peer has this node's own key.
    OwnKey = 9,
}

/// The last frame of a connection.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Goodbye {
    pub(super) farewell: Farewell,
    pub(super) reason: String,
}

impl Goodbye {
    pub(super) fn new(farewell: Farewell, reason: impl AsRef<str>) -> Self {
        Self { farewell, reason: printable(reason.as_ref(), REASON_BYTES_MAX) }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    pub(super) fn decode(body: &[u8]) -> Result<Self, Violation> {
        let said: Self =
            borsh::from_slice(body).map_err(|_| Violation::Malformed { kind: Kind::Goodbye, bytes: body.len() })?;
        Ok(Self::new(said.farewell, said.reason))
    }
}

fn encode(greeting: &impl BorshSerialize) -> Vec<u8> {
    // Writing to a vector does not fail, and the texts' bounds keep it short; an empty frame would be refused as malformed.
    let bytes = borsh::to_vec(greeting).unwrap_or_default();
    debug_assert!(bytes.len() <= GREETING_BYTES_MAX, "a greeting of {} bytes", bytes.len());
    bytes
}

/// `text` without control characters, and at most `bytes_max` long.
pub(super) fn printable(text: &str, bytes_max: usize) -> String {
    let mut kept = String::new();
    for character in text.chars().filter(|character| !character.is_control()) {
        if kept.len() + character.len_utf8() > bytes_max {
            break;
        }
        kept.push(character);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello {
            version: PROTOCOL_VERSION,
            chain_id: ChainId::new([7; 32]),
            instance: [9; 16],
            replace: false,
            name: "validator-1".into(),
            role: "validator".into(),
            listen: "127.0.0.1:30303".into(),
        }
    }

    #[test]
    fn hello_reads_back() {
        assert_eq!(Hello::decode(&hello().encode()), Ok(Heard::Hello(hello())));
    }

    #[test]
    fn hello_of_another_version_is_recognised_whatever_follows() {
        assert_eq!(Hello::decode(&[9, 0, 1, 2, 3]), Ok(Heard::OtherVersion(9)));
    }

    #[test]
    fn texts_are_cut_and_cleared_of_control_characters() {
        let long = Hello { name: format!("\u{1b}[31m{}", "é".repeat(100)), ..hello() };
        let Ok(Heard::Hello(heard)) = Hello::decode(&long.encode()) else { panic!("not read") };
        assert_eq!(heard.name, format!("[31m{}", "é".repeat(30)));
        let goodbye = Goodbye::new(Farewell::Banned, "x\n".repeat(300));
        assert_eq!(goodbye.reason, "x".repeat(REASON_BYTES_MAX));
        assert_eq!(Goodbye::decode(&goodbye.encode()), Ok(goodbye));
    }

    #[test]
    fn every_cut_of_a_hello_is_malformed() {
        let bytes = hello().encode();
        for length in 2..bytes.len() {
            assert!(Hello::decode(&bytes[..length]).is_err(), "{length} bytes were read");
        }
    }
}
