//! In-memory plugins, the contract of a store as a check, and the deterministic simulator by which every consensus is tested.
//!
//! [`memory`] has one plugin for each of the slots storage, transport, discovery and application. [`contract`] asks any store for what
//! its trait promises. [`sim`] runs any consensus through seeded schedules of faults.

pub mod contract;
pub mod memory;
pub mod sim;
