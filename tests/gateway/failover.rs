//! 3, 2, 1, 0 validators, and back.

use serde_json::json;

use crate::{
    backend::Voting,
    support::{call, eventually, http, quorate},
};

/// The operator's token of a network.
fn token(voting: &Voting) -> String {
    std::fs::read_to_string(voting.network.path().join("admin.token")).unwrap().trim().to_owned()
}

#[test]
fn the_table_of_failover_is_what_a_voter_sees() {
    let mut voting = Voting::running(12);
    voting.reaches(3);

    // Three of three.
    let (code, answer) = voting.vote(0);
    assert_eq!((code, &answer["status"]), (200, &json!("submitted")), "{answer}");
    assert_eq!(answer["transaction_id"], voting.ids[0]);
    assert!(answer["validator"].as_str().unwrap().starts_with("validator-"), "{answer}");
    voting.confirmed(0);
    voting.receipt_convinces(0);
    let (again, same) = voting.vote(0);
    assert_eq!(
        (again, &same["transaction_id"], &same["timestamp"]),
        (200, &answer["transaction_id"], &answer["timestamp"])
    );

    // Two of three: whoever is asked first may be the dead one.
    voting.network.kill(2);
    for voter in 1..4 {
        let (code, answer) = voting.vote(voter);
        assert_eq!((code, &answer["status"]), (200, &json!("submitted")), "{answer}");
        assert_ne!(answer["validator"], "validator-3");
    }
    (1..4).for_each(|voter| drop(voting.confirmed(voter)));
    voting.reaches(2);

    // One of three: it may take ballots, but nothing becomes final.
    voting.network.kill(1);
    voting.reaches(1);
    let (code, answer) = voting.vote(4);
    assert_eq!((code, &answer["status"]), (202, &json!("queued")), "{answer}");
    assert!(answer["warning"].as_str().unwrap().contains("1 of 3 validators answers, 2 are needed"), "{answer}");
    let status = voting.status(4);
    assert_eq!(
        (&status["status"], &status["confirmed"], &status["source"]),
        (&json!("queued"), &json!(false), &json!("outbox"))
    );
    let results = voting.results();
    assert_eq!(
        (&results["total_votes"], &results["held"], &results["verified"]["stale"]),
        (&json!(4), &json!(1), &json!(true))
    );

    // None: the backend goes on.
    voting.network.kill(0);
    voting.reaches(0);
    for voter in 5..8 {
        let (code, answer) = voting.vote(voter);
        assert_eq!((code, &answer["status"]), (202, &json!("queued")), "{answer}");
        assert!(answer.get("validator").is_none(), "{answer}");
    }
    voting.receipt_convinces(1);
    let verified = voting.post(&format!("/api/votes/verify-blockchain?election_id={}", voting.eid), "").unwrap().1;
    assert_eq!((&verified["chain_valid"], &verified["total_votes"]), (&json!(true), &json!(4)), "{verified}");
    assert_eq!((&verified["source"], &verified["verified"]["stale"]), (&json!("follower"), &json!(true)));
    let health = voting.asked("/health");
    assert_eq!((&health["status"], &health["outbox"]["held"]), (&json!("degraded"), &json!(4)), "{health}");
    assert_eq!(voting.status_of(&format!("0x{}", "ab".repeat(32)))["status"], "unknown");

    // The backend dies as well, between accepting and submitting: what it accepted it still has.
    voting.network.kill(voting.backend);
    voting.run_backend();
    for voter in 4..8 {
        assert_eq!(voting.status(voter)["status"], "queued");
        let (code, answer) = voting.vote(voter);
        assert_eq!((code, &answer["transaction_id"]), (202, &json!(voting.ids[voter])));
    }
    voting.confirmed(3);

    // And back: each is confirmed once.
    (0..3).for_each(|at| voting.network.restart(at));
    for voter in 4..8 {
        voting.confirmed(voter);
        voting.receipt_convinces(voter);
    }
    assert_eq!(voting.results()["total_votes"], 8);
    voting.reaches(3);
    eventually("nothing is held", || (voting.asked("/health")["outbox"]["held"] == 0).then_some(()));
    assert_eq!(voting.vote(8).0, 200);
    voting.confirmed(8);
    (0..3).for_each(|at| voting.counts(at, 9));
}

/// A ballot that goes to a validator, not through the backend, counts; a second one of the voter is refused everywhere.
#[test]
fn a_voter_has_one_ballot_whichever_way_it_goes() {
    let voting = Voting::running(4);
    let transaction = |voter: usize| {
        let body: serde_json::Value = serde_json::from_str(&voting.ballots[voter]).unwrap();
        use base64::Engine as _;
        let ballot =
            base64::engine::general_purpose::STANDARD.decode(body["encrypted_vote"].as_str().unwrap()).unwrap();
        format!("0x{}", hex::encode(quorate_ballot::record::Body::Ballot(ballot).unsigned().encode()))
    };
    // By-pass, then the same through the backend.
    assert_eq!(call(voting.network.rpc(1), "quorate_submit", json!([transaction(0)])), voting.ids[0]);
    voting.confirmed(0);
    let (code, answer) = voting.vote(0);
    assert_eq!((code, &answer["status"], &answer["transaction_id"]), (200, &json!("submitted"), &json!(voting.ids[0])));
    assert!(answer["block_hash"].is_string(), "{answer}");

    // A second ballot of the same credential: the first one's bytes with another signature are another transaction.
    let body: serde_json::Value = serde_json::from_str(&voting.ballots[1]).unwrap();
    assert_eq!(voting.vote(1).0, 200);
    let other = second_ballot(&voting, 1);
    let refused = voting.post("/api/votes/submit", &other).unwrap();
    assert_eq!(
        (refused.0, &refused.1["error"], &refused.1["winner"]),
        (409, &json!("duplicate"), &json!(voting.ids[1]))
    );
    voting.confirmed(1);
    let refused = voting.post("/api/votes/submit", &other).unwrap();
    assert_eq!((refused.0, &refused.1["winner"]), (409, &json!(voting.ids[1])));
    assert_eq!(body["election_id"], voting.eid);
    voting.counts(0, 2);
}

/// Another ballot with the credential of `voter`: of the right form, its proofs wrong. Whether the voter has one already is asked first.
fn second_ballot(voting: &Voting, voter: usize) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let mut body: serde_json::Value = serde_json::from_str(&voting.ballots[voter]).unwrap();
    let mut ballot = STANDARD.decode(body["encrypted_vote"].as_str().unwrap()).unwrap();
    let last = ballot.len() - 1;
    ballot[last] ^= 1;
    body["encrypted_vote"] = json!(STANDARD.encode(ballot));
    body.to_string()
}

#[test]
fn a_full_outbox_refuses_and_says_so_and_takes_again_when_there_is_room() {
    let mut voting = Voting::start(8, |_, text| text.replace("outbox_count_max = 50000", "outbox_count_max = 3"));
    voting.run_backend();
    (0..3).for_each(|at| voting.network.kill(at));
    voting.reaches(0);
    for voter in 0..3 {
        assert_eq!(voting.vote(voter).0, 202);
    }
    let answer = http(&voting.url, "POST", "/api/votes/submit", voting.ballots[3].as_bytes()).unwrap();
    assert_eq!(answer.0, 503, "{}", answer.1);
    assert!(answer.1.contains("outbox_full") && answer.1.contains("was not taken"), "{}", answer.1);
    let health = voting.asked("/health");
    assert_eq!(
        (&health["status"], &health["accepting"], &health["outbox"]["full"]),
        (&json!("full"), &json!(false), &json!(true))
    );
    assert_eq!(voting.get("/ready").unwrap().0, 503);
    // The same ballot again is no new one.
    assert_eq!(voting.vote(1).0, 202);
    (0..3).for_each(|at| voting.network.restart(at));
    (0..3).for_each(|voter| drop(voting.confirmed(voter)));
    eventually("there is room", || (voting.vote(3).0 == 200).then_some(()));
    voting.confirmed(3);
}

#[test]
fn the_operator_sees_exports_and_retries_what_is_held() {
    let mut voting = Voting::running(4);
    let secret = token(&voting);
    (0..3).for_each(|at| voting.network.kill(at));
    voting.reaches(0);
    (0..3).for_each(|voter| assert_eq!(voting.vote(voter).0, 202));
    let asked = |method: &str, path: &str, token: &str| {
        let head = format!("authorization: Bearer {token}\r\n");
        crate::limits::raw(
            &voting.url,
            &format!("{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{head}content-length: 0\r\n\r\n"),
        )
    };
    for (method, path) in [
        ("GET", "/api/admin/validators/health"),
        ("POST", "/api/admin/validators/refresh-status"),
        ("GET", "/api/admin/outbox"),
        ("GET", "/api/admin/outbox/export"),
        ("POST", "/api/admin/outbox/retry"),
    ] {
        for wrong in ["", "x", &secret[1..], &format!("{secret}x")] {
            let answer = asked(method, path, wrong);
            assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("operator_only"), "{path}: {answer}");
        }
        assert!(asked(method, path, &secret).starts_with("HTTP/1.1 200"), "{path}");
    }
    let outbox = asked("GET", "/api/admin/outbox", &secret);
    assert!(outbox.contains("\"held\":3") && outbox.contains(&voting.ids[2]), "{outbox}");
    let export = asked("GET", "/api/admin/outbox/export", &secret);
    for ballot in &voting.ballots[..3] {
        let body: serde_json::Value = serde_json::from_str(ballot).unwrap();
        assert!(export.contains(body["encrypted_vote"].as_str().unwrap()));
    }
    let health = asked("GET", "/api/admin/validators/health", &secret);
    assert!(health.contains("\"unreachable\":3") && health.contains("\"total\":3"), "{health}");
    // The outbox is a chain that anybody audits.
    voting.network.kill(voting.backend);
    let ledger = voting.network.path().join("data/backend/services/0-gateway/outbox");
    let genesis = ledger.join("genesis.toml");
    let arguments = ["verify", "--data", ledger.to_str().unwrap(), "--genesis", genesis.to_str().unwrap()];
    let (code, told) = quorate(&arguments);
    assert_eq!(code, Some(0), "{told}");
    voting.run_backend();
    (0..3).for_each(|at| voting.network.restart(at));
    (0..3).for_each(|voter| drop(voting.confirmed(voter)));
    // No token is in the log, and neither ballots nor ids.
    let log = voting.network.log(voting.backend);
    assert!(log.contains("/api/votes/submit") && !log.contains(&secret) && !log.contains(&voting.ids[0]));
}

#[test]
fn a_bootnode_that_is_gone_at_the_start_is_not_missed() {
    let mut voting = Voting::start(3, |_, text| {
        // Nothing but the bootnode, to find where to submit.
        text[..text.find("validator = [\n").unwrap()].to_owned()
    });
    voting.network.kill_bootnode();
    voting.run_backend();
    let health = voting.asked("/health");
    assert_eq!(health["reach"]["answering"], 0, "{health}");
    // It follows the chain, but knows nobody to submit to: it holds the vote, and says so.
    let (code, answer) = voting.vote(0);
    assert_eq!((code, &answer["status"]), (202, &json!("queued")), "{answer}");
    voting.network.start_bootnode();
    voting.confirmed(0);
    voting.reaches(3);
    assert_eq!(voting.vote(1).0, 200);
    voting.confirmed(1);
}

/// A double click, a retry by a proxy, and people who close the page: one ballot each, and none that is held and forgotten.
#[test]
fn the_same_ballot_at_once_and_voters_who_hang_up_count_once_each() {
    let voting = Voting::running(20);
    for voter in 0..4 {
        let answers: Vec<(u16, serde_json::Value)> = std::thread::scope(|scope| {
            let posts: Vec<_> = (0..6).map(|_| scope.spawn(|| voting.vote(voter))).collect();
            posts.into_iter().map(|post| post.join().unwrap()).collect()
        });
        for (code, answer) in answers {
            assert!(code == 200 || code == 202, "{code} {answer}");
            assert_eq!(answer["transaction_id"], voting.ids[voter]);
        }
    }
    for voter in 4..20 {
        let body = &voting.ballots[voter];
        let head = format!("POST /api/votes/submit HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
        let mut stream = std::net::TcpStream::connect(voting.url.trim_start_matches("http://")).unwrap();
        std::io::Write::write_all(&mut stream, format!("{head}{body}").as_bytes()).unwrap();
        std::thread::sleep(std::time::Duration::from_micros(voter as u64 * 400));
        drop(stream);
    }
    // What it took it forwards by itself, and the room of what it did not take is free.
    eventually("nothing is held", || (voting.asked("/health")["outbox"]["held"] == 0).then_some(()));
    for voter in 0..20 {
        let status = voting.status(voter);
        assert!(status["confirmed"] == true || status["status"] == "unknown", "{status}");
        assert!(voter >= 4 || status["confirmed"] == true, "{status}");
        assert_eq!(voting.vote(voter).0, 200);
        voting.confirmed(voter);
    }
    voting.counts(0, 20);
}
