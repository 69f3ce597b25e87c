//! Repair: greeting peers, answering those who are behind, saying everything again, and voting only when all missed has come.

use std::time::Duration;

use bytes::Bytes;
use quorate::{Hash, Height, PeerId, Round, ValidatorIndex, consensus::Action, engine::HEIGHTS_AHEAD};

use super::{
    Engine, Fault,
    state::{ROUNDS_KEPT, Seen},
};
use crate::{
    certificate::{QuorumCertificate, VoteKind},
    message::{Message, OVERHEAD_BYTES_MAX},
    signing::STEP_COMMIT,
};

/// All peers are greeted no more often than this.
const HELLO_EVERY: Duration = Duration::from_millis(100);

impl Engine {
    /// This node may have missed something: it asks for it, and in `byzantine-sync` does not vote until it must have come.
    pub(super) fn rejoin(&mut self) {
        self.greeted.clear();
        self.say_hello();
        if !self.rules.model.relies_on_time() {
            return;
        }
        let asked_at = self.deadlines.hello.unwrap_or(self.now);
        self.hold_until(self.rules.after_deltas(asked_at, 2));
        if self.at.round > Round(0) && self.me.is_some() {
            self.note_lock_later();
        }
    }

    fn hold_until(&mut self, until: quorate::Instant) {
        self.deadlines.hold = self.deadlines.hold.max(Some(until));
    }

    /// Greets all peers, now or as soon as it is allowed again.
    pub(super) fn say_hello(&mut self) {
        let next = self.last_hello.map(|last| last.after(HELLO_EVERY));
        if let Some(next) = next.filter(|next| *next > self.now) {
            self.deadlines.hello = Some(next);
            return;
        }
        self.deadlines.hello = None;
        self.last_hello = Some(self.now);
        self.broadcast(&Message::Hello { height: self.height() });
        if self.me.is_some() {
            self.tell_round();
        }
    }

    pub(super) fn on_peer_up(&mut self, peer: PeerId, validator: Option<ValidatorIndex>) {
        self.peers.up(peer, self.now);
        if let Some(validator) = validator {
            self.absent.remove(&validator);
            self.gone.remove(&validator);
        }
        if std::mem::take(&mut self.cut_off) {
            self.rejoin();
        }
        self.send(peer, &Message::Hello { height: self.height() });
        if self.me.is_some() {
            let status = self.status_message();
            self.send(peer, &status);
        }
        // What this validator relayed while there was no link is lost. Only the first link counts: one that is cut again and again
        // must not keep this node from voting.
        if let Some(validator) = validator
            && self.greeted.insert(validator)
            && self.rules.model.relies_on_time()
            && !self.has(crate::planted::PlantedBug::VoteAfterRestart)
        {
            self.hold_until(self.rules.after_deltas(self.now, 2));
        }
    }

    pub(super) fn on_peer_down(&mut self, peer: &PeerId) {
        self.cut_off |= self.peers.down(peer);
        if let Some(validator) = self.validators.index_of(&(*peer).into()) {
            self.heard.remove(&validator);
            self.reached.remove(&validator);
            self.expect_no_more_of(validator);
        }
    }

    /// A message of a later height: kept if it is from a validator; in any case this node is behind.
    pub(super) fn on_above(&mut self, from: PeerId, validator: Option<ValidatorIndex>, message: &Message, raw: Bytes) {
        let height = message.height();
        let near = height.0 <= self.height().0.saturating_add(HEIGHTS_AHEAD);
        if validator.is_some() {
            self.hurry_catch_up(from, height);
        }
        match message {
            Message::Decided(qc) if self.peers.may_answer(from, self.now) => {
                self.out.push(Action::NeedSync { height, from });
                self.learn_that_over(qc);
            }
            Message::Hello { .. } => self.greet_back(from),
            _ if !near => self.greet_back(from),
            _ => {}
        }
        if validator.is_none()
            || matches!(message, Message::Hello { .. } | Message::Fetch { .. } | Message::Body { .. })
        {
            return;
        }
        let room = self.rules.block_bytes_max().saturating_add(OVERHEAD_BYTES_MAX).saturating_mul(3);
        if let Some(lost) = self.peers.keep(from, self.now, height, raw, room) {
            // Who claims absurd heights makes this node greet again at a few heights, no more.
            let soon = Height(self.height().0.saturating_add(ROUNDS_KEPT.into()));
            self.missed = self.missed.max(lost.min(soon));
        }
    }

    /// A later height is decided. When this height's validators did that, an honest one among them has left this height behind, so
    /// that it is decided too, and no vote in it is right any more. (Other validators prove nothing here; catch-up will.)
    fn learn_that_over(&mut self, qc: &QuorumCertificate) {
        if !self.at.over && qc.kind == VoteKind::Commit && self.judge().quorum_certificate(qc).is_ok() {
            self.at.over = true;
            self.end_round();
        }
    }

    /// A validator says that this height is decided, while this node makes good what it missed: catch-up finds out, and soon. Only its
    /// word counts for nothing: a dishonest one could keep this node from voting.
    fn hurry_catch_up(&mut self, from: PeerId, height: Height) {
        if self.holds() && self.peers.may_answer(from, self.now) {
            self.out.push(Action::NeedSync { height: height.previous(), from });
        }
    }

    fn greet_back(&mut self, to: PeerId) {
        if self.peers.may_answer(to, self.now) {
            self.send(to, &Message::Hello { height: self.height() });
        }
    }

    /// A message of a height that is final here: its sender is told so.
    pub(super) fn on_below(&mut self, from: PeerId, message: Message) -> Result<(), Fault> {
        let height = message.height();
        match message {
            Message::Decided(qc) => return self.compare_with_last(&qc),
            // Votes and certificates of a height just decided are late, not a sign that their sender is behind; one that is says so
            // again and again in other messages.
            Message::Vote(vote) => {
                self.note_late_vote(from, &vote);
                return Ok(());
            }
            Message::Body { .. } | Message::Certificate(_) => return Ok(()),
            _ => {}
        }
        if !self.peers.may_answer(from, self.now) {
            return Ok(());
        }
        let last = self.last.as_ref().filter(|last| last.qc.height == height);
        match (message, last) {
            (Message::Fetch { hash, .. }, last) => {
                let block = last.and_then(|last| last.block.clone()).filter(|block| block.hash() == hash);
                if let Some(block) = block {
                    self.send(from, &Message::Body { height, block: block.encoded().clone() });
                }
            }
            (_, Some(last)) => {
                let decided = Message::Decided(last.qc.clone());
                self.send(from, &decided);
            }
            (_, None) => {
                // Votes at that height would be wrong from now on; this says so sooner than blocks can.
                if let Some(last) = &self.last {
                    let decided = Message::Decided(last.qc.clone());
                    self.send(from, &decided);
                }
                self.out.push(Action::Serve { to: from, from_height: height.max(Height(1)) });
            }
        }
        Ok(())
    }

    /// Tells a peer which is in an earlier round where this node stands.
    pub(super) fn answer_round(&mut self, to: PeerId) {
        if self.peers.may_answer(to, self.now) {
            let status = self.status_message();
            self.send(to, &status);
        }
    }

    /// Tells a validator that has just come all that it may have missed of this height.
    pub(super) fn answer_hello(&mut self, to: PeerId) {
        let validator = self.validators.index_of(&to.into());
        if self.me.is_none() || validator.is_none() || !self.peers.may_answer(to, self.now) {
            return;
        }
        if let Some(decision) = self.at.decided.clone() {
            self.send(to, &Message::Decided(decision.qc));
        }
        let status = self.status_message();
        self.send(to, &status);
        for bytes in self.said() {
            self.out.push(Action::Send { to, bytes });
        }
    }

    pub(super) fn answer_fetch(&mut self, to: PeerId, hash: &Hash) {
        let Some(block) = self.at.blocks.get(hash).cloned() else { return };
        if self.peers.may_answer(to, self.now) {
            self.send(to, &Message::Body { height: self.height(), block: block.encoded().clone() });
        }
    }

    /// The proposals of this round and this node's own signed messages, at most five.
    fn said(&self) -> Vec<Bytes> {
        let current = &self.at.current;
        let proposals = [&current.first, &current.second].into_iter().flatten();
        let own = self.at.own.iter().filter(|(step, (round, _))| **step == STEP_COMMIT || *round == self.at.round);
        proposals.map(|seen: &Seen| seen.raw.clone()).chain(own.map(|(_, (_, bytes))| bytes.clone())).collect()
    }

    pub(super) fn say_everything_again(&mut self) {
        let again = self.rules.rebroadcast;
        self.deadlines.rebroadcast = Some(self.now.after(again));
        if self.me.is_none() || self.peers.any_ahead() {
            self.broadcast(&Message::Hello { height: self.height() });
        }
        if self.me.is_none() {
            return;
        }
        self.tell_round();
        if self.now.since(self.at.entered) < again {
            return;
        }
        for bytes in self.said() {
            self.out.push(Action::Broadcast(bytes));
        }
    }
}
