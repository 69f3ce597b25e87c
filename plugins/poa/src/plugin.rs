//! What the name `poa` resolves to.

use std::sync::Arc;

use quorate::{
    Consensus, FinalityProof,
    consensus::Context,
    plugin::{ConsensusPlugin, ConsensusReport, Descriptor, SetupError},
};
use serde::Deserialize;

use crate::{engine::Engine, proof::Proofs, settings::Parameters};

/// The plugin `poa`.
#[derive(Debug, Clone, Copy, Default)]
pub struct PoaPlugin;

/// A node has no settings of its own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {}

impl ConsensusPlugin for PoaPlugin {
    fn descriptor(&self) -> Descriptor {
        Descriptor {
            name: "poa",
            version: env!("CARGO_PKG_VERSION"),
            summary: "validators take turns, a quorum makes each block final",
            example: "",
        }
    }

    fn check(&self, context: &Context) -> Result<ConsensusReport, SetupError> {
        context.settings.parse::<Own>()?;
        Ok(Parameters::read(&context.shared)?.report(&context.validators))
    }

    fn build(&self, context: &Context) -> Result<Box<dyn Consensus>, SetupError> {
        Ok(Box::new(Engine::new(Parameters::read(&context.shared)?, context.chain_id)))
    }

    fn proof(&self, context: &Context) -> Result<Arc<dyn FinalityProof>, SetupError> {
        Ok(Arc::new(Proofs(Parameters::read(&context.shared)?)))
    }
}
