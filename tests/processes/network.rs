//! What three validators promise, over real processes and sockets.

use std::process::Command;

use crate::support::{Network, QUORATE, Writer, call, eventually, is_final, rpc, signal, status};
use serde_json::{Value, json};

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

#[test]
fn a_transaction_becomes_final_with_a_receipt_that_one_flipped_bit_spoils() {
    let network = Network::start(&[]);
    let mut writer = Writer::new(&network.genesis(), 1);
    let transaction = writer.next();
    let id = submit(network.rpc(0), &transaction);
    assert_eq!(submit(network.rpc(1), &transaction), id, "the same bytes have the same id");
    let receipt = final_everywhere(&network, &[0, 1, 2], &id);
    assert_same_blocks(&network, &[0, 1, 2]);

    let file = network.directory.path().join("receipt.json");
    let verify = |content: &str| {
        std::fs::write(&file, content).unwrap();
        let genesis = network.genesis();
        let output = Command::new(QUORATE)
            .args(["verify", "receipt"])
            .arg(&file)
            .arg("--genesis")
            .arg(genesis)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let good = receipt["receipt"].to_string();
    assert_eq!(verify(&good).0, Some(0), "{}", verify(&good).1);
    for field in ["transaction", "outcome", "proof"] {
        let mut bad = receipt["receipt"].clone();
        let mut text: Vec<char> = bad[field].as_str().unwrap().chars().collect();
        let at = text.len() - 1;
        text[at] = char::from_digit(text[at].to_digit(16).unwrap() ^ 1, 16).unwrap();
        bad[field] = text.into_iter().collect::<String>().into();
        assert_eq!(verify(&bad.to_string()).0, Some(1), "{field}");
    }
}

#[test]
fn a_killed_validator_loses_nothing_and_stops_nothing() {
    let mut network = Network::start(&[]);
    let mut writer = Writer::new(&network.genesis(), 2);
    let first = submit(network.rpc(0), &writer.next());
    final_everywhere(&network, &[0, 1, 2], &first);
    for victim in 0..3 {
        let others: Vec<usize> = (0..3).filter(|at| *at != victim).collect();
        network.kill(victim);
        let ids: Vec<String> = (0..3).map(|_| submit(network.rpc(others[0]), &writer.next())).collect();
        for id in &ids {
            final_everywhere(&network, &others, id);
        }
        network.restart(victim);
        final_everywhere(&network, &[0, 1, 2], ids.last().unwrap());
    }
    final_everywhere(&network, &[0, 1, 2], &first);
    assert_same_blocks(&network, &[0, 1, 2]);
}

#[test]
fn without_a_quorum_nothing_is_final_and_the_status_says_why() {
    let mut network = Network::start(&[]);
    let mut writer = Writer::new(&network.genesis(), 3);
    let first = submit(network.rpc(0), &writer.next());
    final_everywhere(&network, &[0, 1, 2], &first);
    network.kill(1);
    network.kill(2);
    let id = submit(network.rpc(0), &writer.next());
    let stalled =
        eventually("the status says stalled", || status(network.rpc(0)).filter(|status| status["status"] == "stalled"));
    let detail = stalled["detail"].as_str().unwrap();
    assert!(detail.contains("1 of 2") && detail.contains("validator-2"), "{detail}");
    let pending = rpc(network.rpc(0), "quorate_receipt", json!([id])).unwrap();
    assert_eq!(pending["result"]["status"], "pending");
    network.restart(1);
    final_everywhere(&network, &[0, 1], &id);
    network.restart(2);
    final_everywhere(&network, &[0, 1, 2], &id);
    assert_same_blocks(&network, &[0, 1, 2]);
}

#[test]
fn all_killed_at_once_again_and_again_lose_nothing_final() {
    let mut network = Network::start(&[]);
    let mut writer = Writer::new(&network.genesis(), 4);
    let mut kept: Vec<String> = Vec::new();
    for round in 0..5 {
        let id = submit(network.rpc(round % 3), &writer.next());
        eventually("final at one node", || is_final(network.rpc(round % 3), &id));
        kept.push(id);
        for node in &network.nodes {
            signal(node.pid, "KILL");
        }
        for at in 0..3 {
            network.kill(at);
        }
        for at in 0..3 {
            network.restart(at);
        }
        for id in &kept {
            final_everywhere(&network, &[0, 1, 2], id);
        }
    }
    assert_same_blocks(&network, &[0, 1, 2]);
}

#[test]
fn a_paused_validator_comes_back() {
    let network = Network::start(&[]);
    let mut writer = Writer::new(&network.genesis(), 5);
    signal(network.nodes[2].pid, "STOP");
    let id = submit(network.rpc(0), &writer.next());
    final_everywhere(&network, &[0, 1], &id);
    signal(network.nodes[2].pid, "CONT");
    final_everywhere(&network, &[0, 1, 2], &id);
    assert_same_blocks(&network, &[0, 1, 2]);
}
