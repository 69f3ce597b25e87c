//! The side of clients over real sockets, against a node with canned answers.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends at the first surprise"
)]

mod ethereum;
mod fake;
mod hostile;
mod net;
mod plugin;
mod real;
mod rpc;
mod websocket;
