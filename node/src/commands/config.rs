//! `quorate config`: a node's effective settings and where each comes from, and the schema of its file.

use std::{collections::BTreeMap, path::PathBuf};

use clap::{Args, Subcommand};
use quorate::{Settings, plugin::Descriptor};
use quorate_kernel::{
    config::{Config, ENVIRONMENT_PREFIX},
    pool::PoolLimits,
    prune::KEEP_BLOCKS_MIN,
};
use serde_json::{Value, json};
use toml::de::{DeTable, DeValue};

use crate::{bundled, commands::run::overrides, exit::Failure, output};

/// Examples for `--help`.
pub const EXAMPLES: &str = "\
Examples:
  quorate config show --config validator-1.toml --origin
  quorate config schema > node.schema.json";

/// Options of `config`.
#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    /// What to show.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What to show of a configuration.
#[derive(Debug, Clone, Subcommand)]
pub enum ConfigCommand {
    /// The settings in force: environment before file before default
    #[command(after_help = "Example:\n  quorate config show --config validator-1.toml --origin")]
    Show(ShowArgs),
    /// The JSON schema of a node's file, for editors
    #[command(after_help = "Example:\n  quorate config schema > node.schema.json")]
    Schema,
}

/// Options of `config show`.
#[derive(Debug, Clone, Args)]
pub struct ShowArgs {
    /// The node's TOML file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Say where each value comes from: file and line, environment variable, or default
    #[arg(long)]
    pub origin: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// One setting in force.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
struct Setting {
    key: String,
    value: Value,
    origin: String,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`].
pub fn run(args: &ConfigArgs) -> Result<(), Failure> {
    match &args.command {
        ConfigCommand::Schema => output::line(schema_text().trim_end()),
        ConfigCommand::Show(args) => {
            let settings = effective(args)?;
            if args.json {
                return output::json(&settings);
            }
            let rows: Vec<Vec<String>> = settings
                .into_iter()
                .map(|Setting { key, value, origin }| {
                    let setting = format!("{key} = {value}");
                    if args.origin { vec![setting, format!("# {origin}")] } else { vec![setting] }
                })
                .collect();
            output::line(&output::table(&rows))
        }
    }
}

fn effective(args: &ShowArgs) -> Result<Vec<Setting>, Failure> {
    let environment = overrides();
    let config = Config::load(&args.config, &environment)?;
    let file = args.config.display().to_string();
    let own = std::fs::read_to_string(&args.config).map_err(|error| Failure::disk(&file, &error))?;
    let mut lines = BTreeMap::new();
    if let Ok(table) = DeTable::parse(&own) {
        note_lines(&own, table.get_ref(), "", &mut lines);
    }
    let table: toml::Table =
        config.text().parse().map_err(|error: toml::de::Error| Failure::config(format!("{file}: {error}")))?;
    let mut settings: Vec<Setting> = flatten(&table)
        .into_iter()
        .map(|(key, value)| {
            let variable = format!("{ENVIRONMENT_PREFIX}{}", key.replace('.', "__").to_uppercase());
            let from_environment = environment.iter().any(|(name, _)| name.to_uppercase() == variable);
            let origin = match lines.get(&key) {
                _ if from_environment => format!("environment {variable}"),
                Some(line) => format!("{file}:{line}"),
                None => file.clone(),
            };
            Setting { key, value, origin }
        })
        .collect();
    for (key, value) in defaults(&table) {
        if !settings.iter().any(|setting| setting.key == key) {
            settings.push(Setting { key, value, origin: "default".into() });
        }
    }
    settings.sort_by(|one, other| one.key.cmp(&other.key));
    Ok(settings)
}

/// What holds for keys which are not there: the pool's, and each plugin's as its example shows them.
fn defaults(table: &toml::Table) -> Vec<(String, Value)> {
    let PoolLimits { count_max, bytes_max, per_sender_max } = PoolLimits::default();
    let pool = [("count_max", count_max), ("bytes_max", bytes_max), ("per_sender_max", per_sender_max)];
    let mut found: Vec<(String, Value)> = pool.map(|(key, value)| (format!("pool.{key}"), value.into())).to_vec();
    let plugins = bundled::registry().list();
    let mut note = |slot: &str, path: &str, filled: &toml::Value| {
        let name = filled.get("plugin").and_then(toml::Value::as_str);
        let plugin = plugins.iter().find(|(of, plugin)| *of == slot && Some(plugin.name) == name);
        let example = plugin.map_or("", |(_, plugin)| own_example(slot, plugin)).parse::<toml::Table>();
        let values = example.map(|example| flatten(&example)).unwrap_or_default();
        found.extend(values.into_iter().map(|(key, value)| (join(path, &key), value)));
    };
    for (slot, value) in table {
        match value {
            toml::Value::Table(_) => note(slot, slot, value),
            toml::Value::Array(services) => {
                for (index, service) in services.iter().enumerate() {
                    note(slot, &join(slot, &index.to_string()), service);
                }
            }
            _ => {}
        }
    }
    found
}

/// The line of every key.
fn note_lines(text: &str, table: &DeTable<'_>, prefix: &str, lines: &mut BTreeMap<String, usize>) {
    for (key, value) in table {
        let path = join(prefix, key.get_ref());
        let before = text.get(..key.span().start).unwrap_or_default();
        lines.insert(path.clone(), before.matches('\n').count() + 1);
        match value.get_ref() {
            DeValue::Table(inner) => note_lines(text, inner, &path, lines),
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    if let DeValue::Table(inner) = item.get_ref() {
                        note_lines(text, inner, &join(&path, &index.to_string()), lines);
                    }
                }
            }
            _ => {}
        }
    }
}

fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") }
}

/// Every value that is no table, with its dotted key, secrets hidden.
fn flatten(table: &toml::Table) -> Vec<(String, Value)> {
    fn walk(prefix: &str, value: &toml::Value, out: &mut Vec<(String, Value)>) {
        match value {
            toml::Value::Table(table) => table.iter().for_each(|(key, value)| walk(&join(prefix, key), value, out)),
            toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
                for (index, item) in items.iter().enumerate() {
                    walk(&join(prefix, &index.to_string()), item, out);
                }
            }
            _ if is_secret(prefix) => out.push((prefix.to_owned(), "(hidden)".into())),
            // A TOML time has no JSON form but its text.
            toml::Value::Datetime(time) => out.push((prefix.to_owned(), time.to_string().into())),
            other => out.push((prefix.to_owned(), serde_json::to_value(other).unwrap_or(Value::Null))),
        }
    }
    let mut out = Vec::new();
    table.iter().for_each(|(key, value)| walk(key, value, &mut out));
    out
}

/// Whether a key names a secret itself, rather than a file that holds one.
fn is_secret(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or_default();
    !last.ends_with("_file")
        && ["token", "secret", "password", "seed", "private"].iter().any(|word| last.contains(word))
}

/// A plugin's own settings for people, secrets hidden.
pub fn settings_shown(settings: &Settings) -> Vec<(String, Value)> {
    settings.parse::<toml::Table>().map(|table| flatten(&table)).unwrap_or_default()
}

/// The JSON schema of a node's file: the kernel's keys, and each plugin's own as its example shows them.
pub fn schema_text() -> String {
    let plugins = bundled::registry().list();
    let slot = |slot: &str| slot_schema(&plugins, slot);
    let text = |description: &str| json!({"type": "string", "description": description});
    let count = |description: &str| json!({"type": "integer", "minimum": 1, "description": description});
    let node = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["name", "role", "key_file", "data_dir"],
        "properties": {
            "name": text("The node's name, for people: 1 to 64 bytes."),
            "role": {
                "enum": ["validator", "follower", "bootnode"],
                "description": "validator votes; follower verifies and serves; bootnode has no chain and runs services."
            },
            "genesis": text("What all nodes of the network agree on; relative to this file."),
            "key_file": text("The node's private key, mode 0600; relative to this file."),
            "data_dir": text("Where the node keeps what it must not lose; relative to this file."),
            "admin_token_file": text("The operator's secret, which operator-only requests must carry; relative to this file."),
            "keep_blocks": {
                "type": "integer",
                "minimum": KEEP_BLOCKS_MIN,
                "description": "How many of the last blocks are kept; without it all. State, validators, evidence and the ids of transactions stay."
            },
        }
    });
    let pool = json!({
        "type": "object",
        "additionalProperties": false,
        "description": "Transactions that wait for a block.",
        "properties": {
            "count_max": count("Transactions at most."),
            "bytes_max": count("Bytes at most."),
            "per_sender_max": count("Transactions of one sender at most."),
        }
    });
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A Quorate node",
        "type": "object",
        "additionalProperties": false,
        "required": ["node"],
        "properties": {
            "node": node,
            "consensus": slot("consensus"),
            "storage": slot("storage"),
            "transport": slot("transport"),
            "discovery": slot("discovery"),
            "application": slot("application"),
            "service": {"type": "array", "maxItems": 16, "items": slot("service")},
            "pool": pool,
        }
    });
    // Values of JSON are always written.
    serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
}

fn slot_schema(plugins: &[(&'static str, Descriptor)], slot: &str) -> Value {
    let of_slot: Vec<&Descriptor> = plugins.iter().filter(|(of, _)| *of == slot).map(|(_, plugin)| plugin).collect();
    let names: Vec<&str> = of_slot.iter().map(|plugin| plugin.name).collect();
    let variants: Vec<Value> = of_slot
        .iter()
        .map(|plugin| {
            json!({
                "if": {"properties": {"plugin": {"const": plugin.name}}},
                "then": {"description": plugin.summary, "properties": own_properties(slot, plugin)},
            })
        })
        .collect();
    let text = |description: &str| json!({"type": "string", "description": description});
    let mut properties = json!({
        "plugin": {"type": "string", "description": "The plugin that fills this slot.", "examples": names},
        "library": text("The shared library which has the plugin; relative to this file. Without it the program has it."),
        "sha256": text("The SHA-256 which the library must have."),
    });
    if let (Some(object), "consensus") = (properties.as_object_mut(), slot) {
        let library = "Of a node that only watches: the library of the consensus which genesis names.";
        object.insert("proof_library".into(), text(library));
        object.insert("proof_sha256".into(), text("The SHA-256 which that library must have."));
    }
    let mut schema = json!({"type": "object", "required": ["plugin"], "properties": properties});
    if let (Some(object), false) = (schema.as_object_mut(), variants.is_empty()) {
        object.insert("allOf".into(), variants.into());
    }
    schema
}

/// What a plugin says of its settings, if they are the node's own.
fn own_properties(slot: &str, plugin: &Descriptor) -> Value {
    if matches!(slot, "consensus" | "application") {
        return json!({});
    }
    let schema = serde_json::from_str::<Value>(&plugin.settings_schema()).unwrap_or_default();
    schema.get("properties").cloned().unwrap_or_else(|| json!({}))
}

/// A plugin's example, if it is of the node's own settings: for consensus and application it is of what stands in genesis.
fn own_example(slot: &str, plugin: &Descriptor) -> &'static str {
    if matches!(slot, "consensus" | "application") { "" } else { plugin.example }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_and_files_that_hold_them_are_not() {
        let table = "[a]\ntoken = \"x\"\nadmin_token_file = \"f\"\n[[service]]\npassword = \"y\"\n".parse().unwrap();
        let shown = flatten(&table);
        let value = |key: &str| shown.iter().find(|(k, _)| k == key).map(|(_, value)| value.clone()).unwrap();
        assert_eq!(value("a.token"), "(hidden)");
        assert_eq!(value("a.admin_token_file"), "f");
        assert_eq!(value("service.0.password"), "(hidden)");
    }
}
