//! Storage: one redb file.
//!
//! Bytes and assumptions about the medium are in `FORMAT.md`.

mod create;
mod store;

use std::{path::Path, sync::Arc};

use quorate::{
    Settings, Storage,
    plugin::{Descriptor, SetupError, StoragePlugin},
};
use serde::Deserialize;

/// Bytes of pages that redb keeps in memory, unless set.
pub const CACHE_BYTES_DEFAULT: usize = 4 << 20;

/// The range of `cache_bytes`.
pub const CACHE_BYTES_RANGE: std::ops::RangeInclusive<usize> = (1 << 20)..=(64 << 30);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Table {
    cache_bytes: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self { cache_bytes: CACHE_BYTES_DEFAULT }
    }
}

/// The plugin `redb`.
#[derive(Debug, Clone, Copy, Default)]
pub struct RedbPlugin;

fn cache_bytes(settings: &Settings) -> Result<usize, SetupError> {
    let table: Table = settings.parse()?;
    if !CACHE_BYTES_RANGE.contains(&table.cache_bytes) {
        let (low, high) = CACHE_BYTES_RANGE.into_inner();
        let message = format!("cache_bytes is {}; it must be {low} to {high}", table.cache_bytes);
        return Err(vec![settings.error("cache_bytes", message)].into());
    }
    Ok(table.cache_bytes)
}

impl StoragePlugin for RedbPlugin {
    fn descriptor(&self) -> Descriptor {
        Descriptor {
            name: "redb",
            version: env!("CARGO_PKG_VERSION"),
            summary: "one redb file; one durable batch a block",
            example: "# Bytes of pages kept in memory.\ncache_bytes = 4194304\n",
        }
    }

    fn check(&self, settings: &Settings) -> Result<(), SetupError> {
        cache_bytes(settings).map(drop)
    }

    fn open(&self, settings: &Settings, directory: &Path) -> Result<Arc<dyn Storage>, SetupError> {
        Ok(Arc::new(create::open(directory, cache_bytes(settings)?)?))
    }
}
