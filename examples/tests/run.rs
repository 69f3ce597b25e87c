//! Every example runs as a process of its own, ends with 0, and says what it should.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests may panic")]

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// How long an example may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// Lines of the first example at most.
const FIRST_LINES_MAX: usize = 60;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The program that cargo made of an example, next to this test's.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let source = modified(&folder().join(format!("{name}.rs"))).unwrap();
    // Only `--test` alone does not build them.
    assert!(
        modified(&path).is_some_and(|built| built > source),
        "{name} is not built, or of an older source; run: cargo test -p quorate-examples"
    );
    path
}

/// Runs an example to its end: what it printed.
fn run(name: &str) -> String {
    let mut child =
        Command::new(program(name)).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    // A few lines fit into the pipes.
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("{name} did not end in {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let (mut out, mut err) = (String::new(), String::new());
    child.stdout.unwrap().read_to_string(&mut out).unwrap();
    child.stderr.unwrap().read_to_string(&mut err).unwrap();
    assert!(status.success(), "{name} ended with {status}:\n{out}{err}");
    out
}

/// The lines of `said` begin with `expected`, one for one.
fn assert_says(said: &str, expected: &[&str]) {
    let lines: Vec<&str> = said.lines().collect();
    let agree =
        lines.len() == expected.len() && lines.iter().zip(expected).all(|(line, start)| line.starts_with(start));
    assert!(agree, "expected lines that begin with\n{}\nbut it said\n{said}", expected.join("\n"));
}

#[test]
fn four_plugins_make_a_node_in_sixty_lines() {
    assert_says(&run("four_plugins"), &["submitted 0x2cf24dba", "final in block 1 0x", r#"the log: ["0x68656c6c6f"]"#]);
    let lines = fs::read_to_string(folder().join("four_plugins.rs")).unwrap().lines().count();
    assert!(lines <= FIRST_LINES_MAX, "{lines} lines");
}

#[test]
fn own_storage_keeps_the_chain_and_refuses_a_damaged_file() {
    assert_says(
        &run("own_storage"),
        &[
            "the contract of a store holds",
            r#"block 1: the log is {"count":1}"#,
            "stopped; the file has ",
            r#"block 2: the log is {"count":2}"#,
            "stopped; the file has ",
            "one bit flipped: [storage] plugin \"one-file\": storage is damaged",
        ],
    );
}

#[test]
fn own_application_is_agreed_on_by_three_validators() {
    assert_says(
        &run("own_application"),
        &[
            "signed for another chain: rejected",
            "alice to bob, 300: done, final at all three",
            "bob to alice, 301: not covered, final at all three",
            "bob to alice, 100: done, final at all three",
            r#"alice: {"balance":800,"sent":1}"#,
            r#"bob: {"balance":200,"sent":2}"#,
        ],
    );
}

#[test]
fn three_validators_go_on_without_one_and_take_it_back() {
    assert_says(
        &run("three_validators"),
        &[
            "block 1 is final at all three: 0x",
            "block 2 is final at two, while validator-3 is away",
            "block 3 is final at two, while validator-3 is away",
            "block 4 is final at two, while validator-3 is away",
            "block 5 is final at all three: validator-3 is back",
            r#"validator-3's log: {"count":5}"#,
        ],
    );
}

#[test]
fn offline_receipt_verifies_and_no_flipped_bit_does() {
    assert_says(
        &run("offline_receipt"),
        &[
            "three validators run; one answers JSON-RPC at 127.0.0.1:",
            "submitted 0x",
            "final in block 1; the network is gone",
            "verified offline: ",
            "refused: each of ",
        ],
    );
}

#[test]
fn every_example_is_run_here_and_in_the_readme() {
    let (here, readme) = (include_str!("run.rs"), include_str!("../README.md"));
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert!(here.contains(&format!("run(\"{name}\")")), "{name} is not run");
            assert!(readme.contains(&format!("{name}.rs")), "{name} is not in examples/README.md");
        }
    }
}
