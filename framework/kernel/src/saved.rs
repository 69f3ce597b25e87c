//! The consensus' saved record, in a file of its own in the node's data directory: one write in place and one wait for the disk, where a store needs a transaction of its own.
//!
//! ```text
//! engine.saved   two slots, at 0 and at SLOT_BYTES; the one with the higher sequence counts, if it is whole
//! slot           "quorate/saved/1\0" | sequence u64le | height u64le | length u64le | crc32 u32le of the three and the record | record
//! ```
//!
//! Records are written to the two slots in turn, so that one that was cut short leaves the one before. That is right: nothing that rests on a record
//! is sent before the record is durable. A record counts for its height only, so that a commit needs not remove it.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use quorate::{Height, consensus::SAVED_BYTES_MAX, storage::StorageError};

/// The file's name.
const NAME: &str = "engine.saved";

const MAGIC: &[u8; 16] = b"quorate/saved/1\0";

/// Bytes before a record.
const HEAD_BYTES: usize = 16 + 8 + 8 + 8 + 4;

/// From the beginning of one slot to that of the next: whole pages.
const SLOT_BYTES: u64 = ((SAVED_BYTES_MAX + HEAD_BYTES).div_ceil(4096) * 4096) as u64;

/// An open file.
#[derive(Debug)]
pub(crate) struct SavedFile {
    file: File,
    path: PathBuf,
    sequence: u64,
}

/// A record that was read.
struct Slot {
    sequence: u64,
    height: Height,
    record: Bytes,
}

impl SavedFile {
    /// Opens the file in `directory`, or makes it; gives the last record with its height.
    ///
    /// # Errors
    ///
    /// [`StorageError::Io`] or [`StorageError::Full`].
    pub(crate) fn open(directory: &Path) -> Result<(Self, Option<(Height, Bytes)>), StorageError> {
        let path = directory.join(NAME);
        let open = || {
            let is_new = !path.exists();
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
            if is_new {
                file.sync_all()?;
                File::open(directory)?.sync_all()?;
            }
            let slots = [read(&file, 0)?, read(&file, SLOT_BYTES)?];
            Ok((file, slots.into_iter().flatten().max_by_key(|slot| slot.sequence)))
        };
        let (file, last) = open().map_err(|error| failed("opening", &path, error))?;
        let sequence = last.as_ref().map_or(0, |slot| slot.sequence);
        Ok((Self { file, path, sequence }, last.map(|slot| (slot.height, slot.record))))
    }

    /// Makes a record durable, which replaces the one before.
    ///
    /// # Errors
    ///
    /// [`StorageError::Io`] or [`StorageError::Full`]: what is in the file then is the record before, or this one.
    pub(crate) fn write(&mut self, height: Height, record: &[u8]) -> Result<(), StorageError> {
        let sequence = self.sequence + 1;
        let fields = [sequence, height.0, record.len() as u64].map(u64::to_le_bytes).concat();
        let mut slot = Vec::with_capacity(HEAD_BYTES + record.len());
        slot.extend_from_slice(MAGIC);
        slot.extend_from_slice(&fields);
        slot.extend_from_slice(&checksum(&fields, record).to_le_bytes());
        slot.extend_from_slice(record);
        let at = (sequence % 2) * SLOT_BYTES;
        let written = self.file.write_all_at(&slot, at).and_then(|()| self.file.sync_data());
        written.map_err(|error| failed("saving the consensus' record", &self.path, error))?;
        self.sequence = sequence;
        Ok(())
    }
}

fn checksum(fields: &[u8], record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(fields);
    hasher.update(record);
    hasher.finalize()
}

/// The slot at a place, if it is whole.
fn read(file: &File, at: u64) -> io::Result<Option<Slot>> {
    let mut head = [0u8; HEAD_BYTES];
    if !read_all(file, &mut head, at)? {
        return Ok(None);
    }
    let (magic, rest) = head.split_at(MAGIC.len());
    let (fields, crc) = rest.split_at(24);
    let (numbers, _) = fields.as_chunks::<8>();
    let &[sequence, height, length] = numbers else { return Ok(None) };
    let [sequence, height, length] = [sequence, height, length].map(u64::from_le_bytes);
    let Some(length) = usize::try_from(length).ok().filter(|length| *length <= SAVED_BYTES_MAX) else {
        return Ok(None);
    };
    if magic != MAGIC {
        return Ok(None);
    }
    let mut record = vec![0; length];
    if !read_all(file, &mut record, at + HEAD_BYTES as u64)? || crc != checksum(fields, &record).to_le_bytes() {
        return Ok(None);
    }
    Ok(Some(Slot { sequence, height: Height(height), record: record.into() }))
}

/// False when the file ends before.
fn read_all(file: &File, bytes: &mut [u8], at: u64) -> io::Result<bool> {
    match file.read_exact_at(bytes, at) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> StorageError {
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            StorageError::Full(format!("{action} ({}: {source})", path.display()))
        }
        _ => StorageError::Io { action, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(directory: &Path) -> Option<(u64, Vec<u8>)> {
        SavedFile::open(directory).unwrap().1.map(|(height, record)| (height.0, record.to_vec()))
    }

    #[test]
    fn the_last_record_is_there_after_each_opening() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(last(folder.path()), None);
        for number in 1..6u64 {
            let (mut file, _) = SavedFile::open(folder.path()).unwrap();
            let record = vec![number as u8; 10_000 * number as usize];
            file.write(Height(number), &record).unwrap();
            assert_eq!(last(folder.path()), Some((number, record)));
        }
        let (mut file, _) = SavedFile::open(folder.path()).unwrap();
        file.write(Height(6), &[]).unwrap();
        file.write(Height(6), b"again").unwrap();
        assert_eq!(last(folder.path()), Some((6, b"again".to_vec())));
    }

    /// A write that a power cut ends anywhere leaves the record before it, or is whole.
    #[test]
    fn a_write_that_was_cut_short_leaves_the_record_before() {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, _) = SavedFile::open(folder.path()).unwrap();
        for (height, record) in [(1, b"first"), (1, b"older"), (2, b"newer")] {
            file.write(Height(height), record).unwrap();
        }
        // The third is in the slot of the first.
        let path = folder.path().join(NAME);
        let mut whole = vec![0; HEAD_BYTES + 5];
        file.file.read_exact_at(&mut whole, SLOT_BYTES).unwrap();
        assert_eq!(&whole[HEAD_BYTES..], b"newer");
        let is_older = |slot: &[u8], what: &str| {
            file.file.write_all_at(slot, SLOT_BYTES).unwrap();
            assert_eq!(last(folder.path()).unwrap(), (1, b"older".to_vec()), "{what}");
        };
        for cut in 0..whole.len() {
            let mut torn = whole.clone();
            torn[cut..].fill(0);
            is_older(&torn, &format!("cut at {cut}"));
        }
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            is_older(&flipped, &format!("bit {bit}"));
        }
        file.file.write_all_at(&whole, SLOT_BYTES).unwrap();
        assert_eq!(last(folder.path()).unwrap(), (2, b"newer".to_vec()));
        std::fs::write(&path, b"rubbish").unwrap();
        assert_eq!(last(folder.path()), None);
    }
}
