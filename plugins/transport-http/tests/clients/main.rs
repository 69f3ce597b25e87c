//! The side of clients over real sockets, against a node with canned answers.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests may panic"
)]

mod ethereum;
mod fake;
mod hostile;
mod net;
mod rpc;
mod websocket;
