//! What is kept of each peer: how many answers it may still have, and its messages for the next heights.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::primitives::{Height, Instant, PeerId};
use bytes::Bytes;

/// Peers remembered at most.
pub const PEERS_MAX: usize = 1024;

/// Answers which a peer may have at once.
pub const ANSWERS_MAX: u32 = 8;

/// One more answer is allowed this often.
pub const ANSWER_EVERY: Duration = Duration::from_millis(50);

/// Messages of one peer for the next heights kept at most.
pub const AHEAD_MAX: usize = 64;

/// Who is more heights ahead than this is greeted.
pub const HEIGHTS_AHEAD: u64 = 2;

#[derive(Debug, Clone)]
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
#[derive(Debug, Clone, Default)]
pub struct Peers(BTreeMap<PeerId, Peer>);

impl Peers {
    fn peer(&mut self, id: PeerId, now: Instant) -> Option<&mut Peer> {
        if !self.0.contains_key(&id) && self.0.len() >= PEERS_MAX {
            return None;
        }
        Some(self.0.entry(id).or_insert_with(|| Peer::new(now)))
    }

    /// A new link: everything may be answered again.
    pub fn up(&mut self, id: PeerId, now: Instant) {
        if let Some(peer) = self.peer(id, now) {
            peer.up = true;
            peer.answers = ANSWERS_MAX;
        }
    }

    /// The link is gone; says whether it was the last.
    pub fn down(&mut self, id: &PeerId) -> bool {
        let Some(peer) = self.0.get_mut(id) else { return false };
        let was_up = std::mem::take(&mut peer.up);
        // What it said before stays said.
        if peer.ahead.is_empty() {
            self.0.remove(id);
        }
        was_up && !self.0.values().any(|peer| peer.up)
    }

    /// Those to whom there is a link.
    pub fn all_up(&self) -> impl Iterator<Item = PeerId> {
        self.0.iter().filter(|(_, peer)| peer.up).map(|(id, _)| *id)
    }

    /// Whether there is a link.
    pub fn is_up(&self, id: &PeerId) -> bool {
        self.0.get(id).is_some_and(|peer| peer.up)
    }

    /// Whether the peer may have one more answer now; takes it.
    pub fn may_answer(&mut self, id: PeerId, now: Instant) -> bool {
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

    /// Keeps a message for a later height; the oldest of the same peer give way. Says the highest height of those that are lost.
    ///
    /// The newest matter: whoever is far behind gets there by catch-up, and then needs what is being said there.
    pub fn keep(&mut self, id: PeerId, now: Instant, height: Height, bytes: Bytes, bytes_max: usize) -> Option<Height> {
        let Some(peer) = self.peer(id, now).filter(|_| bytes.len() <= bytes_max) else { return Some(height) };
        let mut lost = None;
        while peer.ahead.len() >= AHEAD_MAX || peer.ahead_bytes.saturating_add(bytes.len()) > bytes_max {
            let Some((of, oldest)) = peer.ahead.pop_front() else { break };
            peer.ahead_bytes = peer.ahead_bytes.saturating_sub(oldest.len());
            lost = lost.max(Some(of));
        }
        peer.ahead_bytes += bytes.len();
        peer.ahead.push_back((height, bytes));
        lost
    }

    /// Takes out the messages kept for `height`, peer by peer; older ones are dropped.
    pub fn take(&mut self, height: Height) -> Vec<(PeerId, Bytes)> {
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
    pub fn any_ahead(&self) -> bool {
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
    fn messages_ahead_are_bounded_in_count_and_bytes_for_each_peer_and_the_newest_stay() {
        let mut peers = Peers::default();
        let other = PeerId::new([2; 32]);
        let now = Instant(0);
        for height in 1..=100 {
            let lost = peers.keep(ID, now, Height(height), Bytes::from_static(b"12345678"), 1000);
            assert_eq!(lost, height.checked_sub(64).filter(|lost| *lost > 0).map(Height));
        }
        assert_eq!(peers.keep(other, now, Height(3), Bytes::from_static(b"x"), 1000), None, "others are not affected");
        assert_eq!(peers.keep(other, now, Height(4), vec![0; 1001].into(), 1000), Some(Height(4)), "too large for any");
        assert_eq!(peers.keep(other, now, Height(4), vec![0; 1000].into(), 1000), Some(Height(3)));
        assert!(peers.take(Height(36)).is_empty());
        assert_eq!(peers.take(Height(37)).len(), 1);
        assert!(peers.any_ahead());
        assert_eq!(peers.take(Height(100)).len(), 1, "what is passed over is dropped");
        assert!(!peers.any_ahead());
    }
}
