//! From the start of a process until `/ready` is answered with 200.

use std::{
    process::{Command, Stdio},
    time::Instant,
};

use crate::{
    failure::{BenchError, io},
    network::{Network, Rules, answers},
    options::Options,
    report::Figure,
    stop::Stop,
};

/// What a start is to take at most, in milliseconds.
const AIM: &str = "aim: under 300";

/// Starts validators whose directories are empty, one a network and alone.
pub(crate) fn first(options: &Options, stop: &Stop) -> Result<Vec<Figure>, BenchError> {
    let mut took = Vec::new();
    for _ in 0..options.counts.first_starts {
        let mut network = Network::make(options, stop, Rules::CRASH)?;
        took.push(start(&mut network, 0)?);
    }
    let how = format!("one validator, {} new networks, spawn to /ready; {AIM}", took.len());
    let figure = Figure::median("first_start_ms", "first start to ready", &took, "ms").how(how);
    Ok(vec![figure.beside("`quorate --version`", version_ms(options)?)])
}

/// Stops and starts one validator of a running network again and again.
pub(crate) fn again(options: &Options, network: &mut Network, key: &str, name: &str) -> Result<Figure, BenchError> {
    let at = network.validators().len() - 1;
    let mut took = Vec::new();
    for _ in 0..options.counts.starts {
        network.stop_validator(at);
        took.push(start(network, at)?);
    }
    network.wait_connected()?;
    let size = network.data_bytes(at)? as f64 / f64::from(1 << 20);
    let how = format!("one validator stopped and started {} times, a file of {size:.1} MiB; {AIM}", took.len());
    let figure = Figure::median(key, name, &took, "ms").how(how);
    Ok(figure.beside("`quorate --version`", version_ms(options)?))
}

fn start(network: &mut Network, at: usize) -> Result<f64, BenchError> {
    let begun = Instant::now();
    network.spawn(at)?;
    let address = network.validator(at)?.rpc;
    network.stop().until("a started validator is ready", || Ok(answers(address, "/ready")))?;
    Ok(begun.elapsed().as_secs_f64() * 1000.0)
}

/// What starting the program costs before it does anything.
fn version_ms(options: &Options) -> Result<f64, BenchError> {
    let mut took = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        let status = Command::new(&options.program)
            .arg("--version")
            .stdout(Stdio::null())
            .status()
            .map_err(io(options.program.display().to_string()))?;
        if !status.success() {
            return Err(BenchError::answer(format!("quorate --version: {status}")));
        }
        took.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(Figure::median("", "", &took, "ms").value)
}
