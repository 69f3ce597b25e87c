//! The follower: an engine that wants nothing.

use std::sync::Arc;

use quorate::{
    Consensus, FinalityProof, Instant,
    consensus::{Action, Context, EngineStatus, Event},
    plugin::{ConsensusPlugin, ConsensusReport, Descriptor, SetupError},
};
use serde::Deserialize;

/// The plugin `follower`.
#[derive(Debug, Clone, Copy, Default)]
pub struct FollowerPlugin;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {}

#[derive(Default)]
struct Follower {
    status: EngineStatus,
}

impl ConsensusPlugin for FollowerPlugin {
    fn descriptor(&self) -> Descriptor {
        Descriptor {
            name: "follower",
            version: env!("CARGO_PKG_VERSION"),
            summary: "verifies and stores what the validators decide; never signs",
            example: "",
        }
    }

    fn observes(&self) -> bool {
        true
    }

    fn check(&self, context: &Context) -> Result<ConsensusReport, SetupError> {
        context.settings.parse::<Own>()?;
        Ok(ConsensusReport::default())
    }

    fn build(&self, _: &Context) -> Result<Box<dyn Consensus>, SetupError> {
        Ok(Box::new(Follower::default()))
    }

    fn proof(&self, _: &Context) -> Result<Arc<dyn FinalityProof>, SetupError> {
        Err(SetupError::Other("a follower decides nothing; genesis names the consensus that does".into()))
    }
}

impl Consensus for Follower {
    fn step(&mut self, _: Instant, event: Event, _: &mut Vec<Action>) {
        let tip = match event {
            Event::Start(start) => start.tip,
            Event::Committed { tip, .. } => tip,
            _ => return,
        };
        self.status = EngineStatus { height: tip.height.next(), phase: "follow".into(), ..EngineStatus::default() };
    }

    fn status(&self, _: Instant) -> EngineStatus {
        self.status.clone()
    }
}
