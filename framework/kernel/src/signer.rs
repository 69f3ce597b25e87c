//! The signer: holds the validator's key, and a durable guard which never lets it sign twice differently. The guard also keeps the consensus' record
//! of the height under way, so that a record and the signatures which rest on it become durable by one wait for the disk.
//!
//! The guard is a file beside the key, so that it moves with the key and not with the database: an older database put back is
//! harmless. It is locked while the node runs.
//!
//! | bytes | content |
//! |---|---|
//! | 0..8 | `QGUARD2\n` |
//! | 8..40 | the public key |
//! | 64..320, 320..576 | two slots, written alternately |
//! | 4096.. | the last record, and the one before |
//!
//! A slot: sequence:u64le, signed:u8 (1 when something was), height:u64le, round:u32le, step:u8, sub:u32le, digest (32), signature (64), then of the record its
//! place:u64le (an offset in whole pages, 0 without a record), its bytes:u32le and their CRC-32:u32le, then the CRC-32 of all before (u32le). A record: the chain's id (32), height:u64le, the
//! engine's bytes. The valid slot with the higher sequence counts; a slot whose record is not whole is not valid.
//!
//! What is signed or saved counts for others after [`Signer::flush`]: nothing that rests on it leaves the node before. A slot or record torn by a power cut belongs
//! to what never left, both of them together, so that an engine finds no signature without the record on which it rests, nor the other way round. A medium that
//! gives other bytes than were written, and no error, can't be told from a cut. And what the last slot says is never written over. What an opening finds it writes again, byte for byte where it lies, and waits: a process that
//! was killed between the write and the wait for the medium leaves what can be read and need not be on it. To write anything else then would be to write over what
//! may still be the last whole record of the medium.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use quorate::{
    ChainId, Hash, Height, PublicKey, Round, Signature,
    consensus::{Guard, SAVED_BYTES_MAX, SignRefused, SignRequest},
};

use crate::key::NodeKey;

const MAGIC: &[u8; 8] = b"QGUARD2\n";

/// Of guards without records, whose slots had no more than what was signed. They are read, and written in this format.
const MAGIC_OLD: &[u8; 8] = b"QGUARD1\n";
const SLOT_OLD_CONTENT: usize = 8 + 8 + 4 + 1 + 4 + 32 + 64;

const SLOT_BYTES: usize = 256;
const SLOT_CONTENT: usize = 8 + 1 + 8 + 4 + 1 + 4 + 32 + 64 + 8 + 4 + 4;
const SLOTS_AT: u64 = 64;
const FILE_BYTES: usize = 64 + 2 * SLOT_BYTES;

/// The bytes before a record's own: the chain's id and the height.
const RECORD_HEAD: usize = 32 + 8;

/// Where records begin: not in the page of the slots.
const RECORDS_AT: u64 = PAGE;

/// Records begin at a multiple of this, so that no write touches a page of the record before.
const PAGE: u64 = 4096;

/// No record lies further up: three of the longest find room below it.
const RECORDS_END: u64 = 4 * SAVED_BYTES_MAX as u64;

/// Why the guard can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// A key without a guard.
    #[error(
        "{path}: no such guard: this key may have signed elsewhere. If it is new and never validated, start once with --new-validator; \
         if it moved here, copy its .guard file along with it"
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// Another process uses the key.
    #[error("{path}: in use by another process; two processes with one key would be taken for a dishonest validator")]
    Locked {
        /// The guard.
        path: PathBuf,
    },
    /// The file is not a guard, or of another key.
    #[error("{path}: {what}; restore it from the machine where the key signed last")]
    Damaged {
        /// The guard.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The medium failed.
    #[error("{path}: {source}")]
    Io {
        /// The guard.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// What was signed last.
#[derive(Debug, Clone, Copy)]
struct Last {
    guard: Guard,
    digest: Hash,
    signature: Signature,
}

/// Where a record is, and how it is known to be whole.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: u64,
    len: u32,
    crc: u32,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    sequence: u64,
    last: Option<Last>,
    record: Option<Place>,
}

/// What a new guard says.
const NOTHING: Slot = Slot { sequence: 0, last: None, record: None };

/// A record of the consensus, of the chain at whose height the engine was.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    chain_id: ChainId,
    height: Height,
    bytes: Bytes,
}

/// The guard's path beside a key: `NAME.key` has `NAME.guard`.
pub fn guard_path(key_path: &Path) -> PathBuf {
    key_path.with_extension("guard")
}

/// Makes an empty guard for a new key; leaves one that exists alone.
///
/// # Errors
///
/// [`GuardError::Io`].
pub fn create_guard(path: &Path, key: &PublicKey) -> Result<(), GuardError> {
    let failed = |source| GuardError::Io { path: path.into(), source };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let sync = || File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed);
    if path.exists() {
        // Who made it may have ended before its name was durable.
        return sync();
    }
    let mut content = vec![0u8; FILE_BYTES];
    content.splice(0..8, MAGIC.iter().copied());
    content.splice(8..40, key.as_bytes().iter().copied());
    let temporary = path.with_extension("guard.new");
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).map_err(failed)?;
    file.write_all_at(&content, 0).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&temporary, path).map_err(failed)?;
    sync()
}

/// Signs for one validator.
pub struct Signer {
    key: NodeKey,
    chain_id: ChainId,
    file: File,
    path: PathBuf,
    /// The slot that is on the medium.
    written: Slot,
    last: Option<Last>,
    /// What the opening found.
    found: Option<Record>,
    /// What the next flush writes.
    record: Option<Record>,
    /// Whether the medium has less than was signed and saved.
    behind: bool,
    failed: bool,
}

impl Signer {
    /// Opens and locks the guard of `key`.
    ///
    /// # Errors
    ///
    /// [`GuardError`].
    pub fn open(key: NodeKey, path: &Path, chain_id: ChainId) -> Result<Self, GuardError> {
        let failed = |source| GuardError::Io { path: path.into(), source };
        let damaged = |what: &str| GuardError::Damaged { path: path.into(), what: what.into() };
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(GuardError::Missing { path: path.into() });
            }
            Err(error) => return Err(failed(error)),
        };
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(GuardError::Locked { path: path.into() }),
            Err(error) => return Err(failed(error.into())),
        }
        let mut content = vec![0u8; FILE_BYTES];
        file.read_exact_at(&mut content, 0).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => damaged("is too short to be a guard"),
            _ => failed(error),
        })?;
        let magic = content.get(..8).unwrap_or_default();
        if magic != MAGIC && magic != MAGIC_OLD {
            return Err(damaged("is not a guard that this version reads"));
        }
        if content.get(8..40) != Some(key.public_key().as_bytes().as_slice()) {
            return Err(damaged("belongs to another key"));
        }
        let mut slots = content.get(64..).unwrap_or_default().chunks(SLOT_BYTES);
        let mut read = || match slots.next() {
            Some(raw) if raw.iter().any(|byte| *byte != 0) => {
                read_slot(raw).or_else(|| read_old_slot(raw)).ok_or(()).map(Some)
            }
            _ => Ok(None),
        };
        let (mut last, mut before) = match (read(), read()) {
            // One torn slot is a write that was cut; two are damage. The first of all writes goes to the second slot.
            (Err(()), Err(()) | Ok(None)) => return Err(damaged("its slots are damaged")),
            (one, other) => (one.unwrap_or_default(), other.unwrap_or_default()),
        };
        if last.map(|slot| slot.sequence) < before.map(|slot| slot.sequence) {
            std::mem::swap(&mut last, &mut before);
        }
        content.splice(0..8, MAGIC.iter().copied());
        let mut signer = Self {
            key,
            chain_id,
            file,
            path: path.into(),
            written: last.unwrap_or(NOTHING),
            last: last.and_then(|slot| slot.last),
            found: None,
            record: None,
            behind: false,
            failed: false,
        };
        let record_of = |slot: Option<Slot>| match slot.and_then(|slot| slot.record) {
            None => Ok(Some(None)),
            Some(place) => Ok(read_record(&signer.file, place).map_err(failed)?.map(|found| Some((place, found)))),
        };
        let found = match (record_of(last)?, last) {
            (Some(found), _) => found,
            // A write that was cut; the first of all has none before it.
            (None, Some(slot)) if before.is_some() || slot.sequence == 1 => {
                let Some(found) = record_of(before)? else { return Err(damaged("both records are damaged")) };
                tracing::warn!(path = %path.display(), "the last write of the guard was cut short: what was before it counts");
                signer.written = before.unwrap_or(NOTHING);
                signer.last = signer.written.last;
                found
            }
            (None, _) => return Err(damaged("its record is damaged")),
        };
        signer.file.write_all_at(&content, 0).map_err(failed)?;
        if let Some((place, (record, raw))) = found {
            signer.file.write_all_at(&raw, place.at).map_err(failed)?;
            signer.found = Some(record);
        }
        signer.file.sync_data().map_err(failed)?;
        Ok(signer)
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        self.key.public_key()
    }

    /// The last place signed, `None` when nothing ever was.
    pub fn last(&self) -> Option<Guard> {
        self.last.map(|last| last.guard)
    }

    /// The height of this chain that the key was at: of the last signature, or of the record that the opening found, whichever is higher.
    pub fn height(&self) -> Option<Height> {
        let record = self.found.as_ref().filter(|found| found.chain_id == self.chain_id).map(|found| found.height);
        self.last().map(|last| last.height).max(record)
    }

    /// Whether the opening found a record of this chain that was not handed out.
    pub fn has_record(&self) -> bool {
        self.found.as_ref().is_some_and(|found| found.chain_id == self.chain_id)
    }

    /// The record that the opening found, if it is of this height; it is handed out once.
    pub fn take_saved(&mut self, height: Height) -> Option<Bytes> {
        let found = self.found.take()?;
        (found.chain_id == self.chain_id && found.height == height).then_some(found.bytes)
    }

    /// Signs `request` if the guard allows. The signature may leave the node after the next [`Self::flush`].
    ///
    /// # Errors
    ///
    /// [`SignRefused`].
    pub fn sign(&mut self, request: &SignRequest) -> Result<Signature, SignRefused> {
        if request.body.len() > SignRequest::BODY_BYTES_MAX {
            return Err(SignRefused::Malformed(format!("body has {} bytes", request.body.len())));
        }
        if self.failed {
            return Err(SignRefused::Failed(format!("{}: an earlier write failed", self.path.display())));
        }
        let bytes = request.sign_bytes(&self.chain_id);
        let digest = Hash::of(&[&bytes]);
        if let Some(last) = self.last {
            if request.guard == last.guard && digest == last.digest {
                return Ok(last.signature);
            }
            if request.guard <= last.guard {
                return Err(SignRefused::Guard { last: last.guard });
            }
        }
        let signature = self.key.sign(&bytes);
        self.last = Some(Last { guard: request.guard, digest, signature });
        self.behind = true;
        Ok(signature)
    }

    /// Takes the consensus' record of a height, of [`SAVED_BYTES_MAX`] bytes at most, in place of the one before. It is durable after the next [`Self::flush`].
    pub fn save(&mut self, height: Height, bytes: Bytes) {
        self.record = Some(Record { chain_id: self.chain_id, height, bytes });
        self.behind = true;
    }

    /// Whether something was signed or saved since the last flush.
    pub fn is_behind(&self) -> bool {
        self.behind
    }

    /// Makes durable all that was signed and saved, with one wait for the medium; says whether there was anything.
    ///
    /// # Errors
    ///
    /// [`GuardError::Io`]: what is on the medium is unknown then, and nothing more is signed.
    pub fn flush(&mut self) -> Result<bool, GuardError> {
        if !self.behind {
            return Ok(false);
        }
        let failed = |source| GuardError::Io { path: self.path.clone(), source };
        if self.failed {
            return Err(failed(io::Error::other("an earlier write failed")));
        }
        let Err(source) = self.write() else { return Ok(true) };
        self.failed = true;
        Err(GuardError::Io { path: self.path.clone(), source })
    }

    /// Writes a new slot over the one before the last, and a new record where the last one is not.
    fn write(&mut self) -> io::Result<()> {
        let mut record = self.written.record;
        if let Some(new) = &self.record {
            let mut head = [0; RECORD_HEAD];
            head[..32].copy_from_slice(new.chain_id.as_bytes());
            head[32..].copy_from_slice(&new.height.0.to_le_bytes());
            let mut crc = crc32fast::Hasher::new();
            crc.update(&head);
            crc.update(&new.bytes);
            let len = u32::try_from(RECORD_HEAD + new.bytes.len()).map_err(io::Error::other)?;
            let place = Place { at: place_beside(record, len), len, crc: crc.finalize() };
            self.file.write_all_at(&head, place.at)?;
            self.file.write_all_at(&new.bytes, place.at + RECORD_HEAD as u64)?;
            record = Some(place);
        }
        let slot = Slot { sequence: self.written.sequence.saturating_add(1), last: self.last, record };
        self.file.write_all_at(&write_slot(&slot), slot_at(slot.sequence))?;
        self.file.sync_data()?;
        (self.written, self.record, self.behind) = (slot, None, false);
        Ok(())
    }
}

fn slot_at(sequence: u64) -> u64 {
    SLOTS_AT + (sequence % 2) * SLOT_BYTES as u64
}

/// Where a record of `len` bytes can be written without touching the last one: before it if there is room, else behind it.
fn place_beside(last: Option<Place>, len: u32) -> u64 {
    match last {
        Some(last) if RECORDS_AT + u64::from(len) > last.at => {
            (last.at.saturating_add(last.len.into())).next_multiple_of(PAGE)
        }
        _ => RECORDS_AT,
    }
}

fn write_slot(slot: &Slot) -> Vec<u8> {
    let nothing = Last {
        guard: Guard { height: Height(0), round: Round(0), step: 0, sub: 0 },
        digest: Hash::ZERO,
        signature: Signature::new([0; 64]),
    };
    let (last, place) = (slot.last.unwrap_or(nothing), slot.record);
    let mut out = Vec::with_capacity(SLOT_CONTENT + 4);
    out.extend_from_slice(&slot.sequence.to_le_bytes());
    out.push(u8::from(slot.last.is_some()));
    out.extend_from_slice(&last.guard.height.0.to_le_bytes());
    out.extend_from_slice(&last.guard.round.0.to_le_bytes());
    out.push(last.guard.step);
    out.extend_from_slice(&last.guard.sub.to_le_bytes());
    out.extend_from_slice(last.digest.as_bytes());
    out.extend_from_slice(last.signature.as_bytes());
    out.extend_from_slice(&place.map_or(0, |place| place.at).to_le_bytes());
    out.extend_from_slice(&place.map_or(0, |place| place.len).to_le_bytes());
    out.extend_from_slice(&place.map_or(0, |place| place.crc).to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
    out
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

fn read_last(rest: &mut &[u8]) -> Option<Last> {
    Some(Last {
        guard: Guard {
            height: Height(u64::from_le_bytes(take(rest)?)),
            round: Round(u32::from_le_bytes(take(rest)?)),
            step: u8::from_le_bytes(take(rest)?),
            sub: u32::from_le_bytes(take(rest)?),
        },
        digest: Hash::new(take(rest)?),
        signature: Signature::new(take(rest)?),
    })
}

/// `None`: torn, or nothing that this version writes.
fn read_slot(slot: &[u8]) -> Option<Slot> {
    let content = slot.get(..SLOT_CONTENT)?;
    let mut rest = slot;
    let sequence = u64::from_le_bytes(take(&mut rest)?);
    let signed = u8::from_le_bytes(take(&mut rest)?);
    let last = read_last(&mut rest)?;
    let at = u64::from_le_bytes(take(&mut rest)?);
    let (len, crc) = (u32::from_le_bytes(take(&mut rest)?), u32::from_le_bytes(take(&mut rest)?));
    if u32::from_le_bytes(take(&mut rest)?) != crc32fast::hash(content) || signed > 1 || at >= RECORDS_END {
        return None;
    }
    let record = (at > 0).then_some(Place { at, len, crc });
    Some(Slot { sequence, last: (signed == 1).then_some(last), record })
}

/// A slot of a guard without records.
fn read_old_slot(slot: &[u8]) -> Option<Slot> {
    let content = slot.get(..SLOT_OLD_CONTENT)?;
    let mut rest = slot;
    let sequence = u64::from_le_bytes(take(&mut rest)?);
    let last = read_last(&mut rest)?;
    let whole = u32::from_le_bytes(take(&mut rest)?) == crc32fast::hash(content);
    whole.then_some(Slot { sequence, last: Some(last), record: None })
}

/// A record, and all its bytes; `None`: not whole.
fn read_record(file: &File, place: Place) -> io::Result<Option<(Record, Bytes)>> {
    let len = place.len as usize;
    if !(RECORD_HEAD..=RECORD_HEAD + SAVED_BYTES_MAX).contains(&len) {
        return Ok(None);
    }
    let mut raw = vec![0; len];
    match file.read_exact_at(&mut raw, place.at) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        // The medium may have it: to go on without it could be to forget what was signed.
        Err(error) => return Err(error),
    }
    if crc32fast::hash(&raw) != place.crc {
        return Ok(None);
    }
    Ok(parse_record(raw.into()))
}

fn parse_record(raw: Bytes) -> Option<(Record, Bytes)> {
    let chain_id = ChainId::new(raw.get(..32)?.try_into().ok()?);
    let height = Height(u64::from_le_bytes(raw.get(32..RECORD_HEAD)?.try_into().ok()?));
    Some((Record { chain_id, height, bytes: raw.slice(RECORD_HEAD..) }, raw))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAIN: ChainId = ChainId::new([7; 32]);

    fn request(height: u64, round: u32, step: u8, body: &[u8]) -> SignRequest {
        SignRequest {
            guard: Guard { height: Height(height), round: Round(round), step, sub: 0 },
            kind: step,
            body: body.into(),
        }
    }

    fn signed(signer: &mut Signer, request: &SignRequest) -> Signature {
        let signature = signer.sign(request).unwrap();
        assert!(signer.flush().unwrap());
        signature
    }

    fn open(path: &Path) -> Signer {
        Signer::open(NodeKey::development("validator-1"), path, CHAIN).unwrap()
    }

    fn new(directory: &Path) -> (NodeKey, PathBuf) {
        let key = NodeKey::development("validator-1");
        let path = directory.join("a.guard");
        create_guard(&path, &key.public_key()).unwrap();
        (key, path)
    }

    #[test]
    fn nothing_lower_or_different_is_signed_across_restarts() {
        let directory = tempfile::tempdir().unwrap();
        let (key, path) = new(directory.path());
        let mut signer = Signer::open(key, &path, CHAIN).unwrap();
        let first = signed(&mut signer, &request(5, 1, 1, b"a"));
        drop(signer);
        let mut signer = Signer::open(NodeKey::development("validator-1"), &path, CHAIN).unwrap();
        assert_eq!(signer.sign(&request(5, 1, 1, b"a")), Ok(first));
        for bad in [request(5, 1, 1, b"b"), request(5, 1, 0, b"a"), request(5, 0, 3, b"a"), request(4, 9, 3, b"a")] {
            assert!(matches!(signer.sign(&bad), Err(SignRefused::Guard { .. })), "{bad:?}");
        }
        assert!(signer.sign(&request(5, 1, 2, b"b")).is_ok());
        assert!(signer.public_key().verifies(&request(5, 1, 1, b"a").sign_bytes(&CHAIN), &first));
    }

    #[test]
    fn a_slot_torn_at_any_byte_leaves_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        let (key, path) = new(directory.path());
        let mut signer = Signer::open(key, &path, CHAIN).unwrap();
        signed(&mut signer, &request(1, 0, 1, b"a"));
        signed(&mut signer, &request(2, 0, 1, b"a"));
        drop(signer);
        let good = std::fs::read(&path).unwrap();
        for at in 0..SLOT_CONTENT {
            let mut bad = good.clone();
            bad[64 + at] ^= 0x40;
            std::fs::write(&path, &bad).unwrap();
            let signer = Signer::open(NodeKey::development("validator-1"), &path, CHAIN).unwrap();
            assert_eq!(signer.last().unwrap().height, Height(1));
        }
    }

    /// A kill leaves what can be read and is not on the medium; a power cut during the opening after it may leave any of the opening's pages beside the medium's.
    #[test]
    fn an_opening_writes_over_nothing_that_the_medium_may_still_need() {
        let directory = tempfile::tempdir().unwrap();
        let (key, path) = new(directory.path());
        let mut signer = Signer::open(key, &path, CHAIN).unwrap();
        let mut medium = std::fs::read(&path).unwrap();
        for height in 1..8 {
            signer.save(Height(height), vec![height as u8; 300].into());
            if height != 4 {
                signer.sign(&request(height, 0, 1, b"a")).unwrap();
            }
            signer.flush().unwrap();
            drop(signer);
            // Only the page cache has the last write when it is opened.
            signer = open(&path);
            let opened = std::fs::read(&path).unwrap();
            medium.resize(opened.len(), 0);
            let pages = opened.len().div_ceil(PAGE as usize);
            for kept in 0..1u32 << pages {
                let mut cut = medium.clone();
                for page in (0..pages).filter(|page| kept >> page & 1 == 1) {
                    let range = page * PAGE as usize..((page + 1) * PAGE as usize).min(opened.len());
                    cut[range.clone()].copy_from_slice(&opened[range]);
                }
                std::fs::write(directory.path().join("cut.guard"), cut).unwrap();
                let found = open(&directory.path().join("cut.guard"));
                let signed = found.last().map_or(0, |last| last.height.0);
                let saved = found.found.as_ref().map_or(0, |record| record.height.0);
                let signed_before = if height == 5 { 3 } else { height - 1 };
                assert!(signed >= signed_before && saved >= height - 1, "{height}: {signed}, {saved}; pages {kept:b}");
            }
            medium = opened;
        }
    }

    #[test]
    fn a_record_and_a_signature_become_durable_by_one_write_and_neither_before() {
        let directory = tempfile::tempdir().unwrap();
        let (key, path) = new(directory.path());
        let mut signer = Signer::open(key, &path, CHAIN).unwrap();
        assert!(!signer.flush().unwrap(), "nothing to write");
        signer.save(Height(1), Bytes::from_static(b"bound to A"));
        signer.sign(&request(1, 0, 1, b"a")).unwrap();
        signer.sign(&request(1, 0, 2, b"a")).unwrap();
        let before = std::fs::read(&path).unwrap();
        assert!(signer.is_behind());
        assert!(signer.flush().unwrap() && !signer.is_behind() && !signer.flush().unwrap());
        let after = std::fs::read(&path).unwrap();
        drop(signer);
        std::fs::write(&path, before).unwrap();
        let mut old = open(&path);
        assert!(old.last().is_none() && old.take_saved(Height(1)).is_none());
        drop(old);
        std::fs::write(&path, after).unwrap();
        let mut new = open(&path);
        assert_eq!(new.last(), Some(request(1, 0, 2, b"a").guard));
        assert_eq!(
            (new.height(), new.take_saved(Height(1)).as_deref()),
            (Some(Height(1)), Some(b"bound to A".as_slice()))
        );
        // A record of the next height, of which nothing is signed yet, says that the one before is over.
        new.save(Height(2), Bytes::from_static(b"bound to B"));
        new.flush().unwrap();
        drop(new);
        assert_eq!(open(&path).height(), Some(Height(2)));
        assert_eq!(open(&path).take_saved(Height(1)), None, "of another height");
        let other = Signer::open(NodeKey::development("validator-1"), &path, ChainId::new([8; 32]));
        assert_eq!(other.unwrap().take_saved(Height(2)), None, "of another chain");
    }

    /// The medium may have any part of what a power cut stopped; what was whole before stays whole.
    #[test]
    fn a_write_that_was_cut_leaves_the_record_and_the_signature_before() {
        let directory = tempfile::tempdir().unwrap();
        let (key, path) = new(directory.path());
        let mut signer = Signer::open(key, &path, CHAIN).unwrap();
        for height in 1..6 {
            signer.save(Height(height), vec![height as u8; 5000].into());
            signed(&mut signer, &request(height, 0, 1, b"a"));
            // A signature without a new record leaves the record alone.
            signed(&mut signer, &request(height, 0, 2, b"a"));
            let whole = std::fs::read(&path).unwrap();
            let mut next = {
                signer.save(Height(height + 1), vec![height as u8 + 1; 6000].into());
                signer.sign(&request(height + 1, 0, 1, b"b")).unwrap();
                signer.flush().unwrap();
                std::fs::read(&path).unwrap()
            };
            drop(signer);
            let record_only = {
                let mut content = next.clone();
                content[..FILE_BYTES].copy_from_slice(&whole[..FILE_BYTES]);
                content
            };
            // The new slot is there, its record is not: as a page of it was, or the file's end.
            let len = next.len().min(whole.len());
            next[FILE_BYTES..len].copy_from_slice(&whole[FILE_BYTES..len]);
            next[len..].fill(0);
            for torn in [&whole, &record_only, &next, &next[..len].to_vec()] {
                std::fs::write(&path, torn).unwrap();
                let mut found = open(&path);
                assert_eq!(found.last(), Some(request(height, 0, 2, b"a").guard));
                assert_eq!(found.take_saved(Height(height)).unwrap(), vec![height as u8; 5000]);
            }
            std::fs::write(&path, whole).unwrap();
            signer = open(&path);
        }
    }

    #[test]
    fn a_guard_without_records_is_read_and_written_anew() {
        let directory = tempfile::tempdir().unwrap();
        let (key, path) = new(directory.path());
        let mut signer = Signer::open(key, &path, CHAIN).unwrap();
        let first = signed(&mut signer, &request(4, 0, 1, b"a"));
        drop(signer);
        let content = std::fs::read(&path).unwrap();
        let mut old = vec![0; FILE_BYTES];
        old[..8].copy_from_slice(MAGIC_OLD);
        old[8..40].copy_from_slice(&content[8..40]);
        let slot = 64 + SLOT_BYTES;
        old[slot..slot + 8].copy_from_slice(&1u64.to_le_bytes());
        old[slot + 8..slot + SLOT_OLD_CONTENT].copy_from_slice(&content[slot + 9..slot + 1 + SLOT_OLD_CONTENT]);
        let crc = crc32fast::hash(&old[slot..slot + SLOT_OLD_CONTENT]);
        old[slot + SLOT_OLD_CONTENT..slot + SLOT_OLD_CONTENT + 4].copy_from_slice(&crc.to_le_bytes());
        let old_slots = old.clone();
        std::fs::write(&path, old).unwrap();
        for _ in 0..2 {
            let mut signer = open(&path);
            assert_eq!(signer.sign(&request(4, 0, 1, b"a")), Ok(first));
            assert!(matches!(signer.sign(&request(4, 0, 1, b"b")), Err(SignRefused::Guard { .. })));
        }
        let content = std::fs::read(&path).unwrap();
        assert_eq!(&content[..8], MAGIC);
        // Of the opening's two writes only the first reached the medium.
        std::fs::write(&path, [MAGIC, &old_slots[8..]].concat()).unwrap();
        assert_eq!(open(&path).last(), Some(request(4, 0, 1, b"a").guard));
    }

    #[test]
    fn the_longest_record_has_room_in_both_places() {
        let directory = tempfile::tempdir().unwrap();
        let (key, path) = new(directory.path());
        let mut signer = Signer::open(key, &path, CHAIN).unwrap();
        for height in 1..4 {
            signer.save(Height(height), vec![height as u8; SAVED_BYTES_MAX].into());
            signer.flush().unwrap();
            assert_eq!(signer.last(), None, "nothing was signed");
            drop(signer);
            signer = open(&path);
            assert_eq!(signer.take_saved(Height(height)).unwrap(), vec![height as u8; SAVED_BYTES_MAX]);
        }
        assert!(std::fs::metadata(&path).unwrap().len() <= 2 * (PAGE + SAVED_BYTES_MAX as u64) + PAGE);
    }

    #[test]
    fn records_of_any_size_lie_beside_the_last_and_the_file_stays_small() {
        let (mut last, mut end): (Option<Place>, u64) = (None, 0);
        for (round, len) in
            [100u32, 5_000, 100, 70_000, 4_096, 4_097, 70_000, 69_000, 70_000, 1, 70_000].into_iter().enumerate()
        {
            let at = place_beside(last, len);
            assert!(at >= RECORDS_AT && at.is_multiple_of(PAGE), "{round}");
            if let Some(last) = last {
                let apart = at + u64::from(len) <= last.at || last.at + u64::from(last.len) <= at;
                assert!(apart, "{round}");
            }
            end = end.max(at + u64::from(len));
            last = Some(Place { at, len, crc: 0 });
        }
        assert!(end <= RECORDS_AT + 3 * 70_000 + 3 * PAGE, "{end}");
    }

    #[test]
    fn two_processes_cannot_share_a_key_and_a_lost_guard_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let (key, path) = new(directory.path());
        let held = Signer::open(key, &path, CHAIN).unwrap();
        let again = || Signer::open(NodeKey::development("validator-1"), &path, CHAIN);
        assert!(matches!(again(), Err(GuardError::Locked { .. })));
        drop(held);
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(again(), Err(GuardError::Missing { .. })));
    }

    #[test]
    fn a_guard_of_another_key_and_a_damaged_one_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (_, path) = new(directory.path());
        let other = Signer::open(NodeKey::development("validator-2"), &path, CHAIN);
        assert!(matches!(other, Err(GuardError::Damaged { .. })));
        std::fs::write(&path, b"short").unwrap();
        let short = Signer::open(NodeKey::development("validator-1"), &path, CHAIN);
        assert!(matches!(short, Err(GuardError::Damaged { .. })));
    }
}
