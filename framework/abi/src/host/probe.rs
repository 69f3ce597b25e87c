//! Trying a library in a child process first: what would end the node, ends the child, and becomes an error that names the plugin.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

/// How long a child may take: longer than every deadline within it.
pub const PROBE_WAIT: Duration = Duration::from_secs(60);

/// Bytes of a child's output that are read at most.
const OUTPUT_BYTES_MAX: u64 = 1 << 20;

/// How often a child is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How a child died.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{last}, {how}")]
pub struct Died {
    /// The call that it was told of last.
    pub last: String,
    /// How it ended.
    pub how: String,
}

/// Runs `command`, whose standard output has one line for every call it is about to make ([`super::observe_setup`]).
///
/// A child that ends by itself says nothing, whatever its exit code: the node then makes the same calls, and tells their errors.
///
/// # Errors
///
/// [`Died`] when a signal ended it, or its time was up.
pub fn probe(mut command: Command) -> Result<(), Died> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    // Without a child there is nothing to learn; the node's own calls will tell.
    let Ok(mut child) = command.spawn() else { return Ok(()) };
    let (sender, receiver) = mpsc::sync_channel(1);
    if let Some(output) = child.stdout.take() {
        std::thread::spawn(move || {
            let lines = BufReader::new(output.take(OUTPUT_BYTES_MAX)).lines();
            let last = lines.map_while(Result::ok).last();
            // Whoever waited may have given up.
            drop(sender.send(last));
        });
    }
    let status = wait(&mut child);
    let last = receiver.recv_timeout(LOOK_EVERY * 100).ok().flatten();
    let last = last.unwrap_or_else(|| "before the first call".into());
    match status {
        None => Err(Died { last, how: format!("did not end within {} s", PROBE_WAIT.as_secs()) }),
        Some(status) => match signal(status) {
            Some(signal) => Err(Died { last, how: format!("ended the process ({signal})") }),
            None => Ok(()),
        },
    }
}

/// Waits for a child, and ends it when its time is up.
fn wait(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + PROBE_WAIT;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(LOOK_EVERY),
            Ok(None) | Err(_) => {
                drop(child.kill());
                drop(child.wait());
                return None;
            }
        }
    }
}

/// The signal that ended a process, if one did: `SIGABRT, 6`.
pub fn signal(status: ExitStatus) -> Option<String> {
    use std::os::unix::process::ExitStatusExt as _;
    let number = status.signal()?;
    let name = match number {
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        15 => "SIGTERM",
        _ => "signal",
    };
    Some(format!("{name}, {number}"))
}
