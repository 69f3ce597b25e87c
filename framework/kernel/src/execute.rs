//! Executing a block on a view of the state, without changing it.

use std::{
    borrow::Cow,
    collections::{BTreeMap, btree_map::Entry},
};

use bytes::Bytes;
use quorate::{
    Application, ChainId, Height, Timestamp, ValidatorSet,
    application::{BlockContext, ExecuteError, Misbehaviour, Mode, Outcome, StateRead, StateWrite},
    storage::{Batch, Snapshot, StorageError},
};

use crate::{layout, packed::Packed};

/// The application's keys in a snapshot.
pub(crate) struct StateView<'a>(pub(crate) &'a dyn Snapshot);

impl StateRead for StateView<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        layout::with_state(key, |key| self.0.get(key))
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        let found = self.0.scan(&layout::state(from), &layout::state(to), limit)?;
        Ok(found.into_iter().map(|(key, value)| (key.slice(1..), value)).collect())
    }
}

/// Writes over a view.
pub(crate) struct Overlay<'a> {
    base: &'a dyn Snapshot,
    /// By the keys of the store.
    writes: BTreeMap<Bytes, Option<Bytes>>,
    packed: Packed,
}

impl<'a> Overlay<'a> {
    pub(crate) fn new(base: &'a dyn Snapshot) -> Self {
        Self { base, writes: BTreeMap::new(), packed: Packed::default() }
    }

    pub(crate) fn into_writes(self) -> Writes {
        Writes(self.writes)
    }

    /// What is written to a key last counts. A value that takes another's place has memory of its own: among the rows, which may stay for long,
    /// lies nothing that the next write would have dropped.
    fn write(&mut self, key: &[u8], value: Option<&[u8]>) {
        match self.writes.entry(self.packed.put([&[layout::STATE], key])) {
            Entry::Vacant(place) => drop(place.insert(value.map(|value| self.packed.put([value, &[]])))),
            Entry::Occupied(mut place) => drop(place.insert(value.map(Bytes::copy_from_slice))),
        }
    }
}

impl StateRead for Overlay<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        layout::with_state(key, |key| match self.writes.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.base.get(key),
        })
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        let (from, to) = (layout::state(from), layout::state(to));
        let found = scan_over(&self.writes, &from, &to, limit, |limit| self.base.scan(&from, &to, limit))?;
        Ok(found.into_iter().map(|(key, value)| (key.slice(1..), value)).collect())
    }
}

/// At most `limit` pairs with `from <= key < to` of what `writes` leave of a base; `scan` gives as many of the base's as it is asked for.
pub(crate) fn scan_over(
    writes: &BTreeMap<Bytes, Option<Bytes>>,
    from: &[u8],
    to: &[u8],
    limit: usize,
    scan: impl FnOnce(usize) -> Result<Vec<(Bytes, Bytes)>, StorageError>,
) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
    if from >= to {
        return Ok(Vec::new());
    }
    let over: Vec<_> =
        writes.range::<[u8], _>((std::ops::Bound::Included(from), std::ops::Bound::Excluded(to))).collect();
    // Every write may hide one stored pair.
    let stored = scan(limit.saturating_add(over.len()))?;
    let mut merged: BTreeMap<Bytes, Bytes> = stored.into_iter().collect();
    for (key, value) in over {
        match value {
            Some(value) => merged.insert(key.clone(), value.clone()),
            None => merged.remove(key),
        };
    }
    Ok(merged.into_iter().take(limit).collect())
}

impl StateWrite for Overlay<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.write(key, Some(value));
    }

    fn delete(&mut self, key: &[u8]) {
        self.write(key, None);
    }
}

/// What an execution would change in the application's state, by the keys of the store.
#[derive(Debug, Clone, Default)]
pub(crate) struct Writes(BTreeMap<Bytes, Option<Bytes>>);

impl Writes {
    pub(crate) fn put_into(self, batch: &mut Batch) {
        for (key, value) in self.0 {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            }
        }
    }
}

/// A block's effect.
#[derive(Debug, Clone)]
pub(crate) struct Executed {
    pub(crate) outcome: Outcome,
    pub(crate) next_validators: ValidatorSet,
    pub(crate) writes: Writes,
}

/// Why a block has no effect.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Invalid(String),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What of a block the application sees.
pub(crate) struct Input<'a> {
    pub(crate) chain_id: ChainId,
    pub(crate) height: Height,
    pub(crate) time: Timestamp,
    pub(crate) mode: Mode,
    pub(crate) transactions: &'a [Bytes],
    pub(crate) misbehaviour: &'a [Misbehaviour],
}

/// Executes a block on `base`, the state after its parent.
pub(crate) fn execute(
    application: &dyn Application,
    base: &dyn Snapshot,
    validators: &ValidatorSet,
    input: &Input<'_>,
) -> Result<Executed, Failure> {
    let mut overlay = Overlay::new(base);
    let context = BlockContext {
        chain_id: input.chain_id,
        height: input.height,
        time: input.time,
        mode: input.mode,
        transactions: Cow::Borrowed(input.transactions),
        misbehaviour: input.misbehaviour,
    };
    let mut outcome = application.execute(&mut overlay, &context).map_err(|error| match error {
        ExecuteError::Storage(error) => Failure::Storage(error),
        other => Failure::Invalid(other.to_string()),
    })?;
    let kept = input.transactions.len().saturating_sub(outcome.left_out.len());
    if outcome.receipts.len() != kept {
        return Err(Failure::Invalid(format!(
            "the application gave {} receipts for {kept} transactions",
            outcome.receipts.len()
        )));
    }
    let next_validators = match outcome.validators.take() {
        Some(list) => ValidatorSet::new(list).map_err(|error| Failure::Invalid(error.to_string()))?,
        None => validators.clone(),
    };
    let changed = changes(validators, &next_validators);
    let allowed = (validators.len().saturating_sub(1) / 2).max(1);
    if changed > allowed {
        return Err(Failure::Invalid(format!("{changed} validators change in one block; at most {allowed} may")));
    }
    Ok(Executed { outcome, next_validators, writes: overlay.into_writes() })
}

/// How many members one set has that the other has not, the larger of both ways.
fn changes(old: &ValidatorSet, new: &ValidatorSet) -> usize {
    let missing = |from: &ValidatorSet, of: &ValidatorSet| {
        of.iter().filter(|(_, one)| from.index_of(&one.public_key).is_none()).count()
    };
    missing(old, new).max(missing(new, old))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Empty;

    fn written(writes: impl FnOnce(&mut Overlay<'_>)) -> BTreeMap<Bytes, Option<Bytes>> {
        let mut overlay = Overlay::new(&Empty);
        writes(&mut overlay);
        overlay.into_writes().0
    }

    #[test]
    fn what_is_written_last_counts() {
        let found = written(|state| {
            for (key, value) in [(b"a", Some("1")), (b"b", Some("2")), (b"a", None), (b"b", Some("3")), (b"c", None)] {
                match value {
                    Some(value) => state.put(key, value.as_bytes()),
                    None => state.delete(key),
                }
                assert_eq!(state.get(key).unwrap(), value.map(|value| Bytes::copy_from_slice(value.as_bytes())));
            }
        });
        let expected = [("sa", None), ("sb", Some("3")), ("sc", None)];
        let expected = expected.map(|(key, value)| (Bytes::from(key), value.map(Bytes::from)));
        assert_eq!(found, expected.into());
    }

    /// As of an application that appends to one row with each transaction: the rows beside it, which stay, keep nothing of what it was before.
    #[test]
    fn a_value_that_was_written_over_is_not_kept_by_the_rows_beside_it() {
        let found = written(|state| {
            for number in 0..1000u32 {
                state.put(b"list", &[7; 10_000]);
                state.put(&number.to_be_bytes(), b"place");
            }
        });
        let mut places: Vec<usize> = found.keys().map(|key| key.as_ptr() as usize).collect();
        places.sort_unstable();
        let apart = places.windows(2).filter(|pair| pair[1] - pair[0] > 64).count();
        assert!(apart < 10, "{apart}");
    }
}
