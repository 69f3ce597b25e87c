//! `quorate bench`: a network under a load.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};
use quorate_bench::{
    BenchError, Stop,
    command::{Bench, CLIENTS_MAX, Load, Mode, SECONDS_MAX, Target, VALIDATORS_MAX, svg},
};

use crate::{
    bundled,
    exit::{Exit, Failure},
    network::FaultModel,
    output,
};

/// Examples for `--help`.
pub const EXAMPLES: &str = "\
Examples:
  quorate bench --make-network --seconds 10                    64 clients against three validators made for it
  quorate bench --make-network --rate 5000 --json              an open loop: 5000 a second, latency from when each was due
  quorate bench --make-network --saturate --plot knee.svg      the highest rate that is kept up with, and a picture
  quorate bench --make-network --stop-one --clients 16         one validator is killed: the rate of the others, and its way back
  quorate bench --make-network --storage fjall                 with another store
  quorate bench --network devnet --clients 16                  against the network that a devnet runs
  quorate bench --make-network --kind ballots --rate 300       ballots of an election

The load comes from this machine and takes its share of the cores. A transaction counts as final when the first validator tells of its block. \
Transactions are made before the clock starts: 2000000 at most, and as many as 1 GiB holds; a closed loop that uses up all of them fails. \
With --network a voting network needs the admin's key in its folder: an election is opened for the load.";

/// How long everything around the load may take.
const AROUND: Duration = Duration::from_secs(1800);

/// Options of `bench`.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// A folder whose network a devnet runs
    #[arg(long, value_name = "DIR", conflicts_with = "make_network", required_unless_present = "make_network")]
    pub network: Option<PathBuf>,
    /// Make a network for this, and remove it afterwards
    #[arg(long)]
    pub make_network: bool,
    /// Validators of a made network
    #[arg(long, value_name = "N", default_value_t = 3, conflicts_with = "network", value_parser = clap::value_parser!(u16).range(1..=i64::from(VALIDATORS_MAX)))]
    pub validators: u16,
    /// What a made network withstands
    #[arg(long, value_enum, value_name = "MODEL", default_value_t = FaultModel::Crash, conflicts_with = "network")]
    pub fault_model: FaultModel,
    /// Time between blocks of a made network, in milliseconds; 0 makes them as soon as there is work
    #[arg(long, value_name = "MS", default_value_t = 0, conflicts_with = "network")]
    pub block_interval_ms: u64,
    /// Transactions in a block of a made network at most
    #[arg(long, value_name = "N", default_value_t = 4096, conflicts_with = "network", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub block_transactions_max: u32,
    /// What a made network is for [default: kv]
    #[arg(long, value_enum, value_name = "KIND", conflicts_with = "network")]
    pub kind: Option<Kind>,
    /// The store of a made network: redb, fjall [default: redb]
    #[arg(long, value_name = "NAME", conflicts_with = "network")]
    pub storage: Option<String>,
    /// Where the files of a made network lie meanwhile: the disk whose fsyncs are measured [default: the working directory]
    #[arg(long, value_name = "DIR", default_value = ".", hide_default_value = true, conflicts_with = "network")]
    pub dir: PathBuf,
    /// How long figures are taken, in seconds
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX))]
    pub seconds: u64,
    /// How long the load runs before that, in seconds; with --saturate one second before each rate, whatever is said here
    #[arg(long, value_name = "S", default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=60))]
    pub warm_up: u64,
    /// Closed loop: so many clients, each hands in the next transaction when the one before is final; at most 250 at each validator [default: 64]
    #[arg(long, value_name = "C", conflicts_with_all = ["rate", "saturate"], value_parser = clap::value_parser!(u32).range(1..=CLIENTS_MAX as i64))]
    pub clients: Option<u32>,
    /// Open loop: so many transactions a second, 0.1 to 1000000, whether the network keeps up or not
    #[arg(long, value_name = "R", conflicts_with = "saturate")]
    pub rate: Option<f64>,
    /// Search for the highest rate that the network keeps up with: at which what waits does not grow and nothing is lost
    #[arg(long)]
    pub saturate: bool,
    /// Kill the last validator of a made network under the load, which goes to the others, as in a run of the same length before; then start it again
    #[arg(long, conflicts_with_all = ["network", "saturate"])]
    pub stop_one: bool,
    /// Bytes of each value written
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub bytes: u32,
    /// Write a picture (SVG) after the figures: latency over the rate, or over the share of transactions
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What transactions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Signed writes of a key
    Kv,
    /// Encrypted ballots with five options
    Ballots,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`].
pub fn run(args: &BenchArgs) -> Result<(), Failure> {
    if args.rate.is_some_and(|rate| !(0.1..=1e6).contains(&rate)) {
        return Err(Failure::usage("--rate must be 0.1 to 1000000"));
    }
    if let Some(name) = &args.storage {
        bundled::registry().storage(name).map_err(|known| bundled::missing("storage", name, &known))?;
    }
    let program = std::env::current_exe().map_err(|error| Failure::failed(format!("this program: {error}")))?;
    let target = match &args.network {
        Some(directory) => Target::Running(directory.clone()),
        None => Target::Make {
            validators: args.validators,
            fault_model: args.fault_model.as_str(),
            block_interval_ms: args.block_interval_ms,
            transactions_max: args.block_transactions_max as usize,
            application: if args.kind == Some(Kind::Ballots) { "voting" } else { "kv" },
            storage: args.storage.clone().unwrap_or_else(|| "redb".into()),
            program,
            directory: args.dir.clone(),
        },
    };
    let load = match (args.saturate, args.rate) {
        (true, _) => Load::Saturate,
        (false, Some(rate)) => Load::Steady(Mode::Open(rate)),
        (false, None) => Load::Steady(Mode::Closed(args.clients.unwrap_or(64) as usize)),
    };
    let bench = Bench {
        target,
        load,
        time: Duration::from_secs(args.seconds),
        warm_up: Duration::from_secs(args.warm_up),
        bytes: args.bytes as usize,
        stop_one: args.stop_one,
    };
    let stop = Stop::after(AROUND + Duration::from_secs(args.seconds.saturating_mul(20)));
    stop.on_signals().map_err(|error| Failure::failed(format!("signals can't be received: {error}")))?;
    let plot = args.plot.as_deref().map(Plot::open).transpose()?;
    let outcome = bench.run(&stop, &mut |what| output::note(what)).map_err(failure)?;
    // Figures first: a picture that can't be written takes nothing from them.
    if args.json { output::json(&outcome) } else { output::line(outcome.to_string().trim_end()) }?;
    if let Some(plot) = plot {
        plot.write(&svg(&outcome))?;
    }
    outcome.failed.map_or(Ok(()), |failed| Err(Failure::failed(format!("the search ended {failed}"))))
}

/// The file of a picture, opened before the load: where it can't be written nothing is measured in vain. What is in it stays until the picture is there.
struct Plot<'a> {
    path: &'a Path,
    file: File,
}

impl<'a> Plot<'a> {
    fn open(path: &'a Path) -> Result<Self, Failure> {
        let opened = File::options().write(true).create(true).truncate(false).open(path);
        Ok(Self { path, file: opened.map_err(|error| Failure::disk(path.display(), &error))? })
    }

    fn write(mut self, text: &str) -> Result<(), Failure> {
        let emptied = match self.file.metadata() {
            Ok(metadata) if metadata.is_file() => self.file.set_len(0),
            // Such as a terminal or a pipe, which is never emptied.
            told => told.map(|_| ()),
        };
        let written = emptied.and_then(|()| self.file.write_all(text.as_bytes()));
        written.map_err(|error| Failure::disk(self.path.display(), &error))
    }
}

fn failure(error: BenchError) -> Failure {
    match error {
        BenchError::Stopped => Failure::new(Exit::Failed, "stopped"),
        other => Failure::failed(other.to_string()),
    }
}
