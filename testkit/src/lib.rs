//! In-memory plugins, and the deterministic simulator by which every consensus is tested.
//!
//! [`memory`] has one plugin for each of the slots storage, transport, discovery and application.

pub mod memory;
