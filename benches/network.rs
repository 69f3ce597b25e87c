//! `cargo bench --bench network`: what three validators do on this machine, as a table or as JSON.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, ValueEnum};
use quorate_bench::{Counts, Options, Part, Stop, run};

/// The whole run takes this long at most.
const RUN_MAX: Duration = Duration::from_secs(900);

/// Measures a network of three validators on this machine; see docs/benchmarks.md.
#[derive(Parser)]
#[command(
    name = "network",
    after_help = "Examples:\n  cargo bench --bench network\n  cargo bench --bench network -- --quick --only throughput,memory --json"
)]
struct Arguments {
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// A first look, in a third of the time
    #[arg(long)]
    quick: bool,
    /// As little as goes through every part; says nothing about speed
    #[arg(long, conflicts_with = "quick")]
    tiny: bool,
    /// Only these parts
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PARTS")]
    only: Vec<Named>,
    /// Another program than the one of this build
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy)]
struct Named(Part);

impl ValueEnum for Named {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [Named; 9] = [
            Named(Part::Start),
            Named(Part::Memory),
            Named(Part::Latency),
            Named(Part::Reads),
            Named(Part::Throughput),
            Named(Part::CatchUp),
            Named(Part::Library),
            Named(Part::Ballots),
            Named(Part::Gateway),
        ];
        &ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.0.name()))
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let counts = match (arguments.quick, arguments.tiny) {
        (_, true) => Counts::tiny(),
        (true, _) => Counts::quick(),
        _ => Counts::full(),
    };
    let parts = match arguments.only.as_slice() {
        [] => Part::ALL.to_vec(),
        only => only.iter().map(|named| named.0).collect(),
    };
    let options = Options {
        program: arguments.program.unwrap_or_else(|| env!("CARGO_BIN_EXE_quorate").into()),
        library: library(),
        directory: env!("CARGO_TARGET_TMPDIR").into(),
        parts,
        counts,
    };
    let stop = Stop::after(RUN_MAX);
    let signals = stop.on_signals().map_err(|error| format!("signals can't be received: {error}"));
    let outcome = signals.and_then(|()| {
        run(&options, &stop, &mut |what| eprintln!("measuring: {what}")).map_err(|error| error.to_string())
    });
    match outcome {
        Ok(report) if arguments.json => println!("{}", report.json()),
        Ok(report) => print!("{report}"),
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Poa as a shared library, which cargo built beside this program, as a crate that its tests depend on.
fn library() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    program.with_file_name("libquorate_poa_dylib.so")
}
