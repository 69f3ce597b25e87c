//! Malachite's driver for one height: Tendermint's rules of proposing, voting and locking, and how a lock is brought back.
//!
//! The driver knows blocks by their hashes only. It is fed with what was found good, and says what to do; it never sees bytes,
//! keys or time. It panics on votes and proposals of another height and on proposals of one round by different validators; both
//! are kept out by whoever feeds it. What it decides is not taken from it: it wants the very proposal of the round,
//! while 2f+1 precommits decide wherever the block comes from ([`Machine::final_in`]).

mod types;

use arc_malachitebft_core_driver::{Driver, Input, Output, ThresholdParams};
use arc_malachitebft_core_types as tm;
use quorate::{Hash, Height, Round, Signature, ValidatorIndex, ValidatorSet};

use self::types::{At, BlockHash, Members, Proposed, Seat, Types, Voted};
use crate::{
    certificate::QuorumCertificate,
    evidence::{Evidence, SignedVote},
    message::Vote,
    settings::quorum,
    signing::VoteKind,
};

/// What the driver wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Do {
    /// Go to this round, and tell the driver so.
    Enter(Round),
    /// Make a block for this round.
    Build(Round),
    /// Propose a block, which `polka` makes acceptable to those who are locked.
    Propose { round: Round, hash: Hash, polka: Option<Round> },
    /// Vote.
    Vote { kind: VoteKind, round: Round, hash: Option<Hash> },
    /// 2f+1 voted, but not for one thing: wait for the rest, then give up.
    Wait { kind: VoteKind, round: Round },
}

/// What is known of a validator's vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// It is new.
    No,
    /// It came before.
    Same,
    /// Another one came before.
    Other,
}

/// A proposal, as far as the driver is told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offer {
    pub(crate) round: Round,
    pub(crate) hash: Hash,
    pub(crate) polka: Option<Round>,
    pub(crate) proposer: ValidatorIndex,
    pub(crate) signature: Signature,
    pub(crate) valid: bool,
}

/// The driver refused: a mistake of this crate.
pub(crate) type Refused = String;

/// One height.
pub(crate) struct Machine {
    driver: Driver<Types>,
    height: Height,
    quorum: usize,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").field("height", &self.height).finish_non_exhaustive()
    }
}

impl Machine {
    pub(crate) fn new(height: Height, validators: &ValidatorSet, me: ValidatorIndex) -> Self {
        let members = Members::of(validators);
        let driver = Driver::new(Types, At(height), members, Seat(me), ThresholdParams::default());
        Self { driver, height, quorum: quorum(validators.len()) }
    }

    fn process(&mut self, input: Input<Types>) -> Result<Vec<Do>, Refused> {
        let outputs = self.driver.process(input).map_err(|error| error.to_string())?;
        Ok(outputs.into_iter().filter_map(Self::translated).collect())
    }

    fn translated(output: Output<Types>) -> Option<Do> {
        match output {
            Output::NewRound(_, round) => ours(round).map(Do::Enter),
            Output::GetValue(_, round, _) => ours(round).map(Do::Build),
            Output::Propose(one) => {
                Some(Do::Propose { round: ours(one.round)?, hash: one.value.0, polka: ours(one.polka) })
            }
            Output::Vote(one) => {
                Some(Do::Vote { kind: kind_of(one.kind), round: ours(one.round)?, hash: value_of(one.value) })
            }
            Output::ScheduleTimeout(timeout) => {
                let kind = match timeout.kind {
                    tm::TimeoutKind::Prevote => VoteKind::Prevote,
                    tm::TimeoutKind::Precommit => VoteKind::Precommit,
                    // The wait for a proposal is set whenever a round is entered: the driver forgets it when it proposes again.
                    _ => return None,
                };
                Some(Do::Wait { kind, round: ours(timeout.round)? })
            }
            Output::Decide(..) => None,
        }
    }

    /// A round begins.
    pub(crate) fn begin(&mut self, round: Round, proposer: ValidatorIndex) -> Result<Vec<Do>, Refused> {
        self.process(Input::NewRound(At(self.height), theirs(round), Seat(proposer)))
    }

    /// The block that [`Do::Build`] asked for.
    pub(crate) fn built(&mut self, round: Round, hash: Hash) -> Result<Vec<Do>, Refused> {
        self.process(Input::ProposeValue(theirs(round), BlockHash(hash)))
    }

    /// A proposal whose block was judged.
    pub(crate) fn proposal(&mut self, offer: &Offer) -> Result<Vec<Do>, Refused> {
        let proposed = Proposed {
            height: self.height,
            round: theirs(offer.round),
            value: BlockHash(offer.hash),
            polka: offer.polka.map_or(tm::Round::Nil, theirs),
            seat: Seat(offer.proposer),
        };
        let signed = tm::SignedProposal::<Types>::new(proposed, offer.signature);
        self.process(Input::Proposal(signed, tm::Validity::from_bool(offer.valid)))
    }

    /// A vote of this height whose signature is good.
    pub(crate) fn vote(&mut self, vote: &Vote) -> Result<Vec<Do>, Refused> {
        let voted = Voted {
            kind: their_kind(vote.kind),
            height: self.height,
            round: theirs(vote.round),
            value: vote.block_hash.map_or(tm::NilOrVal::Nil, tm::NilOrVal::Val),
            seat: Seat(vote.validator),
        };
        self.process(Input::Vote(tm::SignedVote::<Types>::new(voted, vote.signature)))
    }

    /// A polka of this height which was checked.
    pub(crate) fn polka(&mut self, qc: &QuorumCertificate) -> Result<Vec<Do>, Refused> {
        let signature = |(validator, signature): &(ValidatorIndex, Signature)| {
            tm::PolkaSignature::<Types>::new(Seat(*validator), *signature)
        };
        self.process(Input::PolkaCertificate(tm::PolkaCertificate {
            height: At(self.height),
            round: theirs(qc.round),
            value_id: qc.block_hash,
            polka_signatures: qc.signatures.iter().map(signature).collect(),
        }))
    }

    /// No proposal came in time.
    pub(crate) fn no_proposal(&mut self, round: Round) -> Result<Vec<Do>, Refused> {
        self.process(Input::TimeoutElapsed(tm::Timeout::propose(theirs(round))))
    }

    /// The wait of [`Do::Wait`] is over.
    pub(crate) fn waited(&mut self, kind: VoteKind, round: Round) -> Result<Vec<Do>, Refused> {
        let timeout = match kind {
            VoteKind::Prevote => tm::Timeout::prevote(theirs(round)),
            VoteKind::Precommit => tm::Timeout::precommit(theirs(round)),
        };
        self.process(Input::TimeoutElapsed(timeout))
    }

    /// Round and block that this validator is locked on.
    pub(crate) fn locked(&self) -> Option<(Round, Hash)> {
        let locked = self.driver.round_state().locked.as_ref()?;
        Some((ours(locked.round)?, locked.value.0))
    }

    /// Round and block of the polka of the highest round that it followed: what it would propose.
    pub(crate) fn valid(&self) -> Option<(Round, Hash)> {
        let valid = self.driver.round_state().valid.as_ref()?;
        Some((ours(valid.round)?, valid.value.0))
    }

    /// The polka for a block in a round, if it was seen.
    pub(crate) fn polka_of(&self, round: Round, hash: Hash) -> Option<QuorumCertificate> {
        let known = self.driver.polka_certificate(theirs(round), &hash);
        let signatures =
            known.map(|one| one.polka_signatures.iter().map(|one| (one.address.0, one.signature)).collect());
        self.certificate(VoteKind::Prevote, round, hash, signatures.unwrap_or_default()).or_else(|| {
            self.certificate(VoteKind::Prevote, round, hash, self.votes_for(VoteKind::Prevote, round, hash))
        })
    }

    /// The precommits that make a block final in a round, if there are enough.
    pub(crate) fn final_in(&self, round: Round, hash: Hash) -> Option<QuorumCertificate> {
        self.certificate(VoteKind::Precommit, round, hash, self.votes_for(VoteKind::Precommit, round, hash))
    }

    fn votes_for(&self, kind: VoteKind, round: Round, hash: Hash) -> Vec<(ValidatorIndex, Signature)> {
        let Some(votes) = self.driver.votes().per_round(theirs(round)) else { return Vec::new() };
        let wanted = |one: &&tm::SignedVote<Types>| {
            one.message.kind == their_kind(kind) && one.message.value == tm::NilOrVal::Val(hash)
        };
        votes.received_votes().iter().filter(wanted).map(|one| (one.message.seat.0, one.signature)).collect()
    }

    fn certificate(
        &self,
        kind: VoteKind,
        round: Round,
        block_hash: Hash,
        mut signatures: Vec<(ValidatorIndex, Signature)>,
    ) -> Option<QuorumCertificate> {
        signatures.sort_by_key(|(validator, _)| *validator);
        signatures.dedup_by_key(|(validator, _)| *validator);
        signatures.truncate(self.quorum);
        let enough = signatures.len() >= self.quorum;
        enough.then_some(QuorumCertificate { kind, height: self.height, round, block_hash, signatures })
    }

    /// The votes by which `round` was entered, as far as the driver kept them.
    pub(crate) fn entry(&self, round: Round) -> Vec<Vote> {
        let Some(entry) = self.driver.round_certificate().filter(|one| ours(one.enter_round) == Some(round)) else {
            return Vec::new();
        };
        let Some(of) = ours(entry.certificate.round) else { return Vec::new() };
        let vote = |one: &tm::RoundSignature<Types>| Vote {
            kind: kind_of(one.vote_type),
            height: self.height,
            round: of,
            block_hash: value_of(one.value_id),
            validator: one.address.0,
            signature: one.signature,
        };
        entry.certificate.round_signatures.iter().map(vote).collect()
    }

    /// What is known of a vote.
    pub(crate) fn knows(&self, vote: &Vote) -> Known {
        let seat = Seat(vote.validator);
        let known = self
            .driver
            .votes()
            .per_round(theirs(vote.round))
            .and_then(|votes| votes.get_vote(their_kind(vote.kind), &seat).map(|one| value_of(one.message.value)));
        match known {
            None => Known::No,
            Some(hash) if hash == vote.block_hash => Known::Same,
            Some(_) => Known::Other,
        }
    }

    /// Two votes of one kind, round and validator that differ, as the driver met them since the last time.
    pub(crate) fn take_evidence(&mut self) -> Vec<(ValidatorIndex, Evidence)> {
        let mut all = Vec::new();
        for (seat, pairs) in self.driver.take_vote_evidence() {
            for (one, other) in pairs {
                let Some(round) = ours(one.message.round) else { continue };
                let signed = |vote: &tm::SignedVote<Types>| SignedVote {
                    block_hash: value_of(vote.message.value),
                    signature: vote.signature,
                };
                let (kind, place) = (kind_of(one.message.kind), (self.height, round));
                all.push((seat.0, Evidence::votes(kind, place, seat.0, signed(&one), signed(&other))));
            }
        }
        all
    }

    /// Forgets votes and polkas of rounds before this one. (Proposals are hashes, two a round, and stay.)
    pub(crate) fn forget_before(&mut self, round: Round) {
        self.driver.prune_votes_and_certificates(theirs(round));
    }

    /// Brings lock and valid block back into a machine that has done nothing yet, by walking it through what led there: a
    /// proposal and its polka for the lock, and for a later valid block two nil votes and then the same.
    ///
    /// What the driver says meanwhile was done before the crash, so that nobody need hear it.
    pub(crate) fn restore(
        &mut self,
        lock: Option<&QuorumCertificate>,
        valid: Option<&QuorumCertificate>,
        proposer: impl Fn(Round) -> ValidatorIndex,
    ) -> Result<(), Refused> {
        let offer = |qc: &QuorumCertificate| Offer {
            round: qc.round,
            hash: qc.block_hash,
            polka: None,
            proposer: proposer(qc.round),
            signature: Signature::new([0; 64]),
            valid: true,
        };
        if let Some(lock) = lock {
            self.begin(lock.round, proposer(lock.round))?;
            self.proposal(&offer(lock))?;
            self.polka(lock)?;
        }
        if let Some(valid) = valid.filter(|valid| lock.is_none_or(|lock| valid.round > lock.round)) {
            self.resume(valid.round, proposer(valid.round))?;
            self.no_proposal(valid.round)?;
            self.waited(VoteKind::Prevote, valid.round)?;
            self.proposal(&offer(valid))?;
            self.polka(valid)?;
        }
        let wanted = |qc: Option<&QuorumCertificate>| qc.map(|qc| (qc.round, qc.block_hash));
        if self.locked() != wanted(lock) || self.valid() != wanted(valid).or(wanted(lock)) {
            return Err("the lock in this node's record could not be brought back".into());
        }
        Ok(())
    }

    /// Begins `round`, unless that is where [`Machine::restore`] led.
    pub(crate) fn resume(&mut self, round: Round, proposer: ValidatorIndex) -> Result<Vec<Do>, Refused> {
        match ours(self.driver.round()) {
            Some(at) if at == round => return Ok(Vec::new()),
            // Having precommitted, the driver leaves a round by the end of its wait; to which one is said next.
            Some(at) => drop(self.waited(VoteKind::Precommit, at)?),
            None => {}
        }
        self.begin(round, proposer)
    }
}

fn theirs(round: Round) -> tm::Round {
    tm::Round::new(round.0)
}

fn ours(round: tm::Round) -> Option<Round> {
    round.as_u32().map(Round)
}

fn their_kind(kind: VoteKind) -> tm::VoteType {
    match kind {
        VoteKind::Prevote => tm::VoteType::Prevote,
        VoteKind::Precommit => tm::VoteType::Precommit,
    }
}

fn kind_of(kind: tm::VoteType) -> VoteKind {
    match kind {
        tm::VoteType::Prevote => VoteKind::Prevote,
        tm::VoteType::Precommit => VoteKind::Precommit,
    }
}

fn value_of(value: tm::NilOrVal<Hash>) -> Option<Hash> {
    match value {
        tm::NilOrVal::Nil => None,
        tm::NilOrVal::Val(hash) => Some(hash),
    }
}
