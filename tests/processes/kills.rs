//! Validators that are killed or suspended at any instant, alone and all together, under load and in their first milliseconds.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::support::{
    Load, Network, QUORATE, Random, Writer, eventually, free_ports, get, is_final, quorate, signal, status, submit,
};

/// Kills and suspensions under load.
const STRIKES: usize = 10;

/// Kills while a block is being made.
const PROPOSER_KILLS: usize = 9;

/// How often all are killed at once, unless `QUORATE_KILL_ROUNDS` says otherwise.
const ALL_KILLED_ROUNDS: usize = 15;

/// Kills in the first milliseconds of a first start.
const FIRST_START_KILLS: usize = 200;

const ALL: [usize; 3] = [0, 1, 2];

fn rounds(default: usize) -> usize {
    std::env::var("QUORATE_KILL_ROUNDS").ok().map_or(default, |rounds| rounds.parse().unwrap())
}

/// No start said that the store had to be repaired.
fn assert_no_repair(network: &Network) {
    for at in ALL {
        let log = network.log(at);
        for words in ["repair", "page by page", "damaged", "panicked"] {
            assert!(!log.contains(words), "validator {at} says \"{words}\"");
        }
    }
}

#[test]
fn validators_killed_and_suspended_at_any_time_under_load_lose_nothing_final() {
    let mut random = Random::new();
    let mut network = Network::run(3, &["--delta-ms", "100"]);
    let load = Load::start(&network, &ALL, 10, &mut random);
    for strike in 0..STRIKES {
        std::thread::sleep(random.time(Duration::from_millis(700)));
        let victim = random.below(3);
        let others: Vec<usize> = ALL.into_iter().filter(|at| *at != victim).collect();
        let before = network.height(others[0]);
        let (suspended, had) = (strike % 3 == 2, network.height(victim));
        if suspended {
            signal(network.nodes[victim].pid, Signal::STOP);
        } else {
            network.kill(victim);
        }
        eventually("blocks go on without it", || (network.height(others[0]) >= before + 2).then_some(()));
        if suspended {
            signal(network.nodes[victim].pid, Signal::CONT);
        } else {
            network.spawn(victim);
            let first = eventually("it answers again", || status(network.rpc(victim)));
            assert!(first["height"].as_u64().unwrap() >= had, "it has what it had: {had}, {first}");
        }
        network.catches_up(victim, others[1]);
    }
    let settled = load.stop();
    let (taken, told) = settled.counts();
    assert!(told > STRIKES, "{taken} taken, {told} final: there was no load");
    settled.check(&network, &ALL);
    network.assert_same_blocks(&ALL);
    for at in ALL {
        assert_eq!(status(network.rpc(at)).unwrap()["evidence"], 0, "an honest validator is accused of nothing");
    }
    assert_no_repair(&network);
    network.stop_and_verify(&ALL);
}

#[test]
fn a_validator_killed_while_it_proposes_loses_nothing_and_holds_nobody_up() {
    let mut random = Random::new();
    let mut network = Network::run(3, &["--delta-ms", "100", "--block-interval-ms", "0"]);
    let mut writer = Writer::new(&network.genesis(), 20);
    let mut kept = vec![submit(network.rpc(0), &writer.next())];
    network.final_everywhere(&ALL, &kept[0]);
    let (mut died_proposing, mut last) = (0, 0);
    for _ in 0..PROPOSER_KILLS {
        // Work makes whose turn it is propose: block h is made by number h modulo 3.
        let height = network.height(last) + 1;
        let proposer = usize::try_from(height % 3).unwrap();
        let others: Vec<usize> = ALL.into_iter().filter(|at| *at != proposer).collect();
        eventually("it is the proposer's turn", || (network.height(proposer) + 1 == height).then_some(()));
        kept.push(submit(network.rpc(proposer), &writer.next()));
        kept.push(submit(network.rpc(others[0]), &writer.next()));
        std::thread::sleep(random.time(Duration::from_millis(120)));
        network.kill(proposer);
        died_proposing += usize::from(others.iter().all(|at| network.height(*at) < height));
        // What only the proposer had taken may be lost with it; what another has is final without it.
        network.final_everywhere(&others, kept.last().unwrap());
        network.restart(proposer);
        network.catches_up(proposer, others[0]);
        last = others[0];
    }
    assert!(died_proposing > 0, "no kill came before the block was final");
    network.final_everywhere(&ALL, &kept[0]);
    for id in kept.iter().filter(|id| ALL.iter().any(|at| is_final(network.rpc(*at), id).is_some())) {
        network.final_everywhere(&ALL, id);
    }
    network.assert_same_blocks(&ALL);
    assert_no_repair(&network);
    network.stop_and_verify(&ALL);
}

#[test]
fn all_killed_at_once_again_and_again_lose_nothing_final_and_need_no_repair() {
    let mut random = Random::new();
    let mut network = Network::run(3, &["--delta-ms", "100", "--block-interval-ms", "0"]);
    let mut writer = Writer::new(&network.genesis(), 30);
    let (mut kept, mut slowest) = (Vec::new(), Duration::ZERO);
    for round in 0..rounds(ALL_KILLED_ROUNDS) {
        // One that is final, and one at each node which is somewhere on its way.
        let sure = submit(network.rpc(round % 3), &writer.next());
        let block = eventually("final at one node", || is_final(network.rpc(round % 3), &sure))["block_hash"].clone();
        kept.push((sure, block));
        for at in ALL {
            submit(network.rpc(at), &writer.next());
        }
        std::thread::sleep(random.time(Duration::from_millis(250)));
        network.kill_together(&ALL);
        let begun = Instant::now();
        ALL.iter().for_each(|at| network.spawn(*at));
        ALL.iter().for_each(|at| network.answers(*at));
        slowest = slowest.max(begun.elapsed());
        // What a node says after its start is what it said before, without waiting for others.
        let (id, block) = kept.last().unwrap();
        let receipt = is_final(network.rpc(round % 3), id);
        assert_eq!(receipt.map(|receipt| receipt["block_hash"].clone()).as_ref(), Some(block), "round {round}");
    }
    println!("{} rounds, the slowest start of all three took {slowest:?}", kept.len());
    for (id, block) in &kept {
        assert_eq!(network.final_everywhere(&ALL, id)["block_hash"], *block);
    }
    network.assert_same_blocks(&ALL);
    assert_no_repair(&network);
    network.stop_and_verify(&ALL);
}

/// Copies the files of a network that never ran.
fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.join("keys")).unwrap();
    for name in ["genesis.toml", "validator-1.toml", "admin.token", "keys/validator-1.key", "keys/validator-1.guard"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

#[test]
fn a_kill_in_the_first_milliseconds_of_the_first_start_leaves_a_node_that_starts() {
    let mut random = Random::new();
    let folder = tempfile::tempdir().unwrap();
    let (from, template) = (free_ports(5), folder.path().join("template"));
    let (ports, directory) = (from.to_string(), template.to_str().unwrap());
    let (code, told) =
        quorate(&["init", "--dir", directory, "--validators", "1", "--application", "kv", "--ports-from", &ports]);
    assert_eq!(code, Some(0), "{told}");
    let url = format!("http://127.0.0.1:{}", from + 1);
    let start = |directory: &Path, new_validator: bool| {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(directory.join("log")).unwrap();
        let mut command = Command::new(QUORATE);
        command.arg("run").arg("--config").arg(directory.join("validator-1.toml"));
        command.args(new_validator.then_some("--new-validator")).stdin(Stdio::null()).stderr(log);
        command.spawn().unwrap()
    };
    let mut usual = Duration::from_millis(60);
    for round in 0..FIRST_START_KILLS {
        let directory = folder.path().join(round.to_string());
        copy_files(&template, &directory);
        // Every other one makes its guard itself.
        let new_validator = round % 2 == 1;
        if new_validator {
            std::fs::remove_file(directory.join("keys/validator-1.guard")).unwrap();
        }
        let mut first = start(&directory, new_validator);
        std::thread::sleep(random.time(usual));
        first.kill().unwrap();
        first.wait().unwrap();

        let begun = Instant::now();
        let mut second = start(&directory, new_validator);
        eventually("it starts again", || {
            if let Some(ended) = second.try_wait().unwrap() {
                let log = std::fs::read_to_string(directory.join("log")).unwrap();
                panic!("round {round}: the start after the kill ended with {ended}: {log}");
            }
            get(&url, "/health").filter(|(code, _)| *code == 200)
        });
        usual = usual.max(begun.elapsed().min(Duration::from_millis(300)));
        second.kill().unwrap();
        second.wait().unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
    }
    println!("kills came within {usual:?} of the start");
}
