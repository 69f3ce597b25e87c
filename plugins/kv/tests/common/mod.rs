//! A state in memory, and blocks to execute.

use std::{borrow::Cow, collections::BTreeMap};

use quorate::{
    Application, Bytes, ChainId, Height, Timestamp,
    application::{BlockContext, ExecuteError, Mode, Outcome, StateRead, StateWrite},
    storage::StorageError,
};
use quorate_kv::Kv;

pub(crate) const CHAIN: ChainId = ChainId::new([9; 32]);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct State(pub(crate) BTreeMap<Bytes, Bytes>);

impl State {
    /// The state before block 1.
    pub(crate) fn genesis(kv: &Kv) -> Self {
        let mut state = Self::default();
        kv.genesis(&mut state).unwrap();
        state
    }
}

impl StateRead for State {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        let within = self.0.iter().filter(|(key, _)| &key[..] >= from && &key[..] < to);
        Ok(within.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

impl StateWrite for State {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.0.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
    }

    fn delete(&mut self, key: &[u8]) {
        self.0.remove(key);
    }
}

pub(crate) fn execute(
    kv: &Kv,
    state: &mut State,
    height: u64,
    mode: Mode,
    transactions: &[Bytes],
) -> Result<Outcome, ExecuteError> {
    let block = BlockContext {
        chain_id: CHAIN,
        height: Height(height),
        time: Timestamp(1_000 * height),
        mode,
        transactions: Cow::Borrowed(transactions),
        misbehaviour: &[],
    };
    kv.execute(state, &block)
}
