//! Proposals: made here when it is the turn, checked and relayed when they come.

use std::time::Duration;

use bytes::Bytes;
use quorate::{Block, Hash, PeerId, Round, block::HEADER_BYTES, consensus::Action, engine::Judgement};

use super::{
    Engine, Fault, fault,
    state::{Asked, Proposing, Seen},
};
use crate::{
    certificate::{QuorumCertificate, VoteKind},
    evidence::{Evidence, SignedProposal},
    message::{Message, Proposal},
    planted::PlantedBug,
    signing::proposal_request,
};

/// When a block could not be built, it is tried again after this.
const BUILD_AGAIN: Duration = Duration::from_millis(100);

impl Engine {
    /// Proposes, when the time has come: the locked block if there is one, else a new one.
    pub(super) fn try_propose(&mut self) {
        if matches!(self.at.current.proposing, Proposing::Not | Proposing::Done) || self.at.current.timed_out {
            return;
        }
        if let Some(qc) = self.at.high_qc.clone() {
            // A certificate of this very round needs no further proposal.
            if qc.round < self.at.round
                && let Some(block) = self.at.blocks.get(&qc.block_hash).cloned()
            {
                self.sign_proposal(block, Some(qc));
            }
            return;
        }
        match &self.at.current.proposing {
            Proposing::Built(block) => {
                let block = block.clone();
                let hash = block.hash();
                self.sign_proposal(block, None);
                self.try_prepare_with_proposal(hash);
            }
            Proposing::Due => {
                self.tokens = self.tokens.wrapping_add(1);
                self.at.current.proposing = Proposing::Building(self.tokens);
                let (token, round, limits) = (self.tokens, self.at.round, self.rules.limits);
                self.out.push(Action::BuildBlock { token, round, limits });
            }
            Proposing::Not | Proposing::Building(_) | Proposing::Done => {}
        }
    }

    pub(super) fn on_built(&mut self, token: u64, block: Option<Block>) {
        if !matches!(self.at.current.proposing, Proposing::Building(expected) if expected == token) {
            return;
        }
        match block.filter(|block| self.header_fault(block, self.at.round, true).is_none()) {
            Some(block) => {
                let hash = block.hash();
                self.keep_block(block.clone());
                self.at.blocks.judge(&hash, Judgement::Valid);
                self.at.current.proposing = Proposing::Built(block);
            }
            None => {
                self.at.current.proposing = Proposing::Not;
                self.deadlines.lead = Some(self.now.after(BUILD_AGAIN));
            }
        }
    }

    fn sign_proposal(&mut self, block: Block, justify: Option<QuorumCertificate>) {
        let round = justify.as_ref().map(|qc| qc.round);
        let request = proposal_request(self.height(), self.at.round, &block.hash(), round);
        self.at.current.proposing = Proposing::Done;
        self.ask(request, Asked::Proposal { block, justify });
    }

    /// This node's own proposal is signed.
    pub(super) fn propose_signed(&mut self, proposal: Proposal, block: Block) {
        let justify = proposal.justify.as_ref().map(|qc| qc.round);
        let (hash, signature) = (block.hash(), proposal.signature);
        let seen = Seen { hash, justify, signature, raw: Message::Proposal(proposal).encode() };
        self.record_proposal(seen, block);
    }

    pub(super) fn on_proposal(&mut self, from: PeerId, proposal: Proposal, raw: Bytes) -> Result<(), Fault> {
        let round = proposal.round;
        let head = proposal.block.get(..HEADER_BYTES).ok_or("proposal: the block is shorter than a header")?;
        let hash = Hash::of(&[b"quorate/header/1\0", head]);
        if round < self.at.round {
            return self.on_old_proposal(&proposal, hash);
        }
        let current = &self.at.current;
        if round == self.at.round {
            let known = [&current.first, &current.second].into_iter().flatten().any(|seen| seen.hash == hash);
            if known || current.second.is_some() {
                self.note_holder(from, &hash);
                return Ok(());
            }
        }
        self.check_signature(&proposal, hash)?;
        let block = Block::decode(proposal.block.clone()).map_err(|error| format!("proposal: {error}"))?;
        self.check_proposal(&proposal, &block)?;
        let carried = proposal.timeout.as_ref().and_then(|tc| tc.high_qc.as_ref());
        let certificates: Vec<&QuorumCertificate> = proposal.justify.as_ref().into_iter().chain(carried).collect();
        self.learn(&certificates, proposal.timeout.clone());
        if self.at.round == round {
            let justify = proposal.justify.as_ref().map(|qc| qc.round);
            self.record_proposal(Seen { hash, justify, signature: proposal.signature, raw }, block);
            self.note_holder(from, &hash);
        }
        Ok(())
    }

    fn check_signature(&mut self, proposal: &Proposal, hash: Hash) -> Result<(), Fault> {
        let justify = proposal.justify.as_ref().map(|qc| qc.round);
        let request = proposal_request(proposal.height, proposal.round, &hash, justify);
        let (proposer, message) = (self.proposer(proposal.round), request.sign_bytes(&self.chain_id));
        self.judge().signature(proposer, message, proposal.signature).map_err(|error| fault("proposal", &error))
    }

    fn check_proposal(&mut self, proposal: &Proposal, block: &Block) -> Result<(), Fault> {
        let round = proposal.round;
        if let Some(fault) = self.header_fault(block, round, proposal.justify.is_none()) {
            return Err(fault);
        }
        match &proposal.timeout {
            None if round > Round(0) => return Err(format!("proposal of round {round} does not say why it began")),
            Some(_) if round == Round(0) => return Err("proposal of round 0 has a timeout certificate".into()),
            Some(tc) if tc.height != proposal.height || tc.round.next() != round => {
                return Err(format!("proposal of round {round} has the timeout certificate of round {}", tc.round));
            }
            Some(tc) => {
                self.judge()
                    .timeout_certificate(tc)
                    .map_err(|error| fault("proposal's timeout certificate", &error))?;
            }
            None => {}
        }
        if let Some(qc) = &proposal.justify {
            let fits = qc.kind == VoteKind::Prepare
                && qc.height == proposal.height
                && qc.round < round
                && qc.block_hash == block.hash();
            if !fits {
                return Err("proposal's certificate is not for its block in an earlier round".into());
            }
            self.judge().quorum_certificate(qc).map_err(|error| fault("proposal's certificate", &error))?;
        }
        let needed = proposal.timeout.as_ref().and_then(|tc| tc.high_round());
        let carried = proposal.justify.as_ref().map(|qc| qc.round);
        if carried < needed && !self.has(PlantedBug::TimeoutMaximumIgnored) {
            return Err("proposal's certificate is lower than its timeout certificate names".into());
        }
        Ok(())
    }

    /// What is wrong with a block for this height, as far as its header tells without executing it.
    fn header_fault(&self, block: &Block, round: Round, new: bool) -> Option<Fault> {
        let header = block.header();
        let limits = &self.rules.limits;
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
        } else if block.transactions().len() > limits.transactions_max as usize {
            wrong("it has too many transactions")
        } else {
            None
        }
    }

    /// A second proposal for a round that is over is still evidence.
    fn on_old_proposal(&mut self, proposal: &Proposal, hash: Hash) -> Result<(), Fault> {
        let proposer = self.proposer(proposal.round);
        let Some(known) = self.at.left.get(&proposal.round).cloned() else { return Ok(()) };
        if known.block_hash == hash || self.at.accused.contains(&proposer) {
            return Ok(());
        }
        self.check_signature(proposal, hash)?;
        let justify = proposal.justify.as_ref().map(|qc| qc.round);
        let other = SignedProposal { block_hash: hash, justify, signature: proposal.signature };
        self.accuse(proposer, &Evidence::proposals(proposal.height, proposal.round, known, other));
        Ok(())
    }

    /// Notes a good proposal of the current round and relays it, the first and one other at most.
    fn record_proposal(&mut self, seen: Seen, block: Block) {
        let proposer = self.proposer(self.at.round);
        self.gone.remove(&proposer);
        if self.absent.remove(&proposer) && self.deadlines.round.is_some() {
            // Its time was over when it began, for nobody expected anything.
            self.deadlines.round = Some(self.now.after(self.rules.round_timeout(self.at.round)));
        }
        self.wake();
        let own = self.me == Some(proposer);
        let hash = seen.hash;
        let again = block.header().created_round < self.at.round;
        let second = self.at.current.first.is_some();
        if own || second || self.rules.model.relies_on_time() {
            if own || !self.has(PlantedBug::NoProposalRelay) {
                self.out.push(Action::Broadcast(seen.raw.clone()));
            }
        } else {
            self.relay_to_helped(&seen.raw);
            self.relay_later();
        }
        self.keep_block(block);
        match self.at.current.first.as_ref().map(Seen::signed) {
            None => {
                let at_once = self.has(PlantedBug::VoteAtOnce);
                self.deadlines.vote = Some(if at_once { self.now } else { self.rules.after_deltas(self.now, 1) });
                self.at.current.first = Some(seen);
                if self.at.blocks.is_valid(&hash) && again {
                    self.check_block(&hash);
                }
                self.ensure_checked(&hash);
            }
            Some(first) => {
                let round = self.at.round;
                let evidence = Evidence::proposals(self.height(), round, first, seen.signed());
                self.at.current.second = Some(seen);
                self.accuse(self.proposer(round), &evidence);
            }
        }
    }

    /// Keeps a block of this height; the locked, the decided and the proposed ones are kept in any case.
    pub(super) fn keep_block(&mut self, block: Block) {
        let current = &self.at.current;
        let locked = self.at.high_qc.as_ref().map(|qc| qc.block_hash);
        let decided = self.at.decided.as_ref().map(|decision| decision.qc.block_hash);
        let proposed = [&current.first, &current.second].into_iter().flatten().map(|seen| seen.hash);
        let prepared = self.at.prepared.iter().copied();
        let keep: Vec<Hash> = locked.into_iter().chain(decided).chain(proposed).chain(prepared).collect();
        let hash = block.hash();
        let new = self.at.blocks.get(&hash).is_none();
        self.at.blocks.insert(block, self.now, &keep);
        if new && locked == Some(hash) {
            self.persist();
        }
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
