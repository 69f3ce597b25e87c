//! Transport: authenticated peers, JSON-RPC and WebSocket over hyper.

pub mod client;
pub mod peer;
pub mod settings;
