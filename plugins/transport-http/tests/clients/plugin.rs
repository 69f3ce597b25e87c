//! Both sides under the plugin's name.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use quorate::{
    Settings,
    plugin::{SetupError, TransportPlugin},
    transport::{COMMANDS_MAX, EVENTS_MAX, Io, Purpose, TransportCommand, TransportContext},
};
use quorate_transport_http::HttpPlugin;
use serde_json::json;
use tokio::sync::mpsc;

use crate::{
    fake::{FakeNode, context},
    net::ok,
};

fn settings(text: &str) -> Settings {
    Settings::new("node.toml", &format!("[transport]\nplugin = \"http\"\n{text}"), &["transport"], &["plugin"])
}

fn refusal(text: &str, context: TransportContext) -> SetupError {
    match HttpPlugin.bind(&settings(text), context) {
        Ok(_) => panic!("{text} was not refused"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn it_binds_both_sides_feeds_subscribers_and_stops() {
    let node = FakeNode::new();
    let text = "rpc_listen = \"127.0.0.1:0\"\npeer_listen = \"127.0.0.1:0\"\nrpc_advertise = \"http://a.example\"\n";
    let transport = HttpPlugin.bind(&settings(text), context(&node)).unwrap();
    assert_eq!(transport.advertised(Purpose::Rpc).as_deref(), Some("http://a.example"));
    assert_eq!(transport.advertised(Purpose::Peer), None);
    let listening = transport.listening();
    let at = |purpose| listening.iter().find(|(found, _)| *found == purpose).unwrap().1;
    let address = at(Purpose::Rpc);
    assert!(address.port() != 0 && at(Purpose::Peer).port() != 0 && address != at(Purpose::Peer));
    let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
    let (outbox, _events) = mpsc::channel(EVENTS_MAX);
    let running = tokio::spawn(transport.run(Io { commands: inbox, events: outbox }));
    assert_eq!(ok(address, "net_listening", json!([])).await, true);
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{address}")).await.unwrap();
    let subscribe = json!({ "jsonrpc": "2.0", "id": 1, "method": "quorate_subscribe", "params": ["blocks"] });
    futures_util::SinkExt::send(&mut socket, subscribe.to_string().into()).await.unwrap();
    socket.next().await.unwrap().unwrap();
    commands.send(TransportCommand::Validators(Arc::new([]))).await.unwrap();
    commands.send(TransportCommand::Committed(node.seal())).await.unwrap();
    let told = socket.next().await.unwrap().unwrap();
    assert!(told.to_text().unwrap().contains("\"height\":1"));
    commands.send(TransportCommand::Stop).await.unwrap();
    tokio::time::timeout(Duration::from_secs(2), running).await.expect("stops in time").unwrap().unwrap();
}

#[test]
fn a_development_key_does_not_listen_beyond_loopback() {
    let context = TransportContext { loopback_only: true, ..context(&FakeNode::new()) };
    let error = refusal("rpc_listen = \"0.0.0.0:0\"\npeer_listen = \"[::]:0\"\n", context).to_string();
    assert!(error.contains("node.toml:3:14: `rpc_listen` is \"0.0.0.0:0\""), "{error}");
    assert!(error.contains("node.toml:4:15: `peer_listen` is \"[::]:0\""), "{error}");
    assert!(error.contains("development key"), "{error}");
}

#[test]
fn an_address_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let text = format!("rpc_listen = \"{address}\"\npeer_listen = \"127.0.0.1:0\"\n");
    let error = refusal(&text, context(&FakeNode::new())).to_string();
    assert!(error.contains(&format!("rpc_listen = \"{address}\"")), "{error}");
}

#[test]
fn its_example_is_complete() {
    let descriptor = HttpPlugin.descriptor();
    assert_eq!(descriptor.name, "http");
    HttpPlugin.check(&Settings::from_text(descriptor.example)).unwrap();
    assert!(HttpPlugin.check(&Settings::from_text("rpc_listen = 5\n")).is_err());
}
