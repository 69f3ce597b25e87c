//! A random attack with knowledge of poa: all dishonest validators act as one, see every honest message when it is sent, and propose,
//! vote, give up rounds, put certificates together and release them when and to whom chance has it.

use std::collections::{BTreeMap, BTreeSet};

use quorate::{Block, Bytes, Hash, Height, Round, Signature, ValidatorIndex, borsh::BorshDeserialize};
use quorate_poa::{
    FaultModel, Message, NewRound, Proposal, QuorumCertificate, Timeout, TimeoutCertificate, TimeoutEntry, Vote,
    VoteKind, proposal_request, timeout_request, vote_request,
};
use quorate_testkit::sim::{Adversary, Grip};

type High = Option<(Round, Hash)>;

/// What was seen of one height.
#[derive(Default)]
struct Seen {
    blocks: BTreeMap<Hash, Block>,
    votes: BTreeMap<(VoteKind, Round, Hash), BTreeMap<ValidatorIndex, Signature>>,
    timeouts: BTreeMap<(Round, ValidatorIndex), BTreeMap<High, Signature>>,
    certificates: BTreeMap<(Round, Hash), QuorumCertificate>,
    salts: u32,
}

/// The schemer.
pub(crate) struct Schemer {
    quorum: usize,
    heights: BTreeMap<Height, Seen>,
    /// Of a thousand honest messages, how many make it act.
    eager_permille: u32,
    started: bool,
    slow: BTreeSet<(usize, usize)>,
}

const WAKE: u64 = 9;

fn index(node: usize) -> ValidatorIndex {
    ValidatorIndex(u16::try_from(node).unwrap_or(u16::MAX))
}

impl Schemer {
    pub(crate) fn new(model: FaultModel, validators: usize) -> Self {
        Self {
            quorum: model.quorum(validators),
            heights: BTreeMap::new(),
            eager_permille: 0,
            started: false,
            slow: BTreeSet::new(),
        }
    }

    fn note(&mut self, message: &Message) {
        let seen = self.heights.entry(message.height()).or_default();
        let qcs: Vec<&QuorumCertificate> = match message {
            Message::Proposal(proposal) => {
                if let Ok(block) = Block::decode(proposal.block.clone()) {
                    seen.blocks.insert(block.hash(), block);
                }
                proposal.justify.iter().collect()
            }
            Message::Vote(vote) => {
                let votes = seen.votes.entry((vote.kind, vote.round, vote.block_hash)).or_default();
                votes.insert(vote.validator, vote.signature);
                Vec::new()
            }
            Message::Timeout(timeout) => {
                let high = timeout.high_qc.as_ref().map(|qc| (qc.round, qc.block_hash));
                let of = seen.timeouts.entry((timeout.round, timeout.validator)).or_default();
                of.insert(high, timeout.signature);
                timeout.high_qc.iter().collect()
            }
            Message::NewRound(status) => status.high_qc.iter().collect(),
            Message::Certificate(qc) => vec![qc],
            _ => Vec::new(),
        };
        for qc in qcs.into_iter().filter(|qc| qc.kind == VoteKind::Prepare) {
            seen.certificates.insert((qc.round, qc.block_hash), qc.clone());
        }
        while self.heights.len() > 3 {
            self.heights.pop_first();
        }
    }

    /// Some nodes, in any case one.
    fn whom(grip: &mut Grip<'_>) -> Vec<usize> {
        let mut honest = grip.honest();
        let count = 1 + grip.rng().index(honest.len());
        grip.rng().shuffle(&mut honest);
        honest.truncate(count);
        honest
    }

    fn give(grip: &mut Grip<'_>, from: usize, message: &Message) {
        let bytes: Bytes = message.encode();
        let longest = grip.delay_max_us();
        for to in Self::whom(grip) {
            let delay = if grip.rng().chance(500) { 0 } else { grip.rng().below(longest) };
            grip.send(from, to, bytes.clone(), delay);
        }
    }

    fn any_corrupt(grip: &mut Grip<'_>) -> usize {
        let corrupt = grip.corrupt();
        *grip.rng().pick(&corrupt).unwrap_or(&0)
    }

    /// A certificate of votes that were seen and all that the dishonest can add.
    fn certificate(
        &self,
        grip: &Grip<'_>,
        height: Height,
        kind: VoteKind,
        round: Round,
        hash: Hash,
    ) -> Option<QuorumCertificate> {
        let seen = self.heights.get(&height)?;
        let mut signatures = seen.votes.get(&(kind, round, hash)).cloned().unwrap_or_default();
        for node in grip.corrupt() {
            signatures.insert(index(node), grip.sign(node, &vote_request(kind, height, round, &hash))?);
        }
        let signatures: Vec<_> = signatures.into_iter().collect();
        (signatures.len() >= self.quorum).then_some(QuorumCertificate {
            kind,
            height,
            round,
            block_hash: hash,
            signatures,
        })
    }

    /// A timeout certificate which names as little as can be.
    fn timeout_certificate(&self, grip: &Grip<'_>, height: Height, round: Round) -> Option<TimeoutCertificate> {
        let seen = self.heights.get(&height)?;
        let mut entries: Vec<TimeoutEntry> = Vec::new();
        for node in grip.corrupt() {
            let signature = grip.sign(node, &timeout_request(height, round, None))?;
            entries.push(TimeoutEntry { validator: index(node), high: None, signature });
        }
        let range = (round, ValidatorIndex(0))..=(round, ValidatorIndex(u16::MAX));
        let mut lowest: Vec<(High, ValidatorIndex, Signature)> = seen
            .timeouts
            .range(range)
            .filter_map(|((_, who), of)| of.first_key_value().map(|(high, signature)| (*high, *who, *signature)))
            .collect();
        lowest.sort_by_key(|(high, ..)| *high);
        for (high, validator, signature) in lowest {
            if entries.len() < self.quorum && entries.iter().all(|entry| entry.validator != validator) {
                entries.push(TimeoutEntry { validator, high, signature });
            }
        }
        if entries.len() < self.quorum {
            return None;
        }
        entries.sort_by_key(|entry| entry.validator);
        let high_qc = match entries.iter().filter_map(|entry| entry.high).max() {
            Some(key) => Some(seen.certificates.get(&key).cloned()?),
            None => None,
        };
        Some(TimeoutCertificate { height, round, entries, high_qc })
    }

    fn propose(&mut self, grip: &mut Grip<'_>, height: Height, round: Round) -> Option<()> {
        let like =
            *grip.honest().iter().find(|node| grip.tip(**node).is_some_and(|(tip, _)| tip.height.next() == height))?;
        let (_, set) = grip.tip(like)?;
        let leader = set.at_turn(height.0 + u64::from(round.0));
        let node = usize::from(leader.0);
        if !grip.corrupt().contains(&node) {
            return None;
        }
        let timeout =
            if round.0 > 0 { Some(self.timeout_certificate(grip, height, Round(round.0 - 1))?) } else { None };
        let seen = self.heights.entry(height).or_default();
        let known: Vec<QuorumCertificate> = seen.certificates.values().filter(|qc| qc.round < round).cloned().collect();
        let justify = if grip.rng().chance(400) { grip.rng().pick(&known).cloned() } else { None };
        let block = match &justify {
            Some(qc) => seen.blocks.get(&qc.block_hash).cloned()?,
            None => {
                seen.salts += 1;
                let salt = seen.salts % 4;
                grip.block(like, leader, round, salt)?
            }
        };
        self.heights.entry(height).or_default().blocks.insert(block.hash(), block.clone());
        let request = proposal_request(height, round, &block.hash(), justify.as_ref().map(|qc| qc.round));
        let signature = grip.sign(node, &request)?;
        let block = block.encoded().clone();
        Self::give(grip, node, &Message::Proposal(Proposal { height, round, block, justify, timeout, signature }));
        Some(())
    }

    fn vote(&self, grip: &mut Grip<'_>, height: Height, round: Round) -> Option<()> {
        let node = Self::any_corrupt(grip);
        let hashes: Vec<Hash> = self.heights.get(&height)?.blocks.keys().copied().collect();
        let block_hash = *grip.rng().pick(&hashes)?;
        let kind = if grip.rng().chance(600) { VoteKind::Prepare } else { VoteKind::Commit };
        let signature = grip.sign(node, &vote_request(kind, height, round, &block_hash))?;
        let vote = Vote { kind, height, round, block_hash, validator: index(node), signature };
        Self::give(grip, node, &Message::Vote(vote));
        Some(())
    }

    fn give_up(&self, grip: &mut Grip<'_>, height: Height, round: Round) -> Option<()> {
        let node = Self::any_corrupt(grip);
        let known: Vec<QuorumCertificate> =
            self.heights.get(&height)?.certificates.values().filter(|qc| qc.round <= round).cloned().collect();
        let high_qc = if grip.rng().chance(300) { grip.rng().pick(&known).cloned() } else { None };
        let high = high_qc.as_ref().map(|qc| (qc.round, qc.block_hash));
        let signature = grip.sign(node, &timeout_request(height, round, high))?;
        Self::give(
            grip,
            node,
            &Message::Timeout(Timeout { height, round, high_qc, validator: index(node), signature }),
        );
        Some(())
    }

    fn release(&mut self, grip: &mut Grip<'_>, height: Height, round: Round) -> Option<()> {
        let node = Self::any_corrupt(grip);
        let hashes: Vec<Hash> = self.heights.get(&height)?.blocks.keys().copied().collect();
        let hash = *grip.rng().pick(&hashes)?;
        let kind = if grip.rng().chance(800) { VoteKind::Prepare } else { VoteKind::Commit };
        let qc = self.certificate(grip, height, kind, round, hash)?;
        let message = match kind {
            VoteKind::Commit => Message::Decided(qc),
            VoteKind::Prepare => {
                self.heights.entry(height).or_default().certificates.insert((round, hash), qc.clone());
                Message::Certificate(qc)
            }
        };
        // It may be kept for later.
        if grip.rng().chance(600) {
            Self::give(grip, node, &message);
        }
        Some(())
    }

    fn end_round(&self, grip: &mut Grip<'_>, height: Height, round: Round) -> Option<()> {
        let timeout = Some(self.timeout_certificate(grip, height, round)?);
        let node = Self::any_corrupt(grip);
        Self::give(grip, node, &Message::NewRound(NewRound { height, timeout, high_qc: None }));
        Some(())
    }

    fn scheme(&mut self, grip: &mut Grip<'_>, height: Height) {
        let rounds = self.heights.get(&height).and_then(|seen| {
            let voted = seen.votes.keys().map(|(_, round, _)| round.0).max();
            voted.max(seen.timeouts.keys().map(|(round, _)| round.0).max())
        });
        let highest = rounds.unwrap_or(0);
        let round = Round(
            u32::try_from(grip.rng().within(u64::from(highest.saturating_sub(1)), u64::from(highest) + 1)).unwrap_or(0),
        );
        match grip.rng().below(6) {
            0 | 1 => self.propose(grip, height, round),
            2 => self.vote(grip, height, round),
            3 => self.give_up(grip, height, round),
            4 => self.release(grip, height, round),
            _ => self.end_round(grip, height, round),
        };
    }
}

impl Adversary for Schemer {
    fn start(&mut self, grip: &mut Grip<'_>) {
        self.eager_permille = u32::try_from(grip.rng().within(20, 500)).unwrap_or(20);
        self.started = true;
        grip.wake(300_000, WAKE);
    }

    fn sent(&mut self, grip: &mut Grip<'_>, _from: usize, _to: Option<usize>, bytes: &Bytes) {
        let Ok(message) = Message::try_from_slice(bytes) else { return };
        self.note(&message);
        if grip.rng().chance(self.eager_permille) {
            self.scheme(grip, message.height());
        }
    }

    fn woke(&mut self, grip: &mut Grip<'_>, _token: u64) {
        let heights: Vec<Height> = self.heights.keys().copied().collect();
        if let Some(height) = grip.rng().pick(&heights).copied() {
            self.scheme(grip, height);
        }
        // Which links are slow changes as it likes.
        let honest = grip.honest();
        let (from, to) = (*grip.rng().pick(&honest).unwrap_or(&0), *grip.rng().pick(&honest).unwrap_or(&0));
        if !self.slow.remove(&(from, to)) {
            self.slow.insert((from, to));
        }
        let next = grip.now_us() + grip.rng().below(200_000);
        grip.wake(next, WAKE);
    }

    fn delay_us(&mut self, _: u64, from: usize, to: usize, _: &Bytes) -> Option<u64> {
        self.slow.contains(&(from, to)).then_some(u64::MAX)
    }
}
