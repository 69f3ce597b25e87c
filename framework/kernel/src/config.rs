//! A node's TOML file: read strictly, every error at once, and assembled into plugins.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use quorate::{
    Genesis, Settings,
    consensus::Context,
    diagnostics::{Diagnostic, closest},
    plugin::{
        ApplicationPlugin, ConsensusPlugin, ConsensusReport, Descriptor, DiscoveryPlugin, ServicePlugin, SetupError,
        StoragePlugin, TransportPlugin,
    },
    settings::parse_file,
};
use serde::{Deserialize, Serialize};

use crate::{pool::PoolLimits, registry::Registry};

/// Bytes of a node's file at most.
pub const CONFIG_BYTES_MAX: usize = 1 << 20;

/// Before every overriding environment variable: `QUORATE__SLOT__KEY`.
pub const ENVIRONMENT_PREFIX: &str = "QUORATE__";

/// Services of a node at most.
pub const SERVICES_MAX: usize = 16;

/// What a node is in its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Votes.
    Validator,
    /// Verifies and serves.
    Follower,
    /// Has no chain; runs services.
    Bootnode,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Validator => "validator",
            Self::Follower => "follower",
            Self::Bootnode => "bootnode",
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    node: NodeTable,
    consensus: Option<SlotTable>,
    storage: Option<SlotTable>,
    transport: Option<SlotTable>,
    discovery: Option<SlotTable>,
    application: Option<SlotTable>,
    #[serde(default)]
    service: Vec<SlotTable>,
    #[serde(default)]
    pool: PoolTable,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeTable {
    name: String,
    role: Role,
    genesis: Option<PathBuf>,
    key_file: PathBuf,
    data_dir: PathBuf,
    admin_token_file: Option<PathBuf>,
}

#[derive(Deserialize)]
struct SlotTable {
    plugin: toml::Spanned<String>,
    library: Option<toml::Spanned<String>>,
    sha256: Option<toml::Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PoolTable {
    count_max: usize,
    bytes_max: usize,
    per_sender_max: usize,
}

impl Default for PoolTable {
    fn default() -> Self {
        let PoolLimits { count_max, bytes_max, per_sender_max } = PoolLimits::default();
        Self { count_max, bytes_max, per_sender_max }
    }
}

/// `[node]`, with absolute or working-directory-relative paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSection {
    /// A name for people.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Its key.
    pub key_file: PathBuf,
    /// Where its store is.
    pub data_dir: PathBuf,
    /// The operator's secret.
    pub admin_token_file: Option<PathBuf>,
}

/// One slot of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotConfig {
    /// The slot's name.
    pub slot: &'static str,
    /// The plugin's name.
    pub plugin: String,
    /// The plugin's own settings.
    pub settings: Settings,
}

/// A node's file, read.
#[derive(Debug, Clone)]
pub struct Config {
    file: String,
    text: String,
    node: NodeSection,
    genesis: Option<PathBuf>,
    slots: Vec<SlotConfig>,
    services: Vec<SlotConfig>,
    pool: PoolLimits,
}

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
}

impl Config {
    /// Reads a file, overridden by `environment`.
    ///
    /// # Errors
    ///
    /// Every error in it.
    pub fn load(path: &Path, environment: &[(String, String)]) -> Result<Self, Vec<Diagnostic>> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| vec![Diagnostic::of_file(&file, format!("could not be read: {error}"))])?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self::parse(&file, &text, directory, environment)
    }

    /// Reads a file's text; relative paths in it are relative to `directory`.
    ///
    /// # Errors
    ///
    /// Every error in it.
    pub fn parse(
        file: &str,
        text: &str,
        directory: &Path,
        environment: &[(String, String)],
    ) -> Result<Self, Vec<Diagnostic>> {
        if text.len() > CONFIG_BYTES_MAX {
            let message = format!("has {} bytes; the limit is {CONFIG_BYTES_MAX}", text.len());
            return Err(vec![Diagnostic::of_file(file, message)]);
        }
        let text = overridden(file, text, environment)?;
        let parsed: File = parse_file(file, &text)?;
        let mut errors = Vec::new();
        let absolute = |path: PathBuf| directory.join(path);
        let mut slots = Vec::new();
        let tables = [
            ("consensus", parsed.consensus),
            ("storage", parsed.storage),
            ("transport", parsed.transport),
            ("discovery", parsed.discovery),
            ("application", parsed.application),
        ];
        for (slot, table) in tables {
            if let Some(table) = table {
                refuse_library(file, &text, &table, &mut errors);
                slots.push(slot_config(file, &text, slot, &[slot], &table));
            }
        }
        let mut services = Vec::new();
        for (at, table) in parsed.service.iter().enumerate() {
            refuse_library(file, &text, table, &mut errors);
            services.push(slot_config(file, &text, "service", &["service", &at.to_string()], table));
        }
        if services.len() > SERVICES_MAX {
            errors.push(Diagnostic::of_file(file, format!("{} services; the limit is {SERVICES_MAX}", services.len())));
        }
        if parsed.node.name.is_empty() || parsed.node.name.len() > 64 {
            let settings = Settings::new(file, &text, &["node"], &[]);
            errors.push(settings.error("name", "node.name must have 1 to 64 bytes"));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self {
            file: file.into(),
            node: NodeSection {
                name: parsed.node.name,
                role: parsed.node.role,
                key_file: absolute(parsed.node.key_file),
                data_dir: absolute(parsed.node.data_dir),
                admin_token_file: parsed.node.admin_token_file.map(absolute),
            },
            genesis: parsed.node.genesis.map(|path| directory.join(path)),
            slots,
            services,
            pool: PoolLimits {
                count_max: parsed.pool.count_max,
                bytes_max: parsed.pool.bytes_max,
                per_sender_max: parsed.pool.per_sender_max,
            },
            text,
        })
    }

    /// `[node]`.
    pub fn node(&self) -> &NodeSection {
        &self.node
    }

    /// The text in force: the file's, overridden by the environment.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where genesis is.
    pub fn genesis_path(&self) -> Option<&Path> {
        self.genesis.as_deref()
    }

    /// Finds the plugins and has them check their settings. Opens nothing but genesis.
    ///
    /// # Errors
    ///
    /// Every error of every table.
    pub fn assemble(&self, registry: &Registry) -> Result<Assembly, Vec<Diagnostic>> {
        let mut errors = Vec::new();
        let mut plugins = Vec::new();
        let mut warnings = Vec::new();
        let mut services = Vec::new();
        for slot in &self.services {
            if let Some(plugin) = self.known(slot, registry.service(&slot.plugin), &mut errors) {
                self.note(slot, plugin.check(&slot.settings), &mut errors);
                plugins.push((slot.clone(), plugin.descriptor()));
                services.push((plugin, slot.clone()));
            }
        }
        let chain = if self.node.role == Role::Bootnode && self.slots.is_empty() {
            None
        } else {
            self.chain(registry, &mut plugins, &mut warnings, &mut errors)
        };
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Assembly { node: self.node.clone(), pool: self.pool, chain, services, plugins, warnings })
    }

    fn chain(
        &self,
        registry: &Registry,
        plugins: &mut Vec<(SlotConfig, Descriptor)>,
        warnings: &mut Vec<String>,
        errors: &mut Vec<Diagnostic>,
    ) -> Option<ChainAssembly> {
        let genesis = self.read_genesis(errors);
        let [consensus_slot, storage_slot, transport_slot, application_slot] =
            ["consensus", "storage", "transport", "application"].map(|slot| self.slot(slot, errors));
        let discovery_slot = self.slots.iter().find(|slot| slot.slot == "discovery");
        let consensus = consensus_slot.and_then(|slot| self.known(slot, registry.consensus(&slot.plugin), errors));
        let storage = storage_slot.and_then(|slot| self.known(slot, registry.storage(&slot.plugin), errors));
        let transport = transport_slot.and_then(|slot| self.known(slot, registry.transport(&slot.plugin), errors));
        let application =
            application_slot.and_then(|slot| self.known(slot, registry.application(&slot.plugin), errors));
        let discovery = discovery_slot.and_then(|slot| {
            let plugin = self.known(slot, registry.discovery(&slot.plugin), errors)?;
            self.note(slot, plugin.check(&slot.settings), errors);
            plugins.push((slot.clone(), plugin.descriptor()));
            Some((plugin, slot.clone()))
        });
        if let (Some(slot), Some(plugin)) = (storage_slot, &storage) {
            self.note(slot, plugin.check(&slot.settings), errors);
            plugins.push((slot.clone(), plugin.descriptor()));
        }
        if let (Some(slot), Some(plugin)) = (transport_slot, &transport) {
            self.note(slot, plugin.check(&slot.settings), errors);
            plugins.push((slot.clone(), plugin.descriptor()));
        }
        let (genesis, consensus_slot) = (genesis?, consensus_slot?);
        let consensus = consensus?;
        plugins.push((consensus_slot.clone(), consensus.descriptor()));
        let finality = self.finality(registry, &genesis, consensus_slot, &consensus, errors)?;
        let context = Context {
            chain_id: genesis.chain_id(),
            validators: genesis.validators().clone(),
            shared: genesis.consensus_settings(),
            settings: consensus_slot.settings.clone(),
            seed: 0,
        };
        let mut report = ConsensusReport::default();
        let own = Context { settings: Settings::from_text(""), ..context.clone() };
        match finality.check(if consensus.observes() { &own } else { &context }) {
            Ok(found) => report = found,
            Err(error) => self.note(consensus_slot, Err(error), errors),
        }
        if consensus.observes() {
            self.note(consensus_slot, consensus.check(&context).map(drop), errors);
        }
        warnings.extend(report.warnings.iter().cloned());
        let (application_slot, application) = (application_slot?, application?);
        plugins.push((application_slot.clone(), application.descriptor()));
        if application_slot.plugin != genesis.application_plugin() {
            errors.push(application_slot.settings.error(
                "plugin",
                format!(
                    "[application] plugin is `{}`, genesis says `{}`",
                    application_slot.plugin,
                    genesis.application_plugin()
                ),
            ));
        }
        self.note(
            application_slot,
            application.check(&genesis.application_settings(), &application_slot.settings),
            errors,
        );
        Some(ChainAssembly {
            genesis,
            consensus,
            finality,
            context,
            report,
            consensus_slot: consensus_slot.clone(),
            storage: storage?,
            storage_slot: storage_slot?.clone(),
            transport: transport?,
            transport_slot: transport_slot?.clone(),
            discovery,
            application,
            application_slot: application_slot.clone(),
        })
    }

    fn finality(
        &self,
        registry: &Registry,
        genesis: &Genesis,
        slot: &SlotConfig,
        consensus: &Arc<dyn ConsensusPlugin>,
        errors: &mut Vec<Diagnostic>,
    ) -> Option<Arc<dyn ConsensusPlugin>> {
        if !consensus.observes() {
            if slot.plugin != genesis.consensus_plugin() {
                let message =
                    format!("[consensus] plugin is `{}`, genesis says `{}`", slot.plugin, genesis.consensus_plugin());
                errors.push(slot.settings.error("plugin", message));
                return None;
            }
            return Some(Arc::clone(consensus));
        }
        if self.node.role == Role::Validator {
            let message = format!("[consensus] plugin `{}` only watches, a validator must vote", slot.plugin);
            let help = format!("use plugin = \"{}\", or role = \"follower\"", genesis.consensus_plugin());
            errors.push(slot.settings.error("plugin", message).with_help(help));
        }
        match registry.consensus(genesis.consensus_plugin()) {
            Ok(plugin) => Some(plugin),
            Err(known) => {
                let message = format!(
                    "genesis names consensus `{}`; this program has {}",
                    genesis.consensus_plugin(),
                    known.join(", ")
                );
                errors.push(genesis.consensus_settings().error("plugin", message));
                None
            }
        }
    }

    fn read_genesis(&self, errors: &mut Vec<Diagnostic>) -> Option<Genesis> {
        let Some(path) = &self.genesis else {
            errors.push(Diagnostic::of_file(&self.file, "missing key `genesis` in [node]"));
            return None;
        };
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Genesis::parse(&name, &text).map_err(|found| errors.extend(found)).ok(),
            Err(error) => {
                let settings = Settings::new(&self.file, &self.text, &["node"], &[]);
                errors.push(settings.error("genesis", format!("{name}: {error}")));
                None
            }
        }
    }

    fn slot(&self, name: &str, errors: &mut Vec<Diagnostic>) -> Option<&SlotConfig> {
        let found = self.slots.iter().find(|slot| slot.slot == name);
        if found.is_none() {
            errors.push(Diagnostic::of_file(&self.file, format!("missing table [{name}]")));
        }
        found
    }

    fn known<P: ?Sized>(
        &self,
        slot: &SlotConfig,
        found: Result<Arc<P>, Vec<&'static str>>,
        errors: &mut Vec<Diagnostic>,
    ) -> Option<Arc<P>> {
        found
            .map_err(|known| {
                let message = format!("unknown {} plugin `{}`", slot.slot, slot.plugin);
                let help = match closest(&slot.plugin, known.iter().copied()) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("this program has {}", known.join(", ")),
                };
                errors.push(slot.settings.error("plugin", message).with_help(help));
            })
            .ok()
    }

    fn note(&self, slot: &SlotConfig, result: Result<(), SetupError>, errors: &mut Vec<Diagnostic>) {
        match result {
            Ok(()) => {}
            Err(SetupError::Settings(found)) => errors.extend(found),
            Err(other) => {
                errors
                    .push(slot.settings.error("plugin", format!("[{}] plugin `{}`: {other}", slot.slot, slot.plugin)));
            }
        }
    }
}

fn slot_config(file: &str, text: &str, slot: &'static str, path: &[&str], table: &SlotTable) -> SlotConfig {
    SlotConfig {
        slot,
        plugin: table.plugin.get_ref().clone(),
        settings: Settings::new(file, text, path, &["plugin", "library", "sha256"]),
    }
}

fn refuse_library(file: &str, text: &str, table: &SlotTable, errors: &mut Vec<Diagnostic>) {
    for value in [&table.library, &table.sha256].into_iter().flatten() {
        let message = "this version does not load plugins from shared libraries";
        errors.push(
            Diagnostic::at(file, text, value.span(), message)
                .with_help("remove the key, or link the plugin into the program"),
        );
    }
}

/// The file's text with the values that environment variables give.
fn overridden(file: &str, text: &str, environment: &[(String, String)]) -> Result<String, Vec<Diagnostic>> {
    let ours: Vec<_> = environment
        .iter()
        .filter_map(|(name, value)| Some((name, name.strip_prefix(ENVIRONMENT_PREFIX)?, value)))
        .collect();
    if ours.is_empty() {
        return Ok(text.into());
    }
    let Ok(mut document) = text.parse::<toml_edit::DocumentMut>() else {
        // The strict reader says what is wrong, better.
        return Ok(text.into());
    };
    let mut errors = Vec::new();
    for (name, path, value) in ours {
        let words: Vec<String> = path.split("__").map(str::to_lowercase).collect();
        let (Some((key, tables)), true) = (words.split_last(), words.len() >= 2) else {
            let message = format!("environment variable {name} names no table and key");
            errors.push(Diagnostic::of_file(file, message).with_help("write it like QUORATE__TRANSPORT__RPC_LISTEN"));
            continue;
        };
        let mut item = document.as_item_mut();
        for table in tables {
            item = &mut item[table.as_str()];
        }
        if !(item.is_none() || item.is_table_like()) {
            errors.push(Diagnostic::of_file(
                file,
                format!("environment variable {name}: `{}` is no table", tables.join(".")),
            ));
            continue;
        }
        let parsed = value.parse::<toml_edit::Value>().unwrap_or_else(|_| toml_edit::Value::from(value.as_str()));
        item[key.as_str()] = toml_edit::value(parsed);
    }
    if errors.is_empty() { Ok(document.to_string()) } else { Err(errors) }
}
