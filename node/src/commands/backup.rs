//! `quorate backup`: a running node writes a consistent copy of its data.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use serde_json::{Value, json};

use crate::{
    exit::Failure,
    output,
    rpc::{Rpc, block_on},
};

/// Examples for `--help`.
pub const EXAMPLES: &str = "\
Examples:
  quorate backup --rpc http://127.0.0.1:8001 --to /var/backups/validator-1 --token-file devnet/admin.token
  quorate verify --data /var/backups/validator-1 --genesis devnet/genesis.toml

The node writes the copy on its own machine, of one final block and everything before, while it goes on. Keys and guards are not part \
of it. The node's file must name the token: [node] admin_token_file.";

/// How long a copy may take.
const BACKUP_WITHIN: Duration = Duration::from_secs(3600);

/// Options of `backup`.
#[derive(Debug, Clone, Args)]
pub struct BackupArgs {
    /// The node's RPC address
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8001")]
    pub rpc: String,
    /// The directory to write, on the node's machine; must not exist
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// The file with the operator's token
    #[arg(long, value_name = "FILE")]
    pub token_file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`].
pub fn run(args: &BackupArgs) -> Result<(), Failure> {
    let token = std::fs::read_to_string(&args.token_file)
        .map_err(|error| Failure::reading(args.token_file.display(), &error))?;
    let to = std::path::absolute(&args.to).map_err(|error| Failure::disk(args.to.display(), &error))?;
    let rpc = Rpc::new(&args.rpc)?.with_token(&token);
    let call = rpc.call_within(BACKUP_WITHIN, "quorate_backup", json!([to]));
    let answer = block_on(async { Ok(call.await?) })?;
    let height = answer.get("height").unwrap_or(&answer);
    if args.json {
        return output::json(&json!({"directory": to, "height": height}));
    }
    let height = height.as_u64().map_or_else(|| Value::to_string(height), |height| height.to_string());
    output::line(&format!("a copy up to block {height} is in {}", to.display()))
}
