//! Asking the kernel's signer, and what becomes of its answers.

use std::time::Duration;

use quorate::{
    Hash, Round, Signature,
    consensus::{Action, Guard, SignRefused, SignRequest},
};

use super::{
    Engine,
    state::{ASKED_MAX, Asked, Proposing, Voting},
};
use crate::{
    message::{Message, Proposal, Vote},
    record::Cast,
    signing::{VoteKind, vote_request},
};

/// A signature that failed is asked for again after this.
const SIGN_AGAIN: Duration = Duration::from_millis(500);

impl Engine {
    /// The driver votes. A vote of this round that is on record stands, whatever the driver, which was restarted, says now.
    pub(super) fn cast(&mut self, kind: VoteKind, round: Round, block_hash: Option<Hash>) {
        if round != self.at.round || self.at.current.voting.contains_key(&kind) {
            return;
        }
        self.at.current.voting.insert(kind, Voting::new(Cast { kind, block_hash, signature: None }));
        self.at.dirty = true;
    }

    /// Has the votes of the round signed, one after the other: when the precommit is asked for, the prevote is on record with
    /// its signature, which the signer would not give again.
    pub(super) fn sign_votes(&mut self) {
        if self.deadlines.sign.is_some() {
            return;
        }
        let next = self.at.current.voting.values_mut().find(|one| one.cast.signature.is_none() && !one.refused);
        let Some(voting) = next.filter(|one| !one.asked) else { return };
        voting.asked = true;
        let (kind, hash) = (voting.cast.kind, voting.cast.block_hash);
        let request = vote_request(kind, self.height(), self.at.round, hash.as_ref());
        if !self.ask(request, Asked::Vote { kind, hash })
            && let Some(voting) = self.at.current.voting.get_mut(&kind)
        {
            voting.refused = true;
        }
    }

    /// Asks for a signature, after what it depends on; unless it would contradict the order of signing, which is said.
    pub(super) fn ask(&mut self, request: SignRequest, asked: Asked) -> bool {
        let digest = request.digest(&self.chain_id);
        let above =
            |(guard, known): (Guard, Hash)| request.guard > guard || (request.guard == guard && digest == known);
        if !self.at.last_asked.is_none_or(above) {
            return false;
        }
        if self.at.asked.len() >= ASKED_MAX {
            self.at.asked.pop_first();
        }
        self.at.last_asked = Some((request.guard, digest));
        self.at.asked.insert(request.guard, (digest, asked));
        self.persist();
        self.out.push(Action::Sign(request));
        true
    }

    pub(super) fn on_signed(&mut self, guard: Guard, digest: Hash, result: Result<Signature, SignRefused>) {
        if guard.height != self.height() || self.at.asked.get(&guard).is_none_or(|(known, _)| *known != digest) {
            return;
        }
        let Some((_, asked)) = self.at.asked.remove(&guard) else { return };
        if self.at.decided.is_some() {
            return;
        }
        match (asked, result) {
            (Asked::Proposal { block, polka }, Ok(signature)) => {
                let encoded = block.encoded().clone();
                let (height, round) = (guard.height, guard.round);
                if round == self.at.round {
                    self.proposed(Proposal { height, round, block: encoded, polka, signature }, block);
                }
            }
            (Asked::Vote { kind, hash }, Ok(signature)) => self.voted(guard, kind, hash, signature),
            (asked, Err(refused)) => self.refused(guard, &asked, &refused),
        }
    }

    fn voted(&mut self, guard: Guard, kind: VoteKind, block_hash: Option<Hash>, signature: Signature) {
        let Some(validator) = self.me else { return };
        let vote = Vote { kind, height: guard.height, round: guard.round, block_hash, validator, signature };
        if guard.round == self.at.round
            && let Some(voting) = self.at.current.voting.get_mut(&kind)
        {
            voting.cast.signature = Some(signature);
        }
        if kind == VoteKind::Precommit && block_hash.is_some() {
            self.at.precommitted = Some(vote.clone());
        }
        self.broadcast(&Message::Vote(vote.clone()));
        self.count(&vote);
    }

    /// A signer that failed is asked again, for without this vote the round may never end. One that signed something else
    /// there, before a restart, never will.
    fn refused(&mut self, guard: Guard, asked: &Asked, refused: &SignRefused) {
        if guard.round != self.at.round {
            return;
        }
        let again = matches!(refused, SignRefused::Failed(_));
        if again {
            self.deadlines.sign = Some(self.now.after(SIGN_AGAIN));
        }
        match asked {
            Asked::Proposal { block, polka } if again => {
                let (hash, polka) = (block.hash(), polka.as_ref().map(|qc| qc.round));
                self.at.current.proposing = Proposing::Ready { hash, polka };
            }
            Asked::Proposal { .. } => {}
            Asked::Vote { kind, .. } => {
                if let Some(voting) = self.at.current.voting.get_mut(kind) {
                    (voting.asked, voting.refused) = (false, !again);
                }
            }
        }
    }

    /// This node's votes of the round that are signed, and its last precommit for a block.
    pub(super) fn own_votes(&self) -> impl Iterator<Item = Vote> + '_ {
        let (height, round) = (self.height(), self.at.round);
        let of_round = self.at.current.voting.values().filter_map(move |voting| {
            let Cast { kind, block_hash, signature } = voting.cast;
            Some(Vote { kind, height, round, block_hash, validator: self.me?, signature: signature? })
        });
        of_round.chain(self.at.precommitted.clone().filter(move |vote| vote.round != round))
    }
}
