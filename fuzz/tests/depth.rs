//! Nesting and repetition up to the largest file: an answer in time, no overflow of the stack (a test has 2 MiB of it).

use std::time::{Duration, Instant};

use quorate::genesis::GENESIS_BYTES_MAX;
use quorate_fuzz::targets::{Taken, find};

/// Each of these, up to 1 MiB, as genesis, settings and receipt.
const HOSTILE: &[(&str, &str)] = &[
    ("a = ", "["),
    ("a = ", "{a="),
    ("", "[a."),
    ("a", ".a"),
    ("", "[[validator]]\n"),
    ("", "[a]\n"),
    ("", "a=1\n"),
    ("[[validator]]\n", "name = 1\n"),
    ("{\"transaction\":", "["),
    ("{\"transaction\":", "{\"a\":"),
    ("", "\n"),
    ("a = \"", "\\u0000"),
    ("a = ", "1"),
    ("validator = [", "{},"),
];

#[test]
fn nesting_and_repetition_are_refused_in_time() {
    let repeat = |(start, repeated): &(&str, &str)| {
        let text = format!("{start}{}", repeated.repeat((GENESIS_BYTES_MAX - start.len()) / repeated.len()));
        (format!("{start}{repeated}.."), text)
    };
    // Each key is an error of its own, up to the bound.
    let unknown: String = (0..70_000).map(|number| format!("unknown{number} = 1\n")).collect();
    let cases = HOSTILE.iter().map(repeat).chain([("unknown keys".into(), unknown)]);
    for (case, text) in cases {
        for name in ["genesis", "settings", "receipt-json", "kv-query"] {
            let begun = Instant::now();
            let outcome = (find(name).unwrap().run)(text.as_bytes());
            let took = begun.elapsed();
            println!("{name} {case}: {took:.1?}");
            assert_eq!(outcome, Ok(Taken::No), "{name}: {case}");
            assert!(took < Duration::from_secs(60), "{name}: {case} took {took:?}");
        }
    }
}
