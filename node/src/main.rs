//! The program `quorate`: parses the command line, does what it says, and ends with the exit code that it documents.

use std::process::ExitCode;

use clap::Parser as _;
use quorate_node::{cli::Cli, output};

fn main() -> ExitCode {
    match Cli::parse().execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                output::note(&format!("error: {}", failure.message));
            }
            failure.exit.into()
        }
    }
}
