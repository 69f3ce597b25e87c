//! Events in, actions out. Handlers note what an event says and feed the driver; `advance` then does all that has become due.

mod decide;
mod proposals;
mod repair;
mod rounds;
mod sign;
mod start;
mod state;
mod status;
mod votes;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use quorate::{
    Block, ChainId, Consensus, Hash, Height, Instant, PeerId, Round, Timestamp, ValidatorIndex, ValidatorSet,
    consensus::{Action, EngineStatus, Event, ProofError, Tip, Verdict},
    engine::{Judgement, Peers, Verified},
};

use self::state::{AtHeight, Deadlines};
use crate::{
    certificate::{Judge, QuorumCertificate},
    evidence::Evidence,
    machine::{Do, Machine, Refused},
    message::Message,
    settings::{Rules, quorum},
};

/// The engine's only timer: the earliest of its deadlines.
const WAKE: u64 = 1;

/// The block decided last, for those who are one behind.
#[derive(Debug)]
struct Last {
    qc: QuorumCertificate,
    block: Option<Block>,
    validators: ValidatorSet,
}

/// One validator, or an observer.
pub(crate) struct Engine {
    chain_id: ChainId,
    rules: Rules,
    now: Instant,
    out: Vec<Action>,
    started: bool,
    halted: Option<String>,
    tip: Tip,
    validators: ValidatorSet,
    validators_hash: Hash,
    me: Option<ValidatorIndex>,
    pending: bool,
    at: AtHeight,
    last: Option<Last>,
    /// When the last block was first seen here.
    last_block_at: Instant,
    deadlines: Deadlines,
    armed: Option<Instant>,
    peers: Peers,
    /// All links were lost.
    cut_off: bool,
    last_hello: Option<Instant>,
    /// The highest height of a message that was dropped for want of room.
    missed: Height,
    heard: BTreeMap<ValidatorIndex, Instant>,
    verified: Verified,
    tokens: u64,
}

/// What a peer did wrong.
type Fault = String;

impl Engine {
    /// An engine that waits for [`Event::Start`].
    pub(crate) fn new(chain_id: ChainId, validators: ValidatorSet, rules: Rules) -> Self {
        let hash = Hash::new(*chain_id.as_bytes());
        Self {
            chain_id,
            rules,
            now: Instant(0),
            out: Vec::new(),
            started: false,
            halted: None,
            tip: Tip { height: Height::GENESIS, hash, time: Timestamp(0) },
            validators_hash: validators.hash(),
            validators,
            me: None,
            pending: false,
            at: AtHeight::new(None, Instant(0), Instant(0)),
            last: None,
            last_block_at: Instant(0),
            deadlines: Deadlines::default(),
            armed: None,
            peers: Peers::default(),
            cut_off: false,
            last_hello: None,
            missed: Height(0),
            heard: BTreeMap::new(),
            verified: Verified::default(),
            tokens: 0,
        }
    }

    fn height(&self) -> Height {
        self.tip.height.next()
    }

    /// Whose turn a round of this height is.
    fn proposer(&self, round: Round) -> ValidatorIndex {
        self.validators.at_turn(self.height().0.saturating_add(u64::from(round.0)))
    }

    fn quorum(&self) -> usize {
        quorum(self.validators.len())
    }

    fn judge(&mut self) -> Judge<'_> {
        Judge { chain_id: &self.chain_id, validators: &self.validators, verified: &mut self.verified }
    }

    fn broadcast(&mut self, message: &Message) {
        self.out.push(Action::Broadcast(message.encode()));
    }

    fn send(&mut self, to: PeerId, message: &Message) {
        self.out.push(Action::Send { to, bytes: message.encode() });
    }

    fn accuse(&mut self, offender: ValidatorIndex, evidence: &Evidence) {
        if self.at.accused.insert(offender) {
            self.out.push(Action::Evidence(borsh::to_vec(evidence).unwrap_or_default().into()));
        }
    }

    fn halt(&mut self, reason: String) {
        if self.halted.is_none() {
            self.halted = Some(reason.clone());
            self.out.push(Action::Halt { reason });
        }
    }

    /// Feeds the driver, and does what it wants in the order in which it wants it.
    fn run(&mut self, input: impl FnOnce(&mut Machine) -> Result<Vec<Do>, Refused>) {
        if self.at.decided.is_some() {
            return;
        }
        let Some(machine) = &mut self.at.machine else { return };
        let result = input(machine);
        let mut todo: VecDeque<Do> = self.fed(result).into();
        while let Some(next) = todo.pop_front() {
            match next {
                Do::Enter(round) => todo.extend(self.enter(round)),
                Do::Build(round) => self.lead(round),
                Do::Propose { round, hash, polka } => self.propose(round, hash, polka),
                Do::Vote { kind, round, hash } => self.cast(kind, round, hash),
                Do::Wait { kind, round } => self.wait(kind, round),
            }
        }
    }

    /// Notes what an input changed in the driver, before anything that it said is done.
    fn fed(&mut self, result: Result<Vec<Do>, Refused>) -> Vec<Do> {
        self.learn_locks();
        self.look_for_evidence();
        match result {
            Ok(todo) => todo,
            Err(reason) => {
                self.halt(format!("the driver of height {} refused its input: {reason}", self.height()));
                Vec::new()
            }
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Start(_) | Event::Stop => {}
            Event::Message { from, validator, bytes } => self.on_message(from, validator, bytes),
            // What has become due is seen in `advance`, whichever event comes first.
            Event::Timer { .. } => self.armed = None,
            Event::BlockBuilt { token, block } => self.on_built(token, block),
            Event::BlockChecked { hash, verdict } => match verdict {
                Verdict::Valid => self.on_judged(&hash, Judgement::Valid),
                Verdict::Invalid(reason) => self.on_judged(&hash, Judgement::Invalid(reason)),
                Verdict::NotNow(_) => {}
            },
            Event::Signed { guard, digest, result } => self.on_signed(guard, digest, result),
            Event::Committed { tip, validators, me, by, pending } => {
                self.on_committed(tip, validators, me, by, pending)
            }
            Event::Work { pending } => {
                self.pending = pending;
                if pending {
                    self.wake();
                }
            }
            Event::PeerUp { peer, .. } => self.on_peer_up(peer),
            Event::PeerDown { peer } => self.on_peer_down(&peer),
        }
    }

    fn on_message(&mut self, from: PeerId, validator: Option<ValidatorIndex>, bytes: Bytes) {
        if let Some(validator) = validator {
            self.heard.insert(validator, self.now);
        }
        if let Err(reason) = self.read(from, validator, bytes) {
            self.out.push(Action::Penalise { peer: from, reason });
        }
    }

    fn read(&mut self, from: PeerId, validator: Option<ValidatorIndex>, bytes: Bytes) -> Result<(), Fault> {
        let message = Message::decode(&bytes, self.rules.block_bytes_max()).map_err(|error| error.to_string())?;
        let height = message.height();
        if height > self.height() {
            self.on_above(from, validator, &message, bytes);
            return Ok(());
        }
        if height < self.height() {
            return self.on_below(from, message);
        }
        self.of_this_height(from, validator, message, bytes)
    }

    fn of_this_height(
        &mut self,
        from: PeerId,
        validator: Option<ValidatorIndex>,
        message: Message,
        raw: Bytes,
    ) -> Result<(), Fault> {
        match message {
            Message::Decided(qc) => self.on_decided(from, qc),
            Message::Hello { .. } => {
                self.answer_hello(from);
                Ok(())
            }
            Message::Fetch { hash, .. } => {
                self.answer_fetch(from, &hash);
                Ok(())
            }
            _ if self.me.is_none() => Ok(()),
            Message::Body { block, .. } => self.on_body(block),
            _ if self.at.decided.is_some() => Ok(()),
            Message::Proposal(proposal) => self.on_proposal(proposal, raw),
            Message::Vote(vote) => self.on_vote(from, validator, vote),
            Message::Status(status) => self.on_status(from, status),
        }
    }

    /// Does all that has become due.
    fn advance(&mut self) {
        if self.halted.is_some() {
            return;
        }
        self.look_at_deadlines();
        let over = self.try_decide();
        if !over && self.halted.is_none() && self.me.is_some() {
            self.try_propose();
            self.sign_votes();
            self.persist();
        }
        self.arm();
    }

    fn arm(&mut self) {
        let next = self.deadlines.earliest();
        if next == self.armed {
            return;
        }
        self.out.push(next.map_or(Action::CancelTimer(WAKE), |at| Action::SetTimer { id: WAKE, at: at.max(self.now) }));
        self.armed = next;
    }
}

impl Consensus for Engine {
    fn step(&mut self, now: Instant, event: Event, out: &mut Vec<Action>) {
        self.now = self.now.max(now);
        match event {
            Event::Start(start) => self.start(start),
            _ if !self.started => {}
            event @ Event::Committed { .. } => self.handle(event),
            _ if self.halted.is_some() => {}
            event => self.handle(event),
        }
        if self.started {
            self.advance();
        }
        out.append(&mut self.out);
    }

    fn status(&self, now: Instant) -> EngineStatus {
        self.describe(now.max(self.now))
    }
}

/// What was wrong with a certificate or signature, for the log.
fn fault(what: &str, error: &ProofError) -> Fault {
    format!("{what}: {error}")
}
