//! A disk in memory with three files, which fails on command and forgets at a power cut what was not fsynced.

use std::{
    collections::BTreeSet,
    fmt,
    io::{self, ErrorKind},
    sync::{Arc, Mutex, MutexGuard},
};

use redb::StorageBackend;

const BLOCK: usize = 4096;

/// Repeatable randomness, printed by tests as the seed to set in `QUORATE_SEED`.
pub(crate) struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    pub(crate) fn new() -> Self {
        let seed = std::env::var("QUORATE_SEED").map_or_else(
            |_| {
                let mut seed = [0; 8];
                getrandom::fill(&mut seed).unwrap();
                u64::from_le_bytes(seed)
            },
            |text| text.parse().unwrap(),
        );
        Self { seed, state: seed }
    }

    pub(crate) fn below(&mut self, below: usize) -> usize {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.state >> 33).unwrap() % below
    }
}

impl fmt::Display for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QUORATE_SEED={}", self.seed)
    }
}

#[derive(Debug, Clone)]
enum Step {
    Write(usize, Vec<u8>),
    SetLen(usize),
    Sync,
}

impl Step {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Write(offset, bytes) => {
                let end = offset + bytes.len();
                image.resize(image.len().max(end), 0);
                image[*offset..end].copy_from_slice(bytes);
            }
            Self::SetLen(len) => image.resize(*len, 0),
            Self::Sync => {}
        }
    }
}

/// Files of a disk: the tree and the journal's two.
const FILES: usize = 3;

#[derive(Debug, Default)]
struct State {
    content: [Vec<u8>; FILES],
    /// The content when recording began, and what happened since, to which file.
    base: [Vec<u8>; FILES],
    log: Vec<(usize, Step)>,
    /// Blocks of a file which have a place on the disk; a write to another one takes of the room.
    placed: BTreeSet<(usize, usize)>,
    room: Option<usize>,
    /// Whether a lack of room is noticed by the fsync only.
    full_at_sync: bool,
    lacking: bool,
    /// Fsyncs that still succeed, and how the one after them fails.
    sync_fails: Option<(u64, ErrorKind)>,
    reads_fail: bool,
}

/// The disk, with its tree as the file that is read and written; clones are the same disk.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk(Arc<Mutex<State>>, usize);

impl Disk {
    fn with(content: [Vec<u8>; FILES]) -> Self {
        let disk = Self::default();
        {
            let mut state = disk.state();
            for (file, content) in content.iter().enumerate() {
                state.placed.extend((0..content.len().div_ceil(BLOCK)).map(|block| (file, block)));
            }
            state.base.clone_from(&content);
            state.content = content;
        }
        disk
    }

    /// The same disk, with each of its journal's files as the file.
    pub(super) fn journal(&self) -> [Self; 2] {
        [Self(self.0.clone(), 1), Self(self.0.clone(), 2)]
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Begins the log; what is there is durable.
    pub(super) fn record(&self) {
        let mut state = self.state();
        state.base = state.content.clone();
        state.log.clear();
    }

    /// Takes back everything in the log.
    pub(super) fn undo(&self) {
        let mut state = self.state();
        state.content = state.base.clone();
        state.log.clear();
    }

    /// Steps in the log.
    pub(super) fn steps(&self) -> usize {
        self.state().log.len()
    }

    /// What is left when power is cut after step `cut`: of each file everything until its last fsync before, and of what came then any
    /// part.
    pub(super) fn after_cut(&self, cut: usize, random: &mut Random) -> Self {
        let state = self.state();
        let mut image = state.base.clone();
        for (file, image) in image.iter_mut().enumerate() {
            let log: Vec<_> = state.log[..cut].iter().filter(|(of, _)| *of == file).map(|(_, step)| step).collect();
            let durable = log.iter().rposition(|step| matches!(step, Step::Sync)).map_or(0, |at| at + 1);
            log[..durable].iter().for_each(|step| step.apply(image));
            // Mostly some of it, at times all or nothing.
            let (kept, of) = [(0, 1), (1, 1), (1, 2), (9, 10), (1, 10)][random.below(5)];
            let grain = [1, 64, 512, BLOCK, 1 << 20][random.below(5)];
            for step in &log[durable..] {
                match step {
                    Step::Write(offset, bytes) => {
                        for (at, part) in bytes.chunks(grain).enumerate() {
                            if random.below(of) < kept {
                                Step::Write(offset + at * grain, part.to_vec()).apply(image);
                            }
                        }
                    }
                    other if random.below(of) < kept => other.apply(image),
                    _ => {}
                }
            }
        }
        Self::with(image)
    }

    /// After `good` fsyncs one fails, and what it should have written stays unwritten.
    pub(super) fn fail_sync(&self, good: u64, kind: ErrorKind) {
        self.state().sync_fails = Some((good, kind));
    }

    pub(super) fn fail_reads(&self) {
        self.state().reads_fail = true;
    }

    /// Leaves room for so many blocks more.
    pub(super) fn limit(&self, blocks: usize, at_sync: bool) {
        let mut state = self.state();
        state.room = Some(blocks);
        state.full_at_sync = at_sync;
    }

    /// Nothing fails from now on.
    pub(super) fn mend(&self) {
        let mut state = self.state();
        (state.room, state.lacking, state.sync_fails, state.reads_fail) = (None, false, None, false);
    }
}

impl State {
    /// Finds places for the blocks of a write; gives the bytes for which there is room.
    fn place(&mut self, file: usize, offset: usize, len: usize) -> usize {
        for block in offset / BLOCK..(offset + len).div_ceil(BLOCK) {
            if self.placed.contains(&(file, block)) {
                continue;
            }
            match &mut self.room {
                Some(0) if self.full_at_sync => self.lacking = true,
                Some(0) => return (block * BLOCK).saturating_sub(offset),
                Some(room) => *room -= 1,
                None => {}
            }
            self.placed.insert((file, block));
        }
        len
    }

    fn take(&mut self, file: usize, step: Step) {
        step.apply(&mut self.content[file]);
        self.log.push((file, step));
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().content[self.1].len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        if state.reads_fail {
            return Err(io::Error::other("bad sector"));
        }
        let offset = usize::try_from(offset).unwrap();
        let found = state.content[self.1].get(offset..offset + out.len()).ok_or(ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.state().take(self.1, Step::SetLen(usize::try_from(len).unwrap()));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        if state.lacking {
            return Err(ErrorKind::StorageFull.into());
        }
        match &mut state.sync_fails {
            Some((0, kind)) => {
                let kind = *kind;
                // Once: the system has told, and takes the pages for written from now on.
                state.sync_fails = None;
                return Err(kind.into());
            }
            Some((good, _)) => *good -= 1,
            None => {}
        }
        state.take(self.1, Step::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let offset = usize::try_from(offset).unwrap();
        let written = state.place(self.1, offset, bytes.len());
        state.take(self.1, Step::Write(offset, bytes[..written].to_vec()));
        if written < bytes.len() { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}
