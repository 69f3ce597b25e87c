//! Hashes, numbers, times and keys: newtypes, so that one is never taken for another.

use std::{fmt, str::FromStr, time::Duration};

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

/// Why a text is not the hexadecimal form of a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} hexadecimal digits after `0x`, found `{found}`")]
pub struct HexError {
    /// How many digits the type has.
    pub expected: usize,
    /// The text as given, cut to 80 characters.
    pub found: String,
}

fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], HexError> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let mut bytes = [0u8; N];
    hex::decode_to_slice(digits, &mut bytes)
        .map_err(|_| HexError { expected: N * 2, found: text.chars().take(80).collect() })?;
    Ok(bytes)
}

/// `bytes` as `0x` and hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = vec![b'0'; 2 + bytes.len() * 2];
    write_hexadecimal(bytes, &mut text);
    // Digits are UTF-8.
    String::from_utf8(text).unwrap_or_default()
}

/// Fills `text`, two bytes longer than twice `bytes`, with `0x` and the digits.
fn write_hexadecimal(bytes: &[u8], text: &mut [u8]) {
    if let Some((prefix, digits)) = text.split_first_chunk_mut::<2>() {
        *prefix = *b"0x";
        // Fails for another length only.
        let _fits = hex::encode_to_slice(bytes, digits);
    }
}

macro_rules! byte_newtype {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// Wraps the bytes.
            pub const fn new(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// Calls `with` with the text, which lies on the stack: answers are full of these.
            fn with_text<T>(&self, with: impl FnOnce(&str) -> T) -> T {
                let mut text = [0u8; 2 + 2 * $len];
                write_hexadecimal(&self.0, &mut text);
                // Digits are UTF-8.
                with(std::str::from_utf8(&text).unwrap_or_default())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.with_text(|text| f.write_str(text))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }

        impl FromStr for $name {
            type Err = HexError;

            fn from_str(text: &str) -> Result<Self, HexError> {
                parse_hex(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.with_text(|text| serializer.serialize_str(text))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl de::Visitor<'_> for Text {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a string")
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    };
}

byte_newtype! {
    /// A SHA-256 digest. In text: `0x` and 64 hexadecimal digits.
    Hash, 32
}

impl Default for Hash {
    fn default() -> Self {
        Self::ZERO
    }
}

impl Hash {
    /// Thirty-two zero bytes: the parent of block 1's parent, the root of nothing.
    pub const ZERO: Hash = Hash([0; 32]);

    /// SHA-256 over the concatenation of `parts`.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }
}

byte_newtype! {
    /// The hash of a genesis' canonical bytes; every signature covers it.
    ChainId, 32
}

byte_newtype! {
    /// What names a transaction: [`crate::Application::transaction_id`] of its bytes.
    TransactionId, 32
}

byte_newtype! {
    /// An Ed25519 public key (RFC 8032).
    PublicKey, 32
}

byte_newtype! {
    /// A node on the network: its Ed25519 public key.
    PeerId, 32
}

byte_newtype! {
    /// An Ed25519 signature (RFC 8032).
    Signature, 64
}

impl From<PublicKey> for PeerId {
    fn from(key: PublicKey) -> Self {
        Self(key.0)
    }
}

impl From<PeerId> for PublicKey {
    fn from(peer: PeerId) -> Self {
        Self(peer.0)
    }
}

macro_rules! number_newtype {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[derive(BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_newtype! {
    /// A block's place in the chain. Genesis is 0 and has no block; the first block is 1.
    Height, u64
}

impl Height {
    /// The height of genesis.
    pub const GENESIS: Height = Height(0);

    /// The following height (saturating: 2^64 blocks are never made).
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The preceding height; genesis precedes itself.
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

number_newtype! {
    /// An attempt to decide one height, from 0.
    Round, u32
}

impl Round {
    /// The following round (saturating).
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

number_newtype! {
    /// A validator's place in the turn order of its height, from 0.
    ValidatorIndex, u16
}

number_newtype! {
    /// Wall-clock time in milliseconds since 1970-01-01 00:00 UTC. Only in headers; it never decides turns.
    Timestamp, u64
}

impl Timestamp {
    /// The second in UTC, for people: `2026-01-31T23:59:59Z` (civil from days: Howard Hinnant, "chrono-compatible low-level date
    /// algorithms").
    pub fn utc(self) -> String {
        let seconds = self.0 / 1000;
        let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

number_newtype! {
    /// Monotonic time in microseconds since an arbitrary origin of this process. Given by the kernel, never read.
    Instant, u64
}

impl Instant {
    /// This instant and `duration` more (saturating).
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }

    /// The time from `earlier` to this instant, zero when `earlier` is later.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        let utc = |seconds: u64| Timestamp(seconds * 1000).utc();
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_767_225_600), "2026-01-01T00:00:00Z");
        assert!(!Timestamp(u64::MAX).utc().is_empty());
    }

    #[test]
    fn hash_reads_back_its_own_text() {
        let hash = Hash::of(&[b"abc"]);
        assert_eq!(hash.to_string(), "0xba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(hash.to_string().parse(), Ok(hash));
    }

    #[test]
    fn short_hex_is_refused_with_what_was_expected() {
        let error = "0xabcd".parse::<Hash>().unwrap_err();
        assert_eq!(error.to_string(), "expected 64 hexadecimal digits after `0x`, found `0xabcd`");
    }
}
