//! From the submission of a lone transaction until its node says that it is final.

use std::time::Instant;

use crate::{
    ceilings,
    failure::BenchError,
    follow::Follower,
    http::{call_text, post},
    load::Signer,
    network::Network,
    options::Options,
    report::{Figure, percentile, sorted},
};

/// Submits `count` transactions one after the other, at each validator in turn, while nothing else happens.
pub(crate) fn figures(
    options: &Options,
    network: &Network,
    count: usize,
    key: &str,
    name: &str,
) -> Result<Vec<Figure>, BenchError> {
    let mut took = Vec::with_capacity(count);
    let mut clients = Vec::new();
    for (at, node) in network.validators().iter().enumerate() {
        let signer = Signer::new(network.chain_id(), &format!("latency/{at}"));
        clients.push((node.connect()?, Follower::subscribe(node.rpc, network.stop())?, signer));
    }
    for turn in 0..count {
        let at = turn % clients.len();
        let mut height = 0;
        if let Some((connection, follower, signer)) = clients.get_mut(at) {
            let (id, text) = signer.next();
            let id = id.to_string();
            let request = post(&call_text("quorate_submit", &serde_json::json!([text])));
            let begun = Instant::now();
            let body = connection.exchange(&request)?;
            if body.windows(8).any(|part| part == b"\"error\":") {
                return Err(BenchError::answer(String::from_utf8_lossy(body)));
            }
            while height == 0 {
                height =
                    follower.next(|block| if block.transactions.contains(&id.as_str()) { block.height } else { 0 })?;
            }
            took.push(begun.elapsed().as_secs_f64() * 1000.0);
        }
        // The next one is alone only when this one is final everywhere.
        for (_, follower, _) in clients.iter_mut().enumerate().filter(|(of, _)| *of != at).map(|(_, client)| client) {
            while follower.next(|block| block.height)? < height {}
        }
    }
    let sorted = sorted(&took);
    let fsync = ceilings::fsync_ms(&options.directory, options.counts.ceiling_time)?;
    let how = format!("{count} lone signed transactions at the validators in turn, submit to the block on a WebSocket");
    let range = sorted.first().copied().zip(sorted.last().copied());
    let mut median = Figure::new(format!("{key}_p50_ms"), format!("{name}, p50"), percentile(&sorted, 50), "ms");
    median.range = range;
    let high = Figure::new(format!("{key}_p99_ms"), format!("{name}, p99"), percentile(&sorted, 99), "ms");
    Ok(vec![median.how(how).beside("one fsync of 4 KiB", fsync), high.beside("one fsync of 4 KiB", fsync)])
}
