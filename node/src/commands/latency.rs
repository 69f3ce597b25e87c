//! `quorate sim latency`: how long a transaction takes to be final in simulated networks with real delays, and what it costs in messages.

use std::str::FromStr;

use clap::Args;
use quorate_testkit::sim::{
    FaultModel,
    latency::{
        BLOCKS_MAX, Conditions, DELAY_MAX_US, Figures, TRANSACTION_BYTES, TRANSACTIONS_MAX, VALIDATORS, measure,
    },
};
use serde::Serialize;

use super::sim::Chosen;
use crate::{exit::Failure, output, progress::Progress};

/// Examples for `--help`.
pub const EXAMPLES: &str = "\
Examples:
  quorate sim latency --consensus poa
  quorate sim latency --consensus poa --validators 4,7,13,25,49 --delays datacentre,continent,world
  quorate sim latency --consensus poa --fault-model byzantine --validators 7 --delays 5-80 --disk-ms 1.5
  quorate sim latency --consensus poa --validators 7 --stop-one --transactions 1 --json
  quorate sim latency --consensus poa --validators 13 --delays world --bandwidth-mbit 100 --transactions 1000

Every validator count is run with all delays, fault models and transactions. Time is virtual: nothing depends on this machine, computing takes no time, \
and the same seed prints the same bytes. With one transaction in a block the next is submitted, at a validator drawn at random, when all have the block; \
with more the pool always has a full block.";

/// Bytes of a transaction, as `quorate bench` signs them.
const BENCH_TRANSACTION_BYTES: usize = 151;

/// Options of `sim latency`.
#[derive(Debug, Clone, Args)]
pub struct LatencyArgs {
    /// The consensus plugin, or a shared library that has one
    #[arg(long, value_name = "NAME|LIBRARY")]
    pub consensus: String,
    /// Which consensus of the library [default: its only one]
    #[arg(long, value_name = "NAME")]
    pub plugin: Option<String>,
    /// Validators, 2 to 61; several with commas between them
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_value = "3,4,7,13")]
    pub validators: Vec<usize>,
    /// Delays one way, in ms or by name: LOW-HIGH, datacentre (0.25), continent (10-20), world (40-150); each pair of validators has one of the range
    #[arg(long, value_name = "DELAYS,..", value_delimiter = ',', default_value = "continent")]
    pub delays: Vec<Delays>,
    /// What the networks withstand: crash, byzantine, byzantine-sync; of a consensus that can't be told, what it does
    #[arg(long, value_name = "MODEL,..", value_delimiter = ',', default_value = "crash")]
    pub fault_model: Vec<FaultModel>,
    /// Transactions in a block, 4096 at most; 1 is a lone one
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_value = "1,256")]
    pub transactions: Vec<usize>,
    /// Bytes of a transaction
    #[arg(long, value_name = "N", default_value_t = BENCH_TRANSACTION_BYTES)]
    pub bytes: usize,
    /// How long one wait for the disk takes, in ms
    #[arg(long, value_name = "MS", default_value = "0")]
    pub disk_ms: Millis,
    /// Of a thousand messages, how many are lost; TCP sends them again after a round trip and 200 ms, and what follows waits
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=500))]
    pub loss_permille: u32,
    /// What each validator can send, in megabits a second [default: no bound]
    #[arg(long, value_name = "MBIT", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub bandwidth_mbit: Option<u64>,
    /// Stop one validator for good before figures are taken
    #[arg(long)]
    pub stop_one: bool,
    /// `delta_ms` of a consensus that has it
    #[arg(long, value_name = "MS", default_value_t = 400)]
    pub delta_ms: u64,
    /// `timeout_ms` of a consensus that has it
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    pub timeout_ms: u64,
    /// Blocks of which figures are taken
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=BLOCKS_MAX))]
    pub blocks: u64,
    /// From which the delays, losses and places of submission are drawn
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub seed: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// A time in milliseconds, kept in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Millis(u64);

impl FromStr for Millis {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let most_ms = DELAY_MAX_US / 1000;
        let ms = text.parse::<f64>().ok().filter(|ms| (0.0..=most_ms as f64).contains(ms));
        ms.map(|ms| Self((ms * 1000.0).round() as u64))
            .ok_or_else(|| format!("`{text}` is no time of 0 to {most_ms} ms"))
    }
}

/// Delays between validators, as they were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delays {
    name: String,
    min_us: u64,
    max_us: u64,
}

impl FromStr for Delays {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let range = match text {
            "datacentre" => "0.25",
            "continent" => "10-20",
            "world" => "40-150",
            other => other,
        };
        let (low, high) = range.split_once('-').unwrap_or((range, range));
        let (Millis(min_us), Millis(max_us)) = (low.parse()?, high.parse()?);
        if min_us > max_us {
            return Err(format!("`{text}`: the shorter delay comes first"));
        }
        let name = if range == text { format!("{text} ms") } else { format!("{text} ({range} ms)") };
        Ok(Self { name, min_us, max_us })
    }
}

/// One row.
#[derive(Serialize)]
struct Row {
    delays: String,
    delay_min_ms: f64,
    delay_max_ms: f64,
    #[serde(flatten)]
    figures: Figures,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`].
pub fn run(args: &LatencyArgs) -> Result<(), Failure> {
    check(args)?;
    let chosen = Chosen::find(&args.consensus, args.plugin.as_deref())?;
    let networks = args.fault_model.len() * args.delays.len() * args.validators.len() * args.transactions.len();
    let mut bar = Progress::new("networks", u64::try_from(networks).ok());
    let mut rows = Vec::with_capacity(networks);
    for fault_model in &args.fault_model {
        for delays in &args.delays {
            for validators in &args.validators {
                for transactions in &args.transactions {
                    let conditions = conditions(args, *fault_model, delays, (*validators, *transactions));
                    let figures = measure(chosen.plugin.as_ref(), &conditions).map_err(|why| {
                        Failure::failed(format!("{validators} validators, {fault_model}, {}: {why}", delays.name))
                    })?;
                    let ms = |us: u64| us as f64 / 1000.0;
                    let (delay_min_ms, delay_max_ms) = (ms(delays.min_us), ms(delays.max_us));
                    rows.push(Row { delays: delays.name.clone(), delay_min_ms, delay_max_ms, figures });
                    bar.step();
                }
            }
        }
    }
    drop(bar);
    if args.json {
        return output::json(&serde_json::json!({
            "consensus": chosen.name,
            "seed": args.seed,
            "disk_ms": args.disk_ms.0 as f64 / 1000.0,
            "loss_permille": args.loss_permille,
            "bandwidth_mbit": args.bandwidth_mbit,
            "delta_ms": args.delta_ms,
            "timeout_ms": args.timeout_ms,
            "transaction_bytes": args.bytes,
            "stop_one": args.stop_one,
            "networks": rows,
        }));
    }
    output::line(&table(&rows))
}

fn check(args: &LatencyArgs) -> Result<(), Failure> {
    if let Some(count) = args.validators.iter().find(|count| !VALIDATORS.contains(*count)) {
        let (low, high) = (VALIDATORS.start(), VALIDATORS.end());
        return Err(Failure::usage(format!("--validators {count}: a network with delays has {low} to {high}")));
    }
    if let Some(count) = args.transactions.iter().find(|count| !(1..=TRANSACTIONS_MAX).contains(*count)) {
        return Err(Failure::usage(format!("--transactions {count}: a simulated block has 1 to {TRANSACTIONS_MAX}")));
    }
    if !TRANSACTION_BYTES.contains(&args.bytes) {
        let (low, high) = (TRANSACTION_BYTES.start(), TRANSACTION_BYTES.end());
        return Err(Failure::usage(format!("--bytes {}: a simulated transaction has {low} to {high}", args.bytes)));
    }
    for model in &args.fault_model {
        let alone = args.validators.iter().find(|count| model.tolerated(**count) == 0);
        if let (true, Some(count)) = (args.stop_one, alone) {
            return Err(Failure::usage(format!("--stop-one: {count} validators in {model} do not go on without one")));
        }
        let slow = args.delays.iter().find(|delays| delays.max_us >= args.delta_ms.saturating_mul(1000));
        if let (FaultModel::ByzantineSync, Some(delays)) = (model, slow) {
            let why = format!("--delta-ms {}: byzantine-sync needs more than {}", args.delta_ms, delays.name);
            return Err(Failure::usage(why));
        }
    }
    Ok(())
}

fn conditions(args: &LatencyArgs, fault_model: FaultModel, delays: &Delays, size: (usize, usize)) -> Conditions {
    let (validators, transactions) = size;
    Conditions {
        fault_model,
        validators,
        delay_min_us: delays.min_us,
        delay_max_us: delays.max_us,
        delta_ms: args.delta_ms,
        timeout_ms: args.timeout_ms,
        disk_us: args.disk_ms.0,
        loss_permille: args.loss_permille,
        bytes_per_s: args.bandwidth_mbit.map(|mbit| mbit * 125_000),
        transactions,
        transaction_bytes: args.bytes,
        stop_one: args.stop_one,
        blocks: args.blocks,
        seed: args.seed,
    }
}

fn table(rows: &[Row]) -> String {
    let head = [
        "fault model",
        "delays",
        "validators",
        "in a block",
        "hops say",
        "p50",
        "p99",
        "blocks",
        "final",
        "sent by a validator for each block",
        "",
        "timeouts",
    ];
    let mut cells = vec![head.map(str::to_owned).to_vec()];
    cells.extend(rows.iter().map(|row| {
        let figures = &row.figures;
        let running = if figures.running == figures.validators {
            figures.validators.to_string()
        } else {
            format!("{} of {}", figures.running, figures.validators)
        };
        vec![
            figures.fault_model.to_string(),
            row.delays.clone(),
            running,
            figures.block_transactions.to_string(),
            figures.hops_p50_ms.map_or("-".into(), |ms| format!("{ms:.2} ms")),
            format!("{:.2} ms", figures.p50_ms),
            format!("{:.2} ms", figures.p99_ms),
            format!("{:.1} /s", figures.blocks_per_s),
            format!("{:.0} /s", figures.transactions_per_s),
            format!("{:.1} messages", figures.messages_per_block),
            format!("{:.1} kB", figures.bytes_per_block / 1000.0),
            figures.later_rounds.to_string(),
        ]
    }));
    output::table(&cells)
}
