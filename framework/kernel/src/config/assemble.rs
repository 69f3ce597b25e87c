//! From a file's tables to a node's plugins, each of which has checked its settings.

use std::{path::Path, sync::Arc};

use quorate::{
    Genesis, Settings,
    consensus::Context,
    diagnostics::{Diagnostic, closest},
    genesis::GENESIS_BYTES_MAX,
    plugin::{
        ApplicationPlugin, ConsensusPlugin, ConsensusReport, Descriptor, DiscoveryPlugin, ServicePlugin, SetupError,
        StoragePlugin, TransportPlugin,
    },
};

use super::{NodeSection, Role, SlotConfig, Tables, read_text};
use crate::{
    key::NodeKey,
    library::{LibraryFile, LibraryPlugin},
    pool::PoolLimits,
    registry::Registry,
};

/// The slots of a node with a chain, filled.
pub struct ChainAssembly {
    /// The network.
    pub genesis: Genesis,
    /// What decides, or watches.
    pub consensus: Arc<dyn ConsensusPlugin>,
    /// Whose proofs of finality count: the plugin which genesis names.
    pub finality: Arc<dyn ConsensusPlugin>,
    /// What both are made from.
    pub context: Context,
    /// What the consensus says of its settings.
    pub report: ConsensusReport,
    /// `[consensus]`.
    pub consensus_slot: SlotConfig,
    /// The store.
    pub storage: Arc<dyn StoragePlugin>,
    /// `[storage]`.
    pub storage_slot: SlotConfig,
    /// The transport.
    pub transport: Arc<dyn TransportPlugin>,
    /// `[transport]`.
    pub transport_slot: SlotConfig,
    /// The discovery and `[discovery]`, if any.
    pub discovery: Option<(Arc<dyn DiscoveryPlugin>, SlotConfig)>,
    /// The application.
    pub application: Arc<dyn ApplicationPlugin>,
    /// `[application]`.
    pub application_slot: SlotConfig,
}

/// A node, ready to be started.
pub struct Assembly {
    /// `[node]`.
    pub node: NodeSection,
    /// `[pool]`.
    pub pool: PoolLimits,
    /// The chain; a bootnode has none.
    pub chain: Option<ChainAssembly>,
    /// What runs beside.
    pub services: Vec<(Arc<dyn ServicePlugin>, SlotConfig)>,
    /// Every slot with the plugin that fills it.
    pub plugins: Vec<(SlotConfig, Descriptor)>,
    /// What an operator should know.
    pub warnings: Vec<String>,
    /// All plugins that the program has, for ledgers which services open.
    pub registry: Registry,
}

/// The plugins of the services, each with its table.
type Services = Vec<(Arc<dyn ServicePlugin>, SlotConfig)>;

/// A plugin that the program has, or the names of those it has.
type Bundled<P> = Result<Arc<P>, Vec<&'static str>>;

/// One pass over a file's tables, which notes every error.
pub(super) struct Check<'a> {
    tables: &'a Tables,
    registry: &'a Registry,
    errors: Vec<Diagnostic>,
    warnings: Vec<String>,
    plugins: Vec<(SlotConfig, Descriptor)>,
}

/// The consensus with what it says, before the rest is known.
struct Consensus {
    plugin: Arc<dyn ConsensusPlugin>,
    finality: Arc<dyn ConsensusPlugin>,
    context: Context,
    report: ConsensusReport,
}

impl<'a> Check<'a> {
    pub(super) fn new(tables: &'a Tables, registry: &'a Registry, errors: Vec<Diagnostic>) -> Self {
        Self { tables, registry, errors, warnings: Vec::new(), plugins: Vec::new() }
    }

    /// Checks everything; the assembly if there is no error.
    pub(super) fn run(mut self, node: Option<NodeSection>, pool: PoolLimits) -> Result<Assembly, Vec<Diagnostic>> {
        let services = self.services();
        let slotless = self.tables.slots.is_empty() && self.tables.unreadable.is_empty();
        // Of a node whose role can't be read nothing is missing.
        let without_chain = slotless && matches!(self.tables.role, Some(Role::Bootnode) | None);
        let chain = if without_chain { None } else { self.chain() };
        for (plugin, slot) in services.iter().filter(|(plugin, _)| without_chain && plugin.needs_chain()) {
            let name = plugin.descriptor().name;
            let error = slot.settings.error("plugin", format!("the service `{name}` needs a node with a chain"));
            self.errors.push(error.with_help("give the node the role \"follower\", and its slots"));
        }
        if without_chain && services.is_empty() && self.errors.is_empty() {
            self.warnings.push("this bootnode has no [[service]]: it does nothing".into());
        }
        if let (Some(node), Some(chain)) = (&node, &chain) {
            self.check_key(node, &chain.genesis);
        }
        if let Some(kept) = node.as_ref().and_then(|node| node.keep_blocks) {
            self.check_keep_blocks(kept, without_chain, &services);
        }
        let Self { errors, warnings, plugins, registry, .. } = self;
        let registry = registry.clone();
        match node {
            Some(node) if errors.is_empty() => {
                Ok(Assembly { node, pool, chain, services, plugins, warnings, registry })
            }
            _ => Err(errors),
        }
    }

    fn services(&mut self) -> Services {
        let mut services = Vec::new();
        for slot in &self.tables.services {
            if let Some(plugin) = self.find(slot, Registry::service, LibraryPlugin::service) {
                self.note(slot, plugin.check(&slot.settings));
                self.plugins.push((slot.clone(), plugin.descriptor()));
                services.push((plugin, slot.clone()));
            }
        }
        services
    }

    fn chain(&mut self) -> Option<ChainAssembly> {
        let genesis = self.genesis();
        let [consensus, storage, transport, application] =
            ["consensus", "storage", "transport", "application"].map(|slot| self.slot(slot));
        let consensus = consensus.and_then(|slot| Some((self.consensus(slot, genesis.as_ref())?, slot.clone())));
        let storage = storage.and_then(|slot| {
            let plugin = self.find(slot, Registry::storage, LibraryPlugin::storage)?;
            self.note(slot, plugin.check(&slot.settings));
            self.plugins.push((slot.clone(), plugin.descriptor()));
            Some((plugin, slot.clone()))
        });
        let transport = transport.and_then(|slot| {
            let plugin = self.find(slot, Registry::transport, LibraryPlugin::transport)?;
            self.note(slot, plugin.check(&slot.settings));
            self.plugins.push((slot.clone(), plugin.descriptor()));
            Some((plugin, slot.clone()))
        });
        let discovery = self.tables.slots.iter().find(|slot| slot.slot == "discovery").and_then(|slot| {
            let plugin = self.find(slot, Registry::discovery, LibraryPlugin::discovery)?;
            self.note(slot, plugin.check(&slot.settings));
            self.plugins.push((slot.clone(), plugin.descriptor()));
            Some((plugin, slot.clone()))
        });
        let application = application.and_then(|slot| Some((self.application(slot, genesis.as_ref())?, slot.clone())));
        let (consensus, consensus_slot) = consensus?;
        let (storage, storage_slot) = storage?;
        let (transport, transport_slot) = transport?;
        let (application, application_slot) = application?;
        let Consensus { plugin: consensus, finality, context, report } = consensus;
        Some(ChainAssembly {
            genesis: genesis?,
            consensus,
            finality,
            context,
            report,
            consensus_slot,
            storage,
            storage_slot,
            transport,
            transport_slot,
            discovery,
            application,
            application_slot,
        })
    }

    fn consensus(&mut self, slot: &SlotConfig, genesis: Option<&Genesis>) -> Option<Consensus> {
        let plugin = self.find(slot, Registry::consensus, LibraryPlugin::consensus)?;
        self.plugins.push((slot.clone(), plugin.descriptor()));
        let genesis = genesis?;
        let finality = self.finality(genesis, slot, &plugin)?;
        let context = Context { settings: slot.settings.clone(), ..Context::of(genesis) };
        let mut report = ConsensusReport::default();
        // The node's own settings are those of the plugin which watches.
        let shared_only = Context::of(genesis);
        match finality.check(if plugin.observes() { &shared_only } else { &context }) {
            Ok(found) => report = found,
            Err(error) => self.note(slot, Err(error)),
        }
        if plugin.observes() {
            self.note(slot, plugin.check(&context).map(drop));
        }
        self.warnings.extend(report.warnings.iter().cloned());
        Some(Consensus { plugin, finality, context, report })
    }

    /// The plugin which genesis names, whose proofs count.
    fn finality(
        &mut self,
        genesis: &Genesis,
        slot: &SlotConfig,
        consensus: &Arc<dyn ConsensusPlugin>,
    ) -> Option<Arc<dyn ConsensusPlugin>> {
        let wanted = genesis.consensus_plugin();
        if !consensus.observes() {
            if slot.proof_library.is_some() {
                let message =
                    format!("[consensus] `proof_library`: plugin `{}` votes, and checks its own proofs", slot.plugin);
                let error = slot.settings.error("proof_library", message);
                self.errors.push(error.with_help("it is for a plugin that only watches what another decides"));
            }
            if slot.plugin != wanted {
                let message = format!("[consensus] plugin is `{}`, genesis says `{wanted}`", slot.plugin);
                self.errors.push(slot.settings.error("plugin", message));
                return None;
            }
            return Some(Arc::clone(consensus));
        }
        if self.tables.role == Some(Role::Validator) {
            let message = format!("[consensus] plugin `{}` only watches, a validator must vote", slot.plugin);
            let help = format!("use plugin = \"{wanted}\", or role = \"follower\"");
            self.errors.push(slot.settings.error("plugin", message).with_help(help));
        }
        if let Some(library) = &slot.proof_library {
            let found = self.load(library, slot.slot, wanted, LibraryPlugin::consensus);
            return found.map_err(|message| self.errors.push(slot.settings.error("proof_library", message))).ok();
        }
        match self.registry.consensus(wanted) {
            Ok(plugin) => Some(plugin),
            Err(known) => {
                let message = format!("genesis names consensus `{wanted}`; this program has {}", known.join(", "));
                let error = genesis.consensus_settings().error("plugin", message);
                let help = "name its library in the node's file: [consensus] proof_library = \"FILE\"";
                self.errors.push(error.with_help(help));
                None
            }
        }
    }

    fn application(&mut self, slot: &SlotConfig, genesis: Option<&Genesis>) -> Option<Arc<dyn ApplicationPlugin>> {
        let plugin = self.find(slot, Registry::application, LibraryPlugin::application)?;
        self.plugins.push((slot.clone(), plugin.descriptor()));
        let genesis = genesis?;
        let wanted = genesis.application_plugin();
        if slot.plugin == wanted {
            self.note(slot, plugin.check(&genesis.application_settings(), &slot.settings));
        } else {
            let message = format!("[application] plugin is `{}`, genesis says `{wanted}`", slot.plugin);
            self.errors.push(slot.settings.error("plugin", message));
        }
        Some(plugin)
    }

    fn genesis(&mut self) -> Option<Genesis> {
        let node = Settings::new(&self.tables.file, self.tables.source.text(), &["node"], &[]);
        let Some(path) = &self.tables.genesis else {
            self.errors.push(node.error("genesis", "missing key `genesis` in [node]"));
            return None;
        };
        let name = path.display().to_string();
        match read_text(path, GENESIS_BYTES_MAX) {
            Ok(text) => Genesis::parse(&name, &text).map_err(|found| self.errors.extend(found)).ok(),
            Err(why) => {
                self.errors.push(node.error("genesis", format!("genesis {name} {why}")));
                None
            }
        }
    }

    /// What keeps only the last blocks can't be beside what reads all.
    fn check_keep_blocks(&mut self, kept: u64, without_chain: bool, services: &Services) {
        let node = Settings::new(&self.tables.file, self.tables.source.text(), &["node"], &[]);
        if without_chain {
            self.errors.push(node.error("keep_blocks", "node.keep_blocks is set, but this node has no chain"));
            return;
        }
        for (plugin, slot) in services.iter().filter(|(plugin, _)| plugin.needs_history()) {
            let name = plugin.descriptor().name;
            let message =
                format!("the service `{name}` reads the chain from block 1 on, and this node keeps the last {kept}");
            let error = slot.settings.error("plugin", message);
            self.errors.push(error.with_help("remove keep_blocks from [node], or run the service beside another node"));
        }
        self.warnings.push(format!(
            "node.keep_blocks is {kept}: new nodes, audits and exports need another node of the network that keeps all"
        ));
    }

    /// What keeps a validator from voting is worth a word; no more, as its validators change with the chain.
    fn check_key(&mut self, node: &NodeSection, genesis: &Genesis) {
        match load_key(&node.key_file) {
            Err(why) => self.warnings.push(why),
            Ok(key) if node.role == Role::Validator && genesis.validators().index_of(&key.public_key()).is_none() => {
                self.warnings.push(format!(
                    "role is validator, but {} (of {}) is no validator of genesis: this node votes only once the chain makes it one",
                    key.public_key(),
                    node.key_file.display(),
                ));
            }
            Ok(_) => {}
        }
    }

    fn slot(&mut self, name: &'static str) -> Option<&'a SlotConfig> {
        let found = self.tables.slots.iter().find(|slot| slot.slot == name);
        if found.is_none() && !self.tables.unreadable.contains(&name) {
            let help = match self.tables.role {
                Some(Role::Bootnode) => "a bootnode that has one slot needs all; one without slots has no chain",
                _ => "only a node with role = \"bootnode\" needs none",
            };
            self.errors.push(Diagnostic::of_file(&self.tables.file, format!("missing table [{name}]")).with_help(help));
        }
        found
    }

    /// The plugin of a slot: of the library which its table names, or else the program's own.
    fn find<P: ?Sized>(
        &mut self,
        slot: &SlotConfig,
        bundled: fn(&Registry, &str) -> Bundled<P>,
        loaded: fn(LibraryPlugin) -> Option<Arc<P>>,
    ) -> Option<Arc<P>> {
        let Some(library) = &slot.library else { return self.known(slot, bundled(self.registry, &slot.plugin)) };
        let found = self.load(library, slot.slot, &slot.plugin, loaded);
        found.map_err(|message| self.errors.push(slot.settings.error("library", message))).ok()
    }

    /// A plugin of a library.
    fn load<P: ?Sized>(
        &self,
        library: &LibraryFile,
        slot: &'static str,
        plugin: &str,
        loaded: fn(LibraryPlugin) -> Option<Arc<P>>,
    ) -> Result<Arc<P>, String> {
        let loader = self.registry.libraries();
        let loader = loader.ok_or_else(|| format!("[{slot}] this program does not load plugins from libraries"))?;
        let plugin = loader.load(library, slot, plugin)?;
        loaded(plugin).ok_or_else(|| format!("`{}` gave a plugin of another slot", library.shown))
    }

    fn known<P: ?Sized>(&mut self, slot: &SlotConfig, found: Bundled<P>) -> Option<Arc<P>> {
        let missed = |known: Vec<&'static str>| {
            let message = format!("unknown {} plugin `{}`", slot.slot, slot.plugin);
            let help = match closest(&slot.plugin, known.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None if known.is_empty() => format!("this program has no {} plugin", slot.slot),
                None => format!("this program has {}", known.join(", ")),
            };
            self.errors.push(slot.settings.error("plugin", message).with_help(help));
        };
        found.map_err(missed).ok()
    }

    fn note(&mut self, slot: &SlotConfig, result: Result<(), SetupError>) {
        match result {
            Ok(()) => {}
            Err(SetupError::Settings(found)) => self.errors.extend(found),
            Err(other) => {
                let message = format!("[{}] plugin `{}`: {other}", slot.slot, slot.plugin);
                self.errors.push(slot.settings.error("plugin", message));
            }
        }
    }
}

fn load_key(path: &Path) -> Result<NodeKey, String> {
    NodeKey::load(path).map_err(|error| error.to_string())
}
