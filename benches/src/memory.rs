//! Resident memory of each validator.

use std::time::{Duration, Instant};

use crate::{failure::BenchError, network::Network, process, report::Figure};

/// How long validators are left alone before their memory is read.
const SETTLE: Duration = Duration::from_secs(1);

/// Memory of all validators now; none where the system does not tell.
pub(crate) fn figures(network: &Network, key: &str, when: &str) -> Result<Vec<Figure>, BenchError> {
    let settled = Instant::now() + SETTLE;
    network.stop().until("validators settle", || Ok((Instant::now() >= settled).then_some(())))?;
    let pids = network.validators().iter().filter_map(crate::network::Node::pid);
    let found: Vec<_> = pids.filter_map(process::memory).collect();
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let mib = |of: fn(&process::Memory) -> u64| found.iter().map(|one| of(one) as f64 / 1024.0).collect::<Vec<_>>();
    let rows = [
        ("rss", "resident", mib(|one| one.rss_kib), "VmRSS, each of 3 validators; aim: under 20 idle"),
        ("pss", "proportional", mib(|one| one.pss_kib), "Pss: shared pages by share"),
        ("anon", "of its own", mib(|one| one.anonymous_kib), "RssAnon: heap and stacks"),
    ];
    Ok(rows
        .into_iter()
        .map(|(short, name, values, how)| {
            Figure::median(format!("{key}_{short}_mib"), format!("memory {when}, {name}"), &values, "MiB").how(how)
        })
        .collect())
}
