//! What three validators promise, over real processes and sockets.

use std::process::Command;

use rustix::process::Signal;
use serde_json::json;

use crate::support::{Network, QUORATE, Writer, eventually, get, metric, rpc, signal, status, submit};

#[test]
fn a_transaction_becomes_final_with_a_receipt_that_one_flipped_bit_spoils() {
    let network = Network::start(&[]);
    let mut writer = Writer::new(&network.genesis(), 1);
    let transaction = writer.next();
    let id = submit(network.rpc(0), &transaction);
    assert_eq!(submit(network.rpc(1), &transaction), id, "the same bytes have the same id");
    let receipt = network.final_everywhere(&[0, 1, 2], &id);
    network.assert_same_blocks(&[0, 1, 2]);

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
    network.final_everywhere(&[0, 1, 2], &first);
    for victim in 0..3 {
        let others: Vec<usize> = (0..3).filter(|at| *at != victim).collect();
        network.kill(victim);
        let ids: Vec<String> = (0..3).map(|_| submit(network.rpc(others[0]), &writer.next())).collect();
        for id in &ids {
            network.final_everywhere(&others, id);
        }
        network.restart(victim);
        network.final_everywhere(&[0, 1, 2], ids.last().unwrap());
    }
    network.final_everywhere(&[0, 1, 2], &first);
    network.assert_same_blocks(&[0, 1, 2]);
}

#[test]
fn without_a_quorum_nothing_is_final_and_the_status_says_why() {
    let mut network = Network::start(&[]);
    let mut writer = Writer::new(&network.genesis(), 3);
    let first = submit(network.rpc(0), &writer.next());
    network.final_everywhere(&[0, 1, 2], &first);
    network.kill(1);
    network.kill(2);
    let id = submit(network.rpc(0), &writer.next());
    let stalled =
        eventually("the status says stalled", || status(network.rpc(0)).filter(|status| status["status"] == "stalled"));
    let detail = stalled["detail"].as_str().unwrap();
    assert!(detail.contains("1 of 2") && detail.contains("validator-2"), "{detail}");
    for path in ["/health", "/ready"] {
        let (code, text) = get(network.rpc(0), path).unwrap();
        assert!(
            code == 200 && text.contains("stalled"),
            "what is final is served, and {path} says what is missing: {text}"
        );
    }
    let pending = rpc(network.rpc(0), "quorate_receipt", json!([id])).unwrap();
    assert_eq!(pending["result"]["status"], "pending");
    network.restart(1);
    network.final_everywhere(&[0, 1], &id);
    network.restart(2);
    network.final_everywhere(&[0, 1, 2], &id);
    network.assert_same_blocks(&[0, 1, 2]);
}

#[test]
fn a_paused_validator_comes_back() {
    let network = Network::start(&[]);
    let mut writer = Writer::new(&network.genesis(), 5);
    signal(network.nodes[2].pid, Signal::STOP);
    let id = submit(network.rpc(0), &writer.next());
    network.final_everywhere(&[0, 1], &id);
    signal(network.nodes[2].pid, Signal::CONT);
    network.final_everywhere(&[0, 1, 2], &id);
    network.assert_same_blocks(&[0, 1, 2]);
}

/// Proposals name transactions that wait for long enough to be in every pool. A validator whose pool is too small for them asks for the
/// proposals, and all of them become final everywhere as before.
#[test]
fn proposals_name_what_pools_hold_and_who_lacks_it_asks() {
    const SMALL: usize = 1;
    const WAITING: usize = 300;
    let mut network = Network::init(3, &["--block-interval-ms", "1000"]);
    let config = network.nodes[SMALL].config.clone();
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}\n[pool]\ncount_max = 8\n")).unwrap();
    network.start_bootnode();
    for at in 0..3 {
        network.restart(at);
    }
    let mut writer = Writer::new(&network.genesis(), 30);
    let value = [7; 512];
    let ids: Vec<String> = (0..WAITING).map(|_| submit(network.rpc(0), &writer.next_with(&value))).collect();
    for id in &ids {
        network.final_everywhere(&[0, 1, 2], id);
    }
    network.assert_same_blocks(&[0, 1, 2]);
    let of = |at: usize, name: &str| metric(network.rpc(at), name).unwrap();
    assert!(of(2, "quorate_messages_named_total") > 0.0, "a proposal was put together from the pool");
    assert!(of(SMALL, "quorate_messages_wanted_total") > 0.0, "one that could not be was asked for");
    assert!(of(SMALL, "quorate_blocks_by_engine_total") > 0.0, "and voted for");
    network.stop_and_verify(&[0, 1, 2]);
}
