//! A store in memory that fails where it is told to.

use std::{path::Path, sync::Arc};

use quorate::{
    Settings, Storage,
    plugin::{Descriptor, SetupError, StoragePlugin},
    storage::{Batch, Snapshot, StorageError},
};
use quorate_testkit::memory::MemoryStoragePlugin;

use crate::{EXAMPLE, Faults, SCHEMA};

/// The testkit's store, with faults.
#[derive(Debug, Clone, Copy, Default)]
pub struct FaultyStorage;

struct Store {
    faults: Faults,
    inner: Arc<dyn Storage>,
}

impl Storage for Store {
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StorageError> {
        self.faults.at("snapshot");
        self.inner.snapshot()
    }

    fn commit(&self, batch: Batch) -> Result<(), StorageError> {
        self.faults.at("commit");
        if self.faults.fault == "has no room" {
            return Err(StorageError::Io { action: "write", source: std::io::Error::from_raw_os_error(28) });
        }
        self.inner.commit(batch)
    }
}

impl StoragePlugin for FaultyStorage {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new("faulty", "1.2.3", "forgets").with_example(EXAMPLE).with_schema(SCHEMA)
    }

    fn check(&self, settings: &Settings) -> Result<(), SetupError> {
        Faults::read(settings)?.at("check");
        Ok(())
    }

    fn open(&self, settings: &Settings, directory: &Path) -> Result<Arc<dyn Storage>, SetupError> {
        let faults = Faults::read(settings)?;
        faults.at("open");
        if faults.fault == "is locked" {
            return Err(StorageError::Locked(directory.display().to_string()).into());
        }
        let inner = MemoryStoragePlugin::new().open(&Settings::from_text(""), directory)?;
        Ok(Arc::new(Store { faults, inner }))
    }
}
