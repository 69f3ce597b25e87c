//! A network with a backend and an open election, and a voter's view of it.

use std::path::PathBuf;

use serde_json::Value;

use crate::support::{Network, call, eventually, http, quorate};

/// A network whose backend is its last node.
pub(crate) struct Voting {
    pub(crate) network: Network,
    /// The backend's place among the nodes.
    pub(crate) backend: usize,
    pub(crate) url: String,
    pub(crate) eid: String,
    /// Bodies that are ready to be posted, one a voter.
    pub(crate) ballots: Vec<String>,
    /// The transactions' ids, in the same order.
    pub(crate) ids: Vec<String>,
}

impl Voting {
    /// Three validators and a backend with an open election of `voters`. `change` is given the backend's file before it starts.
    pub(crate) fn start(voters: u32, change: impl FnOnce(&Network, String) -> String) -> Self {
        let extra = ["--block-interval-ms", "0", "--delta-ms", "150"];
        Self::start_with(voters, &extra, change)
    }

    /// As [`Voting::start`], with options of `quorate init`.
    pub(crate) fn start_with(voters: u32, extra: &[&str], change: impl FnOnce(&Network, String) -> String) -> Self {
        let mut network = Network::init(3, &[&["--application", "voting"], extra].concat());
        let from = network.ports_from;
        let backend = network.add("backend", from + 9);
        let config = network.path().join("backend.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        let text = change(&network, text);
        std::fs::write(&config, text).unwrap();
        network.start_bootnode();
        (0..3).for_each(|at| network.spawn(at));
        (0..3).for_each(|at| network.answers(at));
        let mut voting = Self {
            url: format!("http://127.0.0.1:{}", from + 7),
            network,
            backend,
            eid: String::new(),
            ballots: Vec::new(),
            ids: Vec::new(),
        };
        voting.open(voters);
        voting
    }

    /// As [`Voting::start`], with the backend running and at the chain's tip.
    pub(crate) fn running(voters: u32) -> Self {
        let mut voting = Self::start(voters, |_, text| text);
        voting.run_backend();
        voting
    }

    fn demo(&self) -> PathBuf {
        self.network.path().join("demo")
    }

    fn open(&mut self, voters: u32) {
        let (dir, voters) = (self.network.path(), voters.to_string());
        let rpc = self.network.rpc(0).to_owned();
        let arguments = ["election", "demo", "--rpc", &rpc, "--voters", &voters, "--options", "2", "--seconds", "3600"];
        let (code, told) = quorate(&[&arguments[..], &["--dir", dir.to_str().unwrap()]].concat());
        assert_eq!(code, Some(0), "{told}");
        let about: Value =
            serde_json::from_str(&std::fs::read_to_string(self.demo().join("election.json")).unwrap()).unwrap();
        self.eid = about["eid"].as_str().unwrap().into();
        self.ids = about["transaction_ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().into()).collect();
        let ballots = std::fs::read_to_string(self.demo().join("ballots.ndjson")).unwrap();
        self.ballots = ballots.lines().map(str::to_owned).collect();
    }

    /// Starts the backend and waits until it knows the election.
    pub(crate) fn run_backend(&mut self) {
        self.network.spawn(self.backend);
        self.knows_the_election();
    }

    pub(crate) fn knows_the_election(&self) {
        let path = format!("/api/elections/{}", self.eid);
        eventually("the backend knows the election", || {
            let (code, answer) = self.get(&path)?;
            (code == 200 && answer["state"] == "manifest").then_some(())
        });
    }

    /// `GET`; `None` when nobody answers.
    pub(crate) fn get(&self, path: &str) -> Option<(u16, Value)> {
        let (code, body) = http(&self.url, "GET", path, b"")?;
        Some((code, serde_json::from_str(&body).unwrap_or(Value::String(body))))
    }

    /// `GET` that must be answered.
    pub(crate) fn asked(&self, path: &str) -> Value {
        let (code, answer) = self.get(path).unwrap_or_else(|| panic!("{path}: no answer"));
        assert_eq!(code, 200, "{path}: {answer}");
        answer
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Option<(u16, Value)> {
        let (code, body) = http(&self.url, "POST", path, body.as_bytes())?;
        Some((code, serde_json::from_str(&body).unwrap_or(Value::String(body))))
    }

    /// Posts a voter's ballot.
    pub(crate) fn vote(&self, voter: usize) -> (u16, Value) {
        self.post("/api/votes/submit", &self.ballots[voter]).unwrap_or_else(|| panic!("ballot {voter}: no answer"))
    }

    pub(crate) fn status_of(&self, id: &str) -> Value {
        self.asked(&format!("/api/votes/transaction-status?transaction_id={id}&election_id={}", self.eid))
    }

    pub(crate) fn status(&self, voter: usize) -> Value {
        self.status_of(&self.ids[voter])
    }

    /// Waits until a voter's ballot is confirmed by the backend's own chain, from which results and receipts come. Validators may know it before,
    /// and answer in its place.
    pub(crate) fn confirmed(&self, voter: usize) -> Value {
        eventually(&format!("ballot {voter} is confirmed"), || {
            let status = self.status(voter);
            (status["confirmed"] == true && status["source"] == "follower").then_some(status)
        })
    }

    pub(crate) fn results(&self) -> Value {
        self.asked(&format!("/api/votes/results?election_id={}", self.eid))
    }

    /// Waits until the backend's health says this of how many validators answer.
    pub(crate) fn reaches(&self, validators: u64) {
        eventually(&format!("{validators} validators answer"), || {
            let health = self.asked("/health");
            (health["reach"]["answering"] == validators).then_some(())
        });
    }

    /// Waits until one validator's application counts this many ballots, and no more: it may come to a block after the backend does.
    pub(crate) fn counts(&self, at: usize, ballots: u64) {
        let params = serde_json::json!(["election", { "id": self.eid }]);
        let counted = eventually(&format!("validator {at} counts {ballots} ballots"), || {
            let answer = call(self.network.rpc(at), "quorate_query", params.clone());
            answer["ballots"].as_u64().filter(|counted| *counted >= ballots)
        });
        assert_eq!(counted, ballots, "validator {at}");
    }

    /// `quorate verify receipt` of what the backend gives for a ballot.
    pub(crate) fn receipt_convinces(&self, voter: usize) {
        let receipt = self.asked(&format!("/api/votes/receipt?transaction_id={}", self.ids[voter]));
        let file = self.network.path().join("receipt.json");
        std::fs::write(&file, receipt.to_string()).unwrap();
        let (file, genesis) = (file.to_str().unwrap().to_owned(), self.network.genesis());
        let (code, told) = quorate(&["verify", "receipt", &file, "--genesis", genesis.to_str().unwrap()]);
        assert_eq!(code, Some(0), "{told}");
    }
}
