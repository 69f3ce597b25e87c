//! `quorate devnet` and `quorate run` over real processes: what runs, what is told, what is left behind.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that can not go on fails")]

use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

const QUORATE: &str = env!("CARGO_BIN_EXE_quorate");

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ports which a network of three validators needs.
const PORTS: u16 = 10;

fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < deadline, "did not happen in {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn free_ports() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 10_000 + u16::try_from(std::process::id() % 800).unwrap() * PORTS;
    loop {
        let from = base + NEXT.fetch_add(PORTS, Ordering::Relaxed) % 1_000;
        if (from..from + PORTS).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return from;
        }
    }
}

fn pid(number: u64) -> Pid {
    Pid::from_raw(i32::try_from(number).unwrap()).unwrap()
}

fn lives(number: u64) -> bool {
    test_kill_process(pid(number)).is_ok()
}

fn output(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(QUORATE).args(arguments).env_remove("RUST_LOG").output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&told).into_owned())
}

/// A devnet in a folder of its own; it ends with this.
struct Devnet {
    folder: tempfile::TempDir,
    process: Option<Child>,
    ports_from: u16,
}

impl Devnet {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), process: None, ports_from: free_ports() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("net")
    }

    fn said(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    fn spawn(&mut self, extra: &[&str]) {
        let file = |name: &str| File::create(self.folder.path().join(name)).unwrap();
        let child = Command::new(QUORATE)
            .args(["devnet", "--dir"])
            .arg(self.path())
            .args(extra)
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .env_remove("RUST_LOG")
            .spawn();
        self.process = Some(child.unwrap());
    }

    fn start(&mut self, extra: &[&str]) -> Vec<Value> {
        let list = self.path().join("nodes.json");
        // One that was killed leaves its list behind.
        drop(fs::remove_file(&list));
        self.spawn(extra);
        eventually("nodes.json is written", || {
            if let Some(status) = self.process.as_mut().unwrap().try_wait().unwrap() {
                panic!("devnet ended with {status}: {}", self.said("stderr"));
            }
            serde_json::from_str(&fs::read_to_string(&list).ok()?).ok()
        })
    }

    fn wait(&mut self) -> ExitStatus {
        let mut process = self.process.take().unwrap();
        eventually("devnet ends", || process.try_wait().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill_process(pid(self.process.as_ref().unwrap().id().into()), signal).unwrap();
    }
}

impl Drop for Devnet {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Its nodes see the end of their input and stop.
            drop(process.kill());
            drop(process.wait());
        }
    }
}

fn pids(nodes: &[Value]) -> Vec<u64> {
    nodes.iter().map(|node| node["pid"].as_u64().unwrap()).collect()
}

fn none_left(pids: &[u64]) {
    eventually("every node has ended", || pids.iter().all(|pid| !lives(*pid)).then_some(()));
}

#[test]
fn a_network_starts_survives_a_kill_stops_and_goes_on() {
    let mut devnet = Devnet::new();
    let from = devnet.ports_from.to_string();
    let kv = ["--application", "kv", "--block-interval-ms", "0", "--delta-ms", "50"];
    let nodes = devnet.start(&[&["--ports-from", &from], &kv[..]].concat());
    let column = |key: &str| nodes.iter().map(|node| node[key].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(column("name"), ["bootnode", "validator-1", "validator-2", "validator-3", "backend"]);
    assert_eq!(column("role"), ["bootnode", "validator", "validator", "validator", "gateway"]);
    assert!(column("config").iter().chain(&column("data_dir")).all(|path| Path::new(path).is_absolute()));
    for (place, offset) in [(0, 0), (1, 1), (3, 3), (4, 7)] {
        assert_eq!(nodes[place]["rpc_url"], format!("http://127.0.0.1:{}", devnet.ports_from + offset));
    }
    eventually("the banner is shown", || devnet.said("stdout").contains("Ctrl-C").then_some(()));

    let rpc = column("rpc_url");
    let put = |url: &str, key: &str| output(&["kv", "put", "--rpc", url, "--key-seed", "alice", "--wait", key, "v"]);
    assert_eq!(put(rpc[1], "one").0, Some(0));
    kill_process(pid(nodes[2]["pid"].as_u64().unwrap()), Signal::KILL).unwrap();
    eventually("the killed node is reported", || {
        devnet.said("stderr").contains("was killed by signal 9").then_some(())
    });
    assert!(devnet.said("stderr").contains("validator-2"));
    assert_eq!(put(rpc[1], "two").0, Some(0));
    assert!(!lives(nodes[2]["pid"].as_u64().unwrap()), "a killed node is not restarted");

    devnet.signal(Signal::TERM);
    assert_eq!(devnet.wait().code(), Some(0));
    none_left(&pids(&nodes));
    assert!(!devnet.path().join("nodes.json").exists());

    let again = devnet.start(&["--no-gateway"]);
    assert_eq!(again.len(), 4);
    eventually("validator-2 caught up", || {
        (output(&["kv", "get", "--rpc", rpc[2], "--key-seed", "alice", "two"]).0 == Some(0)).then_some(())
    });
    let genesis = devnet.path().join("genesis.toml");
    let (code, told) = output(&["verify", "--rpc", rpc[1], "--genesis", genesis.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{told}");
    devnet.signal(Signal::INT);
    assert_eq!(devnet.wait().code(), Some(0));
    none_left(&pids(&again));
}

#[test]
fn nodes_do_not_outlive_a_devnet_that_was_killed() {
    let mut devnet = Devnet::new();
    let from = devnet.ports_from.to_string();
    let nodes = devnet.start(&["--ports-from", &from, "--no-gateway"]);
    devnet.signal(Signal::KILL);
    devnet.wait();
    none_left(&pids(&nodes));
    // They stopped in order: what they held is free, and the network starts again.
    let again = devnet.start(&[]);
    devnet.signal(Signal::TERM);
    assert_eq!(devnet.wait().code(), Some(0));
    none_left(&pids(&again));
}

#[test]
fn a_second_signal_does_not_wait_for_a_node_that_hangs() {
    let mut devnet = Devnet::new();
    let from = devnet.ports_from.to_string();
    let nodes = devnet.start(&["--ports-from", &from, "--no-gateway"]);
    kill_process(pid(pids(&nodes)[1]), Signal::STOP).unwrap();
    let begun = Instant::now();
    devnet.signal(Signal::TERM);
    eventually("the others have stopped", || (!lives(pids(&nodes)[2]) && !lives(pids(&nodes)[3])).then_some(()));
    assert!(lives(pids(&nodes)[1]));
    devnet.signal(Signal::INT);
    assert_eq!(devnet.wait().code(), Some(0));
    none_left(&pids(&nodes));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn a_node_that_does_not_start_is_named_and_ends_the_rest() {
    let mut devnet = Devnet::new();
    let from = devnet.ports_from.to_string();
    let directory = devnet.path();
    let (code, told) = output(&["init", "--dir", directory.to_str().unwrap(), "--ports-from", &from]);
    assert_eq!(code, Some(0), "{told}");
    fs::remove_file(directory.join("keys/validator-2.guard")).unwrap();
    devnet.spawn(&[]);
    assert_eq!(devnet.wait().code(), Some(71), "{}", devnet.said("stderr"));
    let told = devnet.said("stderr");
    assert!(told.contains("validator-2 exited with code 71") && told.contains("--new-validator"), "{told}");
    assert!(!directory.join("nodes.json").exists());
}

#[test]
fn a_node_stops_when_its_input_ends_or_on_a_signal_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (from, directory) = (free_ports().to_string(), folder.path().join("net"));
    output(&["init", "--dir", directory.to_str().unwrap(), "--ports-from", &from]);
    for by_signal in [false, true] {
        let log = folder.path().join("log");
        let mut node = Command::new(QUORATE)
            .args(["run", "--stop-on-stdin-close", "--config"])
            .arg(directory.join("validator-1.toml"))
            .stdin(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .env_remove("RUST_LOG")
            .spawn()
            .unwrap();
        let said = |words: &str| fs::read_to_string(&log).unwrap().contains(words).then_some(());
        eventually("the node started", || said("node started"));
        if by_signal {
            kill_process(pid(node.id().into()), Signal::TERM).unwrap();
        } else {
            drop(node.stdin.take());
        }
        let begun = Instant::now();
        assert_eq!(eventually("the node ends", || node.try_wait().unwrap()).code(), Some(0));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        said("node stopped").unwrap();
    }
}

#[test]
fn one_key_is_not_run_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (from, directory) = (free_ports().to_string(), folder.path().join("net"));
    output(&["init", "--dir", directory.to_str().unwrap(), "--ports-from", &from]);
    let config = directory.join("validator-1.toml");
    let log = folder.path().join("log");
    let mut first = Command::new(QUORATE)
        .arg("run")
        .arg("--config")
        .arg(&config)
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    eventually("it started", || fs::read_to_string(&log).unwrap().contains("node started").then_some(()));
    let (code, told) = output(&["run", "--config", config.to_str().unwrap()]);
    assert_eq!(code, Some(75), "{told}");
    kill_process(pid(first.id().into()), Signal::TERM).unwrap();
    assert_eq!(first.wait().unwrap().code(), Some(0));
}
