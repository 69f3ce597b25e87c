//! A node's TOML file: read strictly, every error at once, and assembled into plugins.
//!
//! [`Config::parse`] knows the kernel's own tables. [`Assembly`] is what is left when every plugin has checked its own: the errors of
//! both come together, in the order of the file.

mod assemble;
mod environment;
mod slot;

use std::{
    fmt,
    io::Read as _,
    path::{Path, PathBuf},
};

use quorate::{
    Settings,
    diagnostics::{Diagnostic, closest},
};
use serde::{Deserialize, Serialize};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use self::{assemble::Check, environment::Overridden, slot::Slots};
pub use self::{
    assemble::{Assembly, ChainAssembly},
    environment::{ENVIRONMENT_PREFIX, OVERRIDES_MAX},
    slot::SlotConfig,
};
use crate::{pool::PoolLimits, prune::KEEP_BLOCKS_MIN, registry::Registry};

/// Bytes of a node's file at most.
pub const CONFIG_BYTES_MAX: usize = 1 << 20;

/// Services of a node at most.
pub const SERVICES_MAX: usize = 16;

/// Bytes of a node's name at most.
pub const NAME_BYTES_MAX: usize = 64;

/// The tables of a node's file.
const TABLES: [&str; 8] = ["node", "consensus", "storage", "transport", "discovery", "application", "service", "pool"];

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

impl Role {
    fn from_word(word: &str) -> Option<Self> {
        [Self::Validator, Self::Follower, Self::Bootnode].into_iter().find(|role| role.to_string() == word)
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
    /// How many of the last blocks are kept; `None`: all.
    pub keep_blocks: Option<u64>,
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
    keep_blocks: Option<u64>,
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

/// A node's file, read.
#[derive(Debug, Clone)]
pub struct Config {
    tables: Tables,
    node: NodeSection,
    pool: PoolLimits,
}

/// What a file holds for the plugins, as far as it can be read.
#[derive(Debug, Clone)]
struct Tables {
    file: String,
    source: Overridden,
    role: Option<Role>,
    genesis: Option<PathBuf>,
    slots: Vec<SlotConfig>,
    services: Vec<SlotConfig>,
    /// Slots that are there but can't be read: they are not missing too.
    unreadable: Vec<&'static str>,
}

/// A file, read as far as it can be.
struct Draft {
    tables: Tables,
    node: Option<NodeSection>,
    pool: PoolLimits,
    errors: Vec<Diagnostic>,
}

impl Config {
    /// Reads a file, overridden by `environment`.
    ///
    /// # Errors
    ///
    /// Every error in the kernel's own tables.
    pub fn load(path: &Path, environment: &[(String, String)]) -> Result<Self, Vec<Diagnostic>> {
        Self::finished(read_file(path, environment)?)
    }

    /// Reads a file's text; relative paths in it are relative to `directory`.
    ///
    /// # Errors
    ///
    /// Every error in the kernel's own tables.
    pub fn parse(
        file: &str,
        text: &str,
        directory: &Path,
        environment: &[(String, String)],
    ) -> Result<Self, Vec<Diagnostic>> {
        Self::finished(read(file, text, directory, environment)?)
    }

    fn finished(draft: Draft) -> Result<Self, Vec<Diagnostic>> {
        let Draft { tables, node, pool, errors } = draft;
        match node {
            Some(node) if errors.is_empty() => Ok(Self { tables, node, pool }),
            _ => Err(tables.ordered(errors)),
        }
    }

    /// `[node]`.
    pub fn node(&self) -> &NodeSection {
        &self.node
    }

    /// The text in force: the file's, overridden by the environment.
    pub fn text(&self) -> &str {
        self.tables.source.text()
    }

    /// Where genesis is.
    pub fn genesis_path(&self) -> Option<&Path> {
        self.tables.genesis.as_deref()
    }

    /// Finds the plugins and has them check their settings. Opens nothing but genesis and the key, both for reading.
    ///
    /// # Errors
    ///
    /// Every error of every table.
    pub fn assemble(&self, registry: &Registry) -> Result<Assembly, Vec<Diagnostic>> {
        let check = Check::new(&self.tables, registry, Vec::new());
        check.run(Some(self.node.clone()), self.pool).map_err(|errors| self.tables.ordered(errors))
    }
}

impl Assembly {
    /// Whether a file, as far as it can be read, takes a plugin from a library.
    pub fn names_libraries(path: &Path, environment: &[(String, String)]) -> bool {
        read_file(path, environment).is_ok_and(|Draft { tables, .. }| {
            tables
                .slots
                .iter()
                .chain(&tables.services)
                .any(|slot| slot.library.is_some() || slot.proof_library.is_some())
        })
    }

    /// Reads a file, overridden by `environment`, and has the plugins check their settings: [`Config::load`] and
    /// [`Config::assemble`] in one, with the errors of both.
    ///
    /// # Errors
    ///
    /// Every error of every table.
    pub fn load(path: &Path, environment: &[(String, String)], registry: &Registry) -> Result<Self, Vec<Diagnostic>> {
        let Draft { tables, node, pool, errors } = read_file(path, environment)?;
        Check::new(&tables, registry, errors).run(node, pool).map_err(|errors| tables.ordered(errors))
    }
}

fn read_file(path: &Path, environment: &[(String, String)]) -> Result<Draft, Vec<Diagnostic>> {
    let file = path.display().to_string();
    let text = read_text(path, CONFIG_BYTES_MAX).map_err(|why| vec![Diagnostic::of_file(&file, why)])?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    read(&file, &text, directory, environment)
}

/// A file's text of `max` bytes at most, or in words why there is none.
pub(crate) fn read_text(path: &Path, max: usize) -> Result<String, String> {
    let cannot = |error: std::io::Error| format!("could not be read: {error}");
    let file = std::fs::File::open(path).map_err(cannot)?;
    let mut bytes = Vec::new();
    file.take(max as u64 + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() > max {
        return Err(format!("has more than {max} bytes"));
    }
    String::from_utf8(bytes)
        .map_err(|error| format!("is not UTF-8 text from byte {} on", error.utf8_error().valid_up_to()))
}

/// Reads the kernel's own tables and finds the plugins'.
fn read(file: &str, text: &str, directory: &Path, environment: &[(String, String)]) -> Result<Draft, Vec<Diagnostic>> {
    if text.len() > CONFIG_BYTES_MAX {
        let message = format!("has {} bytes; the limit is {CONFIG_BYTES_MAX}", text.len());
        return Err(vec![Diagnostic::of_file(file, message)]);
    }
    let source = Overridden::new(text, environment)?;
    let text = source.text().to_owned();
    let (root, broken) = DeTable::parse_recoverable(&text);
    let tables = Tables {
        file: file.into(),
        source,
        role: None,
        genesis: None,
        slots: Vec::new(),
        services: Vec::new(),
        unreadable: Vec::new(),
    };
    if !broken.is_empty() {
        let shown = broken.iter().take(quorate::settings::ERRORS_MAX).map(|error| {
            let span = error.span().unwrap_or(0..0);
            Diagnostic::at(file, &text, span, error.message().replace('\n', " "))
        });
        return Err(tables.ordered(shown.collect()));
    }
    let mut draft = Draft { tables, node: None, pool: PoolLimits::default(), errors: Vec::new() };
    let root = root.get_ref();
    draft.node(&text, root, directory);
    draft.pool(&text);
    let slots = Slots { file, text: &text, directory };
    for (key, value) in root {
        let slot = TABLES.into_iter().find(|known| *known == key.get_ref());
        match slot {
            Some("node" | "pool") => {}
            Some("service") => draft.services(&slots, value),
            Some(slot) => match slots.read(slot, &[slot], value, &mut draft.errors) {
                Some(found) => draft.tables.slots.push(found),
                None => draft.tables.unreadable.push(slot),
            },
            None => {
                let error = Diagnostic::at(file, &text, key.span(), format!("unknown key `{}`", key.get_ref()));
                draft.errors.push(match closest(key.get_ref(), TABLES) {
                    Some(meant) => error.with_help(format!("did you mean `{meant}`?")),
                    None => error.with_help(format!("expected one of `{}`", TABLES.join("`, `"))),
                });
            }
        }
    }
    Ok(draft)
}

impl Draft {
    fn node(&mut self, text: &str, root: &DeTable<'_>, directory: &Path) {
        let settings = Settings::new(&self.tables.file, text, &["node"], &[]);
        let within = |path: PathBuf| directory.join(path);
        match settings.parse::<NodeTable>() {
            Ok(table) => {
                let NodeTable { name, role, genesis, key_file, data_dir, admin_token_file, keep_blocks } = table;
                if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
                    let message =
                        format!("node.name must have 1 to {NAME_BYTES_MAX} bytes, none of them control characters");
                    self.errors.push(settings.error("name", message));
                }
                if let Some(kept) = keep_blocks.filter(|kept| *kept < KEEP_BLOCKS_MIN) {
                    let message = format!("node.keep_blocks is {kept}; the minimum is {KEEP_BLOCKS_MIN}");
                    let help = "peers that were away for a while fetch these blocks; without the key a node keeps all";
                    self.errors.push(settings.error("keep_blocks", message).with_help(help));
                }
                self.tables.role = Some(role);
                self.tables.genesis = genesis.map(within);
                let admin_token_file = admin_token_file.map(within);
                let (key_file, data_dir) = (within(key_file), within(data_dir));
                self.node = Some(NodeSection { name, role, key_file, data_dir, admin_token_file, keep_blocks });
            }
            Err(errors) => {
                self.errors.extend(errors);
                // What can be read of it helps to check the rest.
                let word = |key: &str| {
                    let node = root.get("node").map(Spanned::get_ref);
                    node.and_then(|node| node.get(key)).and_then(|value| value.get_ref().as_str())
                };
                self.tables.role = word("role").and_then(Role::from_word);
                self.tables.genesis = word("genesis").map(|path| directory.join(path));
            }
        }
    }

    fn pool(&mut self, text: &str) {
        let settings = Settings::new(&self.tables.file, text, &["pool"], &[]);
        let PoolTable { count_max, bytes_max, per_sender_max } = match settings.parse() {
            Ok(table) => table,
            Err(errors) => return self.errors.extend(errors),
        };
        for (key, value) in [("count_max", count_max), ("bytes_max", bytes_max), ("per_sender_max", per_sender_max)] {
            if value == 0 {
                self.errors.push(settings.error(key, format!("pool.{key} is 0; a pool takes at least 1")));
            }
        }
        self.pool = PoolLimits { count_max, bytes_max, per_sender_max };
    }

    fn services(&mut self, slots: &Slots<'_>, value: &Spanned<DeValue<'_>>) {
        let DeValue::Array(items) = value.get_ref() else {
            let error = Diagnostic::at(slots.file, slots.text, value.span(), "`service` must be a list of tables");
            return self.errors.push(error.with_help("write [[service]], once for each"));
        };
        if items.len() > SERVICES_MAX {
            let message = format!("{} services; the limit is {SERVICES_MAX}", items.len());
            return self.errors.push(Diagnostic::of_file(slots.file, message));
        }
        for (at, item) in items.iter().enumerate() {
            let path = ["service", &at.to_string()];
            self.tables.services.extend(slots.read("service", &path, item, &mut self.errors));
        }
    }
}

impl Tables {
    /// The errors in the lines of the file, from its top to its end, then those of other files.
    fn ordered(&self, errors: Vec<Diagnostic>) -> Vec<Diagnostic> {
        let own = |error: Diagnostic| if error.file == self.file { self.source.locate(error) } else { error };
        let mut errors: Vec<Diagnostic> = errors.into_iter().map(own).collect();
        errors.sort_by(|a, b| {
            let key = |one: &Diagnostic| (one.file != self.file, one.file.clone(), one.line, one.column);
            key(a).cmp(&key(b))
        });
        errors.dedup();
        errors
    }
}
