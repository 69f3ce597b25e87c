//! The measurements go through all their parts, clean up after themselves, and say what they measured. How fast is not asked here.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::{path::PathBuf, time::Duration};

use quorate_bench::{Counts, Options, Part, Stop, run};

/// Poa as a shared library, which cargo built beside this test.
fn library() -> PathBuf {
    std::env::current_exe().unwrap().with_file_name("libquorate_poa_dylib.so")
}

#[test]
fn a_tiny_run_measures_everything_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        program: env!("CARGO_BIN_EXE_quorate").into(),
        library: library(),
        directory: directory.path().into(),
        parts: Part::ALL.to_vec(),
        counts: Counts::tiny(),
    };
    let mut told = Vec::new();
    let report = run(&options, &Stop::after(Duration::from_secs(240)), &mut |what| told.push(what.to_owned())).unwrap();

    let keys: Vec<&str> = report.figures.iter().map(|figure| figure.key.as_str()).collect();
    for key in [
        "first_start_ms",
        "start_ms",
        "latency_crash_p50_ms",
        "latency_byzantine_sync_p99_ms",
        "reads_status_per_s",
        "accepted_per_s",
        "crash_per_s",
        "byzantine_sync_per_s",
        "catch_up_full_tx_per_s",
        "catch_up_small_blocks_per_s",
        "library_per_s",
        "library_ratio",
        "ballots_per_s",
        "gateway_accepted_per_s",
        "gateway_notices_ms",
        "gateway_held_rss_mib",
    ] {
        assert!(keys.contains(&key), "{key} is not in {keys:?}");
    }
    assert!(!cfg!(target_os = "linux") || keys.contains(&"idle_rss_mib"), "{keys:?}");
    for figure in &report.figures {
        assert!(figure.value.is_finite() && figure.value >= 0.0, "{figure:?}");
        assert!(report.to_string().contains(&figure.name), "{} is not in the table", figure.name);
    }
    let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
    assert_eq!(json["figures"].as_array().unwrap().len(), report.figures.len());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "files are left behind");
    assert!(told.iter().any(|what| what == "throughput"), "{told:?}");
}

#[test]
fn a_run_that_shall_stop_does() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        program: env!("CARGO_BIN_EXE_quorate").into(),
        library: library(),
        directory: directory.path().into(),
        parts: vec![Part::Throughput],
        counts: Counts::tiny(),
    };
    let stop = Stop::after(Duration::from_secs(240));
    stop.now();
    let error = run(&options, &stop, &mut |_| {}).unwrap_err();
    assert_eq!(error.to_string(), "stopped");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "files are left behind");
}

/// What `quorate bench` prints as JSON; its network is made in the working directory, and nothing is left behind there.
fn bench(arguments: &[&str]) -> serde_json::Value {
    bench_for("1", arguments)
}

/// The same for so many seconds.
fn bench_for(seconds: &str, arguments: &[&str]) -> serde_json::Value {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_quorate"));
    command.arg("bench").args(arguments).args(["--seconds", seconds, "--warm-up", "0", "--json"]);
    let output = command.env_remove("RUST_LOG").current_dir(directory.path()).output().unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "files are left behind");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {told}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every transaction that is taken becomes final, whichever way the load comes; the figures are there.
#[test]
fn the_bench_command_drives_a_network_in_each_way() {
    let number =
        |outcome: &serde_json::Value, key: &str| outcome[key].as_f64().unwrap_or_else(|| panic!("{key}: {outcome}"));
    for (arguments, mode, kind) in [
        (vec!["--clients", "8"], "closed", "kv"),
        (vec!["--rate", "50", "--bytes", "100"], "open", "kv"),
        (vec!["--rate", "20", "--kind", "ballots"], "open", "ballots"),
        (vec!["--clients", "2", "--validators", "4", "--fault-model", "byzantine"], "closed", "kv"),
        (vec!["--clients", "8", "--storage", "fjall"], "closed", "kv"),
    ] {
        let outcome = bench(&[&["--make-network"], arguments.as_slice()].concat());
        assert_eq!((outcome["mode"].as_str(), outcome["kind"].as_str()), (Some(mode), Some(kind)), "{outcome}");
        for key in ["final_per_s", "accepted_per_s", "p50_ms", "p99_ms", "rss_mib_max", "fsyncs_per_block"] {
            assert!(number(&outcome, key) > 0.0, "{key}: {outcome}");
        }
        assert!(number(&outcome, "p50_ms") <= number(&outcome, "p99_ms"), "{outcome}");
        assert_eq!((outcome["unfinished"].as_u64(), outcome["refused"].as_u64()), (Some(0), Some(0)), "{outcome}");
        let store = if arguments.contains(&"fjall") { "fjall" } else { "redb" };
        assert_eq!(outcome["storage"], store, "{outcome}");
        let nodes = outcome["nodes"].as_array().unwrap();
        assert_eq!(nodes.len(), if arguments.contains(&"4") { 4 } else { 3 });
    }
}

/// The others go on at the moment at which one is killed, in each way of a load, and it has all blocks again when it starts.
#[test]
fn the_bench_command_stops_a_validator_and_starts_it_again() {
    for arguments in [["--clients", "8"], ["--rate", "50"]] {
        // Longer than the timeout of a turn of the one that is gone.
        let outcome = bench_for("4", &[&["--make-network", "--stop-one"], arguments.as_slice()].concat());
        let stopped = &outcome["stopped"];
        let number = |key: &str| stopped[key].as_f64().unwrap_or_else(|| panic!("{key}: {outcome}"));
        assert_eq!(stopped["name"], "validator-3", "{outcome}");
        for key in ["before_per_s", "after_per_s", "missed_blocks", "caught_up_s", "caught_up_blocks_per_s"] {
            assert!(number(key) > 0.0, "{key}: {outcome}");
        }
        assert_eq!(stopped["after_per_s"], outcome["final_per_s"], "{outcome}");
        assert!((number("after_of_before") * number("before_per_s") / number("after_per_s") - 1.0).abs() < 1e-9);
        // Figures are of the others alone, and each of them made blocks.
        let names: Vec<&str> =
            outcome["nodes"].as_array().unwrap().iter().filter_map(|node| node["name"].as_str()).collect();
        assert_eq!(names, ["validator-1", "validator-2"], "{outcome}");
        assert_eq!(outcome["unfinished"], 0, "{outcome}");
    }
}

/// A search tells of every rate that it tried, and draws them.
#[test]
fn the_bench_command_searches_for_the_highest_rate() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let plot = directory.path().join("knee.svg");
    let outcome = bench(&["--make-network", "--saturate", "--plot", plot.to_str().unwrap()]);
    let steps = outcome["steps"].as_array().unwrap();
    let highest = steps.iter().filter(|step| step["kept_up"] == true).filter_map(|step| step["rate"].as_f64());
    assert!(steps.len() > 1 && outcome["mode"] == "saturate" && outcome.get("failed").is_none(), "{outcome}");
    assert_eq!(outcome["knee_per_s"].as_f64(), highest.reduce(f64::max), "{outcome}");
    assert!(std::fs::read_to_string(plot).unwrap().starts_with("<svg"));
}

#[test]
fn what_cannot_be_measured_is_said_before_anything_runs() {
    for (arguments, code, told) in [
        (["--stop-one", "--validators=2"], 1, "2 validators in crash do not go on without one"),
        (["--stop-one", "--clients=501"], 1, "501 clients at 2 validators"),
        (["--stop-one", "--saturate"], 2, "the argument '--stop-one' cannot be used with '--saturate'"),
        (["--storage", "rocks"], 70, "this program has no storage plugin `rocks`; it has: "),
        (["--clients", "751"], 1, "751 clients at 3 validators: a validator takes 250 of them at most"),
        (["--rate", "0.4"], 1, "at 0.4 a second none may be due in 1 s"),
        (["--plot", "/nowhere/knee.svg"], 74, "/nowhere/knee.svg: No such file or directory"),
    ] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_quorate"));
        let output = command.args(["bench", "--make-network", "--seconds", "1"]).args(arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(error.starts_with(&format!("error: {told}")), "{arguments:?}: {error}");
    }
}
