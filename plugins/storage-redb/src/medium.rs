//! The file as redb sees it: bytes at offsets, and writes held back until the opened store is accepted.

use std::{
    fs::File,
    io,
    ops::Bound,
    os::unix::fs::FileExt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use redb::{BackendError, StorageBackend};

/// Bytes of writes held back while opening at most. Opening writes the header; repairing writes the allocator's state too, about
/// 64 KiB for each GiB of file.
const HELD_BYTES_MAX: usize = 256 << 20;

/// A locked file.
#[derive(Debug)]
pub(crate) struct FileMedium {
    file: File,
    /// Whether the lock ends with this.
    unlocks: bool,
}

impl FileMedium {
    /// The file, with its lock, which ends when nobody uses the file any more.
    pub(crate) fn owning(file: File) -> Self {
        Self { file, unlocks: true }
    }

    /// The file, whose lock is another's.
    pub(crate) fn borrowing(file: File) -> Self {
        Self { file, unlocks: false }
    }
}

impl Drop for FileMedium {
    fn drop(&mut self) {
        if self.unlocks {
            // Closing would not do: a process that is being started at this instant has the file open too, until it runs its program.
            drop(self.file.unlock());
        }
    }
}

impl StorageBackend for FileMedium {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }
}

/// One thing which redb did while its writes were held back.
#[derive(Debug)]
enum Step {
    Write(u64, Box<[u8]>),
    SetLen(u64),
    Sync,
}

/// Writes held back, over a file which stays as it is.
#[derive(Debug)]
struct Held {
    len: u64,
    steps: Vec<Step>,
    bytes: usize,
}

#[derive(Debug)]
struct Shared {
    medium: Box<dyn StorageBackend>,
    /// `None` once writes go to the medium.
    held: RwLock<Option<Held>>,
    syncs: AtomicU64,
    /// Nothing was written since the length was last set.
    only_len: AtomicBool,
}

/// A medium which redb opens and repairs without changing it, until [`Staged::release`].
///
/// redb writes to a file as soon as it opens it. Whether the file is ours, of a version that we know and sound is only known
/// afterwards; a store that is refused is left as it is, to the byte.
#[derive(Debug, Clone)]
pub(crate) struct Staged(Arc<Shared>);

impl Staged {
    /// Holds back writes to `medium`.
    pub(crate) fn new(medium: impl StorageBackend) -> io::Result<Self> {
        let held = Held { len: medium.len()?, steps: Vec::new(), bytes: 0 };
        Ok(Self(Arc::new(Shared {
            medium: Box::new(medium),
            held: RwLock::new(Some(held)),
            syncs: AtomicU64::new(0),
            only_len: AtomicBool::new(false),
        })))
    }

    /// Carries out what was held back, in its order, and lets later writes through. After an error all writes stay held back.
    pub(crate) fn release(&self) -> io::Result<()> {
        let mut held = self.0.held.write().unwrap_or_else(PoisonError::into_inner);
        for step in held.iter().flat_map(|held| &held.steps) {
            match step {
                Step::Write(offset, bytes) => self.0.medium.write(*offset, bytes)?,
                Step::SetLen(len) => self.0.medium.set_len(*len)?,
                Step::Sync => self.0.medium.sync_data()?,
            }
        }
        *held = None;
        Ok(())
    }

    /// How often the medium confirmed that what was written is durable. The fsync with which redb makes a new length durable, right
    /// after setting it, does not count: a commit writes something before each of its own.
    pub(crate) fn syncs(&self) -> u64 {
        self.0.syncs.load(Ordering::SeqCst)
    }

    /// Does `direct` to the medium, or `held` to what is held back.
    fn either<T>(
        &self,
        direct: impl FnOnce(&dyn StorageBackend) -> io::Result<T>,
        held: impl FnOnce(&mut Held) -> io::Result<T>,
    ) -> io::Result<T> {
        if self.0.held.read().unwrap_or_else(PoisonError::into_inner).is_none() {
            return direct(&*self.0.medium);
        }
        match &mut *self.0.held.write().unwrap_or_else(PoisonError::into_inner) {
            Some(staging) => held(staging),
            None => direct(&*self.0.medium),
        }
    }
}

impl Held {
    fn push(&mut self, step: Step, bytes: usize) -> io::Result<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > HELD_BYTES_MAX {
            return Err(io::Error::other(format!("opening would write more than {HELD_BYTES_MAX} bytes")));
        }
        self.steps.push(step);
        Ok(())
    }

    /// The bytes at `offset` as they would be.
    fn read(&self, medium: &dyn StorageBackend, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset.saturating_add(out.len() as u64);
        if end > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        out.fill(0);
        let present = usize::try_from(medium.len()?.saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
        if let Some(present) = out.get_mut(..present) {
            medium.read(offset, present)?;
        }
        for step in &self.steps {
            match step {
                Step::Write(at, bytes) => overlay(out, offset, *at, bytes),
                // What is cut off and grown again reads as zeros.
                Step::SetLen(len) => {
                    let kept = usize::try_from(len.saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
                    out.iter_mut().skip(kept).for_each(|byte| *byte = 0);
                }
                Step::Sync => {}
            }
        }
        Ok(())
    }
}

/// Copies that part of `bytes` (which are at `at`) to `out` (which is at `offset`) where both overlap.
fn overlay(out: &mut [u8], offset: u64, at: u64, bytes: &[u8]) {
    let skip_out = usize::try_from(at.saturating_sub(offset)).unwrap_or(usize::MAX);
    let skip_in = usize::try_from(offset.saturating_sub(at)).unwrap_or(usize::MAX);
    for (to, from) in out.iter_mut().skip(skip_out).zip(bytes.iter().skip(skip_in)) {
        *to = *from;
    }
}

impl StorageBackend for Staged {
    fn len(&self) -> io::Result<u64> {
        self.either(|medium| medium.len(), |held| Ok(held.len))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let held = self.0.held.read().unwrap_or_else(PoisonError::into_inner);
        match &*held {
            Some(held) => held.read(&*self.0.medium, offset, out),
            None => self.0.medium.read(offset, out),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.either(
            |medium| {
                medium.set_len(len)?;
                self.0.only_len.store(true, Ordering::SeqCst);
                Ok(())
            },
            |held| {
                held.len = len;
                held.push(Step::SetLen(len), 0)
            },
        )
    }

    fn sync_data(&self) -> io::Result<()> {
        self.either(
            |medium| {
                medium.sync_data()?;
                if !self.0.only_len.load(Ordering::SeqCst) {
                    self.0.syncs.fetch_add(1, Ordering::SeqCst);
                }
                Ok(())
            },
            |held| held.push(Step::Sync, 0),
        )
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.either(
            |medium| {
                self.0.only_len.store(false, Ordering::SeqCst);
                medium.write(offset, bytes)
            },
            |held| held.push(Step::Write(offset, bytes.into()), bytes.len()),
        )
    }

    fn close(&self) -> io::Result<()> {
        self.0.medium.close()
    }

    /// The whole file is locked before redb sees it; it asks for ranges first and takes the whole when those are unsupported.
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        match (start, end) {
            (Bound::Unbounded | Bound::Included(0), Bound::Unbounded) => Ok(true),
            _ => Err(BackendError::Unsupported),
        }
    }

    fn unlock_range(&self, _start: Bound<u64>, _end: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(content, 0).unwrap();
        file
    }

    fn content(file: &File) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    /// What is read while held back is what the file holds after the release, and until then the file is untouched.
    #[test]
    fn held_writes_read_as_if_done_and_are_done_at_release() {
        let file = file(b"0123456789");
        let staged = Staged::new(FileMedium::borrowing(file.try_clone().unwrap())).unwrap();
        let read = || {
            let mut bytes = vec![0; usize::try_from(staged.len().unwrap()).unwrap()];
            staged.read(0, &mut bytes).unwrap();
            bytes
        };
        staged.write(2, b"abc").unwrap();
        staged.write(4, b"XY").unwrap();
        staged.set_len(5).unwrap();
        staged.set_len(14).unwrap();
        staged.write(12, b"zz").unwrap();
        staged.sync_data().unwrap();
        let expected = b"01abX\0\0\0\0\0\0\0zz";
        assert_eq!(read(), expected);
        let mut middle = [0; 3];
        staged.read(3, &mut middle).unwrap();
        assert_eq!(&middle, b"bX\0");
        assert!(staged.read(13, &mut middle).is_err());
        assert_eq!(content(&file), b"0123456789");
        staged.release().unwrap();
        assert_eq!(content(&file), expected);
        staged.write(0, b"!").unwrap();
        assert_eq!(content(&file)[0], b'!');
        assert_eq!(read()[0], b'!');
    }
}
