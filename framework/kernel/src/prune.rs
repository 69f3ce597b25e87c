//! Which blocks a node that keeps only the last ones removes, and when: a few with each commit, in its batch.
//!
//! A block's row goes: its bytes, its proof and its receipts. What the chain's rules need stays for ever: state, validators, evidence, and the places
//! of transactions, because no id is final twice whether its block is here or not; nodes which differ in what they keep agree on every block. The
//! heights of hashes stay too, so that a block which was removed can be told from one that never was.

use std::ops::Range;

use quorate::{Height, storage::Batch};

use crate::layout;

/// The fewest blocks that a node's file may have it keep. A peer that was away for a minute of the fastest blocks fetches what it missed from any
/// peer, and subscriptions and filters of clients find the blocks that they look back to.
pub const KEEP_BLOCKS_MIN: u64 = 10_000;

/// Blocks removed with one commit at most: where the setting is new, the rest follows with the commits after.
pub const REMOVED_PER_COMMIT_MAX: u64 = 16;

/// Adds to the batch with which `tip` is committed the removal of what is too old, of a chain whose blocks are here from `from` on.
pub(crate) fn remove_old(batch: &mut Batch, from: Height, tip: Height, keep_blocks: u64) {
    let old = old(from, tip, keep_blocks);
    if old.is_empty() {
        return;
    }
    batch.put(layout::BLOCKS_FROM, layout::with_height(Height(old.end), &[]));
    for height in old {
        batch.delete(layout::block(Height(height)));
    }
}

/// The heights to be removed now.
fn old(from: Height, tip: Height, keep_blocks: u64) -> Range<u64> {
    // The tip itself stays, whatever is asked for.
    let kept_from = tip.next().0.saturating_sub(keep_blocks.max(1));
    from.0..kept_from.min(from.0.saturating_add(REMOVED_PER_COMMIT_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_stay_as_are_kept_and_the_tip_always() {
        assert!(old(Height(1), Height(1), 3).is_empty());
        assert!(old(Height(1), Height(3), 3).is_empty());
        assert_eq!(old(Height(1), Height(4), 3), 1..2);
        assert_eq!(old(Height(2), Height(5), 3), 2..3);
        assert_eq!(old(Height(1), Height(2), 0), 1..2);
        assert!(old(Height(1), Height(u64::MAX - 1), u64::MAX).is_empty());
    }

    #[test]
    fn a_setting_that_is_new_removes_a_few_with_each_commit() {
        assert_eq!(old(Height(1), Height(1000), 10), 1..1 + REMOVED_PER_COMMIT_MAX);
        assert_eq!(old(Height(985), Height(1001), 10), 985..992);
    }

    #[test]
    fn a_setting_that_was_raised_removes_nothing_until_it_is_reached() {
        assert!(old(Height(900), Height(1000), 500).is_empty());
        assert_eq!(old(Height(900), Height(1400), 500), 900..901);
    }
}
