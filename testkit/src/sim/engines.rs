//! Where the simulated nodes' engines come from.

use std::sync::Arc;

use quorate::{
    Consensus, FinalityProof,
    consensus::Context,
    plugin::{ConsensusPlugin, SetupError},
};

/// Makes the engines of a simulated network.
pub trait Engines: Sync {
    /// Makes the engine of an honest node, or the one behind a dishonest one.
    ///
    /// # Errors
    ///
    /// [`SetupError`] of the plugin.
    fn engine(&self, context: &Context) -> Result<Box<dyn Consensus>, SetupError>;

    /// Makes what checks proofs.
    ///
    /// # Errors
    ///
    /// [`SetupError`] of the plugin.
    fn proof(&self, context: &Context) -> Result<Arc<dyn FinalityProof>, SetupError>;
}

impl Engines for &dyn ConsensusPlugin {
    fn engine(&self, context: &Context) -> Result<Box<dyn Consensus>, SetupError> {
        self.build(context)
    }

    fn proof(&self, context: &Context) -> Result<Arc<dyn FinalityProof>, SetupError> {
        ConsensusPlugin::proof(*self, context)
    }
}

/// Engines made by a function, proofs checked by a plugin: for engines with a planted bug.
pub struct Made<'a, F> {
    /// Makes the engines.
    pub make: F,
    /// Checks the proofs.
    pub plugin: &'a dyn ConsensusPlugin,
}

impl<F> Engines for Made<'_, F>
where
    F: Fn(&Context) -> Result<Box<dyn Consensus>, SetupError> + Sync,
{
    fn engine(&self, context: &Context) -> Result<Box<dyn Consensus>, SetupError> {
        (self.make)(context)
    }

    fn proof(&self, context: &Context) -> Result<Arc<dyn FinalityProof>, SetupError> {
        self.plugin.proof(context)
    }
}
