//! In-memory plugins, and the deterministic simulator by which every consensus is tested.
//!
//! [`memory`] has one plugin for each of the slots storage, transport, discovery and application. [`sim`] runs any consensus
//! through seeded schedules of faults.

pub mod memory;
pub mod sim;
