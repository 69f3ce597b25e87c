//! A network for one measurement: written by `quorate init`, run as processes of its own on loopback, gone with this value.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use quorate::{ChainId, Genesis};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    failure::{BenchError, io},
    http::{Connection, get},
    options::Options,
    stop::Stop,
};

/// Validators of a network unless something else is asked for.
pub(crate) const VALIDATORS: u16 = 3;

/// Ports of one network: bootnode, RPC and peer of each validator, gateway with the peer and RPC port of its node.
const fn ports(validators: u16) -> u16 {
    2 * validators + 4
}

/// Ports are looked for from here on: below those that systems give to outgoing connections.
const PORTS_FROM: u16 = 20_000;

/// Ports to look through.
const PORTS_ALL: u16 = 9_000;

/// How long a node may take to stop by itself before it is ended.
const STOP_WAIT: Duration = Duration::from_secs(10);

/// Lines of a log in an error.
const LOG_LINES: usize = 20;

/// What the validators of a network agree on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub(crate) validators: u16,
    pub(crate) block_interval_ms: u64,
    pub(crate) fault_model: &'static str,
    pub(crate) delta_ms: u64,
    pub(crate) transactions_max: usize,
    pub(crate) application: &'static str,
    pub(crate) storage: &'a str,
}

impl Rules<'static> {
    /// Nobody waits for a bound on delays.
    pub(crate) const CRASH: Self = Rules {
        validators: VALIDATORS,
        block_interval_ms: 0,
        fault_model: "crash",
        delta_ms: 400,
        transactions_max: 4096,
        application: "kv",
        storage: "redb",
    };

    /// The default of three validators: every vote waits `delta_ms`.
    pub(crate) const BYZANTINE_SYNC: Self = Rules { fault_model: "byzantine-sync", ..Rules::CRASH };

    /// Elections.
    pub(crate) const VOTING: Self = Rules { application: "voting", ..Rules::CRASH };

    /// One transaction a block.
    pub(crate) const ONE_BY_ONE: Self = Rules { transactions_max: 1, ..Rules::CRASH };
}

/// A running process, killed and waited for with this value.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// Ends its standard input, at which a node stops in order; waits for it.
    fn stop(mut self) {
        drop(self.0.stdin.take());
        let deadline = Instant::now() + STOP_WAIT;
        while Instant::now() < deadline {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// One node of a network.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) rpc: SocketAddr,
    process: Option<Process>,
    /// Of a node that somebody else started.
    known_pid: Option<u32>,
}

impl Node {
    /// Its process, when it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.0.id()).or(self.known_pid)
    }

    /// A new connection for JSON-RPC.
    pub(crate) fn connect(&self) -> Result<Connection, BenchError> {
        Connection::open(self.rpc)
    }
}

/// A network in a directory of its own.
#[derive(Debug)]
pub(crate) struct Network {
    // Before the directory: processes end first.
    bootnode: Node,
    validators: Vec<Node>,
    /// How many of the validators a load goes to, from the first on.
    loaded: usize,
    backend: Node,
    program: PathBuf,
    stop: Stop,
    chain_id: ChainId,
    application: String,
    /// Where its files are.
    net: PathBuf,
    /// Where its logs are, and all of it when it was made here.
    directory: Option<TempDir>,
}

fn free_ports(count: u16) -> Result<u16, BenchError> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let rows = PORTS_ALL / count.max(1);
    // Where to begin differs between processes, so that two runs at once rarely look at the same ports.
    let begin = (std::process::id() % u32::from(rows.max(1))) as u16;
    for _ in 0..rows {
        let row = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % rows;
        let from = PORTS_FROM + row * count;
        let free = (from..from + count).all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
        if free {
            return Ok(from);
        }
    }
    Err(BenchError::answer(format!("no {count} free ports in a row above {PORTS_FROM}")))
}

/// A command which no variable of the environment changes.
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    let ours = |name: &OsString| name == "RUST_LOG" || name.to_string_lossy().starts_with("QUORATE__");
    for (name, _) in std::env::vars_os().filter(|(name, _)| ours(name)) {
        command.env_remove(name);
    }
    command
}

impl Network {
    /// Writes a network; nothing runs yet.
    pub(crate) fn make(options: &Options, stop: &Stop, rules: Rules<'_>) -> Result<Self, BenchError> {
        let parent = &options.directory;
        fs::create_dir_all(parent).map_err(io(parent.display().to_string()))?;
        let directory = tempfile::Builder::new()
            .prefix("quorate-bench-")
            .tempdir_in(parent)
            .map_err(io(parent.display().to_string()))?;
        let from = free_ports(ports(rules.validators))?;
        let net = directory.path().join("net");
        let output = command(&options.program)
            .args(["init", "--block-interval-ms", &rules.block_interval_ms.to_string()])
            .args([
                "--fault-model",
                rules.fault_model,
                "--validators",
                &rules.validators.to_string(),
                "--delta-ms",
                &rules.delta_ms.to_string(),
            ])
            .args(["--application", rules.application, "--storage", rules.storage])
            .args(["--ports-from", &from.to_string(), "--dir"])
            .arg(&net)
            .output()
            .map_err(io(options.program.display().to_string()))?;
        if !output.status.success() {
            return Err(BenchError::Node {
                name: "quorate init".into(),
                what: output.status.to_string(),
                log: String::from_utf8_lossy(&output.stderr).into_owned(),
            });
        }
        let chain_id = agree(&net.join("genesis.toml"), rules)?;
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let validators = (1..=rules.validators)
            .map(|number| Node {
                name: format!("validator-{number}"),
                rpc: at(from + number),
                process: None,
                known_pid: None,
            })
            .collect();
        let bootnode = Node { name: "bootnode".into(), rpc: at(from), process: None, known_pid: None };
        let backend =
            Node { name: "backend".into(), rpc: at(from + 2 * rules.validators + 1), process: None, known_pid: None };
        Ok(Self {
            backend,
            bootnode,
            loaded: usize::from(rules.validators),
            validators,
            program: options.program.clone(),
            stop: stop.clone(),
            chain_id,
            application: rules.application.into(),
            net,
            directory: Some(directory),
        })
    }

    /// Writes a network and starts all of it; every validator is connected to every other.
    pub(crate) fn running(options: &Options, stop: &Stop, rules: Rules<'_>) -> Result<Self, BenchError> {
        Self::running_with(options, stop, rules, None)
    }

    /// The same, whose validators take their consensus from a shared library, where one is given.
    pub(crate) fn running_with(
        options: &Options,
        stop: &Stop,
        rules: Rules<'_>,
        library: Option<&Path>,
    ) -> Result<Self, BenchError> {
        let mut network = Self::make(options, stop, rules)?;
        if let Some(library) = library {
            network.take_consensus_from(library)?;
        }
        network.spawn_bootnode()?;
        for at in 0..network.validators.len() {
            network.spawn(at)?;
        }
        for at in 0..network.validators.len() {
            network.wait_ready(at)?;
        }
        network.wait_connected()?;
        Ok(network)
    }

    pub(crate) fn chain_id(&self) -> ChainId {
        self.chain_id
    }

    pub(crate) fn stop(&self) -> &Stop {
        &self.stop
    }

    pub(crate) fn validators(&self) -> &[Node] {
        &self.validators
    }

    /// Those to which a load goes, and which are watched meanwhile.
    pub(crate) fn loaded(&self) -> &[Node] {
        self.validators.get(..self.loaded).unwrap_or(&self.validators)
    }

    /// Lets loads go to so many validators, from the first on.
    pub(crate) fn load_only(&mut self, count: usize) {
        self.loaded = count;
    }

    /// Takes a validator's process out of the network. It ends at once, as by `kill -9`, with what is given back.
    pub(crate) fn take_process(&mut self, at: usize) -> Option<Process> {
        self.validators.get_mut(at).and_then(|node| node.process.take())
    }

    pub(crate) fn validator(&self, at: usize) -> Result<&Node, BenchError> {
        self.validators.get(at).ok_or_else(|| BenchError::answer(format!("there is no validator {at}")))
    }

    /// A file of the network.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.net().join(name)
    }

    /// What its chain is for.
    pub(crate) fn application(&self) -> &str {
        &self.application
    }

    fn net(&self) -> &Path {
        &self.net
    }

    fn log(&self, name: &str) -> PathBuf {
        let directory = self.directory.as_ref().map_or(self.net(), TempDir::path);
        directory.join(format!("{name}.log"))
    }

    /// A network which runs already, as `quorate devnet` says in its `nodes.json`. It is not stopped.
    pub(crate) fn attach(directory: &Path, stop: &Stop) -> Result<Self, BenchError> {
        let read = |name: &str| {
            let path = directory.join(name);
            fs::read_to_string(&path).map_err(io(format!("{}: does a devnet run there?", path.display())))
        };
        let genesis = Genesis::parse("genesis.toml", &read("genesis.toml")?)
            .map_err(|errors| BenchError::answer(quorate::diagnostics::render(&errors)))?;
        let listed: Vec<Value> =
            serde_json::from_str(&read("nodes.json")?).map_err(|error| BenchError::answer(error.to_string()))?;
        let of_role = |role: &str| -> Vec<Node> {
            let named = listed.iter().filter(|node| node.get("role").and_then(Value::as_str) == Some(role));
            named
                .filter_map(|node| {
                    let text = |key: &str| node.get(key).and_then(Value::as_str);
                    let pid = node.get("pid").and_then(Value::as_u64).and_then(|pid| u32::try_from(pid).ok());
                    let rpc = text("rpc_url")?.trim_start_matches("http://").parse().ok()?;
                    Some(Node { name: text("name")?.to_owned(), rpc, process: None, known_pid: pid })
                })
                .collect()
        };
        let nobody = || Node {
            name: "nobody".into(),
            rpc: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            process: None,
            known_pid: None,
        };
        let validators = of_role("validator");
        if validators.is_empty() {
            return Err(BenchError::answer(format!("{}: nodes.json lists no validator", directory.display())));
        }
        Ok(Self {
            bootnode: of_role("bootnode").pop().unwrap_or_else(nobody),
            backend: of_role("gateway").pop().unwrap_or_else(nobody),
            loaded: validators.len(),
            validators,
            program: PathBuf::new(),
            stop: stop.clone(),
            chain_id: genesis.chain_id(),
            application: genesis.application_plugin().into(),
            net: directory.to_owned(),
            directory: None,
        })
    }

    fn process(&self, name: &str) -> Result<Process, BenchError> {
        let path = self.log(name);
        let log = OpenOptions::new().create(true).append(true).open(&path).map_err(io(path.display().to_string()))?;
        let config = self.net().join(format!("{name}.toml"));
        command(&self.program)
            .args(["run", "--stop-on-stdin-close", "--config"])
            .arg(config)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map(Process)
            .map_err(io(format!("start {name}")))
    }

    /// Names a library in the file of each validator.
    fn take_consensus_from(&self, library: &Path) -> Result<(), BenchError> {
        let shown = library.display();
        let library = library
            .canonicalize()
            .map_err(io(format!("{shown}, poa as a library (cargo build --release -p quorate-poa-dylib)")))?;
        for node in &self.validators {
            let path = self.net().join(format!("{}.toml", node.name));
            let name = path.display().to_string();
            let text = fs::read_to_string(&path).map_err(io(name.clone()))?;
            let old = "[consensus]\n";
            if !text.contains(old) {
                return Err(BenchError::answer(format!("{name}: `[consensus]` is not in it")));
            }
            let line = toml_string(&library.display().to_string());
            fs::write(&path, text.replace(old, &format!("{old}library = {line}\n"))).map_err(io(name))?;
        }
        Ok(())
    }

    /// Starts the registry by which validators find each other, and waits for it.
    pub(crate) fn spawn_bootnode(&mut self) -> Result<(), BenchError> {
        self.bootnode.process = Some(self.process("bootnode")?);
        let address = self.bootnode.rpc;
        self.stop.until("the bootnode answers", || Ok(answers(address, "/health")))
    }

    /// Starts a validator and does not wait.
    pub(crate) fn spawn(&mut self, at: usize) -> Result<(), BenchError> {
        let name = self.validator(at)?.name.clone();
        let process = self.process(&name)?;
        if let Some(node) = self.validators.get_mut(at) {
            node.process = Some(process);
        }
        Ok(())
    }

    /// The backend for voters, where it answers.
    pub(crate) fn backend(&self) -> &Node {
        &self.backend
    }

    /// Starts the backend, which lets one address ask as much as it likes, and waits until it is ready.
    pub(crate) fn spawn_backend(&mut self) -> Result<(), BenchError> {
        let path = self.net().join("backend.toml");
        let name = path.display().to_string();
        let text = fs::read_to_string(&path).map_err(io(name.clone()))?;
        let old = "cors_origins = []\n";
        if !text.contains("requests_per_address_per_s") {
            let new = format!("{old}requests_per_address_per_s = 1000000\n");
            fs::write(&path, text.replace(old, &new)).map_err(io(name))?;
        }
        self.backend.process = Some(self.process("backend")?);
        let node = &self.backend;
        let ready = self.stop.until("the backend is ready", || Ok(answers(node.rpc, "/ready")));
        ready.map_err(|error| self.told(node, error))
    }

    /// Ends a validator at once, as `kill -9` does.
    pub(crate) fn kill_validator(&mut self, at: usize) {
        drop(self.take_process(at));
    }

    /// Waits until a validator says that it is ready.
    pub(crate) fn wait_ready(&self, at: usize) -> Result<(), BenchError> {
        let node = self.validator(at)?;
        let what = format!("{} is ready", node.name);
        self.stop.until(&what, || Ok(answers(node.rpc, "/ready"))).map_err(|error| self.told(node, error))
    }

    /// Waits until every validator is connected to all others.
    pub(crate) fn wait_connected(&self) -> Result<(), BenchError> {
        for node in &self.validators {
            let mut connection = node.connect()?;
            let what = format!("{} is connected to all others", node.name);
            let connected = self.stop.until(&what, || {
                let status = connection.call("quorate_status", &json!([]))?;
                let is = |peer: &Value, what: &str| peer.get(what) == Some(&Value::Bool(true));
                let peers = status.get("peers").and_then(Value::as_array).map_or(0, |peers| {
                    peers.iter().filter(|peer| is(peer, "connected") && is(peer, "validator")).count()
                });
                Ok((peers + 1 >= self.validators.len()).then_some(()))
            });
            connected.map_err(|error| self.told(node, error))?;
        }
        Ok(())
    }

    /// Adds the end of a node's log to what went wrong with it.
    fn told(&self, node: &Node, error: BenchError) -> BenchError {
        if matches!(error, BenchError::Stopped) {
            return error;
        }
        let text = fs::read_to_string(self.log(&node.name)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let log = lines.iter().skip(lines.len().saturating_sub(LOG_LINES)).copied().collect::<Vec<_>>().join("\n");
        BenchError::Node { name: node.name.clone(), what: error.to_string(), log }
    }

    /// Stops a validator in order and waits for its end.
    pub(crate) fn stop_validator(&mut self, at: usize) {
        if let Some(process) = self.validators.get_mut(at).and_then(|node| node.process.take()) {
            process.stop();
        }
    }

    /// Removes what a stopped validator has stored; key and guard stay.
    pub(crate) fn remove_data(&self, at: usize) -> Result<(), BenchError> {
        let data = self.net().join("data").join(&self.validator(at)?.name);
        fs::remove_dir_all(&data).map_err(io(data.display().to_string()))
    }

    /// Bytes of a validator's files.
    pub(crate) fn data_bytes(&self, at: usize) -> Result<u64, BenchError> {
        let data = self.net().join("data").join(&self.validator(at)?.name);
        let entries = fs::read_dir(&data).map_err(io(data.display().to_string()))?;
        Ok(entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum())
    }
}

/// A TOML literal string; a path with an apostrophe is not one of ours.
fn toml_string(text: &str) -> String {
    format!("'{text}'")
}

/// Sets what `init` has no option for; returns the chain's id.
fn agree(genesis: &Path, rules: Rules<'_>) -> Result<ChainId, BenchError> {
    let name = genesis.display().to_string();
    let text = fs::read_to_string(genesis).map_err(io(name.clone()))?;
    let old = "block_transactions_max = 32\n";
    if !text.contains(old) {
        return Err(BenchError::answer(format!("{name}: `{}` is not in it", old.trim_end())));
    }
    let text = text.replace(old, &format!("block_transactions_max = {}\n", rules.transactions_max));
    File::create(genesis)
        .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
        .map_err(io(name))?;
    let genesis = Genesis::parse("genesis.toml", &text);
    genesis
        .map(|genesis| genesis.chain_id())
        .map_err(|errors| BenchError::answer(quorate::diagnostics::render(&errors)))
}

/// Whether a path is answered with 200.
pub(crate) fn answers(address: SocketAddr, path: &str) -> Option<()> {
    let mut connection = Connection::try_open(address).ok()?;
    connection.send(&get(path)).ok()?;
    let (status, _) = connection.receive().ok()?;
    (status == 200).then_some(())
}

/// A node's height and the hash of its last block.
pub(crate) fn tip(connection: &mut Connection) -> Result<(u64, String), BenchError> {
    let status = connection.call("quorate_status", &json!([]))?;
    match (status.get("height").and_then(Value::as_u64), status.get("hash").and_then(Value::as_str)) {
        (Some(height), Some(hash)) => Ok((height, hash.to_owned())),
        _ => Err(BenchError::answer(format!("quorate_status: {status}"))),
    }
}

/// The hash of a final block.
pub(crate) fn hash_at(connection: &mut Connection, height: u64) -> Result<Value, BenchError> {
    let block = connection.call("quorate_block", &json!([height]))?;
    block.get("hash").cloned().ok_or_else(|| BenchError::answer(format!("block {height} is {block}")))
}
