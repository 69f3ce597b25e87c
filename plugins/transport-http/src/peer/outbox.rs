//! What waits to be sent on one connection: a bounded queue for each class, the most urgent sent first.
//!
//! A full queue of pool or sync messages drops the newest: what waits is the older part of a sequence, useless with a hole in its
//! middle, while the sender of the newest can send again. Votes are never dropped one by one: a peer that does not take them is
//! disconnected, and learns everything anew when it is back.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use bytes::{Bytes, BytesMut};
use quorate::transport::{Class, MESSAGE_BYTES_MAX};
use tokio::sync::Notify;

use super::{
    budget::{Budget, Charge},
    frame::{CLASSES, FRAGMENT_BYTES_MAX, Kind, PerClass, put, put_first},
    hello::Goodbye,
    locked,
};

/// How much of one class may wait for one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueueBounds {
    pub(super) count: usize,
    pub(super) bytes: usize,
}

/// Consensus messages that may wait: far more than all rounds of a height, and three of the longest.
pub(super) const CONSENSUS_BOUNDS: QueueBounds = QueueBounds { count: 2048, bytes: 3 * MESSAGE_BYTES_MAX };

/// Pool messages that may wait.
pub(super) const POOL_BOUNDS: QueueBounds = QueueBounds { count: 4096, bytes: 2 * MESSAGE_BYTES_MAX };

/// Sync messages that may wait: answers to requests, of which a peer has few open.
pub(super) const SYNC_BOUNDS: QueueBounds = QueueBounds { count: 64, bytes: 2 * MESSAGE_BYTES_MAX };

/// Bytes that may wait for all connections of strangers together, broadcasts not counted: those are shared between the queues,
/// but blocks are sent to each who asks.
pub(super) const STRANGERS_UNSENT_BYTES_MAX: usize = 128 << 20;

/// Bytes gathered for one write; with one fragment more, what a vote waits for at most.
const BATCH_BYTES: usize = 64 << 10;

fn bounds(class: Class) -> QueueBounds {
    match class {
        Class::Consensus => CONSENSUS_BOUNDS,
        Class::Pool => POOL_BOUNDS,
        Class::Sync => SYNC_BOUNDS,
    }
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    Queued,
    /// The class is full; how many of it this connection has dropped so far.
    Dropped(u64),
    /// The consensus class is full: the peer must go.
    Overflow,
    /// The connection is closing.
    Closed,
}

/// What the writer shall do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// Write what was appended.
    Some,
    /// Wait.
    Empty,
    /// Say goodbye and close.
    Closed(Goodbye),
}

/// The queues of one connection.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
    ready: Notify,
    closing: Notify,
}

#[derive(Debug, Default)]
struct State {
    queues: PerClass<Queue>,
    goodbye: Option<Goodbye>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<(Bytes, Option<Charge>)>,
    bytes: usize,
    /// Bytes of the first that were sent.
    sent: usize,
    dropped: u64,
}

impl Outbox {
    /// Queues a message of at most [`MESSAGE_BYTES_MAX`]; `strangers` is what it is held within, if it is for a
    /// stranger alone.
    pub(super) fn push(&self, class: Class, bytes: &Bytes, strangers: Option<&Arc<Budget>>) -> Pushed {
        let mut state = locked(&self.state);
        if state.goodbye.is_some() {
            return Pushed::Closed;
        }
        let queue = state.queues.of_mut(class);
        let bounds = bounds(class);
        let mut fits = queue.waiting.len() < bounds.count && queue.bytes + bytes.len() <= bounds.bytes;
        let mut charge = None;
        if fits && let Some(budget) = strangers {
            charge = budget.take(bytes.len());
            fits = charge.is_some();
        }
        if fits {
            queue.bytes += bytes.len();
            queue.waiting.push_back((bytes.clone(), charge));
            drop(state);
            self.ready.notify_one();
            Pushed::Queued
        } else if class == Class::Consensus {
            Pushed::Overflow
        } else {
            queue.dropped += 1;
            Pushed::Dropped(queue.dropped)
        }
    }

    /// Appends the next fragments to `out`, the most urgent first.
    pub(super) fn fill(&self, out: &mut BytesMut) -> Filled {
        let mut state = locked(&self.state);
        let before = out.len();
        while out.len() < BATCH_BYTES {
            if !CLASSES.into_iter().any(|class| state.queues.of_mut(class).put_fragment(class, out)) {
                break;
            }
        }
        if out.len() > before {
            return Filled::Some;
        }
        state.goodbye.clone().map_or(Filled::Empty, Filled::Closed)
    }

    /// Waits until there may be something to send.
    pub(super) async fn ready(&self) {
        self.ready.notified().await;
    }

    /// Takes no more messages and ends with `goodbye`, after what waits if `flush`. Only the first call counts.
    pub(super) fn close(&self, goodbye: Goodbye, flush: bool) {
        let mut state = locked(&self.state);
        if state.goodbye.is_some() {
            return;
        }
        state.goodbye = Some(goodbye);
        if !flush {
            // Dropping half a message is fine here: a goodbye may stand between fragments, and nothing follows it.
            state.queues = PerClass::default();
        }
        drop(state);
        self.ready.notify_one();
        self.closing.notify_one();
    }

    /// Waits for [`Outbox::close`]. For one waiter.
    pub(super) async fn closing(&self) {
        self.closing.notified().await;
    }

    /// The goodbye given to [`Outbox::close`].
    pub(super) fn goodbye(&self) -> Option<Goodbye> {
        locked(&self.state).goodbye.clone()
    }

    /// Messages dropped so far, of pool and sync together.
    pub(super) fn dropped(&self) -> u64 {
        let state = locked(&self.state);
        state.queues.pool.dropped + state.queues.sync.dropped
    }
}

impl Queue {
    /// Appends the next fragment of the first message; false if none waits.
    fn put_fragment(&mut self, class: Class, out: &mut BytesMut) -> bool {
        let Some((message, _)) = self.waiting.front() else { return false };
        let total = message.len();
        let end = total.min(self.sent + FRAGMENT_BYTES_MAX);
        let fragment = message.get(self.sent..end).unwrap_or_default();
        if self.sent == 0 {
            put_first(out, class, total, fragment);
        } else {
            put(out, Kind::Next(class), fragment);
        }
        self.sent = end;
        if end == total {
            self.waiting.pop_front();
            self.bytes = self.bytes.saturating_sub(total);
            self.sent = 0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::{
        frame::{HEADER_BYTES, Header},
        hello::Farewell,
    };

    fn kinds(mut bytes: &[u8]) -> Vec<Kind> {
        let mut kinds = Vec::new();
        while let Some(header) = Header::parse(bytes).unwrap() {
            kinds.push(header.kind);
            bytes = &bytes[HEADER_BYTES + header.body_bytes..];
        }
        kinds
    }

    fn fill(outbox: &Outbox) -> Vec<Kind> {
        let mut out = BytesMut::new();
        assert_eq!(outbox.fill(&mut out), Filled::Some);
        kinds(&out)
    }

    #[test]
    fn a_vote_overtakes_a_long_block_between_its_fragments() {
        let outbox = Outbox::default();
        outbox.push(Class::Sync, &Bytes::from(vec![0; FRAGMENT_BYTES_MAX * 3]), None);
        assert_eq!(fill(&outbox), [Kind::First(Class::Sync)]);
        outbox.push(Class::Pool, &Bytes::from_static(b"transaction"), None);
        outbox.push(Class::Consensus, &Bytes::from_static(b"vote"), None);
        assert_eq!(fill(&outbox), [Kind::First(Class::Consensus), Kind::First(Class::Pool), Kind::Next(Class::Sync)]);
        assert_eq!(fill(&outbox), [Kind::Next(Class::Sync)]);
        assert_eq!(outbox.fill(&mut BytesMut::new()), Filled::Empty);
    }

    #[test]
    fn a_full_lower_class_drops_the_newest_and_counts() {
        let outbox = Outbox::default();
        for _ in 0..POOL_BOUNDS.count {
            assert_eq!(outbox.push(Class::Pool, &Bytes::from_static(b"x"), None), Pushed::Queued);
        }
        assert_eq!(outbox.push(Class::Pool, &Bytes::from_static(b"x"), None), Pushed::Dropped(1));
        let long = Bytes::from(vec![0; MESSAGE_BYTES_MAX]);
        assert_eq!(outbox.push(Class::Sync, &long, None), Pushed::Queued);
        assert_eq!(outbox.push(Class::Sync, &long, None), Pushed::Queued);
        assert_eq!(outbox.push(Class::Sync, &Bytes::from_static(b"x"), None), Pushed::Dropped(1));
        assert_eq!(outbox.dropped(), 2);
        assert_eq!(outbox.push(Class::Consensus, &Bytes::from_static(b"vote"), None), Pushed::Queued);
    }

    #[test]
    fn a_full_consensus_class_is_an_overflow() {
        let outbox = Outbox::default();
        for _ in 0..CONSENSUS_BOUNDS.count {
            assert_eq!(outbox.push(Class::Consensus, &Bytes::new(), None), Pushed::Queued);
        }
        assert_eq!(outbox.push(Class::Consensus, &Bytes::new(), None), Pushed::Overflow);
    }

    #[test]
    fn strangers_share_the_memory_for_blocks() {
        let budget = Budget::new(10);
        let (one, two) = (Outbox::default(), Outbox::default());
        assert_eq!(one.push(Class::Sync, &Bytes::from_static(b"12345678"), Some(&budget)), Pushed::Queued);
        assert_eq!(two.push(Class::Sync, &Bytes::from_static(b"123"), Some(&budget)), Pushed::Dropped(1));
        assert_eq!(two.push(Class::Sync, &Bytes::from_static(b"123"), None), Pushed::Queued);
        fill(&one);
        assert_eq!(two.push(Class::Sync, &Bytes::from_static(b"123"), Some(&budget)), Pushed::Queued);
    }

    #[test]
    fn closing_flushes_if_asked_and_takes_no_more() {
        let goodbye = Goodbye::new(Farewell::Stopping, "stopping");
        let outbox = Outbox::default();
        outbox.push(Class::Pool, &Bytes::from_static(b"x"), None);
        outbox.close(goodbye.clone(), true);
        assert_eq!(outbox.push(Class::Pool, &Bytes::from_static(b"x"), None), Pushed::Closed);
        assert_eq!(fill(&outbox), [Kind::First(Class::Pool)]);
        assert_eq!(outbox.fill(&mut BytesMut::new()), Filled::Closed(goodbye.clone()));

        let outbox = Outbox::default();
        outbox.push(Class::Pool, &Bytes::from_static(b"x"), None);
        outbox.close(goodbye.clone(), false);
        assert_eq!(outbox.fill(&mut BytesMut::new()), Filled::Closed(goodbye));
    }
}
