//! Power cuts, failing fsyncs and full disks under the store: a definite answer, and nothing acknowledged is lost.

pub(crate) mod disk;

use std::io::ErrorKind;

use quorate::storage::{Batch, Snapshot, Storage, StorageError};

use crate::{
    journal::DRAWING_FAILS,
    medium::Staged,
    opening::{self, Options},
    store::RedbStore,
};
use disk::{Disk, Random};
use redb::StorageBackend as _;

/// A cache too small for the larger batches, so that pages are written in the middle of a transaction too.
const CACHE_BYTES: usize = 64 << 10;

/// Batches of one run.
const BATCHES: u64 = 6;

/// Sizes of the journal: for no batch, so that the tree is made durable for each; for files of one or two batches, which go to the tree one
/// after the other, the last ones directly; for all.
const JOURNALS: [u64; 3] = [1 << 10, 140 << 10, 2 << 20];

fn open(disk: &Disk, checked: bool, journal_bytes: u64) -> Result<RedbStore, StorageError> {
    let check_bytes_max = if checked { u64::MAX } else { 0 };
    let options = Options { cache_bytes: CACHE_BYTES, check_bytes_max, journal_bytes, compact_at_start: false };
    RedbStore::on(disk.clone(), |_| Ok(disk.journal()), options)
}

fn created() -> Disk {
    let disk = Disk::default();
    let medium = Staged::new(disk.clone()).unwrap();
    medium.release().unwrap();
    opening::write_empty(medium).unwrap();
    disk
}

/// Batch `number`: its number, small values that every batch replaces, values of its own up to 100 KiB, and the removal of those of the
/// batch two before.
fn batch(number: u64) -> Batch {
    let fill = u8::try_from(number).unwrap();
    let mut batch = Batch::new();
    batch.put(&b"number"[..], number.to_le_bytes().to_vec());
    for row in 0..20 {
        batch.put(format!("shared/{row}"), vec![fill; 100]);
        batch.put(format!("own/{number}/{row}"), vec![fill; 50]);
        batch.delete(format!("own/{}/{row}", number.wrapping_sub(2)));
    }
    batch.put(format!("large/{number}"), vec![fill; 12_500 * usize::from(fill)]);
    batch
}

/// How many batches the store holds, each whole; panics if it holds part of one.
fn held(store: &RedbStore) -> u64 {
    seen(&*store.snapshot().unwrap())
}

fn seen(view: &dyn Snapshot) -> u64 {
    let Some(number) = view.get(b"number").unwrap() else {
        assert!(view.scan(&[], &[0xff], 10).unwrap().is_empty());
        return 0;
    };
    let number = u64::from_le_bytes(number[..].try_into().unwrap());
    let mut expected = std::collections::BTreeMap::new();
    for batch in (1..=number).map(batch) {
        for (key, value) in batch.writes() {
            match value {
                Some(value) => drop(expected.insert(key.clone(), value.clone())),
                None => drop(expected.remove(key)),
            }
        }
    }
    assert!(view.scan(&[], &[0xff], usize::MAX).unwrap().into_iter().eq(expected), "batch {number} is not whole");
    number
}

/// Opens `disk` and checks that it holds `least` to `most` batches and takes more.
fn reopened(disk: &Disk, checked: bool, least: u64, most: u64, what: &str) {
    let store = open(disk, checked, JOURNALS[1]).unwrap_or_else(|error| panic!("{what}: {error}"));
    let number = held(&store);
    assert!((least..=most).contains(&number), "{what}: {number} batches; {least} were acknowledged");
    store.commit(batch(number + 1)).unwrap();
    assert_eq!(held(&store), number + 1, "{what}");
}

fn a_power_cut_after_any_write(journal_bytes: u64) {
    let mut random = Random::new();
    for opened_checked in [false, true] {
        let disk = created();
        disk.record();
        let store = open(&disk, opened_checked, journal_bytes).unwrap();
        // The length of the log when each batch was acknowledged.
        let mut acknowledged = vec![0];
        for number in 1..=BATCHES {
            store.commit(batch(number)).unwrap();
            acknowledged.push(disk.steps());
        }
        drop(store);
        for cut in 0..=disk.steps() {
            let least = acknowledged.iter().skip(1).filter(|&&steps| steps <= cut).count() as u64;
            for checked in [false, true] {
                let what =
                    format!("{random}, cut after step {cut}, checked {opened_checked} {checked}, {journal_bytes}");
                let after = disk.after_cut(cut, &mut random);
                reopened(&after, checked, least, (least + 1).min(BATCHES), &what);
            }
        }
    }
}

#[test]
fn a_power_cut_after_any_write_loses_nothing_acknowledged() {
    JOURNALS.into_iter().for_each(a_power_cut_after_any_write);
}

#[test]
fn a_view_stays_as_it_was_while_its_rows_go_into_the_tree() {
    for journal_bytes in JOURNALS {
        for quiet in [true, false] {
            let disk = created();
            let store = open(&disk, false, journal_bytes).unwrap();
            let mut views = vec![store.snapshot().unwrap()];
            for number in 1..=3 * BATCHES {
                store.commit(batch(number)).unwrap();
                if quiet {
                    store.quiet();
                }
                views.push(store.snapshot().unwrap());
                for (number, view) in (0..).zip(&views) {
                    assert_eq!(seen(&**view), number, "journal of {journal_bytes}");
                }
            }
        }
    }
}

/// A second power cut, while the journal of the first is put into the tree.
#[test]
fn a_power_cut_while_the_journal_is_applied_loses_nothing_acknowledged() {
    let mut random = Random::new();
    let disk = created();
    disk.record();
    let store = open(&disk, false, JOURNALS[2]).unwrap();
    (1..=BATCHES).for_each(|number| store.commit(batch(number)).unwrap());
    let killed = disk.after_cut(disk.steps(), &mut random);
    drop(store);
    for checked in [false, true] {
        killed.record();
        drop(open(&killed, checked, JOURNALS[1]).unwrap());
        for cut in 0..=killed.steps() {
            let what = format!("{random}, cut after step {cut} of opening, checked {checked}");
            reopened(&killed.after_cut(cut, &mut random), checked, BATCHES, BATCHES, &what);
        }
        // From the same journal again.
        killed.undo();
    }
}

/// A disk whose store lost most of what was in it: values which were removed, between others that stay.
fn with_holes(journal_bytes: u64) -> Disk {
    let disk = created();
    let store = open(&disk, false, journal_bytes).unwrap();
    let mut removed = Batch::new();
    for number in 1..=BATCHES {
        let mut holes = Batch::new();
        for row in 0..20 {
            let key = format!("hole/{number}/{row}");
            holes.put(key.clone(), vec![7; 30_000]);
            removed.delete(key);
        }
        store.commit(holes).unwrap();
        store.commit(batch(number)).unwrap();
    }
    store.commit(removed).unwrap();
    drop(store);
    disk
}

fn compacted(disk: &Disk, checked: bool) -> Result<RedbStore, StorageError> {
    let check_bytes_max = if checked { u64::MAX } else { 0 };
    let journal_bytes = JOURNALS[1];
    let options = Options { cache_bytes: CACHE_BYTES, check_bytes_max, journal_bytes, compact_at_start: true };
    RedbStore::on(disk.clone(), |_| Ok(disk.journal()), options)
}

#[test]
fn compacting_makes_the_file_small_and_keeps_everything_also_what_only_the_journal_has() {
    for journal_bytes in JOURNALS {
        let mut random = Random::new();
        let disk = with_holes(journal_bytes);
        let before = disk.len().unwrap();
        disk.record();
        // As a kill leaves it: with a journal that has something.
        let store = open(&disk, false, JOURNALS[2]).unwrap();
        store.commit(batch(BATCHES + 1)).unwrap();
        let killed = disk.after_cut(disk.steps(), &mut random);
        drop(store);
        for disk in [disk, killed] {
            let store = compacted(&disk, false).unwrap();
            let after = disk.len().unwrap();
            assert!(after * 2 < before, "{before} bytes before, {after} after");
            assert_eq!(held(&store), BATCHES + 1);
            drop(store);
            reopened(&disk, true, BATCHES + 1, BATCHES + 1, "compacted");
        }
    }
}

#[test]
fn a_power_cut_at_any_write_of_compacting_loses_nothing() {
    let mut random = Random::new();
    let disk = with_holes(JOURNALS[0]);
    disk.record();
    drop(compacted(&disk, false).unwrap());
    for cut in 0..=disk.steps() {
        let after = disk.after_cut(cut, &mut random);
        let what = format!("{random}, cut after step {cut} of compacting");
        if cut % 2 == 0 {
            reopened(&after, cut % 4 == 0, BATCHES, BATCHES, &what);
        } else {
            // Begun again, where it was cut short.
            assert_eq!(held(&compacted(&after, false).unwrap_or_else(|error| panic!("{what}: {error}"))), BATCHES);
        }
    }
}

/// A disk that fails meanwhile: an error, and everything is there at the next start.
#[test]
fn compacting_on_a_failing_disk_is_an_error_and_loses_nothing() {
    let mut random = Random::new();
    for fail_at in 0.. {
        let disk = with_holes(JOURNALS[0]);
        disk.record();
        disk.fail_sync(fail_at, ErrorKind::Other);
        let Err(error) = compacted(&disk, false) else {
            assert!(fail_at > 3, "compacting has {fail_at} fsyncs");
            break;
        };
        assert!(matches!(error, StorageError::Io { .. }), "{error:?}");
        let what = format!("{random}, fsync {fail_at} of compacting");
        reopened(&disk.after_cut(disk.steps(), &mut random), false, BATCHES, BATCHES, &what);
    }
}

/// Commits all batches. Gives how many were acknowledged, and the error of the one after. `quiet`: none begins while others are put into the tree, so that the
/// same happens each time.
fn commit_all(store: &RedbStore, quiet: bool) -> (u64, Result<(), StorageError>) {
    for number in 1..=BATCHES {
        if let Err(error) = store.commit(batch(number)) {
            return (number - 1, Err(error));
        }
        if quiet {
            store.quiet();
        }
    }
    (BATCHES, Ok(()))
}

#[test]
fn a_failing_fsync_is_an_error_once_and_for_all_and_loses_nothing_acknowledged() {
    for journal_bytes in JOURNALS {
        let failed = (0..).find(|failed| !a_failing_fsync(*failed, journal_bytes)).unwrap();
        assert!(failed >= BATCHES, "{failed} with a journal of {journal_bytes}");
    }
}

/// Whether one of the batches failed, with the fsync `fail_at`, when nothing went on beside. `Full` is said only when nothing of the batch was written.
fn a_failing_fsync(fail_at: u64, journal_bytes: u64) -> bool {
    let mut random = Random::new();
    let mut all_failed = true;
    for (kind, quiet) in
        [ErrorKind::StorageFull, ErrorKind::Other].into_iter().flat_map(|kind| [(kind, true), (kind, false)])
    {
        let disk = created();
        let store = open(&disk, false, journal_bytes).unwrap();
        disk.record();
        disk.fail_sync(fail_at, kind);
        let (done, outcome) = commit_all(&store, quiet);
        let Err(error) = outcome else {
            all_failed &= !quiet;
            continue;
        };
        let is_full = matches!(error, StorageError::Full(_)) && kind == ErrorKind::StorageFull;
        assert!(is_full || matches!(error, StorageError::Io { .. }), "{error:?}");
        let most = if is_full { done } else { done + 1 };
        store.quiet();
        let steps = disk.steps();
        // The disk would do again; the store must not.
        assert!(matches!(store.commit(batch(done + 1)), Err(StorageError::Poisoned(_))));
        assert!(matches!(store.commit(Batch::new()), Err(StorageError::Poisoned(_))));
        assert!(matches!(store.snapshot().map(drop), Err(StorageError::Poisoned(_))));
        assert_eq!(disk.steps(), steps);
        drop(store);
        let what = format!("{random}, fsync {fail_at}, {kind}, {journal_bytes}, quiet {quiet}");
        reopened(&disk.after_cut(disk.steps(), &mut random), false, done, most, &what);
        reopened(&disk.after_cut(disk.steps(), &mut random), true, done, most, &what);
        // Without a power cut: what was written is there, whatever the fsync said.
        disk.mend();
        reopened(&disk, false, done, most, &what);
    }
    all_failed
}

/// The disk fills up at every possible block. `at_sync`: it is noticed by the fsync only, as file systems do which allocate late.
fn fill_up(at_sync: bool, journal_bytes: u64) -> (u32, u32) {
    let (mut full, mut other) = (0, 0);
    let mut random = Random::new();
    for (room, quiet) in (0..).flat_map(|room| [(room, true), (room, false)]) {
        let disk = created();
        let store = open(&disk, false, journal_bytes).unwrap();
        disk.record();
        disk.limit(room, at_sync);
        let (done, outcome) = commit_all(&store, quiet);
        let what = format!("{random}, room for {room} blocks, quiet {quiet}");
        let most = match outcome {
            Ok(()) if quiet => return (full, other),
            Ok(()) => continue,
            // Then nothing of the batch was written.
            Err(StorageError::Full(what)) => {
                assert!(what.starts_with("a batch of 62 writes with "), "{what}");
                full += 1;
                done
            }
            Err(StorageError::Io { .. }) => {
                other += 1;
                done + 1
            }
            Err(error) => panic!("{what}: {error:?}"),
        };
        assert!(matches!(store.commit(batch(done + 1)), Err(StorageError::Poisoned(_))), "{what}");
        drop(store);
        // Still full: it opens and is complete, or says why not.
        let after = disk.after_cut(disk.steps(), &mut random);
        after.limit(0, at_sync);
        for checked in [false, true] {
            match open(&after, checked, journal_bytes) {
                Ok(store) => assert!((done..=most).contains(&held(&store)), "{what}"),
                Err(StorageError::Full(_) | StorageError::Io { .. }) => {}
                Err(error) => panic!("{what}: {error:?}"),
            }
        }
        after.mend();
        reopened(&after, false, done, most, &what);
        disk.mend();
        reopened(&disk, true, done, most, &what);
    }
    unreachable!("the loop has no end")
}

#[test]
fn a_full_disk_says_so_and_loses_nothing_acknowledged() {
    for journal_bytes in JOURNALS {
        // A tree that is made durable needs no room after its first fsync, and a journal takes it before a frame is written.
        let (full, other) = fill_up(false, journal_bytes);
        assert!(full > 50 && other == 0, "{full} {other}, journal of {journal_bytes}");
    }
}

#[test]
fn a_disk_which_is_full_only_at_fsync_loses_nothing_acknowledged() {
    for journal_bytes in JOURNALS {
        let (full, other) = fill_up(true, journal_bytes);
        assert!(full + other > 50, "{full} {other} with a journal of {journal_bytes}");
    }
}

#[test]
fn a_read_error_is_an_error_of_this_read_and_of_the_medium() {
    let disk = created();
    let store = open(&disk, false, JOURNALS[1]).unwrap();
    for number in 1..=BATCHES {
        store.commit(batch(number)).unwrap();
    }
    let view = store.snapshot().unwrap();
    disk.fail_reads();
    let error = (1..=BATCHES).find_map(|number| view.get(format!("large/{number}").as_bytes()).err()).unwrap();
    assert!(matches!(error, StorageError::Io { action: "read", .. }), "{error:?}");
    disk.mend();
    drop((view, store));
    reopened(&disk, true, BATCHES, BATCHES, "after a failed read");
}

#[test]
fn opening_a_disk_which_can_not_be_synced_is_an_error_and_loses_nothing() {
    let disk = created();
    for checked in [false, true] {
        disk.fail_sync(0, ErrorKind::ReadOnlyFilesystem);
        let error = open(&disk, checked, JOURNALS[1]).map(drop).unwrap_err();
        assert!(matches!(error, StorageError::Io { .. }), "{error:?}");
        disk.mend();
    }
    reopened(&disk, true, 0, 0, "after a failed opening");
}

/// However large the tree is, a start after a kill does not go through it page by page. (In a build with debug assertions redb reads it all the
/// same, so that it is not the bytes read which tell.)
#[test]
fn a_start_after_a_kill_does_not_check_the_whole_tree() {
    let mut random = Random::new();
    let disk = created();
    disk.record();
    for number in 1..=BATCHES {
        // The first commit after an opening, and some behind it.
        let store = open(&disk, false, JOURNALS[2]).unwrap();
        for row in 0..3u64 {
            let mut batch = batch(number);
            batch.put(row.to_be_bytes().to_vec(), &b"a row"[..]);
            store.commit(batch).unwrap();
            let checked = opening::checks();
            drop(open(&disk.after_cut(disk.steps(), &mut random), false, JOURNALS[2]).unwrap());
            assert_eq!(opening::checks(), checked, "{random}: commit {row} of opening {number}");
        }
    }
}

/// A store whose journal could not be put into the tree is not closed as a good one is, which would void the journal.
#[test]
fn a_journal_that_could_not_be_applied_still_counts() {
    let mut random = Random::new();
    let disk = created();
    disk.record();
    let store = open(&disk, false, JOURNALS[2]).unwrap();
    (1..=BATCHES).for_each(|number| store.commit(batch(number)).unwrap());
    let killed = disk.after_cut(disk.steps(), &mut random);
    for checked in [false, true] {
        DRAWING_FAILS.set(true);
        let error = open(&killed, checked, JOURNALS[2]).map(drop).unwrap_err();
        assert!(matches!(error, StorageError::Io { action: "draw a random number", .. }), "{error:?}");
    }
    reopened(&killed, false, BATCHES, BATCHES, &format!("{random}"));
}
