//! What an engine remembers of one height and of one round.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate::{
    Block, Hash, Height, Instant, PeerId, Round, Signature, ValidatorIndex, consensus::Guard, engine::Blocks,
};

use crate::{
    certificate::QuorumCertificate,
    evidence::SignedProposal,
    machine::Machine,
    message::Vote,
    record::{Cast, Record},
    signing::VoteKind,
};

/// Rounds ahead of one's own for which votes are kept without proof that they began, and rounds back.
pub(crate) const ROUNDS_KEPT: u32 = 64;

/// Rounds ahead of one's own for which proposals are kept.
pub(crate) const PROPOSALS_AHEAD: u32 = 1;

/// Proposals of one round that are noted: the second is evidence.
pub(crate) const PROPOSALS_MAX: usize = 2;

/// Requests for signatures that may wait for their answers.
pub(crate) const ASKED_MAX: usize = 16;

/// A proposal that was received, or made here.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) hash: Hash,
    pub(crate) polka: Option<QuorumCertificate>,
    pub(crate) signature: Signature,
    /// As it came, to be said again.
    pub(crate) raw: Bytes,
    /// The driver was told.
    pub(crate) offered: bool,
}

impl Seen {
    pub(crate) fn polka_round(&self) -> Option<Round> {
        self.polka.as_ref().map(|qc| qc.round)
    }

    pub(crate) fn signed(&self) -> SignedProposal {
        SignedProposal { block_hash: self.hash, polka: self.polka_round(), signature: self.signature }
    }
}

/// How far this node's own proposal of the round is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Proposing {
    /// It is not the turn, or not yet the time.
    #[default]
    Not,
    /// A block shall be made.
    Due,
    /// The kernel makes a block.
    Building(u64),
    /// What to propose is known.
    Ready { hash: Hash, polka: Option<Round> },
    /// The signature was asked for; there is no second proposal.
    Done,
}

/// How far a vote of this node is.
#[derive(Debug, Clone)]
pub(crate) struct Voting {
    pub(crate) cast: Cast,
    pub(crate) asked: bool,
    /// The signer will never give it.
    pub(crate) refused: bool,
}

impl Voting {
    pub(crate) fn new(cast: Cast) -> Self {
        Self { cast, asked: false, refused: false }
    }
}

/// One round; gone with it.
#[derive(Debug, Default)]
pub(crate) struct AtRound {
    pub(crate) proposing: Proposing,
    pub(crate) voting: BTreeMap<VoteKind, Voting>,
}

/// A certificate that decides the height.
#[derive(Debug, Clone)]
pub(crate) struct Decision {
    pub(crate) qc: QuorumCertificate,
    pub(crate) from: Option<PeerId>,
    pub(crate) asked_for_body: bool,
    pub(crate) committing: bool,
}

/// What a signature was asked for.
#[derive(Debug, Clone)]
pub(crate) enum Asked {
    Proposal { block: Block, polka: Option<QuorumCertificate> },
    Vote { kind: VoteKind, hash: Option<Hash> },
}

/// One height; gone with it.
#[derive(Debug)]
pub(crate) struct AtHeight {
    /// Tendermint's rules; none for a node without a vote.
    pub(crate) machine: Option<Machine>,
    pub(crate) round: Round,
    pub(crate) entered: Instant,
    /// The votes by which the round was entered.
    pub(crate) entry: Vec<Vote>,
    /// The polka of the lock.
    pub(crate) lock: Option<QuorumCertificate>,
    /// The polka of the block that this node would propose.
    pub(crate) valid: Option<QuorumCertificate>,
    pub(crate) current: AtRound,
    /// Proposals of this round and the next.
    pub(crate) proposals: BTreeMap<Round, Vec<Seen>>,
    /// First proposals of rounds left, for evidence.
    pub(crate) left: BTreeMap<Round, SignedProposal>,
    pub(crate) blocks: Blocks,
    pub(crate) accused: BTreeSet<ValidatorIndex>,
    pub(crate) decided: Option<Decision>,
    /// Something is to be decided; until then no round begins.
    pub(crate) awake: bool,
    /// Before this a block of round 0 comes too early.
    pub(crate) due: Instant,
    pub(crate) asked: BTreeMap<Guard, (Hash, Asked)>,
    pub(crate) last_asked: Option<(Guard, Hash)>,
    /// This node's latest precommit for a block, which counts in any round.
    pub(crate) precommitted: Option<Vote>,
    /// Something changed that must be durable before the next signature.
    pub(crate) dirty: bool,
}

impl AtHeight {
    pub(crate) fn new(machine: Option<Machine>, entered: Instant, due: Instant) -> Self {
        Self {
            machine,
            round: Round(0),
            entered,
            entry: Vec::new(),
            lock: None,
            valid: None,
            current: AtRound::default(),
            proposals: BTreeMap::new(),
            left: BTreeMap::new(),
            blocks: Blocks::default(),
            accused: BTreeSet::new(),
            decided: None,
            awake: false,
            due,
            asked: BTreeMap::new(),
            last_asked: None,
            precommitted: None,
            dirty: false,
        }
    }

    /// Round and block of the valid block's polka.
    pub(crate) fn valid_round(&self) -> Option<Round> {
        self.valid.as_ref().map(|qc| qc.round)
    }

    /// Whether votes of `round` are kept without a proof that it began.
    pub(crate) fn keeps(&self, round: Round) -> bool {
        round.0 <= self.round.0.saturating_add(ROUNDS_KEPT) && round.0.saturating_add(ROUNDS_KEPT) >= self.round.0
    }

    /// Blocks which must not give way to others.
    pub(crate) fn needed(&self) -> Vec<Hash> {
        let certificates = [&self.lock, &self.valid].into_iter().flatten().map(|qc| qc.block_hash);
        let decided = self.decided.iter().map(|decision| decision.qc.block_hash);
        let proposed = self.proposals.values().flatten().map(|seen| seen.hash);
        certificates.chain(decided).chain(proposed).collect()
    }

    /// The record to be made durable.
    pub(crate) fn record(&self, height: Height) -> Record {
        let mut record = Record::new(height, self.round);
        record.entry.clone_from(&self.entry);
        record.cast = self.current.voting.values().map(|voting| voting.cast.clone()).collect();
        record.lock.clone_from(&self.lock);
        let lock = self.lock.as_ref().map(|qc| (qc.round, qc.block_hash));
        record.valid = self.valid.clone().filter(|qc| Some((qc.round, qc.block_hash)) != lock);
        let of_valid =
            record.valid.as_ref().map(|qc| qc.block_hash).filter(|hash| Some(*hash) != lock.map(|one| one.1));
        for hash in lock.map(|(_, hash)| hash).into_iter().chain(of_valid) {
            if let Some(block) = self.blocks.get(&hash) {
                record.add_block(block.encoded());
            }
        }
        record
    }
}

/// When something is to be looked at again; a field is cleared when its time has come.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Deadlines {
    /// No proposal came in time.
    pub(crate) no_proposal: Option<Instant>,
    /// Missing prevotes came not in time.
    pub(crate) prevotes: Option<Instant>,
    /// Missing precommits came not in time.
    pub(crate) precommits: Option<Instant>,
    /// It is time to make a block.
    pub(crate) lead: Option<Instant>,
    /// A signature that failed is asked for again.
    pub(crate) sign: Option<Instant>,
    /// Everything is said again.
    pub(crate) rebroadcast: Option<Instant>,
    /// An empty block is due.
    pub(crate) heartbeat: Option<Instant>,
    /// All peers are greeted.
    pub(crate) hello: Option<Instant>,
    /// A block that is missing is asked for.
    pub(crate) fetch: Option<Instant>,
}

impl Deadlines {
    /// Keeps what belongs to no height.
    pub(crate) fn end_height(&mut self) {
        let Self { rebroadcast, hello, .. } = *self;
        *self = Self { rebroadcast, hello, ..Self::default() };
    }

    /// The next of all.
    pub(crate) fn earliest(&self) -> Option<Instant> {
        [
            self.no_proposal,
            self.prevotes,
            self.precommits,
            self.lead,
            self.sign,
            self.rebroadcast,
            self.heartbeat,
            self.hello,
            self.fetch,
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

/// Clears a deadline whose time has come, and says so.
pub(crate) fn came(deadline: &mut Option<Instant>, now: Instant) -> bool {
    let due = deadline.is_some_and(|at| at <= now);
    if due {
        *deadline = None;
    }
    due
}
