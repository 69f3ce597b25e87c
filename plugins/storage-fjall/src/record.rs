//! Keys and values as they are stored: a key behind a byte that tells it from the count, a value behind a checksum over both.

use quorate::{Bytes, storage::StorageError};

/// Bytes of the checksum.
pub(crate) const CHECKSUM_BYTES: usize = 4;

/// CRC-32 (IEEE 802.3) over the key's length as u32le, the key and the value: a value is not taken for that of another key.
fn checksum(key: &[u8], value: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&u32::try_from(key.len()).unwrap_or(u32::MAX).to_le_bytes());
    hasher.update(key);
    hasher.update(value);
    hasher.finalize().to_le_bytes()
}

/// The record of `value`.
pub(crate) fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(CHECKSUM_BYTES + value.len());
    record.extend_from_slice(&checksum(key, value));
    record.extend_from_slice(value);
    record
}

/// The first byte of every stored key of a user.
const OF_USER: u8 = 1;

/// The stored key of the count of commits.
pub(crate) const COUNT_KEY: &[u8] = &[0];

/// A key as it is stored.
pub(crate) fn stored_key(key: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(1 + key.len());
    stored.push(OF_USER);
    stored.extend_from_slice(key);
    stored
}

/// The key of a stored one.
///
/// # Errors
///
/// [`StorageError::Damaged`] if it is none.
pub(crate) fn user_key(stored: &[u8]) -> Result<&[u8], StorageError> {
    match stored.split_first() {
        Some((&OF_USER, key)) => Ok(key),
        _ => Err(StorageError::Damaged(format!("{} is no key of a user", shown(stored)))),
    }
}

/// The value in `record`.
///
/// # Errors
///
/// [`StorageError::Damaged`] if key or value is not what was written.
pub(crate) fn value(key: &[u8], record: &[u8]) -> Result<Bytes, StorageError> {
    let Some((found, value)) = record.split_first_chunk() else {
        return Err(StorageError::Damaged(format!("the record of key {} has {} bytes", shown(key), record.len())));
    };
    if *found != checksum(key, value) {
        return Err(StorageError::Damaged(format!("the record of key {} has a wrong checksum", shown(key))));
    }
    Ok(Bytes::copy_from_slice(value))
}

/// The first bytes of a key in hexadecimal.
fn shown(key: &[u8]) -> String {
    const SHOWN: usize = 40;
    let mut text: String = key.iter().take(SHOWN).map(|byte| format!("{byte:02x}")).collect();
    if key.len() > SHOWN {
        text.push_str("..");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden: a change of these bytes is a change of the format.
    #[test]
    fn golden_record() {
        assert_eq!(record(b"key", b"value"), [&[0x10, 0x38, 0x3c, 0xaf][..], b"value"].concat());
    }

    #[test]
    fn keys_keep_their_order_and_the_count_is_none_of_them() {
        let keys: [&[u8]; 4] = [b"\x00", b"a", b"aa", b"\xff"];
        assert!(keys.map(stored_key).is_sorted());
        assert!(keys.iter().all(|key| stored_key(key) != COUNT_KEY && user_key(&stored_key(key)).unwrap() == *key));
        assert!(user_key(COUNT_KEY).is_err() && user_key(b"").is_err());
    }

    #[test]
    fn every_flipped_bit_of_key_and_record_is_noticed() {
        let (key, good) = (b"height/7".to_vec(), record(b"height/7", b"a block"));
        assert_eq!(value(&key, &good).unwrap(), b"a block"[..]);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(value(&key, &bad), Err(StorageError::Damaged(_))), "bit {bit}");
        }
        for bit in 0..key.len() * 8 {
            let mut bad = key.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(value(&bad, &good), Err(StorageError::Damaged(_))), "bit {bit}");
        }
        for len in 0..good.len() {
            assert!(value(&key, &good[..len]).is_err());
        }
    }
}
