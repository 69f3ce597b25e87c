//! How many commits were acknowledged, kept beside fjall's files.
//!
//! fjall can't tell a journal that a crash cut short from one whose end has rotted: it shortens both and goes on, without the
//! batches that were there. Every batch carries its number; what was acknowledged is noted here after it was durable. A store
//! that opens with less has lost something, and says so.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
};

use quorate::storage::StorageError;

use crate::failure::from_io;

/// The file's name.
pub(crate) const FILE: &str = "acknowledged";

/// A number and its checksum.
const BYTES: usize = 12;

/// The number, written in place after every commit.
pub(crate) struct Acknowledged(File);

/// A commit's number as it is stored, here and in the tree: u64le, then CRC-32 of it.
pub(crate) fn encoded(number: u64) -> [u8; BYTES] {
    let number = number.to_le_bytes();
    let mut bytes = [0; BYTES];
    let (head, tail) = bytes.split_at_mut(number.len());
    head.copy_from_slice(&number);
    tail.copy_from_slice(&crc32fast::hash(&number).to_le_bytes());
    bytes
}

/// The number in `bytes`.
///
/// # Errors
///
/// [`StorageError::Damaged`], naming `what`.
pub(crate) fn decoded(what: &str, bytes: &[u8]) -> Result<u64, StorageError> {
    let number = bytes.first_chunk().map(|head| u64::from_le_bytes(*head));
    number
        .filter(|number| encoded(*number) == bytes)
        .ok_or_else(|| StorageError::Damaged(format!("{what} is not a number with its checksum")))
}

impl Acknowledged {
    /// Writes the file of a new store, durably.
    pub(crate) fn create(folder: &Path) -> Result<(), StorageError> {
        let make = || {
            let file = File::create_new(folder.join(FILE))?;
            file.write_all_at(&encoded(0), 0)?;
            file.sync_all()
        };
        make().map_err(|error| from_io("create the count of commits", error))
    }

    /// Opens the file; gives the number in it.
    pub(crate) fn open(folder: &Path) -> Result<(Self, u64), StorageError> {
        const ACTION: &str = "read the count of commits";
        let open = OpenOptions::new().read(true).write(true).open(folder.join(FILE));
        let file = open.map_err(|error| from_io(ACTION, error))?;
        let len = file.metadata().map_err(|error| from_io(ACTION, error))?.len();
        if len != BYTES as u64 {
            return Err(StorageError::Damaged(format!("{FILE} has {len} bytes; it must have {BYTES}")));
        }
        let mut bytes = [0; BYTES];
        file.read_exact_at(&mut bytes, 0).map_err(|error| from_io(ACTION, error))?;
        let number = decoded(FILE, &bytes)?;
        Ok((Self(file), number))
    }

    /// Notes a commit that is durable. Not synced: after a power cut an older number only notices less.
    pub(crate) fn note(&self, number: u64) -> Result<(), StorageError> {
        self.0.write_all_at(&encoded(number), 0).map_err(|error| from_io("note the commit", error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden: a change of these bytes is a change of the format.
    #[test]
    fn golden_number() {
        assert_eq!(encoded(0x0102), [2, 1, 0, 0, 0, 0, 0, 0, 0xa0, 0xd3, 0x70, 0x81]);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = encoded(77);
        assert_eq!(decoded("n", &good).unwrap(), 77);
        for bit in 0..good.len() * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(decoded("n", &bad), Err(StorageError::Damaged(_))), "bit {bit}");
        }
        assert!(decoded("n", &good[..11]).is_err() && decoded("n", b"").is_err());
    }
}
