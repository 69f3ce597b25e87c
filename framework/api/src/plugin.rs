//! What a TOML name resolves to: a plugin of each slot, which checks its settings and makes its object.
//!
//! # What every plugin keeps
//!
//! - A table with a key that the plugin does not know is refused, with the place of the key.
//! - What it makes can be dropped at any time, used or not, and leaves no thread and no file descriptor behind.
//! - Two objects that it makes share nothing but what their settings and contexts name.

use std::{path::Path, sync::Arc, time::Duration};

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
    /// The name in TOML: lower-case letters, digits and hyphens.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// An example of its own settings, every key commented; parses as they do. Empty when it has none.
    pub example: &'static str,
    /// The JSON schema of the settings which the example shows, as text. Empty when the example is all that it says of them; see
    /// [`Descriptor::settings_schema`].
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

    /// The JSON schema of its settings, as text: its own, or that of its example.
    pub fn settings_schema(&self) -> String {
        if self.schema.is_empty() { crate::schema::of_example(self.example).to_string() } else { self.schema.into() }
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

/// Which [`SignRequest::kind`](crate::consensus::SignRequest::kind)s of a consensus in rounds mean what. The body of a vote is the
/// hash it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignatureKinds {
    /// A proposal of a block.
    pub proposal: u8,
    /// A vote of which a quorum locks.
    pub prepare: u8,
    /// A vote of which a quorum makes final.
    pub commit: u8,
    /// Giving up a round.
    pub timeout: u8,
}

impl SignatureKinds {
    /// 1 for a proposal, 2 and 3 for the votes, 4 for a timeout: what most engines of the two-phase kind use.
    pub const TWO_PHASE: SignatureKinds = SignatureKinds { proposal: 1, prepare: 2, commit: 3, timeout: 4 };
}

/// What a consensus promises of one network, in numbers: a simulator holds it to its word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Promise {
    /// Validators which may be gone for good while the chain goes on. Any number may stop and come back with their disks.
    pub gone: usize,
    /// Of these, how many may do anything instead.
    pub dishonest: usize,
    /// When dishonest ones are withstood only while every message between honest validators is handled within this time: this
    /// time. Without dishonest ones the network may do what it likes.
    pub delta: Option<Duration>,
    /// What its signatures mean, if they are votes in rounds.
    pub kinds: Option<SignatureKinds>,
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

    /// What it promises of a network of these settings; `None` when it does not say.
    fn promise(&self, _context: &Context) -> Option<Promise> {
        None
    }

    /// One of its messages in a few words for a person; `None` when the bytes are none, or it has no words.
    fn describe_message(&self, _message: &[u8]) -> Option<String> {
        None
    }

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

    /// Whether it runs only beside a node which has a chain, and with what the kernel gives to services that are linked in: not beside a bootnode, and not
    /// from a library.
    fn needs_chain(&self) -> bool {
        false
    }

    /// Whether it reads the chain from its first block on: not beside a node which keeps only the last blocks.
    fn needs_history(&self) -> bool {
        false
    }

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
