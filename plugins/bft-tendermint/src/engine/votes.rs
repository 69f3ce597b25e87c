//! Votes of others: checked, counted, and turned into certificates.

use std::collections::BTreeSet;

use quorate::{PeerId, ValidatorIndex};

use super::{Engine, Fault, fault, state::ROUNDS_KEPT};
use crate::{
    machine::Known,
    message::{Status, Vote},
    settings::tolerated,
    signing::VoteKind,
};

impl Engine {
    pub(super) fn on_vote(&mut self, from: PeerId, by: Option<ValidatorIndex>, vote: Vote) -> Result<(), Fault> {
        if !self.at.keeps(vote.round) || !self.teaches(&vote) {
            return Ok(());
        }
        self.check_votes(std::slice::from_ref(&vote))?;
        self.wake();
        self.count(&vote);
        // Its sender stands in an earlier round.
        if vote.round < self.at.round && by == Some(vote.validator) {
            self.answer_round(from);
        }
        Ok(())
    }

    /// Whether a vote is new, or evidence against one who was not accused yet.
    fn teaches(&self, vote: &Vote) -> bool {
        let Some(machine) = &self.at.machine else { return false };
        match machine.knows(vote) {
            Known::No => true,
            Known::Same => false,
            Known::Other => !self.at.accused.contains(&vote.validator),
        }
    }

    fn check_votes(&mut self, votes: &[Vote]) -> Result<(), Fault> {
        let chain_id = self.chain_id;
        let signed = votes.iter().map(|vote| (vote.validator, vote.sign_bytes(&chain_id), vote.signature)).collect();
        self.judge().signatures(signed).map_err(|error| fault("vote", &error))
    }

    /// Counts a vote whose signature is good; the last one of 2f+1 precommits for a block decides.
    pub(super) fn count(&mut self, vote: &Vote) {
        self.run(|machine| machine.vote(vote));
        let (VoteKind::Precommit, Some(hash)) = (vote.kind, vote.block_hash) else { return };
        if let Some(qc) = self.at.machine.as_ref().and_then(|machine| machine.final_in(vote.round, hash)) {
            self.decide(qc, None);
        }
    }

    pub(super) fn look_for_evidence(&mut self) {
        let found = self.at.machine.as_mut().map(crate::machine::Machine::take_evidence).unwrap_or_default();
        for (offender, evidence) in found {
            self.accuse(offender, &evidence);
        }
    }

    /// Where a peer stands, with proofs: they may bring this node forward, or call for its own.
    pub(super) fn on_status(&mut self, from: PeerId, status: Status) -> Result<(), Fault> {
        let theirs = (status.round, status.polka.as_ref().map(|qc| qc.round));
        self.take_polka(&status)?;
        self.take_entry(status)?;
        if theirs < (self.at.round, self.at.valid_round()) {
            self.answer_round(from);
        }
        Ok(())
    }

    fn take_polka(&mut self, status: &Status) -> Result<(), Fault> {
        let Some(qc) = &status.polka else { return Ok(()) };
        if qc.kind != VoteKind::Prevote || qc.height != status.height {
            return Err("a polka of this height is expected, another certificate came".into());
        }
        let known = self.at.machine.as_ref().is_none_or(|one| one.polka_of(qc.round, qc.block_hash).is_some());
        // Below this round it is of no use to the driver, and a proposal that rests on it brings it along.
        if known || qc.round < self.at.round {
            return Ok(());
        }
        self.judge().certificate(qc).map_err(|error| fault("polka", &error))?;
        self.wake();
        self.run(|machine| machine.polka(qc));
        Ok(())
    }

    fn take_entry(&mut self, status: Status) -> Result<(), Fault> {
        let Status { height, round, entry, .. } = status;
        if round <= self.at.round || entry.is_empty() {
            return Ok(());
        }
        let of_round = |vote: &Vote| vote.round == round;
        let of_last = |vote: &Vote| vote.round.next() == round && vote.kind == VoteKind::Precommit;
        if !entry.iter().all(|vote| vote.height == height && (of_round(vote) || of_last(vote))) {
            return Err(format!("votes of another round say why round {round} began"));
        }
        // Of rounds far ahead only what an honest validator's vote is among.
        let signers: BTreeSet<ValidatorIndex> = entry.iter().map(|vote| vote.validator).collect();
        let far = round.0 > self.at.round.0.saturating_add(ROUNDS_KEPT);
        if far && signers.len() <= tolerated(self.validators.len()) {
            return Ok(());
        }
        let new: Vec<Vote> = entry.into_iter().filter(|vote| self.teaches(vote)).collect();
        self.check_votes(&new)?;
        self.wake();
        for vote in &new {
            self.count(vote);
        }
        Ok(())
    }
}
