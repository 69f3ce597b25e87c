//! Existing Ethereum clients, unchanged, from their registries: ethers, viem, web3.js, web3.py, cast.
//!
//! Versions are pinned in `package-lock.json` and `requirements.txt`. They are installed below `target/tmp`, once for each state of
//! those files. Without npm or Python the tests fail: they would otherwise say more than is known.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::fake::Server;

/// What a client's script may take.
const SCRIPT_WAIT_MAX: Duration = Duration::from_secs(180);

/// What an installation may take.
const INSTALL_WAIT_MAX: Duration = Duration::from_secs(540);

/// Between two blocks.
const BLOCK_INTERVAL: Duration = Duration::from_millis(150);

/// One installation at a time.
static INSTALLING: Mutex<()> = Mutex::new(());

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

fn run(command: &mut Command, wait: Duration, needs: &str) -> String {
    let shown = format!("{command:?}");
    let log = tempfile::NamedTempFile::new().unwrap();
    let output = log.reopen().unwrap();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn()
        .unwrap_or_else(|error| panic!("{shown}: {error}\n{needs}"));
    let end = Instant::now() + wait;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > end {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{shown} did not end within {wait:?}\n{}", std::fs::read_to_string(log.path()).unwrap());
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let output = std::fs::read_to_string(log.path()).unwrap();
    assert!(status.success(), "{shown}: {status}\n{output}\n{needs}");
    output
}

/// Installs into `target/tmp/clients/NAME` unless `pinned` is installed there already.
fn installed(name: &str, pinned: &str, install: impl FnOnce(&Path)) -> PathBuf {
    let _one = INSTALLING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients").join(name);
    let pinned = std::fs::read_to_string(sources().join(pinned)).unwrap();
    let mark = directory.join("installed");
    if std::fs::read_to_string(&mark).is_ok_and(|found| found == pinned) {
        return directory;
    }
    if directory.exists() {
        std::fs::remove_dir_all(&directory).unwrap();
    }
    std::fs::create_dir_all(&directory).unwrap();
    install(&directory);
    std::fs::write(&mark, pinned).unwrap();
    directory
}

fn node_modules() -> PathBuf {
    installed("node", "package-lock.json", |directory| {
        for file in ["package.json", "package-lock.json"] {
            std::fs::copy(sources().join(file), directory.join(file)).unwrap();
        }
        let needs =
            "this test needs Node.js 20 or newer with npm (Debian: apt-get install nodejs npm), and npm's registry";
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(directory);
        run(&mut npm, INSTALL_WAIT_MAX, needs);
    })
}

fn python() -> PathBuf {
    installed("python", "requirements.txt", |directory| {
        let needs = "this test needs Python 3.10 or newer with venv (Debian: apt-get install python3-venv), and PyPI";
        run(Command::new("python3").args(["-m", "venv"]).arg(directory), INSTALL_WAIT_MAX, needs);
        let mut pip = Command::new(directory.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check", "-r"]).arg(sources().join("requirements.txt"));
        run(&mut pip, INSTALL_WAIT_MAX, needs);
    })
    .join("bin/python")
}

/// Runs a client against a node that makes blocks; returns what it printed.
async fn against_a_node(mut command: Command) -> String {
    let server = Server::start().await;
    for _ in 0..3 {
        server.seal().await;
    }
    command.args([format!("http://{}/", server.address), format!("ws://{}/ws", server.address)]);
    let mut script = tokio::task::spawn_blocking(move || run(&mut command, SCRIPT_WAIT_MAX, ""));
    loop {
        tokio::select! {
            output = &mut script => return output.unwrap(),
            () = tokio::time::sleep(BLOCK_INTERVAL) => drop(server.seal().await),
        }
    }
}

async fn node_script(script: &str) {
    let directory = tokio::task::spawn_blocking(node_modules).await.unwrap();
    // Beside the modules, where imports are looked for.
    for file in ["steps.mjs", script] {
        std::fs::copy(sources().join(file), directory.join(file)).unwrap();
    }
    let mut node = Command::new("node");
    node.arg(directory.join(script));
    println!("{}", against_a_node(node).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ethers_connects_sends_waits_and_follows() {
    node_script("ethers.mjs").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viem_connects_sends_waits_and_follows() {
    node_script("viem.mjs").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn web3_js_connects_sends_waits_and_follows() {
    node_script("web3js.mjs").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cast_asks_sends_and_waits() {
    node_script("cast.mjs").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn web3_py_connects_sends_waits_and_follows() {
    let mut python = Command::new(tokio::task::spawn_blocking(python).await.unwrap());
    python.arg(sources().join("web3py.py"));
    println!("{}", against_a_node(python).await);
}
