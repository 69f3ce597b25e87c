//! A network of real processes for tests: made by `quorate devnet`, driven by RPC, ended by process id.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

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
    devnet: Option<Child>,
    pub(crate) nodes: Vec<NodeInfo>,
    pub(crate) restarted: Vec<Child>,
    ports_from: u16,
}

/// Rows of ports given to tests of this process so far: no two tests are given the same.
static ROWS: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);

/// A row of ports that are free now.
pub(crate) fn free_ports(count: u16) -> u16 {
    loop {
        let row = ROWS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let start = (std::process::id() % 200) as u16 * 60;
        let from = 20_000 + (start + row * count) % 12_000;
        let all: Vec<_> = (from..from + count).map_while(|port| TcpListener::bind(("127.0.0.1", port)).ok()).collect();
        if all.len() == usize::from(count) {
            return from;
        }
    }
}

impl Network {
    /// Starts three validators and a bootnode with blocks as soon as there is work.
    pub(crate) fn start(extra: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut network =
            Self { directory, devnet: None, nodes: Vec::new(), restarted: Vec::new(), ports_from: free_ports(9) };
        network.run_devnet(extra);
        network
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("net")
    }

    fn run_devnet(&mut self, extra: &[&str]) {
        let list = self.path().join("nodes.json");
        drop(std::fs::remove_file(&list));
        let log = std::fs::File::create(self.directory.path().join("devnet.log")).unwrap();
        let child = Command::new(QUORATE)
            .args(["devnet", "--no-gateway", "--block-interval-ms", "100"])
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
        for node in self.nodes.clone() {
            eventually(&format!("{} answers", node.name), || status(&node.rpc));
        }
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self, at: usize) {
        let pid = self.nodes[at].pid;
        signal(pid, "KILL");
        if let Some(known) = self.restarted.iter_mut().position(|child| child.id() == pid) {
            self.restarted.remove(known).wait().unwrap();
        }
        let rpc = self.nodes[at].rpc.clone();
        eventually("a killed node is silent", || status(&rpc).is_none().then_some(()));
    }

    /// Starts a killed node again.
    pub(crate) fn restart(&mut self, at: usize) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.directory.path().join(format!("restarted-{at}.log")))
            .unwrap();
        let child = Command::new(QUORATE)
            .arg("run")
            .arg("--config")
            .arg(&self.nodes[at].config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.nodes[at].pid = child.id();
        self.restarted.push(child);
        let node = self.nodes[at].clone();
        eventually(&format!("{} answers again", node.name), || status(&node.rpc));
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
}

impl Drop for Network {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for entry in std::fs::read_dir(self.directory.path()).into_iter().flatten().flatten() {
                if entry.path().extension().is_some_and(|extension| extension == "log") {
                    let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
                    eprintln!("--- {}\n{}", entry.path().display(), tail(&text));
                }
            }
            for entry in std::fs::read_dir(self.path().join("logs")).into_iter().flatten().flatten() {
                let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
                eprintln!("--- {}\n{}", entry.path().display(), tail(&text));
            }
        }
        for child in &mut self.restarted {
            drop(child.kill());
            drop(child.wait());
        }
        if let Some(mut devnet) = self.devnet.take() {
            signal(devnet.id(), "TERM");
            drop(devnet.wait());
        }
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// Sends a signal to one process.
pub(crate) fn signal(pid: u32, name: &str) {
    drop(Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).stderr(Stdio::null()).status());
}

/// One HTTP exchange on a fresh connection; `None` when the other side is not there.
pub(crate) fn http(url: &str, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let code = head.split(' ').nth(1)?.parse().ok()?;
    Some((code, body.to_owned()))
}

/// A JSON-RPC call: the whole response.
pub(crate) fn rpc(url: &str, method: &str, params: Value) -> Option<Value> {
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let (_, body) = http(url, "POST", "/", &request.to_string())?;
    serde_json::from_str(&body).ok()
}

/// A JSON-RPC call that must succeed.
pub(crate) fn call(url: &str, method: &str, params: Value) -> Value {
    let response = rpc(url, method, params).unwrap_or_else(|| panic!("{url} did not answer {method}"));
    assert!(response.get("error").is_none(), "{method}: {response}");
    response["result"].clone()
}

pub(crate) fn status(url: &str) -> Option<Value> {
    rpc(url, "quorate_status", json!([]))?.get("result").cloned()
}

/// Whether a transaction is final at a node.
pub(crate) fn is_final(url: &str, id: &str) -> Option<Value> {
    let found = rpc(url, "quorate_receipt", json!([id]))?;
    (found["result"]["status"] == "final").then(|| found["result"].clone())
}

/// Makes signed key-value transactions of one signer.
pub(crate) struct Writer {
    seed: [u8; 32],
    chain_id: quorate::ChainId,
    nonce: u64,
}

impl Writer {
    pub(crate) fn new(genesis: &Path, seed: u8) -> Self {
        let text = std::fs::read_to_string(genesis).unwrap();
        let chain_id = quorate::Genesis::parse("genesis.toml", &text).unwrap().chain_id();
        Self { seed: [seed; 32], chain_id, nonce: 0 }
    }

    pub(crate) fn next(&mut self) -> String {
        let key = format!("k{}", self.nonce);
        let bytes = quorate_kv::Put::sign(&self.seed, &self.chain_id, self.nonce, key.as_bytes(), b"value");
        self.nonce += 1;
        format!("0x{}", hex::encode(bytes))
    }
}
