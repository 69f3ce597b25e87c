//! The backend for voters, tested as they meet it: over HTTP, beside validators that are real processes, while these are killed, slow, failing or lying.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may panic")]

mod backend;
mod failover;
mod liars;
mod limits;
mod storm;
#[expect(dead_code, unused_imports, reason = "shared with the tests of processes")]
#[path = "../processes/support/mod.rs"]
mod support;
