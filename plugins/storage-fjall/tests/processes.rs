//! Whole processes which are killed, locked out or out of room while they write.
//!
//! The child is this very test binary, running the test `child` with [`DIRECTORY`] set.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use quorate::{
    Settings, Storage,
    plugin::{SetupError, StoragePlugin},
    storage::{Batch, StorageError},
};
use quorate_storage_fjall::{FOLDER, FOLDER_NEW, FjallPlugin};

/// Where the child has its store; unset in the parent.
const DIRECTORY: &str = "QUORATE_STORE_DIRECTORY";

/// Bytes of the child's values, when not the usual ones.
const ROW_BYTES: &str = "QUORATE_STORE_ROW_BYTES";

/// Rows of a batch.
const ROWS: u64 = 10;

/// Openings one after the other.
const OPENINGS: u32 = 300;

/// Kills during the first creation.
const CREATION_KILLS: u32 = 100;

fn try_open(directory: &Path) -> Result<Arc<dyn Storage>, StorageError> {
    FjallPlugin.open(&Settings::from_text(""), directory).map_err(|error| match error {
        SetupError::Storage(error) => error,
        other => panic!("{other}"),
    })
}

fn batch(number: u64) -> Batch {
    let row_bytes = env::var(ROW_BYTES).map_or(2000, |bytes| bytes.parse().unwrap());
    let mut batch = Batch::new();
    for row in 0..ROWS {
        batch.put(format!("row/{row}"), number.to_le_bytes().to_vec());
        batch.put(format!("value/{number}/{row}"), vec![7; row_bytes]);
    }
    batch
}

/// The number of the last batch; panics if a part of it is missing.
fn last(store: &dyn Storage) -> u64 {
    let view = store.snapshot().unwrap();
    let rows = view.scan(b"row/", b"row0", usize::MAX).unwrap();
    let Some((_, first)) = rows.first() else { return 0 };
    assert!(rows.len() as u64 == ROWS && rows.iter().all(|(_, value)| value == first), "part of a batch: {rows:?}");
    let number = u64::from_le_bytes(first[..].try_into().unwrap());
    let values = view.scan(b"value/", b"value0", usize::MAX).unwrap();
    assert_eq!(values.len() as u64, number * ROWS);
    number
}

/// Not a test of its own: what the children of the others do.
#[test]
fn child() {
    let Some(directory) = env::var_os(DIRECTORY) else { return };
    let say = |text: String| {
        let mut out = std::io::stdout().lock();
        out.write_all(format!("\n{text}\n").as_bytes()).and_then(|()| out.flush()).unwrap();
    };
    say("opening".into());
    let store = match try_open(directory.as_ref()) {
        Ok(store) => store,
        Err(error) => return say(format!("failed {error}")),
    };
    say("open".into());
    for number in last(&*store) + 1.. {
        match store.commit(batch(number)) {
            Ok(()) => say(format!("done {number}")),
            Err(error) => {
                say(format!("failed {error}"));
                assert!(matches!(store.commit(batch(number)), Err(StorageError::Poisoned(_))));
                return;
            }
        }
    }
}

/// A running child and what it says.
struct Running {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(mut command: Command, directory: &Path) -> Self {
        command.args(["--exact", "child", "--nocapture", "--test-threads=1"]);
        let mut child = command.env(DIRECTORY, directory).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn here(directory: &Path) -> Self {
        Self::start(Command::new(env::current_exe().unwrap()), directory)
    }

    /// The next thing it says that begins with one of `words`; `None` when it has ended.
    fn hear(&mut self, words: &[&str]) -> Option<String> {
        self.lines.by_ref().map(Result::unwrap).find(|line| words.iter().any(|word| line.starts_with(word)))
    }

    /// SIGKILL. Gives the last batch that it had acknowledged.
    fn kill(mut self) -> Option<u64> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let mut acknowledged = None;
        while let Some(line) = self.hear(&["done "]) {
            // The last line may be cut.
            acknowledged = line.strip_prefix("done ").and_then(|number| number.parse().ok()).or(acknowledged);
        }
        acknowledged
    }
}

fn random(below: u64) -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    u64::from_le_bytes(bytes) % below
}

/// Lets a random part of `most` pass, by the clock and not by the scheduler.
fn let_pass(most: Duration) {
    let wanted = Duration::from_micros(random(u64::try_from(most.as_micros()).unwrap() + 1));
    let start = Instant::now();
    while start.elapsed() < wanted {
        std::hint::spin_loop();
    }
}

#[test]
fn a_hundred_kills_during_the_first_creation_leave_nothing_to_repair() {
    // How long a creation takes here.
    let directory = tempfile::tempdir().unwrap();
    let mut running = Running::here(directory.path());
    running.hear(&["opening"]).unwrap();
    let start = Instant::now();
    running.hear(&["open"]).unwrap();
    let takes = start.elapsed();
    running.kill();

    let (mut nothing, mut half, mut whole) = (0, 0, 0);
    for _ in 0..CREATION_KILLS {
        let directory = tempfile::tempdir().unwrap();
        let mut running = Running::here(directory.path());
        running.hear(&["opening"]).unwrap();
        let_pass(takes + takes / 2);
        let acknowledged = running.kill().unwrap_or(0);
        match (directory.path().join(FOLDER).exists(), directory.path().join(FOLDER_NEW).exists()) {
            (true, _) => whole += 1,
            (false, true) => half += 1,
            (false, false) => nothing += 1,
        }
        let store = try_open(directory.path()).unwrap();
        let found = last(&*store);
        assert!(found == acknowledged || found == acknowledged + 1, "{found} found, {acknowledged} acknowledged");
        store.commit(batch(found + 1)).unwrap();
        assert!(!directory.path().join(FOLDER_NEW).exists());
    }
    println!("killed before the file {nothing}, while it was made {half}, after {whole}");
    assert!(half > 0 && whole > 0, "{nothing} {half} {whole}");
}

/// The system refuses to let files grow (RLIMIT_FSIZE): a journal is 64 MiB long from its creation, so that the limit which lets it
/// be made is met later, by what is written behind that.
#[test]
fn a_process_out_of_room_says_so_and_loses_nothing_acknowledged() {
    for kib in [64, 66_000] {
        let directory = tempfile::tempdir().unwrap();
        let mut shell = Command::new("bash");
        // The signal which comes with the limit is ignored, so that the write fails instead.
        shell.args(["-c", "trap '' XFSZ; ulimit -f \"$1\"; shift; exec \"$@\"", "bash", &kib.to_string()]);
        shell.arg(env::current_exe().unwrap()).env(ROW_BYTES, "1500000");
        let mut running = Running::start(shell, directory.path());
        let mut acknowledged = 0;
        let error = loop {
            let line = running.hear(&["done ", "failed "]).unwrap();
            match line.strip_prefix("done ") {
                Some(number) => acknowledged = number.parse().unwrap(),
                None => break line,
            }
        };
        assert!(error.starts_with("failed storage "), "{error}");
        assert!(error.contains("failed: ") || error.contains("stopped after an earlier failure"), "{error}");
        assert!(running.child.wait().unwrap().success());
        assert!(!directory.path().join(FOLDER_NEW).exists());
        let store = try_open(directory.path()).unwrap();
        let found = last(&*store);
        assert!((acknowledged..=acknowledged + 1).contains(&found), "{found} found, {acknowledged} acknowledged");
        store.commit(batch(found + 1)).unwrap();
    }
}

/// A process that is being started has the lock's file open for an instant, until it runs its program.
#[test]
fn a_store_is_opened_again_at_once_while_other_processes_are_started() {
    let directory = tempfile::tempdir().unwrap();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    assert!(Command::new("true").status().unwrap().success());
                }
            });
        }
        let opened = std::panic::catch_unwind(|| (0..OPENINGS).for_each(|_| drop(try_open(directory.path()).unwrap())));
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(opened.is_ok());
    });
}
