//! A validator that is slow, fails, drops what it takes, refuses what is good, or lies. It stands, for the backend alone, where validator 1 should be.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    backend::Voting,
    support::{eventually, http},
};

/// How the false validator behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// As the true one, whom it asks.
    Honest,
    /// Answers after the backend has given up.
    Slow,
    /// HTTP status 500.
    Failing,
    /// What is no JSON.
    Babbling,
    /// Says that it took a ballot, and drops it.
    Dropping,
    /// Refuses every ballot.
    Refusing,
    /// Shows as receipt of anything a receipt without a quorum.
    Forging,
    /// Says that it is of another network.
    Elsewhere,
}

struct Liar {
    manner: Arc<Mutex<Manner>>,
    url: String,
}

impl Liar {
    /// In the place of the validator at `real`.
    fn new(real: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let manner = Arc::new(Mutex::new(Manner::Honest));
        let shared = Arc::clone(&manner);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, real) = (Arc::clone(&shared), real.clone());
                std::thread::spawn(move || serve(stream, &shared, &real));
            }
        });
        Self { manner, url }
    }

    fn becomes(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }
}

/// Answers one connection's requests.
fn serve(stream: TcpStream, manner: &Mutex<Manner>, real: &str) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let manner = *manner.lock().unwrap();
        let (code, answer) = match manner {
            Manner::Slow => {
                std::thread::sleep(Duration::from_secs(4));
                (200, "{}".into())
            }
            Manner::Failing => (500, "{}".into()),
            Manner::Babbling => (200, "hello".into()),
            _ => (200, answer(&serde_json::from_slice(&body).ok()?, manner, real).to_string()),
        };
        let head =
            format!("HTTP/1.1 {code} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", answer.len());
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(answer.as_bytes()).ok()?;
    }
}

fn answer(request: &Value, manner: Manner, real: &str) -> Value {
    match request {
        Value::Array(calls) => calls.iter().map(|call| one(call, manner, real)).collect(),
        call => one(call, manner, real),
    }
}

fn one(call: &Value, manner: Manner, real: &str) -> Value {
    let says = |key: &str, value: Value| json!({ "jsonrpc": "2.0", "id": call["id"], key: value });
    let asked = || -> Value {
        let (_, body) = http(real, "POST", "/", call.to_string().as_bytes()).unwrap_or((0, "{}".into()));
        serde_json::from_str(&body).unwrap_or_default()
    };
    match (manner, call["method"].as_str().unwrap_or_default()) {
        (Manner::Dropping, "quorate_submit") => {
            let transaction = hex::decode(call["params"][0].as_str().unwrap().trim_start_matches("0x")).unwrap();
            let id = quorate_ballot::record::transaction_id(&transaction);
            says("result", json!(format!("0x{}", hex::encode(id))))
        }
        (Manner::Refusing, "quorate_submit") => {
            let data = json!({ "reason": "V20 ballot.late: voting ended yesterday", "kind": "not_allowed" });
            says("error", json!({ "code": -32011, "message": "rejected", "data": data }))
        }
        (Manner::Forging, "quorate_receipt") => says("result", forged(&call["params"][0], real)),
        (Manner::Elsewhere, "quorate_status") => {
            let mut answer = asked();
            answer["result"]["chain_id"] = json!(format!("0x{}", "77".repeat(32)));
            answer
        }
        _ => asked(),
    }
}

/// A true receipt of block 1, said to be of another transaction, and without signatures.
fn forged(id: &Value, real: &str) -> Value {
    let block = crate::support::call(real, "quorate_block", json!([1]));
    let mut found = crate::support::call(real, "quorate_receipt", json!([block["transactions"][0]]));
    found["transaction_id"] = id.clone();
    found["receipt"]["transaction_id"] = id.clone();
    found["receipt"]["proof"] = json!("0x");
    found
}

fn token(voting: &Voting) -> String {
    std::fs::read_to_string(voting.network.path().join("admin.token")).unwrap().trim().to_owned()
}

/// What the operator sees of the false validator.
fn seen(voting: &Voting, secret: &str) -> (Value, Value) {
    let answer = crate::limits::raw(
        &voting.url,
        &format!(
            "GET /api/admin/validators/health HTTP/1.1\r\nhost: a\r\nconnection: close\r\nauthorization: Bearer {secret}\r\n\r\n"
        ),
    );
    let body: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let all = body["validators"].as_array().unwrap();
    let liar = all.iter().find(|one| one["node_id"] == "validator-1").unwrap();
    (liar.clone(), body["disagreements"].clone())
}

#[test]
fn a_validator_that_is_slow_fails_or_lies_costs_no_vote_and_is_never_believed() {
    let mut liar = None;
    let mut voting = Voting::start(40, |network, text| {
        let real = network.rpc(0).to_owned();
        let false_one = Liar::new(real.clone());
        let text = text.replace(&format!("rpc_url = \"{real}\""), &format!("rpc_url = \"{}\"", false_one.url));
        liar = Some(false_one);
        // Nobody tells the backend of the true one.
        text.replace("\nbootnode = \"http", "\n# bootnode = \"http")
    });
    let (liar, secret) = (liar.unwrap(), token(&voting));
    voting.run_backend();
    voting.reaches(3);
    let mut next = 0;
    let mut all_confirmed = |voting: &Voting, count: usize, what: &str| {
        for voter in next..next + count {
            let (code, answer) = voting.vote(voter);
            assert!(code == 200 || code == 202, "{what}: {answer}");
            assert_eq!(answer["transaction_id"], voting.ids[voter]);
        }
        (next..next + count).for_each(|voter| drop(voting.confirmed(voter)));
        next += count;
    };
    all_confirmed(&voting, 3, "honest");

    for (manner, reason) in
        [(Manner::Slow, "no answer within"), (Manner::Failing, "HTTP status 500"), (Manner::Babbling, "not JSON")]
    {
        liar.becomes(manner);
        all_confirmed(&voting, 4, reason);
        eventually(&format!("{manner:?} is seen"), || {
            let (status, _) = seen(&voting, &secret);
            let told = status["reason"].as_str().unwrap_or_default().contains(reason);
            (status["status"] != "healthy" && told).then_some(())
        });
        liar.becomes(Manner::Honest);
        eventually("it is healthy again", || (seen(&voting, &secret).0["status"] == "healthy").then_some(()));
    }

    // What it dropped is sent to another; what it refuses is kept and sent to another.
    liar.becomes(Manner::Dropping);
    all_confirmed(&voting, 4, "dropping");
    liar.becomes(Manner::Refusing);
    all_confirmed(&voting, 4, "refusing");
    assert_eq!(seen(&voting, &secret).1, json!([]), "nothing so far was a lie that can be shown");

    // A receipt that proves nothing confirms nothing, and whoever shows it is told.
    liar.becomes(Manner::Forging);
    let nobody = format!("0x{}", "5a".repeat(32));
    eventually("the forged receipt is seen", || {
        let status = voting.status_of(&nobody);
        assert_eq!(status["confirmed"], false, "{status}");
        assert_eq!(voting.get(&format!("/api/votes/receipt?transaction_id={nobody}")).unwrap().0, 404);
        seen(&voting, &secret).1.to_string().contains("proves nothing").then_some(())
    });
    let (status, _) = seen(&voting, &secret);
    assert_eq!(status["status"], "degraded", "{status}");
    all_confirmed(&voting, 3, "forging");

    liar.becomes(Manner::Elsewhere);
    eventually("another network is seen", || {
        seen(&voting, &secret).1.to_string().contains("another network").then_some(())
    });
    all_confirmed(&voting, 3, "elsewhere");
    assert_eq!(voting.results()["total_votes"], next);
}
