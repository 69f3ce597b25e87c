//! Which nodes are found.

use quorate::{PeerId, discovery::DiscoveryEvent};

use super::{
    super::rule::{Outcome, broken, does_not_apply, ensure},
    DiscoverySuite, PEER_KEY,
    net::{CHAIN, Net, Node, address_of, key_of},
};
use crate::{conformance::identity::QUIET, sim::Rng};

pub(super) fn finds(suite: &DiscoverySuite<'_>, _: &mut Rng) -> Outcome {
    let net = Net::new(suite)?;
    let (mut one, mut two) = (net.node(1, 2)?, net.node(2, 1)?);
    for (found, node) in [(one.finds(&net, 2)?, 2), (two.finds(&net, 1)?, 1)] {
        // Where addresses are made by other means, they are not those of the context.
        ensure(suite.presence.is_some() || found == address_of(node), || {
            format!("node {node} is at {}, and was found at {found}", address_of(node))
        })?;
    }
    Ok(())
}

pub(super) fn other_network(suite: &DiscoverySuite<'_>, _: &mut Rng) -> Outcome {
    if suite.source.is_none() && suite.presence.is_none() {
        return does_not_apply("it finds whom its settings name");
    }
    let net = Net::new(suite)?;
    // The foreign ones are there first, and find each other.
    let (mut foreign, _foreign) = (net.node_with(2, CHAIN + 1, 4, 64)?, net.node_with(4, CHAIN + 1, 2, 64)?);
    foreign.finds(&net, 4)?;
    let (mut one, _three) = (net.node(1, 3)?, net.node(3, 1)?);
    finds_but(&mut one, &net, 3, &[2, 4], "a node of another network was found")
}

/// Waits until a node is found; that none of some others is found, before or just after.
fn finds_but(node: &mut Node, net: &Net<'_>, wanted: u8, others: &[u8], otherwise: &str) -> Outcome {
    let others: Vec<PeerId> = others.iter().map(|node| key_of(*node).into()).collect();
    let wanted = PeerId::from(key_of(wanted));
    node.wait(net, "the node that was to be found", |event| match event {
        DiscoveryEvent::Found { peer, .. } if others.contains(peer) => Some(broken(otherwise)),
        DiscoveryEvent::Found { peer, .. } if *peer == wanted => Some(Ok(())),
        _ => None,
    })??;
    while let Some(event) = node.event(net, QUIET)? {
        let other = matches!(event, DiscoveryEvent::Found { peer, .. } if others.contains(&peer));
        ensure(!other, || otherwise.into())?;
    }
    Ok(())
}

pub(super) fn apart(suite: &DiscoverySuite<'_>, _: &mut Rng) -> Outcome {
    if suite.source.is_none() && !suite.settings.contains(PEER_KEY) {
        return does_not_apply("its settings name nothing that could be another's");
    }
    let (here, there) = (Net::new(suite)?, Net::new(suite)?);
    let (mut one, _two) = (here.node(1, 2)?, here.node(2, 1)?);
    let (mut three, _four) = (there.node(3, 4)?, there.node(4, 3)?);
    let otherwise = "a node was found that only another discovery could know of";
    finds_but(&mut one, &here, 2, &[3, 4], otherwise)?;
    finds_but(&mut three, &there, 4, &[1, 2], otherwise)
}
