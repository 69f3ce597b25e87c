//! What four validators of `bft-tendermint` promise, over real processes and sockets.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may panic")]
#![allow(dead_code, reason = "this file uses a part of the support")]

mod support;

use std::process::Command;

use serde_json::{Value, json};
use support::{Network, QUORATE, Writer, call, eventually, is_final, status};

fn start() -> Network {
    Network::start(&["--validators", "4", "--consensus", "bft-tendermint"])
}

fn submit(url: &str, transaction: &str) -> String {
    call(url, "quorate_submit", json!([transaction])).as_str().unwrap().to_owned()
}

fn final_everywhere(network: &Network, nodes: &[usize], id: &str) -> Value {
    let mut last = Value::Null;
    for at in nodes {
        last = eventually(&format!("{id} is final at node {at}"), || is_final(network.rpc(*at), id));
    }
    last
}

fn assert_same_blocks(network: &Network, nodes: &[usize]) {
    let lowest = nodes.iter().map(|at| network.height(*at)).min().unwrap();
    assert!(lowest > 0);
    for height in 1..=lowest {
        let hashes: Vec<Value> =
            nodes.iter().map(|at| call(network.rpc(*at), "quorate_block", json!([height]))["hash"].clone()).collect();
        assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]), "height {height}: {hashes:?}");
    }
}

/// The same binary, another line in genesis: transactions become final, with receipts that verify offline.
#[test]
fn three_of_four_go_on_while_one_is_killed_and_it_catches_up() {
    let mut network = start();
    let mut writer = Writer::new(&network.genesis(), 1);
    let first = submit(network.rpc(0), &writer.next());
    let receipt = final_everywhere(&network, &[0, 1, 2, 3], &first);
    let file = network.directory.path().join("receipt.json");
    std::fs::write(&file, receipt["receipt"].to_string()).unwrap();
    let mut verify = Command::new(QUORATE);
    let verified =
        verify.args(["verify", "receipt"]).arg(&file).arg("--genesis").arg(network.genesis()).output().unwrap();
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stderr));
    for victim in [0, 3] {
        let others: Vec<usize> = (0..4).filter(|at| *at != victim).collect();
        network.kill(victim);
        let ids: Vec<String> = (0..3).map(|_| submit(network.rpc(others[0]), &writer.next())).collect();
        for id in &ids {
            final_everywhere(&network, &others, id);
        }
        network.restart(victim);
        final_everywhere(&network, &[0, 1, 2, 3], ids.last().unwrap());
    }
    assert_same_blocks(&network, &[0, 1, 2, 3]);
}

/// All die at once, and what was on record brings them on.
#[test]
fn two_of_four_wait_and_say_for_whom_and_all_killed_at_once_go_on() {
    let mut network = start();
    let mut writer = Writer::new(&network.genesis(), 2);
    let first = submit(network.rpc(0), &writer.next());
    final_everywhere(&network, &[0, 1, 2, 3], &first);
    network.kill(1);
    network.kill(2);
    let waiting = writer.next();
    let id = submit(network.rpc(0), &waiting);
    let stalled =
        eventually("the status says stalled", || status(network.rpc(0)).filter(|status| status["status"] == "stalled"));
    let detail = stalled["detail"].as_str().unwrap();
    assert!(detail.contains("2 of 3") && detail.contains("validator-2"), "{detail}");
    assert!(is_final(network.rpc(0), &id).is_none());
    for at in [0, 3] {
        network.kill(at);
    }
    for at in 0..4 {
        network.restart(at);
    }
    final_everywhere(&network, &[0, 1, 2, 3], &first);
    // What was pending was so in memory only: whoever has no receipt submits again.
    submit(network.rpc(1), &waiting);
    final_everywhere(&network, &[0, 1, 2, 3], &id);
    assert_same_blocks(&network, &[0, 1, 2, 3]);
}
