//! Many seeds of one scenario, on several threads; a violation is shrunk to the faults that matter and told as a timeline.

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use quorate::plugin::ConsensusPlugin;

use super::{
    adversary::Adversary,
    checks::{Inspector, Kinds},
    engines::Engines,
    plan::{self, Fault},
    record::{Coverage, Run, Violation},
    rng::Rng,
    scenario::{FaultModel, Scenario},
    setup,
    world::{self, Setup},
};

/// Runs by which a failing schedule is shrunk at most.
pub const SHRINK_RUNS_MAX: usize = 200;

/// One seed of so many is run twice, to see that it gives the same trace (F1).
pub const REPEAT_EVERY: u64 = 16;

/// What is run.
pub struct Campaign<'a> {
    /// The scenario.
    pub scenario: Scenario,
    /// The engines.
    pub engines: &'a dyn Engines,
    /// Which signatures mean what.
    pub kinds: Option<Kinds>,
    /// Makes the consensus' own checks for a run.
    pub inspector: Option<&'a (dyn Fn() -> Box<dyn Inspector> + Sync)>,
    /// Makes a directed attack for a run.
    pub adversary: Option<&'a (dyn Fn() -> Box<dyn Adversary> + Sync)>,
    /// The first seed.
    pub from: u64,
    /// How many seeds.
    pub seeds: u64,
    /// On how many threads.
    pub threads: usize,
}

/// A violation, with the smallest schedule found that shows it.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// What was violated, in the shrunk schedule.
    pub violation: Violation,
    /// The faults that are left.
    pub faults: Vec<Fault>,
    /// How many faults the seed drew.
    pub faults_drawn: usize,
    /// The story of the shrunk schedule.
    pub timeline: Vec<String>,
}

/// Lines of a timeline that are printed: the last ones tell how it came to it.
pub const PRINTED_LINES_MAX: usize = 120;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, seed {}: {}", self.scenario, self.seed, self.violation)?;
        writeln!(f, "{} of {} faults are needed:", self.faults.len(), self.faults_drawn)?;
        for fault in &self.faults {
            writeln!(f, "  {fault}")?;
        }
        let skipped = self.timeline.len().saturating_sub(PRINTED_LINES_MAX);
        writeln!(f, "timeline in virtual ms{}:", if skipped > 0 { ", its end" } else { "" })?;
        for line in self.timeline.iter().skip(skipped) {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

/// How a campaign ended.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Seeds run.
    pub runs: u64,
    /// What they met.
    pub coverage: Coverage,
    /// Steps of engines.
    pub steps: u64,
    /// The violation of the lowest seed, if any; seeds above it may not have been run.
    pub failure: Option<Box<Failure>>,
}

impl Campaign<'_> {
    fn setup(&self, faults: Option<Vec<Fault>>, told: bool) -> Setup<'_> {
        Setup {
            scenario: &self.scenario,
            engines: self.engines,
            kinds: self.kinds,
            inspector: self.inspector.map(|make| make()),
            adversary: self.adversary.map(|make| make()),
            faults,
            told,
        }
    }

    /// Runs one seed, without shrinking.
    ///
    /// # Errors
    ///
    /// When the engines can't be made.
    pub fn run_seed(&self, seed: u64, told: bool) -> Result<Run, String> {
        world::run(self.setup(None, told), seed)
    }

    /// Runs one seed and, when it fails, shrinks it.
    ///
    /// # Errors
    ///
    /// When the engines can't be made.
    pub fn examine(&self, seed: u64) -> Result<Option<Failure>, String> {
        let run = self.run_seed(seed, false)?;
        match run.violation {
            Some(violation) => self.shrink(seed, violation).map(Some),
            None => Ok(None),
        }
    }

    /// Drops faults while the same invariant is still violated.
    fn shrink(&self, seed: u64, violation: Violation) -> Result<Failure, String> {
        let drawn = drawn_faults(&self.scenario, seed);
        let faults_drawn = drawn.len();
        let mut faults = drawn;
        let mut runs = 0;
        let mut at = 0;
        while at < faults.len() && runs < SHRINK_RUNS_MAX {
            let mut fewer = faults.clone();
            fewer.remove(at);
            let run = world::run(self.setup(Some(fewer.clone()), false), seed)?;
            runs += 1;
            match run.violation {
                Some(again) if again.invariant == violation.invariant => {
                    faults = fewer;
                    // One that seemed to matter may not any more.
                    at = 0;
                }
                _ => at += 1,
            }
        }
        let run = world::run(self.setup(Some(faults.clone()), true), seed)?;
        Ok(Failure {
            scenario: self.scenario.name.clone(),
            seed,
            violation: run.violation.unwrap_or(violation),
            faults,
            faults_drawn,
            timeline: run.timeline,
        })
    }

    /// Runs all seeds, up to the first violation.
    ///
    /// # Errors
    ///
    /// When the engines can't be made.
    pub fn run(&self) -> Result<Report, String> {
        let next = AtomicU64::new(self.from);
        let end = self.from.saturating_add(self.seeds);
        let stop = AtomicBool::new(false);
        let total = Mutex::new((Report::default(), None::<(u64, Violation)>, None::<String>));
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= end || stop.load(Ordering::Relaxed) {
                            return;
                        }
                        let outcome = self.one(seed);
                        let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                        let (report, first, error) = &mut *total;
                        match outcome {
                            Ok(run) => {
                                report.runs += 1;
                                report.steps += run.steps;
                                report.coverage.merge(&run.coverage);
                                if let Some(violation) = run.violation {
                                    stop.store(true, Ordering::Relaxed);
                                    if first.as_ref().is_none_or(|(lowest, _)| seed < *lowest) {
                                        *first = Some((seed, violation));
                                    }
                                }
                            }
                            Err(words) => {
                                stop.store(true, Ordering::Relaxed);
                                *error = Some(words);
                            }
                        }
                    }
                });
            }
        });
        let (mut report, first, error) = total.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = error {
            return Err(error);
        }
        if let Some((seed, violation)) = first {
            let failure = if violation.invariant == "F1 determinism" {
                let scenario = self.scenario.name.clone();
                let (faults, timeline) = (drawn_faults(&self.scenario, seed), Vec::new());
                Failure { scenario, seed, violation, faults_drawn: faults.len(), faults, timeline }
            } else {
                self.shrink(seed, violation)?
            };
            report.failure = Some(Box::new(failure));
        }
        Ok(report)
    }

    fn one(&self, seed: u64) -> Result<Run, String> {
        let mut run = self.run_seed(seed, false)?;
        if run.violation.is_none() && seed.is_multiple_of(REPEAT_EVERY) {
            let again = self.run_seed(seed, false)?;
            if again.trace_hash != run.trace_hash {
                let detail = "two runs of this seed did different things".into();
                run.violation = Some(Violation { invariant: "F1 determinism", detail, at_us: 0 });
            }
            run.coverage.met("runs repeated");
        }
        Ok(run)
    }
}

/// The faults that a seed draws.
pub fn drawn_faults(scenario: &Scenario, seed: u64) -> Vec<Fault> {
    let base = Rng::new(seed).fork(0x51);
    let corrupt = setup::draw_corrupt(scenario, &mut base.fork(1));
    let nodes = scenario.validators + scenario.standby;
    let honest: Vec<usize> = (0..nodes).filter(|node| !corrupt.contains(node)).collect();
    plan::draw(scenario, &honest, &mut base.fork(2))
}

/// Settings of a consensus plugin for a simulated network: those of `wanted` which it knows.
///
/// # Errors
///
/// What the plugin says about the rest.
pub fn settings_for(plugin: &dyn ConsensusPlugin, scenario: &Scenario, wanted: &str) -> Result<String, String> {
    let mut lines: Vec<&str> = wanted.lines().collect();
    loop {
        let tried = Scenario { settings: lines.join("\n"), ..scenario.clone() };
        let context = setup::context(&tried)?;
        let error = match plugin.check(&context) {
            Ok(_) => return Ok(tried.settings),
            Err(error) => error.to_string(),
        };
        let before = lines.len();
        lines.retain(|line| {
            let key = line.split('=').next().unwrap_or_default().trim();
            !error.contains(&format!("unknown key `{key}`"))
        });
        if lines.len() == before {
            return Err(error);
        }
    }
}

/// What [`campaign`] runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What the network is said to tolerate.
    pub fault_model: FaultModel,
    /// How many validators it has.
    pub validators: usize,
    /// The first seed.
    pub from: u64,
    /// How many seeds.
    pub seeds: u64,
    /// On how many threads.
    pub threads: usize,
    /// `[consensus]` of genesis without `plugin`; `None` takes [`WANTED`] as far as the plugin knows it.
    pub settings: Option<String>,
    /// Which signatures mean what, for the invariants that look at them.
    pub kinds: Option<Kinds>,
}

/// Delta of [`campaign`]'s networks, in milliseconds.
pub const DELTA_MS: u64 = 200;

/// Settings which [`campaign`] gives to a plugin that knows them, besides `fault_model` and `delta_ms`.
pub const WANTED: &str = "block_interval_ms = 400
block_transactions_max = 8
block_bytes_max = 65536
empty_blocks = \"always\"
rebroadcast_ms = 1000
";

/// Runs any consensus plugin through seeded schedules in which nothing may go wrong.
///
/// # Errors
///
/// When its settings do not fit, or its engines can't be made.
pub fn campaign(plugin: &dyn ConsensusPlugin, options: &Options) -> Result<Report, String> {
    let Options { fault_model, validators, .. } = *options;
    let mut scenario = Scenario::envelope(fault_model, validators, DELTA_MS, "");
    scenario.settings = match &options.settings {
        Some(settings) => settings.clone(),
        None => {
            let wanted = format!("fault_model = \"{fault_model}\"\ndelta_ms = {DELTA_MS}\n{WANTED}");
            settings_for(plugin, &scenario, &wanted)?
        }
    };
    let campaign = Campaign {
        scenario,
        engines: &plugin,
        kinds: options.kinds,
        inspector: None,
        adversary: None,
        from: options.from,
        seeds: options.seeds,
        threads: options.threads,
    };
    campaign.run()
}
