//! `quorate import`: an exported chain into a data directory, audited as a whole before anything is written.

use std::path::PathBuf;

use clap::Args;
use quorate::Block;
use quorate_kernel::ledger::{BadBlock, Ledger, LedgerError};

use crate::{
    bundled,
    commands::verify::audit,
    exit::{Exit, Failure},
    libraries::LibraryArgs,
    output,
    progress::Progress,
    source::{FileSource, Source, genesis_of, open_storage},
};

/// Examples for `--help`.
pub const EXAMPLES: &str = "\
Example:
  quorate import chain.export --data data/backend --genesis genesis.toml

The whole file is verified before the first block is written; a directory that holds part of the same chain is completed. Without \
--genesis the file's own is used: then compare the chain id.";

/// Options of `import`.
#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// An exported chain
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The data_dir to write to, of a node that does not run
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// The genesis to trust
    #[arg(long, value_name = "FILE")]
    pub genesis: Option<PathBuf>,
    /// Where the chain's plugins are, if not here.
    #[command(flatten)]
    pub libraries: LibraryArgs,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`].
pub fn run(args: &ImportArgs) -> Result<(), Failure> {
    let report = audit(&mut FileSource::open(&args.file)?, args.genesis.as_deref(), &args.libraries)?;
    let mut source = FileSource::open(&args.file)?;
    let genesis = genesis_of(&source, args.genesis.as_deref())?;
    let rules = bundled::rules(&genesis, &args.libraries)?;
    std::fs::create_dir_all(&args.data).map_err(|error| Failure::disk(args.data.display(), &error))?;
    let storage = open_storage(&args.data)?;
    let opened = Ledger::open(genesis, rules.application, rules.finality, storage);
    let (ledger, mut view) = opened.map_err(|error| match error {
        LedgerError::Storage(error) => Failure::from(error),
        LedgerError::WrongChain { .. } => Failure::config(error.to_string()),
        other => Failure::new(Exit::Plugin, other.to_string()),
    })?;
    let before = view.tip.height;
    let mut progress = Progress::new("blocks imported", Some(report.blocks));
    while let Some((bytes, proof)) = source.next_block()? {
        let block = Block::decode(bytes).map_err(|error| Failure::new(Exit::Damaged, error.to_string()))?;
        if block.height() <= view.tip.height {
            // A block that was removed is still known by its hash.
            if view.chain().height_of(&block.hash())? != Some(block.height()) {
                let what = "holds another block there; one of the two chains is not final";
                return Err(Failure::failed(format!("{}: block {}: {what}", args.data.display(), block.height())));
            }
        } else {
            view = ledger.append(&view, &block, &proof).map_err(|error| match error {
                BadBlock::Storage(error) => Failure::from(error),
                other => Failure::failed(other.to_string()),
            })?;
        }
        progress.step();
    }
    drop(progress);
    output::line(&format!(
        "{} blocks of {} verified, {} of them new in {}; chain {}",
        report.blocks,
        report.chain_name,
        view.tip.height.0.saturating_sub(before.0),
        args.data.display(),
        report.chain_id
    ))
}
