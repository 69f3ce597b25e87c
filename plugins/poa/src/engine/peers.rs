//! What is kept of each peer: how many answers it may still have, and its messages for the next heights.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use quorate::{Height, Instant, PeerId};

/// Peers remembered at most.
pub(crate) const PEERS_MAX: usize = 1024;

/// Answers which a peer may have at once.
pub(crate) const ANSWERS_MAX: u32 = 8;

/// One more answer is allowed this often.
pub(crate) const ANSWER_EVERY: Duration = Duration::from_millis(50);

/// Messages of one peer for the next heights kept at most.
pub(crate) const AHEAD_MAX: usize = 64;

/// Heights ahead for which messages are kept.
pub(crate) const HEIGHTS_AHEAD: u64 = 2;

#[derive(Debug)]
struct Peer {
    answers: u32,
    refilled: Instant,
    up: bool,
    ahead: VecDeque<(Height, Bytes)>,
    ahead_bytes: usize,
}

impl Peer {
    fn new(now: Instant) -> Self {
        Self { answers: ANSWERS_MAX, refilled: now, up: false, ahead: VecDeque::new(), ahead_bytes: 0 }
    }
}

/// All peers that were heard of.
#[derive(Debug, Default)]
pub(crate) struct Peers(BTreeMap<PeerId, Peer>);

impl Peers {
    fn peer(&mut self, id: PeerId, now: Instant) -> Option<&mut Peer> {
        if !self.0.contains_key(&id) && self.0.len() >= PEERS_MAX {
            return None;
        }
        Some(self.0.entry(id).or_insert_with(|| Peer::new(now)))
    }

    /// A new link: everything may be answered again.
    pub(crate) fn up(&mut self, id: PeerId, now: Instant) {
        if let Some(peer) = self.peer(id, now) {
            peer.up = true;
            peer.answers = ANSWERS_MAX;
        }
    }

    /// The link is gone; says whether it was the last.
    pub(crate) fn down(&mut self, id: &PeerId) -> bool {
        let Some(peer) = self.0.get_mut(id) else { return false };
        let was_up = std::mem::take(&mut peer.up);
        // What it said before stays said.
        if peer.ahead.is_empty() {
            self.0.remove(id);
        }
        was_up && !self.0.values().any(|peer| peer.up)
    }

    /// Whether the peer may have one more answer now; takes it.
    pub(crate) fn may_answer(&mut self, id: PeerId, now: Instant) -> bool {
        let Some(peer) = self.peer(id, now) else { return false };
        let more = now.since(peer.refilled).as_micros() / ANSWER_EVERY.as_micros();
        if more > 0 {
            peer.answers = peer.answers.saturating_add(u32::try_from(more).unwrap_or(u32::MAX)).min(ANSWERS_MAX);
            peer.refilled = now;
        }
        let allowed = peer.answers > 0;
        peer.answers = peer.answers.saturating_sub(1);
        allowed
    }

    /// Keeps a message for a later height; `false` when there is no room.
    pub(crate) fn keep(&mut self, id: PeerId, now: Instant, height: Height, bytes: Bytes, bytes_max: usize) -> bool {
        let Some(peer) = self.peer(id, now) else { return false };
        if peer.ahead.len() >= AHEAD_MAX || peer.ahead_bytes.saturating_add(bytes.len()) > bytes_max {
            return false;
        }
        peer.ahead_bytes += bytes.len();
        peer.ahead.push_back((height, bytes));
        true
    }

    /// Takes out the messages kept for `height`, peer by peer; older ones are dropped.
    pub(crate) fn take(&mut self, height: Height) -> Vec<(PeerId, Bytes)> {
        let mut taken = Vec::new();
        for (id, peer) in &mut self.0 {
            for (of, bytes) in std::mem::take(&mut peer.ahead) {
                if of > height {
                    peer.ahead.push_back((of, bytes));
                } else {
                    peer.ahead_bytes = peer.ahead_bytes.saturating_sub(bytes.len());
                    if of == height {
                        taken.push((*id, bytes));
                    }
                }
            }
        }
        taken
    }

    /// Whether a message of a later height waits: someone is ahead.
    pub(crate) fn any_ahead(&self) -> bool {
        self.0.values().any(|peer| !peer.ahead.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: PeerId = PeerId::new([1; 32]);

    #[test]
    fn a_peer_cannot_ask_for_answers_without_end() {
        let mut peers = Peers::default();
        let asked = |peers: &mut Peers, now| (0..100).filter(|_| peers.may_answer(ID, Instant(now))).count();
        assert_eq!(asked(&mut peers, 0), 8);
        assert_eq!(asked(&mut peers, 49_999), 0);
        assert_eq!(asked(&mut peers, 100_000), 2);
        assert_eq!(asked(&mut peers, 10_000_000), 8);
    }

    #[test]
    fn messages_ahead_are_bounded_in_count_and_bytes_for_each_peer() {
        let mut peers = Peers::default();
        let other = PeerId::new([2; 32]);
        let kept =
            (0..100).filter(|_| peers.keep(ID, Instant(0), Height(2), Bytes::from_static(b"12345678"), 1000)).count();
        assert_eq!(kept, 64);
        assert!(peers.keep(other, Instant(0), Height(3), Bytes::from_static(b"x"), 1000), "others are not affected");
        assert!(!peers.keep(other, Instant(0), Height(3), vec![0; 1000].into(), 1000));
        assert_eq!(peers.take(Height(2)).len(), 64);
        assert!(peers.any_ahead());
        assert_eq!(peers.take(Height(3)), vec![(other, Bytes::from_static(b"x"))]);
        assert!(!peers.any_ahead());
    }
}
