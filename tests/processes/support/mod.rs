//! A network of real processes for tests: its files made by `quorate`, driven by RPC, ended by process id.

mod client;
mod load;
mod random;

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

pub(crate) use client::{Writer, call, get, http, is_final, metric, rpc, status, submit};
pub(crate) use load::Load;
pub(crate) use random::Random;

/// The program under test.
pub(crate) const QUORATE: &str = env!("CARGO_BIN_EXE_quorate");

/// How long anything may take on a busy machine with two cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Calls `check` until it gives something, or panics with `what` after [`PATIENCE`].
pub(crate) fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < deadline, "did not happen in {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs the program to its end: exit code, and all that it said.
pub(crate) fn quorate(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(QUORATE).args(arguments).env_remove("RUST_LOG").output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&told).into_owned())
}

/// One node of a network.
#[derive(Debug, Clone)]
pub(crate) struct NodeInfo {
    pub(crate) name: String,
    pub(crate) pid: u32,
    pub(crate) rpc: String,
    pub(crate) config: PathBuf,
}

/// A network; everything it started ends with it.
pub(crate) struct Network {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) nodes: Vec<NodeInfo>,
    pub(crate) ports_from: u16,
    devnet: Option<Child>,
    bootnode: Option<Child>,
    children: BTreeMap<usize, Child>,
}

/// Ports given to tests of this process so far: no two tests are given the same.
static GIVEN: AtomicU16 = AtomicU16::new(0);

/// `count` ports in a row that are free now.
pub(crate) fn free_ports(count: u16) -> u16 {
    loop {
        let start = (std::process::id() % 200) as u16 * 60;
        let from = 20_000 + (start + GIVEN.fetch_add(count, Ordering::Relaxed)) % 12_000;
        let all: Vec<_> = (from..from + count).map_while(|port| TcpListener::bind(("127.0.0.1", port)).ok()).collect();
        if all.len() == usize::from(count) {
            return from;
        }
    }
}

impl Network {
    fn new(validators: u16) -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            nodes: Vec::new(),
            ports_from: free_ports(2 * validators + 4),
            devnet: None,
            bootnode: None,
            children: BTreeMap::new(),
        }
    }

    /// Starts three validators and a bootnode by `quorate devnet`.
    pub(crate) fn start(extra: &[&str]) -> Self {
        let mut network = Self::new(3);
        network.run_devnet(extra);
        network
    }

    /// Writes the files of a network by `quorate init`; nothing runs.
    pub(crate) fn init(validators: u16, extra: &[&str]) -> Self {
        let mut network = Self::new(validators);
        let (directory, from, count) = (network.path(), network.ports_from, validators.to_string());
        let (ports, directory) = (from.to_string(), directory.to_str().unwrap());
        let arguments = ["init", "--dir", directory, "--ports-from", &ports, "--validators", &count];
        let interval: &[&str] =
            if extra.contains(&"--block-interval-ms") { &[] } else { &["--block-interval-ms", "100"] };
        let application: &[&str] = if extra.contains(&"--application") { &[] } else { &["--application", "kv"] };
        let (code, told) = quorate(&[&arguments, interval, application, extra].concat());
        assert_eq!(code, Some(0), "{told}");
        for index in 1..=validators {
            network.add(&format!("validator-{index}"), from + index);
        }
        network
    }

    /// Writes the files of a network and starts its bootnode and validators, each directly.
    pub(crate) fn run(validators: u16, extra: &[&str]) -> Self {
        let mut network = Self::init(validators, extra);
        network.start_bootnode();
        for at in 0..usize::from(validators) {
            network.spawn(at);
        }
        for at in 0..usize::from(validators) {
            network.answers(at);
        }
        network
    }

    /// Makes one more node known, by its file's name and its RPC port; gives its place.
    pub(crate) fn add(&mut self, name: &str, rpc_port: u16) -> usize {
        self.nodes.push(NodeInfo {
            name: name.to_owned(),
            pid: 0,
            rpc: format!("http://127.0.0.1:{rpc_port}"),
            config: self.path().join(format!("{name}.toml")),
        });
        self.nodes.len() - 1
    }

    /// The directory that holds the network's files.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("net")
    }

    /// A node's data directory.
    pub(crate) fn data(&self, at: usize) -> PathBuf {
        self.path().join("data").join(&self.nodes[at].name)
    }

    /// A node's key (`key`) or guard (`guard`).
    pub(crate) fn key(&self, at: usize, extension: &str) -> PathBuf {
        self.path().join("keys").join(format!("{}.{extension}", self.nodes[at].name))
    }

    /// The last height at which a validator signed: from the two slots of its guard, whose bytes the kernel's `signer` documents.
    pub(crate) fn signed_height(&self, at: usize) -> u64 {
        let guard = std::fs::read(self.key(at, "guard")).unwrap();
        let height = |slot: usize| u64::from_le_bytes(guard[slot + 9..slot + 17].try_into().unwrap());
        height(64).max(height(320))
    }

    fn log_path(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{name}.log"))
    }

    /// What a node that was started here wrote so far, over all its starts.
    pub(crate) fn log(&self, at: usize) -> String {
        std::fs::read_to_string(self.log_path(&self.nodes[at].name)).unwrap_or_default()
    }

    /// Waits until a node that was started here has written these words.
    pub(crate) fn says(&self, at: usize, words: &str) {
        eventually(&format!("{} says \"{words}\"", self.nodes[at].name), || self.log(at).contains(words).then_some(()));
    }

    fn run_devnet(&mut self, extra: &[&str]) {
        let list = self.path().join("nodes.json");
        drop(std::fs::remove_file(&list));
        let log = File::create(self.log_path("devnet")).unwrap();
        let child = Command::new(QUORATE)
            .args(["devnet", "--no-gateway", "--application", "kv", "--block-interval-ms", "100"])
            .arg("--dir")
            .arg(self.path())
            .args(["--ports-from", &self.ports_from.to_string()])
            .args(extra)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.devnet = Some(child);
        let listed = eventually("devnet writes nodes.json", || {
            let text = std::fs::read_to_string(&list).ok()?;
            serde_json::from_str::<Value>(&text).ok()
        });
        self.nodes = listed
            .as_array()
            .unwrap()
            .iter()
            .filter(|node| node["role"] == "validator")
            .map(|node| NodeInfo {
                name: node["name"].as_str().unwrap().into(),
                pid: u32::try_from(node["pid"].as_u64().unwrap()).unwrap(),
                rpc: node["rpc_url"].as_str().unwrap().into(),
                config: node["config"].as_str().unwrap().into(),
            })
            .collect();
        for at in 0..self.nodes.len() {
            self.answers(at);
        }
    }

    fn command(&self, name: &str, config: &Path) -> Command {
        let log = OpenOptions::new().create(true).append(true).open(self.log_path(name)).unwrap();
        let mut command = Command::new(QUORATE);
        command.arg("run").arg("--config").arg(config).env_remove("RUST_LOG");
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command
    }

    /// Starts a node which does not run, without waiting for it.
    pub(crate) fn spawn(&mut self, at: usize) {
        self.spawn_with(at, |_| {});
    }

    /// As [`Network::spawn`], with a change to the command.
    pub(crate) fn spawn_with(&mut self, at: usize, change: impl FnOnce(&mut Command)) {
        let mut command = self.command(&self.nodes[at].name, &self.nodes[at].config);
        change(&mut command);
        let child = command.spawn().unwrap();
        self.nodes[at].pid = child.id();
        assert!(self.children.insert(at, child).is_none(), "{} runs already", self.nodes[at].name);
    }

    /// Waits until a node answers.
    pub(crate) fn answers(&mut self, at: usize) {
        let NodeInfo { name, rpc, .. } = self.nodes[at].clone();
        eventually(&format!("{name} answers"), || {
            if let Some(ended) = self.children.get_mut(&at).and_then(|child| child.try_wait().unwrap()) {
                panic!("{name} ended with {ended}: {}", self.log(at));
            }
            status(&rpc)
        });
    }

    /// Starts a killed node again and waits until it answers.
    pub(crate) fn restart(&mut self, at: usize) {
        self.spawn(at);
        self.answers(at);
    }

    /// Starts the bootnode and waits until it answers.
    pub(crate) fn start_bootnode(&mut self) {
        let child = self.command("bootnode", &self.path().join("bootnode.toml")).spawn().unwrap();
        self.bootnode = Some(child);
        let url = format!("http://127.0.0.1:{}", self.ports_from);
        eventually("the bootnode answers", || get(&url, "/health"));
    }

    /// The bootnode's process.
    pub(crate) fn bootnode_pid(&self) -> u32 {
        self.bootnode.as_ref().unwrap().id()
    }

    /// `kill -9` of the bootnode.
    pub(crate) fn kill_bootnode(&mut self) {
        let mut bootnode = self.bootnode.take().unwrap();
        bootnode.kill().unwrap();
        bootnode.wait().unwrap();
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self, at: usize) {
        signal(self.nodes[at].pid, Signal::KILL);
        self.is_gone(at);
    }

    /// `kill -9` of these nodes at one instant.
    pub(crate) fn kill_together(&mut self, nodes: &[usize]) {
        nodes.iter().for_each(|at| signal(self.nodes[*at].pid, Signal::KILL));
        nodes.iter().for_each(|at| self.is_gone(*at));
    }

    fn is_gone(&mut self, at: usize) {
        match self.children.remove(&at) {
            Some(mut child) => drop(child.wait().unwrap()),
            // The devnet's child.
            None => eventually("a killed node is silent", || status(self.rpc(at)).is_none().then_some(())),
        }
    }

    /// SIGTERM to a node started here; how it ended.
    pub(crate) fn stop(&mut self, at: usize) -> ExitStatus {
        signal(self.nodes[at].pid, Signal::TERM);
        self.ended(at)
    }

    /// Waits until a node started here has ended.
    pub(crate) fn ended(&mut self, at: usize) -> ExitStatus {
        let mut child = self.children.remove(&at).unwrap();
        let name = self.nodes[at].name.clone();
        eventually(&format!("{name} ends"), || child.try_wait().unwrap())
    }

    /// Whether a node started here still runs.
    pub(crate) fn lives(&mut self, at: usize) -> bool {
        self.children.get_mut(&at).is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    pub(crate) fn genesis(&self) -> PathBuf {
        self.path().join("genesis.toml")
    }

    pub(crate) fn rpc(&self, at: usize) -> &str {
        &self.nodes[at].rpc
    }

    pub(crate) fn height(&self, at: usize) -> u64 {
        status(self.rpc(at)).and_then(|status| status["height"].as_u64()).unwrap_or(0)
    }

    /// The hash of the final block at a height.
    pub(crate) fn block_hash(&self, at: usize, height: u64) -> Value {
        call(self.rpc(at), "quorate_block", json!([height]))["hash"].clone()
    }

    /// Waits until a transaction is final at all of these nodes.
    pub(crate) fn final_everywhere(&self, nodes: &[usize], id: &str) -> Value {
        let mut last = Value::Null;
        for at in nodes {
            last = eventually(&format!("{id} is final at node {at}"), || is_final(self.rpc(*at), id));
        }
        last
    }

    /// Waits until a node is as high as another is now.
    pub(crate) fn catches_up(&self, at: usize, with: usize) {
        let goal = self.height(with);
        eventually(&format!("{} is at height {goal}", self.nodes[at].name), || (self.height(at) >= goal).then_some(()));
    }

    /// The same hash at every height that all of these nodes have.
    pub(crate) fn assert_same_blocks(&self, nodes: &[usize]) {
        let lowest = nodes.iter().map(|at| self.height(*at)).min().unwrap();
        assert!(lowest > 0);
        for height in 1..=lowest {
            let hashes: Vec<Value> = nodes.iter().map(|at| self.block_hash(*at, height)).collect();
            assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]), "height {height}: {hashes:?}");
        }
    }

    /// `quorate verify --data` of a node that does not run.
    pub(crate) fn assert_verifies(&self, at: usize) {
        let (data, genesis) = (self.data(at), self.genesis());
        let (code, told) =
            quorate(&["verify", "--data", data.to_str().unwrap(), "--genesis", genesis.to_str().unwrap()]);
        assert_eq!(code, Some(0), "{}: {told}", self.nodes[at].name);
    }

    /// Stops nodes that were started here, and has their data directories audited.
    pub(crate) fn stop_and_verify(&mut self, nodes: &[usize]) {
        for at in nodes {
            let ended = self.stop(*at);
            assert_eq!(ended.code(), Some(0), "{} ended with {ended}: {}", self.nodes[*at].name, self.log(*at));
            self.assert_verifies(*at);
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let folders = [self.directory.path().to_owned(), self.path().join("logs")];
            for entry in folders.iter().flat_map(std::fs::read_dir).flatten().flatten() {
                if entry.path().extension().is_some_and(|extension| extension == "log") {
                    let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
                    eprintln!("--- {}\n{}", entry.path().display(), tail(&text));
                }
            }
        }
        for child in self.children.values_mut().chain(&mut self.bootnode) {
            drop(child.kill());
            drop(child.wait());
        }
        if let Some(mut devnet) = self.devnet.take() {
            signal(devnet.id(), Signal::TERM);
            drop(devnet.wait());
        }
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// Sends a signal to one process.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).unwrap();
    // One that has ended takes none.
    let _ = kill_process(pid, signal);
}
