//! A store in a library, used like a bundled one.
#![expect(unsafe_code, reason = "calls a library's functions")]

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use quorate::{
    Settings, Storage,
    plugin::{Descriptor, SetupError, StoragePlugin},
    storage::{Batch, Snapshot, StorageError},
};

use super::{
    call::{Answers, Fault, OPEN_WAIT, Origin, SETUP_WAIT, Unanswered, ask, ask_for},
    object::Object,
    setup::set_up,
};
use crate::{
    raw::{QUORATE_DECODE, QuorateBytes, QuorateSink, QuorateStorage, QuorateWrite},
    wire::{self, storage::StorageFailure},
};

/// A store of a library.
pub(super) struct LibraryStorage {
    pub(super) origin: Arc<Origin>,
    pub(super) descriptor: Descriptor,
    pub(super) functions: &'static QuorateStorage,
}

impl StoragePlugin for LibraryStorage {
    fn descriptor(&self) -> Descriptor {
        self.descriptor.clone()
    }

    fn check(&self, settings: &Settings) -> Result<(), SetupError> {
        let (settings, check) = (wire::encode(settings), self.functions.check);
        let checked = set_up(&self.origin, "check", SETUP_WAIT, move || {
            ask("check", |sink| {
                // SAFETY: the library's own function, and arguments which live during the call.
                check.map_or(QUORATE_DECODE, |check| unsafe { check(QuorateBytes::of(&settings), sink) })
            })
        });
        checked.map(drop)
    }

    fn open(&self, settings: &Settings, directory: &Path) -> Result<Arc<dyn Storage>, SetupError> {
        let Some(directory) = directory.to_str().map(str::to_owned) else {
            let message = format!("data_dir {} is not UTF-8, as a plugin in a library needs", directory.display());
            return Err(SetupError::Other(message));
        };
        let (settings, functions) = (wire::encode(settings), self.functions);
        let origin = Arc::clone(&self.origin);
        let object = set_up(&self.origin, "open", OPEN_WAIT, move || {
            let (settings, directory) = (QuorateBytes::of(&settings), QuorateBytes::of(directory.as_bytes()));
            Object::make(&origin, "open", functions.destroy, &|to, sink| {
                // SAFETY: the library's own function, and arguments which live during the call.
                functions.open.map_or(QUORATE_DECODE, |open| unsafe { open(settings, directory, to, sink) })
            })
        })?;
        Ok(Arc::new(Store(Arc::new(Opened { object, functions }))))
    }
}

/// An open store, kept by its snapshots too.
struct Opened {
    object: Object,
    functions: &'static QuorateStorage,
}

impl Opened {
    /// Refuses when the store failed before.
    fn usable(&self) -> Result<(), StorageError> {
        self.object.poisoned().map_or(Ok(()), |why| Err(StorageError::Plugin(why)))
    }

    fn failed(&self, fault: Fault) -> StorageError {
        let why = self.object.sentence(&fault);
        self.object.poison(fault);
        StorageError::Plugin(why)
    }

    fn answered<T>(&self, call: &'static str, result: Result<T, Unanswered>) -> Result<T, StorageError> {
        result.map_err(|unanswered| match unanswered {
            Unanswered::Error(bytes) => match wire::decode::<StorageFailure>("StorageError", &bytes) {
                Ok(failure) => failure.into(),
                Err(error) => self.failed(Fault::wire(call, &error)),
            },
            Unanswered::Fault(fault) => self.failed(fault),
        })
    }
}

struct Store(Arc<Opened>);

impl Storage for Store {
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StorageError> {
        self.0.usable()?;
        let functions = self.0.functions;
        let store = self.0.object.pointer();
        let made = Object::make(self.0.object.origin(), "snapshot", functions.snapshot_destroy, &|to, sink| {
            // SAFETY: the library's own function and object, and arguments which live during the call.
            functions.snapshot.map_or(QUORATE_DECODE, |snapshot| unsafe { snapshot(store, to, sink) })
        });
        let object = Some(self.0.answered("snapshot", made)?);
        Ok(Box::new(View { object, store: Arc::clone(&self.0) }))
    }

    fn commit(&self, batch: Batch) -> Result<(), StorageError> {
        self.0.usable()?;
        let lent = |bytes: &Bytes| QuorateBytes::of(bytes);
        let write = |(key, value): &(Bytes, Option<Bytes>)| QuorateWrite {
            key: lent(key),
            value: value.as_ref().map_or(QuorateBytes::EMPTY, lent),
            removes: u32::from(value.is_none()),
        };
        let writes: Vec<QuorateWrite> = batch.writes().iter().map(write).collect();
        let store = self.0.object.pointer();
        let done = ask("commit", |sink| {
            let commit = self.0.functions.commit;
            // SAFETY: the library's own function and object, and arguments which live during the call.
            commit.map_or(QUORATE_DECODE, |commit| unsafe { commit(store, writes.as_ptr(), writes.len(), sink) })
        });
        self.0.answered("commit", done).map(drop)
    }
}

/// A snapshot; it ends before its store.
struct View {
    object: Option<Object>,
    store: Arc<Opened>,
}

impl View {
    fn ask(
        &self,
        call: &'static str,
        answers_max: usize,
        make: impl FnOnce(*mut std::ffi::c_void, *const QuorateSink) -> Option<i32>,
    ) -> Result<Answers, StorageError> {
        self.store.usable()?;
        let Some(object) = &self.object else { return Err(StorageError::Plugin("no snapshot".into())) };
        let pointer = object.pointer();
        let answers = ask_for(answers_max, call, |sink| make(pointer, sink).unwrap_or(QUORATE_DECODE));
        self.store.answered(call, answers)
    }
}

impl Snapshot for View {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let key = QuorateBytes::of(key);
        let found = self.ask("get", 1, |view, sink| {
            // SAFETY: the library's own function and object, and arguments which live during the call.
            self.store.functions.get.map(|get| unsafe { get(view, key, sink) })
        })?;
        Ok(found.into_iter().next().map(|(_, value)| value))
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        let (from, to) = (QuorateBytes::of(from), QuorateBytes::of(to));
        self.ask("scan", limit, |view, sink| {
            // SAFETY: the library's own function and object, and arguments which live during the call.
            self.store.functions.scan.map(|scan| unsafe { scan(view, from, to, limit as u64, sink) })
        })
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            object.end_here();
        }
    }
}
