//! What voters, trustees and auditors rely on.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests may panic")]

mod vectors;
