//! The deterministic simulator: any consensus, in any network that a seed can draw, with invariants checked after every step.
//!
//! ```text
//!  Scenario + seed --> World: a virtual clock and one queue of what will happen
//!                        |  links (delay, loss, order), faults (crash between actions, suspension, partition, ..)
//!                        |  Actor = engine + memory + what is durable (record, guard, chain)
//!                        |  dishonest nodes: puppets of the engine, twins, or one Adversary
//!                        v
//!                      Checks (any consensus) and Inspector (one's own)  --> Violation: seed, timeline, fewest faults
//! ```
//!
//! Reading order: [`scenario`], [`plan`], [`checks`], then `world` (the loop), `kernel` and `finality` (actions), `network`, `happen` (faults),
//! [`adversary`]; [`campaign`] and [`shrink`]; [`scenarios`] for any plugin; [`drawing`]. [`latency`] takes figures of networks without faults, whose
//! parts beside the world are `meter` and `hops`.

pub mod adversary;
pub mod campaign;
pub mod checks;
pub mod drawing;
pub mod engines;
pub mod latency;
pub mod plan;
pub mod record;
pub mod rng;
pub mod scenario;
pub mod scenarios;
pub mod shrink;

mod actor;
mod finality;
mod happen;
mod hops;
mod kernel;
mod ledger;
mod meter;
mod network;
mod setup;
mod signer;
mod world;

pub use adversary::{Adversary, Grip};
pub use campaign::{Campaign, Extent, Failure, Options, Plan, Report, Schedule, plan_of, torture};
pub use checks::{Breach, Inspector, Kinds};
pub use engines::{Engines, Made};
pub use latency::{Conditions, Figures};
pub use record::{Coverage, Mark, Run, Violation};
pub use rng::Rng;
pub use scenario::{FaultModel, Faults, Kernel, Network, Scenario, SignerModel, Strategy};
pub use setup::context;
pub use world::{HAPPENINGS_MAX, STEP_ACTIONS_MAX, Setup, run};
