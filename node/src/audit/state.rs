//! The application's state during an audit: an ordered map in memory.

use std::{collections::BTreeMap, ops::Bound};

use quorate::{
    Bytes,
    application::{StateRead, StateWrite},
    storage::StorageError,
};

/// Keys and values of the application, nothing else.
#[derive(Debug, Clone, Default)]
pub struct MemoryState(BTreeMap<Bytes, Bytes>);

impl StateRead for MemoryState {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let range = self.0.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)));
        Ok(range.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

impl StateWrite for MemoryState {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.0.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
    }

    fn delete(&mut self, key: &[u8]) {
        self.0.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_is_ordered_bounded_and_excludes_its_end() {
        let mut state = MemoryState::default();
        for key in [b"c", b"a", b"b", b"d"] {
            state.put(key, b"v");
        }
        state.delete(b"b");
        let keys = |from: &[u8], to: &[u8], limit| -> Vec<Bytes> {
            state.scan(from, to, limit).unwrap().into_iter().map(|(key, _)| key).collect()
        };
        assert_eq!(keys(b"a", b"d", 9), ["a", "c"]);
        assert_eq!(keys(b"a", b"z", 1), ["a"]);
        assert!(keys(b"d", b"a", 9).is_empty());
    }
}
