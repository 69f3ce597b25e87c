//! `quorate plugin`: what this program is made of.

use clap::{Args, Subcommand};
use serde_json::json;

use crate::{bundled, exit::Failure, output};

/// Examples for `--help`.
pub const EXAMPLES: &str = "\
Examples:
  quorate plugin list
  quorate plugin list --settings";

/// Options of `plugin`.
#[derive(Debug, Clone, Args)]
pub struct PluginArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: PluginCommand,
}

/// What to do with plugins.
#[derive(Debug, Clone, Subcommand)]
pub enum PluginCommand {
    /// The plugins of each slot, and what they say of themselves
    #[command(after_help = "Example:\n  quorate plugin list --json")]
    List(ListArgs),
}

/// Options of `plugin list`.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// Show each plugin's own settings too
    #[arg(long)]
    pub settings: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`].
pub fn run(args: &PluginArgs) -> Result<(), Failure> {
    let PluginCommand::List(args) = &args.command;
    let plugins = bundled::registry().list();
    if args.json {
        let list = plugins.iter().map(|(slot, plugin)| {
            json!({
                "slot": slot,
                "plugin": plugin.name,
                "version": plugin.version,
                "origin": "bundled",
                "summary": plugin.summary,
                "example": plugin.example,
            })
        });
        return output::json(&list.collect::<Vec<_>>());
    }
    let mut rows = vec![["slot", "plugin", "version", "summary"].map(str::to_owned).to_vec()];
    for (slot, plugin) in &plugins {
        rows.push([slot, plugin.name, plugin.version, plugin.summary].map(str::to_owned).to_vec());
    }
    output::line(&output::table(&rows))?;
    if args.settings {
        for (slot, plugin) in plugins.iter().filter(|(_, plugin)| !plugin.example.is_empty()) {
            output::line(&format!("\n# {slot}: {}\n{}", plugin.name, plugin.example.trim_end()))?;
        }
    }
    Ok(())
}
