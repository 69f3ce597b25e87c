//! Who is let in, and what the others are told.

use std::time::Duration;

use quorate::{
    ChainId,
    plugin::SetupError,
    transport::{Class, TransportCommand, TransportEvent},
};

use super::network::{TestNode, assert_undisturbed, context, id, ordered, pair, settings};
use crate::peer::{PeerSettings, Peers};

#[tokio::test]
async fn two_nodes_know_each_other_by_their_keys() {
    let (one, mut two) = (TestNode::start(1), TestNode::start(2));
    one.dial(&two).await;
    let TransportEvent::PeerUp { peer, name, address } = two.event().await else { panic!("not up") };
    assert_eq!((peer, name), (one.id, "node-1".to_owned()));
    assert_eq!(address, one.address.to_string(), "the address where it listens, not where it called from");
}

#[tokio::test]
async fn another_key_than_dialled_is_refused_and_both_are_told() {
    let (mut one, mut two) = (TestNode::start(1), TestNode::start(2));
    one.dial_as(id(3), &two.address.to_string()).await;
    let reason = format!("wrong key: expected {}, found {}", id(3), id(2));
    assert_eq!(one.refusal().await, (two.address.to_string(), reason.clone()));
    assert_eq!(two.refusal().await.1, format!("turned away by the peer: {reason}"));
}

#[tokio::test]
async fn another_network_is_refused_with_both_names_on_both_sides() {
    for (dialler, listener) in [(1, 2), (2, 1)] {
        let mut one = TestNode::start_with(&settings(), &context(dialler, 1));
        let mut two = TestNode::start_with(&settings(), &context(listener, 2));
        one.dial(&two).await;
        let chains = [ChainId::new([1; 32]), ChainId::new([2; 32])];
        let (address, reason) = one.refusal().await;
        assert_eq!(address, two.address.to_string());
        assert!(chains.iter().all(|chain| reason.contains(&chain.to_string())), "{reason}");
        let (address, reason) = two.refusal().await;
        assert_eq!(address, one.address.to_string());
        assert!(chains.iter().all(|chain| reason.contains(&chain.to_string())), "{reason}");
        assert!(reason.contains("wrong network"), "{reason}");
    }
}

#[tokio::test]
async fn nodes_that_dial_each_other_at_once_have_one_connection() {
    let (smaller, larger) = ordered(1, 2);
    for _ in 0..20 {
        let (mut one, mut two) = (TestNode::start(smaller), TestNode::start(larger));
        tokio::join!(one.dial(&two), two.dial(&one));
        assert_eq!((one.up().await, two.up().await), (two.id, one.id));
        one.send(two.id, Class::Consensus, "once").await;
        assert_eq!(two.message().await.2, "once");
        // A second connection would bring the message twice, or an up or down.
        one.quiet(30).await;
        two.quiet(10).await;
    }
}

#[tokio::test]
async fn two_processes_with_one_key_are_one_peer_and_both_are_heard() {
    let mut watcher = TestNode::start(1);
    let (mut owner, mut copy) = (TestNode::start(2), TestNode::start(2));
    owner.dial(&watcher).await;
    assert_eq!(watcher.up().await, id(2));
    copy.dial(&watcher).await;
    copy.up().await;
    watcher.send(id(2), Class::Consensus, "to both").await;
    assert_eq!((owner.message().await.2, copy.message().await.2), ("to both".into(), "to both".into()));
    owner.send(watcher.id, Class::Consensus, "vote a").await;
    assert_eq!(watcher.event_message().await, "vote a");
    copy.send(watcher.id, Class::Consensus, "vote b").await;
    assert_eq!(watcher.event_message().await, "vote b");
    copy.stop().await;
    owner.send(watcher.id, Class::Consensus, "vote c").await;
    assert_eq!(watcher.event_message().await, "vote c", "and no down before the last connection is gone");
    owner.stop().await;
    assert_eq!(watcher.down().await.0, id(2));
}

impl TestNode {
    /// The next event, which must be a message.
    async fn event_message(&mut self) -> bytes::Bytes {
        match self.event().await {
            TransportEvent::Message { bytes, .. } => bytes,
            other => panic!("expected a message, got {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_node_does_not_connect_to_itself_but_notices_a_copy_of_its_key() {
    let (mut one, mut copy) = (TestNode::start(1), TestNode::start(1));
    one.dial(&one).await;
    one.quiet(200).await;
    // Dialled under another name the copy is found by its key.
    one.dial_as(id(2), &copy.address.to_string()).await;
    assert!(one.refusal().await.1.contains(&format!("found {}", id(1))));
    assert!(copy.refusal().await.1.contains("wrong key"));
}

#[tokio::test]
async fn a_banned_peer_is_kept_out_for_the_time_and_then_comes_back() {
    let (mut one, mut two) = pair(&settings()).await;
    let begun = std::time::Instant::now();
    let (peer, reason) = (one.id, "sent nonsense".to_owned());
    two.command(TransportCommand::Disconnect { peer, reason, ban_ms: 700 }).await;
    assert_eq!(one.down().await, (two.id, "closed by the peer: sent nonsense".to_owned()));
    assert_eq!(two.down().await, (one.id, "sent nonsense".to_owned()));
    let (_, reason) = one.refusal().await;
    assert!(reason.contains("banned for") && reason.contains("sent nonsense"), "{reason}");
    assert_eq!((one.up().await, two.up().await), (two.id, one.id));
    assert!(begun.elapsed() >= Duration::from_millis(700));
    assert_undisturbed(&mut one, &mut two).await;
}

#[tokio::test]
async fn strangers_fill_their_places_and_validators_still_get_in() {
    let few = PeerSettings { connections_max: 2, ..settings() };
    let mut full = TestNode::start_with(&few, &context(1, 1));
    full.command(TransportCommand::Validators([id(9)].into())).await;
    let strangers = [TestNode::start(2), TestNode::start(3)];
    for stranger in &strangers {
        stranger.dial(&full).await;
        full.up().await;
    }
    let mut third = TestNode::start(4);
    third.dial(&full).await;
    assert_eq!(third.refusal().await.1, "turned away by the peer: too many connections: 2 of 2");
    let validator = TestNode::start(9);
    validator.dial(&full).await;
    assert_eq!(full.up().await, id(9));
    // The place of one who leaves goes to who waits.
    let [first, _second] = strangers;
    first.stop().await;
    assert_eq!(full.up().await, id(4));
}

#[test]
fn an_address_in_use_and_an_unsafe_address_are_refused_without_a_runtime() {
    let first = Peers::bind(&settings(), &context(1, 1)).unwrap();
    let taken = PeerSettings { listen: first.address(), ..settings() };
    let error = Peers::bind(&taken, &context(2, 1)).unwrap_err();
    assert!(matches!(error, SetupError::Listen { key: "peer_listen", .. }), "{error}");
    let open = PeerSettings { listen: ([0, 0, 0, 0], 0).into(), ..settings() };
    let error = Peers::bind(&open, &context(1, 1)).unwrap_err();
    assert!(error.to_string().contains("development key"), "{error}");
}
