//! The same consensus linked in and loaded from a shared library: transactions a second and CPU of each, in turns.

use std::time::Duration;

use crate::{
    failure::BenchError,
    load::{self, Prepared},
    network::{Network, Node, Rules},
    options::Options,
    process,
    report::Figure,
    stop::Stop,
};

/// What one run came to.
struct Run {
    per_s: f64,
    cpu_us: f64,
}

fn measure(options: &Options, stop: &Stop, with_library: bool, name: &str) -> Result<Run, BenchError> {
    let library = with_library.then_some(options.library.as_path());
    let network = Network::running_with(options, stop, Rules::CRASH, library)?;
    let prepared = Prepared::sign(&network, name, options.counts.transactions);
    let cpu = || -> Duration { network.validators().iter().filter_map(Node::pid).filter_map(process::cpu).sum() };
    let before = cpu();
    let loaded = load::load(&network, &prepared)?;
    let spent = cpu().saturating_sub(before).as_secs_f64() * 1e6 / network.validators().len() as f64;
    let transactions = loaded.transactions.max(1) as f64;
    Ok(Run { per_s: transactions / loaded.took.as_secs_f64(), cpu_us: spent / transactions })
}

/// Runs both in turns, each on a new network, so that what else the machine does meets both.
pub(crate) fn figures(options: &Options, stop: &Stop) -> Result<Vec<Figure>, BenchError> {
    let (mut linked, mut loaded) = (Vec::new(), Vec::new());
    for run in 0..options.counts.runs {
        linked.push(measure(options, stop, false, &format!("linked/{run}"))?);
        loaded.push(measure(options, stop, true, &format!("library/{run}"))?);
    }
    let how = format!(
        "{} of {} transactions each, in turns, each on a new network; the same consensus linked in is beside it",
        if options.counts.runs == 1 { "a run".to_owned() } else { format!("{} runs", options.counts.runs) },
        options.counts.transactions
    );
    let of = |runs: &[Run], what: fn(&Run) -> f64| runs.iter().map(what).collect::<Vec<f64>>();
    let beside = |runs: &[Run], what: fn(&Run) -> f64| Figure::median("", "", &of(runs, what), "").value;
    let ratios: Vec<f64> = loaded.iter().zip(&linked).map(|(one, other)| one.per_s / other.per_s).collect();
    Ok(vec![
        Figure::median("library_per_s", "consensus from a library, final", &of(&loaded, |run| run.per_s), "tx/s")
            .how(how)
            .beside("linked in", beside(&linked, |run| run.per_s)),
        Figure::median(
            "library_cpu_us",
            "consensus from a library, CPU of a validator",
            &of(&loaded, |run| run.cpu_us),
            "us/tx",
        )
        .beside("linked in", beside(&linked, |run| run.cpu_us)),
        Figure::median("library_ratio", "library / linked in, run by run", &ratios, "x"),
    ])
}
