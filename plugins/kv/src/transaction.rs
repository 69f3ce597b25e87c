//! A transaction's bytes, and how one is signed.
//!
//! | bytes | content |
//! |---|---|
//! | 1 | version, 1 |
//! | 32 | the signer's Ed25519 public key |
//! | 8 | nonce, u64le: how many transactions of this signer took effect before |
//! | 4 + 1..=64 | the key's length, u32le, and the key |
//! | 1 | 0: remove the key. 1: set it, and there follow: |
//! | 4 + 0..=1024 | the value's length, u32le, and the value |
//! | 64 | the signature |
//!
//! This is borsh of [`Put`]: one transaction has one encoding. The signature is over `"quorate/kv/1\0"`, the 32 bytes of the chain id and
//! all bytes before the signature; it is checked by the rule of [`quorate::signature`]. The id is the SHA-256 of all bytes. Golden
//! vectors are in `vectors/transactions.json`.

use borsh::{BorshDeserialize, BorshSerialize};
use ed25519_dalek::{Signer, SigningKey};
use quorate::{Bytes, ChainId, PublicKey, Signature, application::Rejection};

/// The version which this crate writes and reads.
pub const VERSION: u8 = 1;

/// Bytes of a key at most; 1 at least.
pub const KEY_BYTES_MAX: usize = 64;

/// Bytes of a value at most, whatever genesis says.
pub const VALUE_BYTES_CAP: usize = 1024;

/// Bytes of a transaction at most.
pub const TRANSACTION_BYTES_MAX: usize = 1 + 32 + 8 + (4 + KEY_BYTES_MAX) + 1 + (4 + VALUE_BYTES_CAP) + 64;

/// What goes before chain id and transaction when it is signed.
pub const SIGN_TAG: &[u8] = b"quorate/kv/1\0";

/// A signed write of one key.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Put {
    /// [`VERSION`].
    pub version: u8,
    /// Who writes; the key belongs to this signer's own space of keys.
    pub public_key: PublicKey,
    /// How many transactions of this signer took effect before; below 2^64 - 1.
    pub nonce: u64,
    /// 1 to [`KEY_BYTES_MAX`] bytes.
    pub key: Vec<u8>,
    /// What to set it to; `None` removes it. At most [`VALUE_BYTES_CAP`] bytes, and at most what genesis allows.
    pub value: Option<Vec<u8>>,
    /// Over [`Put::signed_bytes`].
    pub signature: Signature,
}

impl Put {
    /// A transaction which sets `key` to `value`, signed with the Ed25519 secret seed (RFC 8032, 5.1.5).
    ///
    /// Lengths are not checked here: [`Put::decode`] refuses what is too long.
    pub fn sign(seed: &[u8; 32], chain_id: &ChainId, nonce: u64, key: &[u8], value: &[u8]) -> Bytes {
        sign(seed, chain_id, nonce, key, Some(value))
    }

    /// A transaction which removes `key`, otherwise as [`Put::sign`].
    pub fn sign_delete(seed: &[u8; 32], chain_id: &ChainId, nonce: u64, key: &[u8]) -> Bytes {
        sign(seed, chain_id, nonce, key, None)
    }

    /// The public key of a secret seed: the signer.
    pub fn signer(seed: &[u8; 32]) -> PublicKey {
        PublicKey::new(SigningKey::from_bytes(seed).verifying_key().to_bytes())
    }

    /// Reads a transaction; its signature is not checked.
    ///
    /// # Errors
    ///
    /// [`Rejection::Malformed`] says what is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Rejection> {
        Read::of(bytes).map(|read| read.to_put())
    }

    /// The bytes of the transaction.
    pub fn encode(&self) -> Bytes {
        // Writing plain fields to memory does not fail.
        borsh::to_vec(self).unwrap_or_default().into()
    }

    /// What the signature is over.
    pub fn signed_bytes(&self, chain_id: &ChainId) -> Vec<u8> {
        let mut signed = Vec::new();
        put_signed_bytes(&mut signed, chain_id, &self.encode());
        signed
    }
}

/// Appends what a transaction's signature is over, given all its bytes.
pub(crate) fn put_signed_bytes(to: &mut Vec<u8>, chain_id: &ChainId, transaction: &[u8]) {
    let before = transaction.len().saturating_sub(Signature::LEN);
    let unsigned = transaction.get(..before).unwrap_or_default();
    for part in [SIGN_TAG, chain_id.as_bytes(), unsigned] {
        to.extend_from_slice(part);
    }
}

/// A transaction as its bytes say it, key and value where they stand in them: a node reads each several times, and keeps none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Read<'a> {
    pub(crate) public_key: PublicKey,
    pub(crate) nonce: u64,
    pub(crate) key: &'a [u8],
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) signature: Signature,
}

impl<'a> Read<'a> {
    /// As [`Put::decode`].
    pub(crate) fn of(bytes: &'a [u8]) -> Result<Self, Rejection> {
        let malformed = |message: String| Err(Rejection::Malformed(message));
        if bytes.len() > TRANSACTION_BYTES_MAX {
            return malformed(format!("{} bytes; the limit is {TRANSACTION_BYTES_MAX}", bytes.len()));
        }
        match bytes.first() {
            Some(&VERSION) => {}
            Some(version) => return malformed(format!("version is {version}; this node reads {VERSION}")),
            None => return malformed("no bytes".into()),
        }
        let read = match Self::parts(bytes) {
            Ok((read, [])) => read,
            Ok((_, rest)) => return malformed(format!("{} bytes follow the signature", rest.len())),
            Err(what) => return malformed(what.into()),
        };
        if read.key.is_empty() || read.key.len() > KEY_BYTES_MAX {
            return malformed(format!("key has {} bytes; it must have 1 to {KEY_BYTES_MAX}", read.key.len()));
        }
        if let Some(value) = read.value
            && value.len() > VALUE_BYTES_CAP
        {
            return malformed(format!("value has {} bytes; the limit is {VALUE_BYTES_CAP}", value.len()));
        }
        if read.nonce == u64::MAX {
            return malformed(format!("nonce is {}; it must be less", u64::MAX));
        }
        Ok(read)
    }

    /// The fields as borsh has them, and what follows them; or what is wrong.
    fn parts(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), &'static str> {
        const CUT: &str = "the bytes end early";
        let (_, rest) = bytes.split_first().ok_or(CUT)?;
        let (public_key, rest) = rest.split_first_chunk().ok_or(CUT)?;
        let (nonce, rest) = rest.split_first_chunk().ok_or(CUT)?;
        let (key, rest) = list(rest).ok_or(CUT)?;
        let (value, rest) = match rest.split_first().ok_or(CUT)? {
            (0, rest) => (None, rest),
            (1, rest) => list(rest).map(|(value, rest)| (Some(value), rest)).ok_or(CUT)?,
            _ => return Err("what comes behind the key is neither 0 nor 1"),
        };
        let (signature, rest) = rest.split_first_chunk().ok_or(CUT)?;
        let (public_key, nonce) = (PublicKey::new(*public_key), u64::from_le_bytes(*nonce));
        Ok((Self { public_key, nonce, key, value, signature: Signature::new(*signature) }, rest))
    }

    fn to_put(self) -> Put {
        let Self { public_key, nonce, key, value, signature } = self;
        Put { version: VERSION, public_key, nonce, key: key.to_vec(), value: value.map(<[u8]>::to_vec), signature }
    }
}

/// Bytes behind their length, and what follows them.
fn list(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)
}

fn sign(seed: &[u8; 32], chain_id: &ChainId, nonce: u64, key: &[u8], value: Option<&[u8]>) -> Bytes {
    let signing_key = SigningKey::from_bytes(seed);
    let mut put = Put {
        version: VERSION,
        public_key: PublicKey::new(signing_key.verifying_key().to_bytes()),
        nonce,
        key: key.to_vec(),
        value: value.map(<[u8]>::to_vec),
        signature: Signature::new([0; Signature::LEN]),
    };
    put.signature = Signature::new(signing_key.sign(&put.signed_bytes(chain_id)).to_bytes());
    put.encode()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAIN: ChainId = ChainId::new([9; 32]);

    #[test]
    fn a_transaction_reads_back_as_itself_and_is_signed() {
        let bytes = Put::sign(&[1; 32], &CHAIN, 3, b"key", b"value");
        let put = Put::decode(&bytes).unwrap();
        assert_eq!((put.nonce, &put.key[..], put.value.as_deref()), (3, &b"key"[..], Some(&b"value"[..])));
        assert_eq!((put.public_key, put.encode()), (Put::signer(&[1; 32]), bytes));
        assert!(put.public_key.verifies(&put.signed_bytes(&CHAIN), &put.signature));
        assert!(!put.public_key.verifies(&put.signed_bytes(&ChainId::new([8; 32])), &put.signature));
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        let of = |key: &[u8], value: &[u8]| Put::decode(&Put::sign(&[1; 32], &CHAIN, 0, key, value));
        assert!(of(&[1; 64], &[2; 1024]).is_ok());
        assert_eq!(Put::sign(&[1; 32], &CHAIN, 0, &[1; 64], &[2; 1024]).len(), TRANSACTION_BYTES_MAX);
        let message = |result: Result<Put, Rejection>| result.unwrap_err().to_string();
        assert_eq!(message(of(b"", b"")), "not a valid transaction: key has 0 bytes; it must have 1 to 64");
        assert_eq!(message(of(&[1; 65], b"")), "not a valid transaction: key has 65 bytes; it must have 1 to 64");
        assert_eq!(message(of(b"k", &[2; 1025])), "not a valid transaction: value has 1025 bytes; the limit is 1024");
        assert_eq!(message(of(&[1; 64], &[2; 1025])), "not a valid transaction: 1203 bytes; the limit is 1202");
        assert_eq!(message(Put::decode(b"")), "not a valid transaction: no bytes");
        assert_eq!(message(Put::decode(&[2; 100])), "not a valid transaction: version is 2; this node reads 1");
        let last = Put::sign(&[1; 32], &CHAIN, u64::MAX, b"k", b"v");
        assert!(Put::decode(&last).is_err());
    }

    /// A transaction is named by its bytes, so no second encoding of the same content may be accepted.
    #[test]
    fn no_other_bytes_decode_to_the_same_transaction() {
        let good = Put::sign_delete(&[1; 32], &CHAIN, 3, b"key");
        let put = Put::decode(&good).unwrap();
        assert!(Put::decode(&[&good[..], &[0]].concat()).is_err());
        for len in 0..good.len() {
            assert!(Put::decode(&good[..len]).is_err());
        }
        for bit in 0..good.len() * 8 {
            let mut bad = good.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            if let Ok(other) = Put::decode(&bad) {
                assert_ne!(other, put, "bit {bit}");
                assert_eq!(other.encode(), bad, "bit {bit}");
                assert!(!other.public_key.verifies(&other.signed_bytes(&CHAIN), &other.signature), "bit {bit}");
            }
        }
    }

    /// Nodes of every version must take the same bytes for a transaction: those that borsh takes, within the bounds.
    #[test]
    fn what_is_read_is_what_borsh_reads() {
        let same = |bytes: &[u8]| {
            let read = Put::decode(bytes).ok();
            let within = |put: &Put| {
                put.version == VERSION
                    && (1..=KEY_BYTES_MAX).contains(&put.key.len())
                    && put.value.as_ref().is_none_or(|value| value.len() <= VALUE_BYTES_CAP)
                    && put.nonce < u64::MAX
            };
            assert_eq!(read, Put::try_from_slice(bytes).ok().filter(within), "{bytes:?}");
        };
        for good in [Put::sign_delete(&[1; 32], &CHAIN, 3, b"key"), Put::sign(&[1; 32], &CHAIN, 3, b"key", b"value")] {
            (0..good.len()).for_each(|len| same(&good[..len]));
            same(&[&good[..], &[0]].concat());
            for at in 0..good.len() {
                for byte in 0..=255 {
                    let mut other = good.to_vec();
                    other[at] = byte;
                    same(&other);
                }
            }
        }
        for (key, value, nonce) in [(64, 1024, 0), (65, 0, 0), (0, 0, 0), (1, 1025, 0), (1, 1, u64::MAX)] {
            same(&Put::sign(&[1; 32], &CHAIN, nonce, &vec![1; key], &vec![2; value]));
        }
    }
}
