//! Rubbish, too much, too slow, and without permission.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::backend::Voting;

/// What a server answers to these bytes, until it closes; what came until it was silent for long.
pub(crate) fn raw(url: &str, bytes: &str) -> String {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // It may close before it has read all.
    drop(stream.write_all(bytes.as_bytes()));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn what_is_no_ballot_gets_an_error_that_says_what_would_be_right() {
    let voting = Voting::running(2);
    let good: serde_json::Value = serde_json::from_str(&voting.ballots[0]).unwrap();
    let with = |key: &str, value: serde_json::Value| {
        let mut body = good.clone();
        body[key] = value;
        body.to_string()
    };
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let bytes = STANDARD.decode(good["encrypted_vote"].as_str().unwrap()).unwrap();
    let changed = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        with("encrypted_vote", json!(STANDARD.encode(bytes)))
    };
    let len = bytes.len();
    let cases: Vec<(&str, String, u16, &str)> = vec![
        ("nothing", String::new(), 400, "malformed"),
        ("no JSON", "{".into(), 400, "malformed"),
        ("a list", "[]".into(), 400, "malformed"),
        ("a field is missing", json!({"election_id": voting.eid}).to_string(), 400, "malformed"),
        ("the choice beside it", with("candidate_id", json!(2)), 400, "choice_revealed"),
        ("the choice beside it, as text", with("choice", json!("Ada")), 400, "choice_revealed"),
        ("no base64", with("encrypted_vote", json!("*")), 400, "malformed"),
        ("empty", with("encrypted_vote", json!("")), 400, "malformed"),
        ("no ballot", with("encrypted_vote", json!(STANDARD.encode([7; 300]))), 400, "malformed"),
        ("cut short", with("encrypted_vote", json!(STANDARD.encode(&bytes[..len - 1]))), 400, "malformed"),
        ("another election named", with("election_id", json!(format!("0x{}", "11".repeat(32)))), 400, "malformed"),
        ("another version", changed(0), 400, "malformed"),
        ("a changed proof", changed(len - 200), 401, "not_signed"),
        ("a changed signature", changed(len - 1), 401, "not_signed"),
        ("another credential's place", changed(36), 401, "not_listed"),
    ];
    for (what, body, code, error) in cases {
        let (found, answer) = voting.post("/api/votes/submit", &body).unwrap();
        assert_eq!((found, &answer["error"]), (code, &json!(error)), "{what}: {answer}");
        assert!(answer["detail"].as_str().unwrap().len() > 10, "{what}: {answer}");
    }
    // An election that nobody opened: the ballot says so itself.
    let mut elsewhere = bytes.clone();
    elsewhere[1..33].copy_from_slice(&[9; 32]);
    let body = json!({"election_id": format!("0x{}", "09".repeat(32)), "encrypted_vote": STANDARD.encode(elsewhere)});
    let (code, answer) = voting.post("/api/votes/submit", &body.to_string()).unwrap();
    assert_eq!((code, &answer["error"]), (422, &json!("unknown_election")), "{answer}");

    for (path, code) in [
        ("/api/votes/transaction-status", 400),
        ("/api/votes/transaction-status?transaction_id=7", 400),
        ("/api/votes/receipt?transaction_id=%00", 400),
        ("/api/votes/results", 400),
        ("/api/votes/results?election_id=x", 400),
        ("/api/elections/0x1", 400),
        ("/api/elections?limit=0", 400),
        ("/nowhere", 404),
        ("/api/votes/submit", 405),
    ] {
        assert_eq!(voting.get(path).unwrap().0, code, "{path}");
    }
    let nothing = format!("0x{}", "22".repeat(32));
    assert_eq!(voting.get(&format!("/api/votes/receipt?transaction_id={nothing}")).unwrap().0, 404);
    assert_eq!(voting.get(&format!("/api/votes/results?election_id={nothing}")).unwrap().0, 404);
    assert_eq!(voting.get(&format!("/api/elections/{nothing}")).unwrap().0, 404);
    assert_eq!(voting.post(&format!("/api/votes/verify-blockchain?election_id={nothing}"), "").unwrap().0, 404);

    // A ballot of one election, asked for as of another.
    voting.vote(0);
    voting.confirmed(0);
    let path = format!("/api/votes/transaction-status?transaction_id={}&election_id={nothing}", voting.ids[0]);
    assert_eq!(voting.get(&path).unwrap().0, 400);
    // Its alias, and bare digits.
    for form in [voting.ids[0].replace("0x", "tx-"), voting.ids[0].replace("0x", "")] {
        assert_eq!(voting.status_of(&form)["confirmed"], true);
    }
}

#[test]
fn bodies_heads_rates_and_connections_are_bounded() {
    let mut voting = Voting::start(1, |_, text| {
        text.replace(
            "cors_origins = []\n",
            "cors_origins = [\"https://booth.example\"]\nheader_timeout_s = 1\nbody_timeout_s = 1\nconnections_per_address_max = 8\nrequests_per_address_per_s = 50\n",
        )
    });
    voting.run_backend();
    let body = "x".repeat((64 << 10) + 1);
    let head = format!("POST /api/votes/submit HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
    assert!(raw(&voting.url, &head).starts_with("HTTP/1.1 413"), "refused by its length alone");
    let chunked = format!(
        "POST /api/votes/submit HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    assert!(raw(&voting.url, &chunked).starts_with("HTTP/1.1 413"));
    let slow = Instant::now();
    let answer = raw(&voting.url, "POST /api/votes/submit HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc");
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("too_slow"), "{answer}");
    raw(&voting.url, "GET /health HTTP/1.1\r\nhost");
    assert!(slow.elapsed() < Duration::from_secs(20), "{:?}", slow.elapsed());
    let long = raw(&voting.url, &format!("GET /health HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(40_000)));
    assert!(long.starts_with("HTTP/1.1 431") || long.is_empty(), "{long}");
    raw(&voting.url, "\u{1}\u{2}rubbish\r\n\r\n");

    // The ninth connection of one address sees itself closed, and room comes back.
    let held: Vec<TcpStream> =
        (0..8).map(|_| TcpStream::connect(voting.url.trim_start_matches("http://")).unwrap()).collect();
    crate::support::eventually("one too many is closed", || {
        raw(&voting.url, "GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").is_empty().then_some(())
    });
    drop(held);
    crate::support::eventually("there is room again", || voting.get("/health").filter(|(code, _)| *code == 200));

    // Only the origin that is named may ask from a page; every answer has an id.
    let from = |origin: &str| {
        raw(
            &voting.url,
            &format!(
                "GET /health HTTP/1.1\r\nhost: a\r\norigin: {origin}\r\nx-request-id: my-id.1\r\nconnection: close\r\n\r\n"
            ),
        )
    };
    let allowed = from("https://booth.example");
    assert!(allowed.contains("access-control-allow-origin: https://booth.example"), "{allowed}");
    assert!(allowed.contains("x-request-id: my-id.1"), "{allowed}");
    assert!(!from("https://other.example").contains("access-control-allow-origin: https://other"), "another origin");

    // More than the rate and its burst.
    let limited = (0..400).any(|_| voting.get("/health").is_some_and(|(code, _)| code == 429));
    assert!(limited);
    crate::support::eventually("the rate is back", || voting.get("/health").filter(|(code, _)| *code == 200));
}

#[test]
fn with_a_certificate_it_speaks_tls() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let mut voting = Voting::start(1, |network, text| {
        std::fs::write(network.path().join("gateway.pem"), made.cert.pem()).unwrap();
        std::fs::write(network.path().join("gateway.key"), made.signing_key.serialize_pem()).unwrap();
        text.replace("# [service.tls]", "[service.tls]")
            .replace("# cert_file", "cert_file")
            .replace("# key_file", "key_file")
    });
    voting.network.spawn(voting.backend);
    let port = voting.url.rsplit(':').next().unwrap();
    let certificate = voting.network.path().join("gateway.pem");
    let get = |url: &str| {
        let mut curl = Command::new("curl");
        curl.args(["-s", "--max-time", "10", "--cacert"]).arg(&certificate).arg(url);
        let output = curl.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    crate::support::eventually("it answers over TLS", || {
        let (good, answer) = get(&format!("https://localhost:{port}/health"));
        (good && answer.contains("\"role\":\"gateway\"")).then_some(())
    });
    assert!(!get(&format!("http://localhost:{port}/health")).0, "plain HTTP is not answered");
}
