//! How large blocks are and when they are made: the settings in genesis that consensus plugins have in common.
//!
//! A plugin lists the five keys in its own table (serde can't refuse unknown keys across a flattened part) and gives them to
//! [`PacingKeys::check`]:
//!
//! | key | range | meaning |
//! |---|---|---|
//! | `block_interval_ms` | 0 to an hour | from one block to the next; 0: as soon as there is work |
//! | `block_transactions_max` | 1 to [`BLOCK_TRANSACTIONS_MAX`] | transactions in a block |
//! | `block_bytes_max` | 1024 to [`BLOCK_BYTES_MAX`] | bytes of an encoded block |
//! | `empty_blocks` | `always`, `never`, `heartbeat` | whether blocks without transactions are made |
//! | `heartbeat_ms` | 1 to a day | with `heartbeat` only: when nothing was decided for so long |

use std::time::Duration;

use serde::Deserialize;

use crate::{
    block::{BLOCK_BYTES_MAX, BLOCK_TRANSACTIONS_MAX, HEADER_BYTES},
    consensus::BlockLimits,
    diagnostics::Diagnostic,
    settings::Settings,
};

/// Bytes of a block at least: a header and some transactions.
const BLOCK_BYTES_MIN: u64 = 1024;
const _: () = assert!(BLOCK_BYTES_MIN as usize > HEADER_BYTES);

/// A block interval at most, in milliseconds: an hour.
const BLOCK_INTERVAL_MS_MAX: u64 = 3_600_000;

/// A heartbeat at most, in milliseconds: a day.
const HEARTBEAT_MS_MAX: u64 = 86_400_000;

/// When blocks without transactions are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmptyBlocks {
    /// At every interval.
    Always,
    /// Never.
    Never,
    /// When nothing was decided for so long.
    Heartbeat(Duration),
}

/// `empty_blocks` as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmptyBlocksKey {
    /// At every interval.
    Always,
    /// Never.
    Never,
    /// When nothing was decided for `heartbeat_ms`.
    Heartbeat,
}

/// The five keys as they are written.
#[derive(Debug, Clone, Copy)]
pub struct PacingKeys {
    /// From one block to the next, in milliseconds.
    pub block_interval_ms: u64,
    /// Transactions in a block at most.
    pub block_transactions_max: u64,
    /// Bytes of an encoded block at most.
    pub block_bytes_max: u64,
    /// Whether blocks without transactions are made.
    pub empty_blocks: EmptyBlocksKey,
    /// With [`EmptyBlocksKey::Heartbeat`]: after how many milliseconds.
    pub heartbeat_ms: Option<u64>,
}

/// The keys, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pacing {
    /// From one block to the next.
    pub interval: Duration,
    /// Transactions in a block at most.
    pub transactions_max: u32,
    /// Bytes of an encoded block at most.
    pub bytes_max: u32,
    /// Whether blocks without transactions are made.
    pub empty_blocks: EmptyBlocks,
}

impl PacingKeys {
    /// Checks the keys, which stand in `settings`.
    ///
    /// # Errors
    ///
    /// Every key that is out of its range, with its place.
    pub fn check(&self, settings: &Settings) -> Result<Pacing, Vec<Diagnostic>> {
        let mut errors = Vec::new();
        let mut bounded = |key, value, least, most| within(settings, key, value, least, most, &mut errors);
        bounded("block_interval_ms", Some(self.block_interval_ms), 0, BLOCK_INTERVAL_MS_MAX);
        bounded("block_transactions_max", Some(self.block_transactions_max), 1, BLOCK_TRANSACTIONS_MAX as u64);
        bounded("block_bytes_max", Some(self.block_bytes_max), BLOCK_BYTES_MIN, BLOCK_BYTES_MAX as u64);
        bounded("heartbeat_ms", self.heartbeat_ms, 1, HEARTBEAT_MS_MAX);
        let empty_blocks = match (self.empty_blocks, self.heartbeat_ms) {
            (EmptyBlocksKey::Always, None) => EmptyBlocks::Always,
            (EmptyBlocksKey::Never, None) => EmptyBlocks::Never,
            (EmptyBlocksKey::Heartbeat, Some(after_ms)) => EmptyBlocks::Heartbeat(Duration::from_millis(after_ms)),
            (EmptyBlocksKey::Heartbeat, None) => {
                errors.push(
                    settings
                        .error("empty_blocks", "empty_blocks = \"heartbeat\" needs heartbeat_ms")
                        .with_help("add heartbeat_ms = 60000"),
                );
                EmptyBlocks::Never
            }
            (EmptyBlocksKey::Always | EmptyBlocksKey::Never, Some(_)) => {
                let message = "heartbeat_ms means something only with empty_blocks = \"heartbeat\"";
                errors.push(settings.error("heartbeat_ms", message));
                EmptyBlocks::Never
            }
        };
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Pacing {
            interval: Duration::from_millis(self.block_interval_ms),
            transactions_max: u32::try_from(self.block_transactions_max).unwrap_or(u32::MAX),
            bytes_max: u32::try_from(self.block_bytes_max).unwrap_or(u32::MAX),
            empty_blocks,
        })
    }
}

impl Pacing {
    /// The bounds of a block whose time may be `drift_ms` ahead of its judge's clock.
    pub fn limits(&self, drift_ms: u64) -> BlockLimits {
        BlockLimits { transactions_max: self.transactions_max, bytes_max: self.bytes_max, drift_ms }
    }
}

/// Notes an error if `value` is there and not within `least` and `most`, both included.
pub fn within(settings: &Settings, key: &str, value: Option<u64>, least: u64, most: u64, errors: &mut Vec<Diagnostic>) {
    if let Some(value) = value.filter(|value| !(least..=most).contains(value)) {
        errors.push(settings.error(key, format!("{key} is {value}; it must be {least} to {most}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "block_interval_ms = 5000\nblock_transactions_max = 32\nblock_bytes_max = 1048576\n\
        empty_blocks = \"heartbeat\"\nheartbeat_ms = 60000\n";

    const GOOD: PacingKeys = PacingKeys {
        block_interval_ms: 5000,
        block_transactions_max: 32,
        block_bytes_max: 1_048_576,
        empty_blocks: EmptyBlocksKey::Heartbeat,
        heartbeat_ms: Some(60_000),
    };

    fn errors(keys: PacingKeys) -> Vec<String> {
        let checked = keys.check(&Settings::from_text(TEXT));
        checked.err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_written_is_what_counts() {
        let pacing = GOOD.check(&Settings::from_text(TEXT)).unwrap();
        assert_eq!(pacing.interval, Duration::from_secs(5));
        assert_eq!(pacing.empty_blocks, EmptyBlocks::Heartbeat(Duration::from_secs(60)));
        assert_eq!(pacing.limits(7), BlockLimits { transactions_max: 32, bytes_max: 1 << 20, drift_ms: 7 });
    }

    #[test]
    fn every_value_out_of_range_is_named_with_the_range_and_its_place() {
        let errors = errors(PacingKeys { block_transactions_max: 100_000, block_bytes_max: 1023, ..GOOD });
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(errors[0].starts_with("settings:2:26: block_transactions_max is 100000; it must be 1 to 65536"));
        assert!(errors[1].starts_with("settings:3:19: block_bytes_max is 1023; it must be 1024 to 16777216"));
    }

    #[test]
    fn a_heartbeat_needs_its_time_and_nothing_else_does() {
        let without = errors(PacingKeys { heartbeat_ms: None, ..GOOD });
        assert!(without[0].contains("needs heartbeat_ms"), "{without:?}");
        let needless = errors(PacingKeys { empty_blocks: EmptyBlocksKey::Never, ..GOOD });
        assert!(needless[0].contains("only with empty_blocks"), "{needless:?}");
    }
}
