//! Transport over HTTP: clients by JSON-RPC and WebSocket over hyper.
//!
//! Read [`settings`] for addresses and limits, then [`client`].

pub mod client;
pub mod settings;
