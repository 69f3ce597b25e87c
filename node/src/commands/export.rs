//! `quorate export`: a chain into one file.

use std::path::PathBuf;

use clap::Args;

use crate::{
    archive::Writer,
    exit::Failure,
    output,
    progress::Progress,
    source::{DirectorySource, RpcSource, Source},
};

/// Examples for `--help`.
pub const EXAMPLES: &str = "\
Examples:
  quorate export --data data/validator-1 chain.export
  quorate export --rpc http://127.0.0.1:8001 chain.export

The file holds genesis and every block with its proof of finality; its bytes are described in docs/export-format.md. Exporting \
does not verify: `quorate verify chain.export` does, and `quorate import` always.";

/// Options of `export`.
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// Where the chain is.
    #[command(flatten)]
    pub from: FromArgs,
    /// The file to write; must not exist
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Where the chain is.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct FromArgs {
    /// The data_dir of a node that does not run
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// A running node's RPC address
    #[arg(long, value_name = "URL")]
    pub rpc: Option<String>,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`].
pub fn run(args: &ExportArgs) -> Result<(), Failure> {
    let mut source: Box<dyn Source> = match (&args.from.data, &args.from.rpc) {
        (Some(directory), _) => Box::new(DirectorySource::open(directory)?),
        (_, Some(url)) => Box::new(RpcSource::open(url)?),
        _ => return Err(Failure::usage("give --data or --rpc")),
    };
    let mut writer = Writer::create(&args.file, source.genesis())?;
    let mut progress = Progress::new("blocks exported", source.blocks());
    while let Some((block, proof)) = source.next_block()? {
        writer.block(&block, &proof)?;
        progress.step();
    }
    drop(progress);
    let blocks = writer.finish()?;
    output::line(&format!("{blocks} blocks are in {}", args.file.display()))
}
