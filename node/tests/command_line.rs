//! The command line as its users meet it: help, exit codes, files, output.

#![expect(clippy::unwrap_used, reason = "a test that can not go on fails")]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};

use clap::CommandFactory as _;
use quorate::Genesis;
use quorate_kernel::{config::Config, key::NodeKey, signer::guard_path};
use quorate_node::{
    cli::Cli,
    exit::{EXIT_CODES_HELP, Exit},
};

fn quorate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quorate")).args(arguments).env_remove("RUST_LOG").output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn init(directory: &Path, extra: &[&str]) -> Output {
    quorate(&[&["init", "--dir", directory.to_str().unwrap()], extra].concat())
}

#[test]
fn the_grammar_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_an_example_in_its_help() {
    fn visit(command: &clap::Command, path: &str) {
        for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
            let path = format!("{path} {}", inner.get_name());
            let help = inner.clone().render_long_help().to_string();
            assert!(help.contains("Example"), "{path} has no example");
            let name = path.split(' ').nth(1).unwrap();
            assert!(help.contains(&format!("quorate {name}")), "{path}: its example does not run it");
            visit(inner, &path);
        }
    }
    visit(&Cli::command(), "quorate");
    let help = quorate(&["--help"]);
    assert_eq!(code(&help), 0);
    assert!(stdout(&help).contains(EXIT_CODES_HELP));
}

#[test]
fn wrong_usage_is_2_says_what_was_meant_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        (vec!["devent"], "devnet"),
        (vec!["run"], "--config"),
        (vec!["init", "--dir", "x", "--validators", "0"], "1..=64"),
        (vec!["init", "--dir", "x", "--fault-model", "none"], "byzantine-sync"),
        (vec!["init", "--dir", "x", "--consensus", "tendermint"], "bft-tendermint"),
        (
            vec!["init", "--dir", "x", "--consensus", "bft-tendermint", "--delta-ms", "9"],
            "--delta-ms is an option of poa; bft-tendermint has no such setting",
        ),
        (vec!["verify"], "--data"),
        (vec!["verify", "a", "--rpc", "b"], "cannot be used with"),
        (vec!["plugin", "list", "--log-level", "loud=="], "--log-level"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
        let output = command.args(&arguments).env_remove("RUST_LOG").current_dir(folder.path()).output().unwrap();
        assert_eq!(code(&output), 2, "{arguments:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{arguments:?} left something behind");
        assert!(stderr(&output).contains(expected), "{arguments:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{arguments:?} wrote to stdout");
    }
}

#[test]
fn init_writes_a_network_that_parses_and_keeps_its_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let net = folder.path().join("net");
    let output = init(&net, &["--validators", "4", "--ports-from", "9100", "--block-interval-ms", "250"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));

    let genesis = Genesis::parse("g", &fs::read_to_string(net.join("genesis.toml")).unwrap()).unwrap();
    assert_eq!(genesis.validators().len(), 4);
    let settings: toml::Table = genesis.consensus_settings().parse().unwrap();
    assert_eq!(settings["block_interval_ms"].as_integer(), Some(250));
    assert_eq!(settings["fault_model"].as_str(), Some("byzantine"));
    assert!(genesis.time().0 > 1_700_000_000_000);

    for (name, role) in
        [("validator-1", "validator"), ("validator-4", "validator"), ("bootnode", "bootnode"), ("backend", "follower")]
    {
        let config = Config::load(&net.join(format!("{name}.toml")), &[]).unwrap();
        assert_eq!(config.node().name, name);
        assert_eq!(config.node().role.to_string(), role);
        let key = NodeKey::load(&config.node().key_file).unwrap();
        assert!(!key.is_development());
        let voting = role == "validator";
        assert_eq!(genesis.validators().index_of(&key.public_key()).is_some(), voting);
        assert_eq!(guard_path(&config.node().key_file).exists(), voting, "{name}'s guard");
    }
    for secret in ["admin.token", "keys/validator-1.key", "keys/validator-1.guard", "keys/bootnode.key"] {
        let mode = fs::metadata(net.join(secret)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{secret}");
    }
    let token = fs::read_to_string(net.join("admin.token")).unwrap();
    assert_eq!(hex::decode(token.trim()).unwrap().len(), 32);
    serde_json::from_str::<serde_json::Value>(&fs::read_to_string(net.join("node.schema.json")).unwrap()).unwrap();
}

#[test]
fn init_refuses_a_directory_that_holds_a_network() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(code(&init(folder.path(), &[])), 0);
    let before = fs::read(folder.path().join("keys/validator-1.key")).unwrap();
    let again = init(folder.path(), &[]);
    assert_eq!(code(&again), i32::from(Exit::Failed.code()));
    assert!(stderr(&again).contains("holds a network"), "{}", stderr(&again));
    assert_eq!(fs::read(folder.path().join("keys/validator-1.key")).unwrap(), before);
}

#[test]
fn every_key_in_the_generated_files_is_commented() {
    let folder = tempfile::tempdir().unwrap();
    init(folder.path(), &[]);
    for name in ["genesis.toml", "validator-1.toml", "bootnode.toml", "backend.toml"] {
        let text = fs::read_to_string(folder.path().join(name)).unwrap();
        let (mut commented, mut table_commented) = (false, false);
        // What is indented is part of a value.
        for line in text.lines().filter(|line| !line.starts_with("[[validator]]") && !line.starts_with(' ')) {
            if line.starts_with('[') {
                table_commented = commented;
            }
            let of_validator =
                name == "genesis.toml" && (line.starts_with("name =") || line.starts_with("public_key ="));
            // `plugin` says what the comment of its table says.
            if line.contains(" = ") && !line.starts_with('#') && !of_validator {
                let explained = commented || (line.starts_with("plugin") && table_commented);
                assert!(explained, "{name}: `{line}` has no comment");
            }
            commented = line.starts_with('#');
        }
    }
}

#[test]
fn a_bad_file_is_78_with_every_error_and_its_place() {
    let folder = tempfile::tempdir().unwrap();
    init(folder.path(), &[]);
    let path = folder.path().join("validator-1.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("key_file =", "key_fiel =").replace("role = \"validator\"", "role = \"king\""))
        .unwrap();
    for command in ["check", "run"] {
        let output = quorate(&[command, "--config", path.to_str().unwrap()]);
        assert_eq!(code(&output), 78, "{}", stderr(&output));
        let told = stderr(&output);
        assert!(told.contains("did you mean `key_file`?") && told.contains("king"), "{told}");
        assert!(told.contains("validator-1.toml:"), "{told}");
    }
    let missing = quorate(&["check", "--config", "no/such.toml"]);
    assert_eq!(code(&missing), 78);
}

#[test]
fn keys_are_made_once_shown_and_never_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.key");
    let name = path.to_str().unwrap();
    let made = quorate(&["key", "new", name, "--json"]);
    assert_eq!(code(&made), 0, "{}", stderr(&made));
    let shown: serde_json::Value = serde_json::from_slice(&quorate(&["key", "show", name, "--json"]).stdout).unwrap();
    assert_eq!(shown, serde_json::from_slice::<serde_json::Value>(&made.stdout).unwrap());
    assert_eq!(shown["guarded"], true);
    let seed = hex::encode(NodeKey::load(&path).unwrap().seed());
    assert!(!stdout(&quorate(&["key", "show", name])).contains(&seed));
    assert_eq!(code(&quorate(&["key", "new", name])), 1);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let readable = quorate(&["key", "show", name]);
    assert_eq!(code(&readable), 71);
    assert!(stderr(&readable).contains("chmod 600"));
}

#[test]
fn config_show_says_where_each_value_comes_from() {
    let folder = tempfile::tempdir().unwrap();
    init(folder.path(), &[]);
    let path = folder.path().join("validator-1.toml");
    let output = Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args(["config", "show", "--origin", "--config", path.to_str().unwrap()])
        .env("QUORATE__TRANSPORT__RPC_LISTEN", "127.0.0.1:9001")
        .output()
        .unwrap();
    let text = stdout(&output);
    let line = |key: &str| text.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key}: {text}"));
    assert!(line("transport.rpc_listen").contains("\"127.0.0.1:9001\""));
    assert!(line("transport.rpc_listen").ends_with("# environment QUORATE__TRANSPORT__RPC_LISTEN"));
    assert!(line("pool.count_max").ends_with("# default"));
    let number = fs::read_to_string(&path).unwrap().lines().position(|line| line.starts_with("role =")).unwrap() + 1;
    assert!(line("node.role").ends_with(&format!("validator-1.toml:{number}")));
}

#[test]
fn completions_and_the_manual_name_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = quorate(&["completions", shell]);
        assert_eq!(code(&output), 0);
        assert!(stdout(&output).contains("devnet"), "{shell}");
    }
    let manual = stdout(&quorate(&["man"]));
    for command in Cli::command().get_subcommands() {
        assert!(manual.contains(&format!("COMMAND {}", command.get_name().to_uppercase())), "{}", command.get_name());
    }
}

#[test]
fn devnet_names_the_port_in_use_and_its_node() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let from = (port - 1).to_string();
    let output = quorate(&["devnet", "--dir", folder.path().to_str().unwrap(), "--ports-from", &from]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains(&format!("127.0.0.1:{port} (clients of validator-1)")), "{}", stderr(&output));
    assert!(!folder.path().join("nodes.json").exists());
}

#[test]
fn a_gateway_beside_a_bootnode_is_told_what_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(code(&init(folder.path(), &["--ports-from", "9170"])), 0);
    let config = folder.path().join("bootnode.toml");
    let text = fs::read_to_string(&config).unwrap();
    let gateway =
        "[[service]]\nplugin = \"gateway\"\nlisten = \"127.0.0.1:9179\"\nbootnode = \"http://127.0.0.1:9170\"\n";
    fs::write(&config, format!("{text}\n{gateway}")).unwrap();
    let output = quorate(&["check", "--config", config.to_str().unwrap()]);
    assert_eq!(code(&output), 78, "{}", stderr(&output));
    assert!(stderr(&output).contains("the service `gateway` needs a node with a chain"), "{}", stderr(&output));
}

#[test]
fn init_writes_a_network_of_tendermint_that_checks() {
    let folder = tempfile::tempdir().unwrap();
    let net = folder.path().join("net");
    let options = ["--validators", "4", "--ports-from", "9150", "--consensus", "bft-tendermint"];
    let output = init(&net, &options);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    for name in ["validator-1", "backend"] {
        let config = net.join(format!("{name}.toml"));
        let output = quorate(&["check", "--config", config.to_str().unwrap(), "--json"]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        assert!(stdout(&output).contains("4 validators, 3 must agree: 1 may be stopped or dishonest"), "{name}");
    }
}

#[test]
fn devnet_refuses_options_that_its_network_does_not_have() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().to_str().unwrap();
    assert_eq!(code(&init(folder.path(), &["--ports-from", "9400"])), 0);
    for option in [
        ["--validators", "4"],
        ["--block-interval-ms", "1"],
        ["--ports-from", "9500"],
        ["--fault-model", "crash"],
        ["--consensus", "bft-tendermint"],
    ] {
        let output = quorate(&[&["devnet", "--dir", directory], option.as_slice()].concat());
        assert_eq!(code(&output), 2, "{option:?}");
        assert!(stderr(&output).contains("--fresh"), "{}", stderr(&output));
    }
}

#[test]
fn a_silent_node_is_told_in_status() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let output = quorate(&["status", "--rpc", &url]);
    assert_eq!(code(&output), 1);
    assert!(stdout(&output).contains("silent"), "{}", stdout(&output));
    assert!(stderr(&output).contains("1 of 1 nodes did not answer"));
}

#[test]
fn a_closed_pipe_is_the_end_of_interest_and_no_failure() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_quorate"))
        .arg("man")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(output.stderr.is_empty(), "{}", stderr(&output));
}

/// `quorate init --development --dir node-configs` in an empty folder makes them anew.
#[test]
fn the_shipped_configs_are_what_init_writes_with_development_keys() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../node-configs");
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(code(&init(folder.path(), &["--development"])), 0);
    let mut names = Vec::new();
    for directory in [folder.path().to_owned(), folder.path().join("keys")] {
        for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_file() && !entry.ends_with(".lock") {
                names.push(entry.strip_prefix(folder.path()).unwrap().to_owned());
            }
        }
    }
    assert_eq!(names.len(), 7 + 6, "{names:?}");
    for name in names {
        let text =
            fs::read_to_string(shipped.join(&name)).unwrap_or_else(|error| panic!("{}: {error}", name.display()));
        let written = fs::read_to_string(folder.path().join(&name)).unwrap();
        assert!(
            text == written,
            "node-configs/{} differs from what init writes; make it anew: rm -r node-configs; quorate init --development --dir node-configs",
            name.display()
        );
    }
}
