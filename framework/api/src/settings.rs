//! A table of a TOML file, read strictly: all errors at once, each pointing into the file.

use std::{collections::BTreeSet, ops::Range};

use borsh::{BorshDeserialize, BorshSerialize};
use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::diagnostics::{Diagnostic, closest};

/// Errors reported for one table at most.
pub const ERRORS_MAX: usize = 50;

/// A table without keys: every one is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoKeys {}

/// One plugin's own table: the whole text of its file and which table in it is meant.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Settings {
    file: String,
    text: String,
    table: Vec<String>,
    without: Vec<String>,
}

impl Settings {
    /// The table at `path` (`["transport"]`; a number selects from an array of tables) in `text`, without the keys `without`,
    /// which are the kernel's.
    pub fn new(file: &str, text: &str, path: &[&str], without: &[&str]) -> Self {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self { file: file.into(), text: text.into(), table: owned(path), without: owned(without) }
    }

    /// A table given as text of its own, for tests and for nodes made in code.
    pub fn from_text(text: &str) -> Self {
        Self::new("settings", text, &[], &[])
    }

    /// The name of the file.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Reads the table as `T`, which should have `#[serde(deny_unknown_fields)]`. A table that is not there is an empty one.
    ///
    /// # Errors
    ///
    /// Every error in the table.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Vec<Diagnostic>> {
        let root = DeTable::parse(&self.text).map_err(|error| vec![from_toml(&self.file, &self.text, &error)])?;
        let (mut table, name) = self.select(root)?;
        for key in &self.without {
            table.get_mut().remove(key.as_str());
        }
        parse_table(&self.file, &self.text, &name, table)
    }

    /// An error about `key` of this table, pointing at its value where there is one.
    pub fn error(&self, key: &str, message: impl Into<String>) -> Diagnostic {
        let message = message.into();
        let found = DeTable::parse(&self.text).ok().and_then(|root| {
            let (table, _) = self.select(root).ok()?;
            let (_, value) = table.get_ref().get_key_value(key)?;
            Some(value.span())
        });
        match found {
            Some(span) => Diagnostic::at(&self.file, &self.text, span, message),
            None => Diagnostic::of_file(&self.file, message),
        }
    }

    fn select<'i>(&self, root: Spanned<DeTable<'i>>) -> Result<(Spanned<DeTable<'i>>, String), Vec<Diagnostic>> {
        let mut table = root;
        let mut name = String::new();
        let mut words = self.table.iter().peekable();
        while let Some(word) = words.next() {
            if !name.is_empty() {
                name.push('.');
            }
            name.push_str(word);
            let found = table.get_mut().remove(word.as_str());
            let Some(mut value) = found else {
                return Ok((Spanned::new(0..0, DeTable::new()), name));
            };
            if let DeValue::Array(array) = value.get_ref() {
                let index = words.peek().and_then(|index| index.parse::<usize>().ok());
                if let Some(index) = index
                    && let Some(item) = array.get(index)
                {
                    value = item.clone();
                    words.next();
                }
            }
            let span = value.span();
            let DeValue::Table(inner) = value.into_inner() else {
                return Err(vec![Diagnostic::at(&self.file, &self.text, span, format!("`{name}` must be a table"))]);
            };
            table = Spanned::new(span, inner);
        }
        Ok((table, name))
    }
}

/// Reads a whole file as `T`, all errors at once.
///
/// # Errors
///
/// Every error in the file.
pub fn parse_file<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, Vec<Diagnostic>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(errors.iter().take(ERRORS_MAX).map(|error| from_toml(file, text, error)).collect());
    }
    parse_table(file, text, "", table)
}

/// Reads the table again and again, each time without the entry that was wrong, until no error is left.
fn parse_table<T: DeserializeOwned>(
    file: &str,
    text: &str,
    name: &str,
    mut table: Spanned<DeTable<'_>>,
) -> Result<T, Vec<Diagnostic>> {
    let mut errors = Vec::new();
    let mut removed = BTreeSet::new();
    for _ in 0..ERRORS_MAX {
        let error = match T::deserialize(toml::Deserializer::from(table.clone())) {
            Ok(value) if errors.is_empty() => return Ok(value),
            Ok(_) => break,
            Err(error) => error,
        };
        if let Some(key) = quoted(error.message(), "missing field `") {
            // A key that was taken out because it was wrong is not missing too.
            if !removed.contains(&key) {
                errors.push(missing(file, text, name, &key, error.span()));
            }
            // Go on with a stand-in in the outermost table, so that what follows is seen too.
            if table.get_ref().contains_key(key.as_str()) {
                break;
            }
            table
                .get_mut()
                .insert(Spanned::new(0..0, key.clone().into()), Spanned::new(0..0, DeValue::String("".into())));
            removed.insert(key);
            continue;
        }
        // An error without a place is about a stand-in: nothing behind it can be seen.
        let Some(span) = error.span().filter(|span| !span.is_empty()) else {
            if errors.is_empty() {
                errors.push(Diagnostic::of_file(file, error.message()));
            }
            break;
        };
        errors.push(from_toml(file, text, &error));
        match remove(table.get_mut(), &span) {
            Some(key) => removed.insert(key),
            None => break,
        };
    }
    Err(errors)
}

fn missing(file: &str, text: &str, table: &str, key: &str, span: Option<Range<usize>>) -> Diagnostic {
    let within = if table.is_empty() { String::new() } else { format!(" in [{table}]") };
    let message = format!("missing key `{key}`{within}");
    match span.filter(|span| !span.is_empty()) {
        Some(span) => Diagnostic::at(file, text, first_line(text, span), message),
        None => Diagnostic::of_file(file, message),
    }
}

fn first_line(text: &str, span: Range<usize>) -> Range<usize> {
    let len = text.get(span.clone()).and_then(|part| part.lines().next()).map_or(0, str::len);
    span.start..span.start + len
}

/// Removes the entry whose key or value stands at `span`, wherever it is; returns its key.
fn remove(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<String> {
    let hit = table
        .iter()
        .find(|(key, value)| key.span() == *span || value.span() == *span)
        .map(|(key, _)| key.get_ref().to_string());
    if let Some(key) = hit {
        table.remove(key.as_str());
        return Some(key);
    }
    for (_, value) in table.iter_mut() {
        match value.get_mut() {
            DeValue::Table(inner) => {
                if let Some(key) = remove(inner, span) {
                    return Some(key);
                }
            }
            DeValue::Array(items) => {
                for item in items.iter_mut() {
                    if let DeValue::Table(inner) = item.get_mut()
                        && let Some(key) = remove(inner, span)
                    {
                        return Some(key);
                    }
                }
            }
            _ => {}
        }
    }
    None
}

fn quoted(message: &str, before: &str) -> Option<String> {
    let rest = message.strip_prefix(before)?;
    rest.split('`').next().map(str::to_owned)
}

/// Turns serde's words into ours, with what was meant.
fn from_toml(file: &str, text: &str, error: &toml::de::Error) -> Diagnostic {
    let message = error.message();
    let (unknown, what) = match (quoted(message, "unknown field `"), quoted(message, "unknown variant `")) {
        (Some(word), _) => (Some(word), "key"),
        (_, Some(word)) => (Some(word), "value"),
        _ => (None, ""),
    };
    let shown = match &unknown {
        Some(word) => format!("unknown {what} `{word}`"),
        None => message.replace('\n', " "),
    };
    let span = error.span().unwrap_or(0..0);
    let mut diagnostic = Diagnostic::at(file, text, span, shown);
    if let Some(word) = unknown {
        // serde lists what it knows after "expected", each in backticks.
        let known: Vec<&str> = message
            .split_once("expected")
            .map(|(_, list)| list.split('`').skip(1).step_by(2).collect())
            .unwrap_or_default();
        diagnostic = match closest(&word, known.iter().copied()) {
            Some(meant) => diagnostic.with_help(format!("did you mean `{meant}`?")),
            None if known.is_empty() => diagnostic.with_help("there are no keys here"),
            None => diagnostic.with_help(format!("expected one of `{}`", known.join("`, `"))),
        };
    }
    diagnostic
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Listen {
        listen: String,
        #[serde(default)]
        peers: u32,
    }

    #[test]
    fn a_table_is_read_without_the_kernels_keys() {
        let text = "[transport]\nplugin = \"http\"\nlisten = \"a\"\n";
        let settings = Settings::new("a.toml", text, &["transport"], &["plugin"]);
        assert_eq!(settings.parse(), Ok(Listen { listen: "a".into(), peers: 0 }));
    }

    #[test]
    fn all_errors_come_at_once_with_their_places() {
        let text = "[transport]\nplugin = \"http\"\nlisen = \"a\"\npeers = \"many\"\n";
        let settings = Settings::new("a.toml", text, &["transport"], &["plugin"]);
        let errors = settings.parse::<Listen>().unwrap_err();
        let shown: Vec<_> = errors.iter().map(|e| (e.line, e.column, e.message.clone(), e.help.clone())).collect();
        assert_eq!(shown.len(), 3, "{shown:?}");
        assert!(shown.contains(&(3, 1, "unknown key `lisen`".into(), Some("did you mean `listen`?".into()))));
        assert!(shown.iter().any(|(line, column, ..)| (*line, *column) == (4, 9)));
        assert!(shown.iter().any(|(.., message, _)| message.starts_with("missing key `listen`")));
    }

    #[test]
    fn a_service_is_selected_by_its_place() {
        let text = "[[service]]\nlisten = \"a\"\n[[service]]\nlisten = \"b\"\n";
        let settings = Settings::new("a.toml", text, &["service", "1"], &[]);
        assert_eq!(settings.parse::<Listen>().unwrap().listen, "b");
    }
}
