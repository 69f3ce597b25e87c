//! Repair: greeting peers, answering those who are behind, and saying everything again.

use std::time::Duration;

use bytes::Bytes;
use quorate::{Hash, Height, PeerId, ValidatorIndex, consensus::Action, engine::HEIGHTS_AHEAD};

use super::{Engine, Fault, state::ROUNDS_KEPT};
use crate::message::{Message, OVERHEAD_BYTES_MAX};

/// All peers are greeted no more often than this.
const HELLO_EVERY: Duration = Duration::from_millis(100);

impl Engine {
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

    pub(super) fn on_peer_up(&mut self, peer: PeerId) {
        self.peers.up(peer, self.now);
        if std::mem::take(&mut self.cut_off) {
            self.say_hello();
        }
        self.send(peer, &Message::Hello { height: self.height() });
        if self.me.is_some() {
            let status = self.status_message();
            self.send(peer, &status);
        }
    }

    pub(super) fn on_peer_down(&mut self, peer: &PeerId) {
        self.cut_off |= self.peers.down(peer);
        if let Some(validator) = self.validators.index_of(&(*peer).into()) {
            self.heard.remove(&validator);
        }
    }

    /// A message of a later height: kept if it is from a validator; in any case this node is behind.
    pub(super) fn on_above(&mut self, from: PeerId, validator: Option<ValidatorIndex>, message: &Message, raw: Bytes) {
        let height = message.height();
        let near = height.0 <= self.height().0.saturating_add(HEIGHTS_AHEAD);
        match message {
            Message::Decided(_) if self.peers.may_answer(from, self.now) => {
                self.out.push(Action::NeedSync { height, from });
            }
            Message::Hello { .. } => self.greet_back(from),
            _ if !near => self.greet_back(from),
            _ => {}
        }
        let kept = !matches!(message, Message::Hello { .. } | Message::Fetch { .. } | Message::Body { .. });
        if validator.is_none() || !kept {
            return;
        }
        let room = self.rules.block_bytes_max().saturating_add(OVERHEAD_BYTES_MAX).saturating_mul(3);
        if let Some(lost) = self.peers.keep(from, self.now, height, raw, room) {
            // Who claims absurd heights makes this node greet again at a few heights, no more.
            let soon = Height(self.height().0.saturating_add(ROUNDS_KEPT.into()));
            self.missed = self.missed.max(lost.min(soon));
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
            // Votes of a height just decided are late, not a sign that their sender is behind; one that is says so again and again
            // in other messages.
            Message::Body { .. } | Message::Vote(_) => return Ok(()),
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
            (_, None) => self.out.push(Action::Serve { to: from, from_height: height.max(Height(1)) }),
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

    /// The proposals of this round and this node's own votes, at most five messages.
    fn said(&self) -> Vec<Bytes> {
        let proposals = self.at.proposals.get(&self.at.round).into_iter().flatten().map(|seen| seen.raw.clone());
        proposals.chain(self.own_votes().map(|vote| Message::Vote(vote).encode())).collect()
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
