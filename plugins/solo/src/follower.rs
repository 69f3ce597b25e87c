//! The follower: verifies what another consensus decides, and never signs.

use std::sync::Arc;

use quorate::{
    Consensus, FinalityProof, Height, Instant,
    consensus::{Action, Context, EngineStatus, Event},
    plugin::{ConsensusPlugin, ConsensusReport, Descriptor, SetupError},
};

use crate::settings::NodeTable;

/// Follows a network of any consensus: the node's catch-up fetches and verifies each block.
#[derive(Debug, Clone, Copy, Default)]
pub struct FollowerPlugin;

impl ConsensusPlugin for FollowerPlugin {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new("follower", env!("CARGO_PKG_VERSION"), "verifies every block of the network, and never signs")
    }

    fn observes(&self) -> bool {
        true
    }

    fn check(&self, context: &Context) -> Result<ConsensusReport, SetupError> {
        let NodeTable {} = context.settings.parse()?;
        let tolerates = "this node decides nothing: it verifies every block, whoever sends it".into();
        Ok(ConsensusReport { tolerates, warnings: Vec::new() })
    }

    fn build(&self, context: &Context) -> Result<Box<dyn Consensus>, SetupError> {
        self.check(context)?;
        Ok(Box::new(Follower { height: Height::GENESIS.next() }))
    }

    fn proof(&self, _context: &Context) -> Result<Arc<dyn FinalityProof>, SetupError> {
        Err(SetupError::Other(
            "a follower has no proofs of its own: genesis must name the consensus that decides".into(),
        ))
    }
}

struct Follower {
    height: Height,
}

impl Consensus for Follower {
    fn step(&mut self, _now: Instant, event: Event, _out: &mut Vec<Action>) {
        match event {
            Event::Start(start) => self.height = start.tip.height.next(),
            Event::Committed { tip, .. } => self.height = tip.height.next(),
            _ => {}
        }
    }

    fn status(&self, _now: Instant) -> EngineStatus {
        EngineStatus { height: self.height, phase: "follow".into(), ..EngineStatus::default() }
    }
}
