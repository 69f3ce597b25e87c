//! Catch-up: who is ahead, whom to ask for which blocks, and when to ask somebody else. Pure.

use std::{collections::BTreeMap, time::Duration};

use quorate::{Height, Instant, PeerId};

/// How long a peer may take to answer.
pub(crate) const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// How long an engine may be behind before blocks are fetched for it; it usually gets there by itself.
pub(crate) const GRACE: Duration = Duration::from_millis(700);

/// How long a peer that did not answer, or not well, is not asked.
pub(crate) const REST: Duration = Duration::from_secs(10);

/// Peers remembered at most.
const PEERS_MAX: usize = 1024;

/// How often one peer's differing block is asked for.
const FORK_CHECK_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy)]
struct Peer {
    height: Height,
    /// It has no block below, as it said.
    blocks_from: Height,
    rests_until: Instant,
    fork_checked: Option<Instant>,
}

impl Peer {
    /// Whether it has the block above `tip`, as far as it said.
    fn has_next(&self, tip: Height) -> bool {
        self.height > tip && self.blocks_from <= tip.next()
    }
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    peer: PeerId,
    until: Instant,
    answered: bool,
}

/// What to ask of whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) peer: PeerId,
    pub(crate) from: Height,
}

/// The state of catch-up.
#[derive(Debug, Default)]
pub(crate) struct CatchUp {
    peers: BTreeMap<PeerId, Peer>,
    asked: Option<Asked>,
    behind_since: Option<Instant>,
    urgent: bool,
    /// Whether to fetch at once, because no engine gets there by itself.
    eager: bool,
    /// Whether to fetch at once for now.
    hurried: bool,
    last_asked: Option<PeerId>,
}

impl CatchUp {
    pub(crate) fn new(eager: bool) -> Self {
        Self { eager, ..Self::default() }
    }

    /// Whether to fetch at once, because the engine has not started.
    pub(crate) fn hurry(&mut self, hurried: bool) {
        self.hurried = hurried;
    }

    /// A peer's height, as it says. It may be lower than before: a peer put back to an older state.
    pub(crate) fn heard(&mut self, peer: PeerId, height: Height) {
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(&peer) {
            return;
        }
        let new = Peer { height, blocks_from: Height::GENESIS, rests_until: Instant::default(), fork_checked: None };
        self.peers.entry(peer).or_insert(new).height = height;
    }

    /// A peer says that it has no blocks below `blocks_from`: for those another one is asked, at once.
    pub(crate) fn has_only(&mut self, peer: PeerId, blocks_from: Height) {
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.blocks_from = blocks_from;
        }
        if self.asked.is_some_and(|asked| asked.peer == peer && !asked.answered) {
            self.asked = None;
        }
    }

    /// When no peer has the next block, though some are higher: the lowest height whose block any of them has.
    pub(crate) fn out_of_reach(&self, tip: Height) -> Option<Height> {
        let from = self.peers.values().filter(|peer| peer.height > tip).map(|peer| peer.blocks_from).min();
        from.filter(|from| *from > tip.next())
    }

    /// The engine knows of a final block that it can't get.
    pub(crate) fn needed(&mut self, peer: PeerId, height: Height) {
        let known = self.peers.get(&peer).map_or(Height::GENESIS, |peer| peer.height);
        self.heard(peer, known.max(height));
        self.urgent = true;
    }

    pub(crate) fn gone(&mut self, peer: &PeerId) {
        self.peers.remove(peer);
        if self.asked.is_some_and(|asked| asked.peer == *peer) {
            self.asked = None;
        }
    }

    /// The highest height that a peer claims.
    pub(crate) fn best(&self) -> Height {
        self.peers.values().map(|peer| peer.height).max().unwrap_or_default()
    }

    /// The engine made a block final: it is not stuck.
    pub(crate) fn engine_advanced(&mut self) {
        self.behind_since = None;
        self.urgent = false;
    }

    /// Whether a request is on its way.
    pub(crate) fn is_active(&self) -> bool {
        self.asked.is_some()
    }

    /// Whether this peer's differing block should be fetched now.
    pub(crate) fn fork_check(&mut self, now: Instant, peer: &PeerId) -> bool {
        let Some(entry) = self.peers.get_mut(peer) else { return false };
        if entry.fork_checked.is_some_and(|last| now.since(last) < FORK_CHECK_EVERY) {
            return false;
        }
        entry.fork_checked = Some(now);
        true
    }

    /// Whom to ask now, if anybody. `busy`: blocks of the last answer are still being taken.
    pub(crate) fn poll(&mut self, now: Instant, tip: Height, busy: bool) -> Option<Ask> {
        if let Some(asked) = self.asked {
            if asked.answered && !busy {
                self.asked = None;
            } else if !asked.answered && now >= asked.until {
                self.failed(now, asked.peer);
            } else {
                return None;
            }
        }
        if self.best() <= tip {
            self.behind_since = None;
            self.urgent = false;
            return None;
        }
        let since = *self.behind_since.get_or_insert(now);
        if !(self.eager || self.hurried || self.urgent || now.since(since) >= GRACE) {
            return None;
        }
        let able = |peer: &Peer| peer.has_next(tip) && now >= peer.rests_until;
        // The next in order after the last one asked, so that no peer is asked for everything.
        let after = self.peers.iter().find(|(id, peer)| self.last_asked.is_none_or(|last| **id > last) && able(peer));
        let (peer, _) = after.or_else(|| self.peers.iter().find(|(_, peer)| able(peer)))?;
        let peer = *peer;
        self.asked = Some(Asked { peer, until: now.after(ANSWER_WAIT), answered: false });
        self.last_asked = Some(peer);
        Some(Ask { peer, from: tip.next() })
    }

    /// When [`CatchUp::poll`] has something to do without being told anything.
    pub(crate) fn due(&self, tip: Height) -> Option<Instant> {
        if let Some(asked) = self.asked {
            return (!asked.answered).then_some(asked.until);
        }
        if self.best() <= tip {
            return None;
        }
        let ready = self.behind_since.map(|since| if self.eager || self.hurried { since } else { since.after(GRACE) });
        // Without any who has the next block there is nothing to do until somebody says something.
        let rested = self.peers.values().filter(|peer| peer.has_next(tip)).map(|peer| peer.rests_until).min()?;
        ready.max(Some(rested))
    }

    /// Whether blocks from this peer were asked for.
    pub(crate) fn answered(&mut self, peer: &PeerId) -> bool {
        match &mut self.asked {
            Some(asked) if asked.peer == *peer && !asked.answered => {
                asked.answered = true;
                true
            }
            _ => false,
        }
    }

    /// The peer did not answer, or gave what it should not have.
    pub(crate) fn failed(&mut self, now: Instant, peer: PeerId) {
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.rests_until = now.after(REST);
        }
        if self.asked.is_some_and(|asked| asked.peer == peer) {
            self.asked = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> PeerId {
        PeerId::new([n; 32])
    }

    fn at(ms: u64) -> Instant {
        Instant(ms * 1000)
    }

    #[test]
    fn an_engine_has_time_to_get_there_by_itself() {
        let mut sync = CatchUp::new(false);
        sync.heard(peer(1), Height(5));
        assert_eq!(sync.poll(at(0), Height(4), false), None);
        assert_eq!(sync.due(Height(4)), Some(at(700)));
        assert_eq!(sync.poll(at(700), Height(4), false), Some(Ask { peer: peer(1), from: Height(5) }));
        sync.engine_advanced();
    }

    #[test]
    fn a_silent_peer_is_replaced_and_rests() {
        let mut sync = CatchUp::new(true);
        sync.heard(peer(1), Height(5));
        sync.heard(peer(2), Height(5));
        assert_eq!(sync.poll(at(0), Height(0), false).unwrap().peer, peer(1));
        assert_eq!(sync.poll(at(10), Height(0), false), None);
        assert_eq!(sync.poll(at(5000), Height(0), false).unwrap().peer, peer(2));
        assert_eq!(sync.poll(at(10_000), Height(0), false), None);
        assert_eq!(sync.poll(at(15_000), Height(0), false).unwrap().peer, peer(1));
    }

    #[test]
    fn who_has_removed_the_next_block_is_not_asked_for_it_and_another_is_at_once() {
        let mut sync = CatchUp::new(true);
        sync.heard(peer(1), Height(50));
        sync.heard(peer(2), Height(50));
        assert_eq!(sync.poll(at(0), Height(4), false).unwrap().peer, peer(1));
        sync.has_only(peer(1), Height(30));
        assert_eq!(sync.poll(at(1), Height(4), false).unwrap().peer, peer(2));
        assert_eq!(sync.out_of_reach(Height(4)), None);
        sync.has_only(peer(2), Height(20));
        assert_eq!(sync.poll(at(2), Height(4), false), None);
        assert_eq!(sync.out_of_reach(Height(4)), Some(Height(20)));
        // The loop would spin on an instant that has passed.
        assert_eq!(sync.due(Height(4)), None);
        // From where on they have blocks they are as good as others.
        assert_eq!(sync.out_of_reach(Height(19)), None);
        assert_eq!(sync.poll(at(3), Height(19), false), Some(Ask { peer: peer(2), from: Height(20) }));
        sync.has_only(peer(9), Height(20));
    }

    #[test]
    fn nothing_unasked_counts_as_an_answer() {
        let mut sync = CatchUp::new(true);
        sync.heard(peer(1), Height(5));
        assert!(!sync.answered(&peer(1)));
        sync.poll(at(0), Height(0), false);
        assert!(!sync.answered(&peer(2)));
        assert!(sync.answered(&peer(1)));
        assert!(!sync.answered(&peer(1)));
        assert_eq!(sync.poll(at(1), Height(2), true), None);
        assert_eq!(sync.poll(at(1), Height(3), false).unwrap().from, Height(4));
    }
}
