//! A whole election over real processes, some of the voters cheating and a validator killed on the way: `examples/election.sh`.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::{
    collections::BTreeSet,
    fs::File,
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// Voters; the example has 100.
const VOTERS: &str = "12";

/// How long the vote is open: what comes before it and it itself must be done by then, on a busy machine too.
const SECONDS_OPEN: &str = "45";

/// How long all of it may take.
const WITHIN: Duration = Duration::from_secs(240);

/// Ports of a devnet with three validators.
const PORTS: u16 = 10;

fn free_ports() -> u16 {
    let rows = (0..100).map(|row| 22_000 + (std::process::id() as u16 % 100 + row) % 100 * PORTS);
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    rows.into_iter().find(|from| (*from..from + PORTS).all(is_free)).unwrap()
}

#[test]
fn an_election_runs_from_draft_to_result_while_a_validator_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("examples/election.sh");
    let mut running = Command::new(script)
        .arg(VOTERS)
        .env("QUORATE", env!("CARGO_BIN_EXE_quorate"))
        .env("PORTS", free_ports().to_string())
        .env("SECONDS_OPEN", SECONDS_OPEN)
        .env("TMPDIR", directory.path())
        .env("KEEP", "1")
        .stdin(Stdio::null())
        .stdout(File::create(&log).unwrap())
        .stderr(File::options().append(true).open(&log).unwrap())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + WITHIN;
    let status = loop {
        if let Some(status) = running.try_wait().unwrap() {
            break Some(status);
        }
        if Instant::now() >= deadline {
            // The script's trap stops the network.
            drop(Command::new("kill").args(["-TERM", &running.id().to_string()]).status());
            drop(running.wait());
            break None;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let said = std::fs::read_to_string(&log).unwrap();
    match status {
        Some(status) if status.success() => assert!(said.ends_with("The election is over, and it verifies.\n")),
        status => panic!("{status:?}:\n{said}"),
    }
    files_are_as_their_schema_says(directory.path());
}

/// Everything that the commands wrote is what `docs/election-files.schema.json` describes, and every kind was written.
fn files_are_as_their_schema_says(directory: &Path) {
    let schema: Value = serde_json::from_str(include_str!("../docs/election-files.schema.json")).unwrap();
    let valid = jsonschema::validator_for(&schema).unwrap();
    let mut kinds = BTreeSet::new();
    let folders = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    for path in folders.filter(|path| path.is_dir()).flat_map(|path| std::fs::read_dir(path).unwrap()) {
        let path = path.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "json" && ending != "openings") {
            continue;
        }
        let file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let Some(kind) = file.get("quorate").and_then(Value::as_str) else { continue };
        kinds.insert(kind.to_owned());
        let wrong: Vec<String> = valid.iter_errors(&file).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{}: {wrong:?}", path.display());
        let mut more = file;
        more.as_object_mut().unwrap().insert("surplus".into(), Value::Null);
        assert!(!valid.is_valid(&more), "{} may have any field", path.display());
    }
    let described = schema.get("oneOf").and_then(Value::as_array).unwrap().len();
    assert_eq!(kinds.len(), described, "{kinds:?}");
}
