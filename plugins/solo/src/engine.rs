//! The sealer: makes a block when there is work or time has come, signs it, commits it.

use std::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use quorate::{
    Block, ChainId, Consensus, Hash, Height, Instant, Round, Signature, ValidatorIndex,
    consensus::{Action, EngineStatus, Event, SignRefused, Start, Verdict},
    pacing::EmptyBlocks,
};

use crate::{
    proof::{SEALER, Seal, seal_request},
    settings::Rules,
};

/// The only timer.
const WAKE: u64 = 1;

/// When a block could not be built, it is tried again after this.
const BUILD_AGAIN: Duration = Duration::from_millis(100);

/// The block that is being sealed: durable before its signature, so that after a crash the same block is signed again.
#[derive(BorshSerialize, BorshDeserialize)]
struct Saved {
    height: Height,
    block: Bytes,
}

/// When the signer failed, it is asked again after this.
const SIGN_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum Stage {
    /// Nothing is being made.
    Waiting,
    Building,
    /// A block from before a restart is judged again.
    Checking(Block),
    Signing(Block),
    Committing,
}

pub(crate) struct Solo {
    chain_id: ChainId,
    rules: Rules,
    now: Instant,
    height: Height,
    me: Option<ValidatorIndex>,
    pending: bool,
    stage: Stage,
    token: u64,
    /// When the last block was committed; none before the first since the start.
    sealed_at: Option<Instant>,
    started_at: Instant,
    not_before: Instant,
    armed: Option<Instant>,
    /// When the signer, which failed, is asked again, and what it said.
    sign_again: Option<(Instant, String)>,
    halted: Option<String>,
}

impl Solo {
    pub(crate) fn new(chain_id: ChainId, rules: Rules) -> Self {
        Self {
            chain_id,
            rules,
            now: Instant(0),
            height: Height::GENESIS,
            me: None,
            pending: false,
            stage: Stage::Waiting,
            token: 0,
            sealed_at: None,
            started_at: Instant(0),
            not_before: Instant(0),
            armed: None,
            sign_again: None,
            halted: None,
        }
    }

    fn start(&mut self, start: Start, out: &mut Vec<Action>) {
        self.height = start.tip.height.next();
        self.me = start.me;
        self.pending = start.pending;
        self.started_at = self.now;
        let Some(bytes) = start.saved else { return };
        let block = Saved::try_from_slice(&bytes)
            .map_err(|error| error.to_string())
            .and_then(|saved| Block::decode_trusted(saved.block).map_err(|error| error.to_string()));
        match block {
            Ok(block) if block.height() == self.height => {
                out.push(Action::CheckBlock { block: block.clone(), limits: self.rules.limits });
                self.stage = Stage::Checking(block);
            }
            // Of a height that is over.
            Ok(_) => {}
            Err(error) => self.halt(format!("the record of the block being sealed can't be read: {error}"), out),
        }
    }

    fn halt(&mut self, reason: String, out: &mut Vec<Action>) {
        self.halted = Some(reason.clone());
        out.push(Action::Halt { reason });
    }

    fn sign(&mut self, block: Block, out: &mut Vec<Action>) {
        out.push(Action::Sign(seal_request(self.height, &block.hash())));
        self.stage = Stage::Signing(block);
    }

    fn on_built(&mut self, block: Option<Block>, out: &mut Vec<Action>) {
        let Some(block) = block else {
            self.stage = Stage::Waiting;
            self.not_before = self.now.after(BUILD_AGAIN);
            return;
        };
        let saved = Saved { height: self.height, block: block.encoded().clone() };
        out.push(Action::Persist(borsh::to_vec(&saved).unwrap_or_default().into()));
        self.sign(block, out);
    }

    fn on_checked(&mut self, hash: Hash, verdict: Verdict, out: &mut Vec<Action>) {
        let Stage::Checking(block) = &self.stage else { return };
        if block.hash() != hash {
            return;
        }
        match verdict {
            Verdict::Valid => {
                let block = block.clone();
                self.sign(block, out);
            }
            Verdict::NotNow(_) => {}
            Verdict::Invalid(why) => {
                self.halt(format!("block {} may be signed already, and is invalid now: {why}", self.height), out);
            }
        }
    }

    fn on_signed(&mut self, digest: Hash, result: Result<Signature, SignRefused>, out: &mut Vec<Action>) {
        let Stage::Signing(block) = &self.stage else { return };
        let hash = block.hash();
        if seal_request(self.height, &hash).digest(&self.chain_id) != digest {
            return;
        }
        match result {
            Ok(signature) => {
                let seal = Seal { height: self.height, block_hash: hash, signature };
                let proof = borsh::to_vec(&seal).unwrap_or_default().into();
                out.push(Action::Commit { hash, proof });
                self.stage = Stage::Committing;
            }
            // Nothing is wrong with the block, and the same is asked again: a disk may have been full.
            Err(SignRefused::Failed(why)) => self.sign_again = Some((self.now.after(SIGN_AGAIN), why)),
            Err(refused) => self.halt(format!("block {} is not sealed: {refused}", self.height), out),
        }
    }

    /// When the next block is due, if at all.
    fn due(&self) -> Option<Instant> {
        let next = self.sealed_at.map_or(self.started_at, |at| at.after(self.rules.block_interval));
        let due = match self.rules.empty_blocks {
            _ if self.pending => next,
            EmptyBlocks::Always => next,
            EmptyBlocks::Heartbeat(every) => self.sealed_at.unwrap_or(self.started_at).after(every).max(next),
            EmptyBlocks::Never => return None,
        };
        Some(due.max(self.not_before))
    }

    fn advance(&mut self, out: &mut Vec<Action>) {
        let waiting = matches!(self.stage, Stage::Waiting) && self.me == Some(SEALER) && self.halted.is_none();
        let due = self.due().filter(|_| waiting);
        if due.is_some_and(|due| due <= self.now) {
            self.token = self.token.wrapping_add(1);
            self.stage = Stage::Building;
            out.push(Action::BuildBlock { token: self.token, round: Round(0), limits: self.rules.limits });
        }
        let again = self.sign_again.as_ref().map(|(at, _)| *at);
        if again.is_some_and(|at| at <= self.now)
            && let Stage::Signing(block) = &self.stage
        {
            out.push(Action::Sign(seal_request(self.height, &block.hash())));
            self.sign_again = None;
        }
        let wanted = due.or(again).filter(|due| *due > self.now);
        if wanted != self.armed {
            out.push(wanted.map_or(Action::CancelTimer(WAKE), |at| Action::SetTimer { id: WAKE, at }));
            self.armed = wanted;
        }
    }
}

impl Consensus for Solo {
    fn step(&mut self, now: Instant, event: Event, out: &mut Vec<Action>) {
        self.now = self.now.max(now);
        match event {
            Event::Start(start) => self.start(start, out),
            _ if self.height == Height::GENESIS => return,
            Event::Timer { .. } => self.armed = None,
            Event::Work { pending } => self.pending = pending,
            Event::Committed { tip, me, pending, .. } => {
                self.height = tip.height.next();
                self.me = me;
                self.pending = pending;
                self.sealed_at = Some(self.now);
                self.stage = Stage::Waiting;
                self.sign_again = None;
            }
            _ if self.halted.is_some() => {}
            Event::BlockBuilt { token, block } => {
                if matches!(self.stage, Stage::Building) && token == self.token {
                    self.on_built(block, out);
                }
            }
            Event::BlockChecked { hash, verdict } => self.on_checked(hash, verdict, out),
            Event::Signed { digest, result, .. } => self.on_signed(digest, result, out),
            // Nobody has a say. Those who follow are served by the kernel.
            Event::Message { .. } | Event::PeerUp { .. } | Event::PeerDown { .. } | Event::Stop => {}
        }
        self.advance(out);
    }

    fn status(&self, _now: Instant) -> EngineStatus {
        let phase = match self.stage {
            _ if self.me != Some(SEALER) => "follow",
            Stage::Waiting => "idle",
            Stage::Building | Stage::Checking(_) => "propose",
            Stage::Signing(_) | Stage::Committing => "commit",
        };
        EngineStatus {
            height: self.height,
            round: Round(0),
            proposer: Some(SEALER),
            phase: phase.into(),
            heard_from: self.me.into_iter().collect(),
            quorum: 1,
            stalled: self.sign_again.as_ref().map(|(_, why)| format!("the signer failed, and is asked again: {why}")),
            halted: self.halted.clone(),
        }
    }
}
