//! A receiver that is slow, urgent messages, and stopping.

use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate::transport::{Class, EVENTS_MAX, TransportEvent};

use super::{
    super::{
        identity::PATIENCE,
        rule::{Outcome, Trouble, broken, ensure},
    },
    TransportSuite,
    net::{Net, Node, undisturbed},
};
use crate::sim::Rng;

/// Bytes of each message that urgent ones overtake; more of them than sockets hold.
const LONG: usize = 4 << 20;

/// How many of them.
const LONGS: usize = 8;

/// Messages of the pool sent to a receiver that is slow.
const FLOOD: usize = 20_000;

/// Bytes of each.
const FLOOD_BYTES: usize = 16 << 10;

/// Of the flood this may be held for a receiver that takes nothing.
const HELD_BYTES_MAX: usize = FLOOD * FLOOD_BYTES / 2;

/// Consensus messages among the flood.
const VOTES: u64 = 200;

/// The pause after each vote: what a transport takes on without end shall have the time to get where it is held.
const PAUSE: Duration = Duration::from_millis(15);

/// How long the flood has been over when nothing of it comes any more.
const OVER: Duration = Duration::from_secs(2);

/// Waits until the transport has taken every command.
fn taken(node: &Node<'_>) -> Outcome {
    let deadline = Instant::now() + PATIENCE;
    while node.commands.capacity() < node.commands.max_capacity() {
        ensure(Instant::now() < deadline, || {
            format!("while a peer is slow the transport leaves commands untaken for {PATIENCE:?}")
        })?;
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

pub(super) fn urgent_overtakes(suite: &TransportSuite<'_>, _: &mut Rng) -> Outcome {
    let net = Net::new(suite)?;
    let (one, mut two) = net.pair_with(1)?;
    let long = Bytes::from(vec![0; LONG]);
    for _ in 0..LONGS {
        one.send(two.id, Class::Sync, long.clone())?;
    }
    one.send(two.id, Class::Pool, "a transaction")?;
    one.send(two.id, Class::Consensus, "a vote")?;
    taken(&one)?;
    let mut order = Vec::new();
    for _ in 0..LONGS + 2 {
        order.push(two.message()?.1);
    }
    let last = order.iter().rposition(|class| *class == Class::Sync);
    for class in [Class::Consensus, Class::Pool] {
        let at = order.iter().position(|one| *one == class);
        ensure(at < last, || {
            format!("{LONGS} long Sync messages waited, and a {class:?} message came behind all of them: {order:?}")
        })?;
    }
    Ok(())
}

/// Floods a receiver that takes nothing for a while: the numbers of the votes which it got then, and the bytes of the flood.
fn flood(suite: &TransportSuite<'_>) -> Result<(Vec<u64>, usize), Trouble> {
    let net = Net::new(suite)?;
    let (one, mut two) = net.pair_with(16)?;
    let ballast = Bytes::from(vec![1; FLOOD_BYTES]);
    for number in 0..VOTES {
        one.send(two.id, Class::Consensus, number.to_be_bytes().to_vec())?;
        for _ in 0..FLOOD as u64 / VOTES {
            one.send(two.id, Class::Pool, ballast.clone())?;
        }
        std::thread::sleep(PAUSE);
    }
    taken(&one)?;
    let (mut votes, mut bytes_held) = (Vec::new(), 0);
    while let Some(event) = two.event(OVER)? {
        match event {
            TransportEvent::Message { class: Class::Consensus, bytes, .. } => {
                votes.push(bytes.first_chunk().map_or(u64::MAX, |first| u64::from_be_bytes(*first)));
            }
            TransportEvent::Message { bytes, .. } => bytes_held += bytes.len(),
            TransportEvent::PeerDown { reason, .. } => {
                return broken(format!("a peer that was slow for a moment was let go: {reason}"));
            }
            _ => {}
        }
    }
    Ok((votes, bytes_held))
}

pub(super) fn slow_loses_nothing(suite: &TransportSuite<'_>, _: &mut Rng) -> Outcome {
    let votes = flood(suite)?.0;
    let missing = (0..VOTES).find(|number| !votes.contains(number));
    ensure(votes.iter().copied().eq(0..VOTES), || {
        format!(
            "of {VOTES} consensus messages among {FLOOD} of the pool {} arrived; first missing: {missing:?}",
            votes.len()
        )
    })
}

pub(super) fn slow_is_bounded(suite: &TransportSuite<'_>, _: &mut Rng) -> Outcome {
    let bytes_held = flood(suite)?.1;
    ensure(bytes_held <= HELD_BYTES_MAX, || {
        format!("of {} bytes for a receiver that took nothing, {bytes_held} were held", FLOOD * FLOOD_BYTES)
    })
}

pub(super) fn stops(suite: &TransportSuite<'_>, _: &mut Rng) -> Outcome {
    let net = Net::new(suite)?;
    let (mut one, mut two) = net.pair()?;
    undisturbed(&mut one, &mut two, 1)?;
    two.stop(true, "told to stop while a connection stands")?;
    one.stop(false, "when its commands were closed")?;
    let (one, two) = net.pair_with(1)?;
    for _ in 0..EVENTS_MAX {
        one.send(two.id, Class::Pool, vec![0; 1000])?;
    }
    taken(&one)?;
    two.stop(true, "told to stop while nobody takes its events")?;
    one.stop(true, "told to stop while its peer is gone")?;
    net.node(1)?.stop(true, "told to stop at once")
}
