//! Four validators of `bft-tendermint`: another line in genesis.

use crate::support::{Network, Writer, eventually, is_final, quorate, status, submit};

const ALL: [usize; 4] = [0, 1, 2, 3];

fn run() -> Network {
    Network::run(4, &["--consensus", "bft-tendermint"])
}

#[test]
fn three_of_four_go_on_while_one_is_killed_and_it_catches_up() {
    let mut network = run();
    let mut writer = Writer::new(&network.genesis(), 1);
    let first = submit(network.rpc(0), &writer.next());
    let receipt = network.final_everywhere(&ALL, &first);
    let file = network.directory.path().join("receipt.json");
    std::fs::write(&file, receipt["receipt"].to_string()).unwrap();
    let (file, genesis) = (file.to_str().unwrap(), network.genesis());
    let (code, told) = quorate(&["verify", "receipt", file, "--genesis", genesis.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{told}");
    for victim in [0, 3] {
        let others: Vec<usize> = ALL.into_iter().filter(|at| *at != victim).collect();
        network.kill(victim);
        let ids: Vec<String> = (0..3).map(|_| submit(network.rpc(others[0]), &writer.next())).collect();
        for id in &ids {
            network.final_everywhere(&others, id);
        }
        network.restart(victim);
        network.final_everywhere(&ALL, ids.last().unwrap());
    }
    network.assert_same_blocks(&ALL);
    network.stop_and_verify(&ALL);
}

/// All die at once, and what was on record brings them on.
#[test]
fn two_of_four_wait_and_say_for_whom_and_all_killed_at_once_go_on() {
    let mut network = run();
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
    network.kill_together(&[0, 3]);
    for at in ALL {
        network.restart(at);
    }
    network.final_everywhere(&ALL, &first);
    // What was pending was so in memory only: whoever has no receipt submits again.
    assert_eq!(submit(network.rpc(1), &waiting), id);
    network.final_everywhere(&ALL, &id);
    network.assert_same_blocks(&ALL);
    network.stop_and_verify(&ALL);
}

/// One validator keeps its chain in the other store: one line of its file. Nobody else can tell.
#[test]
fn a_validator_on_the_other_store_agrees_and_is_killed_without_loss() {
    let mut network = Network::init(4, &["--consensus", "bft-tendermint"]);
    let config = network.nodes[2].config.clone();
    let text = std::fs::read_to_string(&config).unwrap();
    assert!(text.contains("plugin = \"redb\"\n"));
    std::fs::write(&config, text.replace("plugin = \"redb\"\n", "plugin = \"fjall\"\n")).unwrap();
    network.start_bootnode();
    ALL.into_iter().for_each(|at| network.spawn(at));
    ALL.into_iter().for_each(|at| network.answers(at));
    let mut writer = Writer::new(&network.genesis(), 3);
    for _ in 0..3 {
        let id = submit(network.rpc(2), &writer.next());
        network.final_everywhere(&ALL, &id);
        network.kill(2);
        let missed = submit(network.rpc(0), &writer.next());
        network.final_everywhere(&[0, 1, 3], &missed);
        network.restart(2);
        network.final_everywhere(&[2], &id);
        network.final_everywhere(&[2], &missed);
    }
    network.assert_same_blocks(&ALL);
    assert!(network.data(2).join("chain.fjall").is_dir() && !network.data(2).join("chain.redb").exists());
    network.stop_and_verify(&ALL);
}
