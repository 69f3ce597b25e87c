//! Which messages arrive, where, and in which order.

use std::{collections::BTreeMap, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use quorate::{
    PeerId,
    transport::{Class, MESSAGE_BYTES_MAX, TransportCommand, TransportEvent},
};

use super::{
    super::rule::{OrBroken, Outcome, Trouble, broken, ensure},
    TransportSuite,
    net::{CLASSES, Net, Node, id, meet, undisturbed},
};
use crate::sim::Rng;

/// Messages of the stream.
const STREAM: u64 = 10_000;

/// Messages of one sender and class that are on their way at most: fewer than any queue has room for.
const WINDOW: u64 = 16;

/// How long the stream may stand still before what is missing is missing.
const STILL: Duration = Duration::from_secs(5);

/// One sender and class.
type Lane = (PeerId, Class);

/// The numbers of messages as they arrived, and how many were sent, by lane.
#[derive(Default)]
struct Streamed {
    arrived: BTreeMap<Lane, Vec<u64>>,
    sent: BTreeMap<Lane, u64>,
}

/// A message that says which one it is.
fn numbered(rng: &mut Rng, number: u64) -> Bytes {
    let padding = if rng.chance(20) { rng.below(100_000) } else { rng.below(600) };
    let mut bytes = BytesMut::new();
    bytes.put_u64(number);
    bytes.put_bytes(0xab, usize::try_from(padding).unwrap_or(0));
    bytes.freeze()
}

/// Two nodes send numbered messages of every class to a third.
fn stream(suite: &TransportSuite<'_>, rng: &mut Rng) -> Result<Streamed, Trouble> {
    let net = Net::new(suite)?;
    let (one, mut receiver) = net.pair()?;
    let mut other = net.node(3)?;
    meet(&mut other, &mut receiver)?;
    let Streamed { mut arrived, mut sent } = Streamed::default();
    let mut total = 0;
    loop {
        for sender in [&one, &other] {
            for class in CLASSES {
                let lane = (sender.id, class);
                let taken = arrived.get(&lane).map_or(0, Vec::len) as u64;
                let sent = sent.entry(lane).or_default();
                while *sent < taken + WINDOW && total < STREAM {
                    sender.send(receiver.id, class, numbered(rng, *sent))?;
                    *sent += 1;
                    total += 1;
                }
            }
        }
        let count: u64 = arrived.values().map(|numbers| numbers.len() as u64).sum();
        // After the last, one more might be a double.
        let wait = if count < STREAM { STILL } else { Duration::from_millis(200) };
        match receiver.event(wait)? {
            None => return Ok(Streamed { arrived, sent }),
            Some(TransportEvent::Message { from, class, bytes }) => {
                let number =
                    bytes.first_chunk().map(|first| u64::from_be_bytes(*first)).or_broken("reading a message")?;
                arrived.entry((from, class)).or_default().push(number);
            }
            Some(TransportEvent::PeerDown { reason, .. }) => {
                return broken(format!("a connection ended in the midst of the messages: {reason}"));
            }
            Some(_) => {}
        }
    }
}

pub(super) fn in_order(suite: &TransportSuite<'_>, rng: &mut Rng) -> Outcome {
    for ((from, class), numbers) in stream(suite, rng)?.arrived {
        let wrong = numbers.windows(2).find(|pair| matches!(pair, [one, next] if next < one));
        ensure(wrong.is_none(), || format!("of {from} the {class:?} messages {wrong:?} came one after the other"))?;
    }
    Ok(())
}

pub(super) fn nothing_lost(suite: &TransportSuite<'_>, rng: &mut Rng) -> Outcome {
    let Streamed { arrived, sent } = stream(suite, rng)?;
    for ((from, class), sent) in sent {
        let mut numbers = arrived.get(&(from, class)).cloned().unwrap_or_default();
        numbers.sort_unstable();
        let missing = (0..sent).find(|number| numbers.binary_search(number).is_err());
        let doubled = numbers.windows(2).find(|pair| matches!(pair, [one, next] if next == one));
        ensure(missing.is_none() && doubled.is_none(), || {
            format!("of {sent} {class:?} messages of {from}, missing: {missing:?}, doubled: {doubled:?}")
        })?;
    }
    Ok(())
}

/// Three nodes, of which the first is connected to both others.
fn three<'a>(net: &'a Net<'a>) -> Result<[Node<'a>; 3], Trouble> {
    let (mut one, two) = net.pair()?;
    let mut three = net.node(3)?;
    meet(&mut one, &mut three)?;
    Ok([one, two, three])
}

pub(super) fn to_one_peer(suite: &TransportSuite<'_>, _: &mut Rng) -> Outcome {
    let net = Net::new(suite)?;
    let [one, mut two, mut three] = three(&net)?;
    for class in CLASSES {
        for number in 0..10u8 {
            one.send(id(77), class, vec![7; 7])?;
            one.send(two.id, class, vec![2, number])?;
            one.send(three.id, class, vec![3, number])?;
            two.receives(one.id, class, &[2, number])?;
            three.receives(one.id, class, &[3, number])?;
        }
    }
    Ok(())
}

pub(super) fn to_every_peer(suite: &TransportSuite<'_>, _: &mut Rng) -> Outcome {
    let net = Net::new(suite)?;
    let [one, mut two, mut three] = three(&net)?;
    for class in CLASSES {
        for number in 0..10 {
            one.command(TransportCommand::Broadcast { class, bytes: vec![number; 20].into() })?;
            two.receives(one.id, class, &[number; 20])?;
            three.receives(one.id, class, &[number; 20])?;
        }
    }
    Ok(())
}

pub(super) fn longest_arrives(suite: &TransportSuite<'_>, _: &mut Rng) -> Outcome {
    let net = Net::new(suite)?;
    let (one, mut two) = net.pair()?;
    let long: Bytes = (0..MESSAGE_BYTES_MAX as u64 / 8).flat_map(u64::to_le_bytes).collect();
    for class in CLASSES {
        one.send(two.id, class, long.clone())?;
        let (_, as_class, bytes) = two.message()?;
        ensure(as_class == class && bytes == long, || {
            format!("a {class:?} message of {} bytes came as {as_class:?} with {}, or others", long.len(), bytes.len())
        })?;
        one.send(two.id, class, Bytes::new())?;
        two.receives(one.id, class, b"")?;
    }
    Ok(())
}

pub(super) fn longer_does_not_arrive(suite: &TransportSuite<'_>, _: &mut Rng) -> Outcome {
    let net = Net::new(suite)?;
    let (mut one, mut two) = net.pair()?;
    for class in CLASSES {
        one.send(two.id, class, vec![0; MESSAGE_BYTES_MAX + 1])?;
        // The next message is the next to arrive.
        undisturbed(&mut one, &mut two, 1)?;
    }
    Ok(())
}
