//! An application's state in memory: what its tests execute blocks on.

use std::{
    collections::{BTreeMap, btree_map},
    ops::Bound,
};

use bytes::Bytes;
use quorate::{
    Application,
    application::{StateRead, StateWrite},
    storage::StorageError,
};

/// A state in memory. Two are equal when they hold the same pairs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryState(BTreeMap<Bytes, Bytes>);

impl MemoryState {
    /// An empty state.
    pub fn new() -> Self {
        Self::default()
    }

    /// The state before block 1.
    ///
    /// # Errors
    ///
    /// What the application says.
    pub fn genesis(application: &(impl Application + ?Sized)) -> Result<Self, StorageError> {
        let mut state = Self::new();
        application.genesis(&mut state)?;
        Ok(state)
    }

    /// All pairs, in ascending order.
    pub fn iter(&self) -> btree_map::Iter<'_, Bytes, Bytes> {
        self.0.iter()
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> IntoIterator for &'a MemoryState {
    type Item = (&'a Bytes, &'a Bytes);
    type IntoIter = btree_map::Iter<'a, Bytes, Bytes>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl StateRead for MemoryState {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let within = self.0.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)));
        Ok(within.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
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
