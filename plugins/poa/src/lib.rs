//! Consensus: validators take turns, a quorum makes each block final.
//!
//! The protocol, RR2 (round-robin, two phases), is described in `SPEC.md` with its rules numbered; the code names them.

mod certificate;
mod engine;
mod evidence;
mod height;
mod message;
mod plugin;
mod proof;
mod settings;

pub use plugin::PoaPlugin;
