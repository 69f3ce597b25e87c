//! Dishonest validators: puppets of the honest engine, which work against any consensus, and directed attacks against one.

use std::collections::VecDeque;

use bytes::Bytes;
use quorate::{
    Block, Hash, Round, Signature, Timestamp, ValidatorIndex,
    consensus::{SignRequest, Tip},
    signature::Signed,
    validators::ValidatorSet,
};

use super::{
    ledger::{Draft, Rules},
    rng::Rng,
    scenario::Strategy,
    signer,
    world::World,
};

/// Messages which a puppet keeps to use again at most.
const STORE_MAX: usize = 64;

/// What stands between the honest engine of a dishonest validator and the network.
#[derive(Debug, Clone)]
pub(crate) struct Puppet {
    rng: Rng,
    silent: bool,
    lose_permille: u32,
    deaf_permille: u32,
    hold_permille: u32,
    hold_max_us: u64,
    replay_permille: u32,
    change_permille: u32,
    forge_permille: u32,
    /// Nodes which never get anything: a bit for each.
    ignored: u64,
    /// How fast its clock runs, in thousandths.
    pub(crate) clock_permille: u64,
    /// It forgets everything but the chain so often; 0 is never.
    pub(crate) forgets_every_us: u64,
    store: VecDeque<Bytes>,
}

/// One message on its way out.
pub(crate) struct Outgoing {
    pub(crate) to: usize,
    pub(crate) bytes: Bytes,
    pub(crate) hold_us: u64,
}

impl Puppet {
    pub(crate) fn draw(strategy: Strategy, nodes: usize, mut rng: Rng) -> Self {
        let mut some = |max: u64| if rng.chance(500) { u32::try_from(rng.below(max)).unwrap_or(0) } else { 0 };
        let mut puppet = Self {
            silent: strategy == Strategy::Silent,
            lose_permille: 0,
            deaf_permille: 0,
            hold_permille: 0,
            hold_max_us: 0,
            replay_permille: 0,
            change_permille: 0,
            forge_permille: 0,
            ignored: 0,
            clock_permille: 1000,
            forgets_every_us: 0,
            store: VecDeque::new(),
            rng: Rng::new(0),
        };
        if matches!(strategy, Strategy::Puppet | Strategy::PuppetTwins) {
            puppet.lose_permille = some(600);
            puppet.deaf_permille = some(300);
            puppet.hold_permille = some(600);
            puppet.replay_permille = some(300);
            puppet.change_permille = some(200);
            puppet.forge_permille = some(100);
            puppet.hold_max_us = 1000 * rng.within(1, 3000);
            if rng.chance(400) {
                puppet.ignored = rng.below(1 << nodes);
            }
            puppet.clock_permille = *rng.pick(&[1000, 1000, 5000, 300]).unwrap_or(&1000);
        }
        if strategy == Strategy::Amnesiac {
            puppet.forgets_every_us = 1000 * rng.within(200, 3000);
        }
        puppet.rng = rng;
        puppet
    }

    /// Whether an incoming message is not listened to.
    pub(crate) fn ignores(&mut self) -> bool {
        self.silent || self.rng.chance(self.deaf_permille)
    }

    /// What becomes of a message.
    pub(crate) fn pass(&mut self, to: usize, bytes: &Bytes) -> Vec<Outgoing> {
        if self.silent || self.ignored >> to & 1 == 1 {
            return Vec::new();
        }
        if self.store.len() >= STORE_MAX {
            self.store.pop_front();
        }
        self.store.push_back(bytes.clone());
        let mut out = Vec::new();
        if !self.rng.chance(self.lose_permille) {
            let bytes = if self.rng.chance(self.change_permille) { self.changed(bytes) } else { bytes.clone() };
            out.push(self.timed(to, bytes));
        }
        if self.rng.chance(self.replay_permille)
            && let Some(old) = self.store.get(self.rng.index(self.store.len())).cloned()
        {
            out.push(self.timed(to, old));
        }
        if self.rng.chance(self.forge_permille) {
            let forged = self.forged();
            out.push(self.timed(to, forged));
        }
        out
    }

    fn timed(&mut self, to: usize, bytes: Bytes) -> Outgoing {
        let hold_us = if self.rng.chance(self.hold_permille) { self.rng.below(self.hold_max_us) } else { 0 };
        Outgoing { to, bytes, hold_us }
    }

    fn changed(&mut self, bytes: &Bytes) -> Bytes {
        let mut bytes = bytes.to_vec();
        match self.rng.below(4) {
            0 => bytes.truncate(self.rng.index(bytes.len() + 1)),
            1 => bytes.extend_from_slice(&self.rng.next_u64().to_le_bytes()),
            _ => {
                for _ in 0..self.rng.within(1, 3) {
                    let at = self.rng.index(bytes.len());
                    let bit = self.rng.below(8);
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 1 << bit;
                    }
                }
            }
        }
        bytes.into()
    }

    /// Two halves of two messages, or noise.
    fn forged(&mut self) -> Bytes {
        let mut half = |from_end: bool| {
            let kept = self.store.get(self.rng.index(self.store.len())).cloned().unwrap_or_default();
            let at = kept.len() / 2;
            if from_end { kept.slice(at..) } else { kept.slice(..at) }
        };
        let (first, second) = (half(false), half(true));
        if self.rng.chance(200) {
            let noise: Vec<u8> = (0..self.rng.below(300)).map(|_| self.rng.next_u64().to_le_bytes()[0]).collect();
            return noise.into();
        }
        [first, second].concat().into()
    }
}

/// A directed attack: one mind behind all dishonest keys, which sees every message when it is sent.
pub trait Adversary {
    /// The network starts.
    fn start(&mut self, _grip: &mut Grip<'_>) {}

    /// An honest node sent a message to one node or to all.
    fn sent(&mut self, _grip: &mut Grip<'_>, _from: usize, _to: Option<usize>, _bytes: &Bytes) {}

    /// An honest node made a block final.
    fn committed(&mut self, _grip: &mut Grip<'_>, _node: usize, _tip: Tip) {}

    /// The time asked for by [`Grip::wake`] has come.
    fn woke(&mut self, _grip: &mut Grip<'_>, _token: u64) {}

    /// How long a message between two honest nodes takes, in microseconds, within the bounds of the network; `None` draws it.
    fn delay_us(&mut self, _now_us: u64, _from: usize, _to: usize, _bytes: &Bytes) -> Option<u64> {
        None
    }
}

/// What an [`Adversary`] can do.
pub struct Grip<'a> {
    pub(crate) world: &'a mut World,
}

impl Grip<'_> {
    /// The time of the run, in microseconds.
    pub fn now_us(&self) -> u64 {
        self.world.now
    }

    /// Its own randomness.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.world.adversary_rng
    }

    /// The dishonest nodes, ascending.
    pub fn corrupt(&self) -> Vec<usize> {
        self.world.checks.corrupt.iter().copied().collect()
    }

    /// The honest nodes, ascending.
    pub fn honest(&self) -> Vec<usize> {
        (0..self.world.nodes()).filter(|node| !self.world.checks.corrupt.contains(node)).collect()
    }

    /// The tip of an honest node, and the validators of the height after it.
    pub fn tip(&self, node: usize) -> Option<(Tip, ValidatorSet)> {
        let actor = self.world.actors.iter().find(|actor| actor.node == node)?;
        Some((actor.chain.tip(), actor.chain.validators().clone()))
    }

    /// Signs with a dishonest node's key, without a guard. `None` for an honest node's.
    pub fn sign(&self, node: usize, request: &SignRequest) -> Option<Signature> {
        if !self.world.checks.corrupt.contains(&node) {
            return None;
        }
        let bytes = request.sign_bytes(&self.world.rules.chain_id);
        let (key, public) = (self.world.keys.get(node)?, self.world.public.get(node)?);
        let signature = signer::sign(key, &bytes);
        self.world.memo.made(&Signed { key: *public, message: &bytes, signature });
        Some(signature)
    }

    /// A valid block on the tip of honest node `like`, made by `creator` for `round`; another `salt` makes another block.
    pub fn block(&self, like: usize, creator: ValidatorIndex, round: Round, salt: u32) -> Option<Block> {
        let actor = self.world.actors.iter().find(|actor| actor.node == like)?;
        let time = Timestamp(actor.chain.tip().time.0.max(self.world.wall_ms()) + 1);
        let transactions = vec![Rules::plain(0x8000_0000 | salt)];
        let draft = Draft { creator, round, time, transactions, evidence: Vec::new() };
        let candidate = self.world.rules.build(&actor.chain, draft, self.world.proof.as_ref())?;
        Some(candidate.block)
    }

    /// Sends as a dishonest node; arrives after `delay_us`.
    pub fn send(&mut self, from: usize, to: usize, bytes: Bytes, delay_us: u64) {
        if self.world.checks.corrupt.contains(&from) {
            self.world.send_as(from, to, bytes, delay_us);
        }
    }

    /// Calls [`Adversary::woke`] at that time of the run.
    pub fn wake(&mut self, at_us: u64, token: u64) {
        self.world.wake_adversary(at_us, token);
    }

    /// Adds a line to the timeline.
    pub fn tell(&mut self, line: &str) {
        let now = self.world.now;
        self.world.trace.tell(now, || format!("adversary: {line}"));
    }

    /// The longest delay between honest nodes, in microseconds.
    pub fn delay_max_us(&self) -> u64 {
        self.world.scenario.network.delay_max_us
    }

    /// The chain.
    pub fn chain_hash(&self) -> Hash {
        Hash::new(*self.world.rules.chain_id.as_bytes())
    }
}
