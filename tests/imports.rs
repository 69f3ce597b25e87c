//! Who may import whom, as data: a new edge between crates is a line here, seen in review.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::path::Path;

/// Crate folder, and which of our crates it may depend on (development dependencies included).
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("framework/api", &[]),
    ("framework/kernel", &["quorate"]),
    // Its tests run loaded plugins in a node; the crate itself knows the traits alone.
    (
        "framework/abi",
        &[
            "quorate",
            "quorate-kernel",
            "quorate-testkit",
            "quorate-poa",
            "quorate-kv",
            "quorate-poa-dylib",
            "quorate-storage-redb-dylib",
            "quorate-transport-http-dylib",
            "quorate-discovery-bootnode-dylib",
            "quorate-kv-dylib",
            "quorate-faulty",
        ],
    ),
    ("framework/abi/faulty", &["quorate", "quorate-abi", "quorate-testkit"]),
    // A plugin as a shared library is one line: it exports the plugin's crate, and knows no other.
    ("plugins/poa/dylib", &["quorate-abi", "quorate-poa"]),
    ("plugins/storage-redb/dylib", &["quorate-abi", "quorate-storage-redb"]),
    ("plugins/transport-http/dylib", &["quorate-abi", "quorate-transport-http"]),
    ("plugins/discovery-bootnode/dylib", &["quorate-abi", "quorate-discovery-bootnode"]),
    ("plugins/kv/dylib", &["quorate-abi", "quorate-kv"]),
    // Itself: its tests have the planted bugs, a node never does.
    ("plugins/poa", &["quorate", "quorate-testkit", "quorate-poa"]),
    ("plugins/bft-tendermint", &["quorate", "quorate-testkit"]),
    ("plugins/solo", &["quorate", "quorate-testkit"]),
    ("plugins/storage-redb", &["quorate", "quorate-testkit"]),
    ("plugins/storage-fjall", &["quorate", "quorate-testkit"]),
    ("plugins/transport-http", &["quorate", "quorate-testkit"]),
    ("plugins/discovery-bootnode", &["quorate", "quorate-testkit"]),
    ("plugins/kv", &["quorate", "quorate-testkit"]),
    // Cryptography and formats, which the auditor and the booth's counterpart share with the application.
    ("ballot", &["quorate"]),
    ("plugins/gateway", &["quorate", "quorate-ballot", "quorate-client", "quorate-testkit"]),
    ("client", &["quorate", "quorate-kv", "quorate-poa", "quorate-solo"]),
    ("plugins/voting", &["quorate", "quorate-ballot", "quorate-testkit"]),
    // A program of one's own: the kernel and the plugins that one picks.
    (
        "examples",
        &[
            "quorate",
            "quorate-kernel",
            "quorate-poa",
            "quorate-solo",
            "quorate-transport-http",
            "quorate-discovery-bootnode",
            "quorate-kv",
            "quorate-testkit",
        ],
    ),
    // What an outsider needs: the traits, the line that exports, and the suites for the tests.
    ("examples/outsider", &["quorate", "quorate-abi", "quorate-testkit"]),
    ("examples/outsider/broken", &["quorate", "quorate-abi"]),
    // The plugins for its tests alone, which break them on purpose.
    ("testkit", &["quorate", "quorate-transport-http", "quorate-discovery-bootnode"]),
    ("fuzz", &["quorate", "quorate-ballot", "quorate-kv", "quorate-voting", "quorate-testkit"]),
    ("benches", &["quorate", "quorate-ballot", "quorate-kv", "quorate-testkit"]),
    (
        "node",
        &[
            "quorate",
            "quorate-kernel",
            "quorate-abi",
            "quorate-poa",
            "quorate-poa-dylib",
            "quorate-storage-redb-dylib",
            "quorate-transport-http-dylib",
            "quorate-discovery-bootnode-dylib",
            "quorate-kv-dylib",
            "quorate-faulty",
            "quorate-unanimous",
            "quorate-unanimous-broken",
            "quorate-bft-tendermint",
            "quorate-solo",
            "quorate-storage-redb",
            "quorate-storage-fjall",
            "quorate-transport-http",
            "quorate-discovery-bootnode",
            "quorate-gateway",
            "quorate-kv",
            "quorate-voting",
            "quorate-ballot",
            "quorate-testkit",
            "quorate-bench",
        ],
    ),
];

/// Crates that the plugin author's crate must not pull in.
const NEVER_IN_API: &[&str] = &["hyper", "redb", "rustls", "tokio-rustls", "libloading"];

fn dependencies(folder: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder).join("Cargo.toml");
    let manifest: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
    ["dependencies", "dev-dependencies", "build-dependencies"]
        .iter()
        .filter_map(|section| manifest.get(*section)?.as_table())
        .flat_map(|table| table.keys().cloned())
        .collect()
}

#[test]
fn every_crate_imports_only_what_the_table_allows() {
    for (folder, allowed) in MAY_IMPORT {
        for dependency in dependencies(folder) {
            let ours = dependency == "quorate" || dependency.starts_with("quorate-");
            assert!(!ours || allowed.contains(&dependency.as_str()), "{folder} must not import {dependency}");
        }
    }
}

#[test]
fn every_member_of_the_workspace_is_in_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let manifest: toml::Table = std::fs::read_to_string(root).unwrap().parse().unwrap();
    for member in manifest["workspace"]["members"].as_array().unwrap() {
        let member = member.as_str().unwrap();
        assert!(MAY_IMPORT.iter().any(|(folder, _)| *folder == member), "{member} is not in the table");
    }
}

#[test]
fn the_api_stays_free_of_runtimes_and_databases() {
    let dependencies = dependencies("framework/api");
    for never in NEVER_IN_API {
        assert!(!dependencies.iter().any(|dependency| dependency == never), "framework/api must not import {never}");
    }
}
