//! The command line of Quorate and the list of bundled plugins, as a library, so that tests reach it without a process.
//!
//! # Reading order
//!
//! 1. [`cli`]: the commands. [`commands`]: one file each. [`exit`]: exit codes and the one error.
//! 2. [`bundled`]: the plugins of this program; no other file names one, but for the auditor's own rules of `poa`.
//!    [`libraries`]: those which come from shared libraries. [`conformance`]: what their conformance suites are given.
//! 3. [`network`]: a new network's files. [`devnet`]: its processes.
//! 4. [`source`] and [`archive`]: where a chain is read from. [`audit`]: replaying it.

pub mod archive;
pub mod audit;
pub mod bundled;
pub mod cli;
pub mod commands;
pub mod conformance;
pub mod devnet;
pub mod exit;
pub mod libraries;
pub mod logging;
pub mod network;
pub mod output;
pub mod progress;
pub mod rpc;
pub mod source;
pub mod voting;
