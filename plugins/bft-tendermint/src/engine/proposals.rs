//! Proposals: made here when it is the turn, checked when they come, told to the driver when their blocks are judged.

use std::time::Duration;

use bytes::Bytes;
use quorate::{
    Block, Hash, Round,
    block::HEADER_BYTES,
    consensus::{Action, BlockLimits},
    engine::Judgement,
};

use super::{
    Engine, Fault, fault,
    state::{Asked, PROPOSALS_AHEAD, PROPOSALS_MAX, Proposing, Seen},
};
use crate::{
    evidence::{Evidence, SignedProposal},
    machine::Offer,
    message::{Message, Proposal},
    signing::{VoteKind, proposal_request},
};

/// When a block could not be built, it is tried again after this.
const BUILD_AGAIN: Duration = Duration::from_millis(100);

impl Engine {
    /// The driver says what to propose.
    pub(super) fn propose(&mut self, round: Round, hash: Hash, polka: Option<Round>) {
        if round == self.at.round {
            self.at.current.proposing = Proposing::Ready { hash, polka };
            self.fetch_soon();
        }
    }

    /// Proposes, when the time has come.
    pub(super) fn try_propose(&mut self) {
        // A vote of this round is signed, or about to be: the order of signing has no place for a proposal any more.
        if !self.at.current.voting.is_empty() {
            self.at.current.proposing = Proposing::Done;
        }
        match self.at.current.proposing {
            Proposing::Due => {
                self.tokens = self.tokens.wrapping_add(1);
                self.at.current.proposing = Proposing::Building(self.tokens);
                let (token, round, limits) = (self.tokens, self.at.round, self.rules.limits);
                self.out.push(Action::BuildBlock { token, round, limits });
            }
            Proposing::Ready { hash, polka } => {
                // A signer that failed is not asked at every event.
                if self.deadlines.sign.is_some() {
                    return;
                }
                if let Some(block) = self.at.blocks.get(&hash).cloned() {
                    self.sign_proposal(block, polka);
                }
            }
            Proposing::Not | Proposing::Building(_) | Proposing::Done => {}
        }
    }

    fn sign_proposal(&mut self, block: Block, polka: Option<Round>) {
        let request = proposal_request(self.height(), self.at.round, &block.hash(), polka);
        let polka = polka.and_then(|round| self.at.valid.clone().filter(|qc| qc.round == round));
        self.at.current.proposing = Proposing::Done;
        self.ask(request, Asked::Proposal { block, polka });
    }

    pub(super) fn on_built(&mut self, token: u64, block: Option<Block>) {
        if self.at.current.proposing != Proposing::Building(token) {
            return;
        }
        let round = self.at.round;
        match block.filter(|block| self.header_fault(block, round, true).is_none()) {
            Some(block) => {
                let hash = block.hash();
                self.keep_block(block);
                self.at.blocks.judge(&hash, Judgement::Valid);
                self.at.current.proposing = Proposing::Done;
                self.run(|machine| machine.built(round, hash));
            }
            None => {
                self.at.current.proposing = Proposing::Not;
                self.deadlines.lead = Some(self.now.after(BUILD_AGAIN));
            }
        }
    }

    /// This node's own proposal is signed.
    pub(super) fn proposed(&mut self, proposal: Proposal, block: Block) {
        let Proposal { round, polka, signature, .. } = proposal.clone();
        let seen =
            Seen { hash: block.hash(), polka, signature, raw: Message::Proposal(proposal).encode(), offered: false };
        self.out.push(Action::Broadcast(seen.raw.clone()));
        self.note_proposal(round, seen, block);
    }

    pub(super) fn on_proposal(&mut self, proposal: Proposal, raw: Bytes) -> Result<(), Fault> {
        let round = proposal.round;
        let head = proposal.block.get(..HEADER_BYTES).ok_or("proposal: the block is shorter than a header")?;
        let hash = Hash::of(&[b"quorate/header/1\0", head]);
        let polka = proposal.polka.as_ref().map(|qc| qc.round);
        if round < self.at.round {
            return self.on_old_proposal(&proposal, hash);
        }
        if round.0 > self.at.round.0.saturating_add(PROPOSALS_AHEAD) {
            return Ok(());
        }
        let known = self.at.proposals.get(&round).map_or(&[][..], Vec::as_slice);
        if known.len() >= PROPOSALS_MAX || known.iter().any(|seen| seen.hash == hash && seen.polka_round() == polka) {
            return Ok(());
        }
        self.check_signature(&proposal, hash)?;
        let block = Block::decode(proposal.block.clone()).map_err(|error| format!("proposal: {error}"))?;
        self.check_proposal(&proposal, &block)?;
        self.wake();
        let seen = Seen { hash, polka: proposal.polka, signature: proposal.signature, raw, offered: false };
        self.note_proposal(round, seen, block);
        Ok(())
    }

    fn check_signature(&mut self, proposal: &Proposal, hash: Hash) -> Result<(), Fault> {
        let polka = proposal.polka.as_ref().map(|qc| qc.round);
        let request = proposal_request(self.height(), proposal.round, &hash, polka);
        let (proposer, message) = (self.proposer(proposal.round), request.sign_bytes(&self.chain_id));
        self.judge().signature(proposer, message, proposal.signature).map_err(|error| fault("proposal", &error))
    }

    fn check_proposal(&mut self, proposal: &Proposal, block: &Block) -> Result<(), Fault> {
        if let Some(fault) = self.header_fault(block, proposal.round, proposal.polka.is_none()) {
            return Err(fault);
        }
        let Some(qc) = &proposal.polka else { return Ok(()) };
        let fits = qc.kind == VoteKind::Prevote
            && qc.height == proposal.height
            && qc.round < proposal.round
            && qc.block_hash == block.hash();
        if !fits {
            return Err("proposal's polka is not for its block in an earlier round".into());
        }
        self.judge().certificate(qc).map_err(|error| fault("proposal's polka", &error))
    }

    /// What is wrong with a block for this height, as far as its header tells without executing it.
    fn header_fault(&self, block: &Block, round: Round, new: bool) -> Option<Fault> {
        let header = block.header();
        let BlockLimits { transactions_max, .. } = self.rules.limits;
        let wrong = |what: &str| Some(format!("proposed block {}: {what}", block.hash()));
        if header.height != self.height() || header.parent_hash != self.tip.hash || header.chain_id != self.chain_id {
            wrong("it does not follow the final block before it")
        } else if header.validators_hash != self.validators_hash {
            wrong("it names other validators")
        } else if header.creator != self.proposer(header.created_round) {
            wrong("it was not its creator's turn")
        } else if header.created_round > round || (new && header.created_round != round) {
            wrong("it was created for another round")
        } else if block.encoded().len() > self.rules.block_bytes_max() {
            wrong("it has too many bytes")
        } else if block.transactions().len() > transactions_max as usize {
            wrong("it has too many transactions")
        } else {
            None
        }
    }

    /// A second proposal for a round that is over is still evidence.
    fn on_old_proposal(&mut self, proposal: &Proposal, hash: Hash) -> Result<(), Fault> {
        let proposer = self.proposer(proposal.round);
        let Some(known) = self.at.left.get(&proposal.round).copied() else { return Ok(()) };
        let polka = proposal.polka.as_ref().map(|qc| qc.round);
        if (known.block_hash, known.polka) == (hash, polka) || self.at.accused.contains(&proposer) {
            return Ok(());
        }
        self.check_signature(proposal, hash)?;
        let other = SignedProposal { block_hash: hash, polka, signature: proposal.signature };
        self.accuse(proposer, &Evidence::proposals(self.height(), proposal.round, known, other));
        Ok(())
    }

    /// Notes a good proposal of this round or the next, and has its block judged.
    fn note_proposal(&mut self, round: Round, seen: Seen, block: Block) {
        let hash = seen.hash;
        let again = block.header().created_round < round;
        let first = self.at.proposals.get(&round).and_then(|known| known.first()).map(Seen::signed);
        if let Some(first) = first {
            let evidence = Evidence::proposals(self.height(), round, first, seen.signed());
            self.accuse(self.proposer(round), &evidence);
        }
        self.keep_block(block);
        self.at.proposals.entry(round).or_default().push(seen);
        if again && self.at.blocks.is_valid(&hash) {
            self.check_block(&hash);
        }
        self.ensure_checked(&hash);
        self.offer(&hash);
    }

    pub(super) fn on_judged(&mut self, hash: &Hash, judgement: Judgement) {
        self.at.blocks.judge(hash, judgement);
        self.offer(hash);
    }

    /// Tells the driver the proposals of a block that is judged.
    fn offer(&mut self, hash: &Hash) {
        let valid = match self.at.blocks.judgement(hash) {
            Some(Judgement::Valid) => true,
            Some(Judgement::Invalid(_)) => false,
            Some(Judgement::Unasked | Judgement::Asked) | None => return,
        };
        let mut offers = Vec::new();
        for (round, all) in &mut self.at.proposals {
            for seen in all.iter_mut().filter(|seen| seen.hash == *hash && !seen.offered) {
                seen.offered = true;
                offers.push((*round, seen.polka.clone(), seen.signature));
            }
        }
        for (round, polka, signature) in offers {
            let proposer = self.proposer(round);
            let polka_round = polka.as_ref().map(|qc| qc.round);
            let offer = Offer { round, hash: *hash, polka: polka_round, proposer, signature, valid };
            if let Some(polka) = polka {
                self.run(|machine| machine.polka(&polka));
            }
            self.run(|machine| machine.proposal(&offer));
        }
    }

    /// Keeps a block of this height; the locked, the decided and the proposed ones are kept in any case.
    pub(super) fn keep_block(&mut self, block: Block) {
        let keep = self.at.needed();
        let hash = block.hash();
        let new = self.at.blocks.get(&hash).is_none();
        self.at.blocks.insert(block, self.now, &keep);
        let bound = [&self.at.lock, &self.at.valid].into_iter().flatten().any(|qc| qc.block_hash == hash);
        self.at.dirty |= new && bound;
    }

    /// Has a block judged, if it is here and was not yet.
    pub(super) fn ensure_checked(&mut self, hash: &Hash) {
        if self.at.blocks.judgement(hash) == Some(&Judgement::Unasked) {
            self.at.blocks.judge(hash, Judgement::Asked);
            self.check_block(hash);
        }
    }

    /// Asks the kernel for a judgement; a block found valid before is named again so that the kernel keeps what it computed.
    fn check_block(&mut self, hash: &Hash) {
        if let Some(block) = self.at.blocks.get(hash).cloned() {
            self.out.push(Action::CheckBlock { block, limits: self.rules.limits });
        }
    }
}
