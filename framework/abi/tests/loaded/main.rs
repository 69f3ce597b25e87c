//! A loaded plugin is used like a bundled one, and what goes wrong in it stops its work with its name, never with the process.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests may panic")]
#![expect(dead_code, reason = "not every test file uses all of the support")]

#[path = "../support/mod.rs"]
mod support;

mod application;
mod consensus;
mod process;
mod setup;
mod storage;
mod transport;
