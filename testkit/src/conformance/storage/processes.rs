//! Whole processes that are killed, locked out or out of room while they write.

use std::time::{Duration, Instant};

use super::{
    super::rule::{OrBroken, Outcome, Trouble, broken, does_not_apply, ensure},
    StorageSuite,
    child::{Room, Running, batch, is_locked, last, number, start},
    folder, storage_error,
};
use crate::sim::Rng;

/// Kills while batches are written.
const KILLS: u64 = 25;

/// Kills while a store is made.
const CREATION_KILLS: u64 = 40;

/// File sizes, in the shell's blocks, beyond which the system takes no more.
const FULL_AT_BLOCKS: [u32; 6] = [1, 4, 60, 200, 1000, 4000];

/// File sizes that are tried at most for a store which can't be made in less.
const FULL_SEARCH_BLOCKS_MAX: u32 = 1 << 19;

/// Bytes of a value where there is much room to fill.
const FULL_VALUE_BYTES: usize = 200_000;

fn durable(suite: &StorageSuite<'_>) -> Outcome {
    if suite.durable { Ok(()) } else { does_not_apply("the store does not outlive its process") }
}

/// Lets a random part of `most` pass, by the clock and not by the scheduler.
fn let_pass(rng: &mut Rng, most: Duration) {
    let wanted = Duration::from_nanos(rng.below(u64::try_from(most.as_nanos()).unwrap_or(u64::MAX)));
    let start = Instant::now();
    while start.elapsed() < wanted {
        std::hint::spin_loop();
    }
}

pub(super) fn in_use_is_locked(suite: &StorageSuite<'_>, _: &mut Rng) -> Outcome {
    durable(suite)?;
    let folder = folder()?;
    let mut running = start(suite, folder.path(), None)?;
    running.expect(&["done "])?;
    let opened = suite.try_open(folder.path());
    if !is_locked(&opened) {
        let error = storage_error(opened)?;
        return broken(format!("a store that another process has open answers {error:?}, not Locked"));
    }
    running.kill()?;
    ensure(last(&*suite.open(folder.path())?)? > 0, || "after the other process was gone the store is empty".into())
}

pub(super) fn killed_while_writing(suite: &StorageSuite<'_>, rng: &mut Rng) -> Outcome {
    durable(suite)?;
    let folder = folder()?;
    let mut before = 0;
    for kill in 0..KILLS {
        let mut running = start(suite, folder.path(), None)?;
        let mut heard = before;
        for _ in 0..=rng.below(8) {
            let line = running.expect(&["done ", "failed "])?;
            heard = number(&line).or_broken(format!("a child said `{line}`, where a number"))?;
        }
        let_pass(rng, Duration::from_millis(8));
        let acknowledged = running.kill()?.unwrap_or(heard);
        let found = last(&*suite.open(folder.path())?)?;
        ensure(found == acknowledged || found == acknowledged + 1, || {
            format!("after kill {kill}, commit {acknowledged} had returned and {found} was the last in the store")
        })?;
        before = found;
    }
    Ok(())
}

pub(super) fn killed_while_made(suite: &StorageSuite<'_>, rng: &mut Rng) -> Outcome {
    durable(suite)?;
    let first = folder()?;
    let mut running = start(suite, first.path(), None)?;
    running.expect(&["opening"])?;
    let began = Instant::now();
    running.expect(&["open"])?;
    let takes = began.elapsed();
    running.kill()?;
    for kill in 0..CREATION_KILLS {
        let folder = folder()?;
        let mut running = start(suite, folder.path(), None)?;
        running.expect(&["opening"])?;
        let_pass(rng, takes + takes / 2);
        let acknowledged = running.kill()?.unwrap_or(0);
        let store = suite.try_open(folder.path()).or_broken(format!("opening what kill {kill} left"))?;
        let found = last(&*store)?;
        ensure(found == acknowledged || found == acknowledged + 1, || {
            format!("after kill {kill}, commit {acknowledged} had returned and {found} was the last in the store")
        })?;
        store.commit(batch(found + 1)).or_broken("a commit after it was made again")?;
    }
    Ok(())
}

/// What a child on a full disk did: the last commit that returned, and what followed the failure.
fn fill(suite: &StorageSuite<'_>, folder: &std::path::Path, room: Room) -> Result<(u64, Running), Trouble> {
    let blocks = room.file_blocks_max;
    let mut running = start(suite, folder, Some(room))?;
    let mut acknowledged = 0;
    loop {
        match running.hear(&["done ", "failed "])? {
            None => return broken(format!("with files of {blocks} blocks at most the process ended without an error")),
            Some(line) => match number(&line) {
                Some(number) if number > u64::from(blocks) + 100 => {
                    return does_not_apply("this system's shell does not limit the size of files");
                }
                Some(number) => acknowledged = number,
                None => return Ok((acknowledged, running)),
            },
        }
    }
}

pub(super) fn full_disk(suite: &StorageSuite<'_>, _: &mut Rng) -> Outcome {
    durable(suite)?;
    for blocks in FULL_AT_BLOCKS {
        let folder = folder()?;
        let (acknowledged, mut running) = fill(suite, folder.path(), Room::of(blocks))?;
        // Until it has let go of the store.
        running.hear(&["never said"])?;
        drop(running);
        let store = suite.try_open(folder.path()).or_broken("opening with room again")?;
        let found = last(&*store)?;
        ensure(found == acknowledged || found == acknowledged + 1, || {
            format!(
                "with files of {blocks} blocks at most commit {acknowledged} had returned, and {found} was the last in the store"
            )
        })?;
        store.commit(batch(found + 1)).or_broken("a commit with room again")?;
    }
    Ok(())
}

pub(super) fn poisoned(suite: &StorageSuite<'_>, _: &mut Rng) -> Outcome {
    durable(suite)?;
    let mut failed = 0;
    for blocks in FULL_AT_BLOCKS {
        failed += u32::from(is_poisoned(suite, Room::of(blocks))?);
    }
    // One that takes room in advance can't be made in so little: the least in which it can be is looked for.
    let mut blocks = FULL_AT_BLOCKS.into_iter().max().unwrap_or(1);
    while failed == 0 && blocks < FULL_SEARCH_BLOCKS_MAX {
        blocks += blocks / 4 + 1;
        failed += u32::from(is_poisoned(suite, Room { file_blocks_max: blocks, value_bytes: FULL_VALUE_BYTES })?);
    }
    ensure(failed > 0, || "no commit failed for lack of room".into())
}

/// Whether a commit failed, with so much room, and the store then refused everything.
fn is_poisoned(suite: &StorageSuite<'_>, room: Room) -> Result<bool, Trouble> {
    let folder = folder()?;
    let (_, mut running) = fill(suite, folder.path(), room)?;
    match running.hear(&["poisoned", "unpoisoned"])? {
        // It could not even be made.
        None => Ok(false),
        Some(line) if line == "poisoned" => Ok(true),
        Some(line) => {
            broken(format!("after a commit that failed for lack of room: {}", line.trim_start_matches("unpoisoned ")))
        }
    }
}
