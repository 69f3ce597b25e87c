//! The client against a network of fakes in this process: real blocks and certificates, and servers which refuse, fail and lie on demand.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may panic"
)]

mod blocking;
mod bootnode;
mod bounds;
mod breaker;
mod chain;
mod chains;
mod elections;
mod failover;
mod fake;
mod health;
mod network;
mod receipts;
mod submitting;
