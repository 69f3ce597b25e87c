//! Discovery: signed records at a bootnode, static peers, and the registry service.
//!
//! ```text
//!   node                                   bootnode
//!  +-------------------+  POST /register_peer  +--------------------+
//!  | discovery         |---------------------->| service `bootnode` |
//!  | `bootnode`        |  GET /peers           |   table of signed  |
//!  |  checks every     |<----------------------|   records, bounded |
//!  |  signature itself |                       +--------------------+
//!  +-------------------+
//! ```
//!
//! A record says "this key, this name, these addresses" and is signed by the key it names, so nobody can speak for another. The
//! bootnode is trusted with nothing: whoever asks checks each record again, and the transport checks the key of whoever
//! answers at an address. A bootnode that is down, restarts or lies costs attempts; nodes that know each other go on.
//!
//! Records live in the bootnode's memory alone. After a restart every node is told that it is unknown at its next heartbeat and
//! registers again, so the table heals within one refresh.
//!
//! # Reading order
//!
//! 1. [`record`]: the signed bytes, and what a record may hold.
//! 2. [`table`]: who may register what; a pure state machine with time as an argument.
//! 3. [`service`]: the registry over HTTP. `routes` are its answers, `rates` what one address may ask.
//! 4. [`client`]: the discovery that registers and polls. [`fixed`]: the one that reads peers from the file.

pub mod client;
pub mod fixed;
pub mod record;
pub mod service;
pub mod table;

mod http;
mod rates;
mod routes;
mod source;

pub use client::BootnodeDiscoveryPlugin;
pub use fixed::StaticDiscoveryPlugin;
pub use record::Record;
pub use service::RegistryServicePlugin;

/// This crate's version, which all three plugins report.
const VERSION: &str = env!("CARGO_PKG_VERSION");
