//! `quorate check`: what a node's file would run, or every error in it.

use std::path::PathBuf;

use clap::Args;
use quorate_kernel::config::Assembly;
use serde_json::{Map, Value, json};

use crate::{
    commands::{config::settings_shown, run},
    exit::Failure,
    output,
};

/// Examples for `--help`.
pub const EXAMPLES: &str = "\
Examples:
  quorate check --config validator-1.toml
  quorate check --config validator-1.toml --json

Opens nothing for writing and no socket. When something is wrong it exits with 78 and tells every error with file, line and column.";

/// Options of `check`.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// The node's TOML file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`].
pub fn run(args: &CheckArgs) -> Result<(), Failure> {
    let assembly = run::assemble(&args.config)?;
    if args.json { output::json(&as_json(&assembly)) } else { output::line(&as_text(&assembly)) }
}

fn as_json(assembly: &Assembly) -> Value {
    let slots = assembly.plugins.iter().map(|(slot, plugin)| {
        json!({
            "slot": slot.slot,
            "plugin": plugin.name,
            "version": plugin.version,
            "origin": slot.origin(),
            "settings": settings_shown(&slot.settings).into_iter().collect::<Map<String, Value>>(),
        })
    });
    let chain = assembly.chain.as_ref();
    json!({
        "name": assembly.node.name,
        "role": assembly.node.role,
        "chain_id": chain.map(|chain| chain.genesis.chain_id()),
        "chain_name": chain.map(|chain| chain.genesis.chain_name()),
        "tolerates": chain.map(|chain| &chain.report.tolerates),
        "slots": slots.collect::<Vec<_>>(),
        "warnings": assembly.warnings,
    })
}

fn as_text(assembly: &Assembly) -> String {
    let mut text = format!("{} ({})\n", assembly.node.name, assembly.node.role);
    if let Some(chain) = &assembly.chain {
        let genesis = &chain.genesis;
        text += &format!("chain {} {}\n", genesis.chain_name(), genesis.chain_id());
        text += &format!("tolerates: {}\n", chain.report.tolerates);
    }
    let mut rows = vec![["slot", "plugin", "version", "origin", "settings"].map(str::to_owned).to_vec()];
    for (slot, plugin) in &assembly.plugins {
        let settings = settings_shown(&slot.settings).into_iter().map(|(key, value)| format!("{key} = {value}"));
        rows.push(vec![
            slot.slot.to_owned(),
            plugin.name.to_owned(),
            plugin.version.to_owned(),
            slot.origin().to_owned(),
            settings.collect::<Vec<_>>().join(", "),
        ]);
    }
    text += &format!("\n{}", output::table(&rows));
    for warning in &assembly.warnings {
        text += &format!("\nwarning: {warning}");
    }
    text
}
