//! Many inputs for one target.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use crate::{
    mutation::{Random, mutated},
    targets::{Taken, Target},
};

/// When a campaign ends by itself.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// After so many inputs.
    Inputs(u64),
    /// After this time.
    Time(Duration),
}

/// What a campaign met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Inputs that the target took.
    pub taken: u64,
    /// Inputs that it refused.
    pub refused: u64,
    /// The longest time that one input needed.
    pub slowest: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} taken, {} refused, slowest {:.1?}", self.taken, self.refused, self.slowest)
    }
}

/// A broken promise, with all that is needed to see it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Of which target.
    pub target: &'static str,
    /// The seed of the campaign.
    pub seed: u64,
    /// What was broken.
    pub what: String,
    /// The input.
    pub input: Vec<u8>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with seed {}: {}\ninput 0x{}", self.target, self.seed, self.what, hex::encode(&self.input))
    }
}

impl std::error::Error for Broken {}

/// Feeds `target` with its seeds as they are, then with mutations of them.
///
/// # Errors
///
/// [`Broken`], the first one.
pub fn run(target: &Target, seed: u64, until: Until) -> Result<Report, Broken> {
    let mut random = Random::new(seed);
    let seeds = (target.seeds)();
    let (mut report, start) = (Report::default(), Instant::now());
    for input in &seeds {
        one(target, seed, input, &mut report)?;
    }
    let goes_on = |done: u64| match until {
        Until::Inputs(inputs) => done < inputs,
        Until::Time(time) => start.elapsed() < time,
    };
    while goes_on(report.taken + report.refused) {
        one(target, seed, &mutated(&mut random, &seeds), &mut report)?;
    }
    Ok(report)
}

/// One input. `seed` is only told.
///
/// # Errors
///
/// [`Broken`].
pub fn one(target: &Target, seed: u64, input: &[u8], report: &mut Report) -> Result<(), Broken> {
    let start = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    report.slowest = report.slowest.max(start.elapsed());
    let what = match outcome {
        Ok(Ok(Taken::Yes)) => {
            report.taken += 1;
            return Ok(());
        }
        Ok(Ok(Taken::No)) => {
            report.refused += 1;
            return Ok(());
        }
        Ok(Err(what)) => what,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words");
            format!("panicked: {text}")
        }
    };
    Err(Broken { target: target.name, seed, what, input: input.to_vec() })
}
