//! How a suite is proven: each of its rules catches a plugin that breaks it, and says the contract's sentence.
#![expect(clippy::panic, reason = "a test may panic")]

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
};

use quorate_testkit::conformance::{Suite, Trouble, rules};

/// The rule `name` finds what the plugin behind `suite` does wrong.
pub(crate) fn catches(suite: &Suite<'_>, name: &str) {
    let finding = suite.try_rule(name).unwrap_or_else(|| panic!("there is no rule `{name}`"));
    let shown = finding.to_string();
    match &finding.outcome {
        Err(Trouble::Broken(detail)) => {
            println!("{name}: {detail}");
            assert!(shown.contains(finding.rule.sentence) && shown.contains(finding.rule.file), "{shown}");
        }
        other => panic!("the rule `{name}` does not catch a plugin that breaks it: {other:?}"),
    }
}

/// Rules which wait for what a broken plugin never does are tried at the same time.
const THREADS: usize = 4;

/// Tries all of `bugs` but the last on several threads, then the last, which counts what the process holds, alone.
pub(crate) fn try_all<B: Copy + Sync>(bugs: &[(B, &str)], one: impl Fn(B, &str) + Sync) {
    let Some(((bug, rule), others)) = bugs.split_last() else { return };
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some((bug, rule)) = others.get(next.fetch_add(1, Ordering::Relaxed)) {
                    one(*bug, rule);
                }
            });
        }
    });
    one(*bug, rule);
}

/// Each rule of the slot is among those that were shown to catch something.
pub(crate) fn assert_all_proven<'a>(slot: &str, shown: impl IntoIterator<Item = &'a str>) {
    let shown: BTreeSet<&str> = shown.into_iter().collect();
    let all = rules().into_iter().filter(|(of, _)| *of == slot);
    let unproven: Vec<&str> = all.map(|(_, rule)| rule.name).filter(|name| !shown.contains(name)).collect();
    assert_eq!(unproven, [""; 0], "no broken plugin shows that these rules of {slot} catch anything");
}
