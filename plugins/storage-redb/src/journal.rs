//! The journal: batches that were committed since the tree in `chain.redb` was last made durable, one frame each, in two files.
//!
//! Frames lie one behind the other from the beginning of a file. Those of one file are a generation: while it is put into the tree, the next
//! one goes to the other file. Which count is said by the tree: those with one of its two salts, of which it gets a new one whenever it is made
//! durable, so that all frames that it has then are void at once, and nobody who chooses what is stored can make bytes that pass for a
//! frame.

use quorate::{
    Bytes,
    storage::{Batch, StorageError},
};
use redb::StorageBackend;

use crate::failure::from_io;

/// Names of the two files.
pub(crate) const FILES: [&str; 2] = ["chain.journal", "chain.journal2"];

/// Bytes of a frame before its writes.
const HEADER_BYTES: usize = 32;

/// Bytes of a write before its key.
const WRITE_BYTES: usize = 6;

/// In place of a value's length: the key is removed.
const REMOVED: u32 = u32::MAX;

/// A file grows by so many bytes at a time: most frames overwrite bytes that have their place on the disk, and a file whose
/// length and places stay is synced without what the file system writes about it.
const GROWS_BY: u64 = 256 << 10;

/// Bytes of a file that may be of a journal: the largest setting, and what the file grows by.
pub(crate) const FILE_BYTES_MAX: u64 = (1 << 30) + GROWS_BY;

/// Which frames count, as the tree names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Generations {
    /// The salt of the frames that the tree has not, and the one of those which come after them. The lowest bit says in which file.
    pub(crate) salts: [u64; 2],
    /// How many frames were written before the first of them.
    pub(crate) number: u64,
}

impl Generations {
    /// Two new ones, behind `number` frames.
    pub(crate) fn drawn(number: u64) -> Result<Self, StorageError> {
        let first = draw()? & !1;
        Ok(Self { salts: [first, draw()? | 1], number })
    }

    /// That of `salt`, whose first frame is `number`, and a new one after it.
    pub(crate) fn after(salt: u64, number: u64) -> Result<Self, StorageError> {
        Ok(Self { salts: [salt, (draw()? & !1) | (!salt & 1)], number })
    }
}

/// A random number, which nobody who chooses what is stored knows.
fn draw() -> Result<u64, StorageError> {
    let failed = |source| StorageError::Io { action: "draw a random number", source };
    #[cfg(test)]
    if DRAWING_FAILS.take() {
        return Err(failed(std::io::Error::other("told to fail")));
    }
    getrandom::u64().map_err(|error| failed(std::io::Error::other(error)))
}

#[cfg(test)]
thread_local! {
    /// The next salt of this thread can't be drawn: an error which redb knows nothing of.
    pub(crate) static DRAWING_FAILS: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// In which file a salt's frames are.
pub(crate) fn place(salt: u64) -> usize {
    usize::from(salt & 1 == 1)
}

/// One of the two files.
struct JournalFile {
    medium: Box<dyn StorageBackend>,
    /// Its bytes, all of them written.
    len: u64,
}

/// An open journal.
pub(crate) struct Journal {
    files: [JournalFile; 2],
    /// Bytes of the frames in one file, at most.
    bytes_max: u64,
    /// Of the frames that are written now.
    salt: u64,
    /// Where in its file the next frame begins, and its number.
    at: u64,
    number: u64,
}

impl Journal {
    /// Reads the journal on `media`, files of [`FILES`]. Gives the batches of the frames that are `counting`: pairs of a file's place in [`FILES`] and a
    /// salt, in their order, and the first one's number. Frames may be appended after [`Journal::begin`].
    ///
    /// # Errors
    ///
    /// [`StorageError::Damaged`] if a frame is not what was written though a later one is. The last one is not there if it is not
    /// whole, since its commit may have been interrupted.
    pub(crate) fn open(
        media: [Box<dyn StorageBackend>; 2],
        (counting, number): &(Vec<(usize, u64)>, u64),
        bytes_max: u64,
    ) -> Result<(Self, Vec<Batch>), StorageError> {
        let mut batches = Vec::new();
        for (at, salt) in counting {
            if let (Some(medium), Some(name)) = (media.get(*at), FILES.get(*at)) {
                let expected = number.saturating_add(batches.len() as u64);
                batches.extend(read(name, &content(name, &**medium)?, *salt, expected)?);
            }
        }
        let number = number.saturating_add(batches.len() as u64);
        let file = |medium: Box<dyn StorageBackend>| -> Result<_, StorageError> {
            let len = medium.len().map_err(|error| from_io("read chain.journal", error))?;
            Ok(JournalFile { medium, len })
        };
        let [first, second] = media;
        Ok((Self { files: [file(first)?, file(second)?], bytes_max, salt: 0, at: 0, number }, batches))
    }

    /// The number of the next frame.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Whether no file could take `batch`, however empty it is.
    pub(crate) fn is_too_large(&self, batch: &Batch) -> bool {
        frame_bytes(batch) > self.bytes_max
    }

    /// Whether this file has room for `batch`.
    pub(crate) fn has_room(&self, batch: &Batch) -> bool {
        self.at.saturating_add(frame_bytes(batch)) <= self.bytes_max
    }

    /// Whether half of the room in this file is used.
    pub(crate) fn is_half_full(&self) -> bool {
        self.at >= self.bytes_max.div_ceil(2)
    }

    /// Appends `batch`, for which there is room; it is durable when this returns. Gives its writes, which share one allocation.
    ///
    /// # Errors
    ///
    /// [`StorageError::Full`] if nothing of it was written; otherwise it may be found by the next opening.
    pub(crate) fn append(&mut self, batch: &Batch) -> Result<Batch, StorageError> {
        const ACTION: &str = "append to chain.journal";
        let mut frame = Vec::with_capacity(usize::try_from(frame_bytes(batch)).unwrap_or(0));
        encode(batch, self.salt, self.number, &mut frame);
        let frame = Bytes::from(frame);
        let end = self.at.saturating_add(frame.len() as u64);
        let count = u32::try_from(batch.writes().len()).unwrap_or(u32::MAX);
        let Some(writes) = decode(frame.slice(HEADER_BYTES.min(frame.len())..), count) else {
            return Err(StorageError::Damaged("a frame of chain.journal can't be read though it was just made".into()));
        };
        let [first, second] = &mut self.files;
        let file = if place(self.salt) == 0 { first } else { second };
        file.grow(end)?;
        let written = file.medium.write(self.at, &frame).and_then(|()| file.medium.sync_data());
        written.map_err(|source| StorageError::Io { action: ACTION, source })?;
        self.at = end;
        self.number = self.number.saturating_add(1);
        Ok(writes)
    }

    /// Goes on with the first of `generations`, which the tree names.
    pub(crate) fn begin(&mut self, generations: Generations) {
        let [salt, _] = generations.salts;
        self.restart(salt);
    }

    /// Goes on in `salt`'s file, whose frames are void by now.
    pub(crate) fn restart(&mut self, salt: u64) {
        (self.salt, self.at) = (salt, 0);
    }
}

/// The bytes of the journal's file `name`.
fn content(name: &str, medium: &dyn StorageBackend) -> Result<Bytes, StorageError> {
    const ACTION: &str = "read chain.journal";
    let len = medium.len().map_err(|error| from_io(ACTION, error))?;
    if len > FILE_BYTES_MAX {
        return Err(StorageError::Damaged(format!("{name} has {len} bytes; it has {FILE_BYTES_MAX} at most")));
    }
    let mut content = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    medium.read(0, &mut content).map_err(|error| from_io(ACTION, error))?;
    Ok(content.into())
}

impl JournalFile {
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
/// a file's size, so that none is cut.
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

/// The batches with `salt` in `content` of the file `name`, of which the first one's number is `first`.
fn read(name: &str, content: &Bytes, salt: u64, first: u64) -> Result<Vec<Batch>, StorageError> {
    let (mut batches, mut at) = (Vec::new(), 0usize);
    let number = |batches: &Vec<Batch>| first.saturating_add(batches.len() as u64);
    while let Some((header, body)) = whole(&content.slice(at..), salt) {
        let expected = number(&batches);
        let batch = (header.number == expected).then(|| decode(body, header.writes)).flatten();
        let Some(batch) = batch else {
            return Err(StorageError::Damaged(format!(
                "{name}, byte {at}: frame {} is where frame {expected} should be, or has not the writes that it says",
                header.number
            )));
        };
        batches.push(batch);
        at = at.saturating_add(HEADER_BYTES).saturating_add(header.body_bytes as usize);
    }
    if let Some((later, later_number)) = frame_after(content, at, salt) {
        return Err(StorageError::Damaged(format!(
            "{name}, byte {at}: frame {} is not what was written, though frame {later_number} at byte {later} is",
            number(&batches)
        )));
    }
    Ok(batches)
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

    /// Two files; the first generation is in the second of them.
    struct Disk([std::fs::File; 2]);

    const GENERATIONS: Generations = Generations { salts: [SALT, SALT + 1], number: 7 };

    impl Disk {
        fn new() -> Self {
            Self([tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap()])
        }

        fn open(&self, generations: Generations) -> Result<(Journal, Vec<Batch>), StorageError> {
            let media = self
                .0
                .each_ref()
                .map(|file| Box::new(FileMedium::borrowing(file.try_clone().unwrap())) as Box<dyn StorageBackend>);
            let counting = generations.salts.map(|salt| (place(salt), salt)).to_vec();
            Journal::open(media, &(counting, generations.number), 1000)
        }

        fn found(&self, generations: Generations) -> Result<Vec<Batch>, StorageError> {
            self.open(generations).map(|(_, batches)| batches)
        }
    }

    #[test]
    fn what_was_appended_is_found_over_two_files_and_is_void_by_generations() {
        let disk = Disk::new();
        let (mut journal, found) = disk.open(GENERATIONS).unwrap();
        assert!(found.is_empty());
        journal.begin(GENERATIONS);
        let batches: Vec<_> = (0..9).map(batch).collect();
        for (at, batch) in (0..).zip(&batches) {
            assert_eq!(writes(&[journal.append(batch).unwrap()]), writes(std::slice::from_ref(batch)));
            if at == 4 {
                journal.restart(SALT + 1);
            }
        }
        assert_eq!(journal.number(), 16);
        assert_eq!(writes(&disk.found(GENERATIONS).unwrap()), writes(&batches));
        // The tree has the first five.
        let later = Generations { salts: [SALT + 1, SALT + 2], number: 12 };
        assert_eq!(writes(&disk.found(later).unwrap()), writes(&batches[5..]));
        // A few new frames over the old ones, in the first one's file.
        journal.restart(SALT + 2);
        journal.append(&batches[8]).unwrap();
        assert_eq!(writes(&disk.found(later).unwrap()), writes(&[&batches[5..], &batches[8..]].concat()));
        // It has all.
        assert!(disk.found(Generations { salts: [SALT + 5, SALT + 6], number: 17 }).unwrap().is_empty());
    }

    /// The later file can't be there when what comes before it is not whole.
    #[test]
    fn a_frame_lost_between_the_files_is_damage() {
        let disk = Disk::new();
        let (mut journal, _) = disk.open(GENERATIONS).unwrap();
        journal.begin(GENERATIONS);
        journal.append(&batch(1)).unwrap();
        let end = journal.at;
        journal.append(&batch(2)).unwrap();
        journal.restart(SALT + 1);
        journal.append(&batch(3)).unwrap();
        for (at, lost) in [(end + 3, 8), (3, 7)] {
            FileMedium::borrowing(disk.0[1].try_clone().unwrap()).write(at, &[0xee; 1]).unwrap();
            let error = disk.found(GENERATIONS).unwrap_err().to_string();
            let said = [
                format!("chain.journal, byte 0: frame 9 is where frame {lost} should be"),
                format!("chain.journal2, byte 0: frame {lost} is not what was written"),
            ];
            assert!(said.iter().any(|said| error.contains(said)), "{error}");
        }
    }

    #[test]
    fn a_file_takes_what_fits() {
        let (mut journal, _) = Disk::new().open(GENERATIONS).unwrap();
        journal.begin(GENERATIONS);
        let of = |len: usize| {
            let mut batch = Batch::new();
            batch.put(&b"k"[..], vec![1; len - (HEADER_BYTES + WRITE_BYTES + 1)]);
            batch
        };
        assert!(!journal.is_too_large(&of(1000)) && journal.is_too_large(&of(1001)));
        journal.append(&of(499)).unwrap();
        assert!(!journal.is_half_full());
        journal.append(&of(101)).unwrap();
        assert!(journal.is_half_full());
        assert!(journal.has_room(&of(400)) && !journal.has_room(&of(401)));
        journal.restart(SALT + 1);
        assert!(!journal.is_half_full() && journal.has_room(&of(1000)));
    }

    #[test]
    fn salts_are_random_and_alternate_between_the_files() {
        let Generations { salts: [first, second], number } = Generations::drawn(5).unwrap();
        assert_eq!((place(first), place(second), number), (0, 1, 5));
        let later = Generations::after(second, 9).unwrap();
        assert_eq!((later.salts[0], place(later.salts[1]), later.number), (second, 0, 9));
        assert_eq!(place(Generations::after(first, 9).unwrap().salts[1]), 1);
        let drawn: std::collections::BTreeSet<_> =
            (0..100).flat_map(|_| Generations::drawn(0).unwrap().salts).map(|salt| salt >> 1).collect();
        assert_eq!(drawn.len(), 200);
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
            match read("chain.journal", &Bytes::from(bad), SALT, 0) {
                Ok(found) => {
                    assert!(bit / 8 >= last, "bit {bit} lost a frame which was acknowledged");
                    assert_eq!(writes(&found), writes(&batches[..3]));
                }
                Err(error) => {
                    assert!(bit / 8 < last && matches!(error, StorageError::Damaged(_)), "bit {bit}: {error}")
                }
            }
        }
        for len in 0..good.len() {
            let found = read("chain.journal", &Bytes::copy_from_slice(&good[..len]), SALT, 0).unwrap();
            assert_eq!(writes(&found), writes(&batches[..found.len()]), "length {len}");
        }
    }

    #[test]
    fn a_frame_in_another_ones_place_is_damage() {
        let batches: Vec<_> = (1..4).map(batch).collect();
        let good = frames(&batches);
        let first = usize::try_from(frame_bytes(&batches[0])).unwrap();
        let error = read("chain.journal", &Bytes::copy_from_slice(&good[first..]), SALT, 0).unwrap_err();
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
        assert_eq!(read("chain.journal", &frame(&one, 1), SALT, 0).unwrap().len(), 1);
        for (body, writes) in
            [(&one[..], 0), (&one, 2), (&one[..7], 1), (&one[..6], 1), (&one[..3], 1), (&one, u32::MAX)]
        {
            let error = read("chain.journal", &frame(body, writes), SALT, 0).unwrap_err();
            assert!(matches!(error, StorageError::Damaged(_)), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_too_long_to_be_a_journal_is_damage_and_is_not_read() {
        for (at, name) in FILES.iter().enumerate() {
            let disk = Disk::new();
            disk.0[at].set_len(FILE_BYTES_MAX + 1).unwrap();
            let error = disk.found(GENERATIONS).unwrap_err();
            let said = format!("{name} has ");
            assert!(matches!(&error, StorageError::Damaged(what) if what.starts_with(&said)), "{error}");
        }
    }
}
