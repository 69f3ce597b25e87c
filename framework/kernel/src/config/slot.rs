//! One slot's table: the keys that are the kernel's, which say what plugin fills it and where that comes from.

use std::path::Path;

use quorate::{Hash, Settings, diagnostics::Diagnostic};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::library::LibraryFile;

/// Keys of a slot's table that are the kernel's.
const SLOT_KEYS: [&str; 3] = ["plugin", "library", "sha256"];

/// Keys of `[consensus]` that are the kernel's.
const CONSENSUS_KEYS: [&str; 5] = ["plugin", "library", "sha256", "proof_library", "proof_sha256"];

/// One slot of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotConfig {
    /// The slot's name.
    pub slot: &'static str,
    /// The plugin's name.
    pub plugin: String,
    /// The library that has it; without one it is the program's own.
    pub library: Option<LibraryFile>,
    /// In `[consensus]` of a node that only watches: the library of the consensus which genesis names, whose proofs count.
    pub proof_library: Option<LibraryFile>,
    /// The plugin's own settings.
    pub settings: Settings,
}

impl SlotConfig {
    /// Where the plugin comes from, for people: `bundled`, or the library as the file names it.
    pub fn origin(&self) -> &str {
        self.library.as_ref().map_or("bundled", |library| &library.shown)
    }
}

/// Reads the slots of one file.
pub(super) struct Slots<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
    pub(super) directory: &'a Path,
}

impl Slots<'_> {
    /// The slot in the table at `path`; what is wrong with it goes to `errors`.
    pub(super) fn read(
        &self,
        slot: &'static str,
        path: &[&str],
        value: &Spanned<DeValue<'_>>,
        errors: &mut Vec<Diagnostic>,
    ) -> Option<SlotConfig> {
        let Self { file, text, directory } = *self;
        let DeValue::Table(table) = value.get_ref() else {
            errors.push(Diagnostic::at(file, text, value.span(), format!("`{slot}` must be a table")));
            return None;
        };
        let Some(plugin) = table.get("plugin") else {
            let span = value.span();
            let head = text.get(span.clone()).and_then(|part| part.lines().next()).map_or(0, str::len);
            let message = format!("missing key `plugin` in [{slot}]");
            errors.push(Diagnostic::at(file, text, span.start..span.start + head, message));
            return None;
        };
        let Some(name) = plugin.get_ref().as_str() else {
            errors.push(Diagnostic::at(
                file,
                text,
                plugin.span(),
                format!("[{slot}] `plugin` must be a text: a plugin's name"),
            ));
            return None;
        };
        let keys: &[&str] = if slot == "consensus" { &CONSENSUS_KEYS } else { &SLOT_KEYS };
        let settings = Settings::new(file, text, path, keys);
        let mut library = |keys: [&str; 2]| {
            let found = Named { directory, slot, table, settings: &settings }.library(keys);
            found.map_err(|error| errors.push(error)).ok().flatten()
        };
        let proof_library = if slot == "consensus" { library(["proof_library", "proof_sha256"]) } else { None };
        let library = library(["library", "sha256"]);
        Some(SlotConfig { slot, plugin: name.to_owned(), library, proof_library, settings })
    }
}

/// A slot's table, which may name libraries.
struct Named<'a, 'i> {
    directory: &'a Path,
    slot: &'a str,
    table: &'a DeTable<'i>,
    settings: &'a Settings,
}

impl Named<'_, '_> {
    fn text(&self, key: &str) -> Result<Option<String>, Diagnostic> {
        let Self { slot, table, settings, .. } = self;
        match table.get(key) {
            None => Ok(None),
            Some(value) => match value.get_ref().as_str() {
                Some(text) if !text.is_empty() => Ok(Some(text.to_owned())),
                _ => Err(settings.error(key, format!("[{slot}] `{key}` must be a text, and not empty"))),
            },
        }
    }

    /// The library under one key, with its hash under another.
    fn library(&self, [file, pin]: [&str; 2]) -> Result<Option<LibraryFile>, Diagnostic> {
        let Self { directory, slot, settings, .. } = self;
        let sha256 = match self.text(pin)? {
            None => None,
            Some(hash) => Some(hash.parse::<Hash>().map_err(|error| {
                settings
                    .error(pin, format!("[{slot}] `{pin}`: {error}"))
                    .with_help("write what `sha256sum FILE` prints")
            })?),
        };
        match self.text(file)? {
            Some(shown) => Ok(Some(LibraryFile { path: directory.join(&shown), shown, sha256 })),
            None if sha256.is_some() => {
                Err(settings.error(pin, format!("[{slot}] `{pin}` is of a `{file}`, and there is none")))
            }
            None => Ok(None),
        }
    }
}
