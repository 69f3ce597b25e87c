//! `quorate sim` as its users meet it: what it finds, how it says so, and that it can be run again.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that can not go on fails")]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

fn sim(arguments: &[&str]) -> Output {
    let command =
        Command::new(env!("CARGO_BIN_EXE_quorate")).arg("sim").args(arguments).env_remove("RUST_LOG").output();
    command.unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

const CRASH: [&str; 6] = ["--consensus", "poa", "--fault-model", "crash", "--nodes", "3"];

#[test]
fn nothing_is_wrong_inside_the_promise_whatever_the_threads() {
    let on = |threads: &str| {
        let output = sim(&[&CRASH[..], &["--seeds", "13", "--threads", threads, "--json"]].concat());
        assert_eq!(code(&output), 0, "{}", String::from_utf8_lossy(&output.stderr));
        json(&output)
    };
    let (one, two) = (on("1"), on("2"));
    assert_eq!(one["schedules"], 13);
    assert!(one["violation"].is_null());
    assert!(one["counters"]["blocks committed by engines"].as_u64().unwrap() > 0);
    assert!(one["tolerates"].as_str().unwrap().contains("1 may stop at any time"));
    for key in ["fingerprint", "counters", "steps", "not_met"] {
        assert_eq!(one[key], two[key], "{key}");
    }
}

#[test]
fn a_violation_is_shrunk_drawn_and_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let (page, file) = (folder.path().join("t.html"), folder.path().join("s.json"));
    let (page_name, file_name) = (page.to_str().unwrap(), file.to_str().unwrap());
    let beyond = [&CRASH[..], &["--scenario", "beyond-dishonest"]].concat();
    let output = sim(&[&beyond[..], &["--timeline", page_name, "--schedule-out", file_name, "--json"]].concat());
    assert_eq!(code(&output), 1);
    let found = json(&output)["violation"].clone();
    let invariant = found["invariant"].as_str().unwrap();
    assert!(["S1 agreement", "S2 strong finality", "S3 certificate uniqueness"].contains(&invariant), "{invariant}");
    assert!(String::from_utf8_lossy(&output.stderr).contains(invariant));
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("class=\"violation\"") && page.contains("k-Prepare") && !page.contains("://"));

    // The schedule from its file.
    let again = sim(&["--schedule", file_name, "--json"]);
    assert_eq!(code(&again), 1);
    let again = json(&again);
    assert_eq!(again["violation"]["detail"], found["detail"]);
    assert_eq!(again["timeline"], found["timeline"]);

    // The seed by the command that was printed.
    let seed = found["seed"].to_string();
    let by_seed = sim(&[&beyond[..], &["--seed", &seed, "--json"]].concat());
    assert_eq!(json(&by_seed)["violation"], found);
    assert!(found["replay"].as_str().unwrap().ends_with(&format!("--scenario beyond-dishonest --seed {seed}")));
    let told = sim(&[&beyond[..], &["--seed", &seed]].concat());
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("Proposal r0") && told.contains("VIOLATION"), "{told}");
}

#[test]
fn every_consensus_can_be_tortured_but_one_that_only_watches() {
    let solo = sim(&["--consensus", "solo", "--seeds", "24", "--json"]);
    assert_eq!(code(&solo), 0, "{}", String::from_utf8_lossy(&solo.stdout));
    assert_eq!(json(&solo)["validators"], 1);
    let follower = sim(&["--consensus", "follower"]);
    assert_eq!(code(&follower), 2);
    assert!(String::from_utf8_lossy(&follower.stderr).contains("only watches"));
}

#[test]
fn settings_come_from_a_file_or_a_genesis() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("own.toml");
    let settings = "fault_model = \"byzantine\"\nblock_interval_ms = 300\nblock_transactions_max = 4\n\
                    block_bytes_max = 65536\ndelta_ms = 100\nempty_blocks = \"never\"\n";
    fs::write(&own, settings).unwrap();
    let run = |file: &std::path::Path, more: &[&str]| {
        let file = file.to_str().unwrap();
        sim(&[&["--consensus", "poa", "--settings", file, "--seeds", "2", "--json"], more].concat())
    };
    let output = run(&own, &["--validators", "4", "--scenario", "twins"]);
    assert_eq!(code(&output), 0, "{}", String::from_utf8_lossy(&output.stdout));
    assert!(json(&output)["tolerates"].as_str().unwrap().contains("however slow the network is"));
    let genesis = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../node-configs/genesis.toml");
    let output = run(&genesis, &["--scenario", "calm"]);
    assert_eq!(code(&output), 0, "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(json(&output)["validators"], 3);
}

#[test]
fn wrong_usage_is_2_and_says_what_was_meant() {
    for (arguments, expected) in [
        (vec![], "--consensus"),
        (vec!["--consensus", "poa", "--fault-model", "none"], "byzantine-sync"),
        (vec!["--consensus", "poa", "--scenario", "storms"], "power-cuts"),
        (vec!["--consensus", "poa", "--fault-model", "crash", "--scenario", "twins"], "does not apply"),
        (vec!["--consensus", "poa", "--seed", "1", "--seeds", "2"], "cannot be used with"),
        (vec!["--consensus", "solo", "--validators", "3"], "for one validator"),
    ] {
        let output = sim(&arguments);
        assert_eq!(code(&output), 2, "{arguments:?}");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
    }
    let unknown = sim(&["--consensus", "raft"]);
    assert_eq!(code(&unknown), 70);
}

/// A library of this workspace, which cargo built because the tests depend on its crate.
fn built(name: &str) -> String {
    let path = std::env::current_exe().unwrap().parent().unwrap().join(format!("lib{name}.so"));
    assert!(path.exists(), "{} was not built", path.display());
    path.display().to_string()
}

#[test]
fn a_consensus_from_a_library_takes_the_same_steps_as_the_one_linked_in() {
    let library = built("quorate_poa_dylib");
    let with = |consensus: &str| {
        let output = sim(&["--consensus", consensus, "--fault-model", "crash", "--seeds", "26", "--json"]);
        assert_eq!(code(&output), 0, "{}", String::from_utf8_lossy(&output.stderr));
        json(&output)
    };
    let (linked, loaded) = (with("poa"), with(&library));
    for key in ["fingerprint", "counters", "steps", "not_met", "consensus", "tolerates", "scenarios"] {
        assert_eq!(linked[key], loaded[key], "{key}");
    }
    assert_eq!((&linked["library"], loaded["library"].as_str()), (&Value::Null, Some(library.as_str())));
}

#[test]
fn a_librarys_violation_is_told_in_its_words_and_run_again() {
    let folder = tempfile::tempdir().unwrap();
    // As an author has it: a path from where the program runs.
    std::os::unix::fs::symlink(built("quorate_poa_dylib"), folder.path().join("libmine.so")).unwrap();
    let in_folder = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
        command.arg("sim").args(arguments).current_dir(folder.path()).env_remove("RUST_LOG").output().unwrap()
    };
    let asked = ["--consensus", "./libmine.so", "--plugin", "poa", "--fault-model", "crash"];
    let beyond = [&asked[..], &["--scenario", "beyond-dishonest"]].concat();
    let output = in_folder(&[&beyond[..], &["--schedule-out", "s.json", "--json"]].concat());
    assert_eq!(code(&output), 1, "{}", String::from_utf8_lossy(&output.stderr));
    let found = json(&output)["violation"].clone();
    assert!(found["timeline"].to_string().contains("Proposal r0"), "{found}");
    let replay = found["replay"].as_str().unwrap();
    assert!(replay.starts_with("quorate sim --consensus ./libmine.so --plugin poa --fault-model crash"), "{replay}");
    let words: Vec<&str> = replay.split(' ').skip(2).collect();
    assert_eq!(json(&in_folder(&[&words[..], &["--json"]].concat()))["violation"], found);
    let schedule: Value = serde_json::from_str(&fs::read_to_string(folder.path().join("s.json")).unwrap()).unwrap();
    assert_eq!((schedule["consensus"].as_str(), schedule["library"].as_str()), (Some("poa"), Some("./libmine.so")));
    // By the library that the schedule names, and by another build of the consensus.
    for instead in [&[][..], &["--consensus", "poa"][..]] {
        let again = in_folder(&[&["--schedule", "s.json", "--json"][..], instead].concat());
        assert_eq!(code(&again), 1, "{}", String::from_utf8_lossy(&again.stderr));
        assert_eq!(json(&again)["timeline"], found["timeline"]);
    }
    fs::remove_file(folder.path().join("libmine.so")).unwrap();
    let gone = in_folder(&["--schedule", "s.json"]);
    assert_eq!(code(&gone), 70);
    assert!(String::from_utf8_lossy(&gone.stderr).contains("plugin library `./libmine.so`: file not found"));
}

#[test]
fn a_library_that_fails_is_named_whatever_it_was_asked() {
    let library = built("quorate_faulty");
    let folder = tempfile::tempdir().unwrap();
    let failing = |fault: &str| {
        let settings = folder.path().join("settings.toml");
        fs::write(&settings, format!("fault = \"{fault}\"\n")).unwrap();
        sim(&["--consensus", &library, "--settings", settings.to_str().unwrap(), "--seeds", "3", "--json"])
    };
    // While it runs it is a violation like any other, with its story.
    let output = failing("panics in step");
    assert_eq!(code(&output), 1);
    let found = json(&output)["violation"].clone();
    assert_eq!(found["invariant"], "H1 halt");
    let detail = found["detail"].as_str().unwrap();
    let panicked = format!("plugin `faulty` of `{library}` panicked in step: planted in step");
    assert!(detail.contains(&panicked), "{detail}");
    assert!(found["timeline"].to_string().contains("panicked in step"), "{found}");
    for (fault, expected, exit) in [
        ("panics in check", "panicked in check: planted in check", 2),
        ("panics in create", "panicked in create: planted in create", 1),
        ("is refused", "the key file is empty", 1),
    ] {
        let output = failing(fault);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(code(&output), exit, "{stderr}");
        assert!(stderr.contains(expected) && stderr.contains(&library), "{fault}: {stderr}");
    }
    assert!(String::from_utf8_lossy(&failing("panics in promise").stderr).contains("panicked in promise"));
}

#[test]
fn a_library_that_can_not_be_used_is_named_with_what_it_has() {
    let (kv, poa) = (built("quorate_kv_dylib"), built("quorate_poa_dylib"));
    for (arguments, exit, expected) in [
        (vec!["--consensus", "./none.so"], 70, "plugin library `./none.so`: file not found"),
        (vec!["--consensus", "none.so"], 70, "plugin library `none.so`: file not found"),
        (vec!["--consensus", kv.as_str()], 70, "provides application plugin `kv`"),
        (vec!["--consensus", poa.as_str(), "--plugin", "mine"], 70, "provides consensus plugin `poa`"),
        (vec!["--consensus", "poa", "--plugin", "poa"], 2, "`poa` is a name, not a path"),
        (vec!["--consensus", "mine"], 70, "named by its path, such as ./libmine.so"),
    ] {
        assert!(!Path::new("none.so").exists());
        let output = sim(&arguments);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(code(&output), exit, "{arguments:?}: {stderr}");
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
    }
}

/// What docs/plugin-guide.md shows: the example keeps its promise, and without its one line about a crash it does not.
#[test]
fn an_outsiders_consensus_is_broken_on_purpose_and_the_timeline_shows_where() {
    let whole = sim(&["--consensus", &built("quorate_unanimous"), "--seeds", "44"]);
    assert_eq!(code(&whole), 0, "{}", String::from_utf8_lossy(&whole.stdout));
    let output = sim(&["--consensus", &built("quorate_unanimous_broken"), "--seeds", "44"]);
    assert_eq!(code(&output), 1);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let (_, timeline) = told.split_once("timeline in virtual ms, the last fault and the end:").unwrap();
    // It says how it came about, in this order.
    let mut rest = timeline;
    for part in ["signs kind 1 h", "FAULT", "DIES", "with no record", "is refused a signature", "VIOLATION L2 progress"]
    {
        (_, rest) = rest.split_once(part).unwrap_or_else(|| panic!("`{part}` does not follow in\n{told}"));
    }
    assert!(told.contains("run again: quorate sim --consensus"), "{told}");
    // The guide shows this very output.
    let guide = include_str!("../../docs/plugin-guide.md");
    let blocks = guide.split("```text\n").skip(1).map(|block| block.split("```").next().unwrap());
    let lines: Vec<&str> = blocks.flat_map(str::lines).collect();
    assert!(lines.len() > 10, "{lines:?}");
    for line in lines {
        assert!(told.lines().any(|known| known.trim() == line.trim()), "the guide shows `{line}`, but it said\n{told}");
    }
}

/// The networks that `sim latency` tells of.
fn latencies(arguments: &[&str]) -> Vec<Value> {
    let output = sim(&[&["latency", "--consensus", "poa", "--blocks", "20", "--json"], arguments].concat());
    assert_eq!(code(&output), 0, "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    json(&output)["networks"].as_array().unwrap().clone()
}

fn number(of: &Value, key: &str) -> f64 {
    of[key].as_f64().unwrap_or_else(|| panic!("{key}: {of}"))
}

#[test]
fn latency_is_that_of_the_hops_and_the_same_for_a_seed() {
    let with_seed = |seed: &str| {
        let models = ["--fault-model", "crash,byzantine,byzantine-sync", "--validators", "3,7"];
        let asked = [&models[..], &["--delays", "10-80", "--transactions", "1,64", "--seed", seed]].concat();
        let output = sim(&[&["latency", "--consensus", "poa", "--blocks", "20", "--json"], asked.as_slice()].concat());
        assert_eq!(code(&output), 0, "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let first = with_seed("1");
    assert_eq!(first, with_seed("1"), "a seed gives the same bytes");
    assert_ne!(first, with_seed("2"));
    let told: Value = serde_json::from_slice(&first).unwrap();
    let networks = told["networks"].as_array().unwrap();
    assert_eq!(networks.len(), 3 * 2 * 2);
    for network in networks {
        if network["block_transactions"] == 1 {
            let (found, hops) = (number(network, "p50_ms"), number(network, "hops_p50_ms"));
            assert!((found - hops).abs() < 0.01, "{network}");
            assert_eq!(network["transactions"], network["blocks"], "{network}");
        } else {
            assert_eq!(network["transactions"].as_u64(), Some(20 * 64), "a block is not full: {network}");
        }
        assert!(number(network, "messages_per_block") > 1.0 && number(network, "bytes_per_block") > 100.0, "{network}");
        assert_eq!(network["later_rounds"], 0, "{network}");
    }
}

/// Where all delays are the same, a transaction at another validator than the leader takes four of them, and Delta where the model waits for it.
#[test]
fn each_part_of_a_networks_latency_can_be_seen() {
    let one = |arguments: &[&str]| {
        let asked = [&["--validators", "4", "--delays", "10", "--transactions", "1"], arguments].concat();
        latencies(&asked).remove(0)
    };
    let takes = |arguments: &[&str], ms: f64| {
        let network = one(arguments);
        assert!((number(&network, "p99_ms") - ms).abs() < 0.01, "{ms} ms: {network}");
    };
    takes(&["--fault-model", "byzantine"], 40.0);
    takes(&["--fault-model", "byzantine-sync", "--delta-ms", "100"], 140.0);
    takes(&["--disk-ms", "5"], 40.0 + 4.0 * 5.0);
    let lost = one(&["--loss-permille", "50"]);
    assert!(number(&lost, "p99_ms") >= 240.0, "{lost}");
    let full = |arguments: &[&str]| {
        let asked = [&["--validators", "4", "--delays", "10", "--transactions", "256"], arguments].concat();
        latencies(&asked).remove(0)
    };
    let (wide, narrow) = (full(&[]), full(&["--bandwidth-mbit", "20"]));
    assert!(number(&narrow, "blocks_per_s") < 0.7 * number(&wide, "blocks_per_s"), "{narrow} {wide}");
    // What was sent went over the line: no more than 20 Mbit a second of each, and most by the one whose turn it is.
    let sent = number(&narrow, "bytes_per_block") * number(&narrow, "blocks_per_s") * 8.0 / 1e6;
    assert!((5.0..21.0).contains(&sent), "{sent} Mbit/s: {narrow}");
}

/// A round of the one that is gone ends by timeouts of the others, at once; nobody waits for it.
#[test]
fn with_one_stopped_its_turns_are_passed_over() {
    let asked = ["--validators", "3,4", "--stop-one", "--transactions", "1", "--timeout-ms", "700"];
    for network in latencies(&asked) {
        let (validators, later) = (number(&network, "validators"), number(&network, "later_rounds"));
        assert_eq!(number(&network, "running"), validators - 1.0, "{network}");
        assert!((later - 20.0 / validators).abs() <= 1.0, "{network}");
        assert!(number(&network, "p99_ms") < 200.0, "{network}");
    }
}

#[test]
fn a_network_whose_latency_can_not_be_told_is_refused_before_it_runs() {
    for (arguments, expected) in [
        (vec!["latency"], "--consensus"),
        (vec!["latency", "--consensus", "poa", "--validators", "62"], "2 to 61"),
        (vec!["latency", "--consensus", "poa", "--transactions", "0"], "1 to 4096"),
        (vec!["latency", "--consensus", "poa", "--delays", "moon"], "`moon` is no time"),
        (vec!["latency", "--consensus", "poa", "--delays", "20-10"], "the shorter delay comes first"),
        (vec!["latency", "--consensus", "poa", "--bytes", "4"], "5 to 2048"),
        (
            vec!["latency", "--consensus", "poa", "--stop-one", "--fault-model", "byzantine", "--validators", "3"],
            "3 validators in byzantine do not go on without one",
        ),
        (
            vec![
                "latency",
                "--consensus",
                "poa",
                "--delays",
                "world",
                "--fault-model",
                "byzantine-sync",
                "--delta-ms",
                "150",
            ],
            "byzantine-sync needs more than world (40-150 ms)",
        ),
        (vec!["--seeds", "3", "latency", "--consensus", "poa"], "cannot be used with"),
    ] {
        let output = sim(&arguments);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(code(&output), 2, "{arguments:?}: {stderr}");
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
    }
    for consensus in ["follower", "solo"] {
        assert_eq!(code(&sim(&["latency", "--consensus", consensus])), 1, "{consensus}");
    }
    // Whatever it is asked, this one has but one model.
    let asked = ["latency", "--consensus", "bft-tendermint", "--validators", "4", "--blocks", "5", "--json"];
    assert_eq!(json(&sim(&asked))["networks"][0]["fault_model"], "byzantine");
}
