//! Where the tests' libraries are, and how those in C are built.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests may panic")]

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock},
};

use quorate::{
    ChainId, PublicKey, Settings, Validator, ValidatorSet,
    consensus::Context,
    plugin::{ApplicationPlugin, ConsensusPlugin, StoragePlugin, TransportPlugin},
};
use quorate_abi::{
    Slot,
    host::{self, Library, Provided},
};

/// A library of this workspace, which cargo built because the tests depend on its crate.
pub(crate) fn built(name: &str) -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let path = program.parent().unwrap().join(format!("lib{name}.so"));
    assert!(path.exists(), "{} was not built", path.display());
    path
}

/// A file of the tests' C code.
pub(crate) fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Compiles a C file to a library, with warnings denied.
pub(crate) fn compile(source: &Path, library: &Path, options: &[&str]) {
    let output = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1", "-g", "-fPIC", "-shared", "-I"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("include"))
        .args(options)
        .arg("-o")
        .arg(library)
        .arg(source)
        .output()
        .unwrap_or_else(|error| panic!("a C compiler `cc` is needed: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The library of plugins that fail.
pub(crate) fn faulty() -> Arc<Library> {
    static LIBRARY: OnceLock<Arc<Library>> = OnceLock::new();
    Arc::clone(LIBRARY.get_or_init(|| load(&built("quorate_faulty"))))
}

pub(crate) fn load(path: &Path) -> Arc<Library> {
    let file = path.file_name().unwrap().to_string_lossy();
    host::load(path, &file, None).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn consensus(library: &Library, name: &str) -> Arc<dyn ConsensusPlugin> {
    match library.plugin("", Slot::Consensus, name) {
        Ok(Provided::Consensus(plugin)) => plugin,
        _ => panic!("no consensus {name}"),
    }
}

pub(crate) fn storage(library: &Library, name: &str) -> Arc<dyn StoragePlugin> {
    match library.plugin("", Slot::Storage, name) {
        Ok(Provided::Storage(plugin)) => plugin,
        _ => panic!("no storage {name}"),
    }
}

pub(crate) fn application(library: &Library, name: &str) -> Arc<dyn ApplicationPlugin> {
    match library.plugin("", Slot::Application, name) {
        Ok(Provided::Application(plugin)) => plugin,
        _ => panic!("no application {name}"),
    }
}

pub(crate) fn transport(library: &Library, name: &str) -> Arc<dyn TransportPlugin> {
    match library.plugin("", Slot::Transport, name) {
        Ok(Provided::Transport(plugin)) => plugin,
        _ => panic!("no transport {name}"),
    }
}

/// A context of `count` validators.
pub(crate) fn context(count: u8, shared: &str, own: &str) -> Context {
    let one = |n: u8| Validator { name: format!("validator-{n}"), public_key: PublicKey::new([n; 32]) };
    Context {
        chain_id: ChainId::new([9; 32]),
        validators: ValidatorSet::new((1..=count).map(one).collect()).unwrap(),
        shared: Settings::from_text(shared),
        settings: Settings::from_text(own),
        seed: 5,
    }
}

/// Runs tests of this program under valgrind, if it is installed.
pub(crate) fn under_valgrind(tests: &[&str], environment: &[(&str, &str)]) {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("skipped: valgrind is not installed");
        return;
    }
    let output = Command::new("valgrind")
        .args(["--error-exitcode=99", "--leak-check=no", "--num-callers=30", "--quiet"])
        .arg(std::env::current_exe().unwrap())
        .args(["--test-threads=1", "--exact"])
        .args(tests)
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    assert!(out.contains(&format!("{} passed", tests.len())), "{out}");
}
