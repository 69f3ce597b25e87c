//! A store as functions.
#![expect(unsafe_code, reason = "functions which a node calls with pointers")]

use std::{ffi::c_void, marker::PhantomData, path::Path, sync::Arc};

use bytes::Bytes;
use quorate::{
    Settings, Storage,
    plugin::{SetupError, StoragePlugin},
    storage::{Batch, Snapshot, StorageError},
};

use super::{
    Exported,
    call::{Refusal, end, frame, give, shared},
    describe,
};
use crate::{
    ffi::{self, Out},
    raw::{
        QUORATE_SLOT_STORAGE, QuorateBytes, QuorateDescription, QuoratePlugin, QuorateSink, QuorateStorage,
        QuorateWrite,
    },
    wire::{self, setup::SetupFailure, storage::StorageFailure},
};

/// Declares a store.
pub const fn storage<E: Exported<dyn StoragePlugin>>() -> QuoratePlugin {
    QuoratePlugin {
        slot: QUORATE_SLOT_STORAGE,
        flags: 0,
        describe: Some(Shim::<E>::describe),
        functions: std::ptr::from_ref(Shim::<E>::FUNCTIONS).cast(),
    }
}

type Store = Arc<dyn Storage>;
type View = Box<dyn Snapshot>;

struct Shim<E>(PhantomData<E>);

fn unmade(error: SetupError) -> Refusal {
    Refusal::error(&SetupFailure::from(error))
}

fn failed(error: StorageError) -> Refusal {
    Refusal::error(&StorageFailure::from(&error))
}

impl<E: Exported<dyn StoragePlugin>> Shim<E> {
    const FUNCTIONS: &'static QuorateStorage = &QuorateStorage {
        size: size_of::<QuorateStorage>() as u32,
        check: Some(Self::check),
        open: Some(Self::open),
        snapshot: Some(Self::snapshot),
        commit: Some(Self::commit),
        destroy: Some(Self::destroy),
        get: Some(Self::get),
        scan: Some(Self::scan),
        snapshot_destroy: Some(Self::snapshot_destroy),
    };

    fn name() -> &'static str {
        E::plugin().descriptor().name
    }

    unsafe extern "C" fn describe(to: *mut QuorateDescription, sink: *const QuorateSink) -> i32 {
        // SAFETY: the node promises that the description is valid.
        let body = |_: Out<'_>| unsafe { describe::fill(&E::plugin().descriptor(), 0, to) };
        // SAFETY: the node promises that the sink is valid.
        unsafe { frame(Self::name, sink, body) }
    }

    unsafe extern "C" fn check(settings: QuorateBytes, sink: *const QuorateSink) -> i32 {
        let body = |_: Out<'_>| {
            // SAFETY: the node promises that the bytes are valid.
            let settings: Settings = wire::decode("Settings", unsafe { settings.as_slice() })?;
            E::plugin().check(&settings).map_err(unmade)
        };
        // SAFETY: the node promises that the sink is valid.
        unsafe { frame(Self::name, sink, body) }
    }

    unsafe extern "C" fn open(
        settings: QuorateBytes,
        directory: QuorateBytes,
        to: *mut *mut c_void,
        sink: *const QuorateSink,
    ) -> i32 {
        let body = |_: Out<'_>| {
            // SAFETY: the node promises that the bytes are valid.
            let settings: Settings = wire::decode("Settings", unsafe { settings.as_slice() })?;
            // SAFETY: as above.
            let directory = std::str::from_utf8(unsafe { directory.as_slice() })
                .map_err(|error| Refusal::Arguments(format!("the directory: {error}")))?;
            let store: Store = E::plugin().open(&settings, Path::new(directory)).map_err(unmade)?;
            // SAFETY: the node promises that there is room for a pointer.
            unsafe { give(store, to) }
        };
        // SAFETY: the node promises that the sink is valid.
        unsafe { frame(Self::name, sink, body) }
    }

    unsafe extern "C" fn snapshot(store: *mut c_void, to: *mut *mut c_void, sink: *const QuorateSink) -> i32 {
        let body = |_: Out<'_>| {
            // SAFETY: the node promises that the store is live.
            let store: &Store = unsafe { shared(store) }?;
            let view: View = store.snapshot().map_err(failed)?;
            // SAFETY: the node promises that there is room for a pointer.
            unsafe { give(view, to) }
        };
        // SAFETY: the node promises that the sink is valid.
        unsafe { frame(Self::name, sink, body) }
    }

    unsafe extern "C" fn commit(
        store: *mut c_void,
        writes: *const QuorateWrite,
        writes_len: usize,
        sink: *const QuorateSink,
    ) -> i32 {
        let body = |_: Out<'_>| {
            // SAFETY: the node promises that the store is live.
            let store: &Store = unsafe { shared(store) }?;
            // SAFETY: the node promises that the list is valid.
            let writes = unsafe { ffi::list(writes, writes_len) };
            let mut batch = Batch::new();
            for write in writes {
                // SAFETY: the node promises that the bytes are valid.
                let key = Bytes::copy_from_slice(unsafe { write.key.as_slice() });
                if write.removes == 0 {
                    // SAFETY: as above.
                    batch.put(key, Bytes::copy_from_slice(unsafe { write.value.as_slice() }));
                } else {
                    batch.delete(key);
                }
            }
            store.commit(batch).map_err(failed)
        };
        // SAFETY: the node promises that the sink is valid.
        unsafe { frame(Self::name, sink, body) }
    }

    unsafe extern "C" fn destroy(store: *mut c_void) {
        // SAFETY: the node promises that it came from `open` and is not used again.
        unsafe { end::<Store>(Self::name, store) }
    }

    unsafe extern "C" fn get(snapshot: *mut c_void, key: QuorateBytes, sink: *const QuorateSink) -> i32 {
        let body = |out: Out<'_>| {
            // SAFETY: the node promises that the snapshot is live.
            let view: &View = unsafe { shared(snapshot) }?;
            // SAFETY: the node promises that the bytes are valid.
            if let Some(value) = view.get(unsafe { key.as_slice() }).map_err(failed)? {
                out.put(&[], &value);
            }
            Ok(())
        };
        // SAFETY: the node promises that the sink is valid.
        unsafe { frame(Self::name, sink, body) }
    }

    unsafe extern "C" fn scan(
        snapshot: *mut c_void,
        from: QuorateBytes,
        to: QuorateBytes,
        limit: u64,
        sink: *const QuorateSink,
    ) -> i32 {
        let body = |out: Out<'_>| {
            // SAFETY: the node promises that the snapshot is live.
            let view: &View = unsafe { shared(snapshot) }?;
            // SAFETY: the node promises that the bytes are valid.
            let from = unsafe { from.as_slice() };
            // SAFETY: as above.
            let to = unsafe { to.as_slice() };
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            for (key, value) in view.scan(from, to, limit).map_err(failed)? {
                out.put(&key, &value);
            }
            Ok(())
        };
        // SAFETY: the node promises that the sink is valid.
        unsafe { frame(Self::name, sink, body) }
    }

    unsafe extern "C" fn snapshot_destroy(snapshot: *mut c_void) {
        // SAFETY: the node promises that it came from `snapshot` and is not used again.
        unsafe { end::<View>(Self::name, snapshot) }
    }
}
