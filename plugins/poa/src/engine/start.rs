//! Entering a height: at start, and after each block.

use quorate::{
    Block, Height, ValidatorIndex, ValidatorSet,
    consensus::{CommitBy, Start, Tip},
    pacing::EmptyBlocks,
};

use super::{
    Engine, Last,
    state::{AtHeight, Saved},
};
use crate::planted::PlantedBug;

impl Engine {
    pub(super) fn start(&mut self, start: Start) {
        let Start { tip, validators, me, saved, pending, .. } = start;
        self.started = true;
        self.last_block_at = self.now;
        self.deadlines.rebroadcast = Some(self.now.after(self.rules.rebroadcast));
        self.go_on(tip, validators, me, pending);
        self.at.resumed = true;
        if let Some(bytes) = saved {
            match Saved::decode(&bytes) {
                Ok(saved) if saved.height == self.height() => self.restore(saved),
                // Of a height that is over: the chain went on without it.
                Ok(_) => {}
                // Without the lock that may be in it, a vote could contradict an earlier one.
                Err(error) => self.halt(format!("this node's own record of its votes can't be read: {error}")),
            }
        }
        self.begin_height();
        if self.has(PlantedBug::VoteAfterRestart) {
            self.say_hello();
        } else {
            self.rejoin();
        }
    }

    fn restore(&mut self, saved: Saved) {
        let lock = saved.high_qc.as_ref().map(|qc| qc.block_hash);
        for block in saved.blocks.into_iter().rev().filter_map(|bytes| Block::decode_trusted(bytes).ok()) {
            let hash = block.hash();
            self.at.blocks.insert(block, self.now, &[]);
            if Some(hash) != lock {
                self.at.note_prepared(hash);
            }
        }
        self.at.round = saved.round;
        self.at.entry = saved.entry;
        if self.has(PlantedBug::LockForgotten) {
            return;
        }
        self.at.high_qc = saved.high_qc;
        let Some(lock) = lock else { return };
        if self.at.blocks.get(&lock).is_some() {
            self.ensure_checked(&lock);
        } else {
            self.deadlines.fetch = Some(self.now.after(self.rules.rebroadcast / 4));
        }
    }

    pub(super) fn on_committed(
        &mut self,
        tip: Tip,
        validators: ValidatorSet,
        me: Option<ValidatorIndex>,
        by: CommitBy,
        pending: bool,
    ) {
        self.last_block_at = self.at.blocks.seen_at(&tip.hash).unwrap_or(self.now);
        let decision = self.at.decided.take().filter(|decision| decision.qc.block_hash == tip.hash);
        self.last = decision.map(|decision| Last {
            holders: self.holders(&tip.hash),
            block: self.at.blocks.get(&tip.hash).cloned(),
            qc: decision.qc,
            validators: self.validators.clone(),
        });
        let in_wait = self.at.decided_in_wait;
        self.go_on(tip, validators, me, pending);
        self.tell_last_later();
        self.begin_height();
        if self.halted.is_some() {
            return;
        }
        // What peers said of this height may have been missed on the way to it.
        if by == CommitBy::Sync || in_wait || self.missed >= self.height() {
            self.rejoin();
        }
        for (from, bytes) in self.peers.take(self.height()) {
            let validator = self.validators.index_of(&from.into());
            self.on_message(from, validator, bytes);
        }
    }

    /// Takes the state above a new tip.
    fn go_on(&mut self, tip: Tip, validators: ValidatorSet, me: Option<ValidatorIndex>, pending: bool) {
        let changed = tip.height > Height::GENESIS && validators != self.validators;
        if changed {
            self.heard.clear();
            self.greeted.clear();
            self.absent.clear();
            self.gone.clear();
            self.reached.clear();
            self.helped.clear();
        }
        self.tip = tip;
        self.validators_hash = validators.hash();
        self.validators = validators;
        self.me = me;
        // A change of validators is shown to work by a block of theirs.
        self.pending = pending || changed;
        let due = self.last_block_at.after(self.rules.block_interval).max(self.now);
        self.at = AtHeight::new(self.now, due);
        self.end_round();
    }

    fn begin_height(&mut self) {
        if self.me.is_none() {
            return;
        }
        if self.at.round.0 > 0 {
            self.at.awake = true;
            self.begin_round();
            return;
        }
        match self.rules.empty_blocks {
            EmptyBlocks::Always => self.wake(),
            _ if self.pending || self.at.high_qc.is_some() => self.wake(),
            EmptyBlocks::Heartbeat(every) => self.deadlines.heartbeat = Some(self.last_block_at.after(every)),
            EmptyBlocks::Never => {}
        }
    }
}
