//! What voters, trustees and auditors rely on.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod attacks;
mod forgers;
mod properties;
mod trustees;
mod vectors;
