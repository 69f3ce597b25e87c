//! What the examples after the first share: a folder with the files that a node starts from.
//!
//! `four_plugins.rs` does without, to show all of it once.

use std::{error::Error, fs, path::Path, time::Duration};

use quorate::plugin::SetupError;
use quorate_kernel::{Assembly, Node, NodeKey, NodeOptions, Registry, Running};
use tempfile::TempDir;

/// How long anything here may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What an example may fail with.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A network's genesis, and for each validator its key. Gone when this is dropped.
pub struct Folder(TempDir);

impl Folder {
    /// Writes genesis, with the tables `consensus` and `application` as given, and a well-known development key for each name.
    ///
    /// # Errors
    ///
    /// What the system says of the folder and its files.
    pub fn new(tables: &str, validators: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut genesis = format!("chain_name = \"example\"\ngenesis_time = 2026-01-01T00:00:00Z\n{tables}\n");
        for name in validators {
            let key = NodeKey::development(name);
            key.save_new(&folder.path().join(format!("{name}.key")))?;
            genesis.push_str(&format!("[[validator]]\nname = \"{name}\"\npublic_key = \"{}\"\n", key.public_key()));
        }
        fs::write(folder.path().join("genesis.toml"), genesis)?;
        Ok(Self(folder))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes the file of the validator `name`, which names a plugin for each slot, and starts it with the plugins of `registry`.
    ///
    /// # Errors
    ///
    /// Every error in the files, with its place; or why the node does not start.
    pub fn start(&self, name: &str, slots: &str, registry: &Registry) -> Result<Running> {
        let file = self.path().join(format!("{name}.toml"));
        let node = format!(
            "node = {{ name = \"{name}\", role = \"validator\", genesis = \"genesis.toml\", key_file = \"{name}.key\", data_dir = \"{name}\" }}\n"
        );
        fs::write(&file, node + slots)?;
        let assembly = Assembly::load(&file, &[], registry).map_err(SetupError::from)?;
        Ok(Node::start(assembly, &NodeOptions { new_validator: true, version: env!("CARGO_PKG_VERSION") })?)
    }
}
