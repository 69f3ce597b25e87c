//! Application: verifiable elections. Nobody can forge, double or read a ballot, and anybody can check it.
//!
//! The rules are numbered in `SPEC.md` beside this crate; the cryptography and the bytes are those of `quorate-ballot`.
//!
//! # Reading order
//!
//! 1. `refusal`: why a transaction is not accepted.
//! 2. `store`: what of an election is kept where.
//! 3. `verify`: what is costly, once a transaction.
//! 4. `rules`: what the state allows.
//! 5. `effect`: what an allowed transaction does.
//! 6. `application`: how pool and blocks use them; `query`: what can be asked; `plugin`: the setting in genesis.

mod application;
mod effect;
mod plugin;
mod query;
mod refusal;
mod rules;
mod store;
mod verify;

pub use application::Voting;
pub use plugin::VotingPlugin;
pub use query::{LIST_MAX, PATHS};
