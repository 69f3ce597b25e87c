//! How an engine stands, for people.

use std::collections::BTreeSet;

use quorate::{Instant, Round, ValidatorIndex, consensus::EngineStatus};

use super::{Engine, state::Proposing};
use crate::signing::VoteKind;

/// Repetitions after which a validator that said nothing is silent.
const SILENT_AFTER: u32 = 3;

/// Rounds after which a height that is not decided is called stalled even though enough validators are heard.
const ROUNDS_STALLED: Round = Round(3);

impl Engine {
    pub(super) fn describe(&self, now: Instant) -> EngineStatus {
        let heard = self.heard_from(now);
        EngineStatus {
            height: self.height(),
            round: self.at.round,
            proposer: Some(self.proposer(self.at.round)),
            phase: self.phase().into(),
            stalled: self.stalled(now, &heard),
            heard_from: heard.into_iter().collect(),
            quorum: u16::try_from(self.quorum()).unwrap_or(u16::MAX),
            halted: self.halted.clone(),
        }
    }

    fn heard_from(&self, now: Instant) -> BTreeSet<ValidatorIndex> {
        let lately = self.rules.rebroadcast.saturating_mul(SILENT_AFTER);
        let heard = self.heard.iter().filter(|(_, at)| now.since(**at) <= lately).map(|(validator, _)| *validator);
        heard.chain(self.me).collect()
    }

    fn phase(&self) -> &'static str {
        let voted = |kind| self.at.current.voting.contains_key(&kind);
        if self.me.is_none() {
            "follow"
        } else if self.at.decided.is_some() {
            "commit"
        } else if voted(VoteKind::Precommit) {
            "precommit"
        } else if voted(VoteKind::Prevote) {
            "prevote"
        } else if !self.at.awake || (self.at.round == Round(0) && self.waits_for_interval()) {
            "idle"
        } else {
            "propose"
        }
    }

    fn waits_for_interval(&self) -> bool {
        self.at.proposals.is_empty() && self.at.current.proposing == Proposing::Not && self.at.due > self.now
    }

    fn stalled(&self, now: Instant, heard: &BTreeSet<ValidatorIndex>) -> Option<String> {
        let needed = self.quorum();
        let since = now.since(self.at.entered.min(self.last_block_at));
        // Just started: the others have not had the time to say anything.
        if since < self.rules.rebroadcast.saturating_mul(SILENT_AFTER) {
            return None;
        }
        if heard.len() < needed {
            let silent = self.validators.iter().filter(|(index, _)| !heard.contains(index));
            let names: Vec<&str> = silent.map(|(_, one)| one.name.as_str()).collect();
            return Some(format!("{} of {needed} needed; silent: {}", heard.len(), names.join(", ")));
        }
        (self.at.round >= ROUNDS_STALLED).then(|| {
            let (rounds, seconds) = (self.at.round, now.since(self.last_block_at).as_secs());
            format!("{} heard, {needed} needed, but no agreement in {rounds} rounds and {seconds} s", heard.len())
        })
    }
}
