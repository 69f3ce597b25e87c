//! What the name `solo` in TOML stands for.

use std::sync::Arc;

use quorate::{
    Consensus, FinalityProof,
    consensus::Context,
    pacing::EmptyBlocks,
    plugin::{ConsensusPlugin, ConsensusReport, Descriptor, Promise, SetupError},
};

use crate::{engine::Solo, proof::SealProof, settings::Rules};

/// One node seals; the others, if any, follow.
#[derive(Debug, Clone, Copy, Default)]
pub struct SoloPlugin;

/// An example of `[consensus]` in genesis, without `plugin`.
const EXAMPLE: &str = r#"# Milliseconds from one block to the next; 0: as soon as there is work.
block_interval_ms = 0
# Transactions in a block at most.
block_transactions_max = 32
# Bytes of a block at most.
block_bytes_max = 1048576
# Blocks without transactions: "always", "never", or "heartbeat" every heartbeat_ms.
empty_blocks = "never"
"#;

fn read(context: &Context) -> Result<Rules, SetupError> {
    let rules = Rules::read(context)?;
    match context.validators.len() {
        1 => Ok(rules),
        count => Err(SetupError::Other(format!(
            "consensus `solo` is for one validator, genesis has {count}; `poa` is for several"
        ))),
    }
}

impl ConsensusPlugin for SoloPlugin {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new("solo", env!("CARGO_PKG_VERSION"), "one node seals every block").with_example(EXAMPLE)
    }

    fn check(&self, context: &Context) -> Result<ConsensusReport, SetupError> {
        let rules = read(context)?;
        let mut warnings = Vec::new();
        if rules.block_interval.is_zero() && rules.empty_blocks == EmptyBlocks::Always {
            warnings
                .push("block_interval_ms = 0 with empty_blocks = \"always\" fills the disk with empty blocks".into());
        }
        let tolerates = "1 validator seals alone: no faulty validator is tolerated (if it stops, the chain stops; if it is \
                         dishonest, it can rewrite what it alone has seen)";
        Ok(ConsensusReport { tolerates: tolerates.into(), warnings })
    }

    fn promise(&self, _context: &Context) -> Option<Promise> {
        Some(Promise::default())
    }

    fn build(&self, context: &Context) -> Result<Box<dyn Consensus>, SetupError> {
        Ok(Box::new(Solo::new(context.chain_id, read(context)?)))
    }

    fn proof(&self, context: &Context) -> Result<Arc<dyn FinalityProof>, SetupError> {
        Rules::parse(&context.shared)?;
        Ok(Arc::new(SealProof))
    }
}
