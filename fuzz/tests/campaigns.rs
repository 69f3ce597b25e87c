//! A short campaign for every target, with a new seed each time.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use quorate_fuzz::{
    campaign::{Until, run},
    targets::{TARGETS, Taken},
};

/// Inputs for each target.
const INPUTS: u64 = 3000;

fn seed() -> u64 {
    std::env::var("QUORATE_SEED").map_or_else(
        |_| {
            let mut seed = [0; 8];
            getrandom::fill(&mut seed).unwrap();
            u64::from_le_bytes(seed)
        },
        |text| text.parse().unwrap(),
    )
}

/// Address space that this process ever had, in KiB; 0 where the system does not say.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:"));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

#[test]
fn no_target_breaks_a_promise_and_each_takes_and_refuses() {
    let seed = seed();
    for target in TARGETS {
        let report =
            run(target, seed, Until::Inputs(INPUTS)).unwrap_or_else(|broken| panic!("QUORATE_SEED={seed}: {broken}"));
        println!("{}: {report}", target.name);
        // A campaign in which everything is refused at the door tests nothing.
        assert!(report.taken >= 50 && report.refused >= 50, "QUORATE_SEED={seed}: {}: {report}", target.name);
    }
    // A length that was believed would have asked for up to 4 GiB at once.
    let peak = peak_kib();
    assert!(peak < 1 << 20, "{peak} KiB of memory for inputs of at most 64 KiB");
}

#[test]
fn the_golden_vectors_are_taken() {
    for target in TARGETS.iter().filter(|target| ["block", "header", "receipt", "genesis"].contains(&target.name)) {
        for bytes in (target.seeds)() {
            assert_eq!((target.run)(&bytes), Ok(Taken::Yes), "{}", target.name);
        }
    }
}
