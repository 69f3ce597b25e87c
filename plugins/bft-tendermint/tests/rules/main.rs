//! The adapter's rules, one by one, from outside: an engine among validators whose keys the test holds.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod hostile;
mod one;
mod proofs;
mod restart;
mod voting;
