//! The registry, configuration, signer, pool, catch-up and loop of a Quorate node; it names no plugin.
//!
//! # Reading order
//!
//! 1. [`config`], [`registry`] and [`library`]: a TOML file becomes an [`config::Assembly`] of plugins.
//! 2. [`node`]: an assembly becomes a running node: which threads and tasks there are, and in what order they start and stop.
//! 3. `core`: the loop; persist, then sign, then send; commit, then announce.
//! 4. [`ledger`] and [`layout`]: judging, building and storing blocks. `execute`: a block's effect on a view of the state.
//! 5. [`signer`]: the key and its durable guard. [`pool`] and `intake`: transactions that wait.
//! 6. `own`: a service's own ledger. `checked`: what was judged without being taken. `packed` and `keyed`: rows and tables of many transactions.
//! 7. `sync`, `ahead` and `together`: catch-up. `router`, `wire` and `named`: what peers say. `requests` and `hot`: what clients ask.

pub mod config;
pub mod key;
pub mod layout;
pub mod ledger;
pub mod library;
pub mod node;
pub mod pool;
pub mod prune;
pub mod registry;
pub mod signer;

mod ahead;
mod backup;
mod checked;
mod core;
mod execute;
mod hot;
mod intake;
mod keyed;
mod metrics;
mod named;
mod own;
mod packed;
mod requests;
mod router;
#[cfg(test)]
mod sample;
mod shared;
mod sync;
mod together;
mod wire;

/// What a program needs that runs a node of its own.
pub use {
    config::Assembly,
    key::NodeKey,
    node::{Node, NodeOptions, Running},
    registry::Registry,
};
