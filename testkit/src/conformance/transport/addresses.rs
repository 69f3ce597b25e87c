//! Sockets: bound when the transport is made, answered when it runs, and open to anybody.

use std::{io::Write, net::TcpStream, time::Duration};

use quorate::{plugin::SetupError, transport::EVENTS_MAX};

use super::{
    super::{
        common,
        identity::{ANY_PORT, PATIENCE, QUIET, is_listening},
        rule::{OrBroken, Outcome, Trouble, broken, does_not_apply, ensure},
    },
    TransportSuite,
    net::{CHAIN, Net, meet, peer_address, undisturbed},
};
use crate::{conformance::bytes::hostile, sim::Rng};

/// Strangers at each address.
const STRANGERS: u64 = 40;

/// A port of every interface.
const EVERYWHERE: &str = "0.0.0.0:0";

pub(super) fn nothing_before_run(suite: &TransportSuite<'_>, _: &mut Rng) -> Outcome {
    let net = Net::new(suite)?;
    let mut one = net.node(1)?;
    let bound = suite.try_bind(2, CHAIN, ANY_PORT).or_broken("binding a transport")?;
    if let Some(address) = peer_address(&*bound) {
        one.dial_as(super::net::id(2), &address.to_string())?;
    }
    let early = one.event(QUIET)?;
    ensure(!matches!(early, Some(quorate::transport::TransportEvent::PeerUp { .. })), || {
        "a peer was connected whose transport does not run yet".into()
    })?;
    let mut two = net.run(2, bound, EVENTS_MAX);
    one.up(two.id)?;
    two.up(one.id)
}

/// The address for peers of a transport that is bound and thrown away.
fn address(suite: &TransportSuite<'_>) -> Result<String, Trouble> {
    let bound = suite.try_bind(1, CHAIN, ANY_PORT).or_broken("binding a transport")?;
    match peer_address(&*bound) {
        Some(address) => Ok(address.to_string()),
        None => does_not_apply("it listens on no address"),
    }
}

pub(super) fn says_where(suite: &TransportSuite<'_>, _: &mut Rng) -> Outcome {
    address(suite)?;
    let net = Net::new(suite)?;
    let bound = suite.try_bind(1, CHAIN, ANY_PORT).or_broken("binding a transport")?;
    let listening = bound.listening();
    let _node = net.run(1, bound, EVENTS_MAX);
    is_listening(listening.into_iter().map(|(_, address)| address))
}

pub(super) fn in_use(suite: &TransportSuite<'_>, _: &mut Rng) -> Outcome {
    address(suite)?;
    let first = suite.try_bind(1, CHAIN, ANY_PORT).or_broken("binding a transport")?;
    let taken = peer_address(&*first).map(|address| address.to_string()).unwrap_or_default();
    match suite.try_bind(2, CHAIN, &taken) {
        Err(SetupError::Listen { .. }) => Ok(()),
        Err(other) => broken(format!("an address in use is answered with {other:?}, not with SetupError::Listen")),
        Ok(_) => broken(format!("{taken} was bound twice")),
    }
}

pub(super) fn loopback_only(suite: &TransportSuite<'_>, _: &mut Rng) -> Outcome {
    address(suite)?;
    match suite.try_bind(1, CHAIN, EVERYWHERE) {
        Err(_) => Ok(()),
        Ok(bound) => broken(format!("with a development key it listens on {:?}", bound.listening())),
    }
}

pub(super) fn strangers(suite: &TransportSuite<'_>, rng: &mut Rng) -> Outcome {
    address(suite)?;
    let net = Net::new(suite)?;
    let bound = suite.try_bind(1, CHAIN, ANY_PORT).or_broken("binding a transport")?;
    let listening = bound.listening();
    let mut one = net.run(1, bound, EVENTS_MAX);
    let mut two = net.node(2)?;
    meet(&mut two, &mut one)?;
    let beginnings: Vec<bytes::Bytes> =
        [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", &[0; 64], b""]
            .map(bytes::Bytes::from_static)
            .into();
    let mut open = Vec::new();
    for number in 0..STRANGERS {
        for (_, address) in &listening {
            let mut stranger = TcpStream::connect_timeout(address, PATIENCE).or_broken("connecting as a stranger")?;
            stranger.set_write_timeout(Some(Duration::from_millis(200))).or_broken("limiting a stranger")?;
            // It may be closed while it is written to.
            drop(stranger.write_all(&hostile(rng, &beginnings)));
            open.push(stranger);
        }
        if number % 8 == 0 {
            undisturbed(&mut one, &mut two, 2)?;
        }
    }
    let mut late = net.node(3)?;
    meet(&mut late, &mut one)?;
    drop(open);
    undisturbed(&mut one, &mut two, 5)?;
    let gone: u32 = one.downs.values().chain(two.downs.values()).sum();
    ensure(gone == 0, || format!("{gone} connections between peers ended while strangers connected"))
}

pub(super) fn nothing_left(suite: &TransportSuite<'_>, _: &mut Rng) -> Outcome {
    let listen = match address(suite) {
        Ok(address) => address,
        Err(Trouble::DoesNotApply(_)) => ANY_PORT.to_owned(),
        Err(trouble) => return Err(trouble),
    };
    common::many_times(|| {
        suite.try_bind(1, CHAIN, &listen).or_broken(format!("binding a transport at {listen} again")).map(drop)
    })
}
