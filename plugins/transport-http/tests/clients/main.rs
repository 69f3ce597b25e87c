//! The side of clients over real sockets, against a node with canned answers.

mod ethereum;
mod fake;
mod hostile;
mod net;
mod rpc;
mod websocket;
