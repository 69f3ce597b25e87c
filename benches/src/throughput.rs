//! Final signed transactions a second, handed in at all validators.

use std::time::Duration;

use crate::{
    ceilings::{self, Checks},
    failure::BenchError,
    load::{self, Loaded, Prepared},
    network::{self, Network, Node},
    options::Options,
    process,
    report::Figure,
};

/// Runs the load several times on one network.
pub(crate) fn figures(
    options: &Options,
    network: &Network,
    runs: usize,
    key: &str,
    name: &str,
) -> Result<Vec<Figure>, BenchError> {
    let mut rates = Vec::new();
    let mut ceilings: Vec<Checks> = Vec::new();
    let mut loads: Vec<Loaded> = Vec::new();
    let (mut nodes, mut client) = (Duration::ZERO, Duration::ZERO);
    for run in 0..runs {
        let prepared = Prepared::sign(network, &format!("{key}/{run}"), options.counts.transactions);
        ceilings.push(ceilings::signature_checks(options.counts.ceiling_time));
        let before = (cpu_of(network), process::cpu(std::process::id()).unwrap_or_default());
        let loaded = load::load(network, &prepared)?;
        nodes += cpu_of(network).saturating_sub(before.0);
        client += process::cpu(std::process::id()).unwrap_or_default().saturating_sub(before.1);
        ceilings.push(ceilings::signature_checks(options.counts.ceiling_time));
        rates.push(loaded.transactions as f64 / loaded.took.as_secs_f64());
        loads.push(loaded);
    }
    let validators = network.validators().len() as f64;
    let transactions: usize = loads.iter().map(|loaded| loaded.transactions).sum();
    let blocks: u64 = loads.iter().map(|loaded| loaded.blocks).sum();
    let late: u64 = loads.iter().map(|loaded| loaded.late_blocks).sum();
    let full: usize = loads.iter().map(|loaded| loaded.full).sum();
    let median =
        |of: fn(&Checks) -> f64| Figure::median("", "", &ceilings.iter().map(of).collect::<Vec<_>>(), "").value;
    let ceiling = median(|checks| checks.per_s) / validators;
    let how = format!(
        "{} of {} signed transactions at 3 validators, final at all; {blocks} blocks, {late} of them late; pools full {full} times",
        if runs == 1 { "a run".to_owned() } else { format!("{runs} runs") },
        options.counts.transactions
    );
    let rate = Figure::median(format!("{key}_per_s"), format!("{name}, final"), &rates, "tx/s").how(how);
    let per = |time: Duration| time.as_secs_f64() * 1e6 / transactions.max(1) as f64;
    Ok(vec![
        rate.beside("signature checks / 3", ceiling),
        Figure::new(format!("{key}_cpu_us"), format!("{name}, CPU of a validator"), per(nodes) / validators, "us/tx")
            .beside("one signature check", median(|checks| checks.cpu_us))
            .how("user and system time of a validator process for each transaction"),
        Figure::new(format!("{key}_client_cpu_us"), format!("{name}, CPU of the load"), per(client), "us/tx")
            .how("of this process, which shares the cores"),
    ])
}

/// Transactions that are handed in at once: an equal share for each validator, and all of them find room.
pub(crate) fn burst(options: &Options) -> usize {
    let validators = usize::from(network::VALIDATORS);
    options.counts.transactions.min(load::UNDER_WAY_MAX) / validators * validators
}

/// How fast validators accept what comes all at once, and finds room: checked, in the pool, on its way to the others, who check it too.
pub(crate) fn accepted(options: &Options, network: &Network, runs: usize) -> Result<Figure, BenchError> {
    let count = burst(options);
    let (mut rates, mut checks) = (Vec::new(), Vec::new());
    for run in 0..runs {
        let prepared = Prepared::sign(network, &format!("accepted/{run}"), count);
        checks.push(ceilings::signature_checks(options.counts.ceiling_time).per_s);
        let loaded = load::load(network, &prepared)?;
        rates.push(loaded.transactions as f64 / loaded.accepted.as_secs_f64());
    }
    let ceiling = Figure::median("", "", &checks, "").value / network.validators().len().max(1) as f64;
    let how = format!("{runs} times {count} signed transactions at 3 validators, until the last is answered");
    let figure = Figure::median("accepted_per_s", "submissions accepted", &rates, "tx/s").how(how);
    Ok(figure.beside("signature checks / 3", ceiling))
}

fn cpu_of(network: &Network) -> Duration {
    network.validators().iter().filter_map(Node::pid).filter_map(process::cpu).sum()
}
