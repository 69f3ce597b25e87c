//! Votes: given when every rule allows, counted when they come.

use quorate::{
    Hash, Round, Signature, ValidatorIndex,
    consensus::{ProofError, SignRequest},
};

use super::{
    Engine, Fault, fault,
    state::{Asked, StoredTimeout, VoteKey},
};
use crate::{
    certificate::{QuorumCertificate, VoteKind},
    evidence::{Evidence, SignedHash},
    message::Vote,
    planted::PlantedBug,
    signing::vote_request,
};

impl Engine {
    fn vote(&mut self, kind: VoteKind, hash: Hash) {
        let request: SignRequest = vote_request(kind, self.height(), self.at.round, &hash);
        self.ask(request, Asked::Vote { kind, hash });
    }

    /// Prepares the first proposal of the round, when it is valid and nothing speaks against it (SPEC.md rules 12 and 13).
    pub(super) fn try_prepare(&mut self) {
        let current = &self.at.current;
        let Some(first) = &current.first else { return };
        let done = current.prepared || current.committed || current.timed_out;
        if done || self.holds() || !current.waited || !self.at.blocks.is_valid(&first.hash) {
            return;
        }
        if self.rules.model.relies_on_time() && !self.timing_allows(first.justify) {
            return;
        }
        self.prepare(first.hash);
    }

    /// Prepares the new block for which a proposal's signature was asked in this very step, so that one wait for the disk is for both
    /// (SPEC.md rule 13).
    pub(super) fn try_prepare_with_proposal(&mut self, hash: Hash) {
        let current = &self.at.current;
        let done = current.prepared || current.committed || current.timed_out || current.first.is_some();
        // Before a restart at this height another block may have been proposed, for which the vote is kept.
        if done || self.at.resumed || self.holds() || self.rules.model.relies_on_time() {
            return;
        }
        self.prepare(hash);
    }

    fn prepare(&mut self, hash: Hash) {
        self.at.current.prepared = true;
        // A certificate may come of it whose block nobody else keeps.
        if self.at.note_prepared(hash) {
            self.persist();
        }
        self.vote(VoteKind::Prepare, hash);
    }

    /// What `byzantine-sync` asks for besides.
    fn timing_allows(&self, justify: Option<Round>) -> bool {
        let current = &self.at.current;
        if current.second.is_some() {
            return false;
        }
        if self.at.round == Round(0) {
            return true;
        }
        let lock = match current.snapshot {
            Some(_) if self.has(PlantedBug::LiveLock) => self.at.high_round(),
            Some(lock) => lock,
            None if self.has(PlantedBug::NoEntryWait) => self.at.high_round(),
            None => return false,
        };
        justify >= lock || self.has(PlantedBug::NoLockRule)
    }

    /// Votes to commit the block of a prepare certificate of this very round (SPEC.md rule 15).
    pub(super) fn try_commit_vote(&mut self) {
        let current = &self.at.current;
        let Some(qc) = &self.at.high_qc else { return };
        let over = current.timed_out && !self.has(PlantedBug::CommitAfterTimeout);
        if qc.round != self.at.round || current.committed || over || self.holds() {
            return;
        }
        let hash = qc.block_hash;
        if self.at.blocks.is_valid(&hash) {
            if self.lock_is_new && self.rules.model.relies_on_time() {
                // The process may be held up before the certificate is out. The next step begins with looking whether it was.
                self.deadlines.commit = Some(self.now);
                return;
            }
            self.at.current.committed = true;
            self.vote(VoteKind::Commit, hash);
        }
    }

    pub(super) fn on_vote(&mut self, vote: Vote) -> Result<(), Fault> {
        if !self.at.keeps(vote.round) {
            return Ok(());
        }
        let key = (vote.round, vote.kind, vote.validator);
        let known = self.at.votes.get(&key).copied().or_else(|| self.surplus_beside(key, &vote));
        let accused = self.at.accused.contains(&vote.validator);
        if known.is_some_and(|(hash, _)| hash == vote.block_hash || accused) {
            return Ok(());
        }
        if known.is_none() && self.is_certified(&vote) {
            self.at.surplus.insert(key, (vote.block_hash, vote.signature));
            return Ok(());
        }
        self.check_vote(&vote).map_err(|error| fault("vote", &error))?;
        match known {
            None => self.record_vote(&vote),
            Some((block_hash, signature)) => {
                let one = SignedHash { block_hash, signature };
                let other = SignedHash { block_hash: vote.block_hash, signature: vote.signature };
                let place = (vote.height, vote.round);
                self.accuse(vote.validator, &Evidence::votes(vote.kind, place, vote.validator, one, other));
            }
        }
        Ok(())
    }

    fn check_vote(&mut self, vote: &Vote) -> Result<(), ProofError> {
        let request = vote_request(vote.kind, vote.height, vote.round, &vote.block_hash);
        let message = request.sign_bytes(&self.chain_id);
        self.judge().signature(vote.validator, message, vote.signature)
    }

    /// Whether the lock is already what the vote could make.
    fn is_certified(&self, vote: &Vote) -> bool {
        let lock = self.at.high_qc.as_ref().filter(|_| vote.kind == VoteKind::Prepare);
        lock.is_some_and(|qc| (qc.round, qc.block_hash) == (vote.round, vote.block_hash))
    }

    /// The vote of the same turn that came when nobody needed it. If `vote` contradicts it, it has to be good, and anybody may have sent it.
    fn surplus_beside(&mut self, key: VoteKey, vote: &Vote) -> Option<(Hash, Signature)> {
        let (block_hash, signature) = self.at.surplus.get(&key).copied()?;
        if block_hash == vote.block_hash {
            return Some((block_hash, signature));
        }
        self.at.surplus.remove(&key);
        self.check_vote(&Vote { block_hash, signature, ..vote.clone() }).ok()?;
        self.at.votes.insert(key, (block_hash, signature));
        Some((block_hash, signature))
    }

    /// Notes a good vote, and makes a certificate when it completes a quorum.
    pub(super) fn record_vote(&mut self, vote: &Vote) {
        let key = (vote.round, vote.kind, vote.validator);
        if self.at.votes.contains_key(&key) {
            return;
        }
        self.at.votes.insert(key, (vote.block_hash, vote.signature));
        if vote.kind == VoteKind::Commit {
            self.look_for_hidden_lock_in_timeouts(vote);
        }
        let quorum = self.quorum();
        let signatures = self.signatures(vote.round, vote.kind, &vote.block_hash);
        if signatures.len() < quorum {
            return;
        }
        let qc = QuorumCertificate {
            kind: vote.kind,
            height: vote.height,
            round: vote.round,
            block_hash: vote.block_hash,
            signatures: signatures.into_iter().take(quorum).collect(),
        };
        match vote.kind {
            VoteKind::Prepare => self.learn(&[&qc], None),
            VoteKind::Commit => self.decide(qc, None),
        }
    }

    /// Votes of one kind and round for one block, by validator.
    fn signatures(&self, round: Round, kind: VoteKind, hash: &Hash) -> Vec<(ValidatorIndex, Signature)> {
        let range: std::ops::RangeInclusive<VoteKey> =
            (round, kind, ValidatorIndex(0))..=(round, kind, ValidatorIndex(u16::MAX));
        let of_block = self.at.votes.range(range).filter(|(_, (voted, _))| voted == hash);
        of_block.map(|((_, _, validator), (_, signature))| (*validator, *signature)).collect()
    }

    fn look_for_hidden_lock_in_timeouts(&mut self, vote: &Vote) {
        let hiding = self.at.timeouts.iter().find(|((round, validator), timeout)| {
            *validator == vote.validator && *round >= vote.round && hides(timeout, vote.round)
        });
        let Some(((timeout_round, _), timeout)) = hiding else { return };
        let evidence = Evidence::HiddenLock {
            height: vote.height,
            offender: vote.validator,
            commit_round: vote.round,
            commit: SignedHash { block_hash: vote.block_hash, signature: vote.signature },
            timeout_round: *timeout_round,
            high: timeout.high(),
            timeout: timeout.signature,
        };
        self.accuse(vote.validator, &evidence);
    }

    /// The same from the other side: a timeout came after the commit vote that it hides.
    pub(super) fn look_for_hidden_lock_in_votes(
        &mut self,
        round: Round,
        offender: ValidatorIndex,
        timeout: &StoredTimeout,
    ) {
        let hidden = self.at.votes.iter().find(|((of, kind, validator), _)| {
            *validator == offender && *kind == VoteKind::Commit && *of <= round && hides(timeout, *of)
        });
        let Some(((commit_round, ..), (block_hash, signature))) = hidden else { return };
        let evidence = Evidence::HiddenLock {
            height: self.height(),
            offender,
            commit_round: *commit_round,
            commit: SignedHash { block_hash: *block_hash, signature: *signature },
            timeout_round: round,
            high: timeout.high(),
            timeout: timeout.signature,
        };
        self.accuse(offender, &evidence);
    }
}

fn hides(timeout: &StoredTimeout, commit_round: Round) -> bool {
    timeout.high_qc.as_ref().is_none_or(|qc| qc.round < commit_round)
}
