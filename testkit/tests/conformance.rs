//! The in-memory plugins keep the contracts of their slots, and the rules check the contracts' own sentences.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

use quorate::{
    Settings,
    discovery::DiscoveryContext,
    node::{Node, NodeHandle, Reply, Request, Response},
    plugin::TransportPlugin,
    transport::{Io, TransportContext},
};
use quorate_testkit::{
    conformance::{self, rules},
    memory::{Hub, MemoryApplicationPlugin, MemoryDiscoveryPlugin, MemoryStoragePlugin, MemoryTransportPlugin},
};

use tokio::{runtime::Runtime, sync::mpsc};

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

struct NoNode;

impl Node for NoNode {
    fn call(&self, _: Request, reply: Reply) {
        reply(Response::Unavailable("a test has no node".into()));
    }
}

/// A node on the hub, until the runtime is dropped.
fn on_hub(hub: &Hub, of: &DiscoveryContext) -> Runtime {
    let context = TransportContext {
        chain_id: of.chain_id,
        chain_name: "test".into(),
        name: of.name.clone(),
        role: "validator".into(),
        version: "0".into(),
        identity: Arc::clone(&of.identity),
        node: NodeHandle::new(Arc::new(NoNode)),
        loopback_only: true,
        admin_token: None,
    };
    let transport = MemoryTransportPlugin::new(hub).bind(&Settings::from_text(""), context).unwrap();
    let runtime = Runtime::new().unwrap();
    let (stop, commands) = mpsc::channel(1);
    let (events, mut told) = mpsc::channel(64);
    runtime.spawn(transport.run(Io { commands, events }));
    runtime.spawn(async move {
        while told.recv().await.is_some() {}
        drop(stop);
    });
    runtime
}

#[test]
fn the_discovery_in_memory_keeps_its_contract() {
    let hub = Hub::new();
    let plugin = MemoryDiscoveryPlugin::new(&hub);
    conformance::discovery(&plugin, "").presence(|context| Box::new(on_hub(&hub, context))).check();
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

#[test]
fn the_documentation_lists_every_rule_with_its_sentence() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/conformance.md");
    let text = fs::read_to_string(path).unwrap();
    let mut listed = String::new();
    let mut last = "";
    for (slot, rule) in rules() {
        if slot != last {
            let blank = if last.is_empty() { "" } else { "\n" };
            listed += &format!("{blank}### {slot}\n\n| rule | the contract |\n|---|---|\n");
            last = slot;
        }
        // Links of the source's documentation lead nowhere here.
        let sentence = rule.sentence.replace("[`", "`").replace("`]", "`");
        listed += &format!("| {} | {sentence} (`{}`) |\n", rule.name, rule.file);
    }
    let (_, there) = text.split_once("## The rules\n\n").unwrap();
    assert!(there == listed, "docs/conformance.md must end with:\n\n{listed}");
}
