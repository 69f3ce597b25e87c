//! Reads: rows that are in memory only, over the tree.

use std::{cmp::Ordering, iter, ops::Bound, sync::Arc};

use imbl::OrdMap;
use quorate::{
    Bytes,
    storage::{Batch, Snapshot, StorageError},
};
use redb::{Database, ReadOnlyTable, ReadableDatabase};

use crate::{
    failure::{Contained, from_redb, guarded},
    record,
    store::CHAIN,
};

/// The tree as it was when it was last made durable. Pages which it can reach are not reused while it lives.
pub(crate) struct Tree(Contained<ReadOnlyTable<&'static [u8], &'static [u8]>>);

impl Tree {
    pub(crate) fn new(database: &Database) -> Result<Arc<Self>, StorageError> {
        let transaction = database.begin_read().map_err(|error| from_redb("begin reading", error))?;
        let table = transaction.open_table(CHAIN).map_err(|error| from_redb("open the table", error))?;
        Ok(Arc::new(Self(Contained::new(table))))
    }
}

/// Rows by their keys; `None` is a row that is removed. A copy costs nothing: it shares what is not changed afterwards.
pub(crate) type Rows = OrdMap<Bytes, Option<Bytes>>;

/// Does what `batch` says.
pub(crate) fn apply(rows: &mut Rows, batch: &Batch) {
    for (key, value) in batch.writes() {
        rows.insert(key.clone(), value.clone());
    }
}

/// One committed state: a row of `newest` hides one of `frozen`, which hides one of the tree. A view held for long makes the file grow, and
/// keeps its rows in memory.
#[derive(Clone)]
pub(crate) struct View {
    /// What was committed last.
    pub(crate) newest: Rows,
    /// What was committed before, and is being put into the tree.
    pub(crate) frozen: Rows,
    pub(crate) tree: Arc<Tree>,
}

impl View {
    /// The rows in memory with `from <= key < to`, in their order.
    fn in_memory<'a>(
        &'a self,
        from: &'a [u8],
        to: &'a [u8],
    ) -> impl Iterator<Item = (&'a Bytes, &'a Option<Bytes>)> + 'a {
        let range = (Bound::Included(from), Bound::Excluded(to));
        let mut newest = self.newest.range::<_, [u8]>(range).peekable();
        let mut frozen = self.frozen.range::<_, [u8]>(range).peekable();
        iter::from_fn(move || {
            let order = match (newest.peek(), frozen.peek()) {
                (Some((new, _)), Some((old, _))) => new.cmp(old),
                (Some(_), None) => Ordering::Less,
                (None, _) => Ordering::Greater,
            };
            let old = order.is_ge().then(|| frozen.next()).flatten();
            if order.is_le() { newest.next() } else { old }
        })
    }
}

impl Snapshot for View {
    /// The value is a copy: of a row in memory it would keep the whole batch that it came with.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        if let Some(found) = self.newest.get(key).or_else(|| self.frozen.get(key)) {
            return Ok(found.as_deref().map(Bytes::copy_from_slice));
        }
        guarded("read", || {
            let found = self.tree.0.get()?.get(key).map_err(|error| from_redb("read", error))?;
            found.map(|stored| record::value(key, stored.value())).transpose()
        })
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        if from >= to {
            return Ok(Vec::new());
        }
        guarded("scan", || {
            let failed = |error| from_redb("scan", error);
            let mut memory = self.in_memory(from, to).peekable();
            let mut tree = self.tree.0.get()?.range::<&[u8]>(from..to).map_err(failed)?.fuse();
            let mut stored = None;
            let mut pairs = Vec::new();
            while pairs.len() < limit {
                if stored.is_none() {
                    stored = tree.next().transpose().map_err(failed)?;
                }
                let order = match (memory.peek(), &stored) {
                    (Some((new, _)), Some((old, _))) => new[..].cmp(old.value()),
                    (Some(_), None) => Ordering::Less,
                    (None, Some(_)) => Ordering::Greater,
                    (None, None) => break,
                };
                let old = if order.is_ge() { stored.take() } else { None };
                let new = if order.is_le() { memory.next() } else { None };
                match (new, old) {
                    (Some((key, Some(value))), _) => {
                        pairs.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
                    }
                    (None, Some((key, value))) => {
                        let key = key.value();
                        pairs.push((Bytes::copy_from_slice(key), record::value(key, value.value())?));
                    }
                    // It is removed.
                    (Some((_, None)), _) | (None, None) => {}
                }
            }
            Ok(pairs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use redb::{Builder, backends::InMemoryBackend};

    use super::*;
    use crate::{fault_tests::disk::Random, journal::Generations, medium::Staged, opening::write_empty, tree};

    /// Rows anywhere in the three levels, each level hiding what is below, against a map that they were written to one after the other.
    #[test]
    fn reads_are_those_of_one_map_whatever_level_a_row_is_in() {
        let mut random = Random::new();
        for _ in 0..50 {
            let medium = Staged::new(InMemoryBackend::new()).unwrap();
            medium.release().unwrap();
            write_empty(medium.clone()).unwrap();
            let database = Builder::new().create_with_backend(medium).unwrap();
            let mut model = BTreeMap::new();
            let [stored, frozen, newest] = [0, 1, 2].map(|level| {
                let mut batch = Batch::new();
                for _ in 0..random.below(40) {
                    let key = Bytes::from(vec![b'k', u8::try_from(random.below(30)).unwrap()]);
                    if random.below(3) == 0 {
                        model.remove(&key);
                        batch.delete(key);
                    } else {
                        let value = Bytes::from(vec![level; random.below(3)]);
                        model.insert(key.clone(), value.clone());
                        batch.put(key, value);
                    }
                }
                let mut rows = Rows::new();
                apply(&mut rows, &batch);
                rows
            });
            tree::write(&database, &stored, Generations::drawn(0).unwrap()).unwrap();
            let view = View { newest, frozen, tree: Tree::new(&database).unwrap() };
            for at in 0..=30 {
                let key = [b'k', at];
                assert_eq!(view.get(&key).unwrap().as_ref(), model.get(&key[..]), "{random}");
                for to in 0..=30 {
                    let to = [b'k', to];
                    for limit in [0, 1, 3, usize::MAX] {
                        let expected: Vec<_> = model
                            .iter()
                            .filter(|(row, _)| key[..] <= row[..] && row[..] < to[..])
                            .take(limit)
                            .map(|(row, value)| (row.clone(), value.clone()))
                            .collect();
                        assert_eq!(view.scan(&key, &to, limit).unwrap(), expected, "{random}");
                    }
                }
            }
        }
    }
}
