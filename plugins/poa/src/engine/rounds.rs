//! Rounds: how they begin, what is learned on the way, and what is made durable of it.

use std::time::Duration;

use quorate::{Instant, Round, ValidatorIndex, consensus::Action};

use super::{
    Engine, Fault, fault,
    state::{AtRound, Proposing, Saved, came},
};
use crate::{
    certificate::{QuorumCertificate, TimeoutCertificate, VoteKind},
    message::{Message, NewRound},
    planted::PlantedBug,
};

impl Engine {
    /// Whose turn a round of this height is.
    pub(super) fn proposer(&self, round: Round) -> ValidatorIndex {
        self.validators.at_turn(self.height().0.saturating_add(u64::from(round.0)))
    }

    /// There is something to decide: round 0 begins, if it had not.
    pub(super) fn wake(&mut self) {
        if self.at.awake || self.at.over || self.me.is_none() {
            return;
        }
        self.at.awake = true;
        self.deadlines.heartbeat = None;
        if self.at.round == Round(0) {
            self.begin_round();
        }
    }

    /// Sets the waits of the current round.
    pub(super) fn begin_round(&mut self) {
        let round = self.at.round;
        let first = round == Round(0);
        let begins = if first { self.at.due.max(self.now) } else { self.now };
        let passed_over = self.absent.contains(&self.proposer(round)) && self.at.current.first.is_none();
        let lasts = if passed_over { Duration::ZERO } else { self.rules.round_timeout(round) };
        self.deadlines.round = Some(begins.after(lasts));
        self.deadlines.vote = None;
        self.deadlines.commit = None;
        self.deadlines.lead = None;
        self.deadlines.relay = None;
        self.note_lock_later();
        let allowed = first || self.at.entry.as_ref().is_some_and(|tc| tc.round.next() == round);
        if self.me == Some(self.proposer(round)) && allowed {
            let waits = !first && !self.has(PlantedBug::LeaderDoesNotWait);
            self.deadlines.lead = Some(if waits { self.rules.after_deltas(begins, 4) } else { begins });
        }
    }

    /// In a later round the lock is noted when all that honest validators knew when it began must have come.
    pub(super) fn note_lock_later(&mut self) {
        let noted = self.at.round > Round(0) && self.rules.model.relies_on_time();
        self.at.current.snapshot = None;
        self.deadlines.snapshot = noted.then(|| self.rules.after_deltas(self.now, 2));
    }

    /// Learns prepare certificates and why a round began, all of them checked: the lock rises, a later round is entered, the
    /// record is made durable, and both are told to all.
    pub(super) fn learn(&mut self, certificates: &[&QuorumCertificate], entry: Option<TimeoutCertificate>) {
        let mut raised = false;
        for qc in certificates {
            if Some(qc.round) > self.at.high_round() {
                self.at.high_qc = Some((*qc).clone());
                raised = true;
            }
        }
        let by_qc = self.at.high_round().filter(|round| *round > self.at.round);
        let by_tc = entry.filter(|tc| tc.round.next() > self.at.round && Some(tc.round.next()) >= by_qc);
        let moved = match (by_tc, by_qc) {
            (Some(tc), _) => {
                self.enter(tc.round.next(), Some(tc));
                true
            }
            (None, Some(round)) => {
                self.enter(round, None);
                true
            }
            (None, None) => false,
        };
        if !raised && !moved {
            return;
        }
        self.persist();
        if raised {
            self.lock_rose();
        }
        if moved {
            self.tell_round();
        }
    }

    fn lock_rose(&mut self) {
        let Some(qc) = self.at.high_qc.clone() else { return };
        self.lock_is_new = true;
        self.ensure_checked(&qc.block_hash);
        if self.at.blocks.get(&qc.block_hash).is_none() && self.deadlines.fetch.is_none() {
            // The proposal may be on its way.
            self.deadlines.fetch = Some(self.now.after(self.rules.rebroadcast / 4));
        }
        let certificate = Message::Certificate(qc);
        if !self.rules.model.relies_on_time() {
            self.relay_to_helped(&certificate.encode());
            self.relay_later();
        } else if !self.has(PlantedBug::NoCertificateRelay) {
            self.broadcast(&certificate);
        }
    }

    /// Notes a proposer whose turn is over, without a proposal and without a link to it (SPEC.md rule 16). Those before it in a certificate
    /// of a later round may have been there.
    fn note_absent(&mut self, entry: Option<&TimeoutCertificate>) {
        let proposer = self.proposer(self.at.round);
        let over = entry.is_some_and(|tc| tc.round == self.at.round) && self.at.current.first.is_none();
        let Some(one) = self.validators.get(proposer).filter(|_| over && self.me != Some(proposer)) else { return };
        if !self.peers.is_up(&one.public_key.into()) {
            self.absent.insert(proposer);
        }
    }

    fn enter(&mut self, round: Round, entry: Option<TimeoutCertificate>) {
        self.note_absent(entry.as_ref());
        let left = std::mem::take(&mut self.at.current);
        if let Some(seen) = left.first {
            self.at.left.insert(self.at.round, seen.signed());
        }
        if self.has(PlantedBug::LockForgotten) {
            self.at.high_qc = entry.as_ref().and_then(|tc| tc.high_qc.clone());
        }
        self.at.round = round;
        self.at.entry = entry;
        self.at.entered = self.now;
        self.at.awake = true;
        self.deadlines.heartbeat = None;
        self.at.current = AtRound::default();
        self.at.prune();
        self.begin_round();
    }

    /// Makes round and lock durable, before anything that depends on them leaves the node.
    pub(super) fn persist(&mut self) {
        let mut saved = Saved::of(self.height(), &self.at);
        if self.has(PlantedBug::LockForgotten) {
            saved.high_qc = None;
        }
        let action = Action::Persist(saved.encode());
        if self.has(PlantedBug::SendBeforePersist) {
            self.held_back.push(action);
        } else {
            self.out.push(action);
        }
    }

    pub(super) fn status_message(&self) -> Message {
        Message::NewRound(NewRound {
            height: self.height(),
            timeout: self.at.entry.clone(),
            high_qc: self.at.high_qc.clone(),
        })
    }

    pub(super) fn tell_round(&mut self) {
        let message = self.status_message();
        self.broadcast(&message);
    }

    /// Checks a prepare certificate of this height; one that is not above the lock teaches nothing and is not checked.
    pub(super) fn check_prepare(&mut self, qc: &QuorumCertificate) -> Result<bool, Fault> {
        if qc.kind != VoteKind::Prepare || qc.height != self.height() {
            return Err("a prepare certificate of this height is expected, another one came".into());
        }
        if Some(qc.round) <= self.at.high_round() {
            return Ok(false);
        }
        self.judge().quorum_certificate(qc).map_err(|error| fault("prepare certificate", &error))?;
        Ok(true)
    }

    pub(super) fn on_certificate(&mut self, qc: &QuorumCertificate) -> Result<(), Fault> {
        if self.check_prepare(qc)? {
            self.learn(&[qc], None);
        }
        Ok(())
    }

    pub(super) fn look_at_deadlines(&mut self) {
        let now = self.now;
        came(&mut self.deadlines.hold, now);
        if came(&mut self.deadlines.heartbeat, now) {
            self.wake();
        }
        came(&mut self.deadlines.commit, now);
        if came(&mut self.deadlines.vote, now) {
            self.at.current.waited = true;
        }
        if came(&mut self.deadlines.lead, now) && matches!(self.at.current.proposing, Proposing::Not) {
            self.at.current.proposing = Proposing::Due;
        }
        if came(&mut self.deadlines.hello, now) {
            self.say_hello();
        }
        if came(&mut self.deadlines.fetch, now) {
            self.fetch_again();
        }
        if came(&mut self.deadlines.rebroadcast, now) {
            self.say_everything_again();
        }
        if came(&mut self.deadlines.gone, now) {
            self.note_gone();
        }
        if came(&mut self.deadlines.relay, now) {
            self.relay();
        }
        if came(&mut self.deadlines.told, now) {
            self.tell_last();
        }
    }

    /// Whether votes are held back until what was missed has come.
    pub(super) fn holds(&self) -> bool {
        self.deadlines.hold.is_some_and(|until: Instant| until > self.now)
    }
}
