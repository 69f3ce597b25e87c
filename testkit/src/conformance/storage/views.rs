//! Snapshots while others write.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use bytes::Bytes;
use quorate::storage::{Batch, Snapshot, Storage, StorageError};

use super::{
    super::rule::{OrBroken, Outcome, Trouble, broken, ensure},
    StorageSuite,
    content::{put, view},
};
use crate::sim::Rng;

/// Rows that every batch writes, all with its number.
const ROWS: u64 = 40;

/// Batches while readers read.
const BATCHES: u64 = 150;

/// Threads that read.
const READERS: usize = 3;

/// Views held at a time, each of another commit.
const HELD: u64 = 20;

/// How long a commit may take while a view is held; a disk may be slow, a lock is for ever.
const PATIENCE: Duration = Duration::from_secs(10);

/// A batch that sets every row to `number`.
fn rows(number: u64) -> Batch {
    let mut batch = Batch::new();
    for row in 0..ROWS {
        batch.put(format!("row/{row:02}"), number.to_be_bytes().to_vec());
    }
    batch
}

/// The one number that all rows have; `None` when there are none.
fn number_in(view: &dyn Snapshot) -> Result<Option<u64>, Trouble> {
    let rows = view.scan(b"row/", b"row0", usize::MAX).or_broken("scan")?;
    let Some((_, first)) = rows.first() else { return Ok(None) };
    ensure(rows.len() as u64 == ROWS && rows.iter().all(|(_, value)| value == first), || {
        let mut counts = BTreeMap::new();
        for (_, value) in &rows {
            *counts.entry(value.as_ref().try_into().map_or(u64::MAX, u64::from_be_bytes)).or_insert(0u64) += 1;
        }
        format!("a view shows {} of {ROWS} rows, by batch: {counts:?}", rows.len())
    })?;
    let number = first.as_ref().try_into().map(u64::from_be_bytes).or_broken("reading a number")?;
    let got = view.get(b"row/07").or_broken("get")?;
    ensure(got.as_ref() == Some(first), || "a view's get and scan differ".into())?;
    Ok(Some(number))
}

pub(super) fn sees_what_was_committed(suite: &StorageSuite<'_>, _: &mut Rng) -> Outcome {
    let (_folder, store) = suite.fresh()?;
    for number in 0..30u64 {
        store.commit(rows(number)).or_broken("commit")?;
        let found = number_in(&*view(&*store)?)?;
        ensure(found == Some(number), || format!("a view made after commit {number} shows {found:?}"))?;
    }
    Ok(())
}

pub(super) fn does_not_change(suite: &StorageSuite<'_>, _: &mut Rng) -> Outcome {
    let (_folder, store) = suite.fresh()?;
    let mut held = vec![(None, view(&*store)?)];
    for number in 0..HELD {
        let mut batch = rows(number);
        batch.put(format!("only/{number}"), vec![7; 5000]);
        batch.delete(format!("only/{}", number.wrapping_sub(1)));
        store.commit(batch).or_broken("commit")?;
        held.push((Some(number), view(&*store)?));
    }
    for (number, view) in &held {
        let found = number_in(&**view)?;
        ensure(found == *number, || format!("after later commits a view of commit {number:?} shows {found:?}"))?;
        let only = view.scan(b"only/", b"only0", 9).or_broken("scan")?;
        let only: Vec<Bytes> = only.into_iter().map(|(key, _)| key).collect();
        let wanted: Vec<String> = number.iter().map(|number| format!("only/{number}")).collect();
        ensure(only == wanted, || format!("after later commits a view of commit {number:?} shows {only:?}"))?;
    }
    drop(store);
    for (number, view) in &held {
        let wanted = number.map(|number| Bytes::copy_from_slice(&number.to_be_bytes()));
        match view.get(b"row/07") {
            Ok(found) if found == wanted => {}
            Ok(found) => {
                return broken(format!("after its store was dropped a view of commit {number:?} shows {found:?}"));
            }
            Err(StorageError::Poisoned(_)) => {}
            Err(other) => return broken(format!("after its store was dropped a view answered {other:?}")),
        }
    }
    Ok(())
}

pub(super) fn delays_no_commit(suite: &StorageSuite<'_>, _: &mut Rng) -> Outcome {
    let (_folder, store) = suite.fresh()?;
    put(&*store, &[(b"a", b"1")])?;
    let held = view(&*store)?;
    let (sender, receiver) = mpsc::sync_channel(1);
    let writer = Arc::clone(&store);
    // Not joined when it hangs.
    std::thread::spawn(move || {
        let done = (0..5).try_for_each(|number| writer.commit(rows(number)));
        // Nobody listens any more when it took too long.
        drop(sender.send(done));
    });
    match receiver.recv_timeout(PATIENCE) {
        Ok(done) => done.or_broken("commit while a view is held")?,
        Err(_) => return broken(format!("commits took more than {PATIENCE:?} while a view was held")),
    }
    let found = held.get(b"a").or_broken("get")?;
    ensure(found == Some(Bytes::from_static(b"1")), || format!("the held view shows {found:?}"))
}

pub(super) fn whole_under_writes(suite: &StorageSuite<'_>, _: &mut Rng) -> Outcome {
    let (_folder, store) = suite.fresh()?;
    let (over, committed) = (AtomicBool::new(false), AtomicU64::new(0));
    store.commit(rows(0)).or_broken("commit")?;
    let read = || -> Outcome {
        let mut last = 0;
        while !over.load(Ordering::Acquire) {
            let before = committed.load(Ordering::Acquire);
            let seen = number_in(&*view(&*store)?)?.unwrap_or(0);
            ensure(seen >= before.max(last), || {
                format!("a view shows commit {seen} after {} was done", before.max(last))
            })?;
            last = seen;
        }
        Ok(())
    };
    let write = |store: &dyn Storage| {
        (1..=BATCHES).try_for_each(|number| {
            store.commit(rows(number))?;
            committed.store(number, Ordering::Release);
            Ok::<_, StorageError>(())
        })
    };
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS).map(|_| scope.spawn(read)).collect();
        let written = write(&*store);
        over.store(true, Ordering::Release);
        written.or_broken("commit while others read")?;
        readers.into_iter().try_for_each(|reader| match reader.join() {
            Ok(outcome) => outcome,
            Err(panic) => broken(format!("a reader panicked: {}", super::super::suite::words(&*panic))),
        })
    })
}
