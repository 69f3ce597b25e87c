//! `quorate plugin test`: what an author is told of a plugin, whatever it does to the process that tries it.

#![expect(clippy::unwrap_used, reason = "a test that can not go on fails")]

use std::{
    path::PathBuf,
    process::{Command, Output},
    time::{Duration, Instant},
};

use serde_json::Value;

const QUORATE: &str = env!("CARGO_BIN_EXE_quorate");

/// A library of this workspace, which cargo built because the tests depend on its crate.
fn built(name: &str) -> String {
    let path = std::env::current_exe().unwrap().parent().unwrap().join(format!("lib{name}.so"));
    assert!(path.exists(), "{} was not built", path.display());
    path.display().to_string()
}

fn test(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output: Output =
        Command::new(QUORATE).args(["plugin", "test"]).args(arguments).env_remove("RUST_LOG").output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Node settings of the faulty plugin.
fn fault(folder: &tempfile::TempDir, how: &str) -> String {
    let path: PathBuf = folder.path().join("node.toml");
    std::fs::write(&path, format!("fault = \"{how}\"\n")).unwrap();
    path.display().to_string()
}

#[test]
fn a_library_and_the_same_plugin_linked_in_keep_every_rule() {
    for library in ["poa", &built("quorate_poa_dylib")] {
        let (code, said, told) = test(&[library, "--seed", "3"]);
        assert_eq!(code, Some(0), "{said}{told}");
        assert!(said.contains("consensus plugin `poa`"), "{said}");
        assert!(said.contains("held            in the simulator nothing goes wrong"), "{said}");
        assert!(said.contains("19 rules held, 0 broken, 0 do not apply"), "{said}");
    }
}

#[test]
fn a_store_is_killed_in_processes_of_its_own() {
    let rules =
        ["a store in use is locked", "a killed writer loses nothing acknowledged", "a full disk takes nothing back"];
    let library = built("quorate_storage_redb_dylib");
    for library in ["redb", &library] {
        let mut arguments = vec![library];
        rules.iter().for_each(|rule| arguments.extend(["--rule", rule]));
        let (code, said, told) = test(&arguments);
        assert_eq!(code, Some(0), "{said}{told}");
        assert!(said.contains("3 rules held, 0 broken, 0 do not apply"), "{said}");
    }
    let (_, said, _) = test(&["redb", "--volatile", "--rule", rules[0]]);
    assert!(
        said.contains("does not apply  a store in use is locked: the store does not outlive its process"),
        "{said}"
    );
}

#[test]
fn what_is_broken_is_told_with_the_sentence_and_how_to_see_it_again() {
    let library = built("quorate_faulty");
    let (code, said, told) = test(&[&library, "--slot", "consensus"]);
    assert_eq!(code, Some(1), "{said}{told}");
    for part in [
        "broken          bytes that are no evidence accuse nobody\n    the contract  \"What `evidence` proves, `validators` being those \
         of its height.\" (framework/api/src/consensus.rs)",
        "what was seen in a network without faults nothing became final",
        "--slot consensus --rule 'a proof shows one block of one network' --seed 1",
        "held            no message makes it panic",
    ] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    assert!(told.contains("error: 4 rules are broken"), "{told}");
}

#[test]
fn a_plugin_that_ends_its_process_breaks_the_rule_and_the_next_is_tried() {
    let folder = tempfile::tempdir().unwrap();
    let settings = fault(&folder, "aborts in create");
    let next = "it says what the network tolerates";
    let rules = ["--rule", "two engines share nothing", "--rule", next];
    let library = built("quorate_faulty");
    let (code, said, told) =
        test(&[&[&library, "--slot", "consensus", "--node-settings", &settings, "--json"], &rules[..]].concat());
    assert_eq!(code, Some(1), "{said}{told}");
    let reports: Value = serde_json::from_str(&said).unwrap();
    let findings = reports[0]["findings"].as_array().unwrap();
    assert_eq!((&findings[0]["rule"], &findings[0]["outcome"]), (&next.into(), &"held".into()), "{said}");
    assert_eq!(findings[1]["outcome"], "broken");
    let detail = findings[1]["detail"].as_str().unwrap();
    assert!(detail.contains("the process of the plugin ended (SIGABRT, 6)"), "{detail}");
    assert!(findings[1]["contract"].as_str().unwrap().starts_with("Two objects that it makes share nothing"));
}

#[test]
fn a_plugin_that_hangs_breaks_the_rule_in_a_bounded_time() {
    let folder = tempfile::tempdir().unwrap();
    let settings = fault(&folder, "hangs in status");
    let rule = "a step does not block";
    let began = Instant::now();
    let library = built("quorate_faulty");
    let (code, said, told) =
        test(&[&library, "--slot", "consensus", "--node-settings", &settings, "--rule", rule, "--rule-wait-s", "2"]);
    assert_eq!(code, Some(1), "{said}{told}");
    assert!(said.contains("it did not end within 2 s, and was killed"), "{said}");
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[test]
fn transactions_make_the_rules_of_an_application_apply() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("transactions.txt");
    let chain = quorate::ChainId::new([0xc0; 32]);
    let lines = (0..6).map(|nonce| {
        let put = quorate_kv::Put::sign(&[1; 32], &chain, nonce, b"key", b"value");
        format!("0x{}\n", hex::encode(put))
    });
    std::fs::write(&file, lines.collect::<String>()).unwrap();
    let rules = ["--rule", "a block executed again does the same", "--rule", "queries are answered in JSON"];
    let (code, said, told) = test(&[&["kv"], &rules[..]].concat());
    assert_eq!(code, Some(0), "{said}{told}");
    assert!(said.contains("a block executed again does the same: no transactions were given to try it with"), "{said}");
    let given = ["kv", "--transactions", file.to_str().unwrap(), "--query", "app_hash"];
    let (code, said, told) = test(&[&given, &rules[..]].concat());
    assert_eq!(code, Some(0), "{said}{told}");
    assert!(said.contains("2 rules held, 0 broken, 0 do not apply"), "{said}");
    std::fs::write(&file, "0x00\nnothing\n").unwrap();
    let (code, _, told) = test(&given);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("transactions.txt:2: not 0x and hexadecimal digits"), "{told}");
}

#[test]
fn what_can_not_be_tried_is_said_before_anything_is() {
    let library = built("quorate_faulty");
    for (arguments, code, expected) in [
        (vec!["./none.so"], 70, "plugin library `./none.so`: file not found"),
        (vec!["none"], 70, "there is no file `none`, and this program has no plugin of that name"),
        (vec![&library, "--plugin", "mine"], 70, "has no plugin `mine`; it provides consensus plugin `faulty`"),
        (vec![&library, "--slot", "service"], 70, "has no service plugin; it provides consensus plugin `faulty`"),
        (vec![&library, "--slot", "engine"], 2, "one of: consensus, storage"),
        (
            vec!["poa", "--rule", "none"],
            2,
            "there is no rule \"none\"; the rules are:\n  the descriptor says who it is",
        ),
        (vec!["poa", "--validators", "3", "--settings", "none.toml"], 1, "none.toml"),
    ] {
        let (found, said, told) = test(&arguments);
        assert_eq!(found, Some(code), "{arguments:?}: {said}{told}");
        assert!(told.contains(expected), "{expected} is not in\n{told}");
        assert_eq!(said, "");
    }
}
