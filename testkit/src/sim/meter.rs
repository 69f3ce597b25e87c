//! What a measured network has besides: true delays, lines with a bandwidth, disks that are waited for, and a load in a closed loop.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate::{Block, consensus::Action};

use super::{
    plan::NEVER,
    rng::Rng,
    world::{Item, Sent, Wire, World},
};

/// TCP sends again what is not acknowledged after a round trip and this time, in microseconds (RFC 6298 with Linux' minimum).
const RETRANSMIT_US: u64 = 200_000;

/// How often one message is lost at most.
const LOSSES_MAX: u32 = 6;

/// Transactions under way, as a multiple of those in a full block: the next block is full while those of the last one are replaced.
const UNDER_WAY: usize = 4;

/// One transaction of a closed loop.
#[derive(Debug, Clone, Copy)]
struct Open {
    node: usize,
    since_us: u64,
}

/// A transaction that became final.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Done {
    /// At whom it was submitted, and whom it was told to be final.
    pub(crate) node: usize,
    /// Who made its block.
    pub(crate) creator: usize,
    /// In microseconds.
    pub(crate) took_us: u64,
}

/// See the module.
pub(crate) struct Meter {
    rng: Rng,
    /// One way, from node to node, in microseconds.
    pub(crate) delays: Vec<Vec<u64>>,
    disk_us: u64,
    loss_permille: u32,
    bytes_per_s: Option<u64>,
    /// Until when each node's line is taken.
    line_free_us: Vec<u64>,
    /// When the last message of each pair arrives: none overtakes another.
    last_on_link: BTreeMap<(usize, usize), u64>,
    /// Until when each node waits for its disk.
    busy_us: Vec<u64>,
    /// Since when something that was persisted or signed is not durable.
    unsynced_us: Vec<Option<u64>>,
    /// Transactions in a block; 1 is a lone one.
    load: usize,
    transaction_bytes: usize,
    made: u32,
    open: BTreeMap<Bytes, Open>,
    stop_one: bool,
    pub(crate) stopped: Option<usize>,
    top: u64,
    warm_up: u64,
    blocks: u64,
    pub(crate) begun_us: Option<u64>,
    pub(crate) ended_us: Option<u64>,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) finals: u64,
    /// Blocks made after a timeout.
    pub(crate) later_rounds: u64,
    pub(crate) done: Vec<Done>,
}

/// What a meter is made from.
#[derive(Debug, Clone)]
pub(crate) struct Gauge {
    pub(crate) delay_min_us: u64,
    pub(crate) delay_max_us: u64,
    pub(crate) disk_us: u64,
    pub(crate) loss_permille: u32,
    pub(crate) bytes_per_s: Option<u64>,
    pub(crate) load: usize,
    pub(crate) transaction_bytes: usize,
    pub(crate) stop_one: bool,
    pub(crate) warm_up: u64,
    pub(crate) blocks: u64,
}

impl Meter {
    pub(crate) fn new(nodes: usize, gauge: &Gauge, rng: Rng) -> Self {
        let mut places = rng.fork(1);
        let mut delays = vec![vec![0; nodes]; nodes];
        for one in 0..nodes {
            for other in 0..one {
                let delay = places.within(gauge.delay_min_us, gauge.delay_max_us);
                for (from, to) in [(one, other), (other, one)] {
                    if let Some(cell) = delays.get_mut(from).and_then(|row| row.get_mut(to)) {
                        *cell = delay;
                    }
                }
            }
        }
        Self {
            rng: rng.fork(2),
            delays,
            disk_us: gauge.disk_us,
            loss_permille: gauge.loss_permille,
            bytes_per_s: gauge.bytes_per_s,
            line_free_us: vec![0; nodes],
            last_on_link: BTreeMap::new(),
            busy_us: vec![0; nodes],
            unsynced_us: vec![None; nodes],
            load: gauge.load,
            transaction_bytes: gauge.transaction_bytes,
            made: 0,
            open: BTreeMap::new(),
            stop_one: gauge.stop_one,
            stopped: None,
            top: 0,
            warm_up: gauge.warm_up,
            blocks: gauge.blocks,
            begun_us: None,
            ended_us: None,
            messages: 0,
            bytes: 0,
            finals: 0,
            later_rounds: 0,
            done: Vec::new(),
        }
    }

    fn busy(&self, node: usize) -> u64 {
        self.busy_us.get(node).copied().unwrap_or(0)
    }

    /// A wait for the disk, which begins when the one before is over.
    fn wait(&mut self, node: usize, now: u64) {
        if let Some(busy) = self.busy_us.get_mut(node) {
            *busy = now.max(*busy) + self.disk_us;
        }
    }

    /// When a message arrives that leaves at `out_us`.
    fn carry(&mut self, from: usize, to: usize, out_us: u64, size: u64) -> u64 {
        if self.begun_us.is_some() {
            self.messages += 1;
            self.bytes += size;
        }
        let mut leaves = out_us;
        if let (Some(rate), Some(free)) = (self.bytes_per_s, self.line_free_us.get_mut(from)) {
            leaves = out_us.max(*free) + (size * 1_000_000).div_ceil(rate.max(1));
            *free = leaves;
        }
        let delay = self.delays.get(from).and_then(|row| row.get(to)).copied().unwrap_or(0);
        let mut arrives = leaves + delay;
        let mut again = RETRANSMIT_US + 2 * delay;
        for _ in 0..LOSSES_MAX {
            if !self.rng.chance(self.loss_permille) {
                break;
            }
            arrives += again;
            again *= 2;
        }
        let last = self.last_on_link.entry((from, to)).or_default();
        *last = arrives.max(*last);
        *last
    }

    fn transaction(&mut self) -> Bytes {
        let mut bytes = vec![0; self.transaction_bytes];
        let head = [b"t".as_slice(), &self.made.to_be_bytes()].concat();
        for (place, byte) in bytes.iter_mut().zip(head) {
            *place = byte;
        }
        self.made += 1;
        bytes.into()
    }
}

/// Bytes of a message as a real kernel writes it, without those of TLS and TCP.
fn size(wire: &Wire) -> u64 {
    let size = match wire {
        Wire::Consensus(bytes) => bytes.len(),
        Wire::Status(_) => 41,
        Wire::Ask(_) => 13,
        Wire::Blocks(_, blocks) => {
            9 + blocks.iter().map(|(block, proof)| block.encoded().len() + proof.len() + 8).sum::<usize>()
        }
        Wire::Evidence(bytes) => 5 + bytes.len(),
        Wire::Transactions(list) => 1 + list.iter().map(|one| one.len() + 4).sum::<usize>(),
    };
    size as u64
}

impl World {
    /// Sends in a measured network; whether this is one.
    pub(crate) fn put_on_measured_link(&mut self, at: usize, to: usize, wire: &Wire) -> bool {
        let Some(from) = self.actors.get(at).map(|actor| actor.node) else { return false };
        let now = self.now;
        let Some(meter) = &mut self.meter else { return false };
        // What shares transactions does not wait for the disk; what the loop sends does.
        let out_us = if matches!(wire, Wire::Transactions(_)) { now } else { now.max(meter.busy(from)) };
        let arrives = meter.carry(from, to, out_us, size(wire));
        let sent = Sent { lane: at, at_us: out_us };
        for actor in self.actors_of.get(to).cloned().unwrap_or_default() {
            let life = self.life(actor);
            self.post(arrives, Item::Deliver { actor, life, from, sent, wire: wire.clone() });
        }
        true
    }

    /// Until when a process waits for its disk, if it does.
    pub(crate) fn waits_for_disk(&self, at: usize) -> Option<u64> {
        let busy = self.meter.as_ref()?.busy(at);
        (busy > self.now).then_some(busy)
    }

    /// The waits of a step, before its actions are carried out: what it persists and signs, and what steps before it did, shares one if it
    /// sends, executes or commits.
    pub(crate) fn wait_for_disk(&mut self, at: usize, actions: &[Action]) {
        let now = self.now;
        let Some(meter) = &mut self.meter else { return };
        let disk_us = meter.disk_us;
        let saves = actions.iter().any(|action| matches!(action, Action::Persist(_) | Action::Sign(_)));
        let needs = |action: &Action| {
            matches!(
                action,
                Action::Broadcast(_) | Action::Send { .. } | Action::CheckBlock { .. } | Action::Commit { .. }
            )
        };
        let needs = actions.iter().any(needs);
        let Some(unsynced) = meter.unsynced_us.get_mut(at) else { return };
        // A loop that had nothing to do has made it durable meanwhile.
        *unsynced = unsynced.filter(|since| since + disk_us > now);
        if needs && (saves || unsynced.is_some()) {
            *unsynced = None;
            meter.wait(at, now);
        } else if saves {
            *unsynced = Some(now);
        }
    }

    /// The next transactions of the load.
    pub(crate) fn submit_measured(&mut self) {
        let up: Vec<usize> = (0..self.nodes()).filter(|node| self.is_running(*node)).collect();
        let Some(meter) = &mut self.meter else { return };
        if meter.load == 1 {
            let node = meter.rng.pick(&up).copied().unwrap_or(0);
            return self.submit_at(node, 1);
        }
        let share = (meter.load * UNDER_WAY).div_ceil(up.len().max(1));
        for node in up {
            self.submit_at(node, share);
        }
    }

    fn is_running(&self, node: usize) -> bool {
        self.actors.get(node).is_some_and(super::actor::Actor::is_up)
    }

    /// A validator takes so many from clients, and shares them.
    fn submit_at(&mut self, node: usize, count: usize) {
        let now = self.now;
        let Some(meter) = &mut self.meter else { return };
        let mut made = Vec::with_capacity(count);
        for _ in 0..count {
            let transaction = meter.transaction();
            meter.open.insert(transaction.clone(), Open { node, since_us: now });
            made.push(transaction);
        }
        let life = self.life(node);
        for transaction in made.clone() {
            self.post(now, Item::Learn { actor: node, life, transaction });
        }
        self.wire_to_all(node, &Wire::Transactions(made));
    }

    /// A process has made a block final: one wait for its disk, and the load goes on.
    pub(crate) fn committed_measured(&mut self, at: usize, block: &Block) {
        let now = self.now;
        let creator = self.creator_of(at, block);
        let Some(meter) = &mut self.meter else { return };
        meter.wait(at, now);
        let told_us = meter.busy(at).max(now);
        let height = block.height().0;
        if height > meter.top {
            meter.top = height;
            if meter.begun_us.is_none() && height >= meter.warm_up {
                meter.begun_us = Some(now);
            } else if meter.begun_us.is_some() && meter.ended_us.is_none() {
                meter.finals += block.transactions().len() as u64;
                meter.later_rounds += u64::from(block.header().created_round.0 > 0);
                if height >= meter.warm_up + meter.blocks {
                    meter.ended_us = Some(now);
                    self.done = true;
                }
            }
        }
        let mut told = 0;
        for transaction in block.transactions() {
            if meter.open.get(transaction).is_some_and(|open| open.node == at)
                && let Some(Open { node, since_us }) = meter.open.remove(transaction)
            {
                told += 1;
                if meter.begun_us.is_some_and(|begun| begun <= since_us) {
                    meter.done.push(Done { node, creator, took_us: told_us - since_us });
                }
            }
        }
        let stop = meter.stop_one && meter.begun_us.is_some() && meter.stopped.is_none();
        let lone = meter.load == 1;
        if !lone && told > 0 {
            self.post(told_us, Item::Submitted { node: at, count: told });
        } else if lone && self.everybody_has(height) {
            self.post(told_us, Item::Submit);
        }
        if stop {
            self.post(told_us, Item::StopOne);
        }
    }

    /// The node whose turn it was, as the block says.
    fn creator_of(&self, at: usize, block: &Block) -> usize {
        let set = self.actors.get(at).and_then(|actor| actor.chain.validators_at(block.height()));
        let key = set.and_then(|set| set.get(block.header().creator)).map(|one| one.public_key);
        key.and_then(|key| self.by_key.get(&key).copied()).unwrap_or(0)
    }

    fn everybody_has(&self, height: u64) -> bool {
        let open = self.meter.as_ref().is_some_and(|meter| !meter.open.is_empty());
        let mut up = self.actors.iter().filter(|actor| actor.is_up());
        !open && up.all(|actor| actor.chain.tip().height.0 >= height)
    }

    /// Clients of a validator replace what became final.
    pub(crate) fn submit_again(&mut self, node: usize, count: usize) {
        if self.is_running(node) {
            self.submit_at(node, count);
        }
    }

    /// The last validator dies, and stays away.
    pub(crate) fn stop_one(&mut self) {
        let last = self.nodes().saturating_sub(1);
        let Some(meter) = &mut self.meter else { return };
        if meter.stopped.is_some() {
            return;
        }
        meter.stopped = Some(last);
        // What its clients had under way is nobody's any more.
        let before = meter.open.len();
        meter.open.retain(|_, open| open.node != last);
        let lost = before - meter.open.len();
        let lone = meter.load == 1;
        self.die(last, NEVER);
        if lone && lost > 0 {
            self.post(self.now, Item::Submit);
        }
    }
}
