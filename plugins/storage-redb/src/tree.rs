//! The tree as a whole: rows put into it durably, and room given back.

use std::time::Instant;

use quorate::storage::StorageError;
use redb::{Database, StorageBackend, WriteTransaction};
use tracing::info;

use crate::{
    failure::{from_io, from_redb},
    journal::Generations,
    medium::Staged,
    opening, record,
    store::CHAIN,
    view::Rows,
};

const ACTION: &str = "make chain.redb durable";

const COMPACT: &str = "compact chain.redb";

/// Puts `rows` into the tree, after which those frames of the journal count that `journal` says. All of it is durable when this returns, and
/// none of it after an error, unless that came from the disk.
pub(crate) fn write(database: &Database, rows: &Rows, journal: Generations) -> Result<(), StorageError> {
    let mut transaction = database.begin_write().map_err(|error| from_redb(ACTION, error))?;
    opening::prepare(&mut transaction)?;
    put(&transaction, rows)?;
    opening::write_meta(&transaction, journal)?;
    transaction.commit().map_err(|error| from_redb(ACTION, error))
}

/// In the order of keys, so that a page which several rows go to is looked for once and is still in memory.
fn put(transaction: &WriteTransaction, rows: &Rows) -> Result<(), StorageError> {
    let mut table = transaction.open_table(CHAIN).map_err(|error| from_redb(ACTION, error))?;
    for (key, value) in rows {
        match value {
            Some(value) => {
                let len = record::CHECKSUM_BYTES.saturating_add(value.len());
                let mut slot = table.insert_reserve(&key[..], len).map_err(|error| from_redb(ACTION, error))?;
                record::fill(slot.as_mut(), key, value);
            }
            None => drop(table.remove(&key[..]).map_err(|error| from_redb(ACTION, error))?),
        }
    }
    Ok(())
}

/// Moves pages from the file's end to free places before them, and cuts the end off. The tree has everything: each step of
/// this is a transaction that leaves the same rows, so that a kill between two leaves a store.
pub(crate) fn compact(database: &mut Database, medium: &Staged) -> Result<(), StorageError> {
    let len = || medium.len().map_err(|error| from_io(COMPACT, error));
    let (begun, before_bytes) = (Instant::now(), len()?);
    database.compact().map_err(|error| from_redb(COMPACT, error))?;
    let (after_bytes, took_ms) = (len()?, begun.elapsed().as_millis());
    info!(before_bytes, after_bytes, took_ms, "storage compacted");
    Ok(())
}
