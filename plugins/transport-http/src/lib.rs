//! Transport: authenticated peers, JSON-RPC and WebSocket over hyper.

pub mod peer;
