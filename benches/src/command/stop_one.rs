//! One validator is killed under a load: the rate of the others before and after, and how soon it has all blocks when it starts again.

use std::time::Instant;

use super::{
    Bench, Load, Mode, Target,
    drive::drive,
    outcome::{Outcome, Stopped},
    stock::{Kind, Stock},
};
use crate::{
    failure::BenchError,
    http::Connection,
    network::{Network, hash_at, tip},
};

/// Validators that may be gone: what is left of a quorum, by rule 2 of poa.
fn tolerated(fault_model: &str, validators: u16) -> u16 {
    let quorum = if fault_model == "byzantine" { 2 * validators / 3 + 1 } else { validators / 2 + 1 };
    validators.saturating_sub(quorum)
}

/// Whether it makes sense.
pub(crate) fn check(bench: &Bench) -> Result<(), BenchError> {
    let Target::Make { validators, fault_model, .. } = &bench.target else {
        return Err(BenchError::answer(
            "a validator is stopped in a network that is made for it, not in one that runs",
        ));
    };
    if bench.load == Load::Saturate {
        return Err(BenchError::answer(
            "a validator is stopped under a steady load, not in a search for the highest rate",
        ));
    }
    if tolerated(fault_model, *validators) == 0 {
        return Err(BenchError::answer(format!("{validators} validators in {fault_model} do not go on without one")));
    }
    Ok(())
}

/// See the module. Both loads go to the others alone, so that their rates can be compared.
pub(crate) fn run(
    bench: &Bench,
    network: &mut Network,
    mode: Mode,
    kind: Kind,
    progress: &mut dyn FnMut(&str),
) -> Result<Outcome, BenchError> {
    let last = network.validators().len().saturating_sub(1);
    let (name, address) = (network.validator(last)?.name.clone(), network.validator(last)?.rpc);
    network.load_only(last);
    let count = mode.transactions(bench.warm_up + bench.time, kind);
    progress(&format!("{count} transactions are made"));
    let stock = Stock::new(network, count, kind)?;
    progress("the load runs, with all validators");
    let before = drive(network, &stock, mode, bench.length(), || Ok(()))?;
    progress(&format!("{count} more transactions are made"));
    let stock = Stock::new(network, count, kind)?;
    progress(&format!("the load runs, and {name} is killed in it"));
    let doomed = network.take_process(last);
    let mut killed_at = 0;
    let kill = || {
        drop(doomed);
        if Connection::try_open(address).is_ok() {
            return Err(BenchError::answer(format!("{address} answers after its validator was killed")));
        }
        (killed_at, _) = tip(&mut network.validator(0)?.connect()?)?;
        Ok(())
    };
    let after = drive(network, &stock, mode, bench.length(), kill)?;
    progress(&format!("{name} starts again"));
    let back = catch_up(network, last)?;
    let missed_blocks = back.height.saturating_sub(killed_at);
    let per_s = back.blocks_per_s(missed_blocks);
    let stopped = Stopped {
        name,
        before_per_s: before.final_per_s,
        after_per_s: after.final_per_s,
        after_of_before: after.final_per_s / before.final_per_s.max(f64::MIN_POSITIVE),
        before_p50_ms: before.p50_ms,
        before_p99_ms: before.p99_ms,
        before_max_ms: before.max_ms,
        missed_blocks,
        caught_up_s: back.whole_s,
        caught_up_blocks_per_s: per_s,
        caught_up_per_s: (after.finals > 0).then_some(per_s * after.transactions_per_block),
    };
    Ok(Outcome { stopped: Some(stopped), ..after })
}

/// How a validator came back.
#[derive(Debug, Clone, Copy)]
struct Back {
    /// Where the others are.
    height: u64,
    /// From its start until it was there.
    whole_s: f64,
    /// Its height when it first told, and from then until it was there; none when it was there already.
    seen: Option<(u64, f64)>,
}

impl Back {
    /// From the first look on, so that finding peers does not count; all of it when there was but one look.
    fn blocks_per_s(&self, missed: u64) -> f64 {
        let (blocks, took_s) = match self.seen {
            Some((first, took_s)) => (self.height.saturating_sub(first), took_s),
            None => (missed, self.whole_s),
        };
        blocks as f64 / took_s.max(f64::MIN_POSITIVE)
    }
}

/// Starts a validator and waits until it has the block that the others have.
fn catch_up(network: &mut Network, at: usize) -> Result<Back, BenchError> {
    let (height, hash) = tip(&mut network.validator(0)?.connect()?)?;
    let spawned = Instant::now();
    network.spawn(at)?;
    let address = network.validator(at)?.rpc;
    let name = network.validator(at)?.name.clone();
    let mut connection =
        network.stop().until(&format!("{name} answers again"), || Ok(Connection::try_open(address).ok()))?;
    let mut first = None;
    network.stop().until(&format!("{name} has all blocks again"), || {
        let (reached, _) = tip(&mut connection)?;
        if reached < height && first.is_none() {
            first = Some((reached, Instant::now()));
        }
        Ok((reached >= height).then_some(()))
    })?;
    let (ended, whole_s) = (Instant::now(), spawned.elapsed().as_secs_f64());
    let here = hash_at(&mut connection, height)?;
    if here.as_str() != Some(hash.as_str()) {
        return Err(BenchError::answer(format!("block {height} is {here} at {name} and {hash} elsewhere")));
    }
    let seen = first.map(|(reached, at)| (reached, ended.saturating_duration_since(at).as_secs_f64()));
    Ok(Back { height, whole_s, seen })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_be_gone_is_what_a_quorum_leaves() {
        let of = |model: &str| [1, 2, 3, 4, 7].map(|count| tolerated(model, count));
        assert_eq!(of("crash"), [0, 0, 1, 1, 3]);
        assert_eq!(of("byzantine-sync"), [0, 0, 1, 1, 3]);
        assert_eq!(of("byzantine"), [0, 0, 0, 1, 2]);
    }

    #[test]
    fn catch_up_counts_from_the_first_look() {
        let back = Back { height: 300, whole_s: 2.0, seen: Some((100, 0.5)) };
        assert_eq!(back.blocks_per_s(250), 400.0);
        assert_eq!(Back { seen: None, ..back }.blocks_per_s(250), 125.0);
    }
}
