//! Plugins in shared libraries, as far as the kernel knows of them: whoever assembles a node brings what loads them.

use std::{path::PathBuf, sync::Arc};

use quorate::{
    Hash,
    plugin::{ApplicationPlugin, ConsensusPlugin, DiscoveryPlugin, ServicePlugin, StoragePlugin, TransportPlugin},
};

/// A library which a node's file names for a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LibraryFile {
    /// Where it is: absolute, or relative to the working directory.
    pub path: PathBuf,
    /// As the file says.
    pub shown: String,
    /// The SHA-256 which it must have, if the file says one.
    pub sha256: Option<Hash>,
}

/// A plugin of a library.
#[derive(Clone)]
pub enum LibraryPlugin {
    /// For `[consensus]`.
    Consensus(Arc<dyn ConsensusPlugin>),
    /// For `[storage]`.
    Storage(Arc<dyn StoragePlugin>),
    /// For `[transport]`.
    Transport(Arc<dyn TransportPlugin>),
    /// For `[discovery]`.
    Discovery(Arc<dyn DiscoveryPlugin>),
    /// For `[application]`.
    Application(Arc<dyn ApplicationPlugin>),
    /// For a `[[service]]`.
    Service(Arc<dyn ServicePlugin>),
}

/// Loads plugins from libraries.
pub trait LibraryLoader: Send + Sync {
    /// The plugin of a slot by its name.
    ///
    /// # Errors
    ///
    /// In words that name the file, what was found and what was expected.
    fn load(&self, library: &LibraryFile, slot: &'static str, plugin: &str) -> Result<LibraryPlugin, String>;
}

macro_rules! of_slot {
    ($($name:ident, $variant:ident, $trait:ident, $slot:literal);+ $(;)?) => {
        impl LibraryPlugin {
            $(
                #[doc = concat!("The plugin, if it is one for `", $slot, "`.")]
                pub fn $name(self) -> Option<Arc<dyn $trait>> {
                    if let Self::$variant(plugin) = self { Some(plugin) } else { None }
                }
            )+
        }
    };
}

of_slot! {
    consensus, Consensus, ConsensusPlugin, "consensus";
    storage, Storage, StoragePlugin, "storage";
    transport, Transport, TransportPlugin, "transport";
    discovery, Discovery, DiscoveryPlugin, "discovery";
    application, Application, ApplicationPlugin, "application";
    service, Service, ServicePlugin, "service";
}
