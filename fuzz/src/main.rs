//! Runs campaigns from the command line; see the library.

use std::{env, error::Error, fs, process::ExitCode, time::Duration};

use quorate_fuzz::{
    campaign::{Report, Until, one, run},
    targets::{TARGETS, Target, find},
};

const USAGE: &str = "usage: quorate-fuzz [TARGET] [--seconds S] [--seed N] [--input FILE]";

/// What to do.
struct Orders {
    targets: Vec<&'static Target>,
    seconds: u64,
    seed: u64,
    input: Option<String>,
}

fn orders() -> Result<Orders, Box<dyn Error>> {
    let mut orders = Orders { targets: TARGETS.iter().collect(), seconds: 10, seed: 0, input: None };
    let mut seed = [0; 8];
    getrandom::fill(&mut seed)?;
    orders.seed = u64::from_le_bytes(seed);
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value; {USAGE}"));
        match word.as_str() {
            "--seconds" => orders.seconds = value()?.parse()?,
            "--seed" => orders.seed = value()?.parse()?,
            "--input" => orders.input = Some(value()?),
            name => {
                let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
                let target = find(name).ok_or(format!("no target `{name}`; known: {}; {USAGE}", names.join(", ")))?;
                orders.targets = vec![target];
            }
        }
    }
    Ok(orders)
}

fn work() -> Result<(), Box<dyn Error>> {
    let orders = orders()?;
    for target in orders.targets {
        let report = match &orders.input {
            Some(file) => {
                let mut report = Report::default();
                one(target, orders.seed, &fs::read(file)?, &mut report)?;
                report
            }
            None => run(target, orders.seed, Until::Time(Duration::from_secs(orders.seconds)))?,
        };
        println!("{} with seed {}: {report}", target.name, orders.seed);
    }
    Ok(())
}

fn main() -> ExitCode {
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
