//! A validator without data gets the whole chain from the others.

use std::time::Instant;

use crate::{
    ceilings,
    failure::BenchError,
    http::Connection,
    load::{self, Prepared},
    network::{Network, tip},
    options::Options,
    report::Figure,
};

/// Catch-up over whatever chain the network has, `transactions` in all.
pub(crate) fn figures(
    options: &Options,
    network: &mut Network,
    transactions: Option<usize>,
    key: &str,
    name: &str,
) -> Result<Vec<Figure>, BenchError> {
    let at = network.validators().len() - 1;
    let (height, hash) = tip(&mut network.validator(0)?.connect()?)?;
    network.stop_validator(at);
    network.remove_data(at)?;
    let spawned = Instant::now();
    network.spawn(at)?;
    let address = network.validator(at)?.rpc;
    let mut connection =
        network.stop().until("a validator without data answers", || Ok(Connection::try_open(address).ok()))?;
    let mut begun = None;
    let reached = network.stop().until("a validator without data has the chain", || {
        let (reached, hash) = tip(&mut connection)?;
        if reached > 0 && begun.is_none() {
            begun = Some((Instant::now(), reached));
        }
        Ok((reached >= height).then_some(hash))
    })?;
    let (ended, whole) = (Instant::now(), spawned.elapsed());
    if reached != hash {
        return Err(BenchError::answer(format!("block {height} is {reached} after catch-up and {hash} elsewhere")));
    }
    // From the first block seen on, so that finding peers does not count; all of it when there was but one look.
    let (took, blocks) = match begun {
        Some((begun, first)) if first < height => ((ended - begun).as_secs_f64(), height - first),
        _ => (whole.as_secs_f64(), height),
    };
    let how =
        format!("{height} blocks into an empty directory; {:.2} s from spawn to the same block", whole.as_secs_f64());
    let rate = blocks as f64 / took;
    let mut figures = vec![Figure::new(format!("{key}_blocks_per_s"), format!("{name}, blocks"), rate, "/s").how(how)];
    if let Some(transactions) = transactions {
        let checks = ceilings::signature_checks(options.counts.ceiling_time).per_s;
        let rate = rate * transactions as f64 / height.max(1) as f64;
        let figure = Figure::new(format!("{key}_tx_per_s"), format!("{name}, transactions"), rate, "tx/s")
            .beside("signature checks", checks)
            .how("every signature is checked again");
        figures.push(figure);
    } else if let Some(figure) = figures.last_mut() {
        let fsync = ceilings::fsync_ms(&options.directory, options.counts.ceiling_time)?;
        *figure = figure.clone().beside("fsync of 4 KiB", 1000.0 / fsync);
    }
    Ok(figures)
}

/// Makes blocks of one transaction each, as fast as they come; then catch-up over them.
pub(crate) fn small_blocks(options: &Options, network: &mut Network) -> Result<Vec<Figure>, BenchError> {
    let prepared = Prepared::sign(network, "small", options.counts.small_blocks);
    let loaded = load::load(network, &prepared)?;
    let fsync = ceilings::fsync_ms(&options.directory, options.counts.ceiling_time)?;
    let rate = loaded.blocks as f64 / loaded.took.as_secs_f64();
    let how = format!("{} blocks of one transaction, one after the other", loaded.blocks);
    let mut figures = vec![
        Figure::new("small_blocks_per_s", "blocks of one transaction, final", rate, "/s")
            .beside("fsync of 4 KiB", 1000.0 / fsync)
            .how(how),
    ];
    figures.extend(self::figures(options, network, None, "catch_up_small", "catch-up, small blocks")?);
    Ok(figures)
}
