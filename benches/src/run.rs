//! A whole run: the networks it needs, one after the other, and what is measured on each.

use crate::{
    ballots, catch_up,
    failure::BenchError,
    gateway, latency, library,
    machine::Machine,
    memory,
    network::{Network, Rules},
    options::{Options, Part},
    reads,
    report::{Figure, Report},
    start,
    stop::Stop,
    throughput,
};

/// Measures what `options` name; `progress` is told what is being done.
///
/// # Errors
///
/// [`BenchError`]; nothing is left running then, and no file.
pub fn run(options: &Options, stop: &Stop, progress: &mut dyn FnMut(&str)) -> Result<Report, BenchError> {
    let mut machine = Machine::now();
    let mut figures = Vec::new();
    if options.has(Part::Start) {
        progress("first starts");
        figures.extend(start::first(options, stop)?);
    }
    let on_the_main_network = |part: &Part| !matches!(part, Part::Library | Part::Ballots | Part::Gateway);
    if options.parts.iter().any(on_the_main_network) {
        main_network(options, stop, progress, &mut figures)?;
    }
    if options.has(Part::Latency) || options.has(Part::Throughput) {
        with_delta(options, stop, progress, &mut figures)?;
    }
    if options.has(Part::CatchUp) {
        progress("small blocks");
        let mut network = Network::running(options, stop, Rules::ONE_BY_ONE)?;
        figures.extend(catch_up::small_blocks(options, &mut network)?);
    }
    if options.has(Part::Library) {
        progress("a consensus from a library");
        figures.extend(library::figures(options, stop)?);
    }
    if options.has(Part::Ballots) {
        progress("ballots");
        figures.extend(ballots::figures(options, stop)?);
    }
    if options.has(Part::Gateway) {
        progress("the backend for voters");
        figures.extend(gateway::figures(options, stop)?);
    }
    machine.finished();
    Ok(Report { machine, figures })
}

/// The network without waits, on which most is measured: first idle, then small, then loaded.
fn main_network(
    options: &Options,
    stop: &Stop,
    progress: &mut dyn FnMut(&str),
    figures: &mut Vec<Figure>,
) -> Result<(), BenchError> {
    let counts = &options.counts;
    let mut network = Network::running(options, stop, Rules::CRASH)?;
    if options.has(Part::Memory) {
        progress("memory");
        figures.extend(memory::figures(&network, "idle", "idle")?);
    }
    // Reads need a chain with a key in it, which this leaves.
    if options.has(Part::Latency) || options.has(Part::Reads) {
        progress("latency");
        let count = if options.has(Part::Latency) { counts.latencies } else { 3 };
        let found = latency::figures(options, &network, count, "latency_crash", "latency, crash")?;
        figures.extend(found.into_iter().filter(|_| options.has(Part::Latency)));
    }
    if options.has(Part::Reads) {
        progress("reads");
        figures.extend(reads::figures(options, &network)?);
    }
    if options.has(Part::Start) {
        progress("starts");
        figures.push(start::again(options, &mut network, "start_ms", "start to ready, small chain")?);
    }
    if !options.has(Part::Throughput) {
        return Ok(());
    }
    progress("throughput");
    figures.push(throughput::accepted(options, &network, counts.runs)?);
    figures.extend(throughput::figures(options, &network, counts.runs, "crash", "throughput, crash")?);
    if options.has(Part::Memory) {
        figures.extend(memory::figures(&network, "loaded", "after load")?);
    }
    if options.has(Part::Start) {
        progress("starts on the loaded chain");
        figures.push(start::again(options, &mut network, "start_loaded_ms", "start to ready, loaded chain")?);
    }
    if options.has(Part::CatchUp) {
        progress("catch-up");
        let alone = if options.has(Part::Latency) { counts.latencies } else { 0 };
        let once = counts.transactions.next_multiple_of(3) + throughput::burst(options);
        let all = counts.runs * once + alone;
        figures.extend(catch_up::figures(options, &mut network, Some(all), "catch_up_full", "catch-up, full blocks")?);
    }
    Ok(())
}

/// What the default of three validators costs: every vote waits `delta_ms`.
fn with_delta(
    options: &Options,
    stop: &Stop,
    progress: &mut dyn FnMut(&str),
    figures: &mut Vec<Figure>,
) -> Result<(), BenchError> {
    progress("byzantine-sync");
    let network = Network::running(options, stop, Rules::BYZANTINE_SYNC)?;
    let delta = Rules::BYZANTINE_SYNC.delta_ms;
    if options.has(Part::Latency) {
        let count = options.counts.latencies_with_delta;
        let name = format!("latency, byzantine-sync {delta} ms");
        figures.extend(latency::figures(options, &network, count, "latency_byzantine_sync", &name)?);
    }
    if options.has(Part::Throughput) {
        let name = format!("throughput, byzantine-sync {delta} ms");
        figures.extend(throughput::figures(options, &network, 1, "byzantine_sync", &name)?);
    }
    Ok(())
}
