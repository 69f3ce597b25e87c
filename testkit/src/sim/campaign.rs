//! Many seeds of some scenarios, on several threads; a violation is shrunk to what matters and told as a timeline.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use quorate::plugin::{ConsensusPlugin, Promise};
use serde::{Deserialize, Serialize};

use super::{
    adversary::Adversary,
    checks::{Inspector, Kinds},
    engines::Engines,
    plan::{self, Fault},
    record::{Coverage, Mark, Run, Violation},
    rng::Rng,
    scenario::{FaultModel, Scenario},
    scenarios, setup, shrink,
    world::{self, Setup},
};

/// One seed of so many of each scenario is run twice, to see that it gives the same trace (F1).
pub const REPEAT_EVERY: u64 = 16;

/// Seeds which may be done before one that was begun earlier is.
const AHEAD_MAX: u64 = 1024;

/// What is run.
pub struct Campaign<'a> {
    /// The scenarios; seeds take them in turns.
    pub scenarios: Vec<Scenario>,
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
    /// On how many threads. It makes no difference to what is found.
    pub threads: usize,
    /// Told after every seed how things stand.
    pub progress: Option<&'a (dyn Fn(&Report) + Sync)>,
}

/// One schedule, to be run again exactly, on any machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Which form this has: [`Schedule::FORMAT`].
    pub format: u32,
    /// The consensus, by name.
    pub consensus: String,
    /// The shared library that it is from, if it is from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub library: Option<String>,
    /// The seed.
    pub seed: u64,
    /// The scenario.
    pub scenario: Scenario,
    /// The faults, instead of those that the seed draws.
    pub faults: Vec<Fault>,
}

impl Schedule {
    /// The form that this version writes and reads.
    pub const FORMAT: u32 = 1;

    /// Nodes of a simulated network at most: sets of nodes are bits of a word.
    pub const NODES_MAX: usize = 63;

    /// Looks whether it can be run.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        if self.format != Self::FORMAT {
            return Err(format!("the schedule has form {}; this program reads {}", self.format, Self::FORMAT));
        }
        let Scenario { validators, standby, .. } = self.scenario;
        let nodes = validators.saturating_add(standby);
        if validators == 0 || nodes > Self::NODES_MAX {
            return Err(format!("the schedule has {nodes} nodes; 1 to {} are possible", Self::NODES_MAX));
        }
        let wrong = |fault: &&Fault| fault.what.hits(nodes).iter().any(|node| *node >= nodes);
        match self.faults.iter().find(wrong) {
            Some(fault) => Err(format!("the schedule has {nodes} nodes, and a fault of another: {fault}")),
            None => Ok(()),
        }
    }
}

/// A violation, with the smallest schedule found that shows it.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The shrunk scenario.
    pub scenario: Scenario,
    /// What was violated, in the shrunk schedule.
    pub violation: Violation,
    /// The faults that are left.
    pub faults: Vec<Fault>,
    /// How many faults the seed drew.
    pub faults_drawn: usize,
    /// What else was left out: none of it is needed.
    pub left_out: Vec<&'static str>,
    /// Runs that shrinking took.
    pub shrink_runs: usize,
    /// The story of the shrunk schedule.
    pub timeline: Vec<String>,
    /// Its processes by name.
    pub lanes: Vec<String>,
    /// What a drawing of it shows.
    pub marks: Vec<Mark>,
}

/// Lines of a timeline that are printed: the last fault with what followed, and the end.
pub const PRINTED_LINES_MAX: usize = 120;

/// Of these, how many are from before the last fault, and how many from there on, where it is further back.
const BEFORE_FAULT: usize = 20;
const FROM_FAULT: usize = 70;

/// Which lines are printed: up to the first number of the pair, from the second on; and from where.
fn printed(lines: &[String]) -> (usize, usize, usize) {
    let last = lines.len().saturating_sub(PRINTED_LINES_MAX);
    match lines.iter().rposition(|line| line.contains(" FAULT ")) {
        Some(fault) if fault < last + BEFORE_FAULT && last > 0 => {
            let from = fault.saturating_sub(BEFORE_FAULT);
            let end = lines.len().saturating_sub(PRINTED_LINES_MAX - BEFORE_FAULT - FROM_FAULT);
            (from, (fault + FROM_FAULT).min(end), end)
        }
        _ => (last, last, last),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, seed {}: {}", self.scenario.name, self.seed, self.violation)?;
        writeln!(f, "{} of {} faults are needed:", self.faults.len(), self.faults_drawn)?;
        for fault in &self.faults {
            writeln!(f, "  {fault}")?;
        }
        if !self.left_out.is_empty() {
            writeln!(f, "it happens as well when {}", self.left_out.join(", "))?;
        }
        let (from, to, end) = printed(&self.timeline);
        let which = match (from, end - to) {
            (0, 0) => "",
            (_, 0) => ", its end",
            _ => ", the last fault and the end",
        };
        writeln!(f, "timeline in virtual ms{which}:")?;
        for (at, line) in self.timeline.iter().enumerate().skip(from) {
            if at < to || at >= end {
                writeln!(f, "{line}")?;
            } else if at == to {
                writeln!(f, "        ... {} more lines", end - to)?;
            }
        }
        Ok(())
    }
}

/// How a campaign ended, or stands.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Seeds run, up to the first that fails.
    pub runs: u64,
    /// What they met.
    pub coverage: Coverage,
    /// Steps of engines.
    pub steps: u64,
    /// Time on the virtual clocks, in milliseconds.
    pub virtual_ms: u64,
    /// Over the traces of all runs in order: the same wherever they are run.
    pub trace_hash: u64,
    /// The violation of the lowest seed, if any; seeds above it are not counted.
    pub failure: Option<Box<Failure>>,
}

/// Results, put together in the order of seeds whichever thread was sooner.
struct Merge {
    taken: u64,
    merged: u64,
    waiting: BTreeMap<u64, Result<Run, String>>,
    report: Report,
    failed: Option<(u64, Violation)>,
    error: Option<String>,
}

impl Merge {
    fn is_over(&self) -> bool {
        self.failed.is_some() || self.error.is_some()
    }

    fn add(&mut self, seed: u64, outcome: Result<Run, String>, progress: Option<&(dyn Fn(&Report) + Sync)>) {
        self.waiting.insert(seed, outcome);
        while let Some(outcome) = self.waiting.remove(&self.merged)
            && !self.is_over()
        {
            match outcome {
                Ok(run) => {
                    self.report.runs += 1;
                    self.report.steps += run.steps;
                    self.report.virtual_ms += run.virtual_ms;
                    self.report.trace_hash = self.report.trace_hash.rotate_left(5) ^ run.trace_hash;
                    self.report.coverage.merge(&run.coverage);
                    self.failed = run.violation.map(|violation| (self.merged, violation));
                }
                Err(words) => self.error = Some(words),
            }
            self.merged += 1;
            if let Some(tell) = progress {
                tell(&self.report);
            }
        }
    }
}

impl Campaign<'_> {
    pub(crate) fn setup<'a>(&'a self, scenario: &'a Scenario, faults: Option<Vec<Fault>>, told: bool) -> Setup<'a> {
        Setup {
            scenario,
            engines: self.engines,
            kinds: self.kinds,
            inspector: self.inspector.map(|make| make()),
            adversary: self.adversary.map(|make| make()),
            faults,
            told,
        }
    }

    /// Which scenario a seed runs.
    ///
    /// # Errors
    ///
    /// When there are none.
    pub fn scenario_of(&self, seed: u64) -> Result<&Scenario, String> {
        let turn = seed.checked_rem(self.scenarios.len() as u64).and_then(|turn| usize::try_from(turn).ok());
        turn.and_then(|turn| self.scenarios.get(turn)).ok_or_else(|| "there is no scenario to run".into())
    }

    /// Runs one seed, without shrinking.
    ///
    /// # Errors
    ///
    /// When the engines can't be made.
    pub fn run_seed(&self, seed: u64, told: bool) -> Result<Run, String> {
        world::run(self.setup(self.scenario_of(seed)?, None, told), seed)
    }

    /// Runs one schedule, telling its story.
    ///
    /// # Errors
    ///
    /// When the engines can't be made.
    pub fn replay(&self, schedule: &Schedule) -> Result<Run, String> {
        world::run(self.setup(&schedule.scenario, Some(schedule.faults.clone()), true), schedule.seed)
    }

    /// Leaves out of a failing seed what does not matter, and tells the rest.
    ///
    /// # Errors
    ///
    /// When the engines can't be made.
    pub fn shrink(&self, seed: u64, violation: Violation) -> Result<Failure, String> {
        let scenario = self.scenario_of(seed)?;
        let faults = drawn_faults(scenario, seed);
        let faults_drawn = faults.len();
        let small = if violation.invariant == NOT_REPEATED {
            shrink::Small::whole(scenario.clone(), faults)
        } else {
            shrink::shrink(self, seed, violation.invariant, scenario.clone(), faults)?
        };
        let run = world::run(self.setup(&small.scenario, Some(small.faults.clone()), true), seed)?;
        Ok(Failure {
            seed,
            violation: run.violation.unwrap_or(violation),
            faults_drawn,
            scenario: small.scenario,
            faults: small.faults,
            left_out: small.left_out,
            shrink_runs: small.runs,
            timeline: run.timeline,
            lanes: run.lanes,
            marks: run.marks,
        })
    }

    /// Runs all seeds, up to the first violation.
    ///
    /// # Errors
    ///
    /// When the engines can't be made.
    pub fn run(&self) -> Result<Report, String> {
        let (taken, merged) = (self.from, self.from);
        let (waiting, report, failed, error) = Default::default();
        let merge = Mutex::new(Merge { taken, merged, waiting, report, failed, error });
        let moved = Condvar::new();
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(|| {
                    while let Some(seed) = self.next(&merge, &moved) {
                        let outcome = self.one(seed);
                        lock(&merge).add(seed, outcome, self.progress);
                        moved.notify_all();
                    }
                });
            }
        });
        let Merge { mut report, failed, error, .. } = merge.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = error {
            return Err(error);
        }
        if let Some((seed, violation)) = failed {
            report.failure = Some(Box::new(self.shrink(seed, violation)?));
        }
        Ok(report)
    }

    /// The next seed to run; none when all are taken, or one has failed.
    fn next(&self, merge: &Mutex<Merge>, moved: &Condvar) -> Option<u64> {
        let far_ahead = |merge: &mut Merge| merge.taken - merge.merged >= AHEAD_MAX && !merge.is_over();
        let mut merge = moved.wait_while(lock(merge), far_ahead).unwrap_or_else(PoisonError::into_inner);
        let seed = merge.taken;
        if merge.is_over() || seed >= self.from.saturating_add(self.seeds) {
            return None;
        }
        merge.taken += 1;
        Some(seed)
    }

    fn one(&self, seed: u64) -> Result<Run, String> {
        let mut run = self.run_seed(seed, false)?;
        let turn = seed.checked_div(self.scenarios.len() as u64).unwrap_or(0);
        if run.violation.is_none() && turn.is_multiple_of(REPEAT_EVERY) {
            let again = self.run_seed(seed, false)?;
            if again.trace_hash != run.trace_hash {
                let detail = "two runs of this seed did different things".into();
                run.violation = Some(Violation { invariant: NOT_REPEATED, detail, at_us: 0 });
            }
            run.coverage.met("runs repeated");
        }
        Ok(run)
    }
}

/// The invariant that can't be shrunk.
const NOT_REPEATED: &str = "F1 determinism";

fn lock(merge: &Mutex<Merge>) -> MutexGuard<'_, Merge> {
    merge.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Which networks [`plan`](plan_of) makes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// What the network is built to tolerate; `None` leaves it to the plugin and its settings.
    pub fault_model: Option<FaultModel>,
    /// How many validators it has; `None` takes three, or as many as the plugin can do with.
    pub validators: Option<usize>,
    /// `[consensus]` of genesis without `plugin`; `None` takes [`WANTED`] as far as the plugin knows it.
    pub settings: Option<String>,
    /// Scenarios by name; none means all in which nothing may go wrong.
    pub scenarios: Vec<String>,
}

/// Delta of simulated networks where the plugin does not say what it relies on, in milliseconds.
pub const DELTA_MS: u64 = 200;

/// Settings which are given to a plugin that knows them, besides `fault_model` and `delta_ms`.
pub const WANTED: &str = "block_interval_ms = 400
block_transactions_max = 8
block_bytes_max = 65536
empty_blocks = \"always\"
rebroadcast_ms = 1000
";

/// Sizes of networks that are tried when none is asked for.
const SIZES: [usize; 3] = [3, 4, 1];

/// What a plugin is held to, and the scenarios for that.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Validators at least.
    pub validators: usize,
    /// What the plugin says that its network tolerates, in a sentence.
    pub tolerates: String,
    /// The same in numbers.
    pub promise: Promise,
    /// The scenarios.
    pub scenarios: Vec<Scenario>,
}

/// Makes scenarios for any consensus plugin from what it promises.
///
/// # Errors
///
/// When its settings do not fit, when it does not say what it promises and nobody else does, or when a scenario does not apply.
pub fn plan_of(plugin: &dyn ConsensusPlugin, options: &Options) -> Result<Plan, String> {
    let name = plugin.descriptor().name;
    if plugin.observes() {
        return Err(format!("`{name}` only watches what another consensus decides; there is nothing to torture"));
    }
    let sizes = options.validators.map_or(SIZES.to_vec(), |size| vec![size]);
    let mut first_error = None;
    for size in sizes {
        match plan_for(plugin, options, size) {
            Ok(plan) => return Ok(plan),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    Err(first_error.unwrap_or_default())
}

fn plan_for(plugin: &dyn ConsensusPlugin, options: &Options, validators: usize) -> Result<Plan, String> {
    let fault_model = options.fault_model.unwrap_or(FaultModel::Crash);
    let mut scenario = Scenario::envelope(fault_model, validators, DELTA_MS, "");
    scenario.settings = match &options.settings {
        Some(settings) => settings.clone(),
        None => {
            let wanted = format!("fault_model = \"{fault_model}\"\ndelta_ms = {DELTA_MS}\n{WANTED}");
            settings_for(plugin, &scenario, &wanted)?
        }
    };
    let context = setup::context(&scenario)?;
    let report = plugin.check(&context).map_err(|error| error.to_string())?;
    let promise = match (plugin.promise(&context), options.fault_model) {
        (Some(promise), _) => promise,
        (None, Some(model)) => Promise {
            gone: model.tolerated(validators),
            dishonest: model.byzantine(validators),
            delta: (model == FaultModel::ByzantineSync).then_some(std::time::Duration::from_millis(DELTA_MS)),
            kinds: None,
        },
        (None, None) => {
            let name = plugin.descriptor().name;
            return Err(format!("`{name}` does not say in numbers what it promises; name a fault model to hold it to"));
        }
    };
    let delta_ms = promise.delta.map_or(DELTA_MS, |delta| u64::try_from(delta.as_millis()).unwrap_or(DELTA_MS));
    // It matters for how many votes a certificate takes.
    let fault_model = options.fault_model.unwrap_or(match promise {
        Promise { dishonest: 0, .. } => FaultModel::Crash,
        Promise { delta: Some(_), .. } => FaultModel::ByzantineSync,
        Promise { delta: None, .. } => FaultModel::Byzantine,
    });
    let mut envelope = scenarios::promised(&promise, fault_model, validators, delta_ms, &scenario.settings);
    envelope.name = format!("`{}` with {validators} validators", plugin.descriptor().name);
    let scenarios = scenarios::choose(&envelope, &promise, delta_ms, &options.scenarios)?;
    Ok(Plan { validators, tolerates: report.tolerates, promise, scenarios })
}

/// How much a plugin is tortured.
#[derive(Clone, Copy)]
pub struct Extent<'a> {
    /// The first seed.
    pub from: u64,
    /// How many seeds.
    pub seeds: u64,
    /// On how many threads.
    pub threads: usize,
    /// Told after every seed how things stand.
    pub progress: Option<&'a (dyn Fn(&Report) + Sync)>,
}

/// Does something with the campaign that tortures any consensus plugin.
pub fn torture<T>(
    plugin: &Arc<dyn ConsensusPlugin>,
    plan: &Plan,
    extent: Extent<'_>,
    act: impl FnOnce(&Campaign<'_>) -> T,
) -> T {
    let words = || -> Box<dyn Inspector> { Box::new(Words(Arc::clone(plugin))) };
    let engines: &dyn ConsensusPlugin = plugin.as_ref();
    let Extent { from, seeds, threads, progress } = extent;
    act(&Campaign {
        scenarios: plan.scenarios.clone(),
        engines: &engines,
        kinds: plan.promise.kinds,
        inspector: Some(&words),
        adversary: None,
        from,
        seeds,
        threads,
        progress,
    })
}

/// A consensus' words for its messages, where there are no checks of its own.
struct Words(Arc<dyn ConsensusPlugin>);

impl Inspector for Words {
    fn describe(&self, bytes: &[u8]) -> Option<String> {
        self.0.describe_message(bytes)
    }
}
