//! Who is a peer, and when that is told.

use std::time::{Duration, Instant};

use quorate::transport::{Class, TransportCommand, TransportEvent};

use super::{
    super::{
        identity::{ANY_PORT, QUIET},
        rule::{Outcome, broken, does_not_apply, ensure},
    },
    TransportSuite,
    net::{CHAIN, Net, id, meet, peer_address, undisturbed},
};
use crate::sim::Rng;

/// How long a peer is banned, in milliseconds.
const BAN_MS: u64 = 1500;

/// Whether nodes have addresses: those which meet by themselves in one process have none.
fn has_addresses(suite: &TransportSuite<'_>) -> Outcome {
    match suite.try_bind(9, CHAIN, ANY_PORT) {
        Ok(transport) if peer_address(&*transport).is_none() => does_not_apply("it listens on no address"),
        _ => Ok(()),
    }
}

pub(super) fn told_once(suite: &TransportSuite<'_>, _: &mut Rng) -> Outcome {
    let net = Net::new(suite)?;
    let (mut one, mut two) = (net.node(1)?, net.node(2)?);
    // Both at the same time, which may make two connections.
    two.dial(&one)?;
    meet(&mut one, &mut two)?;
    for _ in 0..5 {
        one.dial(&two)?;
        two.dial(&one)?;
        undisturbed(&mut one, &mut two, 10)?;
    }
    for (node, other) in [(&one, two.id), (&two, one.id)] {
        let (ups, downs) = (node.ups.get(&other).copied().unwrap_or(0), node.downs.values().sum::<u32>());
        ensure((ups, downs) == (1, 0), || {
            format!(
                "of a peer with a standing connection it was told {ups} times that it is there, {downs} times that it is gone"
            )
        })?;
    }
    Ok(())
}

pub(super) fn other_network(suite: &TransportSuite<'_>, _: &mut Rng) -> Outcome {
    let net = Net::new(suite)?;
    let (mut one, mut two) = (net.node(1)?, net.node_with(2, CHAIN + 1, ANY_PORT, 64)?);
    one.dial(&two)?;
    let deadline = Instant::now() + super::super::identity::PATIENCE;
    let mut refused = false;
    while !refused {
        ensure(Instant::now() < deadline, || "nobody was told that a peer of another network was turned away".into())?;
        for node in [&mut one, &mut two] {
            match node.event(Duration::from_millis(20))? {
                Some(TransportEvent::PeerUp { .. }) => return broken("a peer of another network was connected"),
                Some(TransportEvent::PeerRefused { reason, .. }) => {
                    ensure(!reason.trim().is_empty(), || "a refusal has no reason".into())?;
                    refused = true;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

pub(super) fn other_key(suite: &TransportSuite<'_>, _: &mut Rng) -> Outcome {
    has_addresses(suite)?;
    let net = Net::new(suite)?;
    let (mut one, two) = (net.node(1)?, net.node(2)?);
    one.dial_as(id(3), &two.address)?;
    one.wait("that another key answered", |event| match event {
        TransportEvent::PeerUp { peer, .. } => {
            Some(broken(format!("{peer} is told to be connected, where {} was to be", id(3))))
        }
        TransportEvent::PeerRefused { .. } => Some(Ok(())),
        _ => None,
    })?
}

pub(super) fn comes_back(suite: &TransportSuite<'_>, _: &mut Rng) -> Outcome {
    let net = Net::new(suite)?;
    let (mut one, mut two) = net.pair()?;
    for (round, killed) in (1..).zip([false, true, false]) {
        let (peer, address) = (two.id, two.address.clone());
        undisturbed(&mut one, &mut two, 3)?;
        if killed {
            two.kill();
        } else {
            two.stop(true, "told to stop")?;
        }
        one.down(peer)?;
        let listen = if address.contains(':') { address.as_str() } else { ANY_PORT };
        two = net.node_with(2, CHAIN, listen, 64)?;
        one.up(peer)?;
        two.up(one.id)?;
        let (ups, downs) = (one.ups.get(&peer).copied().unwrap_or(0), one.downs.get(&peer).copied().unwrap_or(0));
        ensure((ups, downs) == (round + 1, round), || {
            format!("of a peer that came {} times and went {round} times {ups} and {downs} were told", round + 1)
        })?;
    }
    undisturbed(&mut one, &mut two, 3)
}

pub(super) fn newer_address(suite: &TransportSuite<'_>, _: &mut Rng) -> Outcome {
    has_addresses(suite)?;
    let net = Net::new(suite)?;
    let (mut one, mut two) = net.pair()?;
    let (peer, old) = (two.id, two.address.clone());
    two.stop(true, "told to stop")?;
    one.down(peer)?;
    // Nobody else shall come to listen there.
    let _taken = std::net::TcpListener::bind(&old);
    two = net.node(2)?;
    one.dial(&two)?;
    one.up(peer)?;
    two.up(one.id)?;
    undisturbed(&mut one, &mut two, 3)
}

pub(super) fn banned(suite: &TransportSuite<'_>, _: &mut Rng) -> Outcome {
    let net = Net::new(suite)?;
    let (mut one, mut two) = net.pair()?;
    two.dial(&one)?;
    undisturbed(&mut one, &mut two, 1)?;
    let begun = Instant::now();
    one.command(TransportCommand::Disconnect { peer: two.id, reason: "a trial".into(), ban_ms: BAN_MS })?;
    one.down(two.id)?;
    one.up(two.id)?;
    let (away, ban) = (begun.elapsed(), Duration::from_millis(BAN_MS));
    ensure(away >= ban, || format!("a peer that was banned for {ban:?} was back after {away:?}"))?;
    // What was sent while it was away is not for it; it is told when it can be reached.
    let deadline = Instant::now() + super::super::identity::PATIENCE;
    while Instant::now() < deadline {
        one.send(two.id, Class::Consensus, "welcome back")?;
        if let Some(TransportEvent::Message { .. }) = two.event(QUIET)? {
            return Ok(());
        }
    }
    broken("after the ban no message arrives")
}
