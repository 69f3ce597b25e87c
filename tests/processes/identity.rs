//! Whose chain and whose key: a wrong genesis, a copied key, an older copy of a data directory.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{Network, Writer, call, eventually, is_final, metric, quorate, rpc, status, submit};

fn edit(path: &Path, changes: &[(&str, &str)]) {
    let mut text = std::fs::read_to_string(path).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{} has no `{from}`", path.display());
        text = text.replace(from, to);
    }
    std::fs::write(path, text).unwrap();
}

fn copy(from: &Path, to: &Path) {
    drop(std::fs::remove_dir_all(to));
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// Gives a validator a `[discovery]` which names the others itself.
fn know_each_other(network: &Network, at: usize) {
    let mut table = String::from("[discovery]\nplugin = \"static\"\n");
    for (index, port) in (0..network.nodes.len()).zip(network.ports_from + 4..) {
        let (_, shown) = quorate(&["key", "show", network.key(index, "key").to_str().unwrap()]);
        let key = shown.split_whitespace().find(|word| word.starts_with("0x")).unwrap();
        table.push_str(&format!(
            "[[discovery.peer]]\nname = \"{}\"\npublic_key = \"{key}\"\naddress = \"127.0.0.1:{port}\"\n",
            network.nodes[index].name
        ));
    }
    let path = &network.nodes[at].config;
    let text = std::fs::read_to_string(path).unwrap();
    let (head, rest) = text.split_once("[discovery]").unwrap();
    let (_, tail) = rest.split_once("[application]").unwrap();
    std::fs::write(path, format!("{head}{table}\n[application]{tail}")).unwrap();
}

fn refusals(url: &str) -> String {
    status(url).map(|status| status["refused"].to_string()).unwrap_or_default()
}

#[test]
fn a_wrong_genesis_is_named_on_both_sides_and_mixes_nothing() {
    let mut network = Network::init(3, &["--delta-ms", "100"]);
    for at in 0..3 {
        know_each_other(&network, at);
    }
    let wrong = network.path().join("genesis-other.toml");
    std::fs::copy(network.genesis(), &wrong).unwrap();
    edit(&wrong, &[("chain_name = \"devnet\"", "chain_name = \"another\"")]);
    let config = network.nodes[2].config.clone();
    edit(&config, &[("genesis = \"genesis.toml\"", "genesis = \"genesis-other.toml\"")]);
    for at in 0..3 {
        network.restart(at);
    }
    let chain = |at: usize| status(network.rpc(at)).unwrap()["chain_id"].as_str().unwrap().to_owned();
    let (right, other) = (chain(0), chain(2));
    assert_ne!(right, other);
    for at in [0, 2] {
        let told = eventually("the other's network is named in the status", || {
            Some(refusals(network.rpc(at))).filter(|told| told.contains("wrong network"))
        });
        assert!(told.contains(&right) && told.contains(&other), "{told}");
        network.says(at, "wrong network");
    }
    let id = submit(network.rpc(0), &Writer::new(&network.genesis(), 1).next());
    network.final_everywhere(&[0, 1], &id);
    assert_eq!(network.height(2), 0, "nothing of another network is taken");

    // Its data directory holds the other network's chain: with the right genesis it does not go on from that.
    assert_eq!(network.stop(2).code(), Some(0));
    edit(&config, &[("genesis = \"genesis-other.toml\"", "genesis = \"genesis.toml\"")]);
    network.spawn(2);
    assert_eq!(network.ended(2).code(), Some(78), "{}", network.log(2));
    assert!(network.log(2).lines().any(|line| line.contains(&right) && line.contains(&other)), "{}", network.log(2));
    std::fs::remove_dir_all(network.data(2)).unwrap();
    network.restart(2);
    network.final_everywhere(&[0, 1, 2], &id);
    network.assert_same_blocks(&[0, 1, 2]);
}

#[test]
fn a_wrong_genesis_is_named_to_a_node_that_finds_nobody_at_the_bootnode() {
    let mut network = Network::init(3, &["--delta-ms", "100"]);
    let wrong = network.path().join("genesis-other.toml");
    std::fs::copy(network.genesis(), &wrong).unwrap();
    edit(&wrong, &[("chain_name = \"devnet\"", "chain_name = \"another\"")]);
    let config = network.nodes[2].config.clone();
    edit(&config, &[("genesis = \"genesis.toml\"", "genesis = \"genesis-other.toml\"")]);
    network.start_bootnode();
    for at in 0..3 {
        network.restart(at);
    }
    let told = eventually("its status says that the others are of another network", || {
        Some(refusals(network.rpc(2))).filter(|told| told.contains("another network"))
    });
    let chain = |at: usize| status(network.rpc(at)).unwrap()["chain_id"].as_str().unwrap().to_owned();
    assert!(told.contains(&chain(0)) && told.contains(&chain(2)), "{told}");
    network.says(2, "another network");
    let id = submit(network.rpc(0), &Writer::new(&network.genesis(), 2).next());
    network.final_everywhere(&[0, 1], &id);
    assert_eq!(network.height(2), 0, "nothing of another network is taken");
}

/// Four validators, one key of which runs twice: the model `byzantine` withstands that whatever the timing.
#[test]
fn a_copied_key_is_noticed_published_as_evidence_and_splits_nothing() {
    const HONEST: [usize; 3] = [0, 2, 3];
    let mut network = Network::init(4, &["--delta-ms", "100", "--block-interval-ms", "0"]);
    // The whole machine is copied: file, key and guard.
    let from = network.ports_from;
    let keys = network.path().join("keys");
    for extension in ["key", "guard"] {
        std::fs::copy(network.key(1, extension), keys.join(format!("copy.{extension}"))).unwrap();
    }
    let text = std::fs::read_to_string(&network.nodes[1].config).unwrap();
    let copied = network.path().join("copy.toml");
    std::fs::write(&copied, text).unwrap();
    edit(
        &copied,
        &[
            ("keys/validator-2.key", "keys/copy.key"),
            ("data/validator-2", "data/copy"),
            (&format!("127.0.0.1:{}", from + 2), &format!("127.0.0.1:{}", from + 9)),
            (&format!("127.0.0.1:{}", from + 6), &format!("127.0.0.1:{}", from + 10)),
        ],
    );
    let copy = network.add("copy", from + 9);
    network.start_bootnode();
    for at in 0..5 {
        network.spawn(at);
    }
    for at in 0..5 {
        network.answers(at);
    }
    let everywhere = [0, 1, 2, 3, copy];
    for at in HONEST {
        eventually("all are connected", || {
            (status(network.rpc(at))?["peers"].as_array()?.iter().filter(|peer| peer["connected"] == true).count() >= 3)
                .then_some(())
        });
    }
    let mut writers: Vec<Writer> = (0..5).map(|who| Writer::new(&network.genesis(), 40 + who)).collect();
    let mut kept = Vec::new();
    let evidence = |at: usize| {
        let list = call(network.rpc(at), "quorate_evidence", json!([]));
        list.as_array().unwrap().iter().find(|one| one["name"] == "validator-2").cloned()
    };
    // Both make blocks when it is their turn, each with its own time and from its own pool.
    let deadline = Instant::now() + Duration::from_secs(90);
    while HONEST.into_iter().any(|at| evidence(at).is_none_or(|found| found["included_at"].is_null())) {
        assert!(Instant::now() < deadline, "two processes with one key were not noticed");
        for at in everywhere {
            let transaction = writers[at].next();
            if let Some(answer) = rpc(network.rpc(at), "quorate_submit", json!([transaction])) {
                kept.extend(answer["result"].as_str().filter(|_| HONEST.contains(&at)).map(str::to_owned));
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let all: Vec<Value> = HONEST.into_iter().filter_map(evidence).collect();
    assert!(all.iter().all(|one| one["included_at"] == all[0]["included_at"]), "{all:?}");
    for id in &kept {
        network.final_everywhere(&HONEST, id);
    }
    network.assert_same_blocks(&HONEST);
    for at in HONEST {
        let status = status(network.rpc(at)).unwrap();
        assert!(status["evidence"].as_u64().unwrap() >= 1 && status["status"] != "conflict", "{status}");
        let accused = call(network.rpc(at), "quorate_evidence", json!([]));
        let names: Vec<&Value> = accused.as_array().unwrap().iter().map(|one| &one["name"]).collect();
        assert!(names.iter().all(|name| **name == "validator-2"), "nobody else is accused: {names:?}");
        network.says(at, "a validator misbehaved");
    }
    network.stop_and_verify(&HONEST);
}

#[test]
fn an_older_data_directory_put_back_is_noticed_and_signs_nothing_below_its_guard() {
    let mut network = Network::run(3, &["--delta-ms", "100", "--block-interval-ms", "0"]);
    let mut writer = Writer::new(&network.genesis(), 50);
    let mut finals = |network: &Network, count: usize| {
        (0..count).map(|_| submit(network.rpc(0), &writer.next())).for_each(|id| {
            network.final_everywhere(&[0, 1, 2], &id);
        });
    };
    finals(&network, 2);
    assert_eq!(network.stop(0).code(), Some(0));
    let older = network.directory.path().join("older");
    copy(&network.data(0), &older);
    network.restart(0);
    // After its start it votes when it has listened for a while.
    let copied = network.height(1);
    eventually("it has signed well above the copy", || {
        finals(&network, 1);
        (network.signed_height(0) > copied + 1).then_some(())
    });
    let height = network.height(0);
    network.stop(0);
    network.stop(1);
    network.stop(2);

    // Alone and with work: it would propose, vote and give rounds up, and does nothing of that.
    copy(&older, &network.data(0));
    network.restart(0);
    assert!(network.height(0) < height);
    network.says(0, "the data directory is older than the guard");
    let id = submit(network.rpc(0), &writer.next());
    let url = network.rpc(0).to_owned();
    let figure = |name: &str| metric(&url, name).unwrap();
    eventually("it says why it does not vote", || {
        let status = status(network.rpc(0))?;
        (status["status"] == "stalled" && status["detail"].as_str()?.contains("this key was at height")).then_some(())
    });
    assert_eq!(figure("quorate_signatures_total") + figure("quorate_signatures_refused_total"), 0.0);

    // With one other it catches up, and then the two are a quorum: it signs again.
    network.restart(1);
    network.final_everywhere(&[0, 1], &id);
    assert!(figure("quorate_signatures_total") > 0.0);
    network.restart(2);
    network.final_everywhere(&[2], &id);
    network.assert_same_blocks(&[0, 1, 2]);
    for at in 0..3 {
        assert_eq!(status(network.rpc(at)).unwrap()["evidence"], 0);
    }
    network.stop_and_verify(&[0, 1, 2]);
}

/// With its guard put back too, nothing beside the chain knows what the key signed. Such a validator counts as dishonest (SPEC.md
/// rule 1), of which the network withstands one: it catches up, and there are no two final blocks.
#[test]
fn an_older_copy_of_data_and_guard_put_back_catches_up_and_splits_nothing() {
    let mut network = Network::run(3, &["--delta-ms", "100", "--block-interval-ms", "0"]);
    let mut writer = Writer::new(&network.genesis(), 60);
    let mut ids: Vec<String> = vec![submit(network.rpc(0), &writer.next())];
    network.final_everywhere(&[0, 1, 2], &ids[0]);
    network.kill(0);
    let (older, guard) = (network.directory.path().join("older"), network.directory.path().join("older.guard"));
    copy(&network.data(0), &older);
    std::fs::copy(network.key(0, "guard"), &guard).unwrap();
    network.restart(0);
    for _ in 0..3 {
        ids.push(submit(network.rpc(1), &writer.next()));
        network.final_everywhere(&[0, 1, 2], ids.last().unwrap());
    }
    let before: Vec<Value> = (1..=network.height(1)).map(|height| network.block_hash(1, height)).collect();
    network.kill(0);
    copy(&older, &network.data(0));
    std::fs::copy(&guard, network.key(0, "guard")).unwrap();
    network.restart(0);
    ids.push(submit(network.rpc(0), &writer.next()));
    for id in &ids {
        network.final_everywhere(&[0, 1, 2], id);
    }
    assert!(is_final(network.rpc(0), &ids[1]).is_some());
    for (height, hash) in (1..).zip(&before) {
        assert_eq!(network.block_hash(0, height), *hash);
    }
    network.assert_same_blocks(&[0, 1, 2]);
    network.stop_and_verify(&[0, 1, 2]);
}
