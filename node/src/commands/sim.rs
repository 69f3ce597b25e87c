//! `quorate sim`: runs a consensus plugin through seeded schedules of faults, and shows the first that breaks a promise.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use clap::{Args, Subcommand, builder::RangedU64ValueParser};
use quorate::{Genesis, plugin::ConsensusPlugin};
use quorate_testkit::sim::{
    Campaign, Coverage, Extent, Failure as Broken, FaultModel, Options, Plan, Report, Run, Schedule, drawing, plan_of,
    scenarios, torture,
};
use serde_json::{Value, json};

use super::latency;
use crate::{bundled, exit::Failure, libraries, output, progress::Progress};

/// Examples for `--help`.
pub const EXAMPLES: &str = "\
Examples:
  quorate sim --consensus poa --fault-model crash --seeds 100000
  quorate sim --consensus poa --validators 4 --fault-model byzantine --scenario twins --scenario puppets
  quorate sim --consensus poa --fault-model crash --scenario beyond-dishonest --timeline violation.html
  quorate sim --consensus poa --fault-model crash --seed 4711 --timeline run.html
  quorate sim --consensus ./libmine.so --seeds 1000
  quorate sim --schedule violation.json
  quorate sim --list
  quorate sim latency --consensus poa --validators 4,13,49 --delays continent

A seed and the same options give the same run on every machine, whatever --threads is; each seed takes its turn among the \
scenarios. Exits with 1 at the first violation: it is shrunk to the faults that matter and told as a timeline.";

/// How often a campaign says how far it is when stderr is no terminal.
const NOTE_EVERY: Duration = Duration::from_secs(60);

/// Options of `sim`.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct SimArgs {
    /// What to do instead of torturing.
    #[command(subcommand)]
    pub command: Option<SimCommand>,
    /// The consensus plugin, or a shared library that has one
    #[arg(long, value_name = "NAME|LIBRARY", required_unless_present_any = ["schedule", "list"])]
    pub consensus: Option<String>,
    /// Which consensus of the library [default: its only one]
    #[arg(long, value_name = "NAME", requires = "consensus")]
    pub plugin: Option<String>,
    /// What it is held to: crash, byzantine-sync or byzantine [default: what its settings say]
    #[arg(long, value_name = "MODEL")]
    pub fault_model: Option<FaultModel>,
    /// Validators of the simulated network [default: 3, or what the plugin can do with]
    #[arg(long, visible_alias = "nodes", value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=61))]
    pub validators: Option<usize>,
    /// Its `[consensus]` settings without `plugin`, or a genesis that has them [default: ones for short runs]
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
    /// Run only this scenario; may be repeated [default: all in which nothing may go wrong]
    #[arg(long, value_name = "NAME")]
    pub scenario: Vec<String>,
    /// How many seeds to run
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    pub seeds: u64,
    /// The first seed
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub from: u64,
    /// Run one seed again
    #[arg(long, value_name = "SEED", conflicts_with_all = ["seeds", "from"])]
    pub seed: Option<u64>,
    /// Run one schedule again, from a file that --schedule-out wrote; with --consensus by that one instead of the file's
    #[arg(long, value_name = "FILE", conflicts_with_all = ["fault_model", "validators", "settings", "scenario", "seeds", "from", "seed", "schedule_out"])]
    pub schedule: Option<PathBuf>,
    /// Threads [default: as many as there are processors]
    #[arg(long, value_name = "T", value_parser = RangedU64ValueParser::<usize>::new().range(1..=256))]
    pub threads: Option<usize>,
    /// Draw the violation, or the one seed or schedule, into an HTML file
    #[arg(long, value_name = "FILE")]
    pub timeline: Option<PathBuf>,
    /// Write the shrunk schedule of a violation into a file
    #[arg(long, value_name = "FILE")]
    pub schedule_out: Option<PathBuf>,
    /// List the scenarios
    #[arg(long)]
    pub list: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What `sim` does besides.
#[derive(Debug, Clone, Subcommand)]
pub enum SimCommand {
    /// Tell how long a transaction takes to be final in networks with real delays, and what it costs in messages
    #[command(after_help = latency::EXAMPLES)]
    Latency(Box<latency::LatencyArgs>),
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`]; [`Exit::Failed`](crate::exit::Exit::Failed) when a promise was broken.
pub fn run(args: &SimArgs) -> Result<(), Failure> {
    if let Some(SimCommand::Latency(args)) = &args.command {
        return latency::run(args);
    }
    if args.list {
        return list(args.json);
    }
    if let Some(path) = &args.schedule {
        return replay(args, path);
    }
    let chosen = Chosen::find(args.consensus.as_deref().unwrap_or_default(), args.plugin.as_deref())?;
    let plugin = Arc::clone(&chosen.plugin);
    let plan = plan(args, plugin.as_ref())?;
    let threads = args.threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
    let (from, seeds) = args.seed.map_or((args.from, args.seeds), |seed| (seed, 1));
    let shown = Mutex::new(Shown::new(seeds));
    let progress = |report: &Report| shown.lock().unwrap_or_else(PoisonError::into_inner).step(report);
    let extent = Extent { from, seeds, threads, progress: Some(&progress) };
    let begun = Instant::now();
    let outcome = torture(&plugin, &plan, extent, |campaign| -> Result<_, String> {
        let report = campaign.run()?;
        let took = begun.elapsed();
        // A seed that was asked for is told also when nothing is wrong with it.
        let told = match args.seed.filter(|_| report.failure.is_none() && args.timeline.is_some()) {
            Some(seed) => Some(campaign.run_seed(seed, true)?),
            None => None,
        };
        Ok((report, took, told))
    });
    drop(shown);
    let (report, took, told) = outcome.map_err(Failure::failed)?;
    let done = Done { args, chosen: &chosen, plan: &plan, report: &report, took, threads, from };
    if let (Some(path), Some(run)) = (&args.timeline, &told) {
        draw_run(path, &done.title(), run)?;
    }
    done.finish()
}

/// The consensus that is tortured.
pub(super) struct Chosen {
    pub(super) plugin: Arc<dyn ConsensusPlugin>,
    /// Its own name.
    pub(super) name: String,
    /// The library that it is from, as the command line or a schedule says.
    library: Option<String>,
}

impl Chosen {
    /// `wanted` is the name of a plugin of this program, or a path; `name` says which plugin of the library there.
    pub(super) fn find(wanted: &str, name: Option<&str>) -> Result<Self, Failure> {
        if is_library(wanted) {
            return Self::of_library(wanted, name);
        }
        if name.is_some() {
            return Err(Failure::usage(format!("--plugin chooses one of a library; `{wanted}` is a name, not a path")));
        }
        let plugin = bundled::registry().consensus(wanted).map_err(|known| {
            let mut failure = bundled::missing("consensus", wanted, &known);
            failure.message += "; one of a shared library is named by its path, such as ./libmine.so";
            failure
        })?;
        Ok(Self { plugin, name: wanted.into(), library: None })
    }

    fn of_library(path: &str, name: Option<&str>) -> Result<Self, Failure> {
        let plugin = libraries::consensus(Path::new(path), name)?;
        let name = plugin.descriptor().name.to_owned();
        Ok(Self { plugin, name, library: Some(path.into()) })
    }

    /// That of a schedule.
    fn of_schedule(schedule: &Schedule) -> Result<Self, Failure> {
        match &schedule.library {
            Some(path) => Self::of_library(path, Some(&schedule.consensus)),
            None => Self::find(&schedule.consensus, None),
        }
    }

    /// For a person.
    fn title(&self) -> String {
        match &self.library {
            Some(path) => format!("{} of {path}", self.name),
            None => self.name.clone(),
        }
    }
}

/// Whether it is meant as a file, not as a name.
fn is_library(wanted: &str) -> bool {
    wanted.contains('/') || [".so", ".dylib"].iter().any(|ending| wanted.ends_with(ending))
}

fn plan(args: &SimArgs, plugin: &dyn ConsensusPlugin) -> Result<Plan, Failure> {
    let (settings, members) = match &args.settings {
        Some(path) => settings(path)?,
        None => (None, None),
    };
    let options = Options {
        fault_model: args.fault_model,
        validators: args.validators.or(members),
        settings,
        scenarios: args.scenario.clone(),
    };
    plan_of(plugin, &options).map_err(Failure::usage)
}

/// The consensus' settings in a file, and how many validators it names if it is a genesis.
fn settings(path: &Path) -> Result<(Option<String>, Option<usize>), Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::reading(path.display(), &error))?;
    let table: toml::Table = text.parse().map_err(|error| Failure::config(format!("{}: {error}", path.display())))?;
    if !table.contains_key("consensus") {
        return Ok((Some(text), None));
    }
    let genesis = Genesis::parse(&path.display().to_string(), &text)?;
    let settings: toml::Table = genesis.consensus_settings().parse()?;
    let settings = toml::to_string(&settings).map_err(|error| Failure::failed(error.to_string()))?;
    Ok((Some(settings), Some(genesis.validators().len())))
}

fn list(as_json: bool) -> Result<(), Failure> {
    if as_json {
        let one = |named: &scenarios::Named| json!({"name": named.name, "about": named.about, "inside": named.inside});
        return output::json(&scenarios::ALL.iter().map(one).collect::<Vec<_>>());
    }
    let mut rows = vec![["scenario", "what happens"].map(str::to_owned).to_vec()];
    rows.extend(scenarios::ALL.iter().map(|named| vec![named.name.into(), named.about.into()]));
    let table = output::table(&rows);
    output::line(&format!(
        "{table}\n\nThose that begin with `beyond` go beyond what is promised: there something may break."
    ))
}

/// What is shown while a campaign runs.
struct Shown {
    bar: Progress,
    total: u64,
    begun: Instant,
    noted: Instant,
}

impl Shown {
    fn new(total: u64) -> Self {
        let now = Instant::now();
        Self { bar: Progress::new("schedules", Some(total)), total, begun: now, noted: now }
    }

    fn step(&mut self, report: &Report) {
        self.bar.step();
        if self.noted.elapsed() >= NOTE_EVERY && !self.bar.is_shown() {
            self.noted = Instant::now();
            let rate = per_second(report.runs, self.begun.elapsed());
            output::note(&format!("{} of {} schedules, {rate:.0} a second, no violation", report.runs, self.total));
        }
    }
}

fn per_second(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64().max(0.001)
}

/// A campaign that has ended.
struct Done<'a> {
    args: &'a SimArgs,
    chosen: &'a Chosen,
    plan: &'a Plan,
    report: &'a Report,
    took: Duration,
    threads: usize,
    from: u64,
}

impl Done<'_> {
    fn title(&self) -> String {
        let seed = self.report.failure.as_ref().map_or(self.from, |broken| broken.seed);
        format!("{} with {} validators, seed {seed}", self.chosen.title(), self.plan.validators)
    }

    /// The command that runs a seed again.
    fn again(&self, seed: u64) -> String {
        let mut words = vec![format!("quorate sim --consensus {}", self.args.consensus.as_deref().unwrap_or_default())];
        words.extend(self.args.plugin.as_ref().map(|name| format!("--plugin {name}")));
        words.extend(self.args.fault_model.map(|model| format!("--fault-model {model}")));
        words.push(format!("--validators {}", self.plan.validators));
        words.extend(self.args.settings.as_ref().map(|path| format!("--settings {}", path.display())));
        words.extend(self.args.scenario.iter().map(|name| format!("--scenario {name}")));
        words.push(format!("--seed {seed}"));
        words.join(" ")
    }

    fn not_met(&self) -> Vec<&'static str> {
        self.report.coverage.missing(&scenarios::meets(&self.plan.scenarios))
    }

    fn finish(&self) -> Result<(), Failure> {
        if let Some(broken) = &self.report.failure {
            if let Some(path) = &self.args.schedule_out {
                let text = serde_json::to_string_pretty(&self.schedule(broken)).unwrap_or_default() + "\n";
                write(path, &text)?;
            }
            if let Some(path) = &self.args.timeline {
                self.draw(path, broken)?;
            }
        }
        if self.args.json {
            output::json(&self.as_json())?;
        } else {
            output::line(self.as_text().trim_end())?;
        }
        match &self.report.failure {
            Some(broken) => Err(Failure::failed(format!("seed {} broke a promise: {}", broken.seed, broken.violation))),
            None => Ok(()),
        }
    }

    fn schedule(&self, broken: &Broken) -> Schedule {
        Schedule {
            format: Schedule::FORMAT,
            consensus: self.chosen.name.clone(),
            library: self.chosen.library.clone(),
            seed: broken.seed,
            scenario: broken.scenario.clone(),
            faults: broken.faults.clone(),
        }
    }

    fn draw(&self, path: &Path, broken: &Broken) -> Result<(), Failure> {
        let violation = broken.violation.to_string();
        let faults: Vec<String> = broken.faults.iter().map(ToString::to_string).collect();
        let mut about = vec![
            ("tolerates", self.plan.tolerates.clone()),
            ("scenario", broken.scenario.name.clone()),
            ("run again", self.again(broken.seed)),
            ("faults", if faults.is_empty() { "none is needed".into() } else { faults.join("\n") }),
        ];
        if !broken.left_out.is_empty() {
            about.push(("as well when", broken.left_out.join(", ")));
        }
        let (lanes, marks, timeline) = (&broken.lanes, &broken.marks, &broken.timeline);
        let title = self.title();
        let story =
            drawing::Story { title: &title, violation: Some(&violation), about: &about, lanes, marks, timeline };
        write(path, &drawing::html(&story))
    }

    fn as_text(&self) -> String {
        let Self { plan, report, took, threads, .. } = self;
        let names: Vec<&str> = plan.scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
        let mut text = format!(
            "{}: {}\nscenarios: {}\n{} schedules from seed {} in {:.1} s on {threads} threads: {:.0} a second\n",
            self.chosen.title(),
            plan.tolerates,
            names.join(", "),
            report.runs,
            self.from,
            took.as_secs_f64(),
            per_second(report.runs, *took),
        );
        text += &format!(
            "{} steps of engines, {} of simulated time, fingerprint {:016x}\n\n{}",
            report.steps,
            output::ago(report.virtual_ms),
            report.trace_hash,
            report.coverage
        );
        let not_met = self.not_met();
        if !not_met.is_empty() {
            text += &format!("\nnever met, which more seeds should have: {}\n", not_met.join(", "));
        }
        match &report.failure {
            Some(broken) => {
                text += &format!(
                    "\n{broken}\nshrunk in {} runs; run again: {}",
                    broken.shrink_runs,
                    self.again(broken.seed)
                )
            }
            None => text += "\nno violation",
        }
        text
    }

    fn as_json(&self) -> Value {
        let Self { plan, report, took, threads, .. } = self;
        let violation = report.failure.as_ref().map(|broken| {
            json!({
                "seed": broken.seed,
                "scenario": broken.scenario.name,
                "invariant": broken.violation.invariant,
                "detail": broken.violation.detail,
                "at_ms": broken.violation.at_us / 1000,
                "faults": broken.faults.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "faults_drawn": broken.faults_drawn,
                "left_out": broken.left_out,
                "shrink_runs": broken.shrink_runs,
                "replay": self.again(broken.seed),
                "schedule": self.schedule(broken),
                "timeline": broken.timeline,
            })
        });
        json!({
            "consensus": self.chosen.name,
            "library": self.chosen.library,
            "validators": plan.validators,
            "tolerates": plan.tolerates,
            "scenarios": plan.scenarios.iter().map(|scenario| &scenario.name).collect::<Vec<_>>(),
            "from": self.from,
            "schedules": report.runs,
            "threads": threads,
            "elapsed_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "schedules_per_s": per_second(report.runs, *took),
            "steps": report.steps,
            "simulated_ms": report.virtual_ms,
            "fingerprint": format!("{:016x}", report.trace_hash),
            "counters": counters(&report.coverage),
            "not_met": self.not_met(),
            "violation": violation,
        })
    }
}

fn counters(coverage: &Coverage) -> Value {
    coverage.iter().map(|(what, count)| (what.to_owned(), Value::from(count))).collect()
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| Failure::disk(path.display(), &error))?;
    output::note(&format!("wrote {}", path.display()));
    Ok(())
}

fn draw_run(path: &Path, title: &str, run: &Run) -> Result<(), Failure> {
    let violation = run.violation.as_ref().map(ToString::to_string);
    let (lanes, marks, timeline) = (&run.lanes, &run.marks, &run.timeline);
    let about = [("height", run.height.to_string()), ("simulated time", output::ago(run.virtual_ms))];
    let violation = violation.as_deref();
    write(path, &drawing::html(&drawing::Story { title, violation, about: &about, lanes, marks, timeline }))
}

/// Runs one schedule again.
fn replay(args: &SimArgs, path: &Path) -> Result<(), Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::reading(path.display(), &error))?;
    let schedule: Schedule =
        serde_json::from_str(&text).map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
    schedule.check().map_err(|why| Failure::failed(format!("{}: {why}", path.display())))?;
    let chosen = match &args.consensus {
        Some(wanted) => Chosen::find(wanted, args.plugin.as_deref())?,
        None => Chosen::of_schedule(&schedule)?,
    };
    let plugin = Arc::clone(&chosen.plugin);
    let options = Options {
        fault_model: Some(schedule.scenario.fault_model),
        validators: Some(schedule.scenario.validators),
        settings: Some(schedule.scenario.settings.clone()),
        scenarios: Vec::new(),
    };
    let plan = plan_of(plugin.as_ref(), &options).map_err(Failure::failed)?;
    let extent = Extent { from: schedule.seed, seeds: 1, threads: 1, progress: None };
    let run = torture(&plugin, &plan, extent, |campaign: &Campaign<'_>| campaign.replay(&schedule));
    let run = run.map_err(Failure::failed)?;
    if let Some(path) = &args.timeline {
        let title = format!("{}, seed {}, shrunk", chosen.title(), schedule.seed);
        draw_run(path, &title, &run)?;
    }
    if args.json {
        let violation = run.violation.as_ref();
        output::json(&json!({
            "consensus": chosen.name,
            "library": chosen.library,
            "seed": schedule.seed,
            "scenario": schedule.scenario.name,
            "trace": format!("{:016x}", run.trace_hash),
            "height": run.height,
            "violation": violation.map(|broken| json!({"invariant": broken.invariant, "detail": broken.detail, "at_ms": broken.at_us / 1000})),
            "timeline": run.timeline,
        }))?;
    } else {
        output::line(&run.timeline.join("\n"))?;
        output::line(&format!("\ntrace {:016x}, height {}", run.trace_hash, run.height))?;
    }
    match run.violation {
        Some(violation) => Err(Failure::failed(violation.to_string())),
        None => Ok(()),
    }
}
