//! Engines that can be copied and compared, for searching every state that a small network can get into.

use std::hash::{DefaultHasher, Hasher as _};

use quorate::{
    Consensus as _, Instant, Round,
    consensus::{Action, Context, Event},
    plugin::SetupError,
};

use crate::{
    engine::Engine,
    planted::{Bugs, PlantedBug},
    settings::Rules,
};

/// An engine, as [`crate::PoaPlugin`] builds it, or with a planted bug.
#[derive(Clone)]
pub struct Explored(Engine);

impl Explored {
    /// Makes an engine.
    ///
    /// # Errors
    ///
    /// As `build` of the plugin.
    pub fn new(context: &Context, bug: Option<PlantedBug>) -> Result<Self, SetupError> {
        let rules = Rules::read(context)?;
        let bugs = bug.map_or(Bugs::default(), Bugs::only);
        Ok(Self(Engine::new(context.chain_id, context.validators.clone(), rules, bugs)))
    }

    /// Takes one event.
    pub fn step(&mut self, now: Instant, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        self.0.step(now, event, &mut out);
        out
    }

    /// The round in which it is.
    pub fn round(&self) -> Round {
        self.0.status(Instant(0)).round
    }

    /// A number that is the same for engines in the same state, and hardly ever for others.
    pub fn fingerprint(&self) -> u64 {
        let mut sum = DefaultHasher::new();
        self.0.hash_state(&mut sum);
        sum.finish()
    }
}
