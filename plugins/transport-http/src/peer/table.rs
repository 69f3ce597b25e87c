//! Who is connected, who may be: the decisions about connections, without I/O.
//!
//! # One connection between two processes
//!
//! Both may dial at once. The one with the smaller key decides: it takes the first connection whose greetings are complete and
//! says welcome on it, and turns the other away; the one with the larger key waits for that word. So both hold the same
//! connection from the start, and no message is lost by a later change.
//!
//! A connection whose death only one side noticed would be in the way until its heartbeats are missed. A dialler which is turned
//! away as a duplicate although it has no connection says so in its next hello ([`super::hello::Hello::replace`]), and the new
//! connection takes the old one's place.
//!
//! # Two processes with one key
//!
//! A copied key must neither keep its owner out nor stop anybody else, and consensus has to see what both sign: that is the
//! evidence. So a key has up to [`LINKS_PER_KEY_MAX`] connections, to different processes (told apart by the instance in their
//! hello); messages are taken from all and sent to all, and the kernel hears of one peer that is up while any stands. A third is
//! turned away, so that none can push out another.
//!
//! # Limits
//!
//! Connections with peers that this node dials and with validators do not count: the former are its own choice, the latter are as
//! many as validators times [`LINKS_PER_KEY_MAX`]. That is the validators' reserve: strangers can't take their place. Memory is
//! shared by all but validators, since who is dialled may be a stranger's word.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use quorate::{PeerId, transport::Class};
use tokio::{
    sync::{Mutex as AsyncMutex, watch},
    time::Instant,
};

use bytes::Bytes;

use super::{
    budget::Budget,
    hello::{Farewell, Goodbye, Instance},
    outbox::{Outbox, Pushed},
};

/// Connections with one key at most, each to another process.
pub(super) const LINKS_PER_KEY_MAX: usize = 2;

/// Bans that are remembered; the one that ends first is forgotten.
pub(super) const BANS_MAX: usize = 1024;

/// The longest ban, in case a number of milliseconds is absurd.
const BAN_TIME_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// What counts as one address: an IPv4 address, or the first 64 bits of an IPv6 address, which one host may have whole.
pub(super) fn counted_address(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

/// How a connection came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// This node dialled.
    Dialled,
    /// The other dialled, from this address (as counted).
    Accepted(IpAddr),
}

/// A connection that wants to be taken.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    pub(super) peer: PeerId,
    pub(super) instance: Instance,
    pub(super) origin: Origin,
    /// The peer says that a connection to the same process which stands here is dead.
    pub(super) replace: bool,
}

/// What strangers may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) connections_max: usize,
    pub(super) connections_per_address_max: usize,
}

/// A connection that was taken.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) id: u64,
    pub(super) outbox: Arc<Outbox>,
    /// How many connections the kernel was told of; locked while it is told, so that up and down come in order.
    pub(super) gate: Arc<AsyncMutex<usize>>,
    /// To be dropped when the connection has ended and the kernel knows.
    pub(super) alive: watch::Sender<()>,
    /// The connection whose place this one takes; it ends first.
    pub(super) replaced: Option<watch::Receiver<()>>,
}

#[derive(Debug)]
struct Record {
    id: u64,
    instance: Instance,
    origin: Origin,
    outbox: Arc<Outbox>,
    alive: watch::Receiver<()>,
}

#[derive(Debug, Default)]
struct Entry {
    links: Vec<Record>,
    gate: Arc<AsyncMutex<usize>>,
    count: watch::Sender<usize>,
}

#[derive(Debug)]
struct Ban {
    until: Instant,
    reason: String,
}

/// All connections and what is known of peers.
#[derive(Debug)]
pub(super) struct Table {
    own: PeerId,
    limits: Limits,
    peers: HashMap<PeerId, Entry>,
    validators: HashSet<PeerId>,
    dialled: HashSet<PeerId>,
    bans: HashMap<PeerId, Ban>,
    next_id: u64,
    stopping: bool,
}

impl Table {
    pub(super) fn new(own: PeerId, limits: Limits) -> Self {
        Self {
            own,
            limits,
            peers: HashMap::new(),
            validators: HashSet::new(),
            dialled: HashSet::new(),
            bans: HashMap::new(),
            next_id: 0,
            stopping: false,
        }
    }

    /// Whether this node decides which connection with `peer` stands.
    pub(super) fn decides(&self, peer: PeerId) -> bool {
        self.own < peer
    }

    /// Whether the peer is a validator, whose messages do not depend on what strangers leave.
    pub(super) fn is_validator(&self, peer: PeerId) -> bool {
        self.validators.contains(&peer)
    }

    /// Whether a connection with the peer counts against the limits.
    fn counts(&self, peer: PeerId, origin: Origin) -> bool {
        origin != Origin::Dialled && !self.is_validator(peer) && !self.dialled.contains(&peer)
    }

    /// Notes that this node wants a connection with the peer, whoever dials.
    pub(super) fn want(&mut self, peer: PeerId) {
        self.dialled.insert(peer);
    }

    /// Whether a connection could be taken, duplicates aside.
    pub(super) fn check(&self, claim: &Claim, now: Instant) -> Result<(), Goodbye> {
        if self.stopping {
            return Err(Goodbye::new(Farewell::Stopping, "the node is stopping"));
        }
        if let Some(ban) = self.bans.get(&claim.peer).filter(|ban| ban.until > now) {
            let reason = format!("banned for {} ms more: {}", (ban.until - now).as_millis(), ban.reason);
            return Err(Goodbye::new(Farewell::Banned, reason));
        }
        let links = self.peers.get(&claim.peer).map_or(&[][..], |entry| &entry.links);
        if links.iter().filter(|link| link.instance != claim.instance).count() >= LINKS_PER_KEY_MAX {
            let reason = format!("{LINKS_PER_KEY_MAX} other processes with this key are connected already");
            return Err(Goodbye::new(Farewell::TooMany, reason));
        }
        let Origin::Accepted(address) = claim.origin else { return Ok(()) };
        if !self.counts(claim.peer, claim.origin) {
            return Ok(());
        }
        let (mut all, mut here) = (0, 0);
        for (peer, entry) in &self.peers {
            for link in entry.links.iter().filter(|link| self.counts(*peer, link.origin)) {
                // The link to be replaced by this one does not count.
                if *peer == claim.peer && link.instance == claim.instance {
                    continue;
                }
                all += 1;
                here += usize::from(link.origin == Origin::Accepted(address));
            }
        }
        let Limits { connections_max, connections_per_address_max } = self.limits;
        if all >= connections_max {
            let reason = format!("too many connections: {connections_max} of {connections_max}");
            return Err(Goodbye::new(Farewell::TooMany, reason));
        }
        if here >= connections_per_address_max {
            let reason = format!("too many connections from {address}: {here} of {connections_per_address_max}");
            return Err(Goodbye::new(Farewell::TooMany, reason));
        }
        Ok(())
    }

    /// Takes a connection, or says why not.
    pub(super) fn admit(&mut self, claim: &Claim, now: Instant) -> Result<Admitted, Goodbye> {
        self.check(claim, now)?;
        // Where the other side decides, its welcome means that it has no other connection any more.
        let may_replace = claim.replace || !self.decides(claim.peer);
        let entry = self.peers.entry(claim.peer).or_default();
        let standing = entry.links.iter().position(|link| link.instance == claim.instance);
        let replaced = match standing {
            Some(_) if !may_replace => {
                return Err(Goodbye::new(Farewell::Duplicate, "a connection stands already"));
            }
            Some(position) => {
                let old = entry.links.swap_remove(position);
                old.outbox.close(Goodbye::new(Farewell::Duplicate, "a newer connection took its place"), false);
                Some(old.alive)
            }
            None => None,
        };
        self.next_id += 1;
        let (alive, dead) = watch::channel(());
        let outbox = Arc::new(Outbox::default());
        entry.links.push(Record {
            id: self.next_id,
            instance: claim.instance,
            origin: claim.origin,
            outbox: Arc::clone(&outbox),
            alive: dead,
        });
        entry.count.send_replace(entry.links.len());
        Ok(Admitted { id: self.next_id, outbox, gate: Arc::clone(&entry.gate), alive, replaced })
    }

    /// Forgets a connection that has ended.
    pub(super) fn remove(&mut self, peer: PeerId, id: u64) {
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.links.retain(|link| link.id != id);
            entry.count.send_replace(entry.links.len());
        }
    }

    /// Forgets a peer that has no connection, and of which the kernel is told nothing more.
    pub(super) fn tidy(&mut self, peer: PeerId) {
        if self.peers.get(&peer).is_some_and(Entry::is_idle) {
            self.peers.remove(&peer);
        }
    }

    /// How many connections the peer has, to be watched, and until when it is banned.
    pub(super) fn watch(&mut self, peer: PeerId) -> (watch::Receiver<usize>, Option<Instant>) {
        let count = self.peers.entry(peer).or_default().count.subscribe();
        (count, self.bans.get(&peer).map(|ban| ban.until))
    }

    /// Queues a message for one peer, or for all; what became of it on each connection is told to `report`.
    ///
    /// What is sent to one peer that is no validator is held within `strangers`; a broadcast is one copy for all queues.
    pub(super) fn send(
        &self,
        to: Option<PeerId>,
        class: Class,
        bytes: &Bytes,
        strangers: &Arc<Budget>,
        mut report: impl FnMut(PeerId, &Outbox, Pushed),
    ) {
        let one = to.map(|peer| self.peers.get_key_value(&peer));
        let all = one.is_none().then_some(&self.peers).into_iter().flatten();
        for (peer, entry) in one.flatten().into_iter().chain(all) {
            for link in &entry.links {
                let budget = (to.is_some() && !self.is_validator(*peer)).then_some(strangers);
                report(*peer, &link.outbox, link.outbox.push(class, bytes, budget));
            }
        }
    }

    /// Closes a peer's connections and takes no other for `ban`.
    pub(super) fn ban(&mut self, peer: PeerId, reason: &str, ban: Duration, now: Instant) {
        for link in self.peers.get(&peer).map_or(&[][..], |entry| &entry.links) {
            link.outbox.close(Goodbye::new(Farewell::Banned, reason), false);
        }
        self.bans.retain(|_, ban| ban.until > now);
        if ban.is_zero() {
            return;
        }
        let until = now + ban.min(BAN_TIME_MAX);
        self.bans.insert(peer, Ban { until, reason: reason.to_owned() });
        if self.bans.len() > BANS_MAX
            && let Some(first) = self.bans.iter().min_by_key(|(_, ban)| ban.until).map(|(peer, _)| *peer)
        {
            self.bans.remove(&first);
        }
    }

    /// Whose connections have a reserve.
    pub(super) fn set_validators(&mut self, validators: &[PeerId]) {
        self.validators = validators.iter().copied().collect();
    }

    /// Takes no more connections, and ends all after what waits to be sent.
    pub(super) fn stop(&mut self) {
        self.stopping = true;
        for link in self.peers.values().flat_map(|entry| &entry.links) {
            link.outbox.close(Goodbye::new(Farewell::Stopping, "the node is stopping"), true);
        }
    }
}

impl Entry {
    fn is_idle(&self) -> bool {
        self.links.is_empty() && Arc::strong_count(&self.gate) == 1 && self.count.receiver_count() == 0
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const LIMITS: Limits = Limits { connections_max: 3, connections_per_address_max: 2 };

    fn peer(number: u8) -> PeerId {
        PeerId::new([number; 32])
    }

    fn claim(number: u8, instance: u8, host: u8) -> Claim {
        let origin = Origin::Accepted(Ipv4Addr::new(10, 0, 0, host).into());
        Claim { peer: peer(number), instance: [instance; 16], origin, replace: false }
    }

    fn table() -> Table {
        Table::new(peer(5), LIMITS)
    }

    fn refused(table: &mut Table, claim: &Claim) -> Goodbye {
        table.admit(claim, Instant::now()).unwrap_err()
    }

    #[test]
    fn the_smaller_key_keeps_the_first_of_two_connections_unless_the_other_knows_it_dead() {
        let (mut table, now) = (table(), Instant::now());
        let first = table.admit(&claim(9, 1, 1), now).unwrap();
        assert_eq!(refused(&mut table, &claim(9, 1, 1)).farewell, Farewell::Duplicate);
        let second = table.admit(&Claim { replace: true, ..claim(9, 1, 1) }, now).unwrap();
        assert!(second.replaced.is_some());
        assert_eq!(first.outbox.goodbye().unwrap().farewell, Farewell::Duplicate);
        assert_eq!(table.peers[&peer(9)].links.len(), 1);
    }

    #[test]
    fn the_larger_key_takes_what_the_smaller_welcomed() {
        let (mut table, now) = (table(), Instant::now());
        table.admit(&claim(1, 1, 1), now).unwrap();
        assert!(table.admit(&claim(1, 1, 1), now).unwrap().replaced.is_some());
    }

    #[test]
    fn two_processes_with_one_key_are_connected_and_a_third_pushes_out_neither() {
        let (mut table, now) = (table(), Instant::now());
        let links = [table.admit(&claim(9, 1, 1), now).unwrap(), table.admit(&claim(9, 2, 2), now).unwrap()];
        assert_eq!(refused(&mut table, &claim(9, 3, 3)).farewell, Farewell::TooMany);
        let mut sent = 0;
        let message = Bytes::from_static(b"vote");
        table.send(Some(peer(9)), Class::Consensus, &message, &Budget::new(1 << 10), |_, _, pushed| {
            sent += u8::from(pushed == Pushed::Queued);
        });
        assert_eq!(sent, 2);
        assert!(links.iter().all(|link| link.outbox.goodbye().is_none()));
    }

    #[test]
    fn strangers_fill_their_places_and_validators_still_come_in() {
        let (mut table, now) = (table(), Instant::now());
        table.set_validators(&[peer(20), peer(21)]);
        table.admit(&claim(10, 1, 1), now).unwrap();
        table.admit(&claim(11, 1, 1), now).unwrap();
        assert_eq!(refused(&mut table, &claim(12, 1, 1)).reason, "too many connections from 10.0.0.1: 2 of 2");
        table.admit(&claim(12, 1, 2), now).unwrap();
        assert_eq!(refused(&mut table, &claim(13, 1, 3)).reason, "too many connections: 3 of 3");
        table.admit(&claim(20, 1, 1), now).unwrap();
        table.admit(&claim(21, 1, 1), now).unwrap();
        table.admit(&Claim { origin: Origin::Dialled, ..claim(14, 1, 1) }, now).unwrap();
        table.want(peer(15));
        table.admit(&claim(15, 1, 1), now).unwrap();
    }

    #[test]
    fn a_ban_closes_refuses_and_ends() {
        let (mut table, now) = (table(), Instant::now());
        let link = table.admit(&claim(9, 1, 1), now).unwrap();
        table.ban(peer(9), "forged a certificate", Duration::from_secs(2), now);
        assert_eq!(link.outbox.goodbye().unwrap().reason, "forged a certificate");
        table.remove(peer(9), link.id);
        let goodbye = table.admit(&claim(9, 1, 1), now).unwrap_err();
        assert_eq!(goodbye.reason, "banned for 2000 ms more: forged a certificate");
        table.admit(&claim(9, 1, 1), now + Duration::from_secs(2)).unwrap();
    }

    #[test]
    fn bans_are_bounded() {
        let (mut table, now) = (table(), Instant::now());
        for number in 0..=BANS_MAX {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_le_bytes());
            table.ban(PeerId::new(key), "no", Duration::MAX, now);
        }
        assert_eq!(table.bans.len(), BANS_MAX);
    }

    #[test]
    fn an_ipv6_host_counts_as_its_64_bits() {
        let counted = |text: &str| counted_address(text.parse().unwrap());
        assert_eq!(counted("2001:db8::1:2:3:4"), counted("2001:db8::"));
        assert_ne!(counted("2001:db8:0:1::"), counted("2001:db8::"));
        assert_eq!(counted("::ffff:10.0.0.1"), counted("10.0.0.1"));
    }

    #[test]
    fn a_peer_without_connections_is_forgotten() {
        let (mut table, now) = (table(), Instant::now());
        let link = table.admit(&claim(9, 1, 1), now).unwrap();
        table.remove(peer(9), link.id);
        table.tidy(peer(9));
        assert_eq!(table.peers.len(), 1, "the kernel may still be told of it");
        drop(link);
        table.tidy(peer(9));
        assert_eq!(table.peers.len(), 0);
    }
}
