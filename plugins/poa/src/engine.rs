//! The state machine: events in, actions out. After every event it does all that the rules allow (`SPEC.md`, R1 to R10).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use quorate::{
    Block, Bytes, ChainId, Consensus, Hash, Height, Instant, PeerId, Round, Signature, ValidatorIndex, ValidatorSet,
    consensus::{
        Action, CommitBy, EngineStatus, Event, Guard, SignRefused, SignRequest, Start, TimerId, Tip, Verdict,
        sign_bytes,
    },
};

use crate::{
    certificate::{
        COMMIT, PREPARE, PROPOSAL, Qc, TIMEOUT, Tc, TimeoutEntry, proposal_body, round_or_none, timeout_body,
    },
    evidence::Evidence,
    height::{HeightState, Pending, ROUNDS_AHEAD_MAX, Saved, Seen},
    message::{Message, Proposal, Timeout, Vote},
    settings::{EmptyBlocks, FaultModel, Parameters},
};

/// Messages of later heights kept for each validator.
const FUTURE_MAX: usize = 64;

/// How often own messages are sent again.
const REBROADCAST: Duration = Duration::from_secs(2);

/// A validator not heard from for this long counts as silent.
const SILENT_AFTER: Duration = Duration::from_secs(10);

/// Bad messages of a peer after which it is reported.
const BAD_MAX: u32 = 16;

const STEP_PROPOSE: u8 = 0;
const STEP_PREPARE: u8 = 1;
const STEP_COMMIT: u8 = 2;
const STEP_TIMEOUT: u8 = 3;

const TIMER_ROUND: TimerId = 1;
const TIMER_WAKE: TimerId = 2;
const TIMER_REBROADCAST: TimerId = 3;
const TIMER_HEARTBEAT: TimerId = 4;

pub(crate) struct Engine {
    parameters: Parameters,
    chain_id: ChainId,
    set: Option<ValidatorSet>,
    me: Option<ValidatorIndex>,
    state: HeightState,
    /// The proof of the block before, for those who lag.
    last_decided: Option<Qc>,
    /// When the last block became final here.
    last_block_at: Instant,
    no_vote_until: Instant,
    pending: bool,
    timers: BTreeMap<TimerId, Instant>,
    future: BTreeMap<ValidatorIndex, VecDeque<(PeerId, Message)>>,
    up: BTreeMap<PeerId, ValidatorIndex>,
    greeted: BTreeSet<PeerId>,
    heard: BTreeMap<ValidatorIndex, Instant>,
    answered: BTreeMap<PeerId, Instant>,
    bad: BTreeMap<PeerId, u32>,
    halted: Option<String>,
}

type Out = Vec<Action>;

impl Engine {
    pub(crate) fn new(parameters: Parameters, chain_id: ChainId) -> Self {
        Self {
            parameters,
            chain_id,
            set: None,
            me: None,
            state: HeightState::default(),
            last_decided: None,
            last_block_at: Instant::default(),
            no_vote_until: Instant::default(),
            pending: false,
            timers: BTreeMap::new(),
            future: BTreeMap::new(),
            up: BTreeMap::new(),
            greeted: BTreeSet::new(),
            heard: BTreeMap::new(),
            answered: BTreeMap::new(),
            bad: BTreeMap::new(),
            halted: None,
        }
    }

    fn sync_model(&self) -> bool {
        self.parameters.model == FaultModel::ByzantineSync
    }

    fn quorum(&self) -> usize {
        self.parameters.quorum(self.set.as_ref().map_or(1, ValidatorSet::len))
    }

    fn proposer(&self, round: Round) -> Option<ValidatorIndex> {
        let turn = self.state.height.0.wrapping_add(u64::from(round.0));
        self.set.as_ref().map(|set| set.at_turn(turn))
    }

    fn set_timer(&mut self, id: TimerId, at: Instant, out: &mut Out) {
        if self.timers.get(&id) != Some(&at) {
            self.timers.insert(id, at);
            out.push(Action::SetTimer { id, at });
        }
    }

    fn cancel_timer(&mut self, id: TimerId, out: &mut Out) {
        if self.timers.remove(&id).is_some() {
            out.push(Action::CancelTimer(id));
        }
    }

    fn verifies(&self, index: ValidatorIndex, kind: u8, round: Round, body: &[u8], signature: &Signature) -> bool {
        let key = self.set.as_ref().and_then(|set| set.get(index)).map(|one| one.public_key);
        key.is_some_and(|key| {
            key.verifies(&sign_bytes(&self.chain_id, kind, self.state.height, round, body), signature)
        })
    }

    fn good_qc(&self, qc: &Qc, kind: u8) -> bool {
        qc.kind == kind
            && qc.height == self.state.height
            && self.set.as_ref().is_some_and(|set| qc.verify(&self.chain_id, set, self.quorum()).is_ok())
    }

    /// A Prepare certificate, checked unless it is the one held.
    fn good_prepare(&self, qc: &Qc) -> bool {
        self.state.high_qc.as_ref() == Some(qc) || self.good_qc(qc, PREPARE)
    }

    fn good_tc(&self, tc: &Tc) -> bool {
        self.state.entry.as_ref() == Some(tc)
            || (tc.height == self.state.height
                && self.set.as_ref().is_some_and(|set| tc.verify(&self.chain_id, set, self.quorum())))
    }

    // Heights.

    fn start(&mut self, now: Instant, start: Start, out: &mut Out) {
        self.set = Some(start.validators);
        self.me = start.me;
        self.pending = start.pending;
        self.last_block_at = now;
        self.enter_height(now, start.tip, out);
        if let Some(saved) = start.saved {
            self.restore(now, &saved, out);
        }
        self.rejoin(now, out);
        self.set_timer(TIMER_REBROADCAST, now.after(REBROADCAST), out);
    }

    /// Takes up the durable record of this height, if that is what it is.
    fn restore(&mut self, now: Instant, saved: &[u8], out: &mut Out) {
        let Ok(saved) = borsh::from_slice::<Saved>(saved) else { return };
        if saved.height != self.state.height {
            return;
        }
        self.state.idle = false;
        self.state.high_qc = saved.high_qc;
        if let Some(block) = saved.block.and_then(|block| Block::decode(block).ok()) {
            self.state.saved_block = true;
            self.take_block(&block, out);
        }
        if saved.round > Round(0) {
            self.state.round = saved.round;
            self.state.entry = saved.entry;
            self.state.entered_at = now;
            self.state.propose_at = now.after(self.parameters.wait(4));
        }
        self.arm_round(now, out);
    }

    fn enter_height(&mut self, now: Instant, tip: Tip, out: &mut Out) {
        let propose_at = now.max(self.last_block_at.after(self.parameters.interval));
        self.state = HeightState {
            height: tip.height.next(),
            tip: Some(tip),
            entered_at: now,
            propose_at,
            idle: self.parameters.empty_blocks != EmptyBlocks::Always && !self.pending,
            ..HeightState::default()
        };
        self.cancel_timer(TIMER_ROUND, out);
        self.cancel_timer(TIMER_WAKE, out);
        if self.state.idle {
            if self.parameters.empty_blocks == EmptyBlocks::Heartbeat {
                self.set_timer(TIMER_HEARTBEAT, now.after(self.parameters.heartbeat), out);
            }
        } else {
            self.arm_round(now, out);
        }
    }

    /// Ends idling: the proposer's time and everybody's timer run from now at the earliest.
    fn wake(&mut self, now: Instant, out: &mut Out) {
        if self.state.idle {
            self.state.idle = false;
            self.state.propose_at = self.state.propose_at.max(now);
            self.cancel_timer(TIMER_HEARTBEAT, out);
            self.arm_round(now, out);
        }
    }

    fn arm_round(&mut self, now: Instant, out: &mut Out) {
        let from = if self.state.round == Round(0) { self.state.propose_at.max(now) } else { now };
        self.set_timer(TIMER_ROUND, from.after(self.parameters.timeout(self.state.round.0)), out);
    }

    fn committed(&mut self, now: Instant, tip: Tip, by: CommitBy, out: &mut Out) {
        self.last_decided = self.state.commit_qc.take().filter(|qc| qc.hash == tip.hash);
        self.last_block_at = now;
        self.enter_height(now, tip, out);
        if by == CommitBy::Sync {
            self.rejoin(now, out);
        }
        let height = self.state.height;
        for (validator, messages) in std::mem::take(&mut self.future) {
            for (from, message) in messages {
                if message.height().is_some_and(|of| of >= height) {
                    self.message(now, from, validator, message, out);
                }
            }
        }
    }

    /// R9: asks everybody for what was missed, and does not vote before it can have come.
    fn rejoin(&mut self, now: Instant, out: &mut Out) {
        self.no_vote_until = self.no_vote_until.max(now.after(self.parameters.wait(2)));
        self.say(&Message::Hello { height: self.state.height }, out);
        let new_round = self.new_round();
        self.say(&new_round, out);
    }

    fn new_round(&self) -> Message {
        let state = &self.state;
        Message::NewRound { height: state.height, tc: state.entry.clone(), high_qc: state.high_qc.clone() }
    }

    fn say(&self, message: &Message, out: &mut Out) {
        if self.me.is_some() {
            out.push(Action::Broadcast(message.encode()));
        }
    }

    /// R7: a later round, by certificate only.
    fn enter_round(&mut self, now: Instant, round: Round, tc: Option<Tc>, out: &mut Out) {
        self.wake(now, out);
        let state = &mut self.state;
        state.round = round;
        state.entry = tc;
        state.entered_at = now;
        state.propose_at = now.after(self.parameters.wait(4));
        state.lock_snapshot = None;
        state.building = None;
        out.push(Action::Persist(state.record()));
        let new_round = self.new_round();
        self.say(&new_round, out);
        self.arm_round(now, out);
    }

    /// R4: adopts a higher Prepare certificate, which the caller checked.
    fn adopt(&mut self, now: Instant, qc: Qc, out: &mut Out) {
        if i64::from(qc.round.0) <= self.state.high_qc_round() {
            return;
        }
        let round = qc.round;
        self.state.high_qc = Some(qc.clone());
        self.state.saved_block = self.state.blocks.contains_key(&qc.hash);
        out.push(Action::Persist(self.state.record()));
        self.say(&Message::Cert(qc), out);
        if round > self.state.round {
            self.enter_round(now, round, None, out);
        }
    }

    fn take_block(&mut self, block: &Block, out: &mut Out) {
        let hash = block.hash();
        if !self.state.keep_block(block) {
            return;
        }
        let wanted = self.state.high_qc.as_ref().is_some_and(|qc| qc.hash == hash);
        if wanted && !self.state.saved_block {
            self.state.saved_block = true;
            out.push(Action::Persist(self.state.record()));
        }
        if !self.state.valid.contains_key(&hash) && self.state.checking.insert(hash) {
            out.push(Action::CheckBlock { block: block.clone(), limits: self.parameters.limits });
        }
    }

    // Messages.

    fn message(&mut self, now: Instant, from: PeerId, validator: ValidatorIndex, message: Message, out: &mut Out) {
        let height = self.state.height;
        match message.height() {
            Some(of) if of < height => self.help(now, from, of, out),
            Some(of) if of > height => self.later(from, validator, of, message, out),
            _ => {
                let good = match message {
                    Message::Proposal(proposal) => self.proposal(now, proposal, out),
                    Message::Vote(vote) => self.vote(&vote, out),
                    Message::Timeout(timeout) => self.timeout(now, &timeout, out),
                    Message::NewRound { tc, high_qc, .. } => self.round_news(now, tc, high_qc, out),
                    Message::Cert(qc) => {
                        let good = self.good_prepare(&qc);
                        if good {
                            self.adopt(now, qc, out);
                        }
                        good
                    }
                    Message::Decided(qc) => self.decided(from, qc, out),
                    Message::Hello { .. } => {
                        self.answer_hello(now, from, out);
                        true
                    }
                    Message::Fetch { hash, .. } => {
                        if let Some(block) = self.state.blocks.get(&hash) {
                            let body = Message::Body { block: block.encoded().clone() };
                            out.push(Action::Send { to: from, bytes: body.encode() });
                        }
                        true
                    }
                    Message::Body { block } => self.body(block, out),
                };
                if !good {
                    self.blame(from, out);
                }
            }
        }
    }

    fn blame(&mut self, peer: PeerId, out: &mut Out) {
        let count = self.bad.entry(peer).or_default();
        *count += 1;
        if *count >= BAD_MAX {
            self.bad.remove(&peer);
            out.push(Action::Penalise {
                peer,
                reason: format!("sent {BAD_MAX} consensus messages that are not valid"),
            });
        }
    }

    /// A peer is behind: gives it the proof it lacks, or blocks; not more often than it can use them.
    fn help(&mut self, now: Instant, to: PeerId, height: Height, out: &mut Out) {
        let recent = self.answered.get(&to).is_some_and(|last| now.since(*last) < REBROADCAST / 4);
        if recent {
            return;
        }
        self.answered.insert(to, now);
        match &self.last_decided {
            Some(qc) if qc.height == height => {
                out.push(Action::Send { to, bytes: Message::Decided(qc.clone()).encode() });
            }
            _ => {}
        }
        if height.next() < self.state.height {
            out.push(Action::Serve { to, from_height: height });
        }
    }

    fn later(&mut self, from: PeerId, validator: ValidatorIndex, of: Height, message: Message, out: &mut Out) {
        let height = self.state.height;
        if of.0 <= height.0 + 2 {
            let queue = self.future.entry(validator).or_default();
            if queue.len() >= FUTURE_MAX {
                queue.pop_front();
            }
            queue.push_back((from, message));
        }
        if of.0 > height.0 + 1 {
            out.push(Action::NeedSync { height: Height(of.0 - 1), from });
        }
    }

    fn answer_hello(&mut self, now: Instant, to: PeerId, out: &mut Out) {
        let recent = self.answered.get(&to).is_some_and(|last| now.since(*last) < REBROADCAST / 8);
        if recent || self.me.is_none() {
            return;
        }
        self.answered.insert(to, now);
        let mut send = |message: &Message| out.push(Action::Send { to, bytes: message.encode() });
        send(&self.new_round());
        for message in &self.state.own {
            send(message);
        }
        let last_rounds = self.state.proposals.iter().rev().take(2);
        for seen in last_rounds.flat_map(|(_, seen)| seen) {
            send(&Message::Proposal(seen.proposal.clone()));
        }
    }

    /// R2. Whether it may have been sent by an honest validator.
    fn proposal(&mut self, now: Instant, proposal: Proposal, out: &mut Out) -> bool {
        let round = proposal.round;
        if round < self.state.round && !self.sync_model() {
            return true;
        }
        let Ok(block) = Block::decode(proposal.block.clone()) else { return false };
        let hash = block.hash();
        let known = self.state.proposals.get(&round).map_or(0, Vec::len);
        if known >= 2 || self.state.proposals.get(&round).is_some_and(|all| all.iter().any(|seen| seen.hash == hash)) {
            return true;
        }
        let Some(proposer) = self.proposer(round) else { return true };
        let justify_round = round_or_none(proposal.justify.as_ref().map(|qc| qc.round));
        let body = proposal_body(&hash, justify_round);
        if !self.verifies(proposer, PROPOSAL, round, &body, &proposal.signature) {
            return false;
        }
        self.heard.insert(proposer, now);
        if !self.well_formed(&proposal, &block) {
            return false;
        }
        if let Some(qc) = proposal.justify.clone() {
            self.adopt(now, qc, out);
        }
        if let Some(tc) = proposal.tc.clone() {
            if let Some(qc) = tc.high_qc.clone() {
                self.adopt(now, qc, out);
            }
            if round > self.state.round {
                self.enter_round(now, round, Some(tc), out);
            }
        }
        self.wake(now, out);
        self.say(&Message::Proposal(proposal.clone()), out);
        self.record_proposal(round, proposer, Seen { proposal, hash, relayed_at: now }, out);
        self.take_block(&block, out);
        true
    }

    fn record_proposal(&mut self, round: Round, proposer: ValidatorIndex, seen: Seen, out: &mut Out) {
        let all = self.state.proposals.entry(round).or_default();
        if let Some(first) = all.first() {
            let signed = |seen: &Seen| {
                let justify = round_or_none(seen.proposal.justify.as_ref().map(|qc| qc.round));
                (seen.hash, justify, seen.proposal.signature)
            };
            let evidence = Evidence::Double {
                kind: PROPOSAL,
                height: self.state.height,
                round,
                validator: proposer,
                first: signed(first),
                second: signed(&seen),
            };
            all.push(seen);
            self.state.equivocated.insert(round);
            self.accuse(proposer, &evidence, out);
        } else {
            all.push(seen);
        }
    }

    fn accuse(&mut self, offender: ValidatorIndex, evidence: &Evidence, out: &mut Out) {
        // One proof a height is enough.
        if self.state.evidence_given.insert(offender) {
            out.push(Action::Evidence(borsh::to_vec(evidence).unwrap_or_default().into()));
        }
    }

    fn well_formed(&self, proposal: &Proposal, block: &Block) -> bool {
        let header = block.header();
        let state = &self.state;
        let round = proposal.round;
        let place = header.height == state.height
            && state.tip.is_some_and(|tip| tip.hash == header.parent_hash)
            && header.created_round <= round
            && self.proposer(header.created_round) == Some(header.creator);
        let justified = match &proposal.justify {
            None => header.created_round == round,
            Some(qc) => qc.round < round && qc.hash == block.hash() && self.good_prepare(qc),
        };
        let entered = match (&proposal.tc, round) {
            (None, Round(0)) => true,
            (Some(tc), Round(above)) if above > 0 => {
                let justify = round_or_none(proposal.justify.as_ref().map(|qc| qc.round));
                tc.round.next() == round && justify >= tc.highest() && self.good_tc(tc)
            }
            _ => false,
        };
        place && justified && entered
    }

    fn vote(&mut self, vote: &Vote, out: &mut Out) -> bool {
        let state = &self.state;
        if vote.kind != PREPARE && vote.kind != COMMIT {
            return false;
        }
        if vote.round.0 > state.round.0 + ROUNDS_AHEAD_MAX {
            return true;
        }
        let key = (vote.kind, vote.round, vote.hash);
        if state.votes.get(&key).is_some_and(|votes| votes.contains_key(&vote.validator)) {
            return true;
        }
        let first = state
            .votes
            .range((vote.kind, vote.round, Hash::ZERO)..=(vote.kind, vote.round, Hash::new([0xff; 32])))
            .find_map(|((_, _, hash), votes)| votes.get(&vote.validator).map(|signature| (*hash, *signature)));
        if first.is_some() && state.evidence_given.contains(&vote.validator) {
            return true;
        }
        if !self.verifies(vote.validator, vote.kind, vote.round, vote.hash.as_bytes(), &vote.signature) {
            return false;
        }
        if let Some((hash, signature)) = first {
            let evidence = Evidence::Double {
                kind: vote.kind,
                height: self.state.height,
                round: vote.round,
                validator: vote.validator,
                first: (hash, -1, signature),
                second: (vote.hash, -1, vote.signature),
            };
            self.accuse(vote.validator, &evidence, out);
            return true;
        }
        self.state.votes.entry(key).or_default().insert(vote.validator, vote.signature);
        self.look_for_hidden_lock(vote.validator, out);
        true
    }

    fn timeout(&mut self, now: Instant, timeout: &Timeout, out: &mut Out) -> bool {
        let state = &self.state;
        let entry = &timeout.entry;
        if timeout.round.0 > state.round.0 + ROUNDS_AHEAD_MAX || timeout.round < state.round {
            return true;
        }
        let known = state.timeouts.get(&timeout.round).and_then(|all| all.get(&entry.validator));
        if known.is_some_and(|known| known.entry.hqc_round >= entry.hqc_round) {
            return true;
        }
        let fits = match &timeout.high_qc {
            None => entry.hqc_round == -1 && entry.hqc_hash == Hash::ZERO,
            Some(qc) => i64::from(qc.round.0) == entry.hqc_round && qc.hash == entry.hqc_hash && self.good_prepare(qc),
        };
        let body = timeout_body(entry.hqc_round, &entry.hqc_hash);
        if !fits || !self.verifies(entry.validator, TIMEOUT, timeout.round, &body, &entry.signature) {
            return false;
        }
        self.heard.insert(entry.validator, now);
        if let Some(qc) = timeout.high_qc.clone() {
            self.adopt(now, qc, out);
        }
        self.wake(now, out);
        self.state.timeouts.entry(timeout.round).or_default().insert(entry.validator, timeout.clone());
        self.look_for_hidden_lock(entry.validator, out);
        true
    }

    /// E3: this validator's Commits beside its Timeouts.
    fn look_for_hidden_lock(&mut self, validator: ValidatorIndex, out: &mut Out) {
        let state = &self.state;
        let mut commits =
            state.votes.iter().filter(|((kind, ..), votes)| *kind == COMMIT && votes.contains_key(&validator));
        let found = commits.find_map(|((_, round, hash), votes)| {
            let (timeout_round, timeout) = state.timeouts.range(*round..).find_map(|(at, all)| {
                let timeout = all.get(&validator)?;
                (timeout.entry.hqc_round < i64::from(round.0)).then_some((*at, timeout))
            })?;
            Some(Evidence::LockHiding {
                height: state.height,
                commit_round: *round,
                commit: (*hash, *votes.get(&validator)?),
                timeout_round,
                timeout: timeout.entry.clone(),
            })
        });
        if let Some(evidence) = found {
            self.accuse(validator, &evidence, out);
        }
    }

    fn round_news(&mut self, now: Instant, tc: Option<Tc>, high_qc: Option<Qc>, out: &mut Out) -> bool {
        if let Some(qc) = high_qc {
            if !self.good_prepare(&qc) {
                return false;
            }
            self.adopt(now, qc, out);
        }
        let Some(tc) = tc else { return true };
        if tc.round < self.state.round {
            return true;
        }
        if !self.good_tc(&tc) {
            return false;
        }
        if let Some(qc) = tc.high_qc.clone() {
            self.adopt(now, qc, out);
        }
        if tc.round >= self.state.round {
            self.enter_round(now, tc.round.next(), Some(tc), out);
        }
        true
    }

    fn decided(&mut self, from: PeerId, qc: Qc, out: &mut Out) -> bool {
        if self.state.commit_qc.is_some() {
            return true;
        }
        if !self.good_qc(&qc, COMMIT) {
            return false;
        }
        if !self.state.blocks.contains_key(&qc.hash) {
            out.push(Action::NeedSync { height: qc.height, from });
        }
        self.state.commit_qc = Some(qc);
        true
    }

    fn body(&mut self, block: Bytes, out: &mut Out) -> bool {
        let Ok(block) = Block::decode(block) else { return false };
        let hash = block.hash();
        let wanted = self.state.high_qc.iter().chain(&self.state.commit_qc).any(|qc| qc.hash == hash);
        if wanted && !self.state.blocks.contains_key(&hash) {
            self.take_block(&block, out);
        }
        true
    }

    // Signatures.

    fn sign(&mut self, round: Round, step: (u8, u32), kind: u8, body: Vec<u8>, pending: Pending, out: &mut Out) {
        let guard = Guard { height: self.state.height, round, step: step.0, sub: step.1 };
        if self.me.is_some() && self.state.asked.insert(guard) {
            self.state.pending.insert(guard, pending);
            out.push(Action::Sign(SignRequest { guard, kind, body }));
        }
    }

    fn signed(&mut self, now: Instant, guard: Guard, result: Result<Signature, SignRefused>, out: &mut Out) {
        let (Some(pending), Some(me)) = (self.state.pending.remove(&guard), self.me) else { return };
        let Ok(signature) = result else { return };
        let (height, round) = (guard.height, guard.round);
        match pending {
            Pending::Proposal { block, justify, tc } => {
                let proposal = Proposal { height, round, block: block.encoded().clone(), justify, tc, signature };
                self.say(&Message::Proposal(proposal.clone()), out);
                let seen = Seen { proposal, hash: block.hash(), relayed_at: now };
                self.record_proposal(round, me, seen, out);
            }
            Pending::Vote { kind, hash } => {
                let vote = Vote { kind, height, round, hash, validator: me, signature };
                self.state.votes.entry((kind, round, hash)).or_default().insert(me, signature);
                self.say(&Message::Vote(vote.clone()), out);
                self.state.keep_own(Message::Vote(vote));
            }
            Pending::Timeout { hqc_round, hqc_hash, high_qc } => {
                let entry = TimeoutEntry { validator: me, hqc_round, hqc_hash, signature };
                let timeout = Timeout { height, round, entry, high_qc };
                self.state.timeouts.entry(round).or_default().insert(me, timeout.clone());
                self.say(&Message::Timeout(timeout.clone()), out);
                self.state.keep_own(Message::Timeout(timeout));
            }
        }
    }

    // What the rules allow now.

    fn advance(&mut self, now: Instant, out: &mut Out) {
        if self.halted.is_some() || self.state.committing {
            return;
        }
        let quorum = self.quorum();
        if self.state.commit_qc.is_none() {
            self.state.commit_qc = self.state.certificate(COMMIT, quorum);
        }
        if self.decide(now, out) {
            return;
        }
        if let Some(qc) = self.state.certificate(PREPARE, quorum) {
            self.adopt(now, qc, out);
        }
        while let Some(tc) = self.state.timeout_certificate(quorum) {
            if let Some(qc) = tc.high_qc.clone() {
                self.adopt(now, qc, out);
            }
            if tc.round < self.state.round {
                break;
            }
            self.enter_round(now, tc.round.next(), Some(tc), out);
        }
        self.fetch_lock(now, out);
        if self.me.is_some() {
            self.propose(now, out);
            self.prepare(now, out);
            self.commit_vote(now, out);
            self.timeout_vote(out);
        }
        self.set_wake(now, out);
    }

    /// R8. Whether the height is being committed.
    fn decide(&mut self, now: Instant, out: &mut Out) -> bool {
        let Some(qc) = self.state.commit_qc.clone() else { return false };
        match self.state.valid.get(&qc.hash) {
            Some(true) => {
                self.state.committing = true;
                self.say(&Message::Decided(qc.clone()), out);
                // The kernel makes the block durable before the next step.
                let proof = borsh::to_vec(&qc).unwrap_or_default().into();
                let at = out.len() - usize::from(self.me.is_some());
                out.insert(at, Action::Commit { hash: qc.hash, proof });
                true
            }
            Some(false) => {
                self.halt(format!("block {} of height {} is final, but invalid here", qc.hash, qc.height), out);
                true
            }
            None => {
                if !self.state.blocks.contains_key(&qc.hash) {
                    self.fetch(now, qc.hash, out);
                }
                false
            }
        }
    }

    fn halt(&mut self, reason: String, out: &mut Out) {
        self.halted = Some(reason.clone());
        out.push(Action::Halt { reason });
    }

    /// A certified block that is not here is asked for.
    fn fetch_lock(&mut self, now: Instant, out: &mut Out) {
        let missing =
            self.state.high_qc.as_ref().map(|qc| qc.hash).filter(|hash| !self.state.blocks.contains_key(hash));
        if let Some(hash) = missing {
            self.fetch(now, hash, out);
        }
    }

    fn fetch(&mut self, now: Instant, hash: Hash, out: &mut Out) {
        if self.state.fetched_at.is_some_and(|last| now.since(last) < REBROADCAST / 4) {
            return;
        }
        self.state.fetched_at = Some(now);
        let message = Message::Fetch { height: self.state.height, hash };
        self.say(&message, out);
    }

    /// R1.
    fn propose(&mut self, now: Instant, out: &mut Out) {
        let round = self.state.round;
        let guard = Guard { height: self.state.height, round, step: STEP_PROPOSE, sub: 0 };
        let mine = self.proposer(round) == self.me;
        let entered = round == Round(0) || self.state.entry.as_ref().is_some_and(|tc| tc.round.next() == round);
        if !mine || !entered || self.state.idle || now < self.state.propose_at || self.state.asked.contains(&guard) {
            return;
        }
        if self.state.timed_out.is_some_and(|at| at >= round) {
            return;
        }
        match &self.state.high_qc {
            Some(qc) => {
                let (qc, block) = (qc.clone(), self.state.blocks.get(&qc.hash).cloned());
                if let Some(block) = block {
                    self.sign_proposal(round, block, Some(qc), out);
                }
            }
            None if self.state.building != Some(round) => {
                self.state.building = Some(round);
                out.push(Action::BuildBlock { token: round.0.into(), round, limits: self.parameters.limits });
            }
            None => {}
        }
    }

    fn built(&mut self, token: u64, block: Option<Block>, out: &mut Out) {
        let round = self.state.round;
        let current = self.state.building == Some(round) && token == u64::from(round.0);
        let Some(block) = block.filter(|block| current && block.height() == self.state.height) else { return };
        if self.state.high_qc.is_some() || self.state.timed_out.is_some_and(|at| at >= round) {
            return;
        }
        self.state.valid.insert(block.hash(), true);
        self.state.keep_block(&block);
        self.sign_proposal(round, block, None, out);
    }

    fn sign_proposal(&mut self, round: Round, block: Block, justify: Option<Qc>, out: &mut Out) {
        let body = proposal_body(&block.hash(), round_or_none(justify.as_ref().map(|qc| qc.round)));
        let tc = if round == Round(0) { None } else { self.state.entry.clone() };
        self.sign(round, (STEP_PROPOSE, 0), PROPOSAL, body, Pending::Proposal { block, justify, tc }, out);
    }

    /// R3.
    fn prepare(&mut self, now: Instant, out: &mut Out) {
        if let Some(hash) = self.may_prepare(now) {
            let body = hash.as_bytes().to_vec();
            self.sign(self.state.round, (STEP_PREPARE, 0), PREPARE, body, Pending::Vote { kind: PREPARE, hash }, out);
        }
    }

    fn may_prepare(&self, now: Instant) -> Option<Hash> {
        let state = &self.state;
        let first = state.proposals.get(&state.round)?.first()?;
        if state.valid.get(&first.hash) != Some(&true) || state.timed_out.is_some_and(|at| at >= state.round) {
            return None;
        }
        if self.sync_model() {
            let heard_all = now > first.relayed_at.after(self.parameters.delta) && now >= self.no_vote_until;
            if state.equivocated.contains(&state.round) || !heard_all {
                return None;
            }
            if state.round > Round(0) {
                let justify = round_or_none(first.proposal.justify.as_ref().map(|qc| qc.round));
                if state.lock_snapshot.is_none_or(|snapshot| justify < snapshot) {
                    return None;
                }
            }
        }
        Some(first.hash)
    }

    /// The second half of R4.
    fn commit_vote(&mut self, now: Instant, out: &mut Out) {
        let state = &self.state;
        let Some(qc) = state.high_qc.as_ref().filter(|qc| qc.round == state.round) else { return };
        let (hash, round) = (qc.hash, qc.round);
        let waits = self.sync_model() && now < self.no_vote_until;
        if waits || state.valid.get(&hash) != Some(&true) || state.timed_out.is_some_and(|at| at >= round) {
            return;
        }
        if !state.saved_block {
            return;
        }
        let body = hash.as_bytes().to_vec();
        self.sign(round, (STEP_COMMIT, 0), COMMIT, body, Pending::Vote { kind: COMMIT, hash }, out);
    }

    /// R5: also again, when the highest certificate rose.
    fn timeout_vote(&mut self, out: &mut Out) {
        let round = self.state.round;
        if self.state.timed_out != Some(round) {
            return;
        }
        let high_qc = self.state.high_qc.clone();
        let hqc_round = self.state.high_qc_round();
        let hqc_hash = high_qc.as_ref().map_or(Hash::ZERO, |qc| qc.hash);
        let sub = u32::try_from(hqc_round + 1).unwrap_or(u32::MAX);
        let body = timeout_body(hqc_round, &hqc_hash);
        self.sign(round, (STEP_TIMEOUT, sub), TIMEOUT, body, Pending::Timeout { hqc_round, hqc_hash, high_qc }, out);
    }

    /// Wakes this validator when the next wait is over.
    fn set_wake(&mut self, now: Instant, out: &mut Out) {
        let just_after = |at: Instant| at.after(Duration::from_micros(1));
        let state = &self.state;
        let mut waits = vec![self.no_vote_until];
        if !state.idle {
            waits.push(state.propose_at);
        }
        if self.sync_model() {
            if let Some(first) = state.proposals.get(&state.round).and_then(|all| all.first()) {
                waits.push(just_after(first.relayed_at.after(self.parameters.delta)));
            }
            if state.round > Round(0) {
                waits.push(just_after(state.entered_at.after(self.parameters.wait(2))));
            }
        }
        match waits.into_iter().filter(|at| *at > now).min() {
            Some(at) => self.set_timer(TIMER_WAKE, at, out),
            None => self.cancel_timer(TIMER_WAKE, out),
        }
    }

    /// R3: the lock is compared as it was 2 delta after entry, not as it became.
    fn snapshot(&mut self, now: Instant) {
        let after = self.state.entered_at.after(self.parameters.wait(2));
        if self.sync_model() && self.state.round > Round(0) && self.state.lock_snapshot.is_none() && now > after {
            self.state.lock_snapshot = Some(self.state.high_qc_round());
        }
    }

    fn timer(&mut self, now: Instant, id: TimerId, out: &mut Out) {
        self.timers.remove(&id);
        match id {
            TIMER_ROUND => {
                self.state.timed_out = Some(self.state.round);
                let again = self.parameters.timeout(self.state.round.0);
                self.set_timer(TIMER_ROUND, now.after(again), out);
            }
            TIMER_HEARTBEAT => self.wake(now, out),
            TIMER_REBROADCAST => {
                self.repair(out);
                self.set_timer(TIMER_REBROADCAST, now.after(REBROADCAST), out);
            }
            _ => {}
        }
    }

    /// R10.
    fn repair(&mut self, out: &mut Out) {
        if self.state.idle {
            return;
        }
        let new_round = self.new_round();
        self.say(&new_round, out);
        for message in &self.state.own {
            self.say(message, out);
        }
        let current = self.state.proposals.get(&self.state.round).and_then(|all| all.first());
        if let Some(seen) = current {
            self.say(&Message::Proposal(seen.proposal.clone()), out);
        }
    }

    /// R9: a timer that is long overdue shows that this process did not run.
    fn was_suspended(&self, now: Instant) -> bool {
        let slack = self.parameters.slack();
        self.timers.values().any(|at| now > at.after(slack))
    }

    fn peer_up(&mut self, now: Instant, peer: PeerId, validator: ValidatorIndex, out: &mut Out) {
        let alone = self.up.is_empty();
        self.up.insert(peer, validator);
        self.heard.insert(validator, now);
        if alone || self.greeted.insert(peer) {
            self.no_vote_until = self.no_vote_until.max(now.after(self.parameters.wait(2)));
        }
        self.greeted.insert(peer);
        if self.me.is_some() {
            for message in [Message::Hello { height: self.state.height }, self.new_round()] {
                out.push(Action::Send { to: peer, bytes: message.encode() });
            }
        }
    }
}

impl Consensus for Engine {
    fn step(&mut self, now: Instant, event: Event, out: &mut Vec<Action>) {
        if self.set.is_some() && self.was_suspended(now) {
            self.rejoin(now, out);
        }
        self.snapshot(now);
        match event {
            Event::Start(start) => self.start(now, start, out),
            Event::Message { from, validator: Some(validator), bytes } => match Message::decode(&bytes) {
                Some(message) => {
                    self.heard.insert(validator, now);
                    self.message(now, from, validator, message, out);
                }
                None => self.blame(from, out),
            },
            Event::Message { .. } => {}
            Event::Timer { id, .. } => self.timer(now, id, out),
            Event::BlockBuilt { token, block } => self.built(token, block, out),
            Event::BlockChecked { hash, verdict } => {
                if self.state.checking.remove(&hash) {
                    self.state.valid.insert(hash, verdict == Verdict::Valid);
                }
            }
            Event::Signed { guard, result, .. } => self.signed(now, guard, result, out),
            Event::Committed { tip, validators, me, by, pending } => {
                self.set = Some(validators);
                self.me = me;
                self.pending = pending;
                self.committed(now, tip, by, out);
            }
            Event::Work { pending } => {
                self.pending = pending;
                if pending {
                    self.wake(now, out);
                }
            }
            Event::PeerUp { peer, validator: Some(validator) } => self.peer_up(now, peer, validator, out),
            Event::PeerUp { .. } => {}
            Event::PeerDown { peer } => {
                self.up.remove(&peer);
                self.answered.remove(&peer);
                self.bad.remove(&peer);
            }
            Event::Stop => return,
        }
        self.advance(now, out);
    }

    fn status(&self, now: Instant) -> EngineStatus {
        let quorum = self.quorum();
        let mut heard: Vec<ValidatorIndex> = self.me.into_iter().collect();
        let mut silent = Vec::new();
        for (index, one) in self.set.iter().flat_map(ValidatorSet::iter) {
            if Some(index) == self.me {
                continue;
            }
            let connected = self.up.values().any(|up| *up == index);
            let recent = self.heard.get(&index).is_some_and(|at| now.since(*at) < SILENT_AFTER);
            if connected && (recent || self.state.idle) {
                heard.push(index);
            } else {
                silent.push(one.name.clone());
            }
        }
        heard.sort_unstable();
        let stalled = (heard.len() < quorum)
            .then(|| format!("{} of {quorum} needed; silent: {}", heard.len(), silent.join(", ")));
        let phase = match &self.state {
            state if state.idle => "idle",
            state if state.commit_qc.is_some() => "decided",
            state if state.high_qc.as_ref().is_some_and(|qc| qc.round == state.round) => "commit",
            state if state.proposals.contains_key(&state.round) => "prepare",
            _ => "propose",
        };
        EngineStatus {
            height: self.state.height,
            round: self.state.round,
            proposer: self.proposer(self.state.round),
            phase: phase.into(),
            heard_from: heard,
            quorum: u16::try_from(quorum).unwrap_or(u16::MAX),
            stalled,
            halted: self.halted.clone(),
        }
    }
}
