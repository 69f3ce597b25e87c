//! The in-memory plugins keep the contracts of their slots, and the rules check the contracts' own sentences.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{collections::BTreeSet, fs, path::Path};

use quorate_testkit::{
    conformance::{self, rules},
    memory::{Hub, MemoryApplicationPlugin, MemoryStoragePlugin, MemoryTransportPlugin},
};

#[test]
fn the_store_in_memory_keeps_its_contract() {
    conformance::storage(&MemoryStoragePlugin::new(), "").volatile().check();
}

#[test]
fn the_log_in_memory_keeps_its_contract() {
    let entries = |_| (0..12u8).map(|n| vec![n; 1 + usize::from(n) * 40].into()).collect();
    let suite = conformance::application(&MemoryApplicationPlugin, "").transactions(entries);
    suite.query("count", "").query("log", r#"{"from":1}"#).check();
}

#[test]
fn the_transport_in_memory_keeps_its_contract() {
    conformance::transport(&MemoryTransportPlugin::new(&Hub::new()), "").check();
}

/// The documentation in a source file, in one line.
fn documentation(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../framework/api/src").join(file);
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().map(str::trim);
    let docs = lines.filter_map(|line| line.strip_prefix("///").or_else(|| line.strip_prefix("//!")));
    docs.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_rule_checks_a_sentence_of_the_contract() {
    for (slot, rule) in rules() {
        let sentence = rule.sentence;
        assert!(
            documentation(rule.file).contains(sentence),
            "{slot}, {}: no \"{sentence}\" in {}",
            rule.name,
            rule.file
        );
    }
}

#[test]
fn names_of_rules_are_unique_in_their_slot() {
    let all = rules();
    let names: BTreeSet<(&str, &str)> = all.iter().map(|(slot, rule)| (*slot, rule.name)).collect();
    assert_eq!(names.len(), all.len());
}
