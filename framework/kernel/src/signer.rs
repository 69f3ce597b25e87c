//! The signer: holds the validator's key, and a durable guard which never lets it sign twice differently.
//!
//! The guard is a file beside the key, so that it moves with the key and not with the database: an older database put back is
//! harmless. It is locked while the node runs.
//!
//! | bytes | content |
//! |---|---|
//! | 0..8 | `QGUARD1\n` |
//! | 8..40 | the public key |
//! | 64..320, 320..576 | two slots, written alternately |
//!
//! A slot: sequence:u64le, height:u64le, round:u32le, step:u8, sub:u32le, digest (32), signature (64), CRC-32 of all before (u32le). The
//! valid slot with the higher sequence counts. A signature leaves the signer after its slot is on the medium; a slot torn by a power cut
//! belongs to a signature that never left. What an opening finds it writes again, into the other slot: a process that was killed between the write and
//! the wait for the medium leaves a slot that can be read and need not be on it.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use quorate::{
    ChainId, Hash, Height, PublicKey, Round, Signature,
    consensus::{Guard, SignRefused, SignRequest},
};

use crate::key::NodeKey;

const MAGIC: &[u8; 8] = b"QGUARD1\n";
const SLOT_BYTES: usize = 256;
const SLOT_CONTENT: usize = 8 + 8 + 4 + 1 + 4 + 32 + 64;
const SLOTS_AT: u64 = 64;
const FILE_BYTES: usize = 64 + 2 * SLOT_BYTES;

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

#[derive(Debug, Clone, Copy)]
struct Last {
    sequence: u64,
    guard: Guard,
    digest: Hash,
    signature: Signature,
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
    if path.exists() {
        return Ok(());
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
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)
}

/// Signs for one validator.
pub struct Signer {
    key: NodeKey,
    chain_id: ChainId,
    file: File,
    path: PathBuf,
    last: Option<Last>,
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
        file.read_exact_at(&mut content, 0).map_err(|_| damaged("is too short to be a guard"))?;
        if content.get(..8) != Some(MAGIC.as_slice()) {
            return Err(damaged("is not a guard"));
        }
        if content.get(8..40) != Some(key.public_key().as_bytes().as_slice()) {
            return Err(damaged("belongs to another key"));
        }
        let mut last: Option<Last> = None;
        for slot in content.get(64..).unwrap_or_default().chunks(SLOT_BYTES) {
            match read_slot(slot) {
                Slot::Valid(found) if last.is_none_or(|last| last.sequence < found.sequence) => last = Some(found),
                _ => {}
            }
        }
        let slots = content.get(64..).unwrap_or_default().chunks(SLOT_BYTES).map(read_slot);
        let torn = slots.clone().filter(|slot| matches!(slot, Slot::Torn)).count();
        // One torn slot is a write that was cut; two are damage.
        if torn == 2 {
            return Err(damaged("both records are damaged"));
        }
        let mut signer = Self { key, chain_id, file, path: path.into(), last: None, failed: false };
        if let Some(found) = last {
            signer.write(Last { sequence: found.sequence + 1, ..found }).map_err(failed)?;
        }
        Ok(signer)
    }

    /// Makes the last place durable, in the slot that does not hold the one before.
    fn write(&mut self, last: Last) -> io::Result<()> {
        let at = SLOTS_AT + (last.sequence % 2) * SLOT_BYTES as u64;
        self.file.write_all_at(&write_slot(&last), at)?;
        self.file.sync_data()?;
        self.last = Some(last);
        Ok(())
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        self.key.public_key()
    }

    /// The last place signed, `None` when nothing ever was.
    pub fn last(&self) -> Option<Guard> {
        self.last.map(|last| last.guard)
    }

    /// Signs `request` if the guard allows; durable before it returns.
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
        let sequence = self.last.map_or(0, |last| last.sequence) + 1;
        if let Err(error) = self.write(Last { sequence, guard: request.guard, digest, signature }) {
            // What is on the medium is unknown now: sign nothing more.
            self.failed = true;
            return Err(SignRefused::Failed(format!("{}: {error}", self.path.display())));
        }
        Ok(signature)
    }
}

enum Slot {
    Empty,
    Torn,
    Valid(Last),
}

fn write_slot(last: &Last) -> Vec<u8> {
    let mut slot = Vec::with_capacity(SLOT_CONTENT + 4);
    slot.extend_from_slice(&last.sequence.to_le_bytes());
    slot.extend_from_slice(&last.guard.height.0.to_le_bytes());
    slot.extend_from_slice(&last.guard.round.0.to_le_bytes());
    slot.push(last.guard.step);
    slot.extend_from_slice(&last.guard.sub.to_le_bytes());
    slot.extend_from_slice(last.digest.as_bytes());
    slot.extend_from_slice(last.signature.as_bytes());
    slot.extend_from_slice(&crc32fast::hash(&slot).to_le_bytes());
    slot
}

fn read_slot(slot: &[u8]) -> Slot {
    fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
        let (head, rest) = bytes.split_first_chunk::<N>()?;
        *bytes = rest;
        Some(*head)
    }
    fn parse(slot: &[u8]) -> Option<Last> {
        let content = slot.get(..SLOT_CONTENT)?;
        let mut rest = slot;
        let last = Last {
            sequence: u64::from_le_bytes(take(&mut rest)?),
            guard: Guard {
                height: Height(u64::from_le_bytes(take(&mut rest)?)),
                round: Round(u32::from_le_bytes(take(&mut rest)?)),
                step: u8::from_le_bytes(take(&mut rest)?),
                sub: u32::from_le_bytes(take(&mut rest)?),
            },
            digest: Hash::new(take(&mut rest)?),
            signature: Signature::new(take(&mut rest)?),
        };
        (u32::from_le_bytes(take(&mut rest)?) == crc32fast::hash(content)).then_some(last)
    }
    if slot.iter().all(|byte| *byte == 0) {
        return Slot::Empty;
    }
    parse(slot).map_or(Slot::Torn, Slot::Valid)
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
        let first = signer.sign(&request(5, 1, 1, b"a")).unwrap();
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
        signer.sign(&request(1, 0, 1, b"a")).unwrap();
        signer.sign(&request(2, 0, 1, b"a")).unwrap();
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

    /// The last slot could be read, and was not on the medium: only what the opening wrote counts then.
    #[test]
    fn what_an_opening_finds_is_written_again_before_it_counts() {
        let directory = tempfile::tempdir().unwrap();
        let (key, path) = new(directory.path());
        let mut signer = Signer::open(key, &path, CHAIN).unwrap();
        let first = signer.sign(&request(1, 0, 1, b"a")).unwrap();
        drop(signer);
        for slot in [64 + SLOT_BYTES, 64, 64 + SLOT_BYTES] {
            drop(Signer::open(NodeKey::development("validator-1"), &path, CHAIN).unwrap());
            let mut content = std::fs::read(&path).unwrap();
            content[slot..slot + SLOT_BYTES].fill(0);
            std::fs::write(&path, content).unwrap();
            let mut signer = Signer::open(NodeKey::development("validator-1"), &path, CHAIN).unwrap();
            assert_eq!(signer.last(), Some(request(1, 0, 1, b"a").guard));
            assert_eq!(signer.sign(&request(1, 0, 1, b"a")), Ok(first));
        }
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
