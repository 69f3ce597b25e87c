//! The registry over real sockets: what is answered to the honest, the mistaken and the hostile.

mod support;

use std::time::{Duration, Instant};

use quorate::{
    Settings,
    plugin::{ServicePlugin as _, SetupError},
    transport::Identity as _,
};
use quorate_discovery_bootnode::{RegistryServicePlugin, record::Record, service::BODY_BYTES_MAX, table::STALE_AFTER};
use serde_json::{Value, json};
use support::{Bootnode, CHAIN, HandClock, Key, OTHER_CHAIN, ask, names, read_all, service_context};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

async fn bootnode() -> Bootnode {
    Bootnode::start(RegistryServicePlugin::default(), "").await
}

#[tokio::test]
async fn registered_nodes_find_each_other() {
    let bootnode = bootnode().await;
    let (one, two) = (Key::new(1).record("validator-1", 1000, 1), Key::new(2).record("validator 2", 2000, 1));
    assert_eq!(bootnode.register(&one).await, (200, json!({ "registered": true, "peers": [] })));
    let (status, answer) = bootnode.register(&two).await;
    assert_eq!((status, names(&answer)), (200, vec!["validator-1".to_owned()]));
    let told: Record = serde_json::from_value(answer["peers"][0].clone()).unwrap();
    assert_eq!(told, one, "whoever asks can check the signature");
    assert_eq!(names(&bootnode.get("/discover?node_id=validator%202").await.1), ["validator-1"]);
    assert_eq!(bootnode.names().await, ["validator 2", "validator-1"]);
    let (status, health) = bootnode.get("/health").await;
    assert_eq!((status, &health["status"], &health["peers"]), (200, &json!("healthy"), &json!(2)));
    let (_, stats) = bootnode.get("/stats").await;
    assert_eq!((&stats["records"], &stats["registered"], &stats["stale_after_s"]), (&json!(2), &json!(2), &json!(300)));
    bootnode.stop().await;
}

#[tokio::test]
async fn networks_do_not_mix() {
    let bootnode = bootnode().await;
    bootnode.register(&Key::new(1).record_in(Some(CHAIN), "validator-1", 1000, 1)).await;
    let (status, answer) = bootnode.register(&Key::new(2).record_in(Some(OTHER_CHAIN), "validator-1", 2000, 1)).await;
    assert_eq!((status, &answer["peers"]), (200, &json!([])));
    let (_, listed) = bootnode.get(&format!("/peers?chain_id={CHAIN}")).await;
    assert_eq!(listed["peers"].as_array().unwrap().len(), 1);
    assert_eq!(bootnode.get("/peers?chain_id=0x12").await.0, 400);
}

#[tokio::test]
async fn nobody_registers_anothers_name_address_or_key() {
    let bootnode = bootnode().await;
    let (owner, thief) = (Key::new(1), Key::new(2));
    bootnode.register(&owner.record("validator-1", 1000, 5)).await;
    let mut forged = owner.record("validator-1", 6000, 6);
    forged.signature = thief.record("validator-1", 6000, 6).signature;
    for (attack, status, error) in [
        (thief.record("validator-1", 2000, 9), 409, "name_taken"),
        (thief.record("other", 1000, 9), 409, "address_taken"),
        (forged, 403, "signature"),
        (owner.record("validator-1", 1000, 5), 409, "sequence"),
    ] {
        let (found, answer) = bootnode.register(&attack).await;
        assert_eq!((found, answer["error"].as_str(), &answer["registered"]), (status, Some(error), &json!(false)));
        assert!(answer["detail"].is_string());
    }
    let (_, listed) = bootnode.get("/peers").await;
    assert_eq!(listed["peers"].as_array().unwrap().len(), 1);
    assert_eq!(listed["peers"][0]["public_key"], json!(owner.public_key()));
    assert_eq!(listed["peers"][0]["p2p_url"], "tcp://127.0.0.1:1000");
}

#[tokio::test]
async fn an_old_sequence_is_told_what_is_known() {
    let bootnode = bootnode().await;
    let key = Key::new(1);
    bootnode.register(&key.record("a", 1000, 50)).await;
    let (status, answer) = bootnode.register(&key.record("a", 1000, 7)).await;
    assert_eq!((status, &answer["last_sequence"]), (409, &json!(50)));
}

#[tokio::test]
async fn entries_go_stale_and_heartbeats_keep_them() {
    let clock = HandClock::default();
    let bootnode = Bootnode::start(RegistryServicePlugin::with_clock(clock.clock()), "").await;
    let (quiet, alive) = (Key::new(1), Key::new(2));
    bootnode.register(&quiet.record("quiet", 1000, 1)).await;
    bootnode.register(&alive.record("alive", 2000, 1)).await;
    clock.advance(STALE_AFTER - Duration::from_secs(1));
    let beat = serde_json::to_string(&alive.heartbeat("alive", 2)).unwrap();
    assert_eq!(bootnode.post("/heartbeat", &beat).await.0, 200);
    assert_eq!(bootnode.names().await, ["alive", "quiet"]);
    clock.advance(Duration::from_secs(1));
    assert_eq!(bootnode.names().await, ["alive"]);
    let late = serde_json::to_string(&quiet.heartbeat("quiet", 2)).unwrap();
    let (status, answer) = bootnode.post("/heartbeat", &late).await;
    assert_eq!((status, answer["error"].as_str()), (404, Some("unknown")));
}

#[tokio::test]
async fn malformed_bodies_are_named() {
    let bootnode = bootnode().await;
    let good = serde_json::to_value(Key::new(1).record("a", 1000, 1)).unwrap();
    let with = |key: &str, value: Value| {
        let mut changed = good.clone();
        changed[key] = value;
        changed.to_string()
    };
    for (body, words) in [
        (String::new(), "EOF"),
        ("{".into(), "EOF"),
        ("[1]".into(), "invalid"),
        ("[".repeat(8000), "invalid"),
        (with("public_key", json!("0x12")), "64 hexadecimal digits"),
        (with("sequence", json!(-1)), "expected u64"),
        (with("p2p_url", json!("0.0.0.0:1")), "p2p_url"),
        (with("node_id", json!("a".repeat(65))), "node_id has 65 bytes"),
        (with("rpc_url", json!("javascript:1")), "rpc_url"),
    ] {
        let (status, answer) = bootnode.post("/register_peer", &body).await;
        assert_eq!(status, 400, "{body}");
        let detail = answer["detail"].as_str().unwrap_or_default().to_owned();
        assert!(detail.contains(words), "{detail}");
    }
    assert_eq!(bootnode.get("/register_peer").await.0, 405);
    assert_eq!(bootnode.get("/nowhere").await.0, 404);
    assert_eq!(bootnode.get("/discover").await.0, 400);
}

#[tokio::test]
async fn a_large_body_is_refused_before_it_is_read() {
    let bootnode = bootnode().await;
    let head = format!("POST /register_peer HTTP/1.1\r\nhost: b\r\ncontent-length: {}\r\n\r\n", 1u64 << 40);
    let mut stream = TcpStream::connect(bootnode.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = vec![b' '; BODY_BYTES_MAX];
    // It may close before it has taken all of this.
    for _ in 0..4 {
        if stream.write_all(&chunk).await.is_err() {
            break;
        }
    }
    let text = read_all(&mut stream).await;
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 413"), "{text}");
    let (status, _) = bootnode.post("/register_peer", &" ".repeat(BODY_BYTES_MAX + 1)).await;
    assert_eq!(status, 413);
    assert_eq!(bootnode.get("/health").await.0, 200);
}

#[tokio::test]
async fn slow_clients_are_cut_off_and_cost_others_nothing() {
    let settings = "header_wait_ms = 200\nbody_wait_ms = 200\nconnections_per_address_max = 8";
    let bootnode = Bootnode::start(RegistryServicePlugin::default(), settings).await;
    let start = Instant::now();
    let mut slow = Vec::new();
    for begun in ["", "GET /peers HTT", "POST /register_peer HTTP/1.1\r\nhost: b\r\ncontent-length: 100\r\n\r\n{"] {
        let mut stream = TcpStream::connect(bootnode.address).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    assert_eq!(bootnode.get("/health").await.0, 200);
    let mut answers = Vec::new();
    for mut stream in slow {
        answers.push(read_all(&mut stream).await);
    }
    assert!(start.elapsed() < Duration::from_secs(10), "each wait is bounded by its setting");
    assert!(answers[2].starts_with("HTTP/1.1 408"), "{:?}", answers[2]);
}

#[tokio::test]
async fn one_address_has_a_bounded_number_of_connections() {
    let settings = "connections_max = 2\nconnections_per_address_max = 2";
    let bootnode = Bootnode::start(RegistryServicePlugin::default(), settings).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(bootnode.address).await.unwrap();
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: b\r\n\r\n").await.unwrap();
        stream.readable().await.unwrap();
        held.push(stream);
    }
    let mut third = TcpStream::connect(bootnode.address).await.unwrap();
    assert_eq!(read_all(&mut third).await, "", "closed without a word");
    drop(held);
    let deadline = Instant::now() + support::DEADLINE;
    loop {
        let mut stream = TcpStream::connect(bootnode.address).await.unwrap();
        let sent = stream.write_all(b"GET /health HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n").await;
        if sent.is_ok() && read_all(&mut stream).await.starts_with("HTTP/1.1 200") {
            break;
        }
        assert!(Instant::now() < deadline, "room comes back when connections close");
    }
}

#[tokio::test]
async fn a_flood_from_one_address_is_answered_429_and_bounded() {
    let clock = HandClock::default();
    let settings = "requests_per_address_per_s = 20\nrecords_per_address_max = 10";
    let bootnode = Bootnode::start(RegistryServicePlugin::with_clock(clock.clock()), settings).await;
    let mut statuses = Vec::new();
    for number in 1..=100u16 {
        let record = Key::new(number.into()).record(&format!("n{number}"), 1000 + 2 * number, 1);
        statuses.push(bootnode.register(&record).await.0);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 10);
    assert!(statuses[10..80].iter().all(|status| *status == 429), "too many records of one address");
    assert!(statuses[80..].iter().all(|status| *status == 429), "too many requests of one address");
    assert_eq!(bootnode.get("/peers").await.1["error"], "rate");
    clock.advance(Duration::from_secs(1));
    assert_eq!(bootnode.names().await.len(), 10);
}

#[tokio::test]
async fn strays_are_shown_the_way() {
    let bootnode = bootnode().await;
    bootnode.register(&Key::new(1).record("validator-1", 1000, 1)).await;
    let upgrade = "GET /ws HTTP/1.1\r\nhost: b\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nconnection: close\r\n\r\n";
    let (status, answer) = ask(bootnode.address, upgrade).await;
    assert_eq!(status, 400);
    assert!(answer["detail"].as_str().unwrap().contains("http://127.0.0.1:1001"), "{answer}");
    let (status, answer) = bootnode.post("/", r#"{"jsonrpc":"2.0","id":7,"method":"eth_chainId","params":[]}"#).await;
    assert_eq!((status, &answer["id"], &answer["error"]["code"]), (200, &json!(7), &json!(-32601)));
    assert!(answer["error"]["data"]["detail"].as_str().unwrap().contains("http://127.0.0.1:1001"));
    let (_, batch) = bootnode.post("/rpc", r#"[{"id":1,"method":"a"},{"id":2,"method":"b"}]"#).await;
    assert_eq!(batch.as_array().map(Vec::len), Some(2));
}

#[test]
fn a_development_key_listens_on_loopback_only() {
    let settings = Settings::from_text("listen = \"0.0.0.0:0\"");
    let refused = RegistryServicePlugin::default().build(&settings, service_context());
    let Err(SetupError::Settings(errors)) = refused else { panic!("it listens") };
    assert!(errors[0].message.contains("development key"), "{errors:?}");
    assert_eq!(errors[0].line, 1);
}

#[test]
fn settings_are_checked_all_at_once_and_the_example_is_right() {
    let plugin = RegistryServicePlugin::default();
    plugin.check(&Settings::from_text(plugin.descriptor().example)).unwrap();
    let wrong = "listen = \"127.0.0.1:0\"\nconnections_max = 0\nrecords_per_address_max = 99999\nbody_wait_ms = 1\n";
    let Err(SetupError::Settings(errors)) = plugin.check(&Settings::from_text(wrong)) else { panic!("accepted") };
    let lines: Vec<_> = errors.iter().map(|error| error.line).collect();
    assert!([2, 3, 4].iter().all(|line| lines.contains(line)), "{errors:?}");
}
