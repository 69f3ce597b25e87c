//! Entering a height: at start, and after each block.

use quorate::{
    Block, Height, ValidatorIndex, ValidatorSet,
    consensus::{CommitBy, Start, Tip},
    pacing::EmptyBlocks,
};

use super::{
    Engine, Last,
    state::{AtHeight, Voting},
};
use crate::{machine::Machine, message::Vote, record::Record};

impl Engine {
    pub(super) fn start(&mut self, start: Start) {
        let Start { tip, validators, me, saved, pending, .. } = start;
        self.started = true;
        self.last_block_at = self.now;
        self.deadlines.rebroadcast = Some(self.now.after(self.rules.rebroadcast));
        self.go_on(tip, validators, me, pending);
        match saved.map(|bytes| Record::decode(&bytes)) {
            Some(Ok(record)) if record.height == self.height() && me.is_some() => self.restore(record),
            // Of a height that is over: the chain went on without it.
            Some(Ok(_)) | None => self.begin_height(),
            // Without the lock that may be in it, a vote could contradict an earlier one.
            Some(Err(error)) => self.halt(format!("this node's own record of its votes can't be read: {error}")),
        }
        if self.halted.is_none() {
            self.say_hello();
        }
    }

    /// Goes on where the record says that this node stood (SPEC.md rule 14).
    fn restore(&mut self, record: Record) {
        for block in record.blocks.into_iter().filter_map(|bytes| Block::decode_trusted(bytes).ok()) {
            self.at.blocks.insert(block, self.now, &[]);
        }
        let Record { round, entry, cast, lock, valid, .. } = record;
        let (validators, turn) = (self.validators.clone(), self.height().0);
        let proposer = |round: quorate::Round| validators.at_turn(turn.saturating_add(u64::from(round.0)));
        let Some(machine) = &mut self.at.machine else { return };
        if let Err(reason) = machine.restore(lock.as_ref(), valid.as_ref(), proposer) {
            return self.halt(reason);
        }
        self.at.awake = true;
        self.at.lock.clone_from(&lock);
        self.at.valid = valid.or(lock);
        self.set_round(round, entry);
        self.at.current.voting = cast.into_iter().map(|cast| (cast.kind, Voting::new(cast))).collect();
        for hash in self.at.needed() {
            self.ensure_checked(&hash);
        }
        self.run(|machine| machine.resume(round, proposer(round)));
        for vote in self.at.entry.clone() {
            self.count(&vote);
        }
        let own: Vec<Vote> = self.own_votes().collect();
        for vote in &own {
            self.count(vote);
        }
        self.fetch_soon();
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
            block: self.at.blocks.get(&tip.hash).cloned(),
            qc: decision.qc,
            validators: self.validators.clone(),
        });
        self.go_on(tip, validators, me, pending);
        if self.halted.is_some() {
            return;
        }
        self.begin_height();
        // What peers said of this height may have been missed on the way to it.
        if by == CommitBy::Sync || self.missed >= self.height() {
            self.say_hello();
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
        }
        self.tip = tip;
        self.validators_hash = validators.hash();
        self.validators = validators;
        self.me = me;
        // A change of validators is shown to work by a block of theirs.
        self.pending = pending || changed;
        let due = self.last_block_at.after(self.rules.block_interval).max(self.now);
        let machine = me.map(|me| Machine::new(self.height(), &self.validators, me));
        self.at = AtHeight::new(machine, self.now, due);
        self.deadlines.end_height();
    }

    fn begin_height(&mut self) {
        if self.me.is_none() {
            return;
        }
        match self.rules.empty_blocks {
            EmptyBlocks::Always => self.wake(),
            _ if self.pending => self.wake(),
            EmptyBlocks::Heartbeat(every) => self.deadlines.heartbeat = Some(self.last_block_at.after(every)),
            EmptyBlocks::Never => {}
        }
    }
}
