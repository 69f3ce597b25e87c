//! The state machine. Handlers note what an event says; `advance` then does all that has become due.

mod decide;
mod proposals;
mod relay;
mod repair;
mod rounds;
mod sign;
mod start;
mod state;
mod status;
mod timeouts;
mod votes;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate::{
    Block, ChainId, Consensus, Hash, Height, Instant, PeerId, Timestamp, ValidatorIndex, ValidatorSet,
    consensus::{Action, EngineStatus, Event, ProofError, Tip, Verdict},
    engine::{Judgement, Peers, Verified},
};

use self::state::{AtHeight, Deadlines, came};
use crate::{
    certificate::{Judge, QuorumCertificate, quorum},
    evidence::Evidence,
    message::Message,
    planted::{Bugs, PlantedBug},
    settings::Rules,
};

/// The engine's only timer: the earliest of its deadlines.
const WAKE: u64 = 1;

/// The block decided last, for those who are one behind.
#[derive(Debug, Clone)]
struct Last {
    qc: QuorumCertificate,
    block: Option<Block>,
    validators: ValidatorSet,
    /// Who is known to have the block.
    holders: BTreeSet<ValidatorIndex>,
}

/// One validator, or an observer.
#[derive(Clone)]
pub(crate) struct Engine {
    chain_id: ChainId,
    rules: Rules,
    bugs: Bugs,
    now: Instant,
    out: Vec<Action>,
    /// Records held back by a planted bug.
    held_back: Vec<Action>,
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
    /// Validators whose link came up since this node last rejoined.
    greeted: BTreeSet<ValidatorIndex>,
    /// Validators of which nothing is expected, as there is no link to them, until there is one or a proposal of theirs.
    absent: BTreeSet<ValidatorIndex>,
    /// Validators whose link is gone, and when they are absent.
    gone: BTreeMap<ValidatorIndex, Instant>,
    /// The highest height of which a validator sent anything, over the link that it has.
    reached: BTreeMap<ValidatorIndex, Height>,
    /// Validators who lacked what was sent to all, and until when they get all that is known at once.
    helped: BTreeMap<ValidatorIndex, Instant>,
    /// All links were lost.
    cut_off: bool,
    last_hello: Option<Instant>,
    /// The lock rose in this very step.
    lock_is_new: bool,
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
    pub(crate) fn new(chain_id: ChainId, validators: ValidatorSet, rules: Rules, bugs: Bugs) -> Self {
        let hash = Hash::new(*chain_id.as_bytes());
        Self {
            chain_id,
            rules,
            bugs,
            now: Instant(0),
            out: Vec::new(),
            held_back: Vec::new(),
            started: false,
            halted: None,
            tip: Tip { height: Height::GENESIS, hash, time: Timestamp(0) },
            validators_hash: validators.hash(),
            validators,
            me: None,
            pending: false,
            at: AtHeight::new(Instant(0), Instant(0)),
            last: None,
            last_block_at: Instant(0),
            deadlines: Deadlines::default(),
            armed: None,
            peers: Peers::default(),
            greeted: BTreeSet::new(),
            absent: BTreeSet::new(),
            gone: BTreeMap::new(),
            reached: BTreeMap::new(),
            helped: BTreeMap::new(),
            cut_off: false,
            last_hello: None,
            lock_is_new: false,
            missed: Height(0),
            heard: BTreeMap::new(),
            verified: Verified::default(),
            tokens: 0,
        }
    }

    fn height(&self) -> Height {
        self.tip.height.next()
    }

    /// All on which its next steps at this height depend, but for what it remembers of signatures, which follow from what is signed,
    /// and of how often peers were answered.
    #[cfg(feature = "planted-bugs")]
    pub(crate) fn hash_state(&self, into: &mut impl std::hash::Hasher) {
        use std::hash::Hash as _;
        (self.me, self.height(), &self.halted, self.held_back.len(), self.missed, self.cut_off, &self.absent)
            .hash(into);
        (&self.gone, &self.reached, &self.helped, self.last.as_ref().map(|last| &last.holders)).hash(into);
        let up = |one: &quorate::Validator| self.peers.is_up(&one.public_key.into());
        self.validators.iter().for_each(|(_, one)| up(one).hash(into));
        self.deadlines.hash(into);
        self.at.hash_state(into);
    }

    fn has(&self, bug: PlantedBug) -> bool {
        self.bugs.has(bug)
    }

    /// Votes which a certificate of this height needs.
    fn quorum(&self) -> usize {
        quorum(&self.rules, self.bugs, &self.validators)
    }

    fn judge(&mut self) -> Judge<'_> {
        let quorum = self.quorum();
        Judge { chain_id: &self.chain_id, validators: &self.validators, quorum, verified: &mut self.verified }
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

    fn handle(&mut self, event: Event) {
        match event {
            Event::Start(_) | Event::Stop => {}
            Event::Message { from, validator, bytes } => self.on_message(from, validator, bytes),
            // What has become due is seen in `advance`, whichever event comes first.
            Event::Timer { .. } => self.armed = None,
            Event::BlockBuilt { token, block } => self.on_built(token, block),
            Event::BlockChecked { hash, verdict } => match verdict {
                Verdict::Valid => self.at.blocks.judge(&hash, Judgement::Valid),
                Verdict::Invalid(reason) => self.at.blocks.judge(&hash, Judgement::Invalid(reason)),
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
            Event::PeerUp { peer, validator } => self.on_peer_up(peer, validator),
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
        if let Some(validator) = validator {
            let reached = self.reached.entry(validator).or_default();
            *reached = height.max(*reached);
        }
        if height > self.height() {
            self.on_above(from, validator, &message, bytes);
            return Ok(());
        }
        if height < self.height() {
            return self.on_below(from, message);
        }
        self.of_this_height(from, message, bytes)
    }

    fn of_this_height(&mut self, from: PeerId, message: Message, raw: Bytes) -> Result<(), Fault> {
        match message {
            Message::Decided(qc) => return self.on_decided(from, qc),
            Message::Hello { .. } => {
                self.answer_hello(from);
                return Ok(());
            }
            Message::Fetch { hash, .. } => {
                self.answer_fetch(from, &hash);
                return Ok(());
            }
            _ => {}
        }
        if self.me.is_none() || self.at.decided.as_ref().is_some_and(|decision| decision.committing) {
            if let Message::Vote(vote) = &message {
                self.note_late_vote(from, vote);
            }
            return Ok(());
        }
        if self.at.over && !matches!(message, Message::Body { .. }) {
            return Ok(());
        }
        match message {
            Message::Proposal(proposal) => self.on_proposal(from, proposal, raw),
            Message::Vote(vote) => self.on_vote(vote),
            Message::Timeout(timeout) => self.on_timeout(from, timeout),
            Message::NewRound(status) => self.on_new_round(from, status),
            Message::Certificate(qc) => self.on_certificate(&qc),
            Message::Body { block, .. } => self.on_body(block),
            Message::Decided(_) | Message::Hello { .. } | Message::Fetch { .. } => Ok(()),
        }
    }

    /// Whether the process was suspended: something is long overdue.
    fn was_suspended(&self) -> bool {
        let timed = self.rules.model.relies_on_time();
        // Elsewhere no safety rests on it, and a busy machine need not be made busier.
        let slack = if timed { self.rules.suspension } else { self.rules.rebroadcast };
        let latest = |at: Instant| at.after(slack);
        let overdue = self.deadlines.earliest().is_some_and(|at| latest(at) < self.now);
        overdue && !self.has(PlantedBug::NoSuspensionRule)
    }

    /// What must be settled before an event is looked at: what was missed, and what is locked by now.
    fn before(&mut self) {
        if self.was_suspended() {
            self.rejoin();
        }
        if came(&mut self.deadlines.snapshot, self.now) {
            self.at.current.snapshot = Some(self.at.high_round());
        }
    }

    /// Does all that has become due.
    fn advance(&mut self) {
        if self.halted.is_some() {
            return;
        }
        self.look_at_deadlines();
        let over = self.try_decide() || self.at.over;
        if over {
            // A round may have begun after all, by what was on its way; nobody would look at its deadlines.
            self.deadlines.leave_round();
        } else if self.halted.is_none() && self.me.is_some() {
            self.try_commit_vote();
            self.try_prepare();
            self.try_propose();
            self.try_timeout();
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
        if matches!(event, Event::Timer { .. }) {
            self.out.append(&mut self.held_back);
        }
        self.lock_is_new = false;
        match event {
            Event::Start(start) => self.start(start),
            _ if !self.started => {}
            event @ Event::Committed { .. } => {
                let suspended = self.was_suspended();
                self.handle(event);
                if suspended && self.halted.is_none() {
                    self.rejoin();
                }
            }
            _ if self.halted.is_some() => {}
            event => {
                self.before();
                self.handle(event);
            }
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
