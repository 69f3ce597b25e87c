//! `quorate key`: node keys.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use quorate_kernel::{key::NodeKey, signer::guard_path};
use serde_json::json;

use crate::{
    commands::init::{key_failure, make_key},
    exit::Failure,
    output,
};

/// Examples for `--help`.
pub const EXAMPLES: &str = "\
Examples:
  quorate key new keys/validator-4.key
  quorate key show keys/validator-4.key --json";

/// Options of `key`.
#[derive(Debug, Clone, Args)]
pub struct KeyArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: KeyCommand,
}

/// What to do with a key.
#[derive(Debug, Clone, Subcommand)]
pub enum KeyCommand {
    /// Make a new key (mode 0600) and, beside it, its empty guard
    #[command(after_help = "Example:\n  quorate key new keys/validator-4.key")]
    New(KeyFile),
    /// Show a key's public half, never its private one
    #[command(after_help = "Example:\n  quorate key show keys/validator-4.key")]
    Show(KeyFile),
}

/// Which key.
#[derive(Debug, Clone, Args)]
pub struct KeyFile {
    /// The key's file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`].
pub fn run(args: &KeyArgs) -> Result<(), Failure> {
    let (file, key) = match &args.command {
        KeyCommand::New(file) => (file, make_key(&file.file, true)?),
        KeyCommand::Show(file) => (file, NodeKey::load(&file.file).map_err(key_failure)?),
    };
    let guard = guard_path(&file.file);
    if file.json {
        return output::json(&json!({
            "public_key": key.public_key(),
            "development": key.is_development(),
            "key_file": file.file,
            "guard_file": guard,
            "guarded": guard.exists(),
        }));
    }
    let note = if key.is_development() { "\ndevelopment key: everybody can compute it" } else { "" };
    let missing = if guard.exists() { "" } else { " (missing)" };
    output::line(&format!(
        "public key {}\nkey        {}\nguard      {}{missing}{note}",
        key.public_key(),
        file.file.display(),
        guard.display()
    ))
}
