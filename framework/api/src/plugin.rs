//! What a TOML name resolves to: a plugin of each slot, which checks its settings and makes its object.

use std::{path::Path, sync::Arc};

use borsh::{BorshDeserialize, BorshSerialize};
use serde::Serialize;

use crate::{
    application::Application,
    consensus::{Consensus, Context, FinalityProof},
    diagnostics::Diagnostic,
    discovery::{Discovery, DiscoveryContext},
    service::{Service, ServiceContext},
    settings::Settings,
    storage::{Storage, StorageError},
    transport::{Transport, TransportContext},
};

/// What a plugin says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Descriptor {
    /// The name in TOML.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// An example of its own settings, every key commented; parses as they do. Empty when it has none.
    pub example: &'static str,
    /// The JSON schema of the settings which the example shows, as text. Empty when the example is all that it says of them.
    pub schema: &'static str,
    /// What it promises beyond the contract of its slot, by the names which that slot's conformance suite knows, such as
    /// `S1 agreement`.
    pub promises: &'static [&'static str],
}

impl Descriptor {
    /// A plugin without settings which promises the contract of its slot and no more.
    pub const fn new(name: &'static str, version: &'static str, summary: &'static str) -> Self {
        Self { name, version, summary, example: "", schema: "", promises: &[] }
    }

    /// The same with an example of its settings.
    #[must_use]
    pub const fn with_example(mut self, example: &'static str) -> Self {
        self.example = example;
        self
    }

    /// The same with the JSON schema of its settings.
    #[must_use]
    pub const fn with_schema(mut self, schema: &'static str) -> Self {
        self.schema = schema;
        self
    }

    /// The same with what it promises.
    #[must_use]
    pub const fn with_promises(mut self, promises: &'static [&'static str]) -> Self {
        self.promises = promises;
        self
    }
}

/// Why a plugin could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The settings are wrong, each error with its place.
    #[error("{}", crate::diagnostics::render(.0))]
    Settings(Vec<Diagnostic>),
    /// The store can't be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// An address can't be listened on.
    #[error("{key} = \"{address}\": {source}")]
    Listen {
        /// The setting.
        key: &'static str,
        /// Its value.
        address: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

impl From<Vec<Diagnostic>> for SetupError {
    fn from(diagnostics: Vec<Diagnostic>) -> Self {
        Self::Settings(diagnostics)
    }
}

/// What a consensus makes of its settings.
#[derive(Debug, Clone, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct ConsensusReport {
    /// What the network tolerates and under what assumption, in one sentence.
    pub tolerates: String,
    /// What an operator should know before it starts.
    pub warnings: Vec<String>,
}

/// A consensus by name.
pub trait ConsensusPlugin: Send + Sync {
    /// About the plugin.
    fn descriptor(&self) -> Descriptor;

    /// Whether this engine only watches a network that another plugin decides: then genesis names that one, and its
    /// [`FinalityProof`] is used.
    fn observes(&self) -> bool {
        false
    }

    /// Checks both tables of settings.
    ///
    /// # Errors
    ///
    /// [`SetupError::Settings`].
    fn check(&self, context: &Context) -> Result<ConsensusReport, SetupError>;

    /// Makes the engine.
    ///
    /// # Errors
    ///
    /// As [`ConsensusPlugin::check`].
    fn build(&self, context: &Context) -> Result<Box<dyn Consensus>, SetupError>;

    /// Makes what checks its proofs.
    ///
    /// # Errors
    ///
    /// As [`ConsensusPlugin::check`].
    fn proof(&self, context: &Context) -> Result<Arc<dyn FinalityProof>, SetupError>;
}

/// A store by name.
pub trait StoragePlugin: Send + Sync {
    /// About the plugin.
    fn descriptor(&self) -> Descriptor;

    /// Checks the settings; touches nothing.
    ///
    /// # Errors
    ///
    /// [`SetupError::Settings`].
    fn check(&self, settings: &Settings) -> Result<(), SetupError>;

    /// Opens the store in `directory`, which exists, or makes it: atomically, whenever the process is killed.
    ///
    /// # Errors
    ///
    /// [`SetupError`]; what is there is left as it is.
    fn open(&self, settings: &Settings, directory: &Path) -> Result<Arc<dyn Storage>, SetupError>;
}

/// A transport by name.
pub trait TransportPlugin: Send + Sync {
    /// About the plugin.
    fn descriptor(&self) -> Descriptor;

    /// Checks the settings; opens nothing.
    ///
    /// # Errors
    ///
    /// [`SetupError::Settings`].
    fn check(&self, settings: &Settings) -> Result<(), SetupError>;

    /// Binds its sockets. Called on no runtime; nothing is accepted before `run`.
    ///
    /// # Errors
    ///
    /// [`SetupError::Listen`] and others.
    fn bind(&self, settings: &Settings, context: TransportContext) -> Result<Box<dyn Transport>, SetupError>;
}

/// A discovery by name.
pub trait DiscoveryPlugin: Send + Sync {
    /// About the plugin.
    fn descriptor(&self) -> Descriptor;

    /// Checks the settings; opens nothing.
    ///
    /// # Errors
    ///
    /// [`SetupError::Settings`].
    fn check(&self, settings: &Settings) -> Result<(), SetupError>;

    /// Makes it.
    ///
    /// # Errors
    ///
    /// [`SetupError`].
    fn build(&self, settings: &Settings, context: DiscoveryContext) -> Result<Box<dyn Discovery>, SetupError>;
}

/// An application by name.
pub trait ApplicationPlugin: Send + Sync {
    /// About the plugin.
    fn descriptor(&self) -> Descriptor;

    /// Checks the settings: `shared` is `[application]` of genesis without `plugin`, `settings` that of the node.
    ///
    /// # Errors
    ///
    /// [`SetupError::Settings`].
    fn check(&self, shared: &Settings, settings: &Settings) -> Result<(), SetupError>;

    /// Makes it.
    ///
    /// # Errors
    ///
    /// As [`ApplicationPlugin::check`].
    fn build(
        &self,
        chain_id: crate::ChainId,
        shared: &Settings,
        settings: &Settings,
    ) -> Result<Arc<dyn Application>, SetupError>;
}

/// A service by name.
pub trait ServicePlugin: Send + Sync {
    /// About the plugin.
    fn descriptor(&self) -> Descriptor;

    /// Checks the settings; opens nothing.
    ///
    /// # Errors
    ///
    /// [`SetupError::Settings`].
    fn check(&self, settings: &Settings) -> Result<(), SetupError>;

    /// Makes it and binds its sockets. Called on no runtime.
    ///
    /// # Errors
    ///
    /// [`SetupError`].
    fn build(&self, settings: &Settings, context: ServiceContext) -> Result<Box<dyn Service>, SetupError>;
}
