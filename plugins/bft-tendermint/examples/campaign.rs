//! Runs many seeded schedules: `cargo run --release -p quorate-bft-tendermint --example campaign -- SEEDS [FROM] [THREADS] [NAME [whole]]`.
//!
//! NAME selects the scenarios whose name contains it. A violation is printed with its seed and the end of
//! its timeline, or the whole of it.
#![expect(clippy::panic, reason = "a scenario that can not be run is a mistake in it")]

#[path = "../tests/sim/mod.rs"]
mod sim;

use std::time::Instant;

use quorate_testkit::sim::Coverage;

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, otherwise: u64| arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let (seeds, from, threads) = (number(0, 100), number(1, 0), number(2, 2));
    let name = arguments.get(3).map_or("", String::as_str);
    let mut total = Coverage::default();
    let mut failed = false;
    for scenario in sim::scenarios::inside().into_iter().filter(|scenario| scenario.name.contains(name)) {
        let began = Instant::now();
        let report = sim::run(&scenario, from..from + seeds, usize::try_from(threads).unwrap_or(1));
        println!(
            "{:<50} {:>8} schedules {:>7.1} a second {:>6} steps each",
            scenario.name,
            report.runs,
            report.runs as f64 / began.elapsed().as_secs_f64(),
            report.steps / report.runs.max(1)
        );
        total.merge(&report.coverage);
        if let Some(failure) = report.failure {
            println!("{failure}");
            if arguments.get(4).is_some_and(|text| text == "whole") {
                println!("{}", failure.timeline.join("\n"));
            }
            failed = true;
        }
    }
    println!("{total}");
    if failed { std::process::ExitCode::FAILURE } else { std::process::ExitCode::SUCCESS }
}
