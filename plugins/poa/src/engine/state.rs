//! What an engine remembers of one height and of one round.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use quorate::{
    Block, Hash, Height, Instant, PeerId, Round, Signature, ValidatorIndex,
    block::BLOCK_BYTES_MAX,
    consensus::{Guard, SAVED_BYTES_MAX},
    engine::Blocks,
};

use crate::{
    certificate::{QuorumCertificate, TimeoutCertificate, VoteKind},
    evidence::SignedProposal,
    message::OVERHEAD_BYTES_MAX,
};

/// Rounds ahead of one's own for which votes and timeouts are kept, and rounds back.
pub(crate) const ROUNDS_KEPT: u32 = 64;

/// Requests for signatures that may wait for their answers.
pub(crate) const ASKED_MAX: usize = 16;

/// Blocks prepared at a height which are kept at most, in memory and in the record.
pub(crate) const PREPARED_MAX: usize = 3;

const _: () = assert!(BLOCK_BYTES_MAX + OVERHEAD_BYTES_MAX <= SAVED_BYTES_MAX);

/// The first byte of a saved record.
const SAVED_VERSION: u8 = 1;

/// The engine's durable record: where it stands and what it is bound to.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Saved {
    version: u8,
    pub(crate) height: Height,
    pub(crate) round: Round,
    pub(crate) entry: Option<TimeoutCertificate>,
    pub(crate) high_qc: Option<QuorumCertificate>,
    /// The block of `high_qc`, if it is here, and those which this node prepared, the last one first.
    pub(crate) blocks: Vec<Bytes>,
}

impl Saved {
    pub(crate) fn of(height: Height, at: &AtHeight) -> Self {
        let mut hashes: Vec<Hash> = at.high_qc.as_ref().map(|qc| qc.block_hash).into_iter().collect();
        hashes.extend(at.prepared.iter().filter(|hash| Some(**hash) != at.high_qc.as_ref().map(|qc| qc.block_hash)));
        let mut blocks = Vec::new();
        let mut room = BLOCK_BYTES_MAX;
        for block in hashes.iter().filter_map(|hash| at.blocks.get(hash)) {
            if let Some(left) = room.checked_sub(block.encoded().len()) {
                room = left;
                blocks.push(block.encoded().clone());
            }
        }
        Self {
            version: SAVED_VERSION,
            height,
            round: at.round,
            entry: at.entry.clone(),
            high_qc: at.high_qc.clone(),
            blocks,
        }
    }

    pub(crate) fn encode(&self) -> Bytes {
        // Writing plain fields to memory does not fail.
        borsh::to_vec(self).unwrap_or_default().into()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let saved = Self::try_from_slice(bytes).map_err(|error| error.to_string())?;
        if saved.version != SAVED_VERSION {
            return Err(format!("its version is {}; this node reads {SAVED_VERSION}", saved.version));
        }
        Ok(saved)
    }
}

/// A proposal that was received, or made here.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) hash: Hash,
    pub(crate) justify: Option<Round>,
    pub(crate) signature: Signature,
    /// As it came, to be relayed.
    pub(crate) raw: Bytes,
}

impl Seen {
    pub(crate) fn signed(&self) -> SignedProposal {
        SignedProposal { block_hash: self.hash, justify: self.justify, signature: self.signature }
    }
}

/// How far this node's own proposal of the round is.
#[derive(Debug, Clone, Default)]
pub(crate) enum Proposing {
    /// It is not the turn, or not yet the time.
    #[default]
    Not,
    /// The time has come.
    Due,
    /// The kernel makes a block.
    Building(u64),
    /// The block is made.
    Built(Block),
    /// The signature was asked for; there is no second proposal.
    Done,
}

/// One round; gone with it.
#[derive(Debug, Clone, Default)]
pub(crate) struct AtRound {
    pub(crate) first: Option<Seen>,
    pub(crate) second: Option<Seen>,
    /// Who sent the first, too, and so has it.
    pub(crate) holders: BTreeSet<ValidatorIndex>,
    pub(crate) proposing: Proposing,
    /// Delta passed since the first proposal was relayed.
    pub(crate) waited: bool,
    /// The round of the lock, as noted 2 Delta after entering.
    pub(crate) snapshot: Option<Option<Round>>,
    pub(crate) prepared: bool,
    pub(crate) committed: bool,
    /// The round took too long for this node.
    pub(crate) timed_out: bool,
    /// The round of the certificate in the timeout that was asked for last.
    pub(crate) timeout_asked: Option<Option<Round>>,
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
    Proposal { block: Block, justify: Option<QuorumCertificate> },
    Vote { kind: VoteKind, hash: Hash },
    Timeout { high_qc: Option<QuorumCertificate> },
}

/// Another validator's timeout.
#[derive(Debug, Clone)]
pub(crate) struct StoredTimeout {
    pub(crate) high_qc: Option<QuorumCertificate>,
    pub(crate) signature: Signature,
}

impl StoredTimeout {
    pub(crate) fn high(&self) -> Option<(Round, Hash)> {
        self.high_qc.as_ref().map(|qc| (qc.round, qc.block_hash))
    }
}

/// A vote's key: round, kind, validator.
pub(crate) type VoteKey = (Round, VoteKind, ValidatorIndex);

/// One height; gone with it.
#[derive(Debug, Clone)]
pub(crate) struct AtHeight {
    pub(crate) round: Round,
    pub(crate) entered: Instant,
    /// Why the round began, when a timeout certificate is why.
    pub(crate) entry: Option<TimeoutCertificate>,
    /// The lock: the highest prepare certificate known.
    pub(crate) high_qc: Option<QuorumCertificate>,
    pub(crate) current: AtRound,
    pub(crate) blocks: Blocks,
    /// This process began in the middle of the height, as far as it knows.
    pub(crate) resumed: bool,
    /// Blocks that this node prepared, the last one first: whoever locks one of them may have to ask for it.
    pub(crate) prepared: Vec<Hash>,
    pub(crate) votes: BTreeMap<VoteKey, (Hash, Signature)>,
    /// Votes that came when their certificate was complete: they are not checked, unless another one contradicts them.
    pub(crate) surplus: BTreeMap<VoteKey, (Hash, Signature)>,
    pub(crate) timeouts: BTreeMap<(Round, ValidatorIndex), StoredTimeout>,
    /// First proposals of rounds left, for evidence.
    pub(crate) left: BTreeMap<Round, SignedProposal>,
    pub(crate) accused: BTreeSet<ValidatorIndex>,
    pub(crate) decided: Option<Decision>,
    /// The decision came while this node made good what it missed: the next height may have begun meanwhile, unseen.
    pub(crate) decided_in_wait: bool,
    /// A later height was decided by a quorum of this height's validators: this one is over, though its block is not here.
    pub(crate) over: bool,
    /// Something is to be decided; until then nothing is hurried.
    pub(crate) awake: bool,
    /// Before this a block of round 0 comes too early.
    pub(crate) due: Instant,
    pub(crate) asked: BTreeMap<Guard, (Hash, Asked)>,
    pub(crate) last_asked: Option<(Guard, Hash)>,
    /// This node's latest signed messages by step, to be said again.
    pub(crate) own: BTreeMap<u8, (Round, Bytes)>,
}

impl AtHeight {
    /// Notes a block as prepared; says whether the record has to be written for it.
    pub(crate) fn note_prepared(&mut self, hash: Hash) -> bool {
        if self.prepared.first() == Some(&hash) {
            return false;
        }
        self.prepared.retain(|known| *known != hash);
        self.prepared.insert(0, hash);
        self.prepared.truncate(PREPARED_MAX);
        true
    }

    pub(crate) fn new(entered: Instant, due: Instant) -> Self {
        Self {
            round: Round(0),
            entered,
            entry: None,
            high_qc: None,
            current: AtRound::default(),
            blocks: Blocks::default(),
            resumed: false,
            prepared: Vec::new(),
            votes: BTreeMap::new(),
            surplus: BTreeMap::new(),
            timeouts: BTreeMap::new(),
            left: BTreeMap::new(),
            accused: BTreeSet::new(),
            decided: None,
            decided_in_wait: false,
            over: false,
            awake: false,
            due,
            asked: BTreeMap::new(),
            last_asked: None,
            own: BTreeMap::new(),
        }
    }

    /// See [`Engine::hash_state`](super::Engine::hash_state).
    #[cfg(feature = "planted-bugs")]
    pub(crate) fn hash_state(&self, into: &mut impl std::hash::Hasher) {
        use std::hash::Hash as _;
        let current = &self.current;
        let seen = |seen: &Option<Seen>| seen.as_ref().map(|seen| (seen.hash, seen.justify));
        let proposing = match &current.proposing {
            Proposing::Not => (0, None),
            Proposing::Due => (1, None),
            Proposing::Building(_) => (2, None),
            Proposing::Built(block) => (3, Some(block.hash())),
            Proposing::Done => (4, None),
        };
        (self.round, self.entered, self.due, self.awake, self.over, self.decided_in_wait, self.high()).hash(into);
        self.entry.as_ref().map(|tc| (tc.round, tc.high_qc.as_ref().map(|qc| (qc.round, qc.block_hash)))).hash(into);
        (seen(&current.first), seen(&current.second), proposing, current.waited, current.snapshot).hash(into);
        current.holders.hash(into);
        (current.prepared, current.committed, current.timed_out, current.timeout_asked).hash(into);
        self.blocks.hash_state(into);
        (&self.prepared, self.resumed, &self.accused, self.last_asked).hash(into);
        self.votes.iter().for_each(|(key, (hash, _))| (key, hash).hash(into));
        self.surplus.iter().for_each(|(key, (hash, _))| (key, hash).hash(into));
        self.timeouts.iter().for_each(|(key, timeout)| (key, timeout.high()).hash(into));
        self.left.iter().for_each(|(round, left)| (round, left.block_hash).hash(into));
        self.decided.as_ref().map(|one| (one.qc.block_hash, one.asked_for_body, one.committing)).hash(into);
        self.asked.iter().for_each(|(guard, (digest, _))| (guard, digest).hash(into));
        self.own.iter().for_each(|(step, (round, bytes))| (step, round, bytes).hash(into));
    }

    pub(crate) fn high_round(&self) -> Option<Round> {
        self.high_qc.as_ref().map(|qc| qc.round)
    }

    pub(crate) fn high(&self) -> Option<(Round, Hash)> {
        self.high_qc.as_ref().map(|qc| (qc.round, qc.block_hash))
    }

    /// Whether messages of `round` are kept without a proof that it began.
    pub(crate) fn keeps(&self, round: Round) -> bool {
        round.0 <= self.round.0.saturating_add(ROUNDS_KEPT) && round.0.saturating_add(ROUNDS_KEPT) >= self.round.0
    }

    /// Forgets what is too old for [`AtHeight::keeps`], and the timeouts of rounds left.
    pub(crate) fn prune(&mut self) {
        let round = self.round;
        let oldest = Round(round.0.saturating_sub(ROUNDS_KEPT));
        self.votes.retain(|(of, ..), _| *of >= oldest);
        self.surplus.retain(|(of, ..), _| *of >= oldest);
        self.timeouts.retain(|(of, _), _| *of >= round);
        self.left.retain(|of, _| *of >= oldest);
    }
}

/// When something is to be looked at again; a field is cleared when its time has come.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Deadlines {
    /// The round is given up.
    pub(crate) round: Option<Instant>,
    /// The lock is noted.
    pub(crate) snapshot: Option<Instant>,
    /// It is time to propose.
    pub(crate) lead: Option<Instant>,
    /// It is time to vote.
    pub(crate) vote: Option<Instant>,
    /// The lock, which was relayed in an earlier step, may be voted for.
    pub(crate) commit: Option<Instant>,
    /// Votes may be given again.
    pub(crate) hold: Option<Instant>,
    /// Everything is said again.
    pub(crate) rebroadcast: Option<Instant>,
    /// An empty block is due.
    pub(crate) heartbeat: Option<Instant>,
    /// Others are asked again what was missed.
    pub(crate) hello: Option<Instant>,
    /// A block that is missing is asked for.
    pub(crate) fetch: Option<Instant>,
    /// What is known of the round is sent to those who show that they lack it.
    pub(crate) relay: Option<Instant>,
    /// The last decision is.
    pub(crate) told: Option<Instant>,
    /// Somebody's link has been gone for long enough.
    pub(crate) gone: Option<Instant>,
}

impl Deadlines {
    /// Drops what belongs to a round.
    pub(crate) fn leave_round(&mut self) {
        (self.round, self.snapshot, self.lead, self.vote, self.commit, self.heartbeat) = Default::default();
        self.relay = None;
    }

    /// The next of all.
    pub(crate) fn earliest(&self) -> Option<Instant> {
        [
            self.round,
            self.snapshot,
            self.lead,
            self.vote,
            self.commit,
            self.hold,
            self.rebroadcast,
            self.heartbeat,
            self.hello,
            self.fetch,
            self.relay,
            self.told,
            self.gone,
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
