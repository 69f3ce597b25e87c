//! `quorate plugin new`: what is written builds, keeps the contract of its slot, and runs in a network at once.

#![expect(clippy::unwrap_used, reason = "a test that can not go on fails")]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const QUORATE: &str = env!("CARGO_BIN_EXE_quorate");

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ports which a network of three validators needs.
const PORTS: u16 = 10;

/// What [`Devnet::makes_final`] needs.
const KV: [&str; 2] = ["--application", "kv"];

fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < deadline, "did not happen in {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Other tests have networks at the same time; none takes these ports, which lie right below those that systems give out.
fn free_ports() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let from = 32_000 + NEXT.fetch_add(PORTS, Ordering::Relaxed) % 700;
        if (from..from + PORTS).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return from;
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn quorate(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(QUORATE).current_dir(folder).args(arguments).env_remove("RUST_LOG").output().unwrap()
}

fn succeeds(output: Output, what: &str) -> String {
    let said = text(&output.stdout);
    assert!(output.status.success(), "{what}: {:?}\n{said}\n{}", output.status, text(&output.stderr));
    said
}

/// A new crate.
struct Crate {
    folder: tempfile::TempDir,
    kind: &'static str,
    name: String,
}

impl Crate {
    fn new(kind: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let name = format!("my-{kind}");
        succeeds(quorate(folder.path(), &["plugin", "new", kind, &name]), "plugin new");
        // Nobody debugs it, and without what a debugger needs it is built faster.
        fs::create_dir(folder.path().join(".cargo")).unwrap();
        fs::write(folder.path().join(".cargo/config.toml"), "[profile.dev]\ndebug = false\n").unwrap();
        Self { folder, kind, name }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(&self.name)
    }

    /// Where cargo puts what it builds: this workspace's own folder, which holds most of the dependencies already.
    fn target() -> PathBuf {
        Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().to_owned()
    }

    /// The commands of its README.
    fn commands(&self) -> Vec<String> {
        let readme = fs::read_to_string(self.path().join("README.md")).unwrap();
        let (_, rest) = readme.split_once("```sh\n").unwrap();
        let (block, _) = rest.split_once("```").unwrap();
        block.lines().map(|line| line.split('#').next().unwrap().trim().to_owned()).collect()
    }

    /// Does what its README says, and gives the library, and the options of the network in which it runs.
    fn follow_readme(&self) -> (String, Vec<String>) {
        std::os::unix::fs::symlink(Self::target(), self.path().join("target")).unwrap();
        let programs = [Path::new(QUORATE).parent().unwrap(), Path::new(env!("CARGO")).parent().unwrap()];
        let others = std::env::var_os("PATH").unwrap_or_default();
        let all = programs.iter().map(PathBuf::from).chain(std::env::split_paths(&others));
        let path = std::env::join_paths(all).unwrap();
        let mut network = Vec::new();
        let mut said = String::new();
        for line in self.commands() {
            if let Some(options) = line.strip_prefix("quorate devnet ") {
                network = options.split(' ').map(str::to_owned).collect();
                continue;
            }
            let mut shell = Command::new("sh");
            shell.args(["-c", &line]).current_dir(self.path()).env("PATH", &path).env("CARGO_NET_OFFLINE", "true");
            // Those are of the cargo that runs this test.
            shell.env_remove("CARGO_TARGET_DIR").env_remove("RUST_LOG");
            said.push_str(&succeeds(shell.output().unwrap(), &line));
        }
        for part in [
            &format!("{} plugin `{}` 0.1.0", self.kind, self.name),
            "an example of its settings",
            "test it_keeps_the_contract_of_a",
            "held            the descriptor says who it is",
            " 0 broken, ",
        ] {
            assert!(said.contains(part), "{part} is not in\n{said}");
        }
        let library = self.path().join(format!("target/debug/libmy_{}_dylib.so", self.kind));
        let absolute = |word: &String| if word.ends_with(".so") { library.display().to_string() } else { word.clone() };
        (library.display().to_string(), network.iter().map(absolute).collect())
    }
}

/// A network of processes in a folder of its own; it ends with this.
struct Devnet {
    folder: tempfile::TempDir,
    process: Child,
    ports_from: u16,
}

impl Devnet {
    fn init() -> (tempfile::TempDir, u16) {
        let (folder, ports) = (tempfile::tempdir().unwrap(), free_ports());
        let ports_from = ports.to_string();
        let init =
            ["init", "--dir", "net", "--application", "kv", "--block-interval-ms", "100", "--ports-from", &ports_from];
        succeeds(quorate(folder.path(), &init), "init");
        (folder, ports)
    }

    fn run(folder: tempfile::TempDir, ports_from: u16, arguments: &[&str]) -> Self {
        let file = fs::File::create(folder.path().join("told")).unwrap();
        let process = Command::new(QUORATE)
            .current_dir(folder.path())
            .args(["devnet", "--dir", "net", "--no-gateway"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .env_remove("RUST_LOG")
            .spawn();
        let mut devnet = Self { folder, process: process.unwrap(), ports_from };
        eventually("the network is ready", || {
            let ended = devnet.process.try_wait().unwrap();
            assert!(ended.is_none(), "{}", devnet.told());
            devnet.folder.path().join("net/nodes.json").exists().then_some(())
        });
        devnet
    }

    /// As a README says.
    fn of(options: &[String]) -> Self {
        let ports = free_ports();
        let ports_from = ports.to_string();
        let mut arguments = vec!["--ports-from", &ports_from];
        arguments.extend(options.iter().map(String::as_str));
        Self::run(tempfile::tempdir().unwrap(), ports, &arguments)
    }

    fn told(&self) -> String {
        fs::read_to_string(self.folder.path().join("told")).unwrap_or_default()
    }

    fn rpc(&self, validator: u16) -> String {
        format!("127.0.0.1:{}", self.ports_from + validator)
    }

    /// Has a key-value transaction become final.
    fn makes_final(&self) {
        let url = format!("http://{}", self.rpc(2));
        let put = ["kv", "put", "--rpc", &url, "--key-seed", "alice", "--wait", "greeting", "hello"];
        succeeds(quorate(self.folder.path(), &put), "kv put");
    }

    fn call(&self, validator: u16, method: &str, params: &Value) -> Value {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let mut stream = TcpStream::connect(self.rpc(validator)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json";
        write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let answer: Value = serde_json::from_str(body).unwrap();
        assert!(answer.get("error").is_none(), "{answer}");
        answer.get("result").cloned().unwrap()
    }
}

impl Drop for Devnet {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).unwrap()).unwrap();
        // It may have ended by itself; it ends its nodes.
        let _unless_ended = kill_process(pid, Signal::TERM);
        drop(self.process.wait());
    }
}

#[test]
fn a_new_consensus_keeps_its_contract_and_makes_a_network_final() {
    let made = Crate::new("consensus");
    let (_, network) = made.follow_readme();
    let network = Devnet::of(&[&network[..], &KV.map(str::to_owned)].concat());
    network.makes_final();
    let genesis = fs::read_to_string(network.folder.path().join("net/genesis.toml")).unwrap();
    assert!(genesis.contains("plugin = \"my-consensus\"\n"), "{genesis}");
}

#[test]
fn a_new_store_keeps_its_contract_and_a_chain() {
    let made = Crate::new("storage");
    let (_, network) = made.follow_readme();
    let network =
        Devnet::of(&[&network[..], &KV.map(str::to_owned), &["--block-interval-ms", "0"].map(str::to_owned)].concat());
    network.makes_final();
    assert!(network.folder.path().join("net/data/validator-1/store").exists());
}

#[test]
fn a_new_application_keeps_its_contract_and_executes() {
    let made = Crate::new("application");
    let (_, network) = made.follow_readme();
    let network = Devnet::of(&network);
    network.call(1, "quorate_submit", &json!(["0x68656c6c6f"]));
    eventually("every validator has executed it", || {
        let count = |validator| network.call(validator, "quorate_query", &json!(["count", {}]));
        (1..=3).all(|validator| count(validator) == json!({ "count": 1 })).then_some(())
    });
}

/// It has nothing for clients, so that no network of processes could be asked.
#[test]
fn a_new_transport_keeps_its_contract() {
    let made = Crate::new("transport");
    made.follow_readme();
}

#[test]
fn a_new_discovery_keeps_its_contract_and_finds_a_network() {
    let made = Crate::new("discovery");
    let (library, _) = made.follow_readme();
    let (folder, ports) = Devnet::init();
    let genesis: toml::Table = fs::read_to_string(folder.path().join("net/genesis.toml")).unwrap().parse().unwrap();
    let validators = genesis["validator"].as_array().unwrap();
    let peers = validators.iter().zip(1u16..).map(|(one, number)| {
        let (name, key) = (one["name"].as_str().unwrap(), one["public_key"].as_str().unwrap());
        format!("{name} {key} 127.0.0.1:{}", ports + 3 + number)
    });
    let peers = json!(peers.collect::<Vec<_>>());
    for number in 1..=3 {
        let path = folder.path().join(format!("net/validator-{number}.toml"));
        let node = fs::read_to_string(&path).unwrap();
        let (before, rest) = node.split_once("plugin = \"bootnode\"\n").unwrap();
        let (_, after) = rest.split_once("\nurl = ").unwrap();
        let (_, after) = after.split_once('\n').unwrap();
        let own = format!("plugin = \"my-discovery\"\nlibrary = {}\npeers = {peers}\n", json!(library));
        fs::write(&path, format!("{before}{own}{after}")).unwrap();
    }
    Devnet::run(folder, ports, &[]).makes_final();
}

#[test]
fn a_new_service_keeps_its_contract_and_tells_the_height() {
    let made = Crate::new("service");
    let (library, _) = made.follow_readme();
    let (folder, ports) = Devnet::init();
    let path = folder.path().join("net/validator-1.toml");
    let address = format!("127.0.0.1:{}", ports + 8);
    let table =
        format!("\n[[service]]\nplugin = \"my-service\"\nlibrary = {}\nlisten = \"{address}\"\n", json!(library));
    fs::write(&path, fs::read_to_string(&path).unwrap() + &table).unwrap();
    let network = Devnet::run(folder, ports, &[]);
    network.makes_final();
    eventually("the service has heard of a block", || {
        let mut said = String::new();
        TcpStream::connect(&address).unwrap().read_to_string(&mut said).unwrap();
        (said.trim().parse::<u64>().unwrap() > 0).then_some(())
    });
}

#[test]
fn what_can_not_be_written_is_refused_and_nothing_is() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("there")).unwrap();
    for (arguments, code, expected) in [
        (vec!["consensus", "there"], 1, "there: exists already; choose another --dir"),
        (vec!["consensus", "My-Rule"], 2, "the name `My-Rule` is not one of lower-case letters, digits and hyphens"),
        (vec!["consensus", "poa"], 2, "the name `poa` is that of a consensus plugin which this program has"),
        (vec!["engine", "mine"], 2, "one of: consensus, storage"),
        (
            vec!["consensus", "mine", "--quorate", "none"],
            2,
            "--quorate none: no such folder, and no URL of a git repository",
        ),
        (vec!["consensus", "mine", "--quorate", "there"], 2, "--quorate there: holds no source of Quorate"),
    ] {
        let output = quorate(folder.path(), &[&["plugin", "new"], &arguments[..]].concat());
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(told.contains(expected), "{expected} is not in\n{told}");
        assert!(!folder.path().join("mine").exists());
    }
    let from_git =
        ["plugin", "new", "consensus", "mine", "--dir", "a/b", "--quorate", "https://example.org/quorate.git"];
    succeeds(quorate(folder.path(), &from_git), "plugin new");
    let manifest = fs::read_to_string(folder.path().join("a/b/Cargo.toml")).unwrap();
    assert!(manifest.contains("quorate = { git = \"https://example.org/quorate.git\" }"), "{manifest}");
}

#[test]
fn a_network_takes_only_what_its_libraries_have() {
    let folder = tempfile::tempdir().unwrap();
    let faulty = std::env::current_exe().unwrap().parent().unwrap().join("libquorate_faulty.so");
    let faulty = faulty.display().to_string();
    let library = ["--library", &faulty];
    let none: [&str; 0] = [];
    for (arguments, libraries, code, expected) in [
        (vec!["--consensus", "mine"], &none[..], 2, "--consensus mine: networks are made of poa or bft-tendermint"),
        (vec!["--consensus", "poa"], &library[..], 2, "name what the network shall take of it with --consensus"),
        (vec!["--consensus", "faulty", "--delta-ms", "9"], &library[..], 2, "--delta-ms is an option of poa"),
        (vec!["--consensus", "faulty", "--block-interval-ms", "9"], &library[..], 2, "faulty has no such setting"),
        (vec!["--library", "none.so"], &none[..], 70, "plugin library `none.so`: file not found"),
    ] {
        let output = quorate(folder.path(), &[&["init", "--dir", "net"], &arguments[..], libraries].concat());
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(told.contains(expected), "{expected} is not in\n{told}");
        assert!(!folder.path().join("net/genesis.toml").exists());
    }
}
