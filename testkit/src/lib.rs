//! In-memory plugins and the deterministic simulator.
