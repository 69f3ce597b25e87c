//! Plugins in shared libraries: loaded for a node's file, after a child process has tried them.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use clap::Args;
use quorate::plugin::{ApplicationPlugin, ConsensusPlugin};
use quorate_abi::{
    Slot,
    host::{self, Library, LoadError, Provided},
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

/// The option of commands which need a chain's plugins, and no node's file.
#[derive(Debug, Clone, Default, Args)]
pub struct LibraryArgs {
    /// A shared library with a plugin that genesis names; may be repeated
    #[arg(long, value_name = "FILE")]
    pub library: Vec<PathBuf>,
}

/// Libraries that the command line names. Their plugins go before those of this program.
pub struct Named(Vec<(String, Arc<Library>)>);

impl Named {
    /// Loads them, after a child process has.
    ///
    /// # Errors
    ///
    /// [`Exit::Plugin`], naming the file.
    pub fn load(files: &[PathBuf]) -> Result<Self, Failure> {
        let one = |path: &PathBuf| {
            try_in_child(Trial::Library(path))?;
            let shown = path.display().to_string();
            let library = host::load(path, &shown, None).map_err(refused)?;
            Ok((shown, library))
        };
        files.iter().map(one).collect::<Result<_, Failure>>().map(Self)
    }

    fn find(&self, slot: Slot, name: &str) -> Option<Provided> {
        self.0.iter().find_map(|(shown, library)| library.plugin(shown, slot, name).ok())
    }

    /// The consensus of a name, if one of them has it.
    pub fn consensus(&self, name: &str) -> Option<Arc<dyn ConsensusPlugin>> {
        match self.find(Slot::Consensus, name)? {
            Provided::Consensus(plugin) => Some(plugin),
            _ => None,
        }
    }

    /// The application of a name, if one of them has it.
    pub fn application(&self, name: &str) -> Option<Arc<dyn ApplicationPlugin>> {
        match self.find(Slot::Application, name)? {
            Provided::Application(plugin) => Some(plugin),
            _ => None,
        }
    }
}

/// A consensus of a library: the one that is named, or the only one.
///
/// # Errors
///
/// [`Exit::Plugin`] when the library can't be used or has none; [`Exit::Usage`] when it has several and none is named.
pub fn consensus(path: &Path, name: Option<&str>) -> Result<Arc<dyn ConsensusPlugin>, Failure> {
    let Named(loaded) = Named::load(&[path.to_owned()])?;
    let Some((shown, library)) = loaded.first() else { return Err(Failure::failed("no library")) };
    let names: Vec<&str> = library
        .plugins
        .iter()
        .filter(|plugin| plugin.slot() == Slot::Consensus)
        .map(|plugin| plugin.descriptor().name)
        .collect();
    let name = match (name, names.as_slice()) {
        (Some(name), _) => name,
        (None, [only]) => only,
        // The error says what it has instead.
        (None, []) => "",
        (None, several) => {
            let known = several.join(", ");
            return Err(Failure::usage(format!("plugin library `{shown}` has several: {known}; choose by --plugin")));
        }
    };
    match library.plugin(shown, Slot::Consensus, name).map_err(refused)? {
        Provided::Consensus(plugin) => Ok(plugin),
        _ => Err(Failure::failed("another slot's plugin")),
    }
}

fn refused(error: LoadError) -> Failure {
    Failure::new(Exit::Plugin, error.to_string())
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
