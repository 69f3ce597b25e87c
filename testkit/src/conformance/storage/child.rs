//! A process of its own which writes batch after batch until it is killed, and what it says.

use std::{
    ffi::OsString,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, sync_channel},
    time::Duration,
};

use quorate::{
    Storage,
    plugin::SetupError,
    storage::{Batch, StorageError},
};

use super::{
    super::rule::{OrBroken, Trouble, broken, ensure},
    StorageSuite,
    content::view,
};

/// The environment variable which makes [`StorageSuite::suite`] write into this folder and end the process.
pub const CHILD_VARIABLE: &str = "QUORATE_CONFORMANCE_STORE";

/// Rows of a batch.
const ROWS: u64 = 10;

/// Bytes of each of its values.
const VALUE_BYTES: usize = 2000;

/// The environment variable which makes a child write longer values, so that a large store is full soon.
const VALUE_BYTES_VARIABLE: &str = "QUORATE_CONFORMANCE_VALUE_BYTES";

/// Lines that may wait to be heard; a child that says more waits.
const LINES_MAX: usize = 1 << 16;

/// How long a child may be silent.
const PATIENCE: Duration = Duration::from_secs(60);

/// Batch `number`: rows which all name it, and values of its own.
pub(super) fn batch(number: u64) -> Batch {
    batch_of(number, VALUE_BYTES)
}

fn batch_of(number: u64, value_bytes: usize) -> Batch {
    let mut batch = Batch::new();
    for row in 0..ROWS {
        batch.put(format!("row/{row}"), number.to_be_bytes().to_vec());
        batch.put(format!("value/{number}/{row}"), vec![7; value_bytes]);
    }
    batch
}

/// The number of the last batch in the store, 0 for none; no part of it, or of one before, may be missing.
pub(super) fn last(store: &dyn Storage) -> Result<u64, Trouble> {
    let view = view(store)?;
    let rows = view.scan(b"row/", b"row0", usize::MAX).or_broken("scan")?;
    let Some((_, first)) = rows.first() else { return Ok(0) };
    ensure(rows.len() as u64 == ROWS && rows.iter().all(|(_, value)| value == first), || {
        format!("there is a part of a batch: {rows:?}")
    })?;
    let number = first.as_ref().try_into().map(u64::from_be_bytes).or_broken("reading a number")?;
    let values = view.scan(b"value/", b"value0", usize::MAX).or_broken("scan")?;
    let whole = values.iter().filter(|(_, value)| value.len() == VALUE_BYTES).count() as u64;
    ensure(whole == number * ROWS, || format!("of {number} batches of {ROWS} values, {whole} values are there"))?;
    Ok(number)
}

/// In a child: writes until it is killed or the store fails, and ends the process.
pub(super) fn serve(suite: &StorageSuite<'_>) {
    let Some(directory) = std::env::var_os(CHILD_VARIABLE) else { return };
    // Who started this process may be gone; then nobody needs what it says.
    drop(write(suite, &PathBuf::from(directory)));
    std::process::exit(0);
}

fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    // A test harness may have begun a line.
    out.write_all(format!("\n{line}\n").as_bytes())?;
    out.flush()
}

fn write(suite: &StorageSuite<'_>, directory: &Path) -> std::io::Result<()> {
    say("opening")?;
    let store = match suite.try_open(directory) {
        Ok(store) => store,
        Err(error) => return say(&format!("failed {}", one_line(&error))),
    };
    say("open")?;
    let first = match last(&*store) {
        Ok(last) => last + 1,
        Err(trouble) => return say(&format!("failed {trouble:?}")),
    };
    let value_bytes =
        std::env::var(VALUE_BYTES_VARIABLE).ok().and_then(|text| text.parse().ok()).unwrap_or(VALUE_BYTES);
    for number in first.. {
        if let Err(error) = store.commit(batch_of(number, value_bytes)) {
            say(&format!("failed {}", one_line(&error)))?;
            return after_failure(&*store, number);
        }
        say(&format!("done {number}"))?;
    }
    Ok(())
}

/// Says how the store answers after a commit failed.
fn after_failure(store: &dyn Storage, number: u64) -> std::io::Result<()> {
    let again = store.commit(batch(number));
    let view = store.snapshot().map(drop);
    for (call, answer) in [("commit", again), ("snapshot", view)] {
        match answer {
            Err(StorageError::Poisoned(_)) => {}
            Ok(()) => return say(&format!("unpoisoned {call} succeeded")),
            Err(other) => return say(&format!("unpoisoned {call} answered: {}", one_line(&other))),
        }
    }
    say("poisoned")
}

fn one_line(error: &dyn std::fmt::Display) -> String {
    error.to_string().replace('\n', " ")
}

/// A child whose files may not grow beyond a limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Blocks of a file at most, as the shell counts.
    pub(super) file_blocks_max: u32,
    /// Bytes of each value that it writes.
    pub(super) value_bytes: usize,
}

impl Room {
    /// With values as they always are.
    pub(super) fn of(file_blocks_max: u32) -> Self {
        Self { file_blocks_max, value_bytes: VALUE_BYTES }
    }
}

/// Starts a child, with little room or with all that there is.
pub(super) fn start(suite: &StorageSuite<'_>, directory: &Path, room: Option<Room>) -> Result<Running, Trouble> {
    let Some(child) = &suite.child else {
        return broken(
            "a store that promises to survive needs a process to be killed: name one with `child_test` or `child`",
        );
    };
    let plain = child();
    let mut command = match room {
        None => plain,
        Some(Room { file_blocks_max, value_bytes }) => {
            let mut shell = Command::new("sh");
            // The signal which comes with the limit is ignored, so that the write fails instead.
            shell.args(["-c", "trap '' XFSZ; ulimit -f \"$1\"; shift; exec \"$@\"", "sh"]);
            shell.arg(file_blocks_max.to_string()).arg(plain.get_program());
            shell.env(VALUE_BYTES_VARIABLE, value_bytes.to_string());
            let variables: Vec<(OsString, Option<OsString>)> =
                plain.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
            for (name, value) in variables {
                match value {
                    Some(value) => shell.env(name, value),
                    None => shell.env_remove(name),
                };
            }
            shell.args(plain.get_args());
            shell
        }
    };
    command.env(CHILD_VARIABLE, directory).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().or_broken("starting a process of its own")?;
    let (sender, lines) = sync_channel(LINES_MAX);
    let stdout = child.stdout.take().or_broken("taking the child's output")?;
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    Ok(Running { child, lines })
}

/// A running child and what it says; killed when dropped.
pub(super) struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails when it has ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Running {
    /// The next thing it says that begins with one of `words`; `None` when it has ended.
    pub(super) fn hear(&mut self, words: &[&str]) -> Result<Option<String>, Trouble> {
        use std::sync::mpsc::RecvTimeoutError;
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if words.iter().any(|word| line.starts_with(word)) => return Ok(Some(line)),
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {
                    return broken(format!("the child process said nothing for {PATIENCE:?}"));
                }
            }
        }
    }

    /// The same; ending is broken.
    pub(super) fn expect(&mut self, words: &[&str]) -> Result<String, Trouble> {
        self.hear(words)?.or_broken(format!("waiting for the child to say one of {words:?}"))
    }

    /// SIGKILL. Gives the last batch that it had acknowledged since it was last listened to.
    pub(super) fn kill(mut self) -> Result<Option<u64>, Trouble> {
        self.child.kill().or_broken("killing the child")?;
        self.child.wait().or_broken("waiting for the child")?;
        let mut acknowledged = None;
        while let Some(line) = self.hear(&["done "])? {
            // The last line may be cut.
            acknowledged = number(&line).or(acknowledged);
        }
        Ok(acknowledged)
    }
}

/// The number that was done.
pub(super) fn number(line: &str) -> Option<u64> {
    line.strip_prefix("done ").and_then(|number| number.parse().ok())
}

/// Whether this is a store's way to say that another has it.
pub(super) fn is_locked<T>(result: &Result<T, SetupError>) -> bool {
    matches!(result, Err(SetupError::Storage(StorageError::Locked(_))))
}
