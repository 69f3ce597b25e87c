//! The plugin `fjall` and its settings.

use std::{ops::RangeInclusive, path::Path, sync::Arc};

use quorate::{
    Settings, Storage,
    plugin::{Descriptor, SetupError, StoragePlugin},
};
use serde::Deserialize;

use crate::store::FjallStore;

/// Bytes of `cache_bytes`.
pub const CACHE_BYTES: RangeInclusive<u64> = (1 << 20)..=(1 << 36);

/// `cache_bytes` where none is set: 8 MiB, as with `redb`. Memtables, of 16 MiB, come on top.
pub const CACHE_BYTES_DEFAULT: u64 = 8 << 20;

/// The node's `[storage]` table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FjallSettings {
    #[serde(default = "cache_bytes_default")]
    cache_bytes: u64,
}

fn cache_bytes_default() -> u64 {
    CACHE_BYTES_DEFAULT
}

impl FjallSettings {
    fn read(settings: &Settings) -> Result<Self, SetupError> {
        let read: Self = settings.parse()?;
        if CACHE_BYTES.contains(&read.cache_bytes) {
            return Ok(read);
        }
        let (least, most) = (CACHE_BYTES.start(), CACHE_BYTES.end());
        let message = format!("cache_bytes is {}; it must be {least} to {most}", read.cache_bytes);
        Err(vec![settings.error("cache_bytes", message)].into())
    }
}

/// A folder of fjall in the data directory.
#[derive(Debug, Clone, Copy, Default)]
pub struct FjallPlugin;

impl StoragePlugin for FjallPlugin {
    fn descriptor(&self) -> Descriptor {
        let summary = "a log-structured merge tree of fjall, durable when a commit returns";
        Descriptor::new("fjall", env!("CARGO_PKG_VERSION"), summary).with_example(
            "\
# Memory for blocks of the tables, in bytes, 1048576 (1 MiB) to 68719476736 (64 GiB). Default 8388608 (8 MiB).
cache_bytes = 8388608
",
        )
    }

    fn check(&self, settings: &Settings) -> Result<(), SetupError> {
        FjallSettings::read(settings).map(drop)
    }

    fn open(&self, settings: &Settings, directory: &Path) -> Result<Arc<dyn Storage>, SetupError> {
        let FjallSettings { cache_bytes } = FjallSettings::read(settings)?;
        Ok(Arc::new(FjallStore::open(directory, cache_bytes)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_parses_to_the_defaults() {
        let example = FjallSettings::read(&Settings::from_text(FjallPlugin.descriptor().example)).unwrap();
        let empty = FjallSettings::read(&Settings::from_text("")).unwrap();
        assert_eq!(example.cache_bytes, empty.cache_bytes);
    }

    #[test]
    fn a_cache_out_of_range_is_refused_at_its_place() {
        for bytes in ["0", "1048575", "68719476737"] {
            let error = FjallPlugin.check(&Settings::from_text(&format!("cache_bytes = {bytes}"))).unwrap_err();
            let SetupError::Settings(errors) = error else { panic!("{error}") };
            assert_eq!((errors[0].line, errors[0].column), (1, 15));
            assert!(errors[0].message.contains("must be 1048576 to 68719476736"), "{}", errors[0]);
        }
        assert!(FjallPlugin.check(&Settings::from_text("cache_byte = 1")).is_err());
    }
}
