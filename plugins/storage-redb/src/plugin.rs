//! The plugin `redb` and its settings.

use std::{ops::RangeInclusive, path::Path, sync::Arc};

use quorate::{
    Settings, Storage,
    plugin::{Descriptor, SetupError, StoragePlugin},
};
use serde::Deserialize;

use crate::{opening::Options, store::RedbStore};

/// Bytes of `cache_bytes`: below, commits write pages twice; above, the operating system caches the file anyway.
pub const CACHE_BYTES: RangeInclusive<u64> = (1 << 20)..=(1 << 36);

/// `cache_bytes` where none is set: 8 MiB. Commits are as fast as with more, since they wait for the disk; redb's own default is
/// 1 GiB.
pub const CACHE_BYTES_DEFAULT: u64 = 8 << 20;

/// `check_bytes_max` where none is set: 64 MiB, which are read in about a tenth of a second.
pub const CHECK_BYTES_MAX_DEFAULT: u64 = 64 << 20;

/// Bytes of `journal_bytes`: below, the tree is made durable for most blocks; above, a start after a kill takes long.
pub const JOURNAL_BYTES: RangeInclusive<u64> = (64 << 10)..=(1 << 30);

/// `journal_bytes` where none is set: 8 MiB. A quarter of it is in memory most of the time and goes into the tree at once; all of it, when the disk
/// is slower than the network for some time.
pub const JOURNAL_BYTES_DEFAULT: u64 = 8 << 20;

/// The node's `[storage]` table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RedbSettings {
    #[serde(default = "cache_bytes_default")]
    cache_bytes: u64,
    #[serde(default = "check_bytes_max_default")]
    check_bytes_max: u64,
    #[serde(default = "journal_bytes_default")]
    journal_bytes: u64,
    #[serde(default)]
    compact_at_start: bool,
}

fn cache_bytes_default() -> u64 {
    CACHE_BYTES_DEFAULT
}

fn check_bytes_max_default() -> u64 {
    CHECK_BYTES_MAX_DEFAULT
}

fn journal_bytes_default() -> u64 {
    JOURNAL_BYTES_DEFAULT
}

impl RedbSettings {
    fn read(settings: &Settings) -> Result<Options, SetupError> {
        let read: Self = settings.parse()?;
        let mut errors = Vec::new();
        for (key, value, range) in
            [("cache_bytes", read.cache_bytes, CACHE_BYTES), ("journal_bytes", read.journal_bytes, JOURNAL_BYTES)]
        {
            if !range.contains(&value) {
                let message = format!("{key} is {value}; it must be {} to {}", range.start(), range.end());
                errors.push(settings.error(key, message));
            }
        }
        if !errors.is_empty() {
            return Err(errors.into());
        }
        Ok(Options {
            // What is more than a pointer's range is more than there can be.
            cache_bytes: usize::try_from(read.cache_bytes).unwrap_or(usize::MAX),
            check_bytes_max: read.check_bytes_max,
            journal_bytes: read.journal_bytes,
            compact_at_start: read.compact_at_start,
        })
    }
}

/// A redb file and a journal of two files in the data directory.
#[derive(Debug, Clone, Copy, Default)]
pub struct RedbPlugin;

impl StoragePlugin for RedbPlugin {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new("redb", env!("CARGO_PKG_VERSION"), "a redb file and a journal, durable when a commit returns").with_example("\
# Memory for pages of the file, in bytes, 1048576 (1 MiB) to 68719476736 (64 GiB). Default 8388608 (8 MiB).
cache_bytes = 8388608
# A file of up to so many bytes is read whole at start and every page's checksum verified; of a larger one damage is found when it
# is read. 0: never. Default 67108864 (64 MiB).
check_bytes_max = 67108864
# The journal, from which a killed process puts what was committed last into the tree when it starts: bytes at most, 65536 (64 KiB) to
# 1073741824 (1 GiB). What it has is in memory too. When a quarter of it is full, that goes into the tree while the next quarters fill; so more
# of it means fewer writes for a block, more memory, and a longer start after a kill. Default 8388608 (8 MiB).
journal_bytes = 8388608
# Whether the file is made as small as it can be at each start, before the node does anything else; room that blocks left which were removed
# is used again without it. Default false.
compact_at_start = false
")
    }

    fn check(&self, settings: &Settings) -> Result<(), SetupError> {
        RedbSettings::read(settings).map(drop)
    }

    fn open(&self, settings: &Settings, directory: &Path) -> Result<Arc<dyn Storage>, SetupError> {
        let options = RedbSettings::read(settings)?;
        Ok(Arc::new(RedbStore::open(directory, options)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_parses_to_the_defaults() {
        let example = RedbSettings::read(&Settings::from_text(RedbPlugin.descriptor().example)).unwrap();
        let empty = RedbSettings::read(&Settings::from_text("")).unwrap();
        assert_eq!(example, empty);
    }

    #[test]
    fn a_cache_out_of_range_is_refused_at_its_place() {
        for bytes in ["0", "65535", "1073741825"] {
            let error = RedbPlugin.check(&Settings::from_text(&format!("journal_bytes = {bytes}"))).unwrap_err();
            assert!(error.to_string().contains("must be 65536 to 1073741824"), "{error}");
        }
        for bytes in ["0", "1048575", "68719476737"] {
            let error = RedbPlugin.check(&Settings::from_text(&format!("cache_bytes = {bytes}"))).unwrap_err();
            let SetupError::Settings(errors) = error else { panic!("{error}") };
            assert_eq!((errors[0].line, errors[0].column), (1, 15));
            assert!(errors[0].message.contains("must be 1048576 to 68719476736"), "{}", errors[0]);
        }
        assert!(RedbPlugin.check(&Settings::from_text("cache_byte = 1")).is_err());
    }
}
