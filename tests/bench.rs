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
        "crash_per_s",
        "byzantine_sync_per_s",
        "catch_up_full_tx_per_s",
        "catch_up_small_blocks_per_s",
        "library_per_s",
        "library_ratio",
        "ballots_per_s",
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
