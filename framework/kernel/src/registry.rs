//! The registry: from a slot and a name in TOML to a plugin.

use std::sync::Arc;

use quorate::plugin::{
    ApplicationPlugin, ConsensusPlugin, Descriptor, DiscoveryPlugin, ServicePlugin, StoragePlugin, TransportPlugin,
};

use crate::library::LibraryLoader;

/// The plugins that a program has, by slot. Names are used once a slot; a later one replaces an earlier one.
#[derive(Clone, Default)]
pub struct Registry {
    consensus: Vec<Arc<dyn ConsensusPlugin>>,
    storage: Vec<Arc<dyn StoragePlugin>>,
    transport: Vec<Arc<dyn TransportPlugin>>,
    discovery: Vec<Arc<dyn DiscoveryPlugin>>,
    application: Vec<Arc<dyn ApplicationPlugin>>,
    service: Vec<Arc<dyn ServicePlugin>>,
    libraries: Option<Arc<dyn LibraryLoader>>,
}

macro_rules! slot {
    ($field:ident, $with:ident, $trait:ident, $what:literal) => {
        #[doc = concat!("Adds a plugin for ", $what, ".")]
        #[must_use]
        pub fn $with(mut self, plugin: impl $trait + 'static) -> Self {
            let name = plugin.descriptor().name;
            self.$field.retain(|known| known.descriptor().name != name);
            self.$field.push(Arc::new(plugin));
            self
        }

        #[doc = concat!("The plugin for ", $what, " of this name, or the names there are.")]
        ///
        /// # Errors
        ///
        /// The names of all plugins of the slot.
        pub fn $field(&self, name: &str) -> Result<Arc<dyn $trait>, Vec<&'static str>> {
            let found = self.$field.iter().find(|plugin| plugin.descriptor().name == name);
            found.cloned().ok_or_else(|| self.$field.iter().map(|plugin| plugin.descriptor().name).collect())
        }
    };
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    slot!(consensus, with_consensus, ConsensusPlugin, "the slot `consensus`");
    slot!(storage, with_storage, StoragePlugin, "the slot `storage`");
    slot!(transport, with_transport, TransportPlugin, "the slot `transport`");
    slot!(discovery, with_discovery, DiscoveryPlugin, "the slot `discovery`");
    slot!(application, with_application, ApplicationPlugin, "the slot `application`");
    slot!(service, with_service, ServicePlugin, "a `[[service]]`");

    /// Lets a node's file name libraries.
    #[must_use]
    pub fn with_libraries(mut self, loader: impl LibraryLoader + 'static) -> Self {
        self.libraries = Some(Arc::new(loader));
        self
    }

    /// What loads libraries, if this program can.
    pub fn libraries(&self) -> Option<&dyn LibraryLoader> {
        self.libraries.as_deref()
    }

    /// Every plugin with its slot.
    pub fn list(&self) -> Vec<(&'static str, Descriptor)> {
        let consensus = self.consensus.iter().map(|plugin| ("consensus", plugin.descriptor()));
        let storage = self.storage.iter().map(|plugin| ("storage", plugin.descriptor()));
        let transport = self.transport.iter().map(|plugin| ("transport", plugin.descriptor()));
        let discovery = self.discovery.iter().map(|plugin| ("discovery", plugin.descriptor()));
        let application = self.application.iter().map(|plugin| ("application", plugin.descriptor()));
        let service = self.service.iter().map(|plugin| ("service", plugin.descriptor()));
        consensus.chain(storage).chain(transport).chain(discovery).chain(application).chain(service).collect()
    }
}
