//! Exit codes, and the one error which every command returns.

use std::{fmt, process::ExitCode};

use quorate::{diagnostics, plugin::SetupError, storage::StorageError};

/// What `--help` says about exit codes; a test holds it against [`Exit`].
pub const EXIT_CODES_HELP: &str = "\
Exit codes:
   0  done
   1  failed: what was asked could not be done, or an audit found a violation
   2  wrong usage: unknown command, option or value
  65  damaged data: a store, an export or a guard is not what was written
  70  a plugin can't be used
  71  key or guard: missing, of another key, or readable by others
  74  disk: reading or writing failed, or no space is left
  75  locked: another process uses this directory, store or key
  78  configuration: a node's file or genesis is wrong";

/// Why the process ended, as its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// What was asked was done.
    Done = 0,
    /// What was asked could not be done, or an audit found a violation.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// What is stored is not what was written (`EX_DATAERR` of sysexits.h).
    Damaged = 65,
    /// A plugin can't be used (`EX_SOFTWARE`).
    Plugin = 70,
    /// The key or its guard can't be used (`EX_OSERR`).
    KeyOrGuard = 71,
    /// The medium failed or is full (`EX_IOERR`).
    Disk = 74,
    /// Another process holds what is needed (`EX_TEMPFAIL`).
    Locked = 75,
    /// A node's file or genesis is wrong (`EX_CONFIG`).
    Config = 78,
}

impl Exit {
    /// Every code, ascending.
    pub const ALL: [Exit; 9] = [
        Exit::Done,
        Exit::Failed,
        Exit::Usage,
        Exit::Damaged,
        Exit::Plugin,
        Exit::KeyOrGuard,
        Exit::Disk,
        Exit::Locked,
        Exit::Config,
    ];

    /// The number given to the system.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

/// Why a command did not do what was asked: a code for programs and a text for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What went wrong and what would be right, lowercase, possibly of several lines.
    pub message: String,
}

impl Failure {
    /// A failure with this code.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// [`Exit::Failed`].
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// [`Exit::Usage`].
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// [`Exit::Config`].
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Exit::Config, message)
    }

    /// [`Exit::Disk`]: `what` (usually a path) and what the system said.
    pub fn disk(what: impl fmt::Display, error: &std::io::Error) -> Self {
        Self::new(Exit::Disk, format!("{what}: {error}"))
    }

    /// A file to be read: [`Exit::Failed`] when it is not there, [`Exit::Disk`] otherwise.
    pub fn reading(what: impl fmt::Display, error: &std::io::Error) -> Self {
        let exit = if error.kind() == std::io::ErrorKind::NotFound { Exit::Failed } else { Exit::Disk };
        Self::new(exit, format!("{what}: {error}"))
    }

    /// The same failure with another code.
    #[must_use]
    pub fn exiting(self, exit: Exit) -> Self {
        Self { exit, message: self.message }
    }

    /// The same failure, its message after `context` and a colon.
    #[must_use]
    pub fn within(self, context: impl fmt::Display) -> Self {
        Self { exit: self.exit, message: format!("{context}: {}", self.message) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<Vec<diagnostics::Diagnostic>> for Failure {
    fn from(errors: Vec<diagnostics::Diagnostic>) -> Self {
        Self::config(diagnostics::render(&errors))
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self::new(storage_exit(&error), with_causes(&error))
    }
}

/// The exit code for a store that can't be used.
pub fn storage_exit(error: &StorageError) -> Exit {
    match error {
        StorageError::Io { .. } | StorageError::Full(_) | StorageError::Poisoned(_) => Exit::Disk,
        StorageError::Damaged(_) | StorageError::Newer { .. } => Exit::Damaged,
        StorageError::Locked(_) => Exit::Locked,
        StorageError::Plugin(_) => Exit::Plugin,
        _ => Exit::Failed,
    }
}

impl From<SetupError> for Failure {
    fn from(error: SetupError) -> Self {
        match error {
            SetupError::Settings(errors) => errors.into(),
            SetupError::Storage(error) => error.into(),
            SetupError::Listen { .. } => Self::failed(error.to_string()),
            _ => Self::new(Exit::Plugin, error.to_string()),
        }
    }
}

/// An error's message and those of its sources which it does not repeat.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !message.contains(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        source = cause.source();
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_documented_once_and_no_other_is() {
        let documented: Vec<u8> = EXIT_CODES_HELP
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().next().unwrap().parse().unwrap())
            .collect();
        assert_eq!(documented, Exit::ALL.map(Exit::code));
    }

    #[test]
    fn storage_errors_are_told_apart() {
        let code = |error: StorageError| Failure::from(error).exit;
        assert_eq!(code(StorageError::Locked("d".into())), Exit::Locked);
        assert_eq!(code(StorageError::Damaged("d".into())), Exit::Damaged);
        assert_eq!(code(StorageError::Full("d".into())), Exit::Disk);
    }
}
