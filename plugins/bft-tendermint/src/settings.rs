//! `[consensus]` of genesis: what all nodes of a network share.

use std::time::Duration;

use quorate::{
    Round, Settings,
    consensus::{BlockLimits, Context},
    diagnostics::Diagnostic,
    pacing::{self, EmptyBlocks, EmptyBlocksKey, Pacing, PacingKeys},
    plugin::SetupError,
};
use serde::Deserialize;

/// A wait in a setting at most: an hour.
const WAIT_MS_MAX: u64 = 3_600_000;

/// A proposal is waited for this long in round 0, when nothing else is said.
const TIMEOUT_PROPOSE_MS: u64 = 1_000;
/// Missing votes are waited for this long in round 0, when nothing else is said.
const TIMEOUT_VOTE_MS: u64 = 500;
/// Any wait of a round at most, when nothing else is said.
const TIMEOUT_MS_MAX: u64 = 30_000;
/// Everything is said again this often, when nothing else is said.
const REBROADCAST_MS: u64 = 2_000;
/// A header's time may be this far ahead of a judge's clock, when nothing else is said.
const DRIFT_MS: u64 = 2_000;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    block_interval_ms: u64,
    block_transactions_max: u64,
    block_bytes_max: u64,
    empty_blocks: EmptyBlocksKey,
    heartbeat_ms: Option<u64>,
    timeout_propose_ms: Option<u64>,
    timeout_vote_ms: Option<u64>,
    timeout_ms_max: Option<u64>,
    rebroadcast_ms: Option<u64>,
    drift_ms: Option<u64>,
}

/// A node has no settings of its own for this consensus.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeTable {}

/// The settings of a network, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// From one block to the next.
    pub block_interval: Duration,
    /// Bounds of a block.
    pub limits: BlockLimits,
    /// When blocks without transactions are made.
    pub empty_blocks: EmptyBlocks,
    /// How long a proposal is waited for in round 0.
    pub timeout_propose: Duration,
    /// How long votes that are missing are waited for in round 0, once 2f+1 came.
    pub timeout_vote: Duration,
    /// Any wait of a round at most.
    pub timeout_max: Duration,
    /// How often everything is said again.
    pub rebroadcast: Duration,
}

/// Votes which a certificate needs, of `validators`: more than two thirds (SPEC.md rule 1).
pub const fn quorum(validators: usize) -> usize {
    validators * 2 / 3 + 1
}

/// How many of `validators` may be stopped or dishonest.
pub(crate) const fn tolerated(validators: usize) -> usize {
    validators.saturating_sub(1) / 3
}

/// What a network of this size tolerates and under what assumption, in one sentence.
pub(crate) fn tolerates(validators: usize) -> String {
    let (quorum, faults) = (quorum(validators), tolerated(validators));
    let noun = if validators == 1 { "validator" } else { "validators" };
    let head = format!("{validators} {noun}, {quorum} must agree");
    match (faults, validators) {
        (0, 1) => {
            format!("{head}: no fault is tolerated (it stopping stops the chain; a dishonest validator decides alone)")
        }
        (0, _) => format!(
            "{head}: no fault is tolerated (any one stopping stops the chain; a dishonest validator could stop it, but \
             alone not make two conflicting blocks final)"
        ),
        _ => format!("{head}: {faults} may be stopped or dishonest, however slow the network is"),
    }
}

impl Rules {
    /// Reads both tables of `context`: that of genesis, and the node's, which has no keys.
    ///
    /// # Errors
    ///
    /// Every error in them.
    pub fn read(context: &Context) -> Result<Self, SetupError> {
        let shared = Self::parse(&context.shared);
        let own = context.settings.parse::<NodeTable>();
        match (shared, own) {
            (Ok(rules), Ok(NodeTable {})) => Ok(rules),
            (shared, own) => {
                let mut errors = shared.err().unwrap_or_default();
                errors.extend(own.err().unwrap_or_default());
                Err(errors.into())
            }
        }
    }

    /// Reads the table of genesis.
    ///
    /// # Errors
    ///
    /// Every error in it.
    pub fn parse(settings: &Settings) -> Result<Self, Vec<Diagnostic>> {
        let table: Table = settings.parse()?;
        let (pacing, mut errors) = match table.pacing().check(settings) {
            Ok(pacing) => (Some(pacing), Vec::new()),
            Err(errors) => (None, errors),
        };
        errors.extend(table.errors(settings));
        let pacing: Pacing = pacing.filter(|_| errors.is_empty()).ok_or(errors)?;
        let ms = |value: Option<u64>, otherwise| Duration::from_millis(value.unwrap_or(otherwise));
        Ok(Self {
            block_interval: pacing.interval,
            limits: pacing.limits(table.drift_ms.unwrap_or(DRIFT_MS)),
            empty_blocks: pacing.empty_blocks,
            timeout_propose: ms(table.timeout_propose_ms, TIMEOUT_PROPOSE_MS),
            timeout_vote: ms(table.timeout_vote_ms, TIMEOUT_VOTE_MS),
            timeout_max: ms(table.timeout_ms_max, TIMEOUT_MS_MAX),
            rebroadcast: ms(table.rebroadcast_ms, REBROADCAST_MS),
        })
    }

    /// How long the proposal of a round is waited for (SPEC.md rule 2).
    pub(crate) fn propose_timeout(&self, round: Round) -> Duration {
        self.grown(self.timeout_propose, round)
    }

    /// How long votes that are missing are waited for.
    pub(crate) fn vote_timeout(&self, round: Round) -> Duration {
        self.grown(self.timeout_vote, round)
    }

    /// base * (1 + round / 2), capped.
    fn grown(&self, base: Duration, round: Round) -> Duration {
        (base.saturating_mul(round.0.saturating_add(2)) / 2).min(self.timeout_max)
    }

    /// Bytes of a block at most.
    pub(crate) fn block_bytes_max(&self) -> usize {
        self.limits.bytes_max as usize
    }

    /// What an operator should know before the network starts.
    pub(crate) fn warnings(&self, validators: usize) -> Vec<String> {
        let mut warnings = Vec::new();
        if tolerated(validators) == 0 {
            let noun = if validators == 1 { "validator tolerates" } else { "validators tolerate" };
            warnings.push(format!("{validators} {noun} no fault; it takes 4 for one"));
        }
        if self.block_interval.is_zero() && self.empty_blocks == EmptyBlocks::Always {
            warnings
                .push("block_interval_ms = 0 with empty_blocks = \"always\" fills the disk with empty blocks".into());
        }
        warnings
    }
}

impl Table {
    fn pacing(&self) -> PacingKeys {
        PacingKeys {
            block_interval_ms: self.block_interval_ms,
            block_transactions_max: self.block_transactions_max,
            block_bytes_max: self.block_bytes_max,
            empty_blocks: self.empty_blocks,
            heartbeat_ms: self.heartbeat_ms,
        }
    }

    fn errors(&self, settings: &Settings) -> Vec<Diagnostic> {
        let mut errors = Vec::new();
        let mut within = |key, value, least, most| pacing::within(settings, key, value, least, most, &mut errors);
        within("timeout_propose_ms", self.timeout_propose_ms, 1, WAIT_MS_MAX);
        within("timeout_vote_ms", self.timeout_vote_ms, 1, WAIT_MS_MAX);
        within("timeout_ms_max", self.timeout_ms_max, 1, WAIT_MS_MAX);
        within("rebroadcast_ms", self.rebroadcast_ms, 10, WAIT_MS_MAX);
        within("drift_ms", self.drift_ms, 0, WAIT_MS_MAX);
        let least =
            self.timeout_propose_ms.unwrap_or(TIMEOUT_PROPOSE_MS).max(self.timeout_vote_ms.unwrap_or(TIMEOUT_VOTE_MS));
        let most = self.timeout_ms_max.unwrap_or(TIMEOUT_MS_MAX);
        if most < least {
            let message = format!(
                "timeout_ms_max is {most}; it must be at least {least}, the longer of timeout_propose_ms and timeout_vote_ms"
            );
            errors.push(settings.error("timeout_ms_max", message));
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "block_interval_ms = 5000\nblock_transactions_max = 32\nblock_bytes_max = 1048576\n\
        empty_blocks = \"heartbeat\"\nheartbeat_ms = 60000\n";

    fn parse(text: &str) -> Result<Rules, Vec<String>> {
        Rules::parse(&Settings::from_text(text)).map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_nodes_must_agree_on_has_no_default() {
        assert!(parse(GOOD).is_ok());
        for line in GOOD.lines() {
            let key = line.split(' ').next().unwrap();
            let errors = parse(&GOOD.replace(&format!("{line}\n"), "")).expect_err(line);
            assert!(errors.iter().any(|error| error.contains(key)), "{key}: {errors:?}");
        }
    }

    #[test]
    fn every_value_out_of_range_is_named_at_once_with_the_range_and_its_place() {
        let text = GOOD.replace("max = 32", "max = 100000") + "timeout_vote_ms = 0\ntimeout_ms_max = 3\n";
        let errors = parse(&text).unwrap_err();
        assert_eq!(errors.len(), 3, "{errors:?}");
        assert!(errors[0].contains("settings:2:26: block_transactions_max is 100000; it must be 1 to"), "{errors:?}");
        assert!(errors[1].contains("settings:6:19: timeout_vote_ms is 0; it must be 1 to 3600000"), "{errors:?}");
        assert!(errors[2].contains("timeout_ms_max is 3; it must be at least 1000"), "{errors:?}");
    }

    #[test]
    fn waits_grow_by_half_a_round_up_to_the_cap() {
        let rules = parse(GOOD).unwrap();
        let rounds = [0, 1, 2, 100, u32::MAX].map(Round);
        assert_eq!(rounds.map(|round| rules.propose_timeout(round).as_millis()), [1000, 1500, 2000, 30_000, 30_000]);
        let vote = rounds.map(|round| rules.vote_timeout(round).as_millis());
        assert_eq!(vote, [500, 750, 1000, 25_500, 30_000]);
    }

    #[test]
    fn quorums_meet_in_an_honest_validator_and_are_reachable() {
        assert_eq!(
            [1, 2, 3, 4, 5, 7].map(|n| (quorum(n), tolerated(n))),
            [(1, 0), (2, 0), (3, 0), (3, 1), (4, 1), (5, 2)]
        );
        for n in 1..=256 {
            let (q, f) = (quorum(n), tolerated(n));
            assert!(n - f >= q && 2 * q - n > f, "{n}");
        }
    }

    #[test]
    fn three_validators_are_said_to_tolerate_nothing() {
        assert!(tolerates(3).starts_with("3 validators, 3 must agree: no fault is tolerated"), "{}", tolerates(3));
        assert!(tolerates(1).starts_with("1 validator, 1 must agree"), "{}", tolerates(1));
        assert_eq!(
            tolerates(4),
            "4 validators, 3 must agree: 1 may be stopped or dishonest, however slow the network is"
        );
        let rules = parse(GOOD).unwrap();
        assert_eq!(rules.warnings(3), ["3 validators tolerate no fault; it takes 4 for one"]);
        assert!(rules.warnings(4).is_empty());
        let hasty = GOOD.replace("= 5000", "= 0").replace("\"heartbeat\"\nheartbeat_ms = 60000", "\"always\"");
        assert!(parse(&hasty).unwrap().warnings(4)[0].contains("fills the disk"));
    }
}
