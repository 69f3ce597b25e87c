//! Consensus: one node seals; and the follower, which only verifies.
//!
//! [`SoloPlugin`] is for local ledgers and development: one validator, whose single signature makes a block final.
//! [`FollowerPlugin`] watches a network that another plugin decides: the kernel's catch-up verifies and takes each block.

mod follower;
mod solo;

pub use follower::FollowerPlugin;
pub use solo::SoloPlugin;
