//! What a loaded plugin says of itself, and what happens while it is set up.

use std::time::Instant as Clock;

use quorate::{
    Settings,
    diagnostics::render,
    plugin::{ConsensusPlugin as _, SetupError},
};
use quorate_abi::host::SETUP_WAIT;

use crate::support::{self, consensus, context, faulty};

#[test]
fn a_loaded_plugin_says_of_itself_what_a_linked_one_says() {
    let library = faulty();
    let loaded = consensus(&library, "faulty").descriptor();
    assert_eq!(loaded, quorate_faulty::FaultyConsensus.descriptor());
    assert_eq!(loaded.promises, ["S1 agreement", "F1 determinism"]);
    let slots: Vec<_> = library.plugins.iter().map(|plugin| plugin.slot().as_str()).collect();
    assert_eq!(slots, ["consensus", "storage", "application", "transport"]);
}

#[test]
fn settings_errors_point_into_the_operators_file() {
    let plugin = consensus(&faulty(), "faulty");
    let text = "[node]\nname = \"a\"\n\n[consensus]\nplugin = \"faulty\"\nlibrary = \"x.so\"\nfualt = \"none\"\n";
    let settings = Settings::new("validator-1.toml", text, &["consensus"], &["plugin", "library", "sha256"]);
    let context = quorate::consensus::Context { settings, ..context(3, "", "") };
    let Err(SetupError::Settings(errors)) = plugin.check(&context) else { panic!() };
    let expected = "validator-1.toml:7:1: unknown key `fualt`\n  |\n7 | fualt = \"none\"\n  | ^^^^^\n  help: did you mean `fault`?";
    assert_eq!(render(&errors), expected);
    let report = plugin.check(&support::context(3, "", "")).unwrap();
    assert_eq!((report.tolerates.as_str(), report.warnings), ("nothing, of 3 validators", vec!["it fails".to_owned()]));
}

#[test]
fn a_plugin_that_fails_while_it_is_set_up_is_an_error() {
    let plugin = consensus(&faulty(), "faulty");
    let with = |fault: &str| context(3, "", &format!("fault = \"{fault}\""));
    let refused = plugin.build(&with("is refused")).err().unwrap().to_string();
    assert_eq!(refused, "the key file is empty");
    let panics = plugin.check(&with("panics in check")).unwrap_err().to_string();
    assert!(
        panics.starts_with(
            "`libquorate_faulty.so` panicked in check: planted in check (framework/abi/faulty/src/lib.rs:"
        ),
        "{panics}"
    );
    let began = Clock::now();
    let hangs = plugin.build(&with("hangs in create")).err().unwrap().to_string();
    assert_eq!(hangs, format!("`libquorate_faulty.so` did not return from create within {} s", SETUP_WAIT.as_secs()));
    assert!(began.elapsed() < SETUP_WAIT * 3);
    assert!(plugin.build(&with("none")).is_ok(), "what failed before does not matter to the next");
}
