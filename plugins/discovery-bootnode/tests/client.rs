//! A node's side over real sockets: bootnodes that are late, restart, hang, refuse or lie stop nobody.

mod support;

use std::net::Ipv4Addr;

use quorate::{
    Settings,
    discovery::DiscoveryEvent,
    plugin::{DiscoveryPlugin as _, SetupError},
    transport::Identity as _,
};
use quorate_discovery_bootnode::{BootnodeDiscoveryPlugin, RegistryServicePlugin, StaticDiscoveryPlugin};
use serde_json::{Value, json};
use support::{Bootnode, Client, Key, OTHER_CHAIN, free_address, liar};

fn settings(url: &str) -> String {
    format!("url = \"{url}\"\nrefresh_s = 1\n")
}

fn client(url: &str, number: u32, name: &str) -> Client {
    Client::start(&BootnodeDiscoveryPlugin, &settings(url), number, name, &format!("127.0.0.1:{}", 1000 * number))
}

fn http(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).into_bytes()
}

fn peers(records: &[Value]) -> Vec<u8> {
    http(&json!({ "registered": true, "peers": records }).to_string())
}

#[tokio::test]
async fn two_nodes_find_each_other() {
    let bootnode = Bootnode::start(RegistryServicePlugin::default(), "").await;
    let mut one = client(&bootnode.url(), 1, "one");
    one.source(true, "registered").await;
    let mut two = client(&bootnode.url(), 2, "two");
    assert_eq!(two.found().await, ("one".into(), "127.0.0.1:1000".into()));
    assert_eq!(one.found().await, ("two".into(), "127.0.0.1:2000".into()));
    one.stop().await;
    two.stop().await;
    bootnode.stop().await;
}

#[tokio::test]
async fn a_bootnode_that_is_down_at_start_is_tried_until_it_is_there() {
    let address = free_address();
    let mut one = client(&format!("http://{address}"), 1, "one");
    let detail = one.source(false, "http://127.0.0.1").await;
    assert!(detail.to_lowercase().contains("refused"), "{detail}");
    let bootnode = Bootnode::start_at(RegistryServicePlugin::default(), address, "").await;
    one.source(true, "registered").await;
    assert_eq!(bootnode.names().await, ["one"]);
}

#[tokio::test]
async fn a_bootnode_that_restarts_with_an_empty_table_is_told_again() {
    let bootnode = Bootnode::start(RegistryServicePlugin::default(), "").await;
    let address = bootnode.address;
    let mut one = client(&bootnode.url(), 1, "one");
    one.source(true, "registered").await;
    bootnode.stop().await;
    one.source(false, "").await;
    let bootnode = Bootnode::start_at(RegistryServicePlugin::default(), address, "").await;
    one.source(true, "registered").await;
    assert_eq!(bootnode.names().await, ["one"]);
    let mut two = client(&bootnode.url(), 2, "two");
    assert_eq!(two.found().await.0, "one");
}

#[tokio::test]
async fn lies_are_ignored_and_the_truth_among_them_is_found() {
    let honest = serde_json::to_value(Key::new(5).record("honest", 5000, 1)).unwrap();
    let mut forged = serde_json::to_value(Key::new(2).record("forged", 2000, 1)).unwrap();
    forged["p2p_url"] = json!("tcp://127.0.0.1:6666");
    let other_chain = serde_json::to_value(Key::new(3).record_in(Some(OTHER_CHAIN), "other", 3000, 1)).unwrap();
    let no_chain = serde_json::to_value(Key::new(4).record_in(None, "none", 4000, 1)).unwrap();
    let own = serde_json::to_value(Key::new(1).record("one", 7777, 1)).unwrap();
    let unreachable = serde_json::to_value(Key::new(6).record("no\nname", 6000, 1)).unwrap();
    let records = [forged, other_chain, no_chain, own, unreachable, json!(7), json!({ "node_id": "x" }), honest];
    let url = liar(peers(&records)).await;
    let mut one = client(&url, 1, "one");
    one.source(true, "they are ignored").await;
    let event = one.next().await;
    let DiscoveryEvent::Found { name, address, .. } = event else { panic!("{event:?}") };
    assert_eq!((name.as_str(), address.as_str()), ("honest", "127.0.0.1:5000"));
    one.stop().await;
}

/// With a wrong genesis a node finds nobody at its network's bootnode; that there are others is what tells it so.
#[tokio::test]
async fn where_nobody_is_of_this_network_those_of_another_are_told() {
    let other = serde_json::to_value(Key::new(3).record_in(Some(OTHER_CHAIN), "other", 3000, 1)).unwrap();
    let mut forged = serde_json::to_value(Key::new(2).record_in(Some(OTHER_CHAIN), "forged", 2000, 1)).unwrap();
    forged["p2p_url"] = json!("tcp://127.0.0.1:6666");
    let url = liar(peers(&[forged, other])).await;
    let mut one = client(&url, 1, "one");
    one.source(true, "registered").await;
    let event = one.next().await;
    let DiscoveryEvent::Elsewhere { address, chain_id, .. } = event else { panic!("{event:?}") };
    assert_eq!((address.as_str(), chain_id), ("127.0.0.1:3000", Some(OTHER_CHAIN)));
    one.stop().await;
}

#[tokio::test]
async fn an_older_record_is_not_believed_over_a_newer() {
    let old = liar(peers(&[serde_json::to_value(Key::new(5).record("x", 5000, 1)).unwrap()])).await;
    let new = liar(peers(&[serde_json::to_value(Key::new(5).record("x", 6000, 2)).unwrap()])).await;
    let settings = format!("urls = [\"{new}\", \"{old}\"]\nrefresh_s = 1\n");
    let mut one = Client::start(&BootnodeDiscoveryPlugin, &settings, 1, "one", "127.0.0.1:1000");
    let mut last = String::new();
    while last != "127.0.0.1:6000" {
        last = one.found().await.1;
    }
    one.stop().await;
}

#[tokio::test]
async fn garbage_and_giant_answers_are_errors_that_name_the_bootnode() {
    // It would be an empty list, were it read to its end.
    let giant = http(&format!("{{\"registered\":true,\"peers\":[{}]}}", " ".repeat(3 << 20)));
    let deep = http(&format!("{{\"peers\":{}", "[".repeat(1_000_000)));
    let many_headers = [b"HTTP/1.1 200 OK\r\n".to_vec(), b"a: b\r\n".repeat(200_000)].concat();
    for answer in [
        b"not http at all".to_vec(),
        Vec::new(),
        http("{"),
        http("{\"peers\": 1}"),
        http("\u{1b}[2J"),
        giant,
        deep,
        many_headers,
    ] {
        let url = liar(answer).await;
        let mut one = client(&url, 1, "one");
        let detail = one.source(false, &url).await;
        assert!(detail.len() < 600 && !detail.contains('\u{1b}'), "{detail}");
        one.stop().await;
    }
}

#[tokio::test]
async fn a_bootnode_that_hangs_does_not_hold_up_another_or_the_stop() {
    let silent = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let bootnode = Bootnode::start(RegistryServicePlugin::default(), "").await;
    bootnode.register(&Key::new(5).record("five", 5000, 1)).await;
    let settings = format!("urls = [\"http://{}\", \"{}\"]\n", silent.local_addr().unwrap(), bootnode.url());
    let mut one = Client::start(&BootnodeDiscoveryPlugin, &settings, 1, "one", "127.0.0.1:1000");
    assert_eq!(one.found().await.0, "five");
    one.stop().await;
}

#[tokio::test]
async fn a_node_whose_name_is_taken_still_finds_others_and_says_why() {
    let bootnode = Bootnode::start(RegistryServicePlugin::default(), "").await;
    bootnode.register(&Key::new(5).record("one", 5000, 1)).await;
    let mut one = client(&bootnode.url(), 1, "one");
    let detail = one.source(true, "does not take").await;
    assert!(detail.contains("node_id `one` belongs to"), "{detail}");
    assert_eq!(one.found().await.1, "127.0.0.1:5000");
}

#[tokio::test]
async fn a_sequence_ahead_of_the_clock_is_followed() {
    let bootnode = Bootnode::start(RegistryServicePlugin::default(), "").await;
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let soon = now.as_millis() as u64 + 3_600_000;
    bootnode.register(&Key::new(1).record("one", 9000, soon)).await;
    let mut one = client(&bootnode.url(), 1, "one");
    one.source(true, "registered").await;
    let (_, listed) = bootnode.get("/peers").await;
    assert_eq!(
        listed["peers"][0]["p2p_url"], "tcp://127.0.0.1:1000",
        "its own newer record replaced the one from before"
    );
    assert_eq!(listed["peers"][0]["sequence"], json!(soon + 1));
}

#[tokio::test]
async fn a_node_without_an_address_asks_but_does_not_register() {
    let bootnode = Bootnode::start(RegistryServicePlugin::default(), "").await;
    bootnode.register(&Key::new(5).record("five", 5000, 1)).await;
    let mut one = Client::start(&BootnodeDiscoveryPlugin, &settings(&bootnode.url()), 1, "one", "0.0.0.0:30303");
    one.source(true, "advertise").await;
    assert_eq!(one.found().await.0, "five");
    assert_eq!(bootnode.names().await, ["five"]);
}

#[tokio::test]
async fn more_peers_than_one_round_takes_come_in_later_rounds() {
    let records: Vec<_> = (0..100u16)
        .map(|number| {
            let key = Key::new(u32::from(number) + 10);
            serde_json::to_value(key.record(&format!("n{number}"), 10_000 + 2 * number, 1)).unwrap()
        })
        .collect();
    let url = liar(peers(&records)).await;
    let mut one = client(&url, 1, "one");
    let mut found = std::collections::BTreeSet::new();
    while found.len() < 100 {
        assert!(found.insert(one.found().await.0), "told once");
    }
    one.stop().await;
}

#[tokio::test]
async fn static_peers_are_told_without_this_node() {
    let own = Key::new(1).public_key();
    let other = Key::new(2).public_key();
    let settings = format!(
        "[[peer]]\nname = \"one\"\npublic_key = \"{own}\"\naddress = \"127.0.0.1:1000\"\n\
         [[peer]]\nname = \"two\"\npublic_key = \"{other}\"\naddress = \"tcp://Host-2:2000\"\n"
    );
    let mut one = Client::start(&StaticDiscoveryPlugin, &settings, 1, "one", "127.0.0.1:1000");
    one.source(true, "1 peers in the file").await;
    assert_eq!(one.found().await, ("two".into(), "host-2:2000".into()));
    one.stop().await;
}

#[test]
fn wrong_static_peers_are_named() {
    let key = Key::new(2).public_key();
    let settings = format!(
        "[[peer]]\nname = \"a\"\npublic_key = \"{key}\"\naddress = \"nowhere\"\n\
         [[peer]]\nname = \"b\"\npublic_key = \"{key}\"\naddress = \"h:1\"\n"
    );
    let Err(SetupError::Settings(errors)) = StaticDiscoveryPlugin.check(&Settings::from_text(&settings)) else {
        panic!("accepted")
    };
    let text = quorate::diagnostics::render(&errors);
    assert!(text.contains("address `nowhere` is no address"), "{text}");
    assert!(text.contains("peers `a` and `b` have the same public_key"), "{text}");
}
