//! What is in a store after commits: order, ranges, the last write, and a model.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate::storage::{Batch, Snapshot, Storage};

use super::{
    super::rule::{OrBroken, Outcome, Trouble, does_not_apply, ensure},
    StorageSuite, folder,
};
use crate::sim::Rng;

/// Above every key that the suite writes.
const ABOVE: [u8; 9] = [0xff; 9];

/// Random batches by which a store is compared with a map.
const BATCHES: u64 = 60;

/// So many batches, and the store is opened again.
const REOPEN_EVERY: u64 = 15;

pub(super) fn view(store: &dyn Storage) -> Result<Box<dyn Snapshot>, Trouble> {
    store.snapshot().or_broken("snapshot")
}

pub(super) fn put(store: &dyn Storage, pairs: &[(&[u8], &[u8])]) -> Outcome {
    let mut batch = Batch::new();
    for (key, value) in pairs {
        batch.put(key.to_vec(), value.to_vec());
    }
    store.commit(batch).or_broken("commit")
}

fn scan(store: &dyn Storage, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, Trouble> {
    view(store)?.scan(from, to, limit).or_broken("scan")
}

fn keys(store: &dyn Storage, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Bytes>, Trouble> {
    Ok(scan(store, from, to, limit)?.into_iter().map(|(key, _)| key).collect())
}

pub(super) fn keys_order_as_bytes(suite: &StorageSuite<'_>, _: &mut Rng) -> Outcome {
    let (_folder, store) = suite.fresh()?;
    let mut unordered: [&[u8]; 9] = [b"\xff\xff", b"a", b"\x00", b"aa", b"\x00\x00", b"B", b"\x80", b"b", b"a\x00"];
    put(&*store, &unordered.map(|key| (key, key)))?;
    unordered.sort_unstable();
    let found = keys(&*store, b"", &ABOVE, usize::MAX)?;
    ensure(found == unordered, || format!("a scan of everything gave {found:?}; it should give {unordered:?}"))
}

pub(super) fn ranges_are_half_open(suite: &StorageSuite<'_>, _: &mut Rng) -> Outcome {
    let (_folder, store) = suite.fresh()?;
    let all: [&[u8]; 6] = [b"a", b"aa", b"b", b"c", b"ca", b"d"];
    put(&*store, &all.map(|key| (key, b"".as_slice())))?;
    let bounds: [&[u8]; 10] = [b"", b"a", b"a\x00", b"aa", b"ab", b"b", b"c", b"cz", b"d", b"e"];
    for from in bounds {
        for to in bounds {
            for limit in [0, 1, 2, 5, 6, usize::MAX] {
                let wanted: Vec<&[u8]> = all.into_iter().filter(|key| from <= *key && *key < to).take(limit).collect();
                let found = keys(&*store, from, to, limit)?;
                let range = || {
                    let (from, to) = (from.escape_ascii(), to.escape_ascii());
                    format!(
                        "a scan from \"{from}\" to \"{to}\" with limit {limit} gave {found:?}; it should give {wanted:?}"
                    )
                };
                ensure(found == wanted, range)?;
            }
        }
    }
    Ok(())
}

pub(super) fn later_writes_win(suite: &StorageSuite<'_>, _: &mut Rng) -> Outcome {
    let (_folder, store) = suite.fresh()?;
    put(&*store, &[(b"old", b"1"), (b"gone", b"1")])?;
    let mut batch = Batch::new();
    batch.put(&b"put twice"[..], &b"first"[..]);
    batch.put(&b"put twice"[..], &b"last"[..]);
    batch.put(&b"put and deleted"[..], &b"1"[..]);
    batch.delete(&b"put and deleted"[..]);
    batch.delete(&b"old"[..]);
    batch.put(&b"old"[..], &b"2"[..]);
    batch.delete(&b"gone"[..]);
    batch.delete(&b"never there"[..]);
    store.commit(batch).or_broken("commit")?;
    store.commit(Batch::new()).or_broken("commit of an empty batch")?;
    let found = scan(&*store, b"", &ABOVE, usize::MAX)?;
    let wanted = [("old", "2"), ("put twice", "last")].map(|(key, value)| (Bytes::from(key), Bytes::from(value)));
    ensure(found == wanted, || format!("the store holds {found:?}; it should hold {wanted:?}"))
}

pub(super) fn agrees_with_a_map(suite: &StorageSuite<'_>, rng: &mut Rng) -> Outcome {
    let (folder, mut store) = suite.fresh()?;
    let mut model: BTreeMap<Bytes, Bytes> = BTreeMap::new();
    for round in 0..BATCHES {
        let mut batch = Batch::new();
        for _ in 0..rng.below(30) {
            let key = Bytes::from(format!("{}", rng.below(60)));
            if rng.chance(300) {
                batch.delete(key.clone());
                model.remove(&key);
            } else {
                // Some are longer than a page of any store.
                let len = if rng.chance(50) { rng.below(70_000) } else { rng.below(300) };
                let value: Bytes = (0..len).map(|_| rng.next_u64().to_le_bytes()[0]).collect();
                batch.put(key.clone(), value.clone());
                model.insert(key, value);
            }
        }
        store.commit(batch).or_broken(format!("commit {round}"))?;
        if suite.durable && round % REOPEN_EVERY == REOPEN_EVERY - 1 {
            drop(store);
            store = suite.open(folder.path())?;
        }
        let found = scan(&*store, b"", &ABOVE, usize::MAX)?;
        ensure(found.iter().map(|(key, value)| (key, value)).eq(model.iter()), || {
            let held = |key| model.get(key).cloned();
            let differs =
                found.iter().find(|(key, value)| held(key).as_ref() != Some(value)).map(|(key, _)| key.clone());
            let missing = model.keys().find(|key| !found.iter().any(|(found, _)| found == *key));
            format!("after commit {round}: key {differs:?} has a wrong value, key {missing:?} is missing")
        })?;
        let key = rng.below(60).to_string();
        let got = view(&*store)?.get(key.as_bytes()).or_broken("get")?;
        ensure(got.as_ref() == model.get(key.as_bytes()), || {
            format!("after commit {round}: get of \"{key}\" differs")
        })?;
    }
    Ok(())
}

pub(super) fn opened_again(suite: &StorageSuite<'_>, _: &mut Rng) -> Outcome {
    if !suite.durable {
        return does_not_apply("the store does not outlive its process");
    }
    let folder = folder()?;
    for number in 0..5u8 {
        let store = suite.open(folder.path())?;
        let found = keys(&*store, b"", &ABOVE, usize::MAX)?;
        let wanted: Vec<Bytes> = (0..number).map(|key| vec![key].into()).collect();
        ensure(found == wanted, || format!("opened for the {number}th time the keys are {found:?}, not {wanted:?}"))?;
        put(&*store, &[(&[number], b"value")])?;
    }
    Ok(())
}
