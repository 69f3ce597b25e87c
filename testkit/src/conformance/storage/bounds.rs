//! The longest keys and values, and longer ones.

use bytes::Bytes;
use quorate::storage::{Batch, KEY_BYTES_MAX, StorageError, VALUE_BYTES_MAX};

use super::{
    super::rule::{OrBroken, Outcome, broken, ensure},
    StorageSuite,
    content::{put, view},
};
use crate::sim::Rng;

pub(super) fn longest_are_kept(suite: &StorageSuite<'_>, _: &mut Rng) -> Outcome {
    let (folder, mut store) = suite.fresh()?;
    let key = Bytes::from(vec![7; KEY_BYTES_MAX]);
    let value: Bytes = (0..VALUE_BYTES_MAX as u64 / 8).flat_map(u64::to_le_bytes).collect();
    let mut batch = Batch::new();
    batch.put(key.clone(), value.clone());
    batch.put(&b"empty"[..], Bytes::new());
    store.commit(batch).or_broken(format!("commit of a value of {VALUE_BYTES_MAX} bytes"))?;
    for opened_again in [false, true] {
        if opened_again {
            if !suite.durable {
                return Ok(());
            }
            drop(store);
            store = suite.open(folder.path())?;
        }
        let view = view(&*store)?;
        let found = view.get(&key).or_broken("get")?;
        ensure(found.as_ref() == Some(&value), || {
            let len = found.as_ref().map(Bytes::len);
            format!(
                "of a value of {VALUE_BYTES_MAX} bytes, {len:?} came back, or others (opened again: {opened_again})"
            )
        })?;
        let empty = view.get(b"empty").or_broken("get")?;
        ensure(empty == Some(Bytes::new()), || format!("the empty value came back as {empty:?}"))?;
        let scanned = view.scan(&key, &[8], 1).or_broken("scan")?;
        ensure(scanned == [(key.clone(), value.clone())], || "a scan does not give the longest pair".into())?;
    }
    Ok(())
}

/// Commits a batch which must be refused whole, and sees that the store can be used.
fn refused(suite: &StorageSuite<'_>, what: &str, key: Vec<u8>, value_len: usize) -> Outcome {
    let (_folder, store) = suite.fresh()?;
    let mut batch = Batch::new();
    batch.put(&b"before"[..], &b"1"[..]);
    batch.put(key, vec![0; value_len]);
    batch.put(&b"behind"[..], &b"1"[..]);
    match store.commit(batch) {
        Ok(()) => return broken(format!("{what} was taken")),
        Err(StorageError::TooLong { .. }) => {}
        Err(other) => return broken(format!("{what} was refused with {other:?}, not as TooLong")),
    }
    for key in [b"before", b"behind"] {
        let found = view(&*store)?.get(key).or_broken("get after the refusal")?;
        ensure(found.is_none(), || format!("{what} was refused, but not the whole of its batch"))?;
    }
    put(&*store, &[(b"after", b"2")])
}

pub(super) fn longer_are_refused(suite: &StorageSuite<'_>, _: &mut Rng) -> Outcome {
    refused(suite, "a key of one byte too many", vec![1; KEY_BYTES_MAX + 1], 0)?;
    refused(suite, "a value of one byte too many", b"v".to_vec(), VALUE_BYTES_MAX + 1)
}

pub(super) fn empty_key_is_refused(suite: &StorageSuite<'_>, _: &mut Rng) -> Outcome {
    refused(suite, "an empty key", Vec::new(), 1)
}
