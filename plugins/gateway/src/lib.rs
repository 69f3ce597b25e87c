//! The backend of a voting network: takes encrypted ballots over HTTP, holds them durably, forwards them to validators, and says how they stand, never
//! more than it has verified.
//!
//! ```text
//!   voter's booth ── POST /api/votes/submit ──► checks (own chain) ──► outbox (own ledger, fsync) ──► answer
//!                                                                          │
//!                          validators ◄── JSON-RPC, failover ── forwarder ◄┘
//!                              │
//!                              └── blocks, by peers ──► this node's own chain (follower: verifies every block) ──► settled
//!                                                                          │
//!   results, receipts, status ◄──────── answers with `source` and how far the chain is verified ◄───────────────────┘
//! ```
//!
//! It is a [`quorate::Service`] of a node that follows the chain. It has no power over votes: it signs nothing, and whatever it withholds a voter submits to any
//! validator. What it says is either verified by this node's own chain, or by a receipt that convinces against genesis, or said to be neither.
//!
//! # Reading order
//!
//! 1. [`settings`]: what an operator sets. 2. `service`: the listener and its limits. 3. `gateway`: what all share; what words like `submitted` mean.
//! 4. `outbox`: the ledger of what is held, and the index of what there is to do. 5. `forward`: sending, and settling. 6. `verify`: checking the own chain
//!    again. 7. `routes`, `answer`: HTTP.

pub mod settings;

mod answer;
mod forward;
mod gateway;
mod limits;
mod metrics;
mod outbox;
mod plugin;
mod routes;
mod service;
mod tls;
mod verify;

pub use outbox::application::OutboxLedger;
pub use plugin::{GatewayPlugin, OutboxPlugin};
