//! `quorate bench`: a load of one's own choice against a network that runs, or one made for it.
//!
//! *Closed loop*: so many clients, each of which hands in its next transaction when the one before is final. *Open loop*: transactions come at a fixed rate, whether the
//! network keeps up or not, and the time of each counts from when it should have been sent, so that a stall is seen by all whom it would have met (no coordinated
//! omission: G. Tene, "How NOT to measure latency", 2015). A *saturation search* looks for the highest rate that is kept up with.

mod drive;
mod outcome;
mod plot;
mod resources;
mod saturate;
mod stock;
mod stop_one;
mod tally;

use std::{path::PathBuf, time::Duration};

use crate::{
    failure::BenchError,
    network::{Network, Rules},
    options::{Counts, Options},
    stop::Stop,
};

pub use drive::Mode;
pub use outcome::{NodeUse, Outcome, Step, Stopped};
pub use plot::svg;

/// Validators of a made network at most.
pub const VALIDATORS_MAX: u16 = 64;

/// Clients at most.
pub const CLIENTS_MAX: usize = 2_000;

/// Clients at each validator at most: a node takes 256 connections of one address by default, and some are needed to watch it.
pub const CLIENTS_PER_VALIDATOR_MAX: usize = 250;

/// Transactions of one load at most: they are signed before the clock starts.
pub const TRANSACTIONS_MAX: usize = 2_000_000;

/// How long a load may last.
pub const SECONDS_MAX: u64 = 3_600;

/// What is measured, and on what.
#[derive(Debug, Clone)]
pub struct Bench {
    /// The network.
    pub target: Target,
    /// How transactions come.
    pub load: Load,
    /// For how long figures are taken.
    pub time: Duration,
    /// For how long the same load runs before that.
    pub warm_up: Duration,
    /// Bytes of each value written; ballots have the length that their election gives them.
    pub bytes: usize,
    /// Whether the last validator of a made network is killed under a steady load, and started again after it.
    pub stop_one: bool,
}

/// A network.
#[derive(Debug, Clone)]
pub enum Target {
    /// One that a devnet runs in this folder.
    Running(PathBuf),
    /// One that is made, and gone afterwards.
    Make {
        /// How many validators.
        validators: u16,
        /// As in genesis.
        fault_model: &'static str,
        /// Milliseconds between blocks; 0 as soon as there is work.
        block_interval_ms: u64,
        /// Transactions in a block at most.
        transactions_max: usize,
        /// `kv` or `voting`.
        application: &'static str,
        /// The store of every node, by the plugin's name.
        storage: String,
        /// The program.
        program: PathBuf,
        /// Where its folder is made.
        directory: PathBuf,
    },
}

/// How transactions come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Load {
    /// In one way, for the whole time.
    Steady(Mode),
    /// At rising rates, to find the highest that is kept up with.
    Saturate,
}

impl Bench {
    pub(crate) fn length(&self) -> drive::Length {
        drive::Length { warm_up: self.warm_up, time: self.time }
    }

    /// Runs it; `progress` is told what is being done.
    ///
    /// # Errors
    ///
    /// [`BenchError`]; nothing is left running then that was started here.
    pub fn run(&self, stop: &Stop, progress: &mut dyn FnMut(&str)) -> Result<Outcome, BenchError> {
        if self.stop_one {
            stop_one::check(self)?;
        }
        if let (Target::Make { validators, .. }, Load::Steady(mode)) = (&self.target, self.load) {
            mode.check(usize::from(*validators) - usize::from(self.stop_one), self.time)?;
        }
        let mut network = match &self.target {
            Target::Running(directory) => Network::attach(directory, stop)?,
            Target::Make {
                validators,
                fault_model,
                block_interval_ms,
                transactions_max,
                application,
                storage,
                program,
                directory,
            } => {
                progress("a network is made");
                let options = Options {
                    program: program.clone(),
                    library: PathBuf::new(),
                    directory: directory.clone(),
                    parts: Vec::new(),
                    counts: Counts::tiny(),
                };
                let rules = Rules {
                    validators: *validators,
                    block_interval_ms: *block_interval_ms,
                    fault_model,
                    transactions_max: *transactions_max,
                    application,
                    storage,
                    ..Rules::CRASH
                };
                Network::running(&options, stop, rules)?
            }
        };
        let kind = stock::Kind::of(&network, self.bytes)?;
        match self.load {
            Load::Steady(mode) if self.stop_one => stop_one::run(self, &mut network, mode, kind, progress),
            Load::Steady(mode) => {
                mode.check(network.validators().len(), self.time)?;
                let count = mode.transactions(self.warm_up + self.time, kind);
                progress(&format!("{count} transactions are made"));
                let stock = stock::Stock::new(&network, count, kind)?;
                progress("the load runs");
                drive::drive(&network, &stock, mode, self.length(), || Ok(()))
            }
            Load::Saturate => saturate::search(self, &network, kind, progress),
        }
    }
}
