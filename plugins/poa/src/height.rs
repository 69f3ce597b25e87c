//! What a validator knows of the height that is being decided; forgotten when it is final.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};
use quorate::{
    Block, Bytes, Hash, Height, Instant, Round, Signature, ValidatorIndex,
    consensus::{Guard, Tip},
};

use crate::{
    certificate::{Qc, Tc, TimeoutEntry},
    message::{Message, Proposal, Timeout},
};

/// Rounds ahead of ours for which votes are kept.
pub(crate) const ROUNDS_AHEAD_MAX: u32 = 64;

/// Blocks kept at one height at most.
pub(crate) const BLOCKS_MAX: usize = 16;

/// Our own messages kept for repair at most; the oldest goes first.
pub(crate) const OWN_MAX: usize = 64;

/// A proposal as first received.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) proposal: Proposal,
    pub(crate) hash: Hash,
    pub(crate) relayed_at: Instant,
}

/// What a signature that was asked for will complete.
#[derive(Debug, Clone)]
pub(crate) enum Pending {
    Proposal { block: Block, justify: Option<Qc>, tc: Option<Tc> },
    Vote { kind: u8, hash: Hash },
    Timeout { hqc_round: i64, hqc_hash: Hash, high_qc: Option<Qc> },
}

/// The durable record (`SPEC.md`, table 3).
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Saved {
    pub(crate) height: Height,
    pub(crate) round: Round,
    pub(crate) entry: Option<Tc>,
    pub(crate) high_qc: Option<Qc>,
    pub(crate) block: Option<Bytes>,
}

/// Votes by kind, round and block.
pub(crate) type Votes = BTreeMap<(u8, Round, Hash), BTreeMap<ValidatorIndex, Signature>>;

#[derive(Debug, Default)]
pub(crate) struct HeightState {
    pub(crate) height: Height,
    pub(crate) tip: Option<Tip>,
    pub(crate) round: Round,
    pub(crate) entered_at: Instant,
    pub(crate) propose_at: Instant,
    pub(crate) idle: bool,
    pub(crate) entry: Option<Tc>,
    pub(crate) high_qc: Option<Qc>,
    /// Whether the durable record holds the block of `high_qc`.
    pub(crate) saved_block: bool,
    pub(crate) proposals: BTreeMap<Round, Vec<Seen>>,
    pub(crate) votes: Votes,
    pub(crate) timeouts: BTreeMap<Round, BTreeMap<ValidatorIndex, Timeout>>,
    pub(crate) blocks: BTreeMap<Hash, Block>,
    pub(crate) checking: BTreeSet<Hash>,
    pub(crate) valid: BTreeMap<Hash, bool>,
    pub(crate) equivocated: BTreeSet<Round>,
    /// `high_qc`'s round, -1 for none, as it was 2 delta after entry.
    pub(crate) lock_snapshot: Option<i64>,
    pub(crate) timed_out: Option<Round>,
    pub(crate) building: Option<Round>,
    pub(crate) commit_qc: Option<Qc>,
    pub(crate) committing: bool,
    pub(crate) asked: BTreeSet<Guard>,
    pub(crate) pending: BTreeMap<Guard, Pending>,
    pub(crate) own: Vec<Message>,
    pub(crate) evidence_given: BTreeSet<ValidatorIndex>,
    pub(crate) fetched_at: Option<Instant>,
}

impl HeightState {
    pub(crate) fn high_qc_round(&self) -> i64 {
        self.high_qc.as_ref().map_or(-1, |qc| i64::from(qc.round.0))
    }

    pub(crate) fn record(&self) -> Bytes {
        let block = self.high_qc.as_ref().and_then(|qc| self.blocks.get(&qc.hash)).map(|block| block.encoded().clone());
        let saved = Saved {
            height: self.height,
            round: self.round,
            entry: self.entry.clone(),
            high_qc: self.high_qc.clone(),
            block,
        };
        // Writing to memory does not fail.
        borsh::to_vec(&saved).unwrap_or_default().into()
    }

    pub(crate) fn keep_own(&mut self, message: Message) {
        if self.own.len() >= OWN_MAX {
            self.own.remove(0);
        }
        self.own.push(message);
    }

    /// Keeps a block; when there are too many, one that nothing refers to makes room.
    pub(crate) fn keep_block(&mut self, block: &Block) -> bool {
        if self.blocks.len() >= BLOCKS_MAX && !self.blocks.contains_key(&block.hash()) {
            let needed: BTreeSet<Hash> = self
                .high_qc
                .iter()
                .chain(&self.commit_qc)
                .map(|qc| qc.hash)
                .chain(self.proposals.range(self.round..).flat_map(|(_, seen)| seen.iter().map(|seen| seen.hash)))
                .collect();
            let Some(free) = self.blocks.keys().find(|hash| !needed.contains(hash)).copied() else { return false };
            self.blocks.remove(&free);
            self.valid.remove(&free);
            self.checking.remove(&free);
        }
        self.blocks.insert(block.hash(), block.clone());
        true
    }

    /// The votes of a kind that make a certificate, the lowest round first.
    pub(crate) fn certificate(&self, kind: u8, quorum: usize) -> Option<Qc> {
        let (key, signatures) = self
            .votes
            .iter()
            .filter(|((of, ..), signatures)| *of == kind && signatures.len() >= quorum)
            .max_by_key(|((_, round, _), _)| *round)?;
        let (kind, round, hash) = *key;
        let signatures = signatures.iter().map(|(index, signature)| (*index, *signature)).collect();
        Some(Qc { kind, height: self.height, round, hash, signatures })
    }

    /// A timeout certificate of the latest round from ours on that has enough.
    pub(crate) fn timeout_certificate(&self, quorum: usize) -> Option<Tc> {
        let (round, timeouts) =
            self.timeouts.range(self.round..).rev().find(|(_, timeouts)| timeouts.len() >= quorum)?;
        let entries: Vec<TimeoutEntry> = timeouts.values().map(|timeout| timeout.entry.clone()).collect();
        let high_qc =
            timeouts.values().filter_map(|timeout| timeout.high_qc.as_ref()).max_by_key(|qc| qc.round).cloned();
        Some(Tc { height: self.height, round: *round, entries, high_qc })
    }
}
