//! Ten thousand ballots while everything is killed again and again.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    backend::Voting,
    support::{Random, call, eventually, http},
};

/// Ballots, unless `QUORATE_STORM_BALLOTS` says otherwise.
const BALLOTS: u32 = 10_000;

/// Voters' booths at a time.
const BOOTHS: usize = 6;

/// How long all may take on a busy machine.
const WITHIN: Duration = Duration::from_secs(900);

/// What the booths share.
struct Load {
    url: String,
    eid: String,
    ballots: Vec<String>,
    ids: Vec<String>,
    next: AtomicUsize,
    accepted: AtomicUsize,
    /// Where the backend said that a ballot is confirmed.
    confirmed: Mutex<HashMap<String, (u64, String)>>,
    wrong: Mutex<Vec<String>>,
    over: AtomicBool,
}

impl Load {
    fn status(&self, id: &str) -> Option<Value> {
        let path = format!("/api/votes/transaction-status?transaction_id={id}&election_id={}", self.eid);
        let (code, body) = http(&self.url, "GET", &path, b"")?;
        (code == 200).then(|| serde_json::from_str(&body).unwrap())
    }

    /// One booth: posts ballots until each is accepted, and now and then asks for an earlier one.
    fn booth(&self, mut random: Random) {
        loop {
            let voter = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(ballot) = self.ballots.get(voter) else { return };
            // A booth that gets no answer sends the same again.
            while !self.over.load(Ordering::Relaxed) {
                match http(&self.url, "POST", "/api/votes/submit", ballot.as_bytes()) {
                    Some((200 | 202, body)) => {
                        let answer: Value = serde_json::from_str(&body).unwrap();
                        if answer["transaction_id"] != self.ids[voter] {
                            self.wrong(format!("ballot {voter}: {answer}"));
                        }
                        self.accepted.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                    // Not now, or killed while it answered.
                    Some((503, _)) | None => std::thread::sleep(Duration::from_millis(20)),
                    Some((code, body)) => {
                        self.wrong(format!("ballot {voter}: {code} {body}"));
                        break;
                    }
                }
            }
            if random.below(8) == 0 {
                self.look(random.below(voter + 1));
            }
        }
    }

    /// What the backend says of a ballot which it accepted must be true.
    fn look(&self, voter: usize) {
        let id = &self.ids[voter];
        let Some(status) = self.status(id) else { return };
        match status["status"].as_str().unwrap() {
            "confirmed" => {
                let place =
                    (status["block_number"].as_u64().unwrap(), status["block_hash"].as_str().unwrap().to_owned());
                let before = self.confirmed.lock().unwrap().insert(id.clone(), place.clone());
                if before.is_some_and(|before| before != place) {
                    self.wrong(format!("{id} was confirmed elsewhere before: {status}"));
                }
            }
            "queued" | "pending" => {
                if self.confirmed.lock().unwrap().contains_key(id) {
                    self.wrong(format!("{id} was confirmed before: {status}"));
                }
            }
            // Another booth may not have its answer yet.
            "unknown" if voter + 2 * BOOTHS > self.next.load(Ordering::Relaxed) => {}
            _ => self.wrong(format!("{id} was accepted: {status}")),
        }
    }

    fn wrong(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }
}

#[test]
fn ten_thousand_ballots_count_once_each_through_a_storm_of_kills() {
    let count = std::env::var("QUORATE_STORM_BALLOTS").ok().and_then(|text| text.parse().ok()).unwrap_or(BALLOTS);
    let begun = Instant::now();
    let extra = ["--block-interval-ms", "0", "--fault-model", "crash"];
    let mut voting = Voting::start_with(count, &extra, |network, text| {
        let genesis = network.path().join("genesis.toml");
        let rules = std::fs::read_to_string(&genesis).unwrap();
        std::fs::write(genesis, rules.replace("block_transactions_max = 32", "block_transactions_max = 512")).unwrap();
        text
    });
    voting.run_backend();
    let load = Arc::new(Load {
        url: voting.url.clone(),
        eid: voting.eid.clone(),
        ballots: std::mem::take(&mut voting.ballots),
        ids: voting.ids.clone(),
        next: AtomicUsize::new(0),
        accepted: AtomicUsize::new(0),
        confirmed: Mutex::default(),
        wrong: Mutex::default(),
        over: AtomicBool::new(false),
    });
    let mut random = Random::new();
    let booths: Vec<_> = (0..BOOTHS)
        .map(|_| {
            let (load, random) = (Arc::clone(&load), random.fork());
            std::thread::spawn(move || load.booth(random))
        })
        .collect();

    let mut kills = [0u32; 2];
    while !booths.iter().all(std::thread::JoinHandle::is_finished) && begun.elapsed() < WITHIN {
        std::thread::sleep(Duration::from_millis(200) + random.time(Duration::from_millis(800)));
        match random.below(4) {
            // The backend, which comes back at once.
            0 => {
                voting.network.kill(voting.backend);
                kills[0] += 1;
                voting.network.spawn(voting.backend);
            }
            // One, two or all validators, for a while.
            dice => {
                let mut killed: Vec<usize> = vec![0, 1, 2];
                while killed.len() > dice {
                    killed.remove(random.below(killed.len()));
                }
                voting.network.kill_together(&killed);
                kills[1] += killed.len() as u32;
                std::thread::sleep(Duration::from_millis(100) + random.time(Duration::from_millis(900)));
                killed.iter().for_each(|at| voting.network.spawn(*at));
                killed.iter().for_each(|at| voting.network.answers(*at));
            }
        }
    }
    load.over.store(begun.elapsed() >= WITHIN, Ordering::Relaxed);
    booths.into_iter().for_each(|booth| booth.join().unwrap());
    let accepted = load.accepted.load(Ordering::Relaxed);
    println!(
        "{accepted} ballots accepted in {:?}, through {} kills of the backend and {} of validators",
        begun.elapsed(),
        kills[0],
        kills[1]
    );
    assert_eq!(load.wrong.lock().unwrap().as_slice(), [] as [String; 0]);
    assert_eq!(accepted, load.ids.len(), "every booth had its answer");

    // The storm is over: each accepted ballot is final, once, at every validator.
    eventually("nothing is held any more", || {
        let (code, health) = voting.get("/health")?;
        (code == 200 && health["outbox"]["held"] == 0).then_some(())
    });
    for at in 0..3 {
        voting.counts(at, accepted as u64);
    }
    // The backend's own chain, and what checks it, may come there after the validators.
    let results = eventually("the backend's check has come to every ballot", || {
        let results = voting.results();
        (results["verification"]["total_votes"].as_u64()? >= accepted as u64).then_some(results)
    });
    assert_eq!(
        (&results["total_votes"], &results["verification"]["chain_valid"]),
        (&json!(accepted), &json!(true)),
        "{results}"
    );
    assert_eq!(results["verification"]["total_votes"], accepted);
    for id in &load.ids {
        let receipt = call(voting.network.rpc(0), "quorate_receipt", json!([id]));
        assert_eq!(receipt["status"], "final", "{id}");
        let place = (receipt["block_number"].as_u64().unwrap(), receipt["block_hash"].as_str().unwrap().to_owned());
        // What was called confirmed during the storm is where it was said to be.
        if let Some(said) = load.confirmed.lock().unwrap().get(id) {
            assert_eq!(*said, place, "{id}");
        }
    }
    assert!(load.confirmed.lock().unwrap().len() > 10, "some were seen confirmed in the storm");
    let backend = voting.backend;
    voting.network.stop_and_verify(&[0, backend]);
}
