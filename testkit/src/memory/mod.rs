//! Plugins that keep everything in this process: for tests, and the smallest examples of their slots.
//!
//! | slot | plugin | name |
//! |---|---|---|
//! | storage | [`MemoryStoragePlugin`] | `memory` |
//! | transport | [`MemoryTransportPlugin`] | `memory` |
//! | discovery | [`MemoryDiscoveryPlugin`] | `memory` |
//! | application | [`MemoryApplicationPlugin`] | `memory` |
//!
//! [`MemoryState`] is the state that an application's tests execute blocks on.
//!
//! The transports and discoveries of nodes that shall meet are made from one [`Hub`].

mod application;
mod discovery;
mod hub;
mod state;
mod storage;
mod transport;

use quorate::{Settings, plugin::SetupError};

pub use application::{ENTRY_BYTES_MAX, MemoryApplication, MemoryApplicationPlugin};
pub use discovery::{MemoryDiscovery, MemoryDiscoveryPlugin};
pub use hub::{Hub, NODES_MAX, QUEUE_LEN_MAX};
pub use state::MemoryState;
pub use storage::{MemoryStorage, MemoryStoragePlugin};
pub use transport::{MemoryTransport, MemoryTransportPlugin};

/// A table without keys.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

fn no_settings(settings: &Settings) -> Result<(), SetupError> {
    settings.parse::<Nothing>()?;
    Ok(())
}
