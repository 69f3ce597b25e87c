//! Who takes part: late joiners, a validator that lost its data, a bootnode that dies.

use serde_json::json;

use crate::support::{Network, Writer, call, eventually, get, metric, status, submit};

/// Rounds of asking the bootnode come every second here.
const REFRESH: (&str, &str) = ("QUORATE__DISCOVERY__REFRESH_S", "1");

fn connected(network: &Network, at: usize) -> usize {
    let status = status(network.rpc(at)).unwrap_or_default();
    status["peers"].as_array().map_or(0, |peers| peers.iter().filter(|peer| peer["connected"] == true).count())
}

#[test]
fn a_node_that_joins_late_verifies_from_genesis_and_serves() {
    let mut network = Network::run(3, &["--delta-ms", "50", "--block-interval-ms", "0"]);
    let mut writer = Writer::new(&network.genesis(), 70);
    let mut ids = Vec::new();
    for at in [0, 1, 2, 0, 1, 2] {
        ids.push(submit(network.rpc(at), &writer.next()));
        network.final_everywhere(&[at], ids.last().unwrap());
    }
    let late = network.add("backend", network.ports_from + 7);
    network.restart(late);
    for id in &ids {
        network.final_everywhere(&[late], id);
    }
    let (_, text) = get(network.rpc(late), "/health").unwrap();
    assert!(text.contains("\"role\":\"follower\""), "{text}");
    let height = network.height(late);
    assert!(height >= 6);
    let took = metric(network.rpc(late), "quorate_blocks_by_sync_total").unwrap();
    assert!(took >= 6.0, "every block came with its proof, from genesis on: {took}");
    // It serves clients: what it is given becomes final.
    ids.push(submit(network.rpc(late), &writer.next()));
    network.final_everywhere(&[0, 1, 2, late], ids.last().unwrap());
    network.assert_same_blocks(&[0, 1, 2, late]);
    assert_eq!(metric(network.rpc(late), "quorate_signatures_total"), Some(0.0), "a follower signs nothing");
    network.stop_and_verify(&[late]);
}

#[test]
fn a_validator_that_lost_its_data_and_kept_its_guard_rebuilds_it_and_votes_again() {
    let mut network = Network::run(3, &["--delta-ms", "100", "--block-interval-ms", "0"]);
    let mut writer = Writer::new(&network.genesis(), 80);
    let first = submit(network.rpc(0), &writer.next());
    network.final_everywhere(&[0, 1, 2], &first);
    eventually("it has signed above the first height", || {
        let id = submit(network.rpc(1), &writer.next());
        network.final_everywhere(&[0, 1, 2], &id);
        (network.signed_height(2) > 1).then_some(())
    });
    network.kill(2);
    std::fs::remove_dir_all(network.data(2)).unwrap();
    let second = submit(network.rpc(0), &writer.next());
    network.final_everywhere(&[0, 1], &second);
    network.restart(2);
    network.says(2, "the data directory is older than the guard");
    for id in [&first, &second] {
        network.final_everywhere(&[2], id);
    }
    // Its vote counts again: with another one away, nothing is final without it.
    network.kill(1);
    let third = submit(network.rpc(2), &writer.next());
    network.final_everywhere(&[0, 2], &third);
    network.restart(1);
    network.final_everywhere(&[1], &third);
    network.assert_same_blocks(&[0, 1, 2]);
    assert_eq!(status(network.rpc(0)).unwrap()["evidence"], 0);
    network.stop_and_verify(&[0, 1, 2]);
}

#[test]
fn a_key_without_its_guard_is_not_used() {
    let mut network = Network::init(3, &[]);
    std::fs::remove_file(network.key(0, "guard")).unwrap();
    network.spawn(0);
    assert_eq!(network.ended(0).code(), Some(71));
    let log = network.log(0);
    assert!(log.contains("validator-1.guard: no such guard") && log.contains("--new-validator"), "{log}");
}

#[test]
fn a_bootnode_that_dies_stops_nobody_who_is_known_and_newcomers_wait_for_it() {
    let mut network = Network::init(3, &["--delta-ms", "100", "--block-interval-ms", "0"]);
    let start = |network: &mut Network, at: usize| {
        network.spawn_with(at, |command| {
            command.env(REFRESH.0, REFRESH.1);
        });
        network.answers(at);
    };
    network.start_bootnode();
    for at in 0..3 {
        start(&mut network, at);
    }
    for at in 0..3 {
        eventually("all are connected", || (connected(&network, at) == 2).then_some(()));
    }
    network.kill_bootnode();
    let mut writer = Writer::new(&network.genesis(), 90);
    let mut id = submit(network.rpc(0), &writer.next());
    network.final_everywhere(&[0, 1, 2], &id);
    // A validator that starts without the bootnode knows nobody; those who know it dial it.
    for at in 0..3 {
        network.kill(at);
        start(&mut network, at);
        id = submit(network.rpc(at), &writer.next());
        network.final_everywhere(&[0, 1, 2], &id);
    }
    // One that nobody knows waits, and says for what.
    let newcomer = network.add("backend", network.ports_from + 7);
    start(&mut network, newcomer);
    network.says(newcomer, "discovery did not answer");
    assert_eq!((connected(&network, newcomer), network.height(newcomer)), (0, 0));
    network.start_bootnode();
    network.final_everywhere(&[newcomer], &id);
    network.assert_same_blocks(&[0, 1, 2, newcomer]);
    let listed = call(network.rpc(newcomer), "quorate_validators", json!([]));
    assert_eq!(listed["validators"].as_array().unwrap().len(), 3);
}
