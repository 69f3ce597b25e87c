//! The settings in genesis: what all validators share.

use std::time::Duration;

use quorate::{
    Settings, ValidatorSet,
    consensus::BlockLimits,
    diagnostics::Diagnostic,
    plugin::{ConsensusReport, SetupError},
};
use serde::Deserialize;

/// What is assumed of validators and the network (`SPEC.md`, table 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FaultModel {
    /// Validators stop, they do not lie.
    Crash,
    /// They may lie; honest ones reach each other within delta.
    ByzantineSync,
    /// They may lie; nothing is assumed of time.
    Byzantine,
}

/// What happens when there is nothing to put into a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EmptyBlocks {
    /// A block at every interval.
    Always,
    /// None.
    Never,
    /// One after `heartbeat_ms` of silence.
    Heartbeat,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    fault_model: FaultModel,
    block_interval_ms: u64,
    block_transactions_max: u32,
    block_bytes_max: u32,
    delta_ms: u64,
    empty_blocks: EmptyBlocks,
    heartbeat_ms: u64,
    round_timeout_max_ms: u64,
    drift_ms: u64,
}

/// The settings, checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parameters {
    pub(crate) model: FaultModel,
    pub(crate) interval: Duration,
    pub(crate) limits: BlockLimits,
    pub(crate) delta: Duration,
    pub(crate) empty_blocks: EmptyBlocks,
    pub(crate) heartbeat: Duration,
    pub(crate) timeout_max: Duration,
}

impl Parameters {
    pub(crate) fn read(settings: &Settings) -> Result<Self, SetupError> {
        let table: Table = settings.parse()?;
        let mut errors: Vec<Diagnostic> = Vec::new();
        let mut range = |key: &str, value: u64, low: u64, high: u64| {
            if !(low..=high).contains(&value) {
                errors.push(settings.error(key, format!("{key} is {value}; it must be {low} to {high}")));
            }
        };
        range("block_interval_ms", table.block_interval_ms, 0, 3_600_000);
        range("block_transactions_max", table.block_transactions_max.into(), 1, 65_536);
        range("block_bytes_max", table.block_bytes_max.into(), 256 << 10, 8 << 20);
        range("delta_ms", table.delta_ms, 10, 60_000);
        range("heartbeat_ms", table.heartbeat_ms, 1000, 86_400_000);
        range("round_timeout_max_ms", table.round_timeout_max_ms, 1000, 600_000);
        range("drift_ms", table.drift_ms, 100, 60_000);
        if table.round_timeout_max_ms < table.delta_ms * 20 && table.fault_model == FaultModel::ByzantineSync {
            let message =
                format!("round_timeout_max_ms is {}; it must be at least 20 delta_ms", table.round_timeout_max_ms);
            errors.push(settings.error("round_timeout_max_ms", message));
        }
        if !errors.is_empty() {
            return Err(errors.into());
        }
        Ok(Self {
            model: table.fault_model,
            interval: Duration::from_millis(table.block_interval_ms),
            limits: BlockLimits {
                transactions_max: table.block_transactions_max,
                bytes_max: table.block_bytes_max,
                drift_ms: table.drift_ms,
            },
            delta: Duration::from_millis(table.delta_ms),
            empty_blocks: table.empty_blocks,
            heartbeat: Duration::from_millis(table.heartbeat_ms),
            timeout_max: Duration::from_millis(table.round_timeout_max_ms),
        })
    }

    /// Votes that make a certificate.
    pub(crate) fn quorum(&self, validators: usize) -> usize {
        match self.model {
            FaultModel::Crash | FaultModel::ByzantineSync => validators / 2 + 1,
            FaultModel::Byzantine => 2 * validators / 3 + 1,
        }
    }

    /// `factor` times delta in the synchronous model, else nothing.
    pub(crate) fn wait(&self, factor: u32) -> Duration {
        if self.model == FaultModel::ByzantineSync { self.delta * factor } else { Duration::ZERO }
    }

    /// How long a round may take (`SPEC.md`, table 2).
    pub(crate) fn timeout(&self, round: u32) -> Duration {
        let second = Duration::from_secs(1);
        let base = match (self.model, round) {
            (FaultModel::ByzantineSync, 0) => (self.delta * 6).max(second),
            (FaultModel::ByzantineSync, _) => (self.delta * 10).max(second),
            _ => second,
        };
        // base (1 + round / 2), capped.
        (base.saturating_mul(round.saturating_add(2)) / 2).min(self.timeout_max.max(base))
    }

    /// A timer may be this late before the process counts as suspended.
    pub(crate) fn slack(&self) -> Duration {
        (self.delta / 4).max(Duration::from_millis(20))
    }

    pub(crate) fn report(&self, validators: &ValidatorSet) -> ConsensusReport {
        let n = validators.len();
        let quorum = self.quorum(n);
        let faulty = |f: usize| if f == 1 { "1 validator".to_owned() } else { format!("{f} validators") };
        let tolerates = match self.model {
            FaultModel::Crash => format!(
                "of {n} validators {quorum} must agree: {} may stop and restart with their disks, and none may lie",
                faulty(n - quorum)
            ),
            FaultModel::ByzantineSync => format!(
                "of {n} validators {quorum} must agree: {} may do anything, as long as honest validators reach each other within {} ms",
                faulty(n - quorum),
                self.delta.as_millis()
            ),
            FaultModel::Byzantine => format!(
                "of {n} validators {quorum} must agree: {} may do anything, whatever the network does; progress needs a timely network",
                faulty((n - 1) / 3)
            ),
        };
        let mut warnings = Vec::new();
        if self.model == FaultModel::Byzantine && n < 4 {
            warnings.push(format!("fault_model \"byzantine\" with {n} validators tolerates no fault; 4 tolerate one"));
        }
        if n - quorum == 0 && n > 1 {
            warnings.push(format!("with {n} validators and a quorum of {quorum} no validator may be missing"));
        }
        ConsensusReport { tolerates, warnings }
    }
}
