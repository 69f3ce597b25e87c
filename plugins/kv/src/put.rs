//! The transaction: one signed write.

use borsh::{BorshDeserialize, BorshSerialize};
use ed25519_dalek::{Signer as _, SigningKey};
use quorate::{Bytes, ChainId, PublicKey, Signature, application::Rejection};

/// Bytes of a key at most; there is at least one.
pub const KEY_BYTES_MAX: usize = 64;

/// Bytes of a value at most, whatever genesis says.
pub const VALUE_BYTES_MAX: usize = 64 << 10;

const TAG: &[u8] = b"quorate/kv/1\0";

/// One signed write; `value` is `None` to remove the key.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Put {
    /// Whose key space.
    pub signer: PublicKey,
    /// The signer's sequence, from 0 without gaps.
    pub nonce: u64,
    /// 1 to [`KEY_BYTES_MAX`] bytes.
    pub key: Vec<u8>,
    /// Up to [`VALUE_BYTES_MAX`] bytes, and what genesis allows.
    pub value: Option<Vec<u8>>,
    /// By the signer.
    pub signature: Signature,
}

impl Put {
    /// Makes the bytes of a transaction; `seed` is the signer's Ed25519 seed (RFC 8032).
    pub fn sign(seed: &[u8; 32], chain_id: &ChainId, nonce: u64, key: &[u8], value: &[u8]) -> Bytes {
        Self::sign_write(seed, chain_id, nonce, key, Some(value))
    }

    /// As [`Put::sign`]; without a value the key is removed.
    pub fn sign_write(seed: &[u8; 32], chain_id: &ChainId, nonce: u64, key: &[u8], value: Option<&[u8]>) -> Bytes {
        let secret = SigningKey::from_bytes(seed);
        let mut put = Self {
            signer: PublicKey::new(secret.verifying_key().to_bytes()),
            nonce,
            key: key.to_vec(),
            value: value.map(<[u8]>::to_vec),
            signature: Signature::new([0; 64]),
        };
        put.signature = Signature::new(secret.sign(&put.sign_bytes(chain_id)).to_bytes());
        // Writing plain fields to memory does not fail.
        borsh::to_vec(&put).unwrap_or_default().into()
    }

    /// Reads a transaction and checks its lengths.
    ///
    /// # Errors
    ///
    /// [`Rejection::Malformed`].
    pub fn decode(bytes: &[u8], value_bytes_max: usize) -> Result<Self, Rejection> {
        let malformed = |why: String| Rejection::Malformed(why);
        if bytes.len() > VALUE_BYTES_MAX + 1024 {
            return Err(malformed(format!("{} bytes are too many for a write", bytes.len())));
        }
        let put: Self = borsh::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
        if put.key.is_empty() || put.key.len() > KEY_BYTES_MAX {
            return Err(malformed(format!("key has {} bytes; it must have 1 to {KEY_BYTES_MAX}", put.key.len())));
        }
        let len = put.value.as_ref().map_or(0, Vec::len);
        if len > value_bytes_max {
            return Err(malformed(format!("value has {len} bytes; the limit is {value_bytes_max}")));
        }
        Ok(put)
    }

    /// The bytes under the signature.
    pub fn sign_bytes(&self, chain_id: &ChainId) -> Vec<u8> {
        let fields = (&self.signer, self.nonce, &self.key, &self.value);
        [TAG, chain_id.as_bytes(), &borsh::to_vec(&fields).unwrap_or_default()].concat()
    }
}
