//! What a network promises, tested over real processes, sockets, files and signals.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may panic")]

mod disk;
mod hostile;
mod identity;
mod kills;
mod libraries;
mod membership;
mod network;
mod support;
mod tendermint;
