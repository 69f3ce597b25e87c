//! Asking the kernel's signer, and what becomes of its answers.

use quorate::{
    Hash, Round, Signature,
    consensus::{Action, Guard, SignRefused, SignRequest},
};

use super::{
    Engine,
    state::{ASKED_MAX, Asked},
};
use crate::{
    certificate::VoteKind,
    message::{Message, Proposal, Timeout, Vote},
    planted::PlantedBug,
    signing::{STEP_COMMIT, STEP_PREPARE, STEP_TIMEOUT},
};

impl Engine {
    /// Asks for a signature, unless it would contradict the order of signing; says whether it did.
    pub(super) fn ask(&mut self, request: SignRequest, asked: Asked) -> bool {
        let digest = request.digest(&self.chain_id);
        let allowed = self
            .at
            .last_asked
            .is_none_or(|(guard, known)| request.guard > guard || (request.guard == guard && digest == known));
        let unguarded = self.has(PlantedBug::GuardForgotten) || self.has(PlantedBug::CommitAfterTimeout);
        if !allowed && !unguarded {
            return false;
        }
        if self.at.asked.len() >= ASKED_MAX {
            self.at.asked.pop_first();
        }
        self.at.last_asked = Some((request.guard, digest));
        self.at.asked.insert(request.guard, (digest, asked));
        self.out.push(Action::Sign(request));
        true
    }

    pub(super) fn on_signed(&mut self, guard: Guard, digest: Hash, result: Result<Signature, SignRefused>) {
        if guard.height != self.height() || self.at.asked.get(&guard).is_none_or(|(known, _)| *known != digest) {
            return;
        }
        let Some((_, asked)) = self.at.asked.remove(&guard) else { return };
        // A refusal means that something else was signed before a restart, or that the signer failed: the round goes on without
        // this node, and a timeout is asked for again.
        let Ok(signature) = result else { return };
        if self.at.decided.as_ref().is_some_and(|decision| decision.committing) {
            return;
        }
        match asked {
            Asked::Proposal { block, justify } => {
                let proposal = Proposal {
                    height: guard.height,
                    round: guard.round,
                    block: block.encoded().clone(),
                    justify,
                    timeout: self.at.entry.clone().filter(|_| guard.round > Round(0)),
                    signature,
                };
                if guard.round == self.at.round {
                    self.propose_signed(proposal, block);
                }
            }
            Asked::Vote { kind, hash } => self.voted(guard, kind, hash, signature),
            Asked::Timeout { high_qc } => self.timed_out(guard, high_qc, signature),
        }
    }

    fn voted(&mut self, guard: Guard, kind: VoteKind, block_hash: Hash, signature: Signature) {
        let Some(validator) = self.me else { return };
        let vote = Vote { kind, height: guard.height, round: guard.round, block_hash, validator, signature };
        let message = Message::Vote(vote.clone());
        let step = if kind == VoteKind::Prepare { STEP_PREPARE } else { STEP_COMMIT };
        self.at.own.insert(step, (guard.round, message.encode()));
        self.broadcast(&message);
        self.record_vote(&vote);
    }

    fn timed_out(
        &mut self,
        guard: Guard,
        high_qc: Option<crate::certificate::QuorumCertificate>,
        signature: Signature,
    ) {
        let Some(validator) = self.me else { return };
        if guard.round < self.at.round {
            return;
        }
        let timeout = Timeout { height: guard.height, round: guard.round, high_qc, validator, signature };
        let message = Message::Timeout(timeout.clone());
        self.at.own.insert(STEP_TIMEOUT, (guard.round, message.encode()));
        self.broadcast(&message);
        self.record_timeout(timeout);
    }
}
