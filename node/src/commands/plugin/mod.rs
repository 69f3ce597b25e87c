//! `quorate plugin`: what this program is made of, what is in a shared library, and whether it keeps its contract.

pub mod new;
pub mod test;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use quorate::plugin::Descriptor;
use quorate_abi::host;
use serde_json::{Value, json};

use crate::{
    bundled,
    commands::run::overrides,
    exit::{Exit, Failure},
    libraries::{self, Trial},
    output,
};

/// Examples for `--help`.
pub const EXAMPLES: &str = "\
Examples:
  quorate plugin list
  quorate plugin list --settings
  quorate plugin inspect ./libmine.so
  quorate plugin test ./libmine.so
  quorate plugin new consensus my-rule";

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
    /// What a shared library has, and what its plugins say of themselves
    #[command(after_help = "Example:\n  quorate plugin inspect ./libmine.so")]
    Inspect(InspectArgs),
    /// Write a crate with the smallest plugin of a kind
    #[command(after_help = new::EXAMPLES)]
    New(new::NewArgs),
    /// Try every rule of the contract that a library's plugins must keep
    #[command(after_help = test::EXAMPLES)]
    Test(test::TestArgs),
    /// Set plugins up as a node would, to see whether they end the process
    #[command(hide = true, after_help = "Example:\n  quorate plugin try --config validator-1.toml")]
    Try(TryArgs),
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

/// Options of `plugin inspect`.
#[derive(Debug, Clone, Args)]
pub struct InspectArgs {
    /// The library
    #[arg(value_name = "LIBRARY")]
    pub library: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `plugin try`.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct TryArgs {
    /// A node's TOML file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A library
    #[arg(long, value_name = "LIBRARY")]
    pub library: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`].
pub fn run(args: &PluginArgs) -> Result<(), Failure> {
    match &args.command {
        PluginCommand::List(args) => list(args),
        PluginCommand::Inspect(args) => inspect(args),
        PluginCommand::New(args) => new::run(args),
        PluginCommand::Test(args) => test::run(args),
        PluginCommand::Try(TryArgs { config: Some(config), .. }) => {
            libraries::be_the_child(Trial::Config(config), &overrides())
        }
        PluginCommand::Try(TryArgs { library: Some(library), .. }) => {
            libraries::be_the_child(Trial::Library(library), &overrides())
        }
        PluginCommand::Try(_) => Ok(()),
    }
}

fn list(args: &ListArgs) -> Result<(), Failure> {
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
                "schema": schema(plugin),
                "promises": plugin.promises,
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

/// What a plugin says of its settings, for programs.
fn schema(about: &Descriptor) -> Value {
    serde_json::from_str(&about.settings_schema()).unwrap_or(Value::Null)
}

fn inspect(args: &InspectArgs) -> Result<(), Failure> {
    let shown = args.library.display().to_string();
    libraries::try_in_child(Trial::Library(&args.library))?;
    let library =
        host::load(&args.library, &shown, None).map_err(|error| Failure::new(Exit::Plugin, error.to_string()))?;
    let abi = format!("{}.{}", library.abi.0, library.abi.1);
    if args.json {
        let plugins = library.plugins.iter().map(|plugin| {
            let about = plugin.descriptor();
            json!({
                "slot": plugin.slot().as_str(),
                "plugin": about.name,
                "version": about.version,
                "summary": about.summary,
                "example": about.example,
                "schema": schema(&about),
                "promises": about.promises,
            })
        });
        return output::json(&json!({
            "library": library.path,
            "sha256": library.sha256,
            "abi": abi,
            "build": library.build,
            "plugins": plugins.collect::<Vec<_>>(),
        }));
    }
    output::line(&format!("{shown}\nsha256 {}\nplugin ABI {abi}, built by {}", library.sha256, library.build))?;
    for plugin in &library.plugins {
        let about = plugin.descriptor();
        output::line(&format!("\n{} plugin `{}` {}: {}", plugin.slot(), about.name, about.version, about.summary))?;
        if !about.promises.is_empty() {
            output::line(&format!("promises: {}", about.promises.join(", ")))?;
        }
        if !about.example.is_empty() {
            output::line(&format!("an example of its settings:\n{}", about.example.trim_end()))?;
        }
    }
    Ok(())
}
