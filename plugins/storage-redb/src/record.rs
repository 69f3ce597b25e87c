//! A value as it is stored: a checksum over key and value, then the value.

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

/// Writes the record of `value` into `out`, which has [`CHECKSUM_BYTES`] more than it.
pub(crate) fn fill(out: &mut [u8], key: &[u8], value: &[u8]) {
    if let Some((head, rest)) = out.split_first_chunk_mut() {
        *head = checksum(key, value);
        rest.copy_from_slice(value);
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

    fn record(key: &[u8], text: &[u8]) -> Vec<u8> {
        let mut out = vec![0; CHECKSUM_BYTES + text.len()];
        fill(&mut out, key, text);
        out
    }

    /// Golden: a change of these bytes is a change of the format.
    #[test]
    fn golden_record() {
        assert_eq!(record(b"key", b"value"), [&[0x10, 0x38, 0x3c, 0xaf][..], b"value"].concat());
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
