//! The pool: transactions that wait for a block, bounded, in a fair order.
//!
//! Transactions of one sender stand in order of their sequence; senders take turns. A transaction whose predecessor is missing waits, at
//! most [`GAP_WAIT`]. Of transactions with a common conflict key the first to come stays.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use quorate::{
    Height, Instant, TransactionId,
    application::{Admission, Rejection},
    node::{PoolStatus, SubmitError},
};

use crate::keyed::IdMap;

/// How long a transaction whose predecessor is missing may wait.
pub const GAP_WAIT: Duration = Duration::from_secs(600);

/// Transactions looked through for a block at most, as a multiple of those it may hold.
const LOOK_FACTOR: usize = 4;

/// What the pool holds at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolLimits {
    /// Transactions.
    pub count_max: usize,
    /// Their bytes.
    pub bytes_max: usize,
    /// Transactions of one sender.
    pub per_sender_max: usize,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self { count_max: 10_000, bytes_max: 32 << 20, per_sender_max: 2_000 }
    }
}

struct Entry {
    bytes: Bytes,
    admission: Admission,
    arrived: Instant,
    /// Not in the chain up to [`Pool::tip`].
    new: bool,
}

#[derive(Default)]
struct Sender {
    next: u64,
    waiting: BTreeMap<u64, TransactionId>,
}

/// Transactions that wait.
pub struct Pool {
    limits: PoolLimits,
    bytes: usize,
    /// The last final block whose transactions were taken out.
    tip: Height,
    entries: IdMap<Entry>,
    /// Those of whom nothing waits any more are forgotten by [`Pool::forget_senders`].
    senders: HashMap<Bytes, Sender>,
    /// All senders, in turn.
    turns: VecDeque<Bytes>,
    conflicts: HashMap<Bytes, TransactionId>,
    /// Where [`Pool::out_of_step`] and [`Pool::older`] go on: of many they look at a part each time.
    out_of_step_at: usize,
    older_at: usize,
    /// How long the last blocks took to come, for `retry_after_ms`.
    retry_after_ms: u64,
}

impl Pool {
    /// An empty pool.
    pub fn new(limits: PoolLimits, retry_after_ms: u64) -> Self {
        Self {
            limits,
            bytes: 0,
            tip: Height::GENESIS,
            entries: IdMap::default(),
            senders: HashMap::new(),
            turns: VecDeque::new(),
            conflicts: HashMap::new(),
            out_of_step_at: 0,
            older_at: 0,
            retry_after_ms,
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bytes of a transaction that waits.
    pub fn get(&self, id: &TransactionId) -> Option<&Bytes> {
        self.entries.get(id).map(|entry| &entry.bytes)
    }

    /// The bytes of those that wait, in the order of `ids`.
    pub(crate) fn held<'a>(&self, ids: impl Iterator<Item = &'a TransactionId>) -> Vec<Option<Bytes>> {
        ids.map(|id| self.get(id).cloned()).collect()
    }

    /// Whether a transaction waits and is known not to be in the chain up to `tip`: only of the tip to which the pool has come.
    pub fn is_new(&self, id: &TransactionId, tip: Height) -> bool {
        tip == self.tip && self.entries.get(id).is_some_and(|entry| entry.new)
    }

    /// Whether a transaction came no later than `before`, and waits still.
    pub fn held_since(&self, id: &TransactionId, before: Instant) -> bool {
        self.entries.get(id).is_some_and(|entry| entry.arrived <= before)
    }

    /// Whether there is room for one of `len` bytes.
    ///
    /// # Errors
    ///
    /// [`SubmitError::PoolFull`].
    pub fn room(&self, len: usize) -> Result<(), SubmitError> {
        if self.entries.len() >= self.limits.count_max || self.bytes + len > self.limits.bytes_max {
            return Err(self.full());
        }
        Ok(())
    }

    fn full(&self) -> SubmitError {
        SubmitError::PoolFull {
            count: self.entries.len() as u64,
            bytes: self.bytes as u64,
            retry_after_ms: self.retry_after_ms,
        }
    }

    /// Adds a checked transaction, which was looked for in the chain up to `tip` and not found; `false` when it is there already.
    ///
    /// # Errors
    ///
    /// [`SubmitError`].
    pub fn insert(
        &mut self,
        now: Instant,
        tip: Height,
        (id, bytes): (TransactionId, Bytes),
        admission: Admission,
    ) -> Result<bool, SubmitError> {
        if self.entries.contains_key(&id) {
            return Ok(false);
        }
        self.room(bytes.len())?;
        for key in &admission.conflict_keys {
            if let Some(winner) = self.conflicts.get(key) {
                return Err(SubmitError::Rejected(Rejection::Duplicate { winner: *winner }));
            }
        }
        let sender = match self.senders.get_mut(&admission.sender) {
            Some(sender) => sender,
            None => {
                // As many again as can wait at most: some are removed for other reasons than a block.
                if self.turns.len() >= self.limits.count_max.saturating_mul(2) {
                    self.forget_senders();
                }
                self.turns.push_back(admission.sender.clone());
                self.senders.entry(admission.sender.clone()).or_default()
            }
        };
        if let Some(winner) = sender.waiting.get(&admission.sequence) {
            return Err(SubmitError::Rejected(Rejection::Duplicate { winner: *winner }));
        }
        if sender.waiting.len() >= self.limits.per_sender_max {
            return Err(self.full());
        }
        sender.next = sender.next.max(admission.next_sequence);
        sender.waiting.insert(admission.sequence, id);
        for key in &admission.conflict_keys {
            self.conflicts.insert(key.clone(), id);
        }
        self.bytes += bytes.len();
        // A block after `tip` which was taken out of the pool before may have it.
        let new = tip >= self.tip;
        self.entries.insert(id, Entry { bytes, admission, arrived: now, new });
        Ok(true)
    }

    /// Removes one, whatever the reason.
    pub fn remove(&mut self, id: &TransactionId) -> Option<Bytes> {
        let entry = self.entries.remove(id)?;
        self.bytes -= entry.bytes.len();
        for key in &entry.admission.conflict_keys {
            if self.conflicts.get(key) == Some(id) {
                self.conflicts.remove(key);
            }
        }
        let sender = &entry.admission.sender;
        if let Some(queue) = self.senders.get_mut(sender) {
            queue.waiting.remove(&entry.admission.sequence);
        }
        Some(entry.bytes)
    }

    /// Takes out what a block made final.
    pub fn committed<'a>(&mut self, ids: impl IntoIterator<Item = &'a TransactionId>) {
        for id in ids {
            if let Some(entry) = self.entries.get(id) {
                let next = entry.admission.sequence.saturating_add(1);
                if let Some(sender) = self.senders.get_mut(&entry.admission.sender) {
                    sender.next = sender.next.max(next);
                }
            }
            self.remove(id);
        }
        self.forget_senders();
    }

    /// Notes that what the blocks up to `tip` made final is taken out.
    pub fn came_to(&mut self, tip: Height) {
        self.tip = tip;
    }

    /// Forgets the senders of whom nothing waits.
    fn forget_senders(&mut self) {
        let senders = &mut self.senders;
        self.turns.retain(|sender| match senders.get(sender) {
            Some(queue) if !queue.waiting.is_empty() => true,
            _ => {
                senders.remove(sender);
                false
            }
        });
    }

    /// Candidates for a block, senders in turn, each in order and without gaps: at most `count` of together `bytes`.
    pub fn candidates(&mut self, count: usize, bytes: usize) -> Vec<(TransactionId, Bytes)> {
        let mut chosen = Vec::new();
        let mut room = bytes;
        let mut at: HashMap<Bytes, u64> = HashMap::new();
        let mut idle = 0;
        let mut looked = 0;
        while chosen.len() < count && idle < self.turns.len() && looked < count.saturating_mul(LOOK_FACTOR).max(64) {
            looked += 1;
            let Some(sender) = self.turns.pop_front() else { break };
            let next = self.senders.get(&sender).and_then(|queue| {
                let sequence = at.get(&sender).copied().unwrap_or(queue.next);
                queue.waiting.get(&sequence).map(|id| (sequence, *id))
            });
            let fitting = next.and_then(|(sequence, id)| {
                let entry = self.entries.get(&id)?;
                (entry.bytes.len() + 4 <= room).then(|| (sequence, id, entry.bytes.clone()))
            });
            match fitting {
                Some((sequence, id, bytes)) => {
                    idle = 0;
                    room -= bytes.len() + 4;
                    at.insert(sender.clone(), sequence.saturating_add(1));
                    chosen.push((id, bytes));
                }
                None => idle += 1,
            }
            self.turns.push_back(sender);
        }
        chosen
    }

    /// Whether any could go into a block now.
    pub fn has_ready(&self) -> bool {
        self.senders.values().any(|queue| queue.waiting.contains_key(&queue.next))
    }

    /// Senders whose first transaction waits for a predecessor or is behind, with that transaction: at most `limit`, and others the next time.
    pub fn out_of_step(&mut self, limit: usize) -> Vec<(TransactionId, Bytes)> {
        let waiting = in_turn(self.senders.values(), self.out_of_step_at).filter_map(|(at, queue)| {
            let (sequence, id) = queue.waiting.first_key_value()?;
            let entry = self.entries.get(id)?;
            (*sequence != queue.next).then(|| (at, (*id, entry.bytes.clone())))
        });
        let (next, found) = taken(waiting, limit);
        self.out_of_step_at = next;
        found
    }

    /// Notes what the state says now of a transaction that waits.
    pub fn update(&mut self, id: &TransactionId, admission: &Admission) {
        if self.entries.contains_key(id)
            && let Some(sender) = self.senders.get_mut(&admission.sender)
        {
            sender.next = sender.next.max(admission.next_sequence);
        }
    }

    /// Drops those which waited too long for a predecessor.
    pub fn expire(&mut self, now: Instant) -> usize {
        let old = |id: &TransactionId| self.entries.get(id).is_some_and(|entry| now.since(entry.arrived) > GAP_WAIT);
        let stale: Vec<TransactionId> = self
            .senders
            .values()
            .filter(|queue| !queue.waiting.contains_key(&queue.next))
            .flat_map(|queue| queue.waiting.values().filter(|id| old(id)).copied())
            .collect();
        for id in &stale {
            self.remove(id);
        }
        stale.len()
    }

    /// Everything, in no order, at most `limit`.
    pub fn all(&self, limit: usize) -> Vec<Bytes> {
        self.entries.values().take(limit).map(|entry| entry.bytes.clone()).collect()
    }

    /// Those which came before `before`: at most `limit`, and others the next time.
    pub fn older(&mut self, before: Instant, limit: usize) -> Vec<Bytes> {
        let old = in_turn(self.entries.values(), self.older_at).filter(|(_, entry)| entry.arrived <= before);
        let (next, found) = taken(old.map(|(at, entry)| (at, entry.bytes.clone())), limit);
        self.older_at = next;
        found
    }

    /// How full it is, with the ids of at most `listed`.
    pub fn status(&self, listed: usize) -> PoolStatus {
        PoolStatus {
            count: self.entries.len() as u64,
            bytes: self.bytes as u64,
            count_max: self.limits.count_max as u64,
            bytes_max: self.limits.bytes_max as u64,
            transactions: self.entries.keys().take(listed).copied().collect(),
        }
    }
}

/// All, each with its place, from the place `from` on and then those before it.
fn in_turn<T>(all: impl Iterator<Item = T> + Clone, from: usize) -> impl Iterator<Item = (usize, T)> {
    let all = all.enumerate();
    all.clone().skip(from).chain(all.take(from))
}

/// At most `limit`, and the place after the last of them.
fn taken<T>(found: impl Iterator<Item = (usize, T)>, limit: usize) -> (usize, Vec<T>) {
    let (places, found): (Vec<usize>, Vec<T>) = found.take(limit).unzip();
    (places.last().map_or(0, |last| last.saturating_add(1)), found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> TransactionId {
        TransactionId::new([n; 32])
    }

    fn admission(sender: &'static str, sequence: u64, next: u64) -> Admission {
        Admission { sender: sender.into(), sequence, next_sequence: next, conflict_keys: vec![] }
    }

    fn pool() -> Pool {
        Pool::new(PoolLimits { count_max: 4, bytes_max: 100, per_sender_max: 3 }, 1000)
    }

    fn put(pool: &mut Pool, n: u8, admission: Admission) -> Result<bool, SubmitError> {
        pool.insert(Instant(0), Height(0), (id(n), Bytes::from(vec![n; 10])), admission)
    }

    #[test]
    fn senders_take_turns_and_keep_their_order() {
        let mut pool = pool();
        for (n, admission) in
            [(2, admission("a", 1, 0)), (1, admission("a", 0, 0)), (3, admission("b", 7, 7))].into_iter()
        {
            assert_eq!(put(&mut pool, n, admission), Ok(true));
        }
        let order: Vec<_> = pool.candidates(10, 1000).into_iter().map(|(id, _)| id).collect();
        assert_eq!(order, [id(1), id(3), id(2)]);
    }

    #[test]
    fn a_gap_waits_until_it_is_filled_or_too_old() {
        let mut pool = pool();
        put(&mut pool, 2, admission("a", 1, 0)).unwrap();
        assert!(pool.candidates(10, 1000).is_empty() && !pool.has_ready());
        pool.update(&id(2), &admission("a", 1, 1));
        assert_eq!(pool.candidates(10, 1000).len(), 1);
        put(&mut pool, 3, admission("b", 1, 0)).unwrap();
        assert_eq!(pool.expire(Instant(0).after(GAP_WAIT * 2)), 1);
        assert_eq!(pool.len(), 1);
    }

    /// Many who wait for what never comes keep nobody from being looked at, and none from being shared again.
    #[test]
    fn of_many_each_has_its_turn() {
        let mut pool = pool();
        for n in 1..=4 {
            let sender = Bytes::from(vec![n; 4]);
            put(&mut pool, n, Admission { sender, ..admission("", 1, 0) }).unwrap();
        }
        let mut ids: Vec<_> = (0..4).flat_map(|_| pool.out_of_step(1)).map(|(id, _)| id).collect();
        ids.sort();
        assert_eq!(ids, [id(1), id(2), id(3), id(4)]);
        let mut shared: Vec<_> = (0..2).flat_map(|_| pool.older(Instant(0), 2)).map(|bytes| bytes[0]).collect();
        shared.sort_unstable();
        assert_eq!(shared, [1, 2, 3, 4]);
        assert_eq!((pool.out_of_step(9).len(), pool.older(Instant(0), 9).len()), (4, 4));
    }

    #[test]
    fn bounds_hold_and_say_so() {
        let mut pool = pool();
        for n in 0..3 {
            put(&mut pool, n, admission("a", n.into(), 0)).unwrap();
        }
        assert!(matches!(put(&mut pool, 9, admission("a", 3, 0)), Err(SubmitError::PoolFull { count: 3, .. })));
        put(&mut pool, 4, admission("b", 0, 0)).unwrap();
        assert!(matches!(
            put(&mut pool, 5, admission("c", 0, 0)),
            Err(SubmitError::PoolFull { count: 4, bytes: 40, .. })
        ));
        assert_eq!(put(&mut pool, 4, admission("b", 0, 0)), Ok(false));
        pool.committed(&[id(0), id(1)]);
        assert_eq!(pool.status(0).count, 2);
        assert_eq!(pool.candidates(10, 1000).len(), 2);
        assert_eq!(pool.candidates(10, 14).len(), 1);
    }

    #[test]
    fn the_first_holder_of_a_conflict_key_wins() {
        let mut pool = pool();
        let with_key = |sender| Admission { conflict_keys: vec!["k".into()], ..admission(sender, 0, 0) };
        put(&mut pool, 1, with_key("a")).unwrap();
        let second = put(&mut pool, 2, with_key("b"));
        assert_eq!(second, Err(SubmitError::Rejected(Rejection::Duplicate { winner: id(1) })));
        pool.remove(&id(1));
        assert_eq!(put(&mut pool, 2, with_key("b")), Ok(true));
    }

    /// Between the look into the chain and the pool a block may become final.
    #[test]
    fn what_was_looked_for_in_an_older_chain_is_not_called_new() {
        let mut pool = pool();
        let put = |pool: &mut Pool, n: u8, sender, tip| {
            pool.insert(Instant(0), Height(tip), (id(n), Bytes::new()), admission(sender, 0, 0)).unwrap()
        };
        put(&mut pool, 1, "a", 0);
        pool.came_to(Height(5));
        put(&mut pool, 2, "b", 4);
        put(&mut pool, 3, "c", 6);
        assert_eq!([1, 2, 3, 4].map(|n| pool.is_new(&id(n), Height(5))), [true, false, true, false]);
        // Of another tip the pool does not know.
        assert_eq!([4, 6].map(|tip| pool.is_new(&id(1), Height(tip))), [false, false]);
        pool.remove(&id(1));
        assert!(!pool.is_new(&id(1), Height(5)));
    }

    #[test]
    fn a_sender_has_one_turn_however_often_it_went_and_came_and_is_forgotten_when_idle() {
        let mut pool = pool();
        for _ in 0..3 {
            put(&mut pool, 1, admission("a", 0, 0)).unwrap();
            pool.remove(&id(1));
        }
        put(&mut pool, 1, admission("a", 0, 0)).unwrap();
        assert_eq!((pool.turns.len(), pool.senders.len()), (1, 1));
        pool.committed(&[id(1)]);
        assert_eq!((pool.turns.len(), pool.senders.len()), (0, 0));
        // Without a block as well: many who come and go take no more than twice the room of those who can wait.
        for n in 0..100 {
            let sender = Bytes::from(vec![n; 4]);
            put(&mut pool, n, Admission { sender, ..admission("", 0, 0) }).unwrap();
            pool.remove(&id(n));
            assert!(pool.turns.len() <= 8 && pool.senders.len() == pool.turns.len(), "{}", pool.turns.len());
        }
    }
}
