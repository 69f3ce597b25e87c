//! What there is to do, in memory: which ballots are held, who took them, and when each is due next.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use bytes::Bytes;
use quorate::{Hash, TransactionId};
use tokio::sync::oneshot;

use super::{Bounds, Held, record::shorten};

/// How a held ballot stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// No validator has it, as far as is known.
    Queued {
        /// Why not, when that was tried.
        reason: Option<String>,
    },
    /// This validator took it.
    Taken {
        /// Who.
        by: String,
    },
}

struct Waiting {
    sequence: u64,
    accepted_ms: u64,
    len: usize,
    eid: Hash,
    tracker: Hash,
    /// Kept until the first attempt, which mostly succeeds at once.
    bytes: Option<Bytes>,
    taken: Option<String>,
    /// When it was taken, and how long no receipt has come.
    taken_at: Option<Instant>,
    attempts: u32,
    reason: Option<String>,
    due: Option<Instant>,
    /// Told when it was tried for the first time.
    told: Vec<oneshot::Sender<()>>,
}

/// A held ballot, for lists.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) id: TransactionId,
    pub(crate) sequence: u64,
    pub(crate) accepted_ms: u64,
    pub(crate) eid: Hash,
    pub(crate) tracker: Hash,
    pub(crate) standing: Standing,
    pub(crate) attempts: u32,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Index {
    entries: HashMap<TransactionId, Waiting>,
    due: BTreeSet<(Instant, u64, TransactionId)>,
    bytes: usize,
    reserved: (usize, usize),
}

impl Index {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many a validator has taken.
    pub(crate) fn taken(&self) -> usize {
        self.entries.values().filter(|one| one.taken.is_some()).count()
    }

    /// How long the oldest is held, in milliseconds, at `now_ms`.
    pub(crate) fn oldest_ms(&self, now_ms: u64) -> u64 {
        self.entries.values().map(|one| one.accepted_ms).min().map_or(0, |oldest| now_ms.saturating_sub(oldest))
    }

    /// How many of an election are held.
    pub(crate) fn of_election(&self, eid: &Hash) -> usize {
        self.entries.values().filter(|one| one.eid == *eid).count()
    }

    /// Whether a ballot of this length fits, beside what is being made durable.
    pub(crate) fn has_room(&self, len: usize, bounds: Bounds) -> bool {
        let (count, bytes) = self.reserved;
        self.entries.len() + count < bounds.count_max && self.bytes + bytes + len <= bounds.bytes_max
    }

    /// Keeps room for a ballot that is being made durable; give what comes back to [`Index::release`].
    pub(crate) fn reserve(&mut self, len: usize, bounds: Bounds) -> Option<usize> {
        let (count, bytes) = self.reserved;
        self.has_room(len, bounds).then(|| {
            self.reserved = (count + 1, bytes + len);
            len
        })
    }

    pub(crate) fn release(&mut self, len: usize) {
        let (count, bytes) = self.reserved;
        self.reserved = (count.saturating_sub(1), bytes.saturating_sub(len));
    }

    /// A ballot that the ledger holds; it is due at once.
    pub(crate) fn insert(&mut self, held: &Held, bytes: Option<Bytes>) {
        if self.entries.contains_key(&held.id) {
            return;
        }
        self.bytes += held.len;
        let now = Instant::now();
        self.due.insert((now, held.sequence, held.id));
        self.entries.insert(
            held.id,
            Waiting {
                sequence: held.sequence,
                accepted_ms: held.accepted_ms,
                len: held.len,
                eid: held.eid,
                tracker: held.tracker,
                bytes,
                taken: None,
                taken_at: None,
                attempts: 0,
                reason: None,
                due: Some(now),
                told: Vec::new(),
            },
        );
    }

    pub(crate) fn contains(&self, id: &TransactionId) -> bool {
        self.entries.contains_key(id)
    }

    pub(crate) fn remove(&mut self, id: &TransactionId) {
        if let Some(gone) = self.entries.remove(id) {
            self.bytes = self.bytes.saturating_sub(gone.len);
            if let Some(due) = gone.due {
                self.due.remove(&(due, gone.sequence, *id));
            }
            gone.told.into_iter().for_each(tell);
        }
    }

    /// Resolves when a ballot was tried for the first time, or is settled.
    pub(crate) fn first_attempt(&mut self, id: &TransactionId) -> Option<oneshot::Receiver<()>> {
        let waiting = self.entries.get_mut(id).filter(|one| one.attempts == 0)?;
        let (sender, receiver) = oneshot::channel();
        waiting.told.push(sender);
        Some(receiver)
    }

    pub(crate) fn standing(&self, id: &TransactionId) -> Option<Standing> {
        self.entries.get(id).map(Waiting::standing)
    }

    /// Takes up to `max` ballots that are due out of the queue: [`Index::took`] or [`Index::later`] puts each back.
    pub(crate) fn take_due(&mut self, now: Instant, max: usize) -> Vec<(TransactionId, Option<Bytes>)> {
        let mut found = Vec::new();
        while found.len() < max
            && self.due.first().is_some_and(|(at, _, _)| *at <= now)
            && let Some((_, _, id)) = self.due.pop_first()
        {
            if let Some(one) = self.entries.get_mut(&id) {
                one.due = None;
                found.push((id, one.bytes.clone()));
            }
        }
        found
    }

    /// When the next is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _, _)| *at)
    }

    /// A validator took it; it is sent again when no receipt has come after `again`.
    pub(crate) fn took(&mut self, id: &TransactionId, by: &str, again: Duration) {
        let now = Instant::now();
        if let Some(one) = self.entries.get_mut(id) {
            one.bytes = None;
            one.taken = Some(by.to_owned());
            one.taken_at.get_or_insert(now);
            one.reason = None;
        }
        self.put_back(id, now + again);
    }

    /// Nobody took it, or whoever did may have lost it.
    pub(crate) fn later(&mut self, id: &TransactionId, reason: &str, again: Duration) {
        if let Some(one) = self.entries.get_mut(id) {
            one.bytes = None;
            one.taken = None;
            one.taken_at = None;
            one.reason = Some(shorten(reason));
        }
        self.put_back(id, Instant::now() + again);
    }

    /// What was taken by somebody who is gone is due at once, and is not called taken any more.
    pub(crate) fn lost_by(&mut self, validator: &str) -> usize {
        let lost: Vec<TransactionId> =
            self.entries.iter().filter(|(_, one)| one.taken.as_deref() == Some(validator)).map(|(id, _)| *id).collect();
        for id in &lost {
            if let Some(one) = self.entries.get_mut(id) {
                one.taken = None;
                one.reason = Some(format!("{validator}, which took it, does not answer any more"));
            }
            self.due_now(id);
        }
        lost.len()
    }

    /// Makes one due at once, unless it is being sent just now.
    pub(crate) fn due_now(&mut self, id: &TransactionId) {
        if self.entries.get(id).is_some_and(|one| one.due.is_some()) {
            self.schedule(id, Instant::now());
        }
    }

    /// Those whose sending ended without a word: due again after `again`.
    pub(crate) fn stranded(&mut self, ids: &[TransactionId], again: Duration) {
        for id in ids {
            if self.entries.get(id).is_some_and(|one| one.due.is_none()) {
                self.put_back(id, Instant::now() + again);
            }
        }
    }

    /// Makes all due at once; gives their number.
    pub(crate) fn all_due(&mut self) -> usize {
        let all: Vec<TransactionId> = self.entries.keys().copied().collect();
        all.iter().for_each(|id| self.due_now(id));
        all.len()
    }

    /// Those whom a validator took longer than `age` ago, the longest first, at most `max`.
    pub(crate) fn overdue(&self, now: Instant, age: Duration, max: usize) -> Vec<TransactionId> {
        let mut found: Vec<(Instant, TransactionId)> = self
            .entries
            .iter()
            .filter_map(|(id, one)| Some((one.taken_at?, *id)))
            .filter(|(at, _)| now.saturating_duration_since(*at) >= age)
            .collect();
        found.sort();
        found.into_iter().take(max).map(|(_, id)| id).collect()
    }

    /// All ids.
    pub(crate) fn ids(&self) -> Vec<TransactionId> {
        self.entries.keys().copied().collect()
    }

    /// Those from a place on in the order of acceptance, at most `max`.
    pub(crate) fn rows(&self, from: u64, max: usize) -> Vec<Row> {
        let mut rows: Vec<Row> = self
            .entries
            .iter()
            .filter(|(_, one)| one.sequence >= from)
            .map(|(id, one)| Row {
                id: *id,
                sequence: one.sequence,
                accepted_ms: one.accepted_ms,
                eid: one.eid,
                tracker: one.tracker,
                standing: one.standing(),
                attempts: one.attempts,
            })
            .collect();
        rows.sort_by_key(|row| row.sequence);
        rows.truncate(max);
        rows
    }

    /// Tried once more.
    fn put_back(&mut self, id: &TransactionId, due: Instant) {
        if let Some(one) = self.entries.get_mut(id) {
            one.attempts = one.attempts.saturating_add(1);
            std::mem::take(&mut one.told).into_iter().for_each(tell);
        }
        self.schedule(id, due);
    }

    fn schedule(&mut self, id: &TransactionId, due: Instant) {
        let Some(one) = self.entries.get_mut(id) else { return };
        if let Some(before) = one.due.replace(due) {
            self.due.remove(&(before, one.sequence, *id));
        }
        self.due.insert((due, one.sequence, *id));
    }
}

/// Whoever waits may have gone away.
fn tell(waiter: oneshot::Sender<()>) {
    let _ = waiter.send(());
}

impl Waiting {
    fn standing(&self) -> Standing {
        match &self.taken {
            Some(by) => Standing::Taken { by: by.clone() },
            None => Standing::Queued { reason: self.reason.clone() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(number: u8) -> Held {
        Held {
            id: TransactionId::new([number; 32]),
            sequence: number.into(),
            accepted_ms: 0,
            len: 10,
            eid: Hash::new([0; 32]),
            tracker: Hash::new([0; 32]),
            settled: None,
        }
    }

    #[test]
    fn each_is_sent_in_order_and_again_when_it_is_due_or_lost() {
        let mut index = Index::default();
        for number in [3, 1, 2] {
            index.insert(&held(number), Some(Bytes::from_static(b"ballot")));
        }
        let later = Instant::now() + Duration::from_millis(1);
        let sent = index.take_due(later, 2);
        assert_eq!((sent.len(), index.take_due(later, 9).len()), (2, 1), "each is taken out once");
        let [one, two, three] = [1, 2, 3].map(|number| held(number).id);
        index.took(&one, "a", Duration::from_secs(60));
        index.took(&two, "b", Duration::from_secs(60));
        index.later(&three, "nobody answers", Duration::from_secs(60));
        assert_eq!(index.taken(), 2);
        assert_eq!(index.standing(&three), Some(Standing::Queued { reason: Some("nobody answers".into()) }));
        assert!(index.take_due(Instant::now(), 9).is_empty());
        assert_eq!(index.lost_by("a"), 1);
        assert!(matches!(index.standing(&one), Some(Standing::Queued { .. })));
        let again = index.take_due(Instant::now(), 9);
        assert_eq!(again.iter().map(|(id, bytes)| (*id, bytes.is_some())).collect::<Vec<_>>(), [(one, false)]);
        index.due_now(&one);
        assert!(index.take_due(Instant::now(), 9).is_empty(), "it is on its way");
        index.remove(&one);
        assert_eq!((index.len(), index.bytes()), (2, 20));
    }

    #[test]
    fn whoever_waits_for_the_first_attempt_is_told_of_it_or_of_the_end() {
        let mut index = Index::default();
        for number in [1, 2] {
            index.insert(&held(number), None);
        }
        let [one, two] = [1, 2].map(|number| held(number).id);
        let mut first = index.first_attempt(&one).unwrap();
        let mut second = index.first_attempt(&two).unwrap();
        assert!(first.try_recv().is_err());
        index.take_due(Instant::now(), 9);
        index.took(&one, "a", Duration::ZERO);
        index.remove(&two);
        assert!(first.try_recv().is_ok() && second.try_recv().is_ok());
        assert!(index.first_attempt(&one).is_none(), "it was tried");
    }

    #[test]
    fn room_is_kept_for_what_is_being_written() {
        let mut index = Index::default();
        let bounds = Bounds { count_max: 2, bytes_max: 100 };
        let one = index.reserve(40, bounds).unwrap();
        assert!(index.reserve(70, bounds).is_none(), "bytes");
        let two = index.reserve(40, bounds).unwrap();
        assert!(index.reserve(1, bounds).is_none(), "count");
        index.release(one);
        index.insert(&held(1), None);
        index.release(two);
        assert!(index.reserve(40, bounds).is_some());
    }
}
