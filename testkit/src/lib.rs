//! In-memory plugins, the deterministic simulator, and the suites which ask a plugin for its slot's contract.
//!
//! [`memory`] has one plugin for each of the slots storage, transport, discovery and application. [`sim`] runs any consensus
//! through seeded schedules of faults. [`conformance`] has a suite of rules for each slot, for plugins' own tests.

pub mod conformance;
pub mod memory;
pub mod sim;
