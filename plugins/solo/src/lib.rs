//! Consensus: one node seals; and the follower, which only verifies.
//!
//! ```text
//!   work or time --> build --> persist the block --> sign it --> commit: final
//! ```
//!
//! [`SoloPlugin`] is for development and for a ledger that one party keeps: nobody else has to agree, so nothing is tolerated. Its
//! chain is checked like any other: each block has a proof, a signature by the first validator of its height.
//! [`FollowerPlugin`] takes part in no decision: it runs beside a network of any other consensus, and the node's catch-up verifies
//! every block by that one's proofs.
//!
//! Reading order: `settings`, `engine`, `proof`, `follower`, `plugin`.

mod engine;
mod follower;
mod plugin;
mod proof;
mod settings;

pub use follower::FollowerPlugin;
pub use plugin::SoloPlugin;
pub use proof::{KIND_SEAL, Seal};
pub use settings::Rules;
