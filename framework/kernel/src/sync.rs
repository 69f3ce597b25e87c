//! Catch-up: who is ahead, whom to ask for which blocks, and when to ask somebody else. Pure.
//!
//! One request is on its way at a time, and it goes on where the blocks at hand end: so blocks come in order, from the peers in turn, while
//! those before them are taken.

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
    from: Height,
    until: Instant,
    /// The blocks before it were given up: what comes goes on where nothing ends.
    unwanted: bool,
}

/// What to ask of whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) peer: PeerId,
    pub(crate) from: Height,
}

/// How far this node is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    /// The last final block.
    pub(crate) tip: Height,
    /// The last block at hand; the tip if there is none.
    pub(crate) last: Height,
    /// So much is at hand that no more should come.
    pub(crate) full: bool,
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

    /// A peer says that it has no blocks below `blocks_from`, and is at `height`. That counts as its answer to a request only, for a block
    /// below: then another one is asked, at once. Whether it did.
    pub(crate) fn has_only(&mut self, now: Instant, peer: PeerId, height: Height, blocks_from: Height) -> bool {
        let Some(from) = self.asked_for(&peer) else { return false };
        if blocks_from <= from || blocks_from > height {
            self.failed(now, peer);
            return false;
        }
        self.heard(peer, height);
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.blocks_from = blocks_from;
        }
        self.asked = None;
        true
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

    /// Whom to ask now, if anybody.
    pub(crate) fn poll(&mut self, now: Instant, at: Progress) -> Option<Ask> {
        if let Some(asked) = self.asked {
            if now < asked.until {
                return None;
            }
            self.failed(now, asked.peer);
        }
        if self.best() <= at.tip {
            self.behind_since = None;
            self.urgent = false;
            return None;
        }
        let since = *self.behind_since.get_or_insert(now);
        if at.full || !(self.eager || self.hurried || self.urgent || now.since(since) >= GRACE) {
            return None;
        }
        let able = |peer: &Peer| peer.has_next(at.last) && now >= peer.rests_until;
        // The next in order after the last one asked, so that no peer is asked for everything.
        let after = self.peers.iter().find(|(id, peer)| self.last_asked.is_none_or(|last| **id > last) && able(peer));
        let (peer, _) = after.or_else(|| self.peers.iter().find(|(_, peer)| able(peer)))?;
        let (peer, from) = (*peer, at.last.next());
        self.asked = Some(Asked { peer, from, until: now.after(ANSWER_WAIT), unwanted: false });
        self.last_asked = Some(peer);
        Some(Ask { peer, from })
    }

    /// When [`CatchUp::poll`] has something to do without being told anything.
    pub(crate) fn due(&self, at: Progress) -> Option<Instant> {
        if let Some(asked) = self.asked {
            return Some(asked.until);
        }
        if at.full || self.best() <= at.last {
            return None;
        }
        let ready = self.behind_since.map(|since| if self.eager || self.hurried { since } else { since.after(GRACE) });
        // Without any who has the next block there is nothing to do until somebody says something.
        let rested = self.peers.values().filter(|peer| peer.has_next(at.last)).map(|peer| peer.rests_until).min()?;
        ready.max(Some(rested))
    }

    /// From which height on this peer was asked for blocks, if it has not answered.
    pub(crate) fn asked_for(&self, peer: &PeerId) -> Option<Height> {
        self.asked.filter(|asked| asked.peer == *peer).map(|asked| asked.from)
    }

    /// Takes note that blocks came from this peer, and says from which height on it was asked for them, if it was and they are wanted.
    pub(crate) fn answered(&mut self, peer: &PeerId) -> Option<Height> {
        let asked = self.asked.take_if(|asked| asked.peer == *peer)?;
        (!asked.unwanted).then_some(asked.from)
    }

    /// The blocks at hand were given up: the answer that is on its way can't follow them. Nobody is asked before it came, so that it is not
    /// taken for another.
    pub(crate) fn gave_up(&mut self) {
        if let Some(asked) = &mut self.asked {
            asked.unwanted = true;
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

    /// With nothing at hand.
    fn tip(height: u64) -> Progress {
        at_hand(height, height)
    }

    fn at_hand(tip: u64, last: u64) -> Progress {
        Progress { tip: Height(tip), last: Height(last), full: false }
    }

    fn ask(n: u8, from: u64) -> Option<Ask> {
        Some(Ask { peer: peer(n), from: Height(from) })
    }

    #[test]
    fn an_engine_has_time_to_get_there_by_itself() {
        let mut sync = CatchUp::new(false);
        sync.heard(peer(1), Height(5));
        assert_eq!(sync.poll(at(0), tip(4)), None);
        assert_eq!(sync.due(tip(4)), Some(at(700)));
        assert_eq!(sync.poll(at(700), tip(4)), ask(1, 5));
        sync.engine_advanced();
    }

    #[test]
    fn a_silent_peer_is_replaced_and_rests() {
        let mut sync = CatchUp::new(true);
        sync.heard(peer(1), Height(5));
        sync.heard(peer(2), Height(5));
        assert_eq!(sync.poll(at(0), tip(0)), ask(1, 1));
        assert_eq!(sync.poll(at(10), tip(0)), None);
        assert_eq!(sync.poll(at(5000), tip(0)), ask(2, 1));
        assert_eq!(sync.poll(at(10_000), tip(0)), None);
        assert_eq!(sync.poll(at(15_000), tip(0)), ask(1, 1));
    }

    #[test]
    fn who_has_removed_the_next_block_is_not_asked_for_it_and_another_is_at_once() {
        let mut sync = CatchUp::new(true);
        sync.heard(peer(1), Height(50));
        sync.heard(peer(2), Height(50));
        assert_eq!(sync.poll(at(0), tip(4)), ask(1, 5));
        assert!(sync.has_only(at(1), peer(1), Height(50), Height(30)));
        assert_eq!(sync.poll(at(1), tip(4)), ask(2, 5));
        assert_eq!(sync.out_of_reach(Height(4)), None);
        assert!(sync.has_only(at(2), peer(2), Height(50), Height(20)));
        assert_eq!(sync.poll(at(2), tip(4)), None);
        assert_eq!(sync.out_of_reach(Height(4)), Some(Height(20)));
        // The loop would spin on an instant that has passed.
        assert_eq!(sync.due(tip(4)), None);
        // From where on they have blocks they are as good as others.
        assert_eq!(sync.out_of_reach(Height(19)), None);
        assert_eq!(sync.poll(at(3), tip(19)), ask(2, 20));
        // What nobody asked for, and what is no answer.
        assert!(!sync.has_only(at(3), peer(9), Height(50), Height(40)));
        assert!(!sync.has_only(at(3), peer(1), Height(50), Height(40)));
        assert!(!sync.has_only(at(3), peer(2), Height(50), Height(7)));
        assert_eq!(sync.poll(at(4), tip(19)), None, "one that says nothing to the matter rests");
    }

    #[test]
    fn nothing_unasked_counts_as_an_answer() {
        let mut sync = CatchUp::new(true);
        sync.heard(peer(1), Height(5));
        assert_eq!(sync.answered(&peer(1)), None);
        sync.poll(at(0), tip(0));
        assert_eq!(sync.answered(&peer(2)), None);
        assert_eq!(sync.answered(&peer(1)), Some(Height(1)));
        assert_eq!(sync.answered(&peer(1)), None);
    }

    #[test]
    fn the_next_range_is_asked_for_from_the_next_peer_while_blocks_are_at_hand() {
        let mut sync = CatchUp::new(true);
        sync.heard(peer(1), Height(9));
        sync.heard(peer(2), Height(9));
        assert_eq!(sync.poll(at(0), tip(0)), ask(1, 1));
        sync.answered(&peer(1));
        assert_eq!(sync.poll(at(1), at_hand(2, 4)), ask(2, 5));
        sync.answered(&peer(2));
        let full = Progress { full: true, ..at_hand(3, 7) };
        assert_eq!((sync.poll(at(2), full), sync.due(full)), (None, None));
        assert_eq!(sync.poll(at(3), at_hand(4, 7)), ask(1, 8));
        sync.answered(&peer(1));
        assert_eq!(sync.poll(at(4), at_hand(4, 9)), None);
        assert_eq!(sync.due(at_hand(4, 9)), None);
    }

    #[test]
    fn an_answer_that_was_on_its_way_when_all_was_given_up_is_waited_for_and_not_taken() {
        let mut sync = CatchUp::new(true);
        sync.heard(peer(1), Height(9));
        sync.heard(peer(2), Height(9));
        sync.poll(at(0), tip(0));
        sync.answered(&peer(1));
        assert_eq!(sync.poll(at(1), at_hand(0, 4)), ask(2, 5));
        sync.failed(at(2), peer(1));
        sync.gave_up();
        assert_eq!(sync.poll(at(3), tip(1)), None);
        assert_eq!(sync.answered(&peer(2)), None);
        assert_eq!(sync.poll(at(4), tip(1)), ask(2, 2));
        assert_eq!(sync.answered(&peer(2)), Some(Height(2)));
    }
}
