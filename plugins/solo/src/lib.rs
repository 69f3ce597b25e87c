//! Consensus: one node seals; and the follower, which only verifies.
