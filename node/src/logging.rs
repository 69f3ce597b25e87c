//! Logs on stderr: format, level and colour by flag, environment and terminal.

use std::io::IsTerminal as _;

use clap::ValueEnum;
use tracing_subscriber::{EnvFilter, fmt};

use crate::exit::Failure;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// For people: time, level, where, message, fields.
    #[default]
    Pretty,
    /// For programs: one JSON object a line.
    Json,
}

impl LogFormat {
    /// As on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            LogFormat::Pretty => "pretty",
            LogFormat::Json => "json",
        }
    }
}

/// Starts logging. The level is `level` (a flag), else `RUST_LOG`, else `default`.
///
/// # Errors
///
/// A usage error when the level is not a filter such as `info` or `warn,quorate_kernel=debug`.
pub fn start(format: LogFormat, level: Option<&str>, default: &str) -> Result<(), Failure> {
    let from_environment = std::env::var("RUST_LOG").ok().filter(|value| !value.is_empty());
    let (origin, wanted) = match (level, &from_environment) {
        (Some(level), _) => ("--log-level", level),
        (None, Some(level)) => ("RUST_LOG", level.as_str()),
        (None, None) => ("default", default),
    };
    let filter = EnvFilter::builder().parse(wanted).map_err(|error| {
        Failure::usage(format!(
            "{origin} `{wanted}`: {error}; write a level (error, warn, info, debug, trace) or `module=level`, comma-separated"
        ))
    })?;
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    // A closed stderr must not end a node, so errors of writing are not written there in turn.
    let logs = fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    let started = match format {
        LogFormat::Pretty => logs.with_ansi(colour).try_init(),
        LogFormat::Json => logs.json().flatten_event(true).with_ansi(false).try_init(),
    };
    started.map_err(|error| Failure::failed(format!("logging can't be started: {error}")))
}
