//! What commits and the flusher share: the rows in memory, and the thread that puts them into the tree while others come.
//!
//! ```text
//!  commit --rows--> newest --freeze, at half of a journal file--> frozen --flush--> tree
//!                     ^                                              ^                ^
//!                     +----------------------- a view ---------------+----------------+
//! ```

use std::{
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    thread::{self, JoinHandle},
};

use quorate::storage::{Batch, StorageError};
use redb::Database;

use crate::{
    failure::{Contained, from_io, guarded},
    journal::Generations,
    medium::Staged,
    tree,
    view::{Rows, Tree, View, apply},
};

/// An open tree, and what is committed and not in it.
pub(crate) struct Shared {
    pub(crate) database: Contained<Database>,
    pub(crate) medium: Staged,
    /// Why nothing works any more, after a failed commit or flush.
    failure: OnceLock<String>,
    state: Mutex<State>,
    /// Frozen rows are there, they are in the tree, or all is over.
    changed: Condvar,
}

struct State {
    view: View,
    step: Step,
    /// Why a flush failed, until a commit tells it.
    flush_error: Option<StorageError>,
}

/// How far the flusher is.
#[derive(Clone, Copy)]
enum Step {
    /// Nothing is frozen. The salt is of the journal's frames after the present ones, as the tree has it.
    Idle { next_salt: u64 },
    /// Frozen rows go into the tree; the journal has `salt` since, from frame `number` on.
    Flushing { salt: u64, number: u64 },
    /// The store is dropped.
    Closing,
}

impl Shared {
    /// Of a tree which has everything, and which names `journal`.
    pub(crate) fn new(
        database: Contained<Database>,
        medium: Staged,
        journal: Generations,
    ) -> Result<Self, StorageError> {
        let [_, next_salt] = journal.salts;
        let tree = Tree::new(database.get()?)?;
        Ok(Self {
            database,
            medium,
            failure: OnceLock::new(),
            state: Mutex::new(State {
                view: View { newest: Rows::new(), frozen: Rows::new(), tree },
                step: Step::Idle { next_salt },
                flush_error: None,
            }),
            changed: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn not_failed(&self) -> Result<(), StorageError> {
        match self.failure.get() {
            Some(why) => Err(StorageError::Poisoned(why.clone())),
            None => Ok(()),
        }
    }

    /// Nothing works from now on, for `error`, which the caller tells. Only the first failure is kept.
    pub(crate) fn fail(&self, error: &StorageError) {
        let mut state = self.lock();
        drop(self.failure.set(error.to_string()));
        state.flush_error = None;
    }

    /// The error of a flush, once.
    pub(crate) fn flush_error(&self) -> Result<(), StorageError> {
        self.lock().flush_error.take().map_or(Ok(()), Err)
    }

    /// What was committed last.
    pub(crate) fn view(&self) -> View {
        self.lock().view.clone()
    }

    /// Lets everybody see `batch`, which is durable. Called by one commit at a time.
    pub(crate) fn publish(&self, batch: &Batch) {
        // While rows are put into a copy, nobody waits for the lock.
        let mut newest = self.lock().view.newest.clone();
        apply(&mut newest, batch);
        let before = mem::replace(&mut self.lock().view.newest, newest);
        drop(before);
    }

    /// Freezes what was committed, if what was frozen before is in the tree, and lets the flusher begin. Gives the salt of the journal's next frame,
    /// whose number is `number`.
    pub(crate) fn freeze(&self, number: u64) -> Option<u64> {
        let mut state = self.lock();
        let Step::Idle { next_salt: salt } = state.step else { return None };
        state.view.frozen = mem::take(&mut state.view.newest);
        state.step = Step::Flushing { salt, number };
        self.changed.notify_all();
        Some(salt)
    }

    /// Waits until nothing is frozen.
    ///
    /// # Errors
    ///
    /// That of the flush.
    pub(crate) fn flushed(&self) -> Result<(), StorageError> {
        let busy = |state: &mut State| matches!(state.step, Step::Flushing { .. }) && self.failure.get().is_none();
        let mut state = self.changed.wait_while(self.lock(), busy).unwrap_or_else(PoisonError::into_inner);
        state.flush_error.take().map_or_else(|| self.not_failed(), Err)
    }

    /// Whether something is committed that is not in the tree.
    pub(crate) fn has_rows(&self) -> bool {
        let state = self.lock();
        !state.view.newest.is_empty() || !state.view.frozen.is_empty()
    }

    /// Puts everything that was committed, and `batch`, into the tree, after which those frames of the journal count that `journal` says. Nothing is
    /// being put there, and the caller is the only one that commits.
    pub(crate) fn write_through(&self, batch: &Batch, journal: Generations) -> Result<(), StorageError> {
        let View { newest, frozen: mut rows, .. } = self.view();
        // Some are frozen if the flusher was told to end before it began.
        for (key, value) in &newest {
            rows.insert(key.clone(), value.clone());
        }
        apply(&mut rows, batch);
        let tree = self.settle(&rows, journal)?;
        let [_, next_salt] = journal.salts;
        let mut state = self.lock();
        let before = mem::replace(&mut state.view, View { newest: Rows::new(), frozen: Rows::new(), tree });
        if !matches!(state.step, Step::Closing) {
            state.step = Step::Idle { next_salt };
        }
        drop(state);
        drop(before);
        Ok(())
    }

    fn settle(&self, rows: &Rows, journal: Generations) -> Result<Arc<Tree>, StorageError> {
        let database = self.database.get()?;
        tree::write(database, rows, journal)?;
        Tree::new(database)
    }

    /// Puts frozen rows into the tree.
    fn flush(&self, rows: &Rows, salt: u64, number: u64) -> Result<(), StorageError> {
        let journal = Generations::after(salt, number)?;
        let tree = self.settle(rows, journal)?;
        let [_, next_salt] = journal.salts;
        let mut state = self.lock();
        let before = (mem::take(&mut state.view.frozen), mem::replace(&mut state.view.tree, tree));
        if !matches!(state.step, Step::Closing) {
            state.step = Step::Idle { next_salt };
        }
        drop(state);
        self.changed.notify_all();
        drop(before);
        Ok(())
    }

    /// What the flusher's thread does, until the store is dropped or a flush fails.
    fn run(&self) {
        loop {
            let idle = |state: &mut State| matches!(state.step, Step::Idle { .. });
            let state = self.changed.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
            let Step::Flushing { salt, number } = state.step else { return };
            let rows = state.view.frozen.clone();
            drop(state);
            if let Err(error) = guarded("flush", || self.flush(&rows, salt, number)) {
                let mut state = self.lock();
                // The next commit tells it, unless one has failed already.
                if self.failure.set(error.to_string()).is_ok() {
                    state.flush_error = Some(error);
                }
                drop(state);
                self.changed.notify_all();
                return;
            }
        }
    }
}

/// The thread that puts frozen rows into the tree.
pub(crate) struct Flusher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Flusher {
    pub(crate) fn start(shared: Arc<Shared>) -> Result<Self, StorageError> {
        let flushes = shared.clone();
        let thread = thread::Builder::new().name("redb-flush".into()).spawn(move || flushes.run());
        let thread = thread.map_err(|error| from_io("start a thread", error))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Waits until it has nothing to do.
    #[cfg(test)]
    pub(crate) fn wait(&self) {
        let ended = || self.thread.as_ref().is_none_or(JoinHandle::is_finished);
        while matches!(self.shared.lock().step, Step::Flushing { .. }) && !ended() {
            thread::yield_now();
        }
    }

    /// Ends the thread, after the flush that it is at.
    pub(crate) fn stop(&mut self) {
        self.shared.lock().step = Step::Closing;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It contains its panics.
            drop(thread.join());
        }
    }
}
