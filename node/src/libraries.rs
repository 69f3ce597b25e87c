//! Plugins in shared libraries: loaded for a node's file, after a child process has tried them.

use std::{io::Write as _, path::Path, process::Command};

use quorate_abi::{
    Slot,
    host::{self, Provided},
};
use quorate_kernel::{
    config::Assembly,
    library::{LibraryFile, LibraryLoader, LibraryPlugin},
};

use crate::{
    bundled,
    exit::{Exit, Failure},
};

/// Loads what a node's file names.
#[derive(Debug, Clone, Copy)]
pub struct Libraries;

impl LibraryLoader for Libraries {
    fn load(&self, library: &LibraryFile, slot: &'static str, plugin: &str) -> Result<LibraryPlugin, String> {
        let LibraryFile { path, shown, sha256 } = library;
        let wanted = Slot::from_word(slot).ok_or_else(|| format!("[{slot}] is no slot"))?;
        let loaded = host::load(path, shown, sha256.as_ref()).map_err(|error| error.to_string())?;
        match loaded.plugin(shown, wanted, plugin).map_err(|error| error.to_string())? {
            Provided::Consensus(plugin) => Ok(LibraryPlugin::Consensus(plugin)),
            Provided::Storage(plugin) => Ok(LibraryPlugin::Storage(plugin)),
            Provided::Application(plugin) => Ok(LibraryPlugin::Application(plugin)),
            Provided::Transport(plugin) => Ok(LibraryPlugin::Transport(plugin)),
            Provided::Discovery(plugin) => Ok(LibraryPlugin::Discovery(plugin)),
            Provided::Service(plugin) => Ok(LibraryPlugin::Service(plugin)),
            _ => Err(format!("plugin library `{shown}`: this program does not take {slot} plugins from libraries")),
        }
    }
}

/// What a child process tries.
#[derive(Debug, Clone, Copy)]
pub enum Trial<'a> {
    /// The plugins of a node's file, with its settings.
    Config(&'a Path),
    /// A library alone.
    Library(&'a Path),
}

/// Has a child process load and set up the plugins first, so that what would end this process is an error that names the plugin.
///
/// What opens files or sockets is not tried: a store's `open`, and everything that runs.
///
/// # Errors
///
/// [`Exit::Plugin`] when a plugin ended the child.
pub fn try_in_child(trial: Trial<'_>) -> Result<(), Failure> {
    // Where the program's own file is not known, there is no child to be had.
    let Ok(program) = std::env::current_exe() else { return Ok(()) };
    let mut command = Command::new(program);
    command.args(["plugin", "try"]);
    match trial {
        Trial::Config(path) => command.arg("--config").arg(path),
        Trial::Library(path) => command.arg("--library").arg(path),
    };
    host::probe(command).map_err(|died| Failure::new(Exit::Plugin, died.to_string()))
}

/// What the child does: every call that sets something up, each named on stdout before it is made.
///
/// # Errors
///
/// Whatever the parent will find too.
pub fn be_the_child(trial: Trial<'_>, environment: &[(String, String)]) -> Result<(), Failure> {
    host::observe_setup(|call| {
        // The parent may be gone; then nobody needs to know.
        let mut output = std::io::stdout().lock();
        drop(writeln!(output, "{call}").and_then(|()| output.flush()));
    });
    let path = match trial {
        Trial::Library(path) => {
            let shown = path.display().to_string();
            return host::load(path, &shown, None)
                .map(drop)
                .map_err(|error| Failure::new(Exit::Plugin, error.to_string()));
        }
        Trial::Config(path) => path,
    };
    let assembly = Assembly::load(path, environment, &bundled::registry())?;
    if let Some(chain) = assembly.chain {
        drop(chain.consensus.build(&chain.context)?);
        drop(chain.finality.proof(&chain.context)?);
        let (shared, own) = (chain.genesis.application_settings(), &chain.application_slot.settings);
        drop(chain.application.build(chain.genesis.chain_id(), &shared, own)?);
    }
    Ok(())
}
