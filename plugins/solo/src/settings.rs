//! `[consensus]` of a genesis that one node seals.

use std::time::Duration;

use quorate::{
    Settings,
    block::{BLOCK_BYTES_MAX, BLOCK_TRANSACTIONS_MAX},
    consensus::{BlockLimits, Context},
    diagnostics::Diagnostic,
    plugin::SetupError,
};
use serde::Deserialize;

/// Bytes of a block at least: a header and some transactions.
const BLOCK_BYTES_MIN: u64 = 1024;

/// A wait in a setting at most: a day.
const WAIT_MS_MAX: u64 = 86_400_000;

/// When blocks without transactions are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmptyBlocks {
    /// At every interval.
    Always,
    /// Never.
    Never,
    /// When nothing was sealed for so long.
    Heartbeat(Duration),
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum EmptyBlocksName {
    Always,
    Never,
    Heartbeat,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    block_interval_ms: u64,
    block_transactions_max: u64,
    block_bytes_max: u64,
    empty_blocks: EmptyBlocksName,
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
        let table: Table = settings.parse()?;
        let errors = table.errors(settings);
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self {
            block_interval: Duration::from_millis(table.block_interval_ms),
            limits: BlockLimits {
                transactions_max: u32::try_from(table.block_transactions_max).unwrap_or(u32::MAX),
                bytes_max: u32::try_from(table.block_bytes_max).unwrap_or(u32::MAX),
                // The sealer's clock is the only one. A block of a moment ago is judged again only after a restart.
                drift_ms: WAIT_MS_MAX,
            },
            empty_blocks: match table.empty_blocks {
                EmptyBlocksName::Always => EmptyBlocks::Always,
                EmptyBlocksName::Never => EmptyBlocks::Never,
                EmptyBlocksName::Heartbeat => {
                    EmptyBlocks::Heartbeat(Duration::from_millis(table.heartbeat_ms.unwrap_or_default()))
                }
            },
        })
    }
}

impl Table {
    fn errors(&self, settings: &Settings) -> Vec<Diagnostic> {
        let mut errors = Vec::new();
        let mut within = |key: &str, value: Option<u64>, least: u64, most: u64| {
            if let Some(value) = value.filter(|value| !(least..=most).contains(value)) {
                errors.push(settings.error(key, format!("{key} is {value}; it must be {least} to {most}")));
            }
        };
        within("block_interval_ms", Some(self.block_interval_ms), 0, WAIT_MS_MAX);
        within("block_transactions_max", Some(self.block_transactions_max), 1, BLOCK_TRANSACTIONS_MAX as u64);
        within("block_bytes_max", Some(self.block_bytes_max), BLOCK_BYTES_MIN, BLOCK_BYTES_MAX as u64);
        within("heartbeat_ms", self.heartbeat_ms, 1, WAIT_MS_MAX);
        match (self.empty_blocks, self.heartbeat_ms) {
            (EmptyBlocksName::Heartbeat, None) => errors.push(
                settings
                    .error("empty_blocks", "empty_blocks = \"heartbeat\" needs heartbeat_ms")
                    .with_help("add heartbeat_ms = 60000"),
            ),
            (EmptyBlocksName::Always | EmptyBlocksName::Never, Some(_)) => errors.push(
                settings.error("heartbeat_ms", "heartbeat_ms means something only with empty_blocks = \"heartbeat\""),
            ),
            _ => {}
        }
        errors
    }
}
