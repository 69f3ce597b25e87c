//! Messages arrive whole and in order, the urgent ones first, and a slow receiver costs bounded memory.

use bytes::Bytes;
use quorate::transport::{Class, MESSAGE_BYTES_MAX, TransportCommand, TransportEvent};
use tokio::time::{Duration, Instant, sleep};

use super::network::{PATIENCE, TestNode, assert_undisturbed, pair, settings};

#[tokio::test]
async fn ten_thousand_messages_arrive_in_order() {
    let (one, mut two) = pair(&settings()).await;
    let (to, from) = (two.id, one.id);
    let sending = async {
        for number in 0..10_000u32 {
            let length = usize::try_from(number).unwrap() * 7 % 3000;
            let mut bytes = number.to_le_bytes().to_vec();
            bytes.resize(4 + length, u8::try_from(number % 251).unwrap());
            one.send(to, Class::Consensus, bytes).await;
            if number % 500 == 499 {
                // Votes are never dropped, so the test must not send faster than they go.
                sleep(Duration::from_millis(5)).await;
            }
        }
    };
    let receiving = async {
        for number in 0..10_000u32 {
            let (sender, class, bytes) = two.message().await;
            assert_eq!((sender, class), (from, Class::Consensus));
            assert_eq!(bytes[..4], number.to_le_bytes());
            let filler = u8::try_from(number % 251).unwrap();
            assert_eq!(bytes.len() - 4, usize::try_from(number).unwrap() * 7 % 3000);
            assert!(bytes[4..].iter().all(|byte| *byte == filler));
        }
    };
    tokio::join!(sending, receiving);
}

#[tokio::test]
async fn every_length_around_the_fragments_arrives_whole_in_every_class() {
    let (one, mut two) = pair(&settings()).await;
    for class in [Class::Consensus, Class::Pool, Class::Sync] {
        for length in [0, 1, 65_535, 65_536, 65_537, 131_072, 131_073, 1 << 20, MESSAGE_BYTES_MAX] {
            let sent: Bytes = (0..length).map(|at| u8::try_from(at % 253).unwrap()).collect();
            one.send(two.id, class, sent.clone()).await;
            let (from, got_class, got) = two.message().await;
            assert_eq!((from, got_class, got.len()), (one.id, class, length));
            assert!(got == sent, "{length} bytes of {class:?} changed on the way");
        }
    }
}

#[tokio::test]
async fn a_vote_overtakes_a_block_of_16_mib() {
    let (one, mut two) = pair(&settings()).await;
    one.send(two.id, Class::Sync, vec![7; 16 << 20]).await;
    // The block is under way before the vote is sent: its queue holds less than all of it.
    one.send(two.id, Class::Consensus, "vote").await;
    let (_, first, _) = two.message().await;
    assert_eq!(first, Class::Consensus);
    let (_, second, block) = two.message().await;
    assert_eq!((second, block.len()), (Class::Sync, 16 << 20));
}

#[tokio::test]
async fn a_message_over_the_limit_is_not_sent_and_harms_nothing() {
    let (mut one, mut two) = pair(&settings()).await;
    one.send(two.id, Class::Sync, vec![0; MESSAGE_BYTES_MAX + 1]).await;
    assert_undisturbed(&mut one, &mut two).await;
}

#[tokio::test]
async fn a_broadcast_reaches_all_and_a_message_to_a_stranger_nobody() {
    let (one, mut two) = pair(&settings()).await;
    let mut three = TestNode::start(3);
    three.dial(&one).await;
    three.up().await;
    one.send(super::network::id(77), Class::Consensus, "lost").await;
    // The third's side stands a moment before the first's: wait for that.
    let bytes = Bytes::from_static(b"to all");
    let deadline = Instant::now() + PATIENCE;
    while three.events.is_empty() {
        one.command(TransportCommand::Broadcast { class: Class::Pool, bytes: bytes.clone() }).await;
        sleep(Duration::from_millis(10)).await;
        assert!(Instant::now() < deadline);
    }
    assert_eq!(two.message().await.2, "to all");
    assert_eq!(three.message().await.2, "to all");
}

/// The receiver's kernel does nothing for a while: what waits is bounded, votes come when it is back, in order.
#[tokio::test]
async fn a_kernel_that_reads_nothing_costs_lower_messages_only() {
    let (one, mut two) = pair(&settings()).await;
    const SENT: usize = 20_000;
    let kib = Bytes::from(vec![1; 32 << 10]);
    for number in 0..SENT {
        one.send(two.id, Class::Pool, kib.clone()).await;
        if number % 100 == 0 {
            one.send(two.id, Class::Consensus, u64::try_from(number).unwrap().to_le_bytes().to_vec()).await;
        }
    }
    let (mut pool, mut next_vote) = (0, 0);
    while next_vote < SENT {
        match two.event().await {
            TransportEvent::Message { class: Class::Pool, .. } => pool += 1,
            TransportEvent::Message { bytes, .. } => {
                assert_eq!(bytes[..], u64::try_from(next_vote).unwrap().to_le_bytes());
                next_vote += 100;
            }
            other => panic!("the connection did not stay: {other:?}"),
        }
    }
    assert!(pool < SENT / 2, "{pool} of {SENT} were kept: 640 MB");
}

#[tokio::test]
async fn a_peer_that_takes_no_votes_is_let_go_with_the_reason() {
    let (mut one, two) = pair(&settings()).await;
    let votes = Bytes::from(vec![0; 64 << 10]);
    for _ in 0..6_000 {
        one.send(two.id, Class::Consensus, votes.clone()).await;
    }
    let (peer, reason) = one.down().await;
    assert_eq!(peer, two.id);
    assert!(reason.starts_with("does not take consensus messages"), "{reason}");
}
