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

/// One slot of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotConfig {
    /// The slot's name.
    pub slot: &'static str,
    /// The plugin's name.
    pub plugin: String,
    /// The library that has it; without one it is the program's own.
    pub library: Option<LibraryFile>,
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
        let settings = Settings::new(file, text, path, &SLOT_KEYS);
        let library = library_file(directory, slot, table, &settings).unwrap_or_else(|error| {
            errors.push(error);
            None
        });
        Some(SlotConfig { slot, plugin: name.to_owned(), library, settings })
    }
}

/// The library of a slot's table.
fn library_file(
    directory: &Path,
    slot: &str,
    table: &DeTable<'_>,
    settings: &Settings,
) -> Result<Option<LibraryFile>, Diagnostic> {
    let text = |key: &str| match table.get(key) {
        None => Ok(None),
        Some(value) => match value.get_ref().as_str() {
            Some(text) if !text.is_empty() => Ok(Some(text.to_owned())),
            _ => Err(settings.error(key, format!("[{slot}] `{key}` must be a text, and not empty"))),
        },
    };
    let sha256 = match text("sha256")? {
        None => None,
        Some(hash) => Some(hash.parse::<Hash>().map_err(|error| {
            settings
                .error("sha256", format!("[{slot}] `sha256`: {error}"))
                .with_help("write what `sha256sum FILE` prints")
        })?),
    };
    match text("library")? {
        Some(shown) => Ok(Some(LibraryFile { path: directory.join(&shown), shown, sha256 })),
        None if sha256.is_some() => {
            Err(settings.error("sha256", format!("[{slot}] `sha256` is of a `library`, and there is none")))
        }
        None => Ok(None),
    }
}
