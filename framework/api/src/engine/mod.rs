//! Parts which engines of voting validators have in common, so that each need not be written, and be wrong, again.
//!
//! Nothing here belongs to the contract of the slot: an engine may do without, or keep its own.

mod blocks;
mod peers;
mod tally;
mod verified;

pub use blocks::{BLOCKS_MAX, Blocks, Judgement};
pub use peers::{AHEAD_MAX, ANSWER_EVERY, ANSWERS_MAX, HEIGHTS_AHEAD, PEERS_MAX, Peers};
pub use tally::{Tally, Votes};
pub use verified::{Claim, VERIFIED_MAX, Verified};
