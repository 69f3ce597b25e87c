//! What each slot's contract promises, asked of a plugin: suites of named rules for its author's tests.
//!
//! ```text
//!  a plugin + settings as TOML --> Suite: rules, each run by itself
//!                                    |
//!                                    v
//!                                  Report: held, does not apply, or broken - with the contract's sentence and a seed
//! ```
//!
//! A rule is a name, the sentence of `framework/api` which it checks, and a trial. In an author's tests a suite is one line:
//!
//! ```no_run
//! use quorate_testkit::{conformance, memory::MemoryStoragePlugin};
//!
//! conformance::storage(&MemoryStoragePlugin::new(), "").volatile().check();
//! ```
//!
//! `check` panics with what was broken; `run` gives the [`Report`], and `suite` the [`Suite`] with its rules, for programs.
//!
//! # Reading order
//!
//! `rule` and `suite` (what a suite is), `common` (what holds in every slot), then a file for each slot.

mod application;
mod bytes;
mod common;
mod consensus;
mod discovery;
mod identity;
mod rule;
mod service;
mod storage;
mod suite;
mod transport;

pub use application::{ApplicationSuite, application};
pub use consensus::{ConsensusSuite, consensus};
pub use discovery::{DiscoverySuite, discovery};
pub use rule::{Outcome, Rule, Trouble};
pub use service::{ServiceSuite, service};
pub use storage::{CHILD_VARIABLE, StorageSuite, storage};
pub use suite::{Finding, RULE_VARIABLE, Report, SEED_DEFAULT, SEED_VARIABLE, Suite};
pub use transport::{TransportSuite, transport};

/// Every rule of every slot: the slot, and the rule.
pub fn rules() -> Vec<(&'static str, Rule)> {
    let slots = [
        ("storage", storage::rules()),
        ("application", application::rules()),
        ("consensus", consensus::rules()),
        ("transport", transport::rules()),
        ("discovery", discovery::rules()),
        ("service", service::rules()),
    ];
    slots.into_iter().flat_map(|(slot, rules)| rules.into_iter().map(move |rule| (slot, rule))).collect()
}
