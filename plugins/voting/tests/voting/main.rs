//! What voters, officers and trustees rely on: every rule, by whoever breaks it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests may panic")]

mod ballots;
mod ceremony;
mod chain;
mod conformance;
mod enrolment;
mod officers;
mod opinion;
mod tally;
