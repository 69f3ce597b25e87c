//! The documentation does what it says: its shell commands are run, and its links lead somewhere.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests may panic")]

use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Component, Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// The program under test.
const QUORATE: &str = env!("CARGO_BIN_EXE_quorate");

/// Documents whose `sh` blocks are run, in this order, as by one reader in one terminal.
const RUN: [&str; 2] = ["README.md", "docs/rpc.md"];

/// What the reader's first terminal is for: it stays in the foreground.
const FIRST_TERMINAL: &str = "cargo run --release -- devnet";

/// Commands, or beginnings of commands, which are not run here, and why.
const NOT_RUN: [(&str, &str); 12] = [
    ("examples/election.sh", "tests/election.rs runs it"),
    ("./tests/run.sh", "it runs this test"),
    ("cargo bench --bench network", "tests/bench.rs measures the same with tiny counts"),
    ("quorate sim ", "node/tests/sim.rs runs it with fewer seeds"),
    ("quorate bench ", "tests/bench.rs runs it for a second each"),
    ("cargo build", "it made this test, or a library which node/tests/sim.rs loads"),
    ("alias quorate=$PWD", "tests have the program's path"),
    ("quorate plugin ", "node/tests and tests/processes/libraries.rs run it, where there is such a library"),
    ("cd my-rule", "the folder is written by a command which is not run here"),
    ("cargo test ", "it runs this test, or those of a crate that is written by a command which is not run here"),
    (
        "quorate verify chain.export --genesis genesis.toml --library",
        "tests/processes/libraries.rs audits such a chain",
    ),
    ("cargo run -p quorate-examples --example ", "examples/tests/run.rs runs these programs"),
];

/// Ports of a devnet with three validators.
const PORTS: u16 = 10;

/// How long the network may take to start on a busy machine.
const START_WITHIN: Duration = Duration::from_secs(90);

/// How long the reader's second terminal may take; the README's blocks come every 5 seconds.
const JOURNEY_WITHIN: Duration = Duration::from_secs(240);

/// A row of ports that are free now.
fn free_ports() -> u16 {
    let rows = (0..200).map(|row| 19_200 + (std::process::id() as u16 % 80 + row) % 80 * PORTS);
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let found = rows.into_iter().find(|from| (*from..from + PORTS).all(is_free));
    found.expect("a row of free ports")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every Markdown document for readers, relative to the root.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let name = PathBuf::from(entry.unwrap().file_name());
            let path = folder.join(&name);
            let hidden = name.to_str().unwrap().starts_with('.');
            if root().join(&path).is_dir()
                && !hidden
                && !["target", "node_modules"].iter().any(|one| name.ends_with(one))
            {
                folders.push(path);
            } else if name.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(found.len() >= 8, "{found:?}");
    found
}

fn text(document: &Path) -> String {
    fs::read_to_string(root().join(document)).unwrap()
}

/// The lines of a document's `sh` blocks that hold commands.
fn commands(document: &Path) -> Vec<String> {
    let (mut lines, mut inside) = (Vec::new(), None);
    for line in text(document).lines() {
        match (line.strip_prefix("```"), inside.take()) {
            (Some(language), None) => inside = Some(language.to_owned()),
            (Some(_), Some(_)) => {}
            (None, Some(language)) => {
                if language == "sh" && !line.trim().is_empty() && !line.starts_with('#') {
                    lines.push(line.to_owned());
                }
                inside = Some(language);
            }
            (None, None) => {}
        }
    }
    assert!(inside.is_none(), "{}: a block does not end", document.display());
    lines
}

fn is_run(command: &str) -> bool {
    !NOT_RUN.iter().any(|(beginning, _)| command.starts_with(beginning)) && !command.starts_with(FIRST_TERMINAL)
}

/// A devnet as the README starts it, but for the ports; it ends with this.
struct Devnet {
    folder: tempfile::TempDir,
    process: Child,
}

impl Devnet {
    /// What follows `devnet` in the README's command, and the ports.
    fn start(arguments: &[&str], ports_from: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Where `cargo run --release` leaves the program.
        fs::create_dir_all(folder.path().join("target/release")).unwrap();
        std::os::unix::fs::symlink(QUORATE, folder.path().join("target/release/quorate")).unwrap();
        let log = File::create(folder.path().join("devnet.log")).unwrap();
        let process = Command::new(QUORATE)
            .arg("devnet")
            .args(arguments)
            .args(["--ports-from", &ports_from.to_string()])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut devnet = Self { folder, process };
        let deadline = Instant::now() + START_WITHIN;
        // The list is written when every node answers.
        while !devnet.path("devnet/nodes.json").exists() {
            let ended = devnet.process.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "{ended:?}: {}", devnet.said("devnet.log"));
            std::thread::sleep(Duration::from_millis(20));
        }
        devnet
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn said(&self, log: &str) -> String {
        fs::read_to_string(self.path(log)).unwrap_or_default()
    }

    /// Runs a script in the reader's folder, and shows everything when it fails.
    fn run(&self, script: &str) {
        fs::write(self.path("script"), script).unwrap();
        let out = File::create(self.path("script.log")).unwrap();
        let mut bash = Command::new("bash")
            .arg("script")
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap();
        let deadline = Instant::now() + JOURNEY_WITHIN;
        let status = loop {
            if let Some(status) = bash.try_wait().unwrap() {
                break Some(status);
            }
            if Instant::now() > deadline {
                bash.kill().unwrap();
                bash.wait().unwrap();
                break None;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let (script, devnet) = (self.said("script.log"), self.said("devnet.log"));
        let success = status.is_some_and(|status| status.success());
        assert!(success, "ended with {status:?}\n{script}\n--- devnet\n{devnet}");
    }

    /// The exit code of `quorate verify receipt` for `receipt`.
    fn verify(&self, receipt: &[u8]) -> Option<i32> {
        fs::write(self.path("checked.json"), receipt).unwrap();
        let mut verify = Command::new(QUORATE);
        verify.args(["verify", "receipt", "checked.json", "--genesis", "devnet/genesis.toml"]);
        verify.current_dir(self.folder.path()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().code()
    }
}

impl Drop for Devnet {
    fn drop(&mut self) {
        // It stops its nodes first.
        drop(Command::new("kill").arg(self.process.id().to_string()).stderr(Stdio::null()).status());
        drop(self.process.wait());
    }
}

/// The README's two minutes: a network starts, a transaction becomes final, its receipt convinces offline, one validator is killed, and
/// the others go on.
#[test]
fn the_commands_of_the_documentation_work() {
    let all: Vec<String> = RUN.iter().flat_map(|document| commands(Path::new(document))).collect();
    let starts: Vec<&String> = all.iter().filter(|command| command.starts_with(FIRST_TERMINAL)).collect();
    let [start] = starts.as_slice() else { panic!("one command of the README starts the network: {starts:?}") };
    let arguments = start.strip_prefix(FIRST_TERMINAL).unwrap().split('#').next().unwrap();
    let ports_from = free_ports();
    let devnet = Devnet::start(&arguments.split_whitespace().collect::<Vec<_>>(), ports_from);

    // An interactive shell knows aliases, and its reader stops at the first error.
    let mut script = "shopt -s expand_aliases\nset -eux\n".to_owned();
    let rpc = |at: u16| ports_from + at;
    let everywhere: String = (1..=3).map(|at| format!(" --rpc 127.0.0.1:{}", rpc(at))).collect();
    for command in all.iter().filter(|command| is_run(command)) {
        let mut command = command.clone();
        for at in 1..=3 {
            for host in ["localhost", "127.0.0.1"] {
                command = command.replace(&format!("{host}:{}", 8000 + at), &format!("{host}:{}", rpc(at)));
            }
        }
        command = command.replace("localhost:8000", &format!("localhost:{}", ports_from + 7));
        // Where these look when they are not told.
        command = command.replace("quorate status", &format!("quorate status{everywhere}"));
        let demo = format!("quorate election demo --rpc http://127.0.0.1:{}", rpc(1));
        command = command.replace("quorate election demo", &demo);
        script.push_str(&command);
        script.push('\n');
    }
    // The last words of the reader's second terminal: what was started there ends with it.
    script.push_str("kill $(jobs -p)\nwait\n");
    devnet.run(&script);

    let receipt = fs::read(devnet.path("receipt.json")).unwrap();
    assert_eq!(devnet.verify(&receipt), Some(0));
    // node/tests/offline.rs tries every bit.
    for at in (0..receipt.len()).step_by(receipt.len() / 16) {
        let mut flipped = receipt.clone();
        flipped[at] ^= 1;
        assert_eq!(devnet.verify(&flipped), Some(1), "byte {at}: {}", String::from_utf8_lossy(&flipped));
    }
}

#[test]
fn a_command_of_any_document_is_run_or_it_is_said_why_not() {
    let every: Vec<(PathBuf, String)> = documents()
        .into_iter()
        .flat_map(|document| commands(&document).into_iter().map(move |command| (document.clone(), command)))
        .collect();
    for (document, command) in &every {
        let run = RUN.iter().any(|known| document == Path::new(known));
        assert!(
            run || !is_run(command),
            "{}: `{command}` is not run; add the document to RUN, or the command to NOT_RUN with a reason",
            document.display()
        );
    }
    for (beginning, _) in NOT_RUN {
        assert!(
            every.iter().any(|(_, command)| command.starts_with(beginning)),
            "no document has `{beginning}` any more"
        );
    }
    assert!(root().join("tests/run.sh").exists());
}

/// What stands outside of code, line by line.
fn prose(document: &Path) -> Vec<String> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in text(document).lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if !inside {
            // Every second part stands between backticks.
            lines.push(line.split('`').step_by(2).collect::<Vec<_>>().join("`"));
        }
    }
    lines
}

/// The targets of a document's links.
fn links(document: &Path) -> Vec<String> {
    let target = |rest: &str| rest.split(')').next().unwrap_or_default().to_owned();
    prose(document).iter().flat_map(|line| line.split("](").skip(1).map(target).collect::<Vec<_>>()).collect()
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(document: &Path) -> Vec<String> {
    let (mut inside, mut found) = (false, Vec::new());
    for line in text(document).lines() {
        inside ^= line.starts_with("```");
        let heading = line.trim_start_matches('#');
        if !inside && heading.len() < line.len() && heading.starts_with(' ') {
            let kept = heading.trim().to_lowercase();
            let kept = kept.chars().filter(|one| one.is_alphanumeric() || " -_".contains(*one));
            found.push(kept.map(|one| if one == ' ' { '-' } else { one }).collect());
        }
    }
    found
}

/// `folder/target` without `.` and `..`; nothing when it leads out of the repository.
fn resolve(folder: &Path, target: &str) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for part in folder.join(target).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir if path.pop() => {}
            _ => return None,
        }
    }
    Some(path)
}

#[test]
fn every_link_of_every_document_leads_somewhere() {
    let mut checked = 0;
    for document in documents() {
        for link in links(&document) {
            if link.contains("://") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target =
                if path.is_empty() { Some(document.clone()) } else { resolve(document.parent().unwrap(), path) };
            let target = target.filter(|target| root().join(target).exists());
            let target = target.unwrap_or_else(|| panic!("{}: ({link}) leads nowhere", document.display()));
            let known = anchor.is_empty() || anchors(&target).iter().any(|one| one == anchor);
            assert!(known, "{}: ({link}): {} has no such heading", document.display(), target.display());
            checked += 1;
        }
    }
    assert!(checked >= 10, "only {checked} links were found");
}
