//! Rounds: how they begin, how long they wait, and what is made durable of them.

use quorate::{Round, consensus::Action};

use super::{
    Engine,
    state::{AtRound, Proposing, ROUNDS_KEPT, came},
};
use crate::{
    machine::Do,
    message::{Message, Status, Vote},
    signing::VoteKind,
};

impl Engine {
    /// There is something to decide: round 0 begins, if it had not.
    pub(super) fn wake(&mut self) {
        if self.at.awake || self.me.is_none() || self.at.decided.is_some() {
            return;
        }
        self.at.awake = true;
        self.deadlines.heartbeat = None;
        self.run(|_| Ok(vec![Do::Enter(Round(0))]));
    }

    /// The driver goes to a round; says what it wants there.
    pub(super) fn enter(&mut self, round: Round) -> Vec<Do> {
        let entry = self.at.machine.as_ref().map(|machine| machine.entry(round)).unwrap_or_default();
        self.set_round(round, entry);
        if round > Round(0) {
            self.at.dirty = true;
            self.tell_round();
        }
        let proposer = self.proposer(round);
        let Some(machine) = &mut self.at.machine else { return Vec::new() };
        machine.forget_before(Round(round.0.saturating_sub(ROUNDS_KEPT)));
        let result = machine.begin(round, proposer);
        self.fed(result)
    }

    /// Notes the round, and sets its wait for a proposal.
    pub(super) fn set_round(&mut self, round: Round, entry: Vec<Vote>) {
        self.at.round = round;
        self.at.entry = entry;
        self.at.entered = self.now;
        self.at.current = AtRound::default();
        let later = self.at.proposals.split_off(&round);
        for (of, seen) in std::mem::replace(&mut self.at.proposals, later) {
            if let Some(first) = seen.first() {
                self.at.left.insert(of, first.signed());
            }
        }
        let oldest = Round(round.0.saturating_sub(ROUNDS_KEPT));
        self.at.left.retain(|of, _| *of >= oldest);
        let deadlines = &mut self.deadlines;
        (deadlines.prevotes, deadlines.precommits, deadlines.lead, deadlines.sign) = (None, None, None, None);
        let begins = if round == Round(0) { self.at.due.max(self.now) } else { self.now };
        self.deadlines.no_proposal = Some(begins.after(self.rules.propose_timeout(round)));
    }

    /// It is this node's turn to make a block.
    pub(super) fn lead(&mut self, round: Round) {
        if round == self.at.round {
            self.deadlines.lead = Some(if round == Round(0) { self.at.due.max(self.now) } else { self.now });
        }
    }

    pub(super) fn wait(&mut self, kind: VoteKind, round: Round) {
        if round != self.at.round {
            return;
        }
        let until = Some(self.now.after(self.rules.vote_timeout(round)));
        match kind {
            VoteKind::Prevote => self.deadlines.prevotes = until,
            VoteKind::Precommit => self.deadlines.precommits = until,
        }
    }

    /// Takes lock and valid block from the driver, with their polkas.
    pub(super) fn learn_locks(&mut self) {
        let Some(machine) = &self.at.machine else { return };
        let (locked, valid) = (machine.locked(), machine.valid());
        let known = |qc: &Option<crate::QuorumCertificate>| qc.as_ref().map(|qc| (qc.round, qc.block_hash));
        let mut missing = false;
        if locked != known(&self.at.lock) {
            self.at.lock = locked.and_then(|(round, hash)| machine.polka_of(round, hash));
            self.at.dirty = true;
            missing |= self.at.lock.is_none();
        }
        if valid != known(&self.at.valid) {
            self.at.valid = valid.and_then(|(round, hash)| machine.polka_of(round, hash));
            self.at.dirty = true;
            missing |= self.at.valid.is_none();
        }
        if missing {
            self.halt(format!("a lock of height {} has no polka, so that it could not be kept", self.height()));
        }
    }

    /// Makes durable what changed, before anything that depends on it is signed.
    pub(super) fn persist(&mut self) {
        if std::mem::take(&mut self.at.dirty) {
            let record = self.at.record(self.height());
            self.out.push(Action::Persist(record.encode()));
        }
    }

    pub(super) fn status_message(&self) -> Message {
        Message::Status(Status {
            height: self.height(),
            round: self.at.round,
            entry: self.at.entry.clone(),
            polka: self.at.valid.clone(),
        })
    }

    pub(super) fn tell_round(&mut self) {
        let message = self.status_message();
        self.broadcast(&message);
    }

    pub(super) fn look_at_deadlines(&mut self) {
        let (now, round) = (self.now, self.at.round);
        if came(&mut self.deadlines.heartbeat, now) {
            self.wake();
        }
        if came(&mut self.deadlines.lead, now) && self.at.current.proposing == Proposing::Not {
            self.at.current.proposing = Proposing::Due;
        }
        // Each belongs to the round that it was set in: entering another clears them.
        if came(&mut self.deadlines.no_proposal, now) {
            self.run(|machine| machine.no_proposal(round));
        }
        if came(&mut self.deadlines.prevotes, now) {
            self.run(|machine| machine.waited(VoteKind::Prevote, round));
        }
        if came(&mut self.deadlines.precommits, now) {
            self.run(|machine| machine.waited(VoteKind::Precommit, round));
        }
        // Signatures that failed are asked for again by `advance`.
        came(&mut self.deadlines.sign, now);
        if came(&mut self.deadlines.hello, now) {
            self.say_hello();
        }
        if came(&mut self.deadlines.fetch, now) {
            self.fetch_again();
        }
        if came(&mut self.deadlines.rebroadcast, now) {
            self.say_everything_again();
        }
    }
}
