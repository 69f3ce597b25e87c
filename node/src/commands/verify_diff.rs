//! `quorate verify-diff`: nothing that was published has been taken back.

use std::path::{Path, PathBuf};

use clap::Args;
use quorate::{Block, Hash};
use serde_json::json;

use crate::{
    commands::verify,
    exit::Failure,
    libraries::LibraryArgs,
    output,
    source::{DirectorySource, FileSource, RpcSource, Source},
};

/// Examples for `--help`.
pub const EXAMPLES: &str = "\
Examples:
  quorate verify-diff monday.export friday.export --genesis genesis.toml
  quorate verify-diff monday.export http://127.0.0.1:8001 --genesis genesis.toml

OLD and NEW are each an export, a data directory or a node's address. NEW is audited from genesis; then every block of OLD must be in \
it, at the same height, byte for byte. Proofs of finality may differ: a block may have several. Exits with 1 and the height where \
they part.";

/// Options of `verify-diff`.
#[derive(Debug, Clone, Args)]
pub struct VerifyDiffArgs {
    /// The chain as it was
    #[arg(value_name = "OLD")]
    pub old: String,
    /// The chain as it is
    #[arg(value_name = "NEW")]
    pub new: String,
    /// The genesis to trust
    #[arg(long, value_name = "FILE")]
    pub genesis: Option<PathBuf>,
    /// Where the chain's plugins are, if not here.
    #[command(flatten)]
    pub libraries: LibraryArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

fn open(name: &str) -> Result<Box<dyn Source>, Failure> {
    Ok(match Path::new(name) {
        _ if name.starts_with("http://") => Box::new(RpcSource::open(name)?),
        path if path.is_dir() => Box::new(DirectorySource::open(path)?),
        path => Box::new(FileSource::open(path)?),
    })
}

/// How far two chains are one.
struct Common {
    blocks: u64,
    head: Option<Hash>,
    /// Where they part, and how.
    parted: Option<String>,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`].
pub fn run(args: &VerifyDiffArgs) -> Result<(), Failure> {
    let report = verify::audit(open(&args.new)?.as_mut(), args.genesis.as_deref(), &args.libraries)?;
    let common = compare(open(&args.old)?.as_mut(), open(&args.new)?.as_mut())?;
    let added = report.blocks.saturating_sub(common.blocks);
    if args.json {
        output::json(&json!({
            "prefix": common.parted.is_none(),
            "reason": common.parted,
            "chain_id": report.chain_id,
            "common_blocks": common.blocks,
            "common_head": common.head,
            "added_blocks": added,
            "head": report.head,
        }))?;
    }
    if let Some(why) = common.parted {
        return Err(Failure::failed(format!("{} is not the beginning of {}: {why}", args.old, args.new)));
    }
    if args.json {
        return Ok(());
    }
    output::line(&format!(
        "{} is the beginning of {}: {} blocks are the same, {added} were added since",
        args.old, args.new, common.blocks
    ))
}

fn compare(old: &mut dyn Source, new: &mut dyn Source) -> Result<Common, Failure> {
    let mut common = Common { blocks: 0, head: None, parted: None };
    let chain = |source: &dyn Source| -> Result<quorate::ChainId, Failure> {
        Ok(quorate::Genesis::parse("genesis of the source", source.genesis())?.chain_id())
    };
    let (was, is) = (chain(old)?, chain(new)?);
    if was != is {
        common.parted = Some(format!("they are of the chains {was} and {is}"));
        return Ok(common);
    }
    while let Some((before, _)) = old.next_block()? {
        let height = common.blocks + 1;
        let Some((after, _)) = new.next_block()? else {
            common.parted = Some(format!("the new one ends before block {height}, which the old one has"));
            return Ok(common);
        };
        if before != after {
            common.parted = Some(format!("block {height} differs"));
            return Ok(common);
        }
        common.blocks = height;
        common.head = Block::decode(after).ok().map(|block| block.hash());
    }
    Ok(common)
}
