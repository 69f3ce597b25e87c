//! `[consensus]` of genesis: what all nodes of a network share.

use std::time::Duration;

use quorate::{
    Instant, Round, Settings,
    consensus::{BlockLimits, Context},
    diagnostics::Diagnostic,
    pacing::{self, EmptyBlocks, EmptyBlocksKey, Pacing, PacingKeys},
    plugin::SetupError,
};
use serde::Deserialize;

use crate::model::FaultModel;

/// A wait in a setting at most: an hour.
const WAIT_MS_MAX: u64 = 3_600_000;

/// The first round lasts this long at least, when nothing else is said.
const TIMEOUT_MS: u64 = 1_000;
/// A round lasts this long at most, when nothing else is said.
const TIMEOUT_MS_MAX: u64 = 30_000;
/// Everything is said again this often, when nothing else is said.
const REBROADCAST_MS: u64 = 2_000;
/// A header's time may be this far ahead of a judge's clock, when nothing else is said.
const DRIFT_MS: u64 = 2_000;
/// A timer this late means that the process was suspended: at least.
const SUSPENSION_MS_MIN: u64 = 20;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    fault_model: FaultModel,
    block_interval_ms: u64,
    block_transactions_max: u64,
    block_bytes_max: u64,
    delta_ms: u64,
    empty_blocks: EmptyBlocksKey,
    heartbeat_ms: Option<u64>,
    timeout_ms: Option<u64>,
    timeout_ms_max: Option<u64>,
    drift_ms: Option<u64>,
    rebroadcast_ms: Option<u64>,
    suspension_ms: Option<u64>,
}

/// A node has no settings of its own for this consensus.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeTable {}

/// The settings of a network, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// What may go wrong.
    pub model: FaultModel,
    /// From one block to the next.
    pub block_interval: Duration,
    /// Bounds of a block.
    pub limits: BlockLimits,
    /// What messages between honest validators take at most, handling included; `byzantine-sync` relies on it.
    pub delta: Duration,
    /// When blocks without transactions are made.
    pub empty_blocks: EmptyBlocks,
    /// How long round 0 lasts.
    pub timeout: Duration,
    /// How long a round lasts at most.
    pub timeout_max: Duration,
    /// How often everything is said again.
    pub rebroadcast: Duration,
    /// A timer this late means that the process was suspended.
    pub suspension: Duration,
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
        let ms = Duration::from_millis;
        let delta = ms(table.delta_ms);
        Ok(Self {
            model: table.fault_model,
            block_interval: pacing.interval,
            limits: pacing.limits(table.drift_ms.unwrap_or(DRIFT_MS)),
            delta,
            empty_blocks: pacing.empty_blocks,
            timeout: ms(table.timeout_ms.unwrap_or(TIMEOUT_MS)),
            timeout_max: ms(table.timeout_ms_max.unwrap_or(TIMEOUT_MS_MAX)),
            rebroadcast: ms(table.rebroadcast_ms.unwrap_or(REBROADCAST_MS)),
            suspension: ms(table.suspension_ms.unwrap_or(table.delta_ms / 4).max(SUSPENSION_MS_MIN)),
        })
    }

    /// How long a round lasts before it is given up (SPEC.md rule 3).
    pub(crate) fn round_timeout(&self, round: Round) -> Duration {
        let deltas = if round == Round(0) { 6 } else { 10 };
        let floor = if self.model.relies_on_time() { self.delta.saturating_mul(deltas) } else { Duration::ZERO };
        // base * (1 + round / 2)
        let grown = self.timeout.max(floor).saturating_mul(round.0.saturating_add(2)) / 2;
        grown.min(self.timeout_max)
    }

    /// How long a validator may take to show that it has what was sent to all, before it is sent again by those who have it (SPEC.md rule 3).
    pub(crate) fn relay_wait(&self) -> Duration {
        self.timeout / 4
    }

    /// How long a validator may be without a link before nothing is expected of it (SPEC.md rule 16).
    pub(crate) fn link_grace(&self) -> Duration {
        self.timeout / 10
    }

    /// Just later than `deltas` times Delta after `from`, where the model relies on time; `from` itself elsewhere.
    pub(crate) fn after_deltas(&self, from: Instant, deltas: u32) -> Instant {
        if self.model.relies_on_time() {
            from.after(self.delta.saturating_mul(deltas).saturating_add(Duration::from_micros(1)))
        } else {
            from
        }
    }

    /// Bytes of a block at most.
    pub(crate) fn block_bytes_max(&self) -> usize {
        self.limits.bytes_max as usize
    }

    /// What an operator should know before the network starts.
    pub(crate) fn warnings(&self, validators: usize) -> Vec<String> {
        let mut warnings = Vec::new();
        let (delta, interval) = (self.delta.as_millis(), self.block_interval.as_millis());
        if self.model.tolerated(validators) == 0 {
            let name = self.model.name();
            let needed = if self.model == FaultModel::Byzantine { 4 } else { 3 };
            warnings.push(format!(
                "fault_model = \"{name}\" with {validators} validators tolerates no fault; it needs {needed} for one"
            ));
        }
        if self.model.relies_on_time() {
            if delta < 50 {
                warnings.push(format!(
                    "delta_ms = {delta} must bound link, queue, disk and execution together; below 50 an ordinary fsync or \
                     scheduling delay breaks the assumption on which safety against dishonest validators rests"
                ));
            }
            if interval < delta {
                warnings.push(format!(
                    "block_interval_ms = {interval} is below delta_ms = {delta}: every vote waits {delta} ms, so blocks come no \
                     faster than that"
                ));
            }
        }
        if self.block_interval.is_zero() && self.empty_blocks == EmptyBlocks::Always {
            warnings
                .push("block_interval_ms = 0 with empty_blocks = \"always\" fills the disk with empty blocks".into());
        }
        if self.suspension > self.delta && self.model.relies_on_time() {
            warnings.push(format!(
                "suspension_ms = {} is above delta_ms = {delta}: a suspended validator may vote before it hears what it missed",
                self.suspension.as_millis()
            ));
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
        within("delta_ms", Some(self.delta_ms), 1, 60_000);
        within("timeout_ms", self.timeout_ms, 1, WAIT_MS_MAX);
        within("timeout_ms_max", self.timeout_ms_max, 1, WAIT_MS_MAX);
        within("drift_ms", self.drift_ms, 0, WAIT_MS_MAX);
        within("rebroadcast_ms", self.rebroadcast_ms, 10, WAIT_MS_MAX);
        within("suspension_ms", self.suspension_ms, SUSPENSION_MS_MIN, WAIT_MS_MAX);
        let least = if self.fault_model.relies_on_time() { self.delta_ms.saturating_mul(15) } else { 0 }
            .max(self.timeout_ms.unwrap_or(TIMEOUT_MS));
        let most = self.timeout_ms_max.unwrap_or(TIMEOUT_MS_MAX);
        if most < least {
            let message = format!(
                "timeout_ms_max is {most}; it must be at least {least}: timeout_ms, and with \"byzantine-sync\" 15 times delta_ms"
            );
            errors.push(settings.error("timeout_ms_max", message));
        }
        errors
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const GOOD: &str = "fault_model = \"byzantine-sync\"\nblock_interval_ms = 5000\nblock_transactions_max = 32\n\
        block_bytes_max = 1048576\ndelta_ms = 400\nempty_blocks = \"heartbeat\"\nheartbeat_ms = 60000\n";

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
    fn values_out_of_range_are_named_with_the_range_and_their_place() {
        let text = GOOD.replace("delta_ms = 400", "delta_ms = 0").replace("max = 32", "max = 100000");
        let errors = parse(&text).unwrap_err();
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(
            errors[0].contains("settings:3:26: block_transactions_max is 100000; it must be 1 to 65536"),
            "{errors:?}"
        );
        assert!(errors[1].contains("settings:5:12: delta_ms is 0; it must be 1 to 60000"), "{errors:?}");
    }

    #[test]
    fn a_cap_below_what_a_round_needs_is_refused() {
        let errors = parse(&format!("{GOOD}timeout_ms_max = 3000\n")).unwrap_err();
        assert!(errors[0].contains("at least 6000"), "{errors:?}");
        assert!(parse(&format!("{}timeout_ms_max = 3000\n", GOOD.replace("byzantine-sync", "crash"))).is_ok());
    }

    #[test]
    fn rounds_last_longer_and_longer_up_to_the_cap() {
        let rules = parse(GOOD).unwrap();
        let ms = |round| rules.round_timeout(Round(round)).as_millis();
        assert_eq!([0, 1, 2, 3, 100, u32::MAX].map(ms), [2400, 6000, 8000, 10_000, 30_000, 30_000]);
        let crash = parse(&GOOD.replace("byzantine-sync", "crash")).unwrap();
        let ms = |round| crash.round_timeout(Round(round)).as_millis();
        assert_eq!([0, 1, 2, 3].map(ms), [1000, 1500, 2000, 2500]);
    }

    #[test]
    fn doubtful_settings_are_warned_of() {
        let warnings = |text: &str, n| parse(text).unwrap().warnings(n).join("\n");
        assert_eq!(warnings(GOOD, 3), "");
        assert!(warnings(&GOOD.replace("byzantine-sync", "byzantine"), 3).contains("tolerates no fault; it needs 4"));
        assert!(warnings(&GOOD.replace("delta_ms = 400", "delta_ms = 10"), 3).contains("below 50"));
        assert!(warnings(&GOOD.replace("= 5000", "= 0"), 3).contains("is below delta_ms"));
        assert!(warnings(GOOD, 2).contains("it needs 3"));
    }
}
