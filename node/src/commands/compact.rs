//! `quorate compact`: makes the store of a node that does not run as small as it can be.

use std::path::{Path, PathBuf};

use clap::Args;
use quorate::{Settings, plugin::StoragePlugin as _};
use quorate_storage_redb::{FILE, RedbPlugin};
use serde_json::json;

use crate::{
    exit::{Exit, Failure},
    output,
    source::not_opened,
};

/// Examples for `--help`.
pub const EXAMPLES: &str = "\
Examples:
  quorate compact --data data/validator-1

Worth it once, after a node was told to keep fewer blocks ([node] keep_blocks) and has removed the others: later blocks use the room that \
removed ones left, without this. It may be killed at any time. The same at each start: [storage] compact_at_start = true.";

/// Options of `compact`.
#[derive(Debug, Clone, Args)]
pub struct CompactArgs {
    /// The data_dir of a node that does not run
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`]: [`Exit::Failed`] when there is no such store, [`Exit::Locked`] when a node uses it, [`Exit::Damaged`], [`Exit::Disk`].
pub fn run(args: &CompactArgs) -> Result<(), Failure> {
    let file = args.data.join(FILE);
    let before = bytes(&file)?;
    let settings = Settings::from_text("compact_at_start = true");
    // Closing it makes the tree durable and the journal empty.
    drop(RedbPlugin.open(&settings, &args.data).map_err(|error| not_opened(error, &args.data))?);
    let after = bytes(&file)?;
    if args.json {
        return output::json(&json!({"file": file, "bytes_before": before, "bytes_after": after}));
    }
    output::line(&format!("{}: {before} bytes before, {after} after", file.display()))
}

fn bytes(file: &Path) -> Result<u64, Failure> {
    let found = std::fs::metadata(file).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Failure::failed(format!("{}: is not there; only a store of `redb` is compacted by command", file.display()))
        }
        _ => Failure::new(Exit::Disk, format!("{}: {error}", file.display())),
    })?;
    Ok(found.len())
}
