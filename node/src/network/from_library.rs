//! Plugins of a new network that come from shared libraries: which library has them, and the settings that their examples show.

use std::path::{Path, PathBuf};

use quorate_abi::{Slot, host};

use crate::{
    exit::{Exit, Failure},
    libraries::{self, Trial},
};

/// A plugin of a library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromLibrary {
    /// Its name.
    pub plugin: String,
    /// The library, absolute.
    pub library: PathBuf,
    /// An example of its settings, a TOML text.
    pub example: String,
}

/// What the libraries of a command line have.
#[derive(Debug, Default)]
pub struct Found {
    plugins: Vec<(Slot, FromLibrary)>,
}

impl Found {
    /// Loads the libraries, each in a child process first.
    ///
    /// # Errors
    ///
    /// [`Exit::Plugin`] when one can't be used.
    pub fn load(paths: &[PathBuf]) -> Result<Self, Failure> {
        let mut plugins = Vec::new();
        for path in paths {
            libraries::try_in_child(Trial::Library(path))?;
            let shown = path.display().to_string();
            let library =
                host::load(path, &shown, None).map_err(|error| Failure::new(Exit::Plugin, error.to_string()))?;
            for plugin in &library.plugins {
                let about = plugin.descriptor();
                let (name, example) = (about.name.to_owned(), about.example.to_owned());
                plugins.push((plugin.slot(), FromLibrary { plugin: name, library: library.path.clone(), example }));
            }
        }
        Ok(Self { plugins })
    }

    /// The plugin of this slot and name.
    pub fn plugin(&self, slot: Slot, name: &str) -> Option<FromLibrary> {
        self.plugins.iter().find(|(of, plugin)| *of == slot && plugin.plugin == name).map(|(_, plugin)| plugin.clone())
    }

    /// Refuses a library of which `used` has nothing.
    ///
    /// # Errors
    ///
    /// A usage error which names what the library has.
    pub fn check_used(&self, used: &[&FromLibrary]) -> Result<(), Failure> {
        let is_used = |path: &Path| used.iter().any(|plugin| plugin.library == path);
        let Some((_, unused)) = self.plugins.iter().find(|(_, plugin)| !is_used(&plugin.library)) else {
            return Ok(());
        };
        let of_it = self.plugins.iter().filter(|(_, plugin)| plugin.library == unused.library);
        let provides: Vec<String> = of_it.map(|(slot, plugin)| format!("{slot} plugin `{}`", plugin.plugin)).collect();
        Err(Failure::usage(format!(
            "--library {}: provides {}; name what the network shall take of it with --consensus, --application or --storage",
            unused.library.display(),
            provides.join(", ")
        )))
    }
}
