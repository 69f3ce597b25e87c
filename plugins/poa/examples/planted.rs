//! Tries planted bugs: `cargo run --release -p quorate-poa --example planted -- SEEDS BUG SCENARIO`, both by parts of their names.
#![expect(clippy::panic, reason = "a scenario that can not be run is a mistake in it")]

#[path = "../tests/sim/mod.rs"]
mod sim;

use quorate_poa::PlantedBug;
use quorate_testkit::sim::{FaultModel, SignerModel};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let seeds: u64 = arguments.first().and_then(|text| text.parse().ok()).unwrap_or(200);
    let part = |at: usize| arguments.get(at).map_or("", String::as_str);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    for bug in PlantedBug::ALL.into_iter().filter(|bug| format!("{bug:?}").contains(part(1))) {
        for mut scenario in FaultModel::ALL.into_iter().flat_map(sim::scenarios::inside) {
            if !scenario.name.contains(part(2)) {
                continue;
            }
            if bug.needs_unguarded_signer() {
                scenario.signer = SignerModel::Unguarded;
            }
            let report = if scenario.name.contains("schemer") {
                sim::scheming(&scenario, Some(bug), 0..seeds, threads)
            } else {
                sim::run(&scenario, Some(bug), 0..seeds, threads, None)
            };
            let how = report.failure.map_or("nothing", |failure| failure.violation.invariant);
            println!(
                "{:<22} {:<50} {:>8} schedules {how}",
                format!("{bug:?}"),
                scenario.name.replace('\n', " "),
                report.runs
            );
        }
    }
}
