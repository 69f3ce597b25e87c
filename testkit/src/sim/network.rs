//! The simulated network: links with delay, loss, doubling and overtaking; connections; catch-up.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate::{
    Block, Height,
    consensus::{CommitBy, Event},
};

use super::{
    record::{Mark, Trace},
    world::{Draw, Item, Sent, Wire, World},
};

/// Blocks in one answer at most.
const BLOCKS_MAX: usize = 8;

/// How long a node may take to answer, in microseconds; as in a real node.
const ANSWER_WAIT_US: u64 = 5_000_000;

/// How long an engine may be behind before blocks are fetched for it, in microseconds; as in a real node.
const GRACE_US: u64 = 700_000;

/// How many ticks lie between telling one's height unasked.
const STATUS_TICKS: u64 = 10;

impl World {
    /// Each link has a usual delay of its own.
    pub(crate) fn draw_links(&mut self) -> BTreeMap<(usize, usize), (u64, u64)> {
        let (low, high) = (self.scenario.network.delay_min_us, self.scenario.network.delay_max_us);
        let mut links = BTreeMap::new();
        for from in 0..self.nodes() {
            for to in 0..self.nodes() {
                let range = match self.rng.below(4) {
                    // Near, far, always the longest, anything.
                    0 => (low, low + (high - low) / 10),
                    1 => (high - (high - low) / 4, high),
                    2 => (high, high),
                    _ => (low, high),
                };
                links.insert((from, to), range);
            }
        }
        links
    }

    fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cut.get(&(from, to)).is_some_and(|count| *count > 0)
    }

    /// An engine's message, to all or to one.
    pub(crate) fn send(&mut self, at: usize, to: Option<usize>, bytes: &Bytes) {
        self.trace.mix(&[4, at as u64]);
        self.trace.mix_bytes(bytes);
        self.tell_sending(at, to, bytes);
        let Some(actor) = self.actors.get(at) else { return };
        let (node, honest) = (actor.node, actor.honest);
        if honest {
            self.inspect(|inspector| inspector.sent(node, to, bytes));
        }
        let wire = Wire::Consensus(bytes.clone());
        match to {
            Some(to) => self.transmit(at, to, &wire),
            None => self.wire_to_all(at, &wire),
        }
        if honest {
            self.attack(|adversary, grip| adversary.sent(grip, node, to, bytes));
        }
    }

    fn tell_sending(&mut self, at: usize, to: Option<usize>, bytes: &Bytes) {
        if !self.trace.is_told() {
            return;
        }
        let words = words_of(self, bytes);
        let name = self.actors.get(at).map_or(String::new(), |actor| actor.name.clone());
        let whom = to.map_or("all".into(), |node| format!("node {node}"));
        self.trace.tell(self.now, || format!("{name} sends {words} to {whom}"));
    }

    fn tell_delivery(&mut self, at: usize, from: usize, sent: Sent, bytes: &Bytes) {
        if self.trace.is_told() {
            let words = words_of(self, bytes);
            let name = self.actors.get(at).map_or(String::new(), |actor| actor.name.clone());
            let at_us = self.now;
            let mark = words.clone();
            self.trace.mark(|| Mark::Message { sent_us: sent.at_us, from: sent.lane, at_us, to: at, words: mark });
            self.trace.tell(self.now, || format!("    {name} gets {words} from node {from}"));
        }
    }

    pub(crate) fn wire_to_all(&mut self, at: usize, wire: &Wire) {
        let peers: Vec<usize> = match self.actors.get(at) {
            Some(actor) => actor.memory.peers.iter().copied().collect(),
            None => return,
        };
        for to in peers {
            self.transmit(at, to, wire);
        }
    }

    /// Sends to one node, if connected.
    pub(crate) fn transmit(&mut self, at: usize, to: usize, wire: &Wire) {
        let Some(actor) = self.actors.get_mut(at) else { return };
        if !actor.memory.peers.contains(&to) {
            return;
        }
        actor.sent += 1;
        match (&mut actor.puppet, wire) {
            (Some(puppet), Wire::Consensus(bytes)) => {
                for out in puppet.pass(to, bytes) {
                    self.put_on_link(at, out.to, &Wire::Consensus(out.bytes), out.hold_us);
                }
            }
            _ => self.put_on_link(at, to, wire, 0),
        }
    }

    /// Sends as a dishonest node, in a time of its choice.
    pub(crate) fn send_as(&mut self, from: usize, to: usize, bytes: Bytes, delay_us: u64) {
        self.trace.mix(&[5, from as u64, to as u64, delay_us]);
        if self.trace.is_told() {
            let words = words_of(self, &bytes);
            self.trace.tell(self.now, || format!("byz{from} sends {words} to node {to} in {} ms", delay_us / 1000));
        }
        let sent = Sent { lane: self.lane_of_adversary(from), at_us: self.now };
        for at in self.actors_of.get(to).cloned().unwrap_or_default() {
            let life = self.life(at);
            let wire = Wire::Consensus(bytes.clone());
            self.post(self.now + delay_us, Item::Deliver { actor: at, life, from, sent, wire });
        }
    }

    fn put_on_link(&mut self, at: usize, to: usize, wire: &Wire, hold_us: u64) {
        if self.put_on_measured_link(at, to, wire) {
            return;
        }
        let Some(from) = self.actors.get(at).map(|actor| actor.node) else { return };
        let sent = Sent { lane: at, at_us: self.now };
        if self.is_cut(from, to) {
            self.mark_lost(sent, to, wire);
            return self.coverage.met("messages cut off");
        }
        let network = self.scenario.network.clone();
        let wild = !self.healed;
        let mut rng = self.dice(Draw::Link, &[from as u64, to as u64, content(wire)]);
        if rng.chance(network.loss_permille) && wild {
            self.mark_lost(sent, to, wire);
            return self.coverage.met("messages lost");
        }
        let copies = if rng.chance(network.duplicate_permille) && wild { 2 } else { 1 };
        for copy in 0..copies {
            let mut rng = rng.fork(copy);
            let (low, high) = self.links.get(&(from, to)).copied().unwrap_or_default();
            let mut delay = rng.within(low, high);
            if rng.chance(network.late_permille) && wild {
                delay = rng.within(network.delay_max_us, network.late_max_us.max(network.delay_max_us));
                self.coverage.met("messages late");
            }
            if let (Some(adversary), Wire::Consensus(bytes)) = (&mut self.adversary, wire)
                && let Some(chosen) = adversary.delay_us(self.now, from, to, bytes)
            {
                delay = chosen.min(network.delay_max_us);
            }
            let mut at_us = self.now + delay + hold_us;
            if self.in_order && copy == 0 && hold_us == 0 {
                let last = self.last_on_link.entry((from, to)).or_default();
                at_us = at_us.max(*last);
                *last = at_us;
            }
            if copy > 0 {
                self.coverage.met("messages doubled");
            }
            for actor in self.actors_of.get(to).cloned().unwrap_or_default() {
                let life = self.life(actor);
                self.post(at_us, Item::Deliver { actor, life, from, sent, wire: wire.clone() });
            }
        }
    }

    fn mark_lost(&mut self, sent: Sent, to: usize, wire: &Wire) {
        if self.trace.is_told()
            && let Wire::Consensus(bytes) = wire
        {
            let words = words_of(self, bytes);
            let to = self.actors_of.get(to).and_then(|list| list.first()).copied();
            self.trace.mark(|| Mark::Lost { at_us: sent.at_us, from: sent.lane, to, words });
        }
    }

    pub(crate) fn deliver(&mut self, at: usize, from: usize, sent: Sent, wire: Wire) {
        let Some(actor) = self.actors.get_mut(at) else { return };
        if !actor.connected_to(from)
            || (self.actors_of.get(from).is_some_and(|list| !list.is_empty()) && !actor.memory.peers.contains(&from))
        {
            return;
        }
        let deaf = actor.puppet.as_mut().is_some_and(|puppet| puppet.ignores());
        match wire {
            Wire::Consensus(bytes) => {
                let Some(key) = self.public.get(from) else { return };
                // As in a real node, others have no say.
                let validator = actor.chain.validators().index_of(key);
                if deaf || validator.is_none() {
                    return;
                }
                self.trace.mix(&[6, at as u64, from as u64, self.now]);
                self.tell_delivery(at, from, sent, &bytes);
                let from = self.peer_of(from);
                self.step(at, Event::Message { from, validator, bytes });
            }
            Wire::Status(height) => self.heard_height(at, from, height),
            Wire::Ask(height) => {
                if !deaf {
                    self.serve(at, from, height);
                }
            }
            Wire::Blocks(height, blocks) => self.blocks_came(at, from, height, blocks),
            Wire::Evidence(bytes) => self.evidence(at, bytes, false),
            Wire::Transactions(list) => self.learn(at, list),
        }
    }

    /// A connection stands, if both processes are there.
    pub(crate) fn connect(&mut self, at: usize, node: usize) {
        let Some(actor) = self.actors.get(at) else { return };
        let mine = actor.node;
        if mine == node || !actor.connected_to(node) || self.is_cut_noticed(mine, node) {
            return;
        }
        if self.actors_of.get(node).is_some_and(Vec::is_empty) {
            // Behind it stands an adversary, which is always there.
            return self.peer_up(at, node);
        }
        for other in self.actors_of.get(node).cloned().unwrap_or_default() {
            if self.actors.get(other).is_some_and(|other| other.is_up() && other.connected_to(mine)) {
                self.peer_up(at, node);
                self.peer_up(other, mine);
            }
        }
    }

    fn peer_up(&mut self, at: usize, node: usize) {
        let Some(actor) = self.actors.get_mut(at) else { return };
        if actor.memory.peers.insert(node)
            && let Some(key) = self.public.get(node)
        {
            let validator = actor.chain.validators().index_of(key);
            let (peer, life) = (quorate::PeerId::from(*key), actor.life);
            let event = Box::new(Event::PeerUp { peer, validator });
            self.post(self.now, Item::Answer { actor: at, life, event });
            if self.status {
                self.transmit(at, node, &Wire::Status(self.tip_of(at)));
            }
        }
    }

    /// Takes down the connections between two nodes.
    pub(crate) fn disconnect(&mut self, one: usize, two: usize) {
        for (here, there) in [(one, two), (two, one)] {
            for at in self.actors_of.get(here).cloned().unwrap_or_default() {
                let peer = self.peer_of(there);
                let Some(actor) = self.actors.get_mut(at) else { continue };
                if actor.memory.peers.remove(&there) {
                    actor.memory.sync.known.remove(&there);
                    let life = actor.life;
                    let event = Box::new(Event::PeerDown { peer });
                    self.post(self.now, Item::Answer { actor: at, life, event });
                }
            }
        }
    }

    /// Tells everybody the height.
    pub(crate) fn say_height(&mut self, at: usize) {
        if self.status {
            let height = self.tip_of(at);
            self.wire_to_all(at, &Wire::Status(height));
        }
    }

    pub(crate) fn tick(&mut self, at: usize) {
        let ticks = self.now / 500_000;
        if ticks.is_multiple_of(STATUS_TICKS) {
            self.say_height(at);
        }
        if ticks.is_multiple_of(STATUS_TICKS * 2) {
            let evidence: Vec<Bytes> = match self.actors.get(at) {
                Some(actor) => actor.memory.evidence.values().cloned().collect(),
                None => return,
            };
            for bytes in evidence {
                self.wire_to_all(at, &Wire::Evidence(bytes));
            }
        }
        self.look_for_blocks(at);
        self.next_tick(at);
    }

    fn heard_height(&mut self, at: usize, from: usize, height: Height) {
        if let Some(actor) = self.actors.get_mut(at) {
            actor.memory.sync.known.insert(from, height);
            self.look_for_blocks(at);
        }
    }

    pub(crate) fn need_sync(&mut self, at: usize, from: usize, height: Height) {
        let Some(actor) = self.actors.get_mut(at) else { return };
        let known = actor.memory.sync.known.entry(from).or_default();
        *known = height.max(*known);
        actor.memory.sync.urgent = true;
        self.coverage.met("catch-up wanted by engines");
        self.look_for_blocks(at);
    }

    /// Asks somebody who is ahead for blocks, as a real kernel does.
    fn look_for_blocks(&mut self, at: usize) {
        let (now, tip) = (self.now, self.tip_of(at));
        let Some(actor) = self.actors.get_mut(at) else { return };
        let sync = &mut actor.memory.sync;
        if let Some((node, until)) = sync.asked {
            if now < until {
                return;
            }
            sync.known.remove(&node);
            sync.asked = None;
        }
        let ahead: Vec<usize> = sync.known.iter().filter(|(_, height)| **height > tip).map(|(node, _)| *node).collect();
        if ahead.is_empty() {
            (sync.behind_since_us, sync.urgent) = (None, false);
            return;
        }
        let since = *sync.behind_since_us.get_or_insert(now);
        if !sync.urgent && now - since < GRACE_US {
            return;
        }
        let next = ahead.iter().find(|node| sync.last_asked.is_none_or(|last| **node > last)).or(ahead.first());
        if let Some(node) = next.copied() {
            sync.asked = Some((node, now + ANSWER_WAIT_US));
            sync.last_asked = Some(node);
            self.transmit(at, node, &Wire::Ask(tip.next()));
        }
    }

    pub(crate) fn serve(&mut self, at: usize, to: usize, from_height: Height) {
        let Some(actor) = self.actors.get(at) else { return };
        let height = actor.chain.tip().height;
        let blocks = actor.chain.range(from_height, BLOCKS_MAX);
        self.transmit(at, to, &Wire::Blocks(height, blocks));
    }

    fn blocks_came(&mut self, at: usize, from: usize, height: Height, blocks: Vec<(Block, Bytes)>) {
        let Some(actor) = self.actors.get_mut(at) else { return };
        let sync = &mut actor.memory.sync;
        sync.known.insert(from, height);
        let asked = sync.asked.is_some_and(|(node, _)| node == from);
        if asked {
            sync.asked = None;
            sync.blocks = blocks.into();
            let life = actor.life;
            self.post(self.now, Item::Take { actor: at, life });
        } else {
            self.look_for_blocks(at);
        }
    }

    /// Takes one block of an answer; the engine hears of it before the next is taken.
    pub(crate) fn take_next_block(&mut self, at: usize) {
        let next = self.actors.get_mut(at).and_then(|actor| actor.memory.sync.blocks.pop_front());
        if let Some((block, proof)) = next {
            self.take_block(at, &block, proof);
            let life = self.life(at);
            self.post(self.now, Item::Take { actor: at, life });
        } else {
            self.look_for_blocks(at);
        }
    }

    fn take_block(&mut self, at: usize, block: &Block, proof: Bytes) {
        let Some(actor) = self.actors.get(at) else { return };
        if block.height() != actor.chain.tip().height.next() || !actor.is_up() || self.violation.is_some() {
            return;
        }
        let set = actor.chain.validators();
        if self.proof.verify(&self.rules.chain_id, block.header(), &proof, set).is_err() {
            return;
        }
        match self.rules.execute(&actor.chain, block, self.proof.as_ref()) {
            Ok(candidate) => self.commit(at, &candidate, proof, CommitBy::Sync),
            Err(why) if actor.honest => {
                let detail = format!("{} found final block {} invalid: {why}", actor.name, block.height());
                self.breach(super::checks::Breach::new("S5 validity", detail));
            }
            Err(_) => {}
        }
    }
}

/// What a message is, in a number.
fn content(wire: &Wire) -> u64 {
    let mut hash = Trace::new(false);
    match wire {
        Wire::Consensus(bytes) => hash.mix_bytes(bytes),
        Wire::Evidence(bytes) => {
            hash.mix(&[1]);
            hash.mix_bytes(bytes);
        }
        Wire::Status(height) => hash.mix(&[2, height.0]),
        Wire::Ask(height) => hash.mix(&[3, height.0]),
        Wire::Blocks(height, blocks) => hash.mix(&[4, height.0, blocks.len() as u64]),
        Wire::Transactions(list) => hash.mix(&[5, list.len() as u64]),
    }
    hash.hash()
}

/// A message in the words of the consensus.
fn words_of(world: &World, bytes: &Bytes) -> String {
    let described = world.inspector.as_ref().and_then(|inspector| inspector.describe(bytes));
    described.unwrap_or_else(|| {
        let mut hash = Trace::new(false);
        hash.mix_bytes(bytes);
        format!("{} B {:08x}", bytes.len(), hash.hash() >> 32)
    })
}
