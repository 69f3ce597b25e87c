//! Settings from the environment: put into the file's text, and found again when they are wrong.
//!
//! The text is changed rather than the values, so that plugins read overridden settings as they read any others. A value that is there is
//! replaced in its place; one that is not is a new line below its table's head, or at the top of the file when there is no such
//! table. Errors are told in the lines of the file as it is on disk, or by the variable's name.

use std::ops::Range;

use quorate::diagnostics::Diagnostic;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Before every overriding environment variable: `QUORATE__SLOT__KEY`.
pub const ENVIRONMENT_PREFIX: &str = "QUORATE__";

/// Variables that may override settings at most.
pub const OVERRIDES_MAX: usize = 256;

/// Names between the prefix and the end of a variable at most.
const DEPTH_MAX: usize = 8;

/// A text with the environment's values in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Overridden {
    text: String,
    marks: Vec<Mark>,
}

/// Where a variable's value stands.
#[derive(Debug, Clone)]
struct Mark {
    variable: String,
    span: Range<usize>,
    /// The span is a line which the file does not have.
    inserted: bool,
}

/// A variable, taken apart.
struct Override {
    variable: String,
    path: Vec<String>,
    inserted: bool,
}

/// How the text is to be changed.
struct Edit {
    span: Range<usize>,
    with: String,
    inserted: bool,
}

impl Overridden {
    /// Puts the variables of `environment` that are ours into `text`.
    ///
    /// # Errors
    ///
    /// Every variable that can't be put in. A text that can't be read is left as it is: its reader says what is wrong, better.
    pub(super) fn new(text: &str, environment: &[(String, String)]) -> Result<Self, Vec<Diagnostic>> {
        let ours = environment.iter().filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX));
        let mut overridden = Self { text: text.into(), marks: Vec::new() };
        if DeTable::parse(text).is_err() {
            return Ok(overridden);
        }
        let (mut errors, mut applied) = (Vec::new(), Vec::new());
        for (at, (variable, value)) in ours.enumerate() {
            let put = if at >= OVERRIDES_MAX {
                Err(format!("more than {OVERRIDES_MAX} variables begin with {ENVIRONMENT_PREFIX}"))
            } else {
                overridden.put(variable, value)
            };
            match put {
                Ok(one) => applied.push(one),
                Err(why) => {
                    let help = "write it like QUORATE__TRANSPORT__RPC_LISTEN or QUORATE__SERVICE__0__LISTEN";
                    errors.push(Diagnostic::of_file(&of(variable), why).with_help(help));
                }
            }
            if at >= OVERRIDES_MAX {
                break;
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        overridden.mark(applied);
        Ok(overridden)
    }

    /// The text in force.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Tells an error about this text as one of the file, or of the variable that it is about.
    pub(super) fn locate(&self, mut error: Diagnostic) -> Diagnostic {
        if error.line == 0 || self.marks.is_empty() {
            return error;
        }
        let start = line_start(&self.text, error.line);
        let within = self.text.get(start..).unwrap_or_default();
        let offset =
            start + within.char_indices().nth(error.column.saturating_sub(1)).map_or(within.len(), |(at, _)| at);
        if let Some(mark) = self.marks.iter().find(|mark| mark.span.contains(&offset)) {
            let named = Diagnostic::of_file(&of(&mark.variable), error.message);
            return Diagnostic { help: error.help, ..named };
        }
        error.line -= self.marks.iter().filter(|mark| mark.inserted && mark.span.start < start).count();
        error
    }

    fn put(&mut self, variable: &str, value: &str) -> Result<Override, String> {
        let path = variable.strip_prefix(ENVIRONMENT_PREFIX).unwrap_or_default().to_lowercase();
        let path: Vec<String> = path.split("__").map(str::to_owned).collect();
        let bare = |word: &String| {
            !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        };
        if !(2..=DEPTH_MAX).contains(&path.len()) || !path.iter().all(bare) {
            return Err("names no table and key".into());
        }
        let edit = plan(&self.text, &path, value)?;
        let mut changed = self.text.clone();
        changed.replace_range(edit.span, &edit.with);
        if DeTable::parse(&changed).is_err() {
            return Err("can't be put into the file; write the key there and it will be replaced".into());
        }
        self.text = changed;
        Ok(Override { variable: variable.into(), path, inserted: edit.inserted })
    }

    /// Notes where each value stands, now that none moves any more.
    fn mark(&mut self, applied: Vec<Override>) {
        let Ok(root) = DeTable::parse(&self.text) else { return };
        for Override { variable, path, inserted } in applied {
            let Some(value) = find(&root, &path) else { continue };
            let mut span = value.span();
            if inserted {
                let start = self.text.get(..span.start).and_then(|head| head.rfind('\n')).map_or(0, |at| at + 1);
                let end = self
                    .text
                    .get(span.end..)
                    .and_then(|rest| rest.find('\n'))
                    .map_or(self.text.len(), |at| span.end + at);
                span = start..end;
            }
            self.marks.push(Mark { variable, span, inserted });
        }
    }
}

fn of(variable: &str) -> String {
    format!("environment variable {variable}")
}

fn line_start(text: &str, line: usize) -> usize {
    let before = text.split_inclusive('\n').take(line.saturating_sub(1));
    before.map(str::len).sum()
}

fn find<'t, 'i>(root: &'t Spanned<DeTable<'i>>, path: &[String]) -> Option<&'t Spanned<DeValue<'i>>> {
    let (first, rest) = path.split_first()?;
    let mut value = root.get_ref().get(first.as_str())?;
    for word in rest {
        value = step(value.get_ref(), word)?;
    }
    Some(value)
}

fn step<'t, 'i>(value: &'t DeValue<'i>, word: &str) -> Option<&'t Spanned<DeValue<'i>>> {
    match value {
        DeValue::Table(table) => table.get(word),
        DeValue::Array(items) => items.get(word.parse::<usize>().ok()?),
        _ => None,
    }
}

/// How `value` gets to `path`.
fn plan(text: &str, path: &[String], value: &str) -> Result<Edit, String> {
    let root = DeTable::parse(text).map_err(|error| error.message().to_owned())?;
    if let Some(found) = find(&root, path) {
        return Ok(Edit { span: found.span(), with: written(value, found.get_ref().is_str()), inserted: false });
    }
    // The innermost table on the way that has a head or braces; the rest of the path is a dotted key in it.
    let mut place = Edit { span: 0..0, with: line(path, value), inserted: true };
    let mut current: Option<&Spanned<DeValue<'_>>> = None;
    for (depth, word) in path.iter().enumerate() {
        let next = match current {
            None => root.get_ref().get(word.as_str()),
            Some(value) => step(value.get_ref(), word),
        };
        let Some(next) = next else { break };
        let rest = path.get(depth + 1..).unwrap_or_default();
        let here = path.get(..=depth).unwrap_or_default().join(".");
        match next.get_ref() {
            DeValue::Table(_) => {}
            DeValue::Array(items) => {
                let index = rest.first().and_then(|index| index.parse::<usize>().ok());
                if index.is_none_or(|index| index >= items.len()) {
                    return Err(format!("`{here}` has {} entries, numbered from 0", items.len()));
                }
                current = Some(next);
                continue;
            }
            _ => return Err(format!("`{here}` is no table")),
        }
        let start = next.span().start;
        match text.get(start..).and_then(|rest| rest.chars().next()) {
            Some('[') => {
                let end = text.get(start..).and_then(|rest| rest.find('\n')).map(|at| start + at + 1);
                let with = line(rest, value);
                place = match end {
                    Some(end) => Edit { span: end..end, with, inserted: true },
                    None => Edit { span: text.len()..text.len(), with: format!("\n{with}"), inserted: true },
                };
            }
            Some('{') => {
                let empty = matches!(next.get_ref(), DeValue::Table(table) if table.is_empty());
                let with = format!(" {} = {}{}", rest.join("."), written(value, false), if empty { "" } else { "," });
                place = Edit { span: start + 1..start + 1, with, inserted: false };
            }
            // Made by a dotted key: what is above it has a place.
            _ => {}
        }
        current = Some(next);
    }
    Ok(place)
}

fn line(path: &[String], value: &str) -> String {
    format!("{} = {}\n", path.join("."), written(value, false))
}

/// A value as TOML: as it is if it is a value, else as a text. Where a text stands, a number stays a text.
fn written(value: &str, was_text: bool) -> String {
    let trimmed = value.trim();
    let plain = !trimmed.contains(['\n', '\r', '#']);
    let usable = |parsed: toml::Value| !was_text || parsed.is_str() || parsed.is_array() || parsed.is_table();
    if plain && trimmed.parse::<toml::Value>().is_ok_and(usable) {
        return trimmed.to_owned();
    }
    let mut text = String::with_capacity(value.len() + 2);
    text.push('"');
    for one in value.chars() {
        match one {
            '"' | '\\' => text.extend(['\\', one]),
            control if control.is_control() => text.push_str(&format!("\\u{:04X}", u32::from(control))),
            other => text.push(other),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(text: &str, variables: &[(&str, &str)]) -> Result<Overridden, Vec<Diagnostic>> {
        let environment: Vec<_> =
            variables.iter().map(|(name, value)| (format!("QUORATE__{name}"), (*value).to_owned())).collect();
        Overridden::new(text, &environment)
    }

    fn value(text: &str, variables: &[(&str, &str)], path: &[&str]) -> toml::Value {
        let overridden = put(text, variables).unwrap();
        let mut value: toml::Value = toml::Value::Table(overridden.text().parse().unwrap());
        for word in path {
            value = match word.parse::<usize>() {
                Ok(index) => value[index].clone(),
                Err(_) => value[word].clone(),
            };
        }
        value
    }

    const FILE: &str =
        "# head\n[node]\nname = \"a\" # who\nport = 1\n\n[transport]\nplugin = \"http\"\n[[service]]\nplugin = \"x\"\n";

    #[test]
    fn a_value_is_replaced_or_added_wherever_it_belongs() {
        for (file, variable, path) in [
            (FILE, "NODE__NAME", &["node", "name"][..]),
            (FILE, "TRANSPORT__LISTEN", &["transport", "listen"]),
            (FILE, "TRANSPORT__TLS__CERT", &["transport", "tls", "cert"]),
            (FILE, "SERVICE__0__PLUGIN", &["service", "0", "plugin"]),
            (FILE, "SERVICE__0__LISTEN", &["service", "0", "listen"]),
            (FILE, "STORAGE__PLUGIN", &["storage", "plugin"]),
            ("[node]", "NODE__NAME", &["node", "name"]),
            ("", "NODE__NAME", &["node", "name"]),
            ("node = { port = 1 }", "NODE__NAME", &["node", "name"]),
            ("node = {}", "NODE__NAME", &["node", "name"]),
            ("node.port = 1\n[x]\n", "NODE__NAME", &["node", "name"]),
            ("[node]\ntls.a = 1\n", "NODE__TLS__B", &["node", "tls", "b"]),
            ("service = [{ a = 1 }]", "SERVICE__0__LISTEN", &["service", "0", "listen"]),
            ("[transport.tls]\na = 1\n", "TRANSPORT__LISTEN", &["transport", "listen"]),
        ] {
            assert_eq!(value(file, &[(variable, "new")], path).as_str(), Some("new"), "{file:?} {variable}");
        }
    }

    #[test]
    fn several_variables_add_up() {
        let variables = [
            ("TRANSPORT__TLS__A", "1"),
            ("TRANSPORT__TLS__B", "2"),
            ("STORAGE__A", "3"),
            ("STORAGE__B", "4"),
            ("NODE__NAME", "n"),
        ];
        assert_eq!(value(FILE, &variables, &["transport", "tls", "b"]).as_integer(), Some(2));
        assert_eq!(value(FILE, &variables, &["storage", "a"]).as_integer(), Some(3));
        assert_eq!(value(FILE, &variables, &["node", "name"]).as_str(), Some("n"));
    }

    #[test]
    fn a_value_is_toml_if_it_can_be_and_a_text_otherwise() {
        let new = |text: &str| value(FILE, &[("NODE__NEW", text)], &["node", "new"]);
        assert_eq!(new("5").as_integer(), Some(5));
        assert_eq!(new("true").as_bool(), Some(true));
        assert_eq!(new("[\"a\", \"b\"]").as_array().map(Vec::len), Some(2));
        for text in ["127.0.0.1:1", "a \"b\" \\ c", "x\n[evil]\ny = 1", "1 # no comment", "[1,\n2]", "", "\u{1}", "ä"]
        {
            assert_eq!(new(text).as_str(), Some(text));
        }
        assert_eq!(
            value(FILE, &[("NODE__NAME", "123")], &["node", "name"]).as_str(),
            Some("123"),
            "a name stays a text"
        );
        assert_eq!(value(FILE, &[("NODE__PORT", "2")], &["node", "port"]).as_integer(), Some(2));
    }

    #[test]
    fn what_names_no_key_is_refused_by_name() {
        for (variable, words) in [
            ("NODE", "no table and key"),
            ("", "no table and key"),
            ("NODE____NAME", "no table and key"),
            ("NODE__A B", "no table and key"),
            ("A__B__C__D__E__F__G__H__I", "no table and key"),
            ("NODE__NAME__DEEPER", "`node.name` is no table"),
            ("NODE__NAME__DEEPER__STILL", "`node.name` is no table"),
            ("SERVICE__1__PLUGIN", "`service` has 1 entries"),
            ("SERVICE__PLUGIN", "`service` has 1 entries"),
        ] {
            let errors = put(FILE, &[(variable, "x")]).unwrap_err();
            assert_eq!(errors[0].file, format!("environment variable QUORATE__{variable}"));
            assert!(errors[0].message.contains(words), "{errors:?}");
        }
    }

    #[test]
    fn errors_are_told_in_the_files_own_lines_or_by_the_variable() {
        let overridden = put(
            FILE,
            &[("STORAGE__PLUGIN", "s"), ("NODE__NEW", "1"), ("TRANSPORT__PLUGIN", "udp"), ("NODE__NAME", "b")],
        )
        .unwrap();
        let locate = |needle: &str| {
            let at = overridden.text().find(needle).unwrap();
            let found = Diagnostic::at("f", overridden.text(), at..at + 1, "m");
            let located = overridden.locate(found);
            (located.file, located.line)
        };
        assert_eq!(locate("port"), ("f".into(), 4));
        assert_eq!(locate("[transport]"), ("f".into(), 6));
        assert_eq!(locate("[[service]]"), ("f".into(), 8));
        assert_eq!(locate("\"udp\""), ("environment variable QUORATE__TRANSPORT__PLUGIN".into(), 0));
        assert_eq!(locate("new ="), ("environment variable QUORATE__NODE__NEW".into(), 0));
        assert_eq!(locate("storage."), ("environment variable QUORATE__STORAGE__PLUGIN".into(), 0));
        assert_eq!(locate("name ="), ("f".into(), 3), "the key is the file's, the value the variable's");
    }

    #[test]
    fn a_text_that_is_no_toml_is_left_to_its_reader() {
        assert_eq!(put("[node\n", &[("NODE__NAME", "x")]).unwrap().text(), "[node\n");
    }
}
