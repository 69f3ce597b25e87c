//! Relaying where no safety rests on it (SPEC.md rules 12, 14 and 18): what was sent to all goes once more to those who do not show in time that
//! they have it. Whoever lacked something once gets everything at once for a while, as a link of its may be gone for long.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use quorate::{Hash, PeerId, ValidatorIndex, consensus::Action};

use super::Engine;
use crate::{
    certificate::{QuorumCertificate, VoteKind},
    message::{Message, Vote},
};

/// How long one who lacked something gets everything at once.
const HELPED_FOR: Duration = Duration::from_secs(10);

impl Engine {
    /// The other validators to which there is a link.
    fn linked(&self) -> Vec<(ValidatorIndex, PeerId)> {
        let others = self.validators.iter().filter(|(index, _)| self.me != Some(*index));
        let peers = others.map(|(index, one)| (index, PeerId::from(one.public_key)));
        peers.filter(|(_, peer)| self.peers.is_up(peer)).collect()
    }

    fn help(&mut self, validator: ValidatorIndex, to: PeerId, bytes: Bytes) {
        self.helped.insert(validator, self.now.after(HELPED_FOR));
        self.out.push(Action::Send { to, bytes });
    }

    /// Sends at once to those who lacked something lately.
    pub(super) fn relay_to_helped(&mut self, message: &Bytes) {
        let now = self.now;
        self.helped.retain(|_, until| *until > now);
        if self.helped.is_empty() {
            return;
        }
        for (_, to) in self.linked().into_iter().filter(|(index, _)| self.helped.contains_key(index)) {
            self.out.push(Action::Send { to, bytes: message.clone() });
        }
    }

    /// To the others when they had their time.
    pub(super) fn relay_later(&mut self) {
        self.deadlines.relay = Some(self.now.after(self.rules.relay_wait()));
    }

    /// Notes who has the proposal, as it sent it.
    pub(super) fn note_holder(&mut self, from: PeerId, hash: &Hash) {
        let first = self.at.current.first.as_ref().is_some_and(|seen| seen.hash == *hash);
        if let Some(validator) = self.validators.index_of(&from.into()).filter(|_| first) {
            self.at.current.holders.insert(validator);
        }
    }

    /// Sends the proposal of the round to whom neither sent nor prepared it, and the lock to whom did not vote to commit it.
    pub(super) fn relay(&mut self) {
        let round = self.at.round;
        let proposal = self.at.current.first.as_ref().map(|seen| (seen.hash, seen.raw.clone()));
        let lock = self.at.high_qc.as_ref().filter(|qc| qc.round == round);
        let lock = lock.map(|qc| (qc.block_hash, Message::Certificate(qc.clone()).encode()));
        for (index, to) in self.linked() {
            let voted = |kind, hash| {
                let key = (round, kind, index);
                let vote = self.at.votes.get(&key).or_else(|| self.at.surplus.get(&key));
                vote.is_some_and(|(of, _)| *of == hash)
            };
            let lacks_lock = lock.as_ref().filter(|(hash, _)| !voted(VoteKind::Commit, *hash));
            let holds = |hash| self.at.current.holders.contains(&index) || voted(VoteKind::Prepare, hash);
            let lacks_proposal = proposal.as_ref().filter(|(hash, _)| !holds(*hash));
            let lacking = lacks_proposal.into_iter().chain(lacks_lock).map(|(_, bytes)| bytes.clone());
            for bytes in lacking.collect::<Vec<_>>() {
                self.help(index, to, bytes);
            }
        }
    }

    /// Who is known to have a block of this height.
    pub(super) fn holders(&self, hash: &Hash) -> BTreeSet<ValidatorIndex> {
        let votes = self.at.votes.iter().chain(&self.at.surplus);
        let voted = votes.filter(|(_, (of, _))| of == hash).map(|((.., validator), _)| *validator);
        let first = self.at.current.first.as_ref().is_some_and(|seen| seen.hash == *hash);
        voted.chain(self.at.current.holders.iter().copied().filter(|_| first)).collect()
    }

    /// A vote which comes too late to count still shows what its validator has.
    pub(super) fn note_late_vote(&mut self, from: PeerId, vote: &Vote) {
        if self.validators.index_of(&from.into()) != Some(vote.validator) {
            return;
        }
        let decided = self.at.decided.as_ref().map(|decision| decision.qc.block_hash);
        if vote.height == self.height() && decided == Some(vote.block_hash) {
            self.note_holder(from, &vote.block_hash);
        } else if let Some(last) = &mut self.last
            && (last.qc.height, last.qc.block_hash) == (vote.height, vote.block_hash)
        {
            last.holders.insert(vote.validator);
        }
    }

    /// Tells of a decision: all at once where safety rests on time; elsewhere those who have no vote in it, and those who lacked something.
    pub(super) fn tell_decision(&mut self, qc: QuorumCertificate) {
        let message = Message::Decided(qc);
        if self.rules.model.relies_on_time() {
            self.broadcast(&message);
            return;
        }
        let bytes = message.encode();
        let observers = self.peers.all_up().filter(|peer| self.validators.index_of(&(*peer).into()).is_none());
        let sends: Vec<Action> = observers.map(|to| Action::Send { to, bytes: bytes.clone() }).collect();
        self.out.extend(sends);
        self.relay_to_helped(&bytes);
    }

    /// The other validators hear of it when they had the time to show that they know. While blocks follow each other nobody is told: the turn of
    /// one who lacks something comes, and then they wait.
    pub(super) fn tell_last_later(&mut self) {
        let due = self.now.after(self.rules.relay_wait());
        self.deadlines.told = self.last.is_some().then_some(due).filter(|_| !self.rules.model.relies_on_time());
    }

    /// Tells the last decision to those who did not come above it.
    pub(super) fn tell_last(&mut self) {
        let Some((qc, holders)) = self.last.as_ref().map(|last| (last.qc.clone(), last.holders.clone())) else {
            return;
        };
        let decided = Message::Decided(qc).encode();
        for (index, to) in self.linked() {
            if self.reached.get(&index).is_some_and(|height| *height >= self.height()) {
                continue;
            }
            if holders.contains(&index) {
                self.out.push(Action::Send { to, bytes: decided.clone() });
            } else {
                self.help(index, to, decided.clone());
            }
        }
    }

    /// The link to a validator is gone: if it does not come back soon, nothing is expected of it.
    pub(super) fn expect_no_more_of(&mut self, validator: ValidatorIndex) {
        let due = self.now.after(self.rules.link_grace());
        self.gone.insert(validator, due);
        self.deadlines.gone = self.gone.values().min().copied();
    }

    /// Those whose link did not come back are absent (SPEC.md rule 16).
    pub(super) fn note_gone(&mut self) {
        let now = self.now;
        let over: Vec<ValidatorIndex> = self.gone.iter().filter(|(_, at)| **at <= now).map(|(one, _)| *one).collect();
        for one in over {
            self.gone.remove(&one);
            self.absent.insert(one);
            if one == self.proposer(self.at.round) && self.at.current.first.is_none() && self.deadlines.round.is_some()
            {
                self.deadlines.round = Some(now);
            }
        }
        self.deadlines.gone = self.gone.values().min().copied();
    }
}
