//! Deciding: a commit certificate, the block it names, and the kernel told to commit it.

use bytes::Bytes;
use quorate::{Block, Hash, PeerId, block::HEADER_BYTES, consensus::Action, engine::Judgement};

use super::{
    Engine, Fault, fault,
    state::{Deadlines, Decision},
};
use crate::{
    certificate::{Judge, QuorumCertificate, VoteKind, quorum},
    message::Message,
};

impl Engine {
    /// A peer says that this height is decided.
    pub(super) fn on_decided(&mut self, from: PeerId, qc: QuorumCertificate) -> Result<(), Fault> {
        if let Some(known) = self.at.decided.as_ref().filter(|known| known.qc.block_hash == qc.block_hash) {
            // An observer gets blocks by catch-up alone, and the peer it named first may be gone.
            if self.me.is_none() && !known.committing && self.peers.may_answer(from, self.now) {
                self.out.push(Action::NeedSync { height: qc.height, from });
            }
            return Ok(());
        }
        if qc.kind != VoteKind::Commit {
            return Err("a commit certificate is expected, another one came".into());
        }
        self.judge().quorum_certificate(&qc).map_err(|error| fault("commit certificate", &error))?;
        self.decide(qc, Some(from));
        Ok(())
    }

    /// Takes a checked commit certificate of this height.
    pub(super) fn decide(&mut self, qc: QuorumCertificate, from: Option<PeerId>) {
        if let Some(known) = &self.at.decided {
            if known.qc.block_hash != qc.block_hash {
                let known = known.qc.clone();
                self.conflict(&known, &qc);
            }
            return;
        }
        self.at.decided_in_wait = self.holds();
        self.at.decided = Some(Decision { qc, from, asked_for_body: false, committing: false });
        self.end_round();
    }

    /// Nothing of the round matters any more.
    pub(super) fn end_round(&mut self) {
        let Deadlines { hold, rebroadcast, hello, told, gone, .. } = self.deadlines;
        self.deadlines = Deadlines { hold, rebroadcast, hello, told, gone, ..Deadlines::default() };
    }

    /// Two final blocks of one height: more validators are dishonest, or messages slower, than the network tolerates.
    pub(super) fn conflict(&mut self, one: &QuorumCertificate, other: &QuorumCertificate) {
        self.halt(format!(
            "conflict at height {}: certificates make both {} (round {}) and {} (round {}) final",
            one.height, one.block_hash, one.round, other.block_hash, other.round
        ));
    }

    /// A certificate for the height before this one: it must be for the block that is final here.
    pub(super) fn compare_with_last(&mut self, qc: &QuorumCertificate) -> Result<(), Fault> {
        let Some(last) = self.last.as_ref().filter(|last| last.qc.height == qc.height) else { return Ok(()) };
        if last.qc.block_hash == qc.block_hash {
            return Ok(());
        }
        if qc.kind != VoteKind::Commit {
            return Err("a commit certificate is expected, another one came".into());
        }
        let quorum = quorum(&self.rules, self.bugs, &last.validators);
        let mut judge =
            Judge { chain_id: &self.chain_id, validators: &last.validators, quorum, verified: &mut self.verified };
        judge.quorum_certificate(qc).map_err(|error| fault("commit certificate", &error))?;
        let known = last.qc.clone();
        self.conflict(&known, qc);
        Ok(())
    }

    /// Commits the decided block once it is here and found valid; says whether the height is decided.
    pub(super) fn try_decide(&mut self) -> bool {
        let Some(decision) = self.at.decided.clone() else { return false };
        let (qc, from) = (decision.qc, decision.from);
        if decision.committing {
            return true;
        }
        match self.at.blocks.judgement(&qc.block_hash) {
            _ if self.me.is_none() => self.ask_for_sync(),
            None if !decision.asked_for_body => {
                let fetch = Message::Fetch { height: qc.height, hash: qc.block_hash };
                match from {
                    Some(peer) => self.send(peer, &fetch),
                    None => self.broadcast(&fetch),
                }
                self.deadlines.fetch = Some(self.now.after(self.rules.rebroadcast / 4));
            }
            None | Some(Judgement::Asked) => {}
            Some(Judgement::Unasked) => self.ensure_checked(&qc.block_hash),
            Some(Judgement::Invalid(reason)) => {
                let reason = reason.clone();
                self.halt(format!(
                    "block {} {} is final, but this node finds it invalid: {reason}",
                    qc.height, qc.block_hash
                ));
            }
            Some(Judgement::Valid) => {
                let proof = borsh::to_vec(&qc).unwrap_or_default().into();
                self.out.push(Action::Commit { hash: qc.block_hash, proof });
                self.tell_decision(qc);
                if let Some(decision) = &mut self.at.decided {
                    decision.committing = true;
                }
            }
        }
        if let Some(decision) = &mut self.at.decided {
            decision.asked_for_body = true;
        }
        true
    }

    /// A block that is missing did not come yet: ask everybody, and if it is decided, the kernel's catch-up too.
    pub(super) fn fetch_again(&mut self) {
        let decided = self.at.decided.as_ref().map(|decision| decision.qc.block_hash);
        let locked = self.at.high_qc.as_ref().map(|qc| qc.block_hash);
        let Some(hash) = decided.or(locked).filter(|hash| self.at.blocks.get(hash).is_none()) else { return };
        self.broadcast(&Message::Fetch { height: self.height(), hash });
        if decided.is_some() {
            self.ask_for_sync();
        }
        self.deadlines.fetch = Some(self.now.after(self.rules.rebroadcast));
    }

    fn ask_for_sync(&mut self) {
        let from = self.at.decided.as_ref().and_then(|decision| decision.from);
        let asked = self.me.is_none() && self.at.decided.as_ref().is_some_and(|decision| decision.asked_for_body);
        if let Some(from) = from.filter(|_| !asked) {
            self.out.push(Action::NeedSync { height: self.height(), from });
        }
    }

    /// A block that was asked for.
    pub(super) fn on_body(&mut self, encoded: Bytes) -> Result<(), Fault> {
        let head = encoded.get(..HEADER_BYTES).ok_or("block: shorter than a header")?;
        let hash = Hash::of(&[b"quorate/header/1\0", head]);
        let decided = self.at.decided.as_ref().map(|decision| decision.qc.block_hash);
        let locked = self.at.high_qc.as_ref().map(|qc| qc.block_hash);
        let wanted = [decided, locked].contains(&Some(hash));
        if !wanted || self.at.blocks.get(&hash).is_some() {
            return Ok(());
        }
        let block = Block::decode(encoded).map_err(|error| format!("block: {error}"))?;
        self.keep_block(block);
        self.ensure_checked(&hash);
        Ok(())
    }
}
