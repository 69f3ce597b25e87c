//! The simulated nodes' chain and its trivial execution.
//!
//! | transaction | does |
//! |---|---|
//! | `t` number:u32be | nothing, once; in a measured network zeros follow, so that it has its bytes |
//! | `v` node:u16be number:u32be | the node joins the validators or leaves them; only the first in a block counts |
//! | anything else | makes its block invalid |

use std::collections::BTreeSet;

use bytes::Bytes;
use quorate::{
    Block, ChainId, FinalityProof, Hash, Header, Height, PublicKey, Round, Timestamp, Validator, ValidatorIndex,
    ValidatorSet,
    application::Misbehaviour,
    block::BLOCK_VERSION,
    consensus::{BlockLimits, Tip, Verdict},
    merkle,
};

/// Bytes of a transaction which only counts.
pub(crate) const PLAIN_BYTES: usize = 5;

/// Pieces of evidence that one simulated block carries at most.
const EVIDENCE_MAX: usize = 4;

/// One node's chain: durable.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    genesis: Tip,
    blocks: Vec<(Block, Bytes)>,
    /// The validators of height 1, 2, ..; one more than there are blocks.
    sets: Vec<ValidatorSet>,
    included: BTreeSet<Bytes>,
    proven: BTreeSet<(PublicKey, Height)>,
}

impl Chain {
    pub(crate) fn new(genesis: Tip, validators: ValidatorSet) -> Self {
        let (blocks, included, proven) = Default::default();
        Self { genesis, blocks, sets: vec![validators], included, proven }
    }

    pub(crate) fn tip(&self) -> Tip {
        self.blocks.last().map_or(self.genesis, |(block, _)| Tip {
            height: block.height(),
            hash: block.hash(),
            time: block.header().time,
        })
    }

    pub(crate) fn validators_at(&self, height: Height) -> Option<&ValidatorSet> {
        usize::try_from(height.0.checked_sub(1)?).ok().and_then(|at| self.sets.get(at))
    }

    /// The validators of the height after the tip.
    pub(crate) fn validators(&self) -> &ValidatorSet {
        // There is always one more set than there are blocks.
        match self.sets.last() {
            Some(last) => last,
            None => unreachable!("a chain begins with a set"),
        }
    }

    fn app_hash(&self) -> Hash {
        self.blocks.last().map_or(Hash::ZERO, |(block, _)| block.header().app_hash)
    }

    /// Final blocks from `from` on, at most `count`.
    pub(crate) fn range(&self, from: Height, count: usize) -> Vec<(Block, Bytes)> {
        let start = usize::try_from(from.0.saturating_sub(1)).unwrap_or(usize::MAX);
        self.blocks.iter().skip(start).take(count).cloned().collect()
    }

    pub(crate) fn has(&self, transaction: &Bytes) -> bool {
        self.included.contains(transaction)
    }

    pub(crate) fn has_proven(&self, offender: &PublicKey, height: Height) -> bool {
        self.proven.contains(&(*offender, height))
    }

    pub(crate) fn push(&mut self, candidate: &Candidate, proof: Bytes) {
        self.included.extend(candidate.block.transactions().iter().cloned());
        self.proven.extend(candidate.proven.iter().map(|one| (one.offender, one.height)));
        self.sets.push(candidate.next.clone());
        self.blocks.push((candidate.block.clone(), proof));
    }
}

/// A block that was executed and found valid.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) block: Block,
    pub(crate) next: ValidatorSet,
    pub(crate) proven: Vec<Misbehaviour>,
}

/// The rules which all nodes share.
pub(crate) struct Rules {
    pub(crate) chain_id: ChainId,
    /// Everybody who may be a validator, by node.
    pub(crate) members: Vec<Validator>,
    /// Validators at least.
    pub(crate) fewest: usize,
    /// Bytes of a transaction which only counts.
    pub(crate) transaction_bytes: usize,
}

/// What a proposer puts into a block.
pub(crate) struct Draft {
    pub(crate) creator: ValidatorIndex,
    pub(crate) round: Round,
    pub(crate) time: Timestamp,
    pub(crate) transactions: Vec<Bytes>,
    pub(crate) evidence: Vec<Bytes>,
}

impl Rules {
    /// The transaction which lets a node join or leave.
    pub(crate) fn toggle(node: usize, number: u32) -> Bytes {
        let node = u16::try_from(node).unwrap_or(u16::MAX);
        [b"v".as_slice(), &node.to_be_bytes(), &number.to_be_bytes()].concat().into()
    }

    /// A transaction which only counts.
    pub(crate) fn plain(number: u32) -> Bytes {
        [b"t".as_slice(), &number.to_be_bytes()].concat().into()
    }

    fn next_set(&self, set: &ValidatorSet, transactions: &[Bytes]) -> ValidatorSet {
        let first = transactions.iter().find_map(|tx| match tx.as_ref() {
            [b'v', high, low, ..] => Some(usize::from(u16::from_be_bytes([*high, *low]))),
            _ => None,
        });
        let Some(member) = first.and_then(|node| self.members.get(node)) else { return set.clone() };
        let mut list: Vec<Validator> = set.iter().map(|(_, one)| one.clone()).collect();
        match list.iter().position(|one| one.public_key == member.public_key) {
            Some(_) if list.len() <= self.fewest => {}
            Some(at) => drop(list.remove(at)),
            None => list.push(member.clone()),
        }
        ValidatorSet::new(list).unwrap_or_else(|_| set.clone())
    }

    fn app_hash(chain: &Chain, transactions: &[Bytes], time: Timestamp) -> Hash {
        let mut parts: Vec<&[u8]> = vec![b"sim"];
        let (before, time) = (chain.app_hash(), time.0.to_be_bytes());
        parts.extend([before.as_bytes().as_slice(), &time]);
        parts.extend(transactions.iter().map(|tx| tx.as_ref()));
        Hash::of(&parts)
    }

    fn receipts_root(transactions: &[Bytes]) -> Hash {
        let leaves: Vec<Hash> = transactions.iter().map(|tx| merkle::leaf(tx)).collect();
        merkle::root(&leaves)
    }

    /// Makes a block on the tip. `None` when the parts do not make one.
    pub(crate) fn build(&self, chain: &Chain, draft: Draft, proof: &dyn FinalityProof) -> Option<Candidate> {
        let mut evidence = draft.evidence;
        evidence.truncate(EVIDENCE_MAX);
        let tip = chain.tip();
        let time = Timestamp(draft.time.0.max(tip.time.0 + 1));
        let next = self.next_set(chain.validators(), &draft.transactions);
        let header = Header {
            version: BLOCK_VERSION,
            chain_id: self.chain_id,
            height: tip.height.next(),
            parent_hash: tip.hash,
            time,
            creator: draft.creator,
            created_round: draft.round,
            tx_root: Hash::ZERO,
            evidence_root: Hash::ZERO,
            app_hash: Self::app_hash(chain, &draft.transactions, time),
            receipts_root: Self::receipts_root(&draft.transactions),
            validators_hash: chain.validators().hash(),
            next_validators_hash: next.hash(),
        };
        let block = Block::new(header, &draft.transactions, &evidence).ok()?;
        let proven = self.evidence(chain, &evidence, proof).ok()?;
        Some(Candidate { block, next, proven })
    }

    /// Judges a proposed block by the rules of a real node, in their order.
    pub(crate) fn judge(
        &self,
        chain: &Chain,
        block: &Block,
        limits: &BlockLimits,
        wall: Timestamp,
        proof: &dyn FinalityProof,
    ) -> Result<Candidate, Verdict> {
        let header = block.header();
        if block.transactions().len() > limits.transactions_max as usize {
            return Err(Verdict::Invalid(format!("{} transactions", block.transactions().len())));
        }
        if block.encoded().len() > limits.bytes_max as usize {
            return Err(Verdict::Invalid(format!("{} bytes", block.encoded().len())));
        }
        if header.time.0 > wall.0.saturating_add(limits.drift_ms) {
            return Err(Verdict::NotNow(format!("its time is {} ms ahead", header.time.0 - wall.0)));
        }
        self.execute(chain, block, proof).map_err(Verdict::Invalid)
    }

    /// Executes a block on the tip.
    pub(crate) fn execute(&self, chain: &Chain, block: &Block, proof: &dyn FinalityProof) -> Result<Candidate, String> {
        let header = block.header();
        let tip = chain.tip();
        if header.chain_id != self.chain_id {
            return Err("another chain".into());
        }
        if header.height != tip.height.next() || header.parent_hash != tip.hash {
            return Err(format!("block {} does not stand on block {}", header.height, tip.height));
        }
        if header.time <= tip.time {
            return Err("its time is not after its parent's".into());
        }
        if header.validators_hash != chain.validators().hash() {
            return Err("it names other validators".into());
        }
        if chain.validators().get(header.creator).is_none() {
            return Err("its creator is not a validator".into());
        }
        let transactions = block.transactions();
        let unknown = |tx: &&Bytes| match tx.as_ref() {
            [b't', ..] => tx.len() != self.transaction_bytes,
            other => !matches!(other, [b'v', _, _, _, _, _, _]),
        };
        if let Some(bad) = transactions.iter().find(unknown) {
            return Err(format!("transaction {bad:?} can't be executed"));
        }
        let distinct: BTreeSet<&Bytes> = transactions.iter().collect();
        if distinct.len() != transactions.len() || transactions.iter().any(|tx| chain.has(tx)) {
            return Err("a transaction occurs twice".into());
        }
        let next = self.next_set(chain.validators(), transactions);
        if header.app_hash != Self::app_hash(chain, transactions, header.time)
            || header.receipts_root != Self::receipts_root(transactions)
            || header.next_validators_hash != next.hash()
        {
            return Err("it computes something else".into());
        }
        let proven = self.evidence(chain, block.evidence(), proof)?;
        Ok(Candidate { block: block.clone(), next, proven })
    }

    /// What one piece of evidence proves here.
    pub(crate) fn proves(
        &self,
        chain: &Chain,
        evidence: &[u8],
        proof: &dyn FinalityProof,
    ) -> Result<Misbehaviour, String> {
        let height = proof.evidence_height(evidence).map_err(|error| error.to_string())?;
        let set = chain.validators_at(height).ok_or_else(|| format!("evidence is of height {height}"))?;
        proof.evidence(&self.chain_id, evidence, set).map_err(|error| error.to_string())
    }

    fn evidence(
        &self,
        chain: &Chain,
        pieces: &[Bytes],
        proof: &dyn FinalityProof,
    ) -> Result<Vec<Misbehaviour>, String> {
        let mut proven: Vec<Misbehaviour> = Vec::new();
        for bytes in pieces {
            let one = self.proves(chain, bytes, proof)?;
            let known = chain.has_proven(&one.offender, one.height)
                || proven.iter().any(|other| other.offender == one.offender && other.height == one.height);
            if known {
                return Err("evidence occurs twice".into());
            }
            proven.push(one);
        }
        Ok(proven)
    }
}
