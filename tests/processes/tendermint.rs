//! What four validators of `bft-tendermint` promise, over real processes and sockets.

use std::process::Command;

use crate::support::{Network, QUORATE, Writer, eventually, is_final, status, submit};

const ALL: [usize; 4] = [0, 1, 2, 3];

fn start() -> Network {
    Network::run(4, &["--consensus", "bft-tendermint"])
}

/// The same binary, another line in genesis: transactions become final, with receipts that verify offline.
#[test]
fn three_of_four_go_on_while_one_is_killed_and_it_catches_up() {
    let mut network = start();
    let mut writer = Writer::new(&network.genesis(), 1);
    let first = submit(network.rpc(0), &writer.next());
    let receipt = network.final_everywhere(&ALL, &first);
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
            network.final_everywhere(&others, id);
        }
        network.restart(victim);
        network.final_everywhere(&ALL, ids.last().unwrap());
    }
    network.assert_same_blocks(&ALL);
}

/// All die at once, and what was on record brings them on.
#[test]
fn two_of_four_wait_and_say_for_whom_and_all_killed_at_once_go_on() {
    let mut network = start();
    let mut writer = Writer::new(&network.genesis(), 2);
    let first = submit(network.rpc(0), &writer.next());
    network.final_everywhere(&ALL, &first);
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
    network.final_everywhere(&ALL, &first);
    // What was pending was so in memory only: whoever has no receipt submits again.
    submit(network.rpc(1), &waiting);
    network.final_everywhere(&ALL, &id);
    network.assert_same_blocks(&ALL);
}
