//! The journal: batches that were committed since the tree in `chain.redb` was last made durable, one frame each.
//!
//! Frames lie one behind the other from the beginning of the file. Which count is said by the tree: those with its salt, which
//! changes whenever the tree is made durable, so that all frames before are void at once, and nobody who chooses what is
//! stored can make bytes that pass for a frame.

use quorate::{
    Bytes,
    storage::{Batch, StorageError},
};
use redb::StorageBackend;

use crate::failure::from_io;

/// Bytes of a frame before its writes.
const HEADER_BYTES: usize = 32;

/// Bytes of a write before its key.
const WRITE_BYTES: usize = 6;

/// In place of a value's length: the key is removed.
const REMOVED: u32 = u32::MAX;

/// The file grows by so many bytes at a time: most frames overwrite bytes that have their place on the disk, and a file whose
/// length and places stay is synced without what the file system writes about it.
const GROWS_BY: u64 = 256 << 10;

/// Bytes kept for encoding the next frame at most.
const BUFFER_BYTES_MAX: usize = 256 << 10;

/// Bytes of a file that may be a journal: the largest setting, and what the file grows by.
pub(crate) const FILE_BYTES_MAX: u64 = (1 << 30) + GROWS_BY;

/// An open journal.
pub(crate) struct Journal {
    medium: Box<dyn StorageBackend>,
    /// Bytes of the file, all of them written.
    len: u64,
    /// Bytes of all frames, and of one, at most.
    bytes_max: u64,
    frame_bytes_max: u64,
    salt: u64,
    /// Where the next frame begins, and how many there are.
    at: u64,
    number: u64,
    buffer: Vec<u8>,
}

impl Journal {
    /// Reads the journal on `medium`. Gives the batches of its frames with `salt` in their order; the next frame may be appended
    /// only if there are none, or after [`Journal::restart`].
    ///
    /// # Errors
    ///
    /// [`StorageError::Damaged`] if a frame is not what was written though a later one is. The last one is not there if it is not
    /// whole, since its commit may have been interrupted.
    pub(crate) fn open(
        medium: Box<dyn StorageBackend>,
        salt: u64,
        bytes_max: u64,
        frame_bytes_max: u64,
    ) -> Result<(Self, Vec<Batch>), StorageError> {
        const ACTION: &str = "read chain.journal";
        let len = medium.len().map_err(|error| from_io(ACTION, error))?;
        if len > FILE_BYTES_MAX {
            return Err(StorageError::Damaged(format!(
                "chain.journal has {len} bytes; it has {FILE_BYTES_MAX} at most"
            )));
        }
        let mut content = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        medium.read(0, &mut content).map_err(|error| from_io(ACTION, error))?;
        let (batches, at) = read(&Bytes::from(content), salt)?;
        let number = batches.len() as u64;
        Ok((Self { medium, len, bytes_max, frame_bytes_max, salt, at, number, buffer: Vec::new() }, batches))
    }

    /// Whether no frame counts.
    pub(crate) fn is_empty(&self) -> bool {
        self.number == 0
    }

    /// Whether there is room for `batch`, and it is so small that writing it twice, here and into the tree, is less work than making
    /// the tree durable.
    pub(crate) fn takes(&self, batch: &Batch) -> bool {
        let frame = frame_bytes(batch);
        frame <= self.frame_bytes_max && self.at.saturating_add(frame) <= self.bytes_max
    }

    /// Appends `batch`, which [`Journal::takes`]; it is durable when this returns.
    ///
    /// # Errors
    ///
    /// [`StorageError::Full`] if nothing of it was written; otherwise it may be found by the next opening.
    pub(crate) fn append(&mut self, batch: &Batch) -> Result<(), StorageError> {
        const ACTION: &str = "append to chain.journal";
        self.grow(self.at.saturating_add(frame_bytes(batch)))?;
        self.buffer.clear();
        encode(batch, self.salt, self.number, &mut self.buffer);
        let written = self.medium.write(self.at, &self.buffer).and_then(|()| self.medium.sync_data());
        written.map_err(|source| StorageError::Io { action: ACTION, source })?;
        self.at = self.at.saturating_add(self.buffer.len() as u64);
        self.number = self.number.saturating_add(1);
        self.buffer.shrink_to(BUFFER_BYTES_MAX);
        Ok(())
    }

    /// Begins anew, after the tree was made durable with `salt`.
    pub(crate) fn restart(&mut self, salt: u64) {
        (self.salt, self.at, self.number) = (salt, 0, 0);
    }

    /// Writes zeros up to `needed` bytes and some more.
    fn grow(&mut self, needed: u64) -> Result<(), StorageError> {
        const ZEROS: [u8; 16 << 10] = [0; 16 << 10];
        while self.len < needed {
            let upto = needed.next_multiple_of(GROWS_BY);
            while self.len < upto {
                let part = usize::try_from(upto.saturating_sub(self.len)).unwrap_or(usize::MAX).min(ZEROS.len());
                let zeros = ZEROS.get(..part).unwrap_or(&ZEROS);
                self.medium.write(self.len, zeros).map_err(|error| from_io("grow chain.journal", error))?;
                self.len = self.len.saturating_add(part as u64);
            }
        }
        Ok(())
    }
}

/// Bytes of the frame of `batch`.
fn frame_bytes(batch: &Batch) -> u64 {
    let write = |(key, value): &(Bytes, Option<Bytes>)| {
        (WRITE_BYTES.saturating_add(key.len()) as u64)
            .saturating_add(value.as_ref().map_or(0, |value| value.len() as u64))
    };
    batch.writes().iter().map(write).fold(HEADER_BYTES as u64, u64::saturating_add)
}

/// Appends the frame of `batch` to `out`, which is empty. Lengths have been checked, and the frame is bounded by
/// [`Journal::takes`], so that none is cut.
fn encode(batch: &Batch, salt: u64, number: u64, out: &mut Vec<u8>) {
    let length = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
    out.resize(HEADER_BYTES, 0);
    for (key, value) in batch.writes() {
        out.extend_from_slice(&u16::try_from(key.len()).unwrap_or(u16::MAX).to_le_bytes());
        out.extend_from_slice(&value.as_ref().map_or(REMOVED, |value| length(value.len())).to_le_bytes());
        out.extend_from_slice(key);
        out.extend_from_slice(value.as_deref().unwrap_or_default());
    }
    if let Some((header, body)) = out.split_first_chunk_mut::<HEADER_BYTES>() {
        *header = Header {
            salt,
            number,
            body_bytes: length(body.len()),
            body_crc: crc32fast::hash(body),
            writes: length(batch.writes().len()),
        }
        .encode();
    }
}

/// The beginning of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    salt: u64,
    number: u64,
    body_bytes: u32,
    body_crc: u32,
    writes: u32,
}

impl Header {
    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        let fields = [
            &self.salt.to_le_bytes()[..],
            &self.number.to_le_bytes(),
            &self.body_bytes.to_le_bytes(),
            &self.body_crc.to_le_bytes(),
            &self.writes.to_le_bytes(),
        ];
        for (to, from) in out.iter_mut().zip(fields.into_iter().flatten()) {
            *to = *from;
        }
        if let Some((fields, crc)) = out.split_last_chunk_mut() {
            *crc = crc32fast::hash(fields).to_le_bytes();
        }
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (salt, rest) = bytes.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (body_bytes, rest) = rest.split_first_chunk()?;
        let (body_crc, rest) = rest.split_first_chunk()?;
        let (writes, _) = rest.split_first_chunk()?;
        let header = Self {
            salt: u64::from_le_bytes(*salt),
            number: u64::from_le_bytes(*number),
            body_bytes: u32::from_le_bytes(*body_bytes),
            body_crc: u32::from_le_bytes(*body_crc),
            writes: u32::from_le_bytes(*writes),
        };
        (bytes.first_chunk() == Some(&header.encode())).then_some(header)
    }
}

/// The body of the frame at the beginning of `bytes`, if it is whole and has `salt`.
fn whole(bytes: &Bytes, salt: u64) -> Option<(Header, Bytes)> {
    let header = Header::decode(bytes).filter(|header| header.salt == salt)?;
    let end = HEADER_BYTES.checked_add(usize::try_from(header.body_bytes).ok()?)?;
    let body = (end <= bytes.len()).then(|| bytes.slice(HEADER_BYTES..end))?;
    (crc32fast::hash(&body) == header.body_crc).then_some((header, body))
}

/// The batches with `salt` in `content`, and where they end.
fn read(content: &Bytes, salt: u64) -> Result<(Vec<Batch>, u64), StorageError> {
    let (mut batches, mut at) = (Vec::new(), 0usize);
    while let Some((header, body)) = whole(&content.slice(at..), salt) {
        let expected = batches.len() as u64;
        let batch = (header.number == expected).then(|| decode(body, header.writes)).flatten();
        let Some(batch) = batch else {
            return Err(StorageError::Damaged(format!(
                "chain.journal, byte {at}: frame {} is where frame {expected} should be, or has not the writes that it says",
                header.number
            )));
        };
        batches.push(batch);
        at = at.saturating_add(HEADER_BYTES).saturating_add(header.body_bytes as usize);
    }
    if let Some((later, number)) = frame_after(content, at, salt) {
        return Err(StorageError::Damaged(format!(
            "chain.journal, byte {at}: frame {} is not what was written, though frame {number} at byte {later} is",
            batches.len()
        )));
    }
    Ok((batches, at as u64))
}

/// The next whole frame behind `at`, wherever it begins.
fn frame_after(content: &Bytes, at: usize, salt: u64) -> Option<(usize, u64)> {
    let salt_bytes = salt.to_le_bytes();
    let mut from = at.saturating_add(1);
    while let Some(found) = content.get(from..)?.iter().position(|byte| *byte == salt_bytes[0]) {
        from = from.saturating_add(found);
        let begins = content.get(from..).is_some_and(|rest| rest.starts_with(&salt_bytes));
        if let Some((header, _)) = begins.then(|| whole(&content.slice(from..), salt)).flatten() {
            return Some((from, header.number));
        }
        from = from.saturating_add(1);
    }
    None
}

/// The writes in `body`; `None` if they are not exactly `writes`.
fn decode(mut body: Bytes, writes: u32) -> Option<Batch> {
    let mut batch = Batch::new();
    for _ in 0..writes {
        if body.len() < WRITE_BYTES {
            return None;
        }
        let head = body.split_to(WRITE_BYTES);
        let (key_len, value_len) = head.split_first_chunk()?;
        let (key_len, value_len) = (u16::from_le_bytes(*key_len), u32::from_le_bytes(*value_len.first_chunk()?));
        let mut take = |len: usize| (len <= body.len()).then(|| body.split_to(len));
        let key = take(key_len.into())?;
        match value_len {
            REMOVED => batch.delete(key),
            len => batch.put(key, take(usize::try_from(len).ok()?)?),
        }
    }
    body.is_empty().then_some(batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::medium::FileMedium;

    const SALT: u64 = 0x0807_0605_0403_0201;

    fn batch(number: u8) -> Batch {
        let mut batch = Batch::new();
        batch.put(vec![b'k', number], vec![number; usize::from(number)]);
        batch.delete(&b"gone"[..]);
        batch
    }

    fn writes(batches: &[Batch]) -> Vec<&[(Bytes, Option<Bytes>)]> {
        batches.iter().map(Batch::writes).collect()
    }

    fn frames(batches: &[Batch]) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, batch) in (0..).zip(batches) {
            let mut frame = Vec::new();
            encode(batch, SALT, number, &mut frame);
            assert_eq!(frame.len() as u64, frame_bytes(batch));
            out.extend(frame);
        }
        out
    }

    /// Golden: a change of these bytes is a change of the format.
    #[test]
    fn golden_frame() {
        let mut batch = Batch::new();
        batch.put(&b"key"[..], &b"value"[..]);
        batch.delete(&b"old"[..]);
        let mut frame = Vec::new();
        encode(&batch, SALT, 7, &mut frame);
        let text: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            text,
            "01020304050607080700000000000000170000008dbe16b3020000009ef8a419\
             0300050000006b657976616c75650300ffffffff6f6c64"
        );
    }

    #[test]
    fn what_was_appended_is_found_and_after_a_restart_nothing() {
        let file = tempfile::tempfile().unwrap();
        let medium = || Box::new(FileMedium::borrowing(file.try_clone().unwrap()));
        let (mut journal, found) = Journal::open(medium(), SALT, 1 << 20, 1 << 19).unwrap();
        assert!(found.is_empty() && journal.is_empty());
        let batches: Vec<_> = (0..9).map(batch).collect();
        for batch in &batches {
            assert!(journal.takes(batch));
            journal.append(batch).unwrap();
        }
        assert!(!journal.is_empty());
        let (_, found) = Journal::open(medium(), SALT, 1 << 20, 1 << 19).unwrap();
        assert_eq!(writes(&found), writes(&batches));
        journal.restart(SALT + 1);
        assert!(journal.is_empty());
        assert!(Journal::open(medium(), SALT + 1, 1 << 20, 1 << 19).unwrap().1.is_empty());
        // A few new frames over the old ones.
        journal.append(&batches[8]).unwrap();
        assert_eq!(writes(&Journal::open(medium(), SALT + 1, 1 << 20, 1 << 19).unwrap().1), writes(&batches[8..]));
    }

    #[test]
    fn a_journal_takes_what_fits_and_is_small() {
        let medium = Box::new(FileMedium::borrowing(tempfile::tempfile().unwrap()));
        let (mut journal, _) = Journal::open(medium, SALT, 1000, 500).unwrap();
        let of = |len: usize| {
            let mut batch = Batch::new();
            batch.put(&b"k"[..], vec![1; len]);
            batch
        };
        let fixed = HEADER_BYTES + WRITE_BYTES + 1;
        assert!(journal.takes(&of(500 - fixed)) && !journal.takes(&of(501 - fixed)));
        journal.append(&of(500 - fixed)).unwrap();
        assert!(journal.takes(&of(500 - fixed)));
        journal.append(&of(400 - fixed)).unwrap();
        assert!(journal.takes(&of(100 - fixed)) && !journal.takes(&of(101 - fixed)));
    }

    /// The last frame may be cut or torn; what was acknowledged before it is there or is said to be damaged, never left out.
    #[test]
    fn every_flipped_bit_and_every_length_gives_a_beginning_or_damage() {
        let batches: Vec<_> = (0..4).map(batch).collect();
        let good = frames(&batches);
        let last = good.len() - usize::try_from(frame_bytes(&batches[3])).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            match read(&Bytes::from(bad), SALT) {
                Ok((found, at)) => {
                    assert!(bit / 8 >= last, "bit {bit} lost a frame which was acknowledged");
                    assert_eq!((writes(&found), at), (writes(&batches[..3]), last as u64));
                }
                Err(error) => {
                    assert!(bit / 8 < last && matches!(error, StorageError::Damaged(_)), "bit {bit}: {error}")
                }
            }
        }
        for len in 0..good.len() {
            let (found, _) = read(&Bytes::copy_from_slice(&good[..len]), SALT).unwrap();
            assert_eq!(writes(&found), writes(&batches[..found.len()]), "length {len}");
        }
    }

    #[test]
    fn a_frame_in_another_ones_place_is_damage() {
        let batches: Vec<_> = (1..4).map(batch).collect();
        let good = frames(&batches);
        let first = usize::try_from(frame_bytes(&batches[0])).unwrap();
        let error = read(&Bytes::copy_from_slice(&good[first..]), SALT).unwrap_err();
        assert!(error.to_string().contains("byte 0: frame 1 is where frame 0 should be"), "{error}");
    }

    /// A body that has the checksum and not the writes which the header says.
    #[test]
    fn a_body_that_is_none_is_damage() {
        let frame = |body: &[u8], writes| {
            let body_bytes = u32::try_from(body.len()).unwrap();
            let header = Header { salt: SALT, number: 0, body_bytes, body_crc: crc32fast::hash(body), writes };
            Bytes::from([&header.encode()[..], body].concat())
        };
        let one = [1, 0, 1, 0, 0, 0, b'k', b'v'];
        assert_eq!(read(&frame(&one, 1), SALT).unwrap().0.len(), 1);
        for (body, writes) in
            [(&one[..], 0), (&one, 2), (&one[..7], 1), (&one[..6], 1), (&one[..3], 1), (&one, u32::MAX)]
        {
            let error = read(&frame(body, writes), SALT).unwrap_err();
            assert!(matches!(error, StorageError::Damaged(_)), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_too_long_to_be_a_journal_is_damage_and_is_not_read() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(FILE_BYTES_MAX + 1).unwrap();
        let error = Journal::open(Box::new(FileMedium::borrowing(file)), SALT, 1 << 20, 1 << 19).map(drop).unwrap_err();
        assert!(matches!(error, StorageError::Damaged(_)), "{error}");
    }
}
