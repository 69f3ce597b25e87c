//! Every way in which a library can't be loaded is an error that names the file, what was found and what was expected.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests may panic")]
#![expect(dead_code, reason = "not every test file uses all of the support")]

mod support;

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use quorate::{Hash, plugin::SetupError};
use quorate_abi::{
    Slot,
    host::{self, Provided},
};
use support::{built, compile, context, source};

struct Folder(tempfile::TempDir, AtomicU32);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap(), AtomicU32::new(0))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The odd library with these definitions.
    fn odd(&self, definitions: &[&str]) -> PathBuf {
        let library = self.path(&format!("odd-{}.so", self.1.fetch_add(1, Ordering::Relaxed)));
        compile(&source("tests/c/odd.c"), &library, definitions);
        library
    }

    fn error(&self, definitions: &[&str]) -> String {
        error(&self.odd(definitions))
    }
}

fn error(path: &Path) -> String {
    match host::load(path, "./x.so", None) {
        Ok(_) => panic!("loaded"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_file_that_is_no_library_is_told_from_one_that_is() {
    let folder = Folder::new();
    let at = |name: &str, bytes: &[u8]| {
        let path = folder.path(name);
        std::fs::write(&path, bytes).unwrap();
        error(&path)
    };
    let whole = std::fs::read(built("quorate_faulty")).unwrap();
    assert_eq!(error(&folder.path("none.so")), "plugin library `./x.so`: file not found");
    assert_eq!(error(folder.0.path()), "plugin library `./x.so`: is not a shared library");
    assert_eq!(at("notes.so", b"shopping list"), "plugin library `./x.so`: is not a shared library");
    assert_eq!(at("empty.so", b""), "plugin library `./x.so`: is not a shared library");
    let cut = at("cut.so", &whole[..100_000]);
    assert!(
        cut.starts_with("plugin library `./x.so`: is truncated: 100000 bytes on disk, its headers promise"),
        "{cut}"
    );
    let mut foreign = whole.clone();
    foreign[18..20].copy_from_slice(&22u16.to_le_bytes());
    let (here, foreign) = (std::env::consts::ARCH, at("s390x.so", &foreign));
    assert_eq!(foreign, format!("plugin library `./x.so`: was built for s390x, this node runs on {here}"));
}

#[test]
fn the_systems_own_words_are_told() {
    let error = Folder::new().error(&["-DUNDEFINED"]);
    assert!(
        error.starts_with("plugin library `./x.so`: the system loader refused it: ") && error.contains("missing_dep"),
        "{error}"
    );
}

#[test]
fn a_library_of_another_kind_or_abi_is_refused_before_anything_in_it_is_called() {
    let folder = Folder::new();
    let refused = |definitions: &[&str], why: &str| {
        assert_eq!(folder.error(definitions), format!("plugin library `./x.so`: {why}"));
    };
    refused(
        &["-DNO_SYMBOL"],
        "exports no symbol `QUORATE_PLUGIN`, so it is not a Quorate plugin (is the export line missing?)",
    );
    refused(
        &["-DNO_MAGIC"],
        "its symbol `QUORATE_PLUGIN` is not a Quorate plugin's: it begins with [45, 4c, 53, 45, 2e, 2e, 2e, 00]",
    );
    refused(&["-DMAJOR=0"], "speaks plugin ABI 0.0, this node speaks 1.0; rebuild the plugin against ABI 1");
    let newer = "this node speaks 1.0; use a newer node, or build the plugin against ABI 1.0";
    refused(&["-DMAJOR=7"], &format!("speaks plugin ABI 7.0, {newer}"));
    refused(&["-DMINOR=9"], &format!("speaks plugin ABI 1.9, {newer}"));
    refused(
        &["-DFLAGS=1"],
        "was built with panic = \"abort\", so that its panics would end the node; build it with panic = \"unwind\"",
    );
    refused(&["-DSIZE=24"], "declares a library of 24 bytes; it has 64");
    refused(&["-DCOUNT=0"], "declares 0 plugins of 24 bytes each; there are 1 to 32");
    refused(&["-DCOUNT=9999999"], "declares 9999999 plugins of 24 bytes each; there are 1 to 32");
    refused(&["-DCOUNT=2"], "declares two consensus plugins `odd`");
    refused(&["-DSLOT=99"], "declares a plugin for slot 99, which is none");
    refused(&["-DWITHOUT_STEP"], "declares no function `step` of its consensus plugin");
    refused(&["-DNAME=\"\""], "declares a plugin named \"\"; a name has 1 to 64 bytes");
    refused(&["-DNAME=\"\\xff\""], "declares a name that is not UTF-8: invalid utf-8 sequence of 1 bytes from index 0");
}

#[test]
fn a_library_that_fails_while_it_is_loaded_is_told_with_its_words() {
    let folder = Folder::new();
    assert_eq!(
        folder.error(&["-DFAILS_TO_START"]),
        "plugin library `./x.so`: panicked in start: there is no licence file"
    );
    assert_eq!(
        folder.error(&["-DODD_STATUS"]),
        "plugin library `./x.so`: returned rubbish from describe: the status 77"
    );
}

#[test]
fn a_library_that_hangs_while_it_is_loaded_does_not_hang_the_node() {
    let began = Instant::now();
    let folder = Folder::new();
    let wait = host::SETUP_WAIT.as_secs();
    let expected = format!("plugin library `./x.so`: did not return from load within {wait} s");
    assert_eq!(folder.error(&["-DHANGS_IN_DESCRIBE"]), expected);
    assert!(began.elapsed() < host::SETUP_WAIT + Duration::from_secs(30));
}

#[test]
fn a_library_is_asked_for_a_slot_and_a_name_that_it_has() {
    let folder = Folder::new();
    let library = host::load(&folder.odd(&[]), "./x.so", None).unwrap_or_else(|error| panic!("{error}"));
    let refused = |slot, name| library.plugin("./x.so", slot, name).err().unwrap().to_string();
    assert_eq!(
        refused(Slot::Storage, "odd"),
        "plugin library `./x.so`: provides consensus plugin `odd`, but [storage] needs a storage plugin"
    );
    assert_eq!(
        refused(Slot::Consensus, "mine"),
        "plugin library `./x.so`: provides consensus plugin `odd`, but no consensus plugin `mine`"
    );
    assert_eq!((library.build.as_str(), library.abi), ("a test", (1, 0)));
}

#[test]
fn a_plugin_that_answers_rubbish_is_named_with_its_file() {
    let folder = Folder::new();
    let library = host::load(&folder.odd(&["-DNAME=\"rubbish\""]), "./x.so", None).unwrap();
    let Ok(Provided::Consensus(plugin)) = library.plugin("./x.so", Slot::Consensus, "rubbish") else { panic!() };
    let words = |error: SetupError| error.to_string();
    let check = words(plugin.check(&context(1, "", "")).unwrap_err());
    assert!(check.starts_with("`./x.so` returned rubbish from check: ConsensusReport: "), "{check}");
    let made = plugin.build(&context(1, "", "")).err().map(words).unwrap();
    assert_eq!(made, "`./x.so` returned rubbish from create: no object");
}

#[test]
fn a_pinned_library_is_loaded_only_with_its_hash() {
    let path = built("quorate_poa_dylib");
    let hash = Hash::of(&[&std::fs::read(&path).unwrap()]);
    let wrong = Hash::of(&[b"another"]);
    let error = host::load(&path, "./x.so", Some(&wrong)).err().unwrap().to_string();
    assert_eq!(error, format!("plugin library `./x.so`: has the SHA-256 {hash}, the configuration says {wrong}"));
    let library = host::load(&path, "./x.so", Some(&hash)).unwrap();
    assert_eq!(library.sha256, hash);
    assert!(std::sync::Arc::ptr_eq(&library, &host::load(&path, "again.so", None).unwrap()), "a file is loaded once");
}

/// The system's loader gives what it has under a path, whatever the file is by now.
#[test]
fn a_loaded_file_that_changed_is_noticed() {
    let folder = Folder::new();
    let (path, next) = (folder.odd(&["-DNAME=\"first\""]), folder.odd(&["-DNAME=\"second\""]));
    host::load(&path, "./x.so", None).unwrap();
    std::fs::rename(&next, &path).unwrap();
    let changed = "plugin library `./x.so`: was changed after this process loaded it: start the process again, and replace a library only by \
        renaming a new file over it";
    assert_eq!(error(&path), changed);
    let path = folder.odd(&["-DNAME=\"third\""]);
    host::load(&path, "./x.so", None).unwrap();
    // Only added to: what is mapped stays as it is.
    let file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    std::io::Write::write_all(&mut &file, &[0]).unwrap();
    assert_eq!(error(&path), changed);
}

/// What the system refused it keeps nothing of; it was once taken for loaded, and whatever came into its place for changed.
#[test]
fn a_library_that_the_system_refused_may_be_replaced() {
    let folder = Folder::new();
    let (path, next) = (folder.odd(&["-DUNDEFINED"]), folder.odd(&["-DNAME=\"good\""]));
    assert!(error(&path).contains("missing_dep"));
    std::fs::rename(&next, &path).unwrap();
    host::load(&path, "./x.so", None).unwrap();
}
