//! What becomes final, what is proven, and who is turned away: the irrevocable part of the simulated kernel.

use std::sync::Arc;

use bytes::Bytes;
use quorate::{
    Hash, Height, PeerId, ValidatorSet,
    consensus::{CommitBy, Event},
};

use super::{
    checks::{Breach, Commit, short},
    ledger::Candidate,
    record::Mark,
    world::{Item, Wire, World},
};

/// How long a penalised peer stays away, in microseconds.
const BAN_US: u64 = 10_000_000;

/// Pieces of evidence that wait at one node at most.
const EVIDENCE_WAITING_MAX: usize = 64;

impl World {
    pub(crate) fn commit_by_engine(&mut self, at: usize, hash: Hash, proof: Bytes) {
        let Some(actor) = self.actors.get_mut(at) else { return };
        let (name, honest) = (actor.name.clone(), actor.honest);
        // Catch-up was faster; the engine will hear of it.
        if actor.chain.tip().hash == hash && actor.memory.untold_commit {
            return self.coverage.met("commits overtaken by catch-up");
        }
        let known_invalid = actor.memory.invalid.contains(&hash);
        match actor.memory.candidates.remove(&hash) {
            Some(candidate) => self.commit(at, &candidate, proof, CommitBy::Engine),
            None if !honest => actor.memory.halted = true,
            None if known_invalid => {
                let detail = format!("{name} commits {}, which it found invalid", short(hash.as_bytes()));
                self.breach(Breach::new("S12 conflict", detail));
            }
            None => {
                let detail = format!("{name} commits {}, which it did not find valid", short(hash.as_bytes()));
                self.breach(Breach::new("S5 validity", detail));
            }
        }
    }

    pub(crate) fn commit(&mut self, at: usize, candidate: &Candidate, proof: Bytes, by: CommitBy) {
        let Some(actor) = self.actors.get_mut(at) else { return };
        let (node, honest, life, name) = (actor.node, actor.honest, actor.life, actor.name.clone());
        let (block, tip) = (&candidate.block, actor.chain.tip());
        let set = actor.chain.validators().clone();
        if block.height() != tip.height.next() || block.header().parent_hash != tip.hash {
            let detail = format!("{name} commits block {} on block {}", block.height(), tip.height);
            return self.breach(Breach::new("S4 chain", detail));
        }
        if honest {
            let nodes = self.nodes_of(&set);
            let finality = Arc::clone(&self.proof);
            let commit = Commit { node, block, proof: &proof, set: &set, nodes: &nodes };
            let result = self.checks.committed(&self.rules.chain_id, finality.as_ref(), &commit);
            if let Err(breach) = result {
                return self.breach(breach);
            }
            self.inspect(|inspector| inspector.committed(node, block, &proof));
            self.count_commit(candidate, &set, &proof, by);
        }
        self.trace.mix(&[3, at as u64, block.height().0]);
        self.trace.mix_bytes(block.hash().as_bytes());
        self.trace.turn();
        self.trace.tell(self.now, || {
            let how = if by == CommitBy::Sync { " by catch-up" } else { "" };
            format!("{name} COMMITS h{} {}{how}", block.height(), short(block.hash().as_bytes()))
        });
        let (at_us, height, by_catch_up) = (self.now, block.height().0, by == CommitBy::Sync);
        self.trace.mark(|| {
            let hash = short(block.hash().as_bytes());
            Mark::Committed { at_us, lane: at, height, hash, by_catch_up }
        });
        let Some(actor) = self.actors.get_mut(at) else { return };
        actor.chain.push(candidate, proof);
        actor.memory.untold_commit = true;
        actor.saved = None;
        let memory = &mut actor.memory;
        (memory.unsynced, memory.candidates, memory.invalid) = Default::default();
        memory.pool.retain(|transaction| !actor.chain.has(transaction));
        memory.evidence.retain(|(offender, height), _| !actor.chain.has_proven(offender, *height));
        actor.memory.told_pending = actor.pending();
        if by == CommitBy::Engine {
            (actor.memory.sync.behind_since_us, actor.memory.sync.urgent) = (None, false);
        }
        let me = self.public.get(node).and_then(|key| actor.me(key));
        let event = Event::Committed {
            tip: actor.chain.tip(),
            validators: actor.chain.validators().clone(),
            me,
            by,
            pending: actor.memory.told_pending,
        };
        let new_tip = actor.chain.tip();
        self.post(self.now, Item::Answer { actor: at, life, event: Box::new(event) });
        self.committed_measured(at, block);
        self.say_height(at);
        if honest {
            self.attack(|adversary, grip| adversary.committed(grip, node, new_tip));
        }
        self.look_whether_done();
    }

    fn count_commit(&mut self, candidate: &Candidate, set: &ValidatorSet, proof: &Bytes, by: CommitBy) {
        self.coverage.met(match by {
            CommitBy::Engine => "blocks committed by engines",
            CommitBy::Sync => "blocks committed by catch-up",
        });
        if candidate.next != *set {
            self.coverage.met("validator changes");
        }
        if !candidate.proven.is_empty() {
            self.coverage.met("evidence in blocks");
        }
        if candidate.block.transactions().is_empty() {
            self.coverage.met("empty blocks");
        }
        if let Ok(certificate) = self.proof.certificate(proof) {
            if certificate.round.0 > 0 {
                self.coverage.met("blocks decided in later rounds");
            }
            if certificate.round != candidate.block.header().created_round {
                self.coverage.met("blocks decided after being proposed again");
            }
        }
    }

    /// Takes a piece of evidence, and passes it on.
    pub(crate) fn evidence(&mut self, at: usize, bytes: Bytes, own: bool) {
        let Some(actor) = self.actors.get_mut(at) else { return };
        let (honest, name) = (actor.honest, actor.name.clone());
        let proven = match self.rules.proves(&actor.chain, &bytes, self.proof.as_ref()) {
            Ok(proven) => proven,
            Err(error) if own && honest => {
                return self.breach(Breach::new("S9 evidence", format!("{name}'s evidence proves nothing: {error}")));
            }
            Err(_) => return,
        };
        let offender = self.by_key.get(&proven.offender).copied().unwrap_or(usize::MAX);
        if !self.checks.corrupt.contains(&offender) {
            let detail = format!("node {offender} is honest, but accused: {}", proven.offence);
            return self.breach(Breach::new("S9 evidence", detail));
        }
        let key = (proven.offender, proven.height);
        let known = actor.chain.has_proven(&key.0, key.1) || actor.memory.evidence.contains_key(&key);
        if known || actor.memory.evidence.len() >= EVIDENCE_WAITING_MAX {
            return;
        }
        actor.memory.evidence.insert(key, bytes.clone());
        if honest {
            self.coverage.met("misbehaviour proven");
            self.trace.tell(self.now, || format!("{name} proves that node {offender} misbehaved: {}", proven.offence));
        }
        if own {
            self.wire_to_all(at, &Wire::Evidence(bytes));
        }
        self.tell_work(at);
    }

    pub(crate) fn penalise(&mut self, at: usize, peer: PeerId, reason: &str) {
        let Some(node) = self.node_of(&peer) else { return };
        let Some(actor) = self.actors.get(at) else { return };
        let (name, honest, mine) = (actor.name.clone(), actor.honest, actor.node);
        self.trace.tell(self.now, || format!("{name} penalises node {node}: {reason}"));
        if honest && !self.checks.corrupt.contains(&node) {
            let detail = format!("{name} penalises honest node {node}: {reason}");
            return self.breach(Breach::new("P1 accusation", detail));
        }
        self.coverage.met("peers penalised");
        self.disconnect(mine, node);
        let life = self.life(at);
        self.post(self.now + BAN_US, Item::Connect { actor: at, life, node });
    }

    pub(crate) fn halt(&mut self, at: usize, reason: &str) {
        let Some(actor) = self.actors.get_mut(at) else { return };
        actor.memory.halted = true;
        let name = actor.name.clone();
        if actor.honest {
            self.breach(Breach::new("H1 halt", format!("{name}'s engine halted: {reason}")));
        }
    }

    /// The tip of an actor.
    pub(crate) fn tip_of(&self, at: usize) -> Height {
        self.actors.get(at).map_or(Height::GENESIS, |actor| actor.chain.tip().height)
    }
}
