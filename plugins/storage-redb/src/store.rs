//! The store: durable batches, and silence after a failure.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use quorate::storage::{Batch, KEY_BYTES_MAX, Snapshot, Storage, StorageError, VALUE_BYTES_MAX};
use redb::{StorageBackend, TableDefinition};

use crate::{
    failure::{Contained, from_io, guarded},
    flush::{Flusher, Shared},
    journal::{self, Generations, Journal},
    medium::FileMedium,
    opening::{self, Opened, Options},
    tree,
    view::{Rows, apply},
};

/// The format of the files that this version writes; it reads those before too. See `FORMAT.md`.
pub const FORMAT: u64 = 3;

/// The table which holds everything.
pub(crate) const CHAIN: TableDefinition<'static, &'static [u8], &'static [u8]> = TableDefinition::new("chain");

const ACTION: &str = "commit";

/// An open store.
pub(crate) struct RedbStore {
    shared: Arc<Shared>,
    /// Held by a commit, so that a second one waits for the first to succeed or fail.
    journal: Mutex<Journal>,
    flusher: Flusher,
}

impl RedbStore {
    /// Opens or makes the store in `directory`.
    pub(crate) fn open(directory: &Path, options: Options) -> Result<Self, StorageError> {
        let tree = FileMedium::owning(opening::locked_file(directory)?);
        let journal = |format| Ok(opening::journal_files(directory, format)?.map(FileMedium::borrowing));
        Self::on(tree, journal, options)
    }

    /// Opens the store with its tree on `tree`; `journal` gives the media of its journal, when the tree's format is known.
    pub(crate) fn on<J: StorageBackend>(
        tree: impl StorageBackend,
        journal: impl FnOnce(u64) -> Result<[J; 2], StorageError>,
        options: Options,
    ) -> Result<Self, StorageError> {
        let Opened { database, medium, found } = opening::accept(tree, options)?;
        let mut database = Contained::new(database);
        let media = journal(found.format)?.map(|medium| Box::new(medium) as Box<dyn StorageBackend>);
        let file_bytes_max = options.journal_bytes.div_ceil(journal::FILES.len() as u64);
        let (mut journal, batches) = Journal::open(media, &found.counting(), file_bytes_max)?;
        medium.release().map_err(|error| from_io("open chain.redb", error))?;
        let generations = match found.journal {
            Some(named) if batches.is_empty() => named,
            _ => {
                let drawn = Generations::drawn(journal.number())?;
                let mut rows = Rows::new();
                batches.iter().for_each(|batch| apply(&mut rows, batch));
                guarded("apply chain.journal", || tree::write(database.get()?, &rows, drawn))?;
                drawn
            }
        };
        journal.begin(generations);
        if options.compact_at_start {
            guarded("compact chain.redb", || tree::compact(database.get_mut()?, &medium))?;
        }
        let shared = Arc::new(Shared::new(database, medium, generations)?);
        Ok(Self { shared: shared.clone(), journal: Mutex::new(journal), flusher: Flusher::start(shared)? })
    }

    /// Waits until nothing is frozen.
    #[cfg(test)]
    pub(crate) fn quiet(&self) {
        self.flusher.wait();
    }

    fn lock(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends to the journal, and lets everybody see it.
    fn write_ahead(&self, journal: &mut Journal, batch: &Batch) -> Result<(), StorageError> {
        if !journal.has_room(batch) {
            // The flusher is behind by a whole file.
            self.shared.flushed()?;
            self.freeze(journal);
        }
        let batch = journal.append(batch)?;
        self.shared.publish(&batch);
        if journal.is_half_full() {
            self.freeze(journal);
        }
        Ok(())
    }

    /// Lets the flusher have what was committed, if it has nothing, and the journal go on in its other file.
    fn freeze(&self, journal: &mut Journal) {
        if let Some(salt) = self.shared.freeze(journal.number()) {
            journal.restart(salt);
        }
    }

    /// Puts everything into the tree, and the journal begins anew.
    fn write_through(&self, journal: &mut Journal, batch: &Batch) -> Result<(), StorageError> {
        self.shared.flushed()?;
        let syncs = self.shared.medium.syncs();
        let generations = Generations::drawn(journal.number())?;
        self.shared.write_through(batch, generations).map_err(|error| {
            // Nothing was written only if redb had not yet come to the fsync after which it names the new state.
            if self.shared.medium.syncs() == syncs { error } else { maybe_written(error) }
        })?;
        journal.begin(generations);
        Ok(())
    }
}

impl Drop for RedbStore {
    /// What the journal has is put into the tree, so that the next opening has nothing to do and the tree's file is whole alone.
    fn drop(&mut self) {
        self.flusher.stop();
        let mut journal = self.lock();
        if self.shared.not_failed().is_ok() && self.shared.has_rows() {
            // Nothing is lost if it fails: the journal stays.
            drop(guarded("close", || self.write_through(&mut journal, &Batch::new())));
        }
    }
}

impl Storage for RedbStore {
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StorageError> {
        self.shared.not_failed()?;
        Ok(Box::new(self.shared.view()))
    }

    fn commit(&self, batch: Batch) -> Result<(), StorageError> {
        let mut journal = self.lock();
        let written = match self.shared.flush_error() {
            Ok(()) => {
                self.shared.not_failed()?;
                check_lengths(&batch)?;
                if batch.is_empty() {
                    return Ok(());
                }
                guarded(ACTION, || {
                    if journal.is_too_large(&batch) {
                        self.write_through(&mut journal, &batch)
                    } else {
                        self.write_ahead(&mut journal, &batch)
                    }
                })
            }
            failed => failed,
        };
        written.map_err(|error| {
            self.shared.fail(&error);
            match error {
                // What is full may be the tree's file, which earlier batches go to; of this one nothing is there.
                StorageError::Full(_) => StorageError::Full(described(&batch)),
                other => other,
            }
        })
    }
}

/// `error`, without the promise that nothing was written.
fn maybe_written(error: StorageError) -> StorageError {
    match error {
        StorageError::Full(what) => {
            StorageError::Io { action: ACTION, source: io::Error::new(io::ErrorKind::StorageFull, what) }
        }
        other => other,
    }
}

fn described(batch: &Batch) -> String {
    let bytes: usize =
        batch.writes().iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, |v| v.len())).sum();
    format!("a batch of {} writes with {bytes} bytes", batch.writes().len())
}

fn check_lengths(batch: &Batch) -> Result<(), StorageError> {
    for (key, value) in batch.writes() {
        if key.is_empty() {
            return Err(StorageError::TooLong { what: "empty key", len: 0, limit: KEY_BYTES_MAX });
        }
        if key.len() > KEY_BYTES_MAX {
            return Err(StorageError::TooLong { what: "key", len: key.len(), limit: KEY_BYTES_MAX });
        }
        if let Some(value) = value
            && value.len() > VALUE_BYTES_MAX
        {
            return Err(StorageError::TooLong { what: "value", len: value.len(), limit: VALUE_BYTES_MAX });
        }
    }
    Ok(())
}
