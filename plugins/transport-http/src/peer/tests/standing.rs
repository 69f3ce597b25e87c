//! A connection comes back after every end, and ends in order.

use std::time::Duration;

use quorate::transport::{Class, TransportEvent};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::network::{TestNode, assert_undisturbed, context, impatient, pair, settings};
use crate::peer::PeerSettings;

#[tokio::test]
async fn a_killed_peer_is_noticed_and_connected_again_when_it_is_back() {
    let (mut one, two) = pair(&settings()).await;
    let again = PeerSettings { listen: two.address, ..settings() };
    two.kill().await;
    one.down().await;
    let mut two = TestNode::start_with(&again, &context(2, 1));
    assert_eq!((one.up().await, two.up().await), (two.id, one.id));
    assert_undisturbed(&mut one, &mut two).await;
}

#[tokio::test]
async fn a_peer_is_dialled_until_it_is_there_and_at_its_newest_address() {
    let mut one = TestNode::start(1);
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut two = TestNode::start(2);
    one.dial_as(two.id, &nobody.to_string()).await;
    one.quiet(300).await;
    one.dial_as(two.id, &format!("localhost:{}", two.address.port())).await;
    assert_eq!((one.up().await, two.up().await), (two.id, one.id));
}

#[tokio::test]
async fn a_stop_ends_connections_with_a_word_within_two_seconds() {
    let (mut one, two) = pair(&settings()).await;
    two.send(one.id, Class::Pool, "sent before the stop").await;
    assert!(two.stop().await < Duration::from_secs(2));
    assert_eq!(one.message().await.2, "sent before the stop");
    assert_eq!(one.down().await.1, "closed by the peer: the node is stopping");
}

#[tokio::test]
async fn a_stop_takes_less_than_two_seconds_though_the_kernel_reads_nothing() {
    let (one, two) = pair(&settings()).await;
    for _ in 0..5_000 {
        two.send(one.id, Class::Pool, vec![0; 8 << 10]).await;
    }
    assert!(one.stop().await < Duration::from_secs(2));
    assert!(two.stop().await < Duration::from_secs(2));
}

/// Waits until it is true.
async fn told(watching: &mut watch::Receiver<bool>) {
    watching.wait_for(|told| *told).await.unwrap();
}

/// A relay that can stop passing bytes without closing, as a cable that was pulled.
async fn relay(target: std::net::SocketAddr) -> (std::net::SocketAddr, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (pulled, watching) = watch::channel(false);
    tokio::spawn(async move {
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut watching = watching.clone();
            tokio::spawn(async move {
                let mut far = TcpStream::connect(target).await.unwrap();
                tokio::select! {
                    ended = copy_bidirectional(&mut near, &mut far) => drop(ended),
                    () = told(&mut watching) => std::future::pending().await,
                }
            });
        }
    });
    (address, pulled)
}

#[tokio::test]
async fn a_silent_peer_is_dead_after_three_heartbeats_and_a_quiet_one_is_not() {
    let mut one = TestNode::start_with(&impatient(), &context(1, 1));
    let mut two = TestNode::start_with(&impatient(), &context(2, 1));
    let (address, pulled) = relay(two.address).await;
    one.dial_as(two.id, &address.to_string()).await;
    assert_eq!((one.up().await, two.up().await), (two.id, one.id));
    // Nothing is said for three times the silence that is borne: heartbeats keep the connection.
    one.quiet(1500).await;
    two.quiet(1).await;
    pulled.send_replace(true);
    assert_eq!(one.down().await, (two.id, "silent for 500 ms".to_owned()));
    assert_eq!(two.down().await, (one.id, "silent for 500 ms".to_owned()));
}

/// Only one side noticed the end: the other would keep the dead connection for as long as silence is borne.
#[tokio::test]
async fn a_connection_that_only_the_other_side_holds_is_replaced_at_once() {
    for (dialler, listener) in [(1, 2), (2, 1)] {
        let mut one = TestNode::start_with(&settings(), &context(dialler, 1));
        let mut two = TestNode::start_with(&settings(), &context(listener, 1));
        let (address, cut) = half_cut_relay(two.address).await;
        one.dial_as(two.id, &address.to_string()).await;
        assert_eq!((one.up().await, two.up().await), (two.id, one.id));
        cut.send_replace(true);
        one.down().await;
        let begun = std::time::Instant::now();
        let TransportEvent::PeerDown { .. } = two.event().await else { panic!("expected down first") };
        assert_eq!((one.up().await, two.up().await), (two.id, one.id));
        assert!(begun.elapsed() < Duration::from_secs(5), "sooner than by silence");
        assert_undisturbed(&mut one, &mut two).await;
    }
}

/// A relay whose first connection is closed towards the dialler only, when told.
async fn half_cut_relay(target: std::net::SocketAddr) -> (std::net::SocketAddr, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (cut, mut watching) = watch::channel(false);
    tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = TcpStream::connect(target).await.unwrap();
        tokio::select! {
            ended = copy_bidirectional(&mut near, &mut far) => drop(ended),
            () = told(&mut watching) => drop(near),
        }
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut far_again = TcpStream::connect(target).await.unwrap();
            tokio::spawn(async move { drop(copy_bidirectional(&mut near, &mut far_again).await) });
            // The first connection's far end stays open.
            far.set_nodelay(true).unwrap();
        }
    });
    (address, cut)
}

#[tokio::test]
async fn a_service_that_is_no_peer_is_named_as_such() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut one = TestNode::start(1);
    one.dial_as(super::network::id(2), &address).await;
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut hello = [0; 64];
    socket.read_exact(&mut hello).await.unwrap();
    socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    let (refused, reason) = one.refusal().await;
    assert_eq!(refused, address);
    assert!(reason.starts_with("TLS handshake failed"), "{reason}");
}
