//! The bootnode's table of records: who may register what, for how long, and how many.
//!
//! Pure: no clock, no socket. The rules:
//!
//! 1. An entry is one key in one network. Its sequence only rises.
//! 2. A name belongs, within its network, to the key that registered it first, until that entry is stale. So does an address,
//!    across all networks: no two nodes answer at one.
//! 3. A reserved name belongs to its key alone. That key takes its name and address back from whoever holds them, and a full
//!    table makes room for it.
//! 4. An entry of which nothing was heard for [`STALE_AFTER`] is gone.
//! 5. Counts are bounded in all and per source address.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use quorate::{ChainId, Instant, PublicKey};
use serde::{Deserialize, Serialize};

use crate::record::{Heartbeat, Record, RecordError};

/// How long an entry lives after its last record or heartbeat.
pub const STALE_AFTER: Duration = Duration::from_secs(300);

/// Records that any table may hold at most.
pub const RECORDS_MAX: usize = 1024;

/// Names that may be reserved at most.
pub const RESERVED_MAX: usize = 256;

/// A name that belongs to one key whether it is registered or not.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reserved {
    /// The name.
    pub name: String,
    /// Its key.
    pub public_key: PublicKey,
}

/// How much a table takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableLimits {
    /// Records in all, at most [`RECORDS_MAX`].
    pub records_max: usize,
    /// Records from one source address; reserved keys don't count.
    pub records_per_address_max: usize,
}

/// Why a record or heartbeat is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It is none.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The name belongs to another key.
    #[error("node_id `{node_id}` belongs to {holder} until that is silent for {} s", STALE_AFTER.as_secs())]
    NameTaken {
        /// The name.
        node_id: String,
        /// Whose it is.
        holder: PublicKey,
    },
    /// The address belongs to another key.
    #[error("address {address} belongs to {holder} until that is silent for {} s", STALE_AFTER.as_secs())]
    AddressTaken {
        /// The address.
        address: String,
        /// Whose it is.
        holder: PublicKey,
    },
    /// It is older than what is known, or the same again.
    #[error("sequence is {sequence}; it must be above {last}")]
    Sequence {
        /// As given.
        sequence: u64,
        /// The last one taken.
        last: u64,
    },
    /// A heartbeat of somebody who is not registered.
    #[error("{key} is not registered, or its record went stale; register again")]
    Unknown {
        /// Whose.
        key: PublicKey,
    },
    /// The table is full.
    #[error("the registry is full with {records} records; try again later")]
    Full {
        /// How many it holds.
        records: usize,
    },
    /// The source address has registered too many.
    #[error("this address has registered {records} records, which is its limit")]
    AddressFull {
        /// How many.
        records: usize,
    },
}

#[derive(Debug)]
struct Entry {
    record: Record,
    address: String,
    /// Of the record or the latest heartbeat.
    sequence: u64,
    heard: Instant,
    from: IpAddr,
    reserved: bool,
}

/// A record as it is told to others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// The record, with which its reader can check the signature.
    #[serde(flatten)]
    pub record: Record,
    /// Seconds since the node was last heard of.
    pub last_seen_s: u64,
}

type Key = (Option<ChainId>, PublicKey);

/// The records.
#[derive(Debug)]
pub struct Table {
    entries: BTreeMap<Key, Entry>,
    reserved: Vec<Reserved>,
    limits: TableLimits,
}

impl Table {
    /// An empty table.
    pub fn new(limits: TableLimits, reserved: Vec<Reserved>) -> Self {
        let limits = TableLimits { records_max: limits.records_max.min(RECORDS_MAX), ..limits };
        Self { entries: BTreeMap::new(), reserved, limits }
    }

    /// Takes a record that came from `from`.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; then nothing has changed.
    pub fn register(&mut self, now: Instant, from: IpAddr, record: Record) -> Result<(), Refusal> {
        self.forget_stale(now);
        let address = record.check_fields()?;
        let key = (record.chain_id, record.public_key);
        if let Some(known) = self.entries.get(&key)
            && record.sequence <= known.sequence
        {
            return Err(Refusal::Sequence { sequence: record.sequence, last: known.sequence });
        }
        let reserved = self.reserved.iter().any(|one| one.public_key == record.public_key);
        let displaced = self.conflicts(&key, &record, &address, reserved)?;
        let evicted = self.room(&key, from, reserved, displaced.len())?;
        // Last, because it costs the most; before it nothing has changed.
        record.check_signature()?;
        for gone in displaced.iter().chain(&evicted) {
            self.entries.remove(gone);
        }
        let sequence = record.sequence;
        self.entries.insert(key, Entry { record, address, sequence, heard: now, from, reserved });
        Ok(())
    }

    /// Notes that a registered node is still there.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; then nothing has changed.
    pub fn heartbeat(&mut self, now: Instant, beat: &Heartbeat) -> Result<(), Refusal> {
        self.forget_stale(now);
        // A key may be in several networks under one name; it is there for all of them.
        let named = |one: &Entry| one.record.public_key == beat.public_key && one.record.node_id == beat.node_id;
        let last = self.entries.values().filter(|one| named(one)).map(|one| one.sequence).max();
        let last = last.ok_or(Refusal::Unknown { key: beat.public_key })?;
        if beat.sequence <= last {
            return Err(Refusal::Sequence { sequence: beat.sequence, last });
        }
        beat.check_signature()?;
        for entry in self.entries.values_mut().filter(|one| named(one)) {
            entry.sequence = beat.sequence;
            entry.heard = now;
        }
        Ok(())
    }

    /// The fresh records that `wanted` selects, by network and key.
    pub fn list(&mut self, now: Instant, wanted: impl Fn(&Record) -> bool) -> Vec<Listed> {
        self.forget_stale(now);
        let fresh = self.entries.values().filter(|entry| wanted(&entry.record));
        fresh
            .map(|entry| Listed { record: entry.record.clone(), last_seen_s: now.since(entry.heard).as_secs() })
            .collect()
    }

    /// How many fresh records there are.
    pub fn count(&mut self, now: Instant) -> usize {
        self.forget_stale(now);
        self.entries.len()
    }

    fn forget_stale(&mut self, now: Instant) {
        self.entries.retain(|_, entry| now.since(entry.heard) < STALE_AFTER);
    }

    /// Whose name or address the record claims; those that a reserved key takes back.
    fn conflicts(&self, key: &Key, record: &Record, address: &str, reserved: bool) -> Result<Vec<Key>, Refusal> {
        let name_taken = |holder| Refusal::NameTaken { node_id: record.node_id.clone(), holder };
        if let Some(owner) = self.reserved.iter().find(|one| one.name == record.node_id)
            && owner.public_key != record.public_key
        {
            return Err(name_taken(owner.public_key));
        }
        let mut displaced = Vec::new();
        for (other_key, other) in self.entries.iter().filter(|(other, _)| *other != key) {
            let holder = other.record.public_key;
            let same_name = other.record.chain_id == record.chain_id && other.record.node_id == record.node_id;
            let taken = if same_name {
                name_taken(holder)
            } else if other.address == address {
                Refusal::AddressTaken { address: address.to_owned(), holder }
            } else if !record.rpc_url.is_empty() && other.record.rpc_url == record.rpc_url {
                Refusal::AddressTaken { address: record.rpc_url.clone(), holder }
            } else {
                continue;
            };
            if !reserved || other.reserved {
                return Err(taken);
            }
            displaced.push(*other_key);
        }
        Ok(displaced)
    }

    /// Whether there is room, once `leaving` entries have left; for a reserved key, whom it costs the place.
    fn room(&self, key: &Key, from: IpAddr, reserved: bool, leaving: usize) -> Result<Option<Key>, Refusal> {
        if self.entries.contains_key(key) {
            return Ok(None);
        }
        let same_source = |entry: &&Entry| !entry.reserved && entry.from == from;
        let here = self.entries.values().filter(same_source).count();
        if !reserved && here >= self.limits.records_per_address_max {
            return Err(Refusal::AddressFull { records: here });
        }
        if self.entries.len().saturating_sub(leaving) < self.limits.records_max {
            return Ok(None);
        }
        let full = Refusal::Full { records: self.entries.len() };
        if !reserved {
            return Err(full);
        }
        let oldest = self.entries.iter().filter(|(_, entry)| !entry.reserved).min_by_key(|(_, entry)| entry.heard);
        oldest.map(|(oldest, _)| Some(*oldest)).ok_or(full)
    }
}
