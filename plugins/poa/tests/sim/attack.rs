//! Directed attacks: dishonest validators who know poa, see every message, and choose how long each takes.
//!
//! All of them act at height 1, where dishonest node 1 leads round 0. `early` is the honest node whose round 0 ends first, `late` the one
//! whose ends last. Node 1 shows its block to `late` alone, so late that `late` prepares it while `early` gives the round up; the
//! dishonest validators hold back their own votes, and with them a certificate which only they can complete.

use std::collections::BTreeMap;

use quorate::{
    Block, Bytes, Hash, Height, Round, Signature, ValidatorIndex, borsh::BorshDeserialize, consensus::SignRequest,
};
use quorate_poa::{
    Message, NewRound, Proposal, QuorumCertificate, Timeout, TimeoutCertificate, TimeoutEntry, Vote, VoteKind,
    proposal_request, timeout_request, vote_request,
};
use quorate_testkit::sim::{Adversary, Grip};

const HEIGHT: Height = Height(1);

/// What the dishonest validators are up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Two of five: a late commit in round 0, an early quit, and a second block in round 1, which they lead too.
    SecondBlock,
    /// One of three: the certificate of round 0 is shown to voters just before they vote in round 1.
    ReleaseBeforeVote,
    /// One of three: two blocks in round 0, half a Delta apart, to the two honest nodes.
    Split,
    /// One of three: the certificate of round 0 is shown to the voter that does not lead round 1, while the leader still waits.
    ReleaseToOne,
}

/// When [`Plan::Split`] shows the first block, in milliseconds of the run.
pub(crate) const SPLIT_MS: u64 = 900;

// Tokens of wake-ups.
const SHOW: u64 = 1;
const COMPLETE: u64 = 2;
const RELEASE: u64 = 3;
const SPLIT: u64 = 4;
const SPLIT_AGAIN: u64 = 5;

/// The mind behind the dishonest keys.
pub(crate) struct Attack {
    plan: Plan,
    delta_us: u64,
    /// How long round 0 lasts from a node's start.
    round_us: u64,
    started: BTreeMap<usize, u64>,
    early: usize,
    late: usize,
    on: bool,
    block: Option<Block>,
    other: Option<Block>,
    prepares: BTreeMap<Hash, Vec<(ValidatorIndex, Signature)>>,
    quit: Option<TimeoutCertificate>,
    round_one: bool,
}

impl Attack {
    pub(crate) fn new(plan: Plan, delta_ms: u64, round_ms: u64) -> Self {
        Self {
            plan,
            delta_us: delta_ms * 1000,
            round_us: round_ms * 1000,
            started: BTreeMap::new(),
            early: 0,
            late: 0,
            on: false,
            block: None,
            other: None,
            prepares: BTreeMap::new(),
            quit: None,
            round_one: false,
        }
    }

    fn index(node: usize) -> ValidatorIndex {
        ValidatorIndex(u16::try_from(node).unwrap_or(u16::MAX))
    }

    /// When all honest nodes have started, who is early and who is late is known, and so is when to begin.
    fn note_start(&mut self, grip: &mut Grip<'_>, node: usize) {
        let now = grip.now_us();
        self.started.entry(node).or_insert(now);
        let honest = grip.honest();
        if self.started.len() < honest.len() || self.on {
            return;
        }
        let by_start = |node: &&usize| self.started.get(node).copied();
        let (early, late) = (honest.iter().min_by_key(by_start), honest.iter().max_by_key(by_start));
        let (Some(early), Some(late)) = (early, late) else { return };
        (self.early, self.late) = (*early, *late);
        let at = |node: &usize| self.started.get(node).copied().unwrap_or(0);
        let apart = at(late) - at(early);
        // The one that is late must still be in round 0 half a Delta after the early one left it.
        if apart * 100 < self.delta_us * 55 || apart * 100 > self.delta_us * 95 {
            return;
        }
        self.on = true;
        let ends = at(early) + self.round_us;
        grip.tell(&format!(
            "node {early} gives round 0 up at {} ms, node {late} {} ms later",
            ends / 1000,
            apart / 1000
        ));
        grip.wake(ends - self.delta_us, SHOW);
        if self.plan == Plan::SecondBlock {
            grip.wake(ends + self.delta_us / 2, COMPLETE);
        }
    }

    fn propose(grip: &mut Grip<'_>, round: Round, block: &Block, timeout: Option<TimeoutCertificate>) -> Option<Bytes> {
        let leader = 1 + usize::try_from(round.0).unwrap_or(0);
        let signature = grip.sign(leader, &proposal_request(HEIGHT, round, &block.hash(), None))?;
        let block = block.encoded().clone();
        Some(Message::Proposal(Proposal { height: HEIGHT, round, block, justify: None, timeout, signature }).encode())
    }

    /// Shows one node a block of round 0.
    fn show(grip: &mut Grip<'_>, to: usize, salt: u32) {
        let block = grip.block(to, ValidatorIndex(1), Round(0), salt);
        if let Some(bytes) = block.and_then(|block| Self::propose(grip, Round(0), &block, None)) {
            grip.send(1, to, bytes, 0);
        }
    }

    fn vote(grip: &mut Grip<'_>, from: usize, to: usize, kind: VoteKind, round: Round, hash: Hash) {
        let request: SignRequest = vote_request(kind, HEIGHT, round, &hash);
        if let Some(signature) = grip.sign(from, &request) {
            let validator = Self::index(from);
            let vote = Vote { kind, height: HEIGHT, round, block_hash: hash, validator, signature };
            grip.send(from, to, Message::Vote(vote).encode(), 0);
        }
    }

    /// The certificate of round 0 for the block that only `late` prepared, completed with dishonest votes.
    fn hidden(&self, grip: &mut Grip<'_>) -> Option<QuorumCertificate> {
        let hash = self.block.as_ref()?.hash();
        let mut signatures = self.prepares.get(&hash)?.clone();
        for node in grip.corrupt() {
            let signature = grip.sign(node, &vote_request(VoteKind::Prepare, HEIGHT, Round(0), &hash))?;
            signatures.push((Self::index(node), signature));
        }
        signatures.sort_by_key(|(who, _)| *who);
        Some(QuorumCertificate {
            kind: VoteKind::Prepare,
            height: HEIGHT,
            round: Round(0),
            block_hash: hash,
            signatures,
        })
    }

    /// The first honest timeout of round 0 and those of the dishonest make the certificate which ends it.
    fn quit(&mut self, grip: &mut Grip<'_>, timeout: &Timeout) {
        if self.quit.is_some() || timeout.high_qc.is_some() {
            return;
        }
        let mut entries = vec![TimeoutEntry { validator: timeout.validator, high: None, signature: timeout.signature }];
        for node in grip.corrupt() {
            let Some(signature) = grip.sign(node, &timeout_request(HEIGHT, Round(0), None)) else { return };
            entries.push(TimeoutEntry { validator: Self::index(node), high: None, signature });
        }
        entries.sort_by_key(|entry| entry.validator);
        let tc = TimeoutCertificate { height: HEIGHT, round: Round(0), entries, high_qc: None };
        self.quit = Some(tc.clone());
        let early = self.early;
        let status = NewRound { height: HEIGHT, timeout: Some(tc.clone()), high_qc: None };
        grip.send(1, early, Message::NewRound(status).encode(), 0);
        grip.tell("round 0 is ended for the early node");
        if self.plan == Plan::SecondBlock {
            self.other = grip.block(early, ValidatorIndex(2), Round(1), 2);
            if let Some(block) = self.other.clone()
                && let Some(bytes) = Self::propose(grip, Round(1), &block, Some(tc))
            {
                grip.send(2, early, bytes, 1);
            }
        }
    }

    fn seen_vote(&mut self, grip: &mut Grip<'_>, from: usize, vote: &Vote) {
        if vote.kind == VoteKind::Prepare {
            self.prepares.entry(vote.block_hash).or_default().push((vote.validator, vote.signature));
        }
        let second = self.other.as_ref().is_some_and(|block| block.hash() == vote.block_hash);
        if second && from == self.early && vote.round == Round(1) {
            for node in grip.corrupt() {
                Self::vote(grip, node, from, vote.kind, Round(1), vote.block_hash);
            }
        }
    }

    /// Round 1 has a proposal of an honest leader: the certificate comes out in time to be in the way.
    fn seen_proposal(&mut self, grip: &mut Grip<'_>, proposal: &Proposal) {
        if proposal.round == Round(1) && !self.round_one && self.plan == Plan::ReleaseBeforeVote {
            self.round_one = true;
            grip.wake(grip.now_us() + self.delta_us * 9 / 10, RELEASE);
        }
    }
}

impl Adversary for Attack {
    fn start(&mut self, grip: &mut Grip<'_>) {
        if self.plan == Plan::Split {
            self.on = true;
            grip.wake(SPLIT_MS * 1000, SPLIT);
            grip.wake(SPLIT_MS * 1000 + self.delta_us / 2, SPLIT_AGAIN);
        }
    }

    fn sent(&mut self, grip: &mut Grip<'_>, from: usize, _to: Option<usize>, bytes: &Bytes) {
        self.note_start(grip, from);
        let Ok(message) = Message::try_from_slice(bytes) else { return };
        if !self.on || message.height() != HEIGHT {
            return;
        }
        match message {
            Message::Timeout(timeout) if timeout.round == Round(0) && from == self.early => self.quit(grip, &timeout),
            Message::Vote(vote) => self.seen_vote(grip, from, &vote),
            Message::Proposal(proposal) => self.seen_proposal(grip, &proposal),
            Message::NewRound(status) if self.plan == Plan::ReleaseToOne && !self.round_one => {
                let entered = status.timeout.is_some_and(|tc| tc.round == Round(0));
                if entered && from != 2 {
                    self.round_one = true;
                    grip.wake(grip.now_us() + self.delta_us, RELEASE);
                }
            }
            _ => {}
        }
    }

    fn woke(&mut self, grip: &mut Grip<'_>, token: u64) {
        let late = self.late;
        match token {
            SHOW => {
                self.block = grip.block(late, ValidatorIndex(1), Round(0), 1);
                if let Some(block) = self.block.clone()
                    && let Some(bytes) = Self::propose(grip, Round(0), &block, None)
                {
                    grip.send(1, late, bytes, 0);
                }
            }
            COMPLETE => {
                let Some(hash) = self.block.as_ref().map(Block::hash) else { return };
                for node in grip.corrupt() {
                    Self::vote(grip, node, late, VoteKind::Prepare, Round(0), hash);
                }
            }
            SPLIT => Self::show(grip, 0, 1),
            SPLIT_AGAIN => Self::show(grip, 2, 2),
            RELEASE => {
                let Some(hidden) = self.hidden(grip) else { return };
                let to: Vec<usize> = match self.plan {
                    Plan::ReleaseToOne => grip.honest().into_iter().filter(|node| *node != 2).collect(),
                    _ => grip.honest(),
                };
                for node in to {
                    grip.send(1, node, Message::Certificate(hidden.clone()).encode(), 0);
                }
            }
            _ => {}
        }
    }

    /// Everything between honest nodes takes as long as it may.
    fn delay_us(&mut self, _: u64, _: usize, _: usize, _: &Bytes) -> Option<u64> {
        Some(u64::MAX)
    }
}
