//! `[consensus]` of a genesis that one node seals.

use std::time::Duration;

use quorate::{
    Settings,
    consensus::{BlockLimits, Context},
    diagnostics::Diagnostic,
    pacing::{EmptyBlocks, EmptyBlocksKey, PacingKeys},
    plugin::SetupError,
};
use serde::Deserialize;

/// The sealer's clock is the only one: how far a header's time may be ahead of it, in milliseconds, after it was set back.
const DRIFT_MS: u64 = 86_400_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    block_interval_ms: u64,
    block_transactions_max: u64,
    block_bytes_max: u64,
    empty_blocks: EmptyBlocksKey,
    heartbeat_ms: Option<u64>,
}

/// A node's own table, which has no keys.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeTable {}

/// The settings of a chain that one node seals, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// From one block to the next.
    pub block_interval: Duration,
    /// Bounds of a block.
    pub limits: BlockLimits,
    /// When blocks without transactions are made.
    pub empty_blocks: EmptyBlocks,
}

impl Rules {
    /// Reads both tables of `context`.
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
        let Table { block_interval_ms, block_transactions_max, block_bytes_max, empty_blocks, heartbeat_ms } =
            settings.parse()?;
        let keys =
            PacingKeys { block_interval_ms, block_transactions_max, block_bytes_max, empty_blocks, heartbeat_ms };
        let pacing = keys.check(settings)?;
        Ok(Self { block_interval: pacing.interval, limits: pacing.limits(DRIFT_MS), empty_blocks: pacing.empty_blocks })
    }
}
