//! Plugins from shared libraries in real nodes: what an operator sees, and that it does not matter where a plugin comes from.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Network, QUORATE, Writer, call, eventually, free_ports, get, is_final, signal, status, submit};

/// A library of this workspace, which cargo built because the tests depend on its crate.
fn built(name: &str) -> PathBuf {
    let path = std::env::current_exe().unwrap().parent().unwrap().join(format!("lib{name}.so"));
    assert!(path.exists(), "{} was not built", path.display());
    path
}

fn quorate(arguments: &[&str]) -> Output {
    Command::new(QUORATE).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A node's file whose consensus is the faulty one.
struct Node(tempfile::TempDir);

impl Node {
    fn new(consensus: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = quorate_kernel::key::NodeKey::development("validator-1");
        key.save_new(&directory.path().join("a.key")).unwrap();
        let genesis = format!(
            "chain_name = \"t\"\ngenesis_time = 2026-01-01T00:00:00Z\n[consensus]\nplugin = \"faulty\"\n\
             [application]\nplugin = \"kv\"\nvalue_bytes_max = 100\n[[validator]]\nname = \"a\"\npublic_key = \"{}\"\n",
            key.public_key()
        );
        std::fs::write(directory.path().join("genesis.toml"), genesis).unwrap();
        std::os::unix::fs::symlink(built("quorate_faulty"), directory.path().join("libfaulty.so")).unwrap();
        let node = format!(
            "[node]\nname = \"a\"\nrole = \"validator\"\ngenesis = \"genesis.toml\"\nkey_file = \"a.key\"\ndata_dir = \"d\"\n\n\
             [consensus]\n{consensus}\n\n[storage]\nplugin = \"redb\"\n\n[application]\nplugin = \"kv\"\n\n\
             [transport]\nplugin = \"http\"\npeer_listen = \"127.0.0.1:0\"\nrpc_listen = \"127.0.0.1:0\"\n"
        );
        std::fs::write(directory.path().join("a.toml"), node).unwrap();
        Self(directory)
    }

    fn path(&self) -> String {
        self.0.path().join("a.toml").display().to_string()
    }

    fn check(&self) -> Output {
        quorate(&["check", "--config", &self.path()])
    }
}

const FAULTY: &str = "plugin = \"faulty\"\nlibrary = \"libfaulty.so\"";

#[test]
fn check_says_where_each_plugin_comes_from() {
    let output = Node::new(FAULTY).check();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    let line = |slot: &str| shown.lines().find(|line| line.starts_with(slot)).unwrap().to_owned();
    assert!(line("consensus").contains("libfaulty.so"), "{shown}");
    assert!(line("storage").contains("bundled"), "{shown}");
    assert!(shown.contains("nothing, of 1 validators"), "{shown}");
}

#[test]
fn what_is_wrong_with_a_library_points_at_its_line() {
    for (consensus, expected) in [
        ("plugin = \"faulty\"\nlibrary = \"libnone.so\"", "a.toml:10:11: plugin library `libnone.so`: file not found"),
        (
            "plugin = \"mine\"\nlibrary = \"libfaulty.so\"",
            "a.toml:10:11: plugin library `libfaulty.so`: provides consensus plugin `faulty`",
        ),
        ("plugin = \"faulty\"\nlibrary = \"libfaulty.so\"\nfualt = \"\"", "a.toml:11:1: unknown key `fualt`"),
        (
            "plugin = \"faulty\"\nlibrary = \"libfaulty.so\"\nfault = \"panics in check\"",
            "a.toml:9:10: [consensus] plugin `faulty`: `libfaulty.so` panicked in check: planted in check",
        ),
    ] {
        let output = Node::new(consensus).check();
        assert_eq!(output.status.code(), Some(78), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains(expected), "{expected} is not in\n{}", text(&output.stderr));
    }
}

/// The end of a process can't be caught in it: a child tries first.
#[test]
fn a_plugin_that_ends_the_process_is_named() {
    for call in ["check", "create"] {
        let node = Node::new(&format!("{FAULTY}\nfault = \"aborts in {call}\""));
        let expected = format!("error: plugin `faulty` of `libfaulty.so`, in {call}, ended the process (SIGABRT, 6)");
        let outputs = [node.check(), quorate(&["run", "--new-validator", "--config", &node.path()])];
        // `check` makes nothing, so only the child meets what `create` does.
        for output in outputs {
            assert_eq!(output.status.code(), Some(70), "{call}: {}", text(&output.stderr));
            assert!(text(&output.stderr).contains(&expected), "{}", text(&output.stderr));
        }
    }
}

#[test]
fn inspect_tells_what_a_library_says_of_itself() {
    let library = built("quorate_faulty").display().to_string();
    let output = quorate(&["plugin", "inspect", &library]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    for part in [
        "plugin ABI 1.0",
        "consensus plugin `faulty` 1.2.3: fails",
        "promises: S1 agreement, F1 determinism",
        "fault = \"none\"",
    ] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    let output = quorate(&["plugin", "inspect", "--json", &library]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["plugins"].as_array().unwrap().len(), 4);
    assert_eq!(found["plugins"][0]["schema"]["properties"]["fault"]["type"], "string");
    let poa = built("quorate_poa_dylib").display().to_string();
    let found: Value = serde_json::from_slice(&quorate(&["plugin", "inspect", "--json", &poa]).stdout).unwrap();
    assert_eq!(found["plugins"][0]["schema"]["properties"]["delta_ms"]["type"], "integer", "from its example");
    let output = quorate(&["plugin", "inspect", "./none.so"]);
    assert_eq!(output.status.code(), Some(70));
    assert!(text(&output.stderr).contains("plugin library `./none.so`: file not found"));
}

/// One validator has plugins from libraries, the others linked in: nobody can tell.
fn goes_on_with(libraries: &[(&str, &str)]) {
    let mut network = Network::start(&[]);
    let mut writer = Writer::new(&network.genesis(), 1);
    let mut submit = |network: &Network, at: usize| {
        let id = call(network.rpc(at), "quorate_submit", json!([writer.next()]));
        id["transaction_id"].as_str().or(id.as_str()).unwrap().to_owned()
    };
    let first = submit(&network, 0);
    eventually("a transaction is final", || is_final(network.rpc(0), &first));
    network.kill(0);
    for (slot, library) in libraries {
        from_library(&network.nodes[0].config, slot, &built(library));
    }
    network.restart(0);
    let second = submit(&network, 0);
    eventually("a transaction is final at the restarted node", || is_final(network.rpc(0), &second));
    network.kill(1);
    // Two of three are needed: now its vote must count.
    let third = submit(&network, 0);
    eventually("the vote counts", || is_final(network.rpc(2), &third));
    let log = network.log(0);
    assert_eq!(log.matches("plugin library loaded").count(), libraries.len(), "{log}");
    assert_eq!(status(network.rpc(0)).unwrap()["engine"]["halted"], Value::Null);
    assert_eq!(network.stop(0).code(), Some(0), "it stops when it is told to");
}

#[test]
fn a_validator_goes_on_with_the_same_consensus_from_a_library() {
    goes_on_with(&[("consensus", "quorate_poa_dylib")]);
}

#[test]
fn a_validator_goes_on_with_every_plugin_from_a_library() {
    goes_on_with(&[
        ("consensus", "quorate_poa_dylib"),
        ("storage", "quorate_storage_redb_dylib"),
        ("transport", "quorate_transport_http_dylib"),
        ("discovery", "quorate_discovery_bootnode_dylib"),
        ("application", "quorate_kv_dylib"),
    ]);
}

#[test]
fn a_bootnodes_service_comes_from_a_library() {
    let folder = tempfile::tempdir().unwrap();
    let key = quorate_kernel::key::NodeKey::development("bootnode");
    key.save_new(&folder.path().join("b.key")).unwrap();
    let library = built("quorate_discovery_bootnode_dylib");
    let port = free_ports(1);
    let text = format!(
        "[node]\nname = \"b\"\nrole = \"bootnode\"\nkey_file = \"b.key\"\ndata_dir = \"d\"\n\n[[service]]\nplugin = \"bootnode\"\n\
         library = \"{}\"\nlisten = \"127.0.0.1:{port}\"\n",
        library.display()
    );
    let (config, log) = (folder.path().join("b.toml"), folder.path().join("log"));
    std::fs::write(&config, text).unwrap();
    let output = std::fs::File::create(&log).unwrap();
    let mut child = Command::new(QUORATE).args(["run", "--config"]).arg(&config).stderr(output).spawn().unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let answer = eventually("the service answers", || get(&url, "/"));
    signal(child.id(), Signal::TERM);
    let stopped = eventually("the bootnode stops", || child.try_wait().unwrap());
    assert_eq!(stopped.code(), Some(0), "{answer:?}: {}", std::fs::read_to_string(&log).unwrap());
}

/// The example in one file runs a network of its own, and its chain is audited by whoever has the library; others are told of it.
#[test]
fn three_validators_run_an_outsiders_consensus_and_its_chain_is_audited() {
    let mut network = Network::init(3, &[]);
    let library = built("quorate_unanimous");
    let genesis = network.genesis();
    let text = std::fs::read_to_string(&genesis).unwrap();
    let (before, table) = text.split_once("[consensus]\n").unwrap();
    let (_, after) = table.split_once("\n[application]").unwrap();
    std::fs::write(&genesis, format!("{before}[consensus]\nplugin = \"unanimous\"\n\n[application]{after}")).unwrap();
    for node in &network.nodes {
        let text = std::fs::read_to_string(&node.config).unwrap();
        let changed = text.replacen("[consensus]\nplugin = \"poa\"", "[consensus]\nplugin = \"unanimous\"", 1);
        assert_ne!(text, changed);
        std::fs::write(&node.config, changed).unwrap();
        from_library(&node.config, "consensus", &library);
    }
    network.start_bootnode();
    (0..3).for_each(|at| network.spawn(at));
    (0..3).for_each(|at| network.answers(at));
    let mut writer = Writer::new(&genesis, 1);
    let first = submit(network.rpc(0), &writer.next());
    let receipt = network.final_everywhere(&[0, 1, 2], &first);
    // One is away: nothing becomes final, and everything does once it is back.
    network.kill(2);
    let height = network.height(0);
    let second = submit(network.rpc(0), &writer.next());
    eventually("the others see that it is gone", || {
        status(network.rpc(0)).filter(|status| status["peers"].as_array().is_some_and(|peers| peers.len() < 3))
    });
    assert!(is_final(network.rpc(0), &second).is_none() && network.height(0) <= height + 1);
    network.restart(2);
    network.final_everywhere(&[0, 1, 2], &second);
    network.assert_same_blocks(&[0, 1, 2]);

    let path = |name: &str| network.directory.path().join(name).display().to_string();
    let (file, export, genesis, library) =
        (path("receipt.json"), path("chain.export"), genesis.display().to_string(), library.display().to_string());
    std::fs::write(&file, receipt["receipt"].to_string()).unwrap();
    let arguments = ["export", "--rpc", network.rpc(1), &export];
    assert_eq!(crate::support::quorate(&arguments).0, Some(0));
    let data = path("imported");
    for arguments in [
        vec!["verify", "receipt", &file, "--genesis", &genesis],
        vec!["verify", &export, "--genesis", &genesis],
        vec!["import", &export, "--genesis", &genesis, "--data", &data],
        vec!["verify", "--data", &data, "--genesis", &genesis],
    ] {
        if arguments.get(1) != Some(&"--data") {
            let (code, told) = crate::support::quorate(&arguments);
            assert_eq!(code, Some(70), "{arguments:?}: {told}");
            assert!(told.contains("no consensus plugin `unanimous`") && told.contains("--library FILE"), "{told}");
        }
        let (code, told) = crate::support::quorate(&[&arguments[..], &["--library", &library]].concat());
        assert_eq!(code, Some(0), "{arguments:?}: {told}");
    }
    // Another library with no such plugin does not help.
    let kv = built("quorate_kv_dylib").display().to_string();
    assert_eq!(crate::support::quorate(&["verify", &export, "--library", &kv]).0, Some(70));
}

/// Has the plugin of a slot in a node's file come from a library.
fn from_library(config: &Path, slot: &str, library: &Path) {
    let text = std::fs::read_to_string(config).unwrap();
    let line = format!("[{slot}]\nlibrary = \"{}\"", library.display());
    let changed = text.replacen(&format!("[{slot}]"), &line, 1);
    assert_ne!(text, changed);
    std::fs::write(config, changed).unwrap();
}
