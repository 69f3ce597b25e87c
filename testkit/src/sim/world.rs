//! The virtual world: its clock, its queue of what will happen, and the loop.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use ed25519_zebra::SigningKey;
use quorate::{
    Block, FinalityProof, Height, PeerId, PublicKey, ValidatorSet,
    consensus::{BlockLimits, Event, Start, TimerId},
    signature::Memo,
};

use super::{
    actor::{Actor, Memory},
    adversary::{Adversary, Grip},
    checks::{Breach, Checks, Inspector, Kinds},
    engines::Engines,
    ledger::Rules,
    meter::Meter,
    plan::Fault,
    record::{Coverage, Mark, Run, Trace, Violation},
    rng::Rng,
    scenario::Scenario,
};

/// Actions of one step at most (L3).
pub const STEP_ACTIONS_MAX: usize = 1024;

/// Happenings of one run at most; more is a storm (L3).
pub const HAPPENINGS_MAX: u64 = 3_000_000;

/// When the simulated networks began, in milliseconds since 1970.
pub(crate) const GENESIS_MS: u64 = 1_700_000_000_000;

/// How often nodes look whether they are behind, in microseconds.
const TICK_US: u64 = 500_000;

/// What travels between processes.
#[derive(Debug, Clone)]
pub(crate) enum Wire {
    Consensus(Bytes),
    Status(Height),
    Ask(Height),
    Blocks(Height, Vec<(Block, Bytes)>),
    Evidence(Bytes),
    Transactions(Vec<Bytes>),
}

/// Where and when a message began, for drawings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) lane: usize,
    pub(crate) at_us: u64,
}

/// What a number is drawn for; the names are part of what a seed means.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Draw {
    Link = 1,
    Origin,
    Greeting,
    Signing,
    Building,
    Checking,
    Return,
    Death,
    Resuming,
    Reconnecting,
}

/// What will happen.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    Deliver { actor: usize, life: u32, from: usize, sent: Sent, wire: Wire },
    Timer { actor: usize, life: u32, id: TimerId, generation: u64 },
    Answer { actor: usize, life: u32, event: Box<Event> },
    Judge { actor: usize, life: u32, block: Block, limits: BlockLimits },
    Connect { actor: usize, life: u32, node: usize },
    Learn { actor: usize, life: u32, transaction: Bytes },
    Tick { actor: usize, life: u32 },
    Take { actor: usize, life: u32 },
    Start { actor: usize, life: u32 },
    Forget { actor: usize },
    Begin(usize),
    Fallback { actor: usize, fault: usize },
    End(usize),
    Resume { actor: usize, life: u32 },
    Submit,
    Submitted { node: usize, count: usize },
    StopOne,
    Wake(u64),
    Heal,
    Deadline,
}

/// What a run is made from.
pub struct Setup<'a> {
    /// The scenario.
    pub scenario: &'a Scenario,
    /// The engines.
    pub engines: &'a dyn Engines,
    /// Which signatures mean what.
    pub kinds: Option<Kinds>,
    /// The consensus' own checks.
    pub inspector: Option<Box<dyn Inspector>>,
    /// A directed attack; the dishonest nodes then have no engines.
    pub adversary: Option<Box<dyn Adversary>>,
    /// Faults instead of those that the seed draws.
    pub faults: Option<Vec<Fault>>,
    /// Whether the story is wanted.
    pub told: bool,
}

/// A world while it runs.
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) rules: Rules,
    pub(crate) proof: Arc<dyn FinalityProof>,
    pub(crate) keys: Vec<SigningKey>,
    pub(crate) public: Vec<PublicKey>,
    pub(crate) by_key: BTreeMap<PublicKey, usize>,
    pub(crate) actors: Vec<Actor>,
    pub(crate) actors_of: Vec<Vec<usize>>,
    pub(crate) now: u64,
    pub(crate) queue: BTreeMap<(u64, u64), Item>,
    pub(crate) sequence: u64,
    /// For what happens in the same order whatever the faults are.
    pub(crate) rng: Rng,
    /// For everything else, see [`World::dice`].
    pub(crate) base: Rng,
    pub(crate) drawn: BTreeMap<u64, u64>,
    pub(crate) memo: Memo,
    pub(crate) adversary_rng: Rng,
    pub(crate) checks: Checks,
    pub(crate) inspector: Option<Box<dyn Inspector>>,
    pub(crate) adversary: Option<Box<dyn Adversary>>,
    pub(crate) kinds: Option<Kinds>,
    pub(crate) coverage: Coverage,
    pub(crate) trace: Trace,
    pub(crate) violation: Option<Violation>,
    pub(crate) faults: Vec<Fault>,
    /// How many faults cut the way from one node to another.
    pub(crate) cut: BTreeMap<(usize, usize), u32>,
    pub(crate) links: BTreeMap<(usize, usize), (u64, u64)>,
    pub(crate) in_order: bool,
    pub(crate) status: bool,
    pub(crate) last_on_link: BTreeMap<(usize, usize), u64>,
    pub(crate) submitted: Vec<Bytes>,
    pub(crate) healed: bool,
    pub(crate) target: u64,
    pub(crate) done: bool,
    pub(crate) steps: u64,
    /// Of a network whose figures are taken; none where schedules of faults are run.
    pub(crate) meter: Option<Meter>,
}

/// Runs one schedule.
///
/// # Errors
///
/// When the engines can't be made.
pub fn run(setup: Setup<'_>, seed: u64) -> Result<Run, String> {
    let engines = setup.engines;
    let mut world = World::new(setup, seed)?;
    world.begin();
    let mut happenings = 0;
    while world.violation.is_none() && !world.done {
        let Some(((at, _), item)) = world.queue.pop_first() else { break };
        world.now = at;
        world.happen(item, engines);
        happenings += 1;
        if happenings > HAPPENINGS_MAX {
            world.breach(Breach::new("L3 bounds", format!("more than {HAPPENINGS_MAX} happenings in one run")));
        }
    }
    Ok(world.finish(seed))
}

impl World {
    pub(crate) fn nodes(&self) -> usize {
        self.keys.len()
    }

    /// The true wall clock, in milliseconds since 1970.
    pub(crate) fn wall_ms(&self) -> u64 {
        GENESIS_MS + self.now / 1000
    }

    pub(crate) fn post(&mut self, at_us: u64, item: Item) {
        self.sequence += 1;
        self.queue.insert((at_us.max(self.now), self.sequence), item);
    }

    /// Randomness for one purpose, named by `key`; each time it is asked for the same there is new one.
    ///
    /// It does not depend on what else is drawn in the run, so that a schedule without one of its faults is the same schedule as
    /// far as that fault made no difference: that is what makes shrinking work.
    pub(crate) fn dice(&mut self, purpose: Draw, key: &[u64]) -> Rng {
        let mut rng = self.base.fork(purpose as u64);
        for part in key {
            rng = rng.fork(*part);
        }
        let count = self.drawn.entry(rng.clone().next_u64()).or_default();
        *count += 1;
        rng.fork(*count)
    }

    pub(crate) fn life(&self, actor: usize) -> u32 {
        self.actors.get(actor).map_or(0, |actor| actor.life)
    }

    pub(crate) fn node_of(&self, peer: &PeerId) -> Option<usize> {
        self.by_key.get(&PublicKey::from(*peer)).copied()
    }

    pub(crate) fn peer_of(&self, node: usize) -> PeerId {
        self.public.get(node).copied().map_or(PeerId::new([0; 32]), PeerId::from)
    }

    /// The validators as nodes, in their order.
    pub(crate) fn nodes_of(&self, set: &ValidatorSet) -> Vec<usize> {
        set.iter().filter_map(|(_, one)| self.by_key.get(&one.public_key).copied()).collect()
    }

    pub(crate) fn breach(&mut self, breach: Breach) {
        if self.violation.is_none() {
            let Breach { invariant, detail } = breach;
            self.trace.tell(self.now, || format!("VIOLATION {invariant}: {detail}"));
            let at_us = self.now;
            self.trace.mark(|| Mark::Violation { at_us, words: format!("{invariant}: {detail}") });
            self.violation = Some(Violation { invariant, detail, at_us: self.now });
        }
    }

    pub(crate) fn inspect(&mut self, look: impl FnOnce(&mut dyn Inspector) -> Result<(), Breach>) {
        if let Some(inspector) = &mut self.inspector
            && let Err(breach) = look(inspector.as_mut())
        {
            self.breach(breach);
        }
    }

    /// Lets the adversary act.
    pub(crate) fn attack(&mut self, act: impl FnOnce(&mut dyn Adversary, &mut Grip<'_>)) {
        if let Some(mut adversary) = self.adversary.take() {
            act(adversary.as_mut(), &mut Grip { world: self });
            self.adversary = Some(adversary);
        }
    }

    fn begin(&mut self) {
        for actor in 0..self.actors.len() {
            let at = self.rng.below(200_000);
            let life = self.life(actor);
            self.post(at, Item::Start { actor, life });
        }
        for (index, fault) in self.faults.clone().iter().enumerate() {
            self.post(fault.at_us, Item::Begin(index));
        }
        if self.scenario.submit_every_ms > 0 {
            self.post(0, Item::Submit);
        }
        self.post(self.scenario.chaos_ms * 1000, Item::Heal);
        self.attack(|adversary, grip| adversary.start(grip));
    }

    pub(crate) fn happen(&mut self, item: Item, engines: &dyn Engines) {
        match item {
            Item::Start { actor, life } if life == self.life(actor) => self.start(actor, engines),
            Item::Begin(fault) => self.begin_fault(fault),
            Item::End(fault) => self.end_fault(fault),
            Item::Fallback { actor, fault } => self.crash_if_armed(actor, fault),
            Item::Resume { actor, life } if life == self.life(actor) => self.resume(actor),
            Item::Forget { actor } => self.forget(actor, engines),
            Item::Submit if self.meter.is_some() => self.submit_measured(),
            Item::Submit => self.submit(),
            Item::Submitted { node, count } => self.submit_again(node, count),
            Item::StopOne => self.stop_one(),
            Item::Wake(token) => self.attack(|adversary, grip| adversary.woke(grip, token)),
            Item::Heal => self.heal(),
            Item::Deadline => self.deadline(),
            item => self.give(item),
        }
    }

    pub(crate) fn start(&mut self, at: usize, engines: &dyn Engines) {
        let Ok(mut context) = super::setup::context(&self.scenario) else { return };
        context.seed = at as u64;
        let engine = match engines.engine(&context) {
            Ok(engine) => engine,
            Err(error) => return self.breach(Breach::new("H2 panic", format!("engine can't be made: {error}"))),
        };
        let life = u64::from(self.life(at));
        let origin = self.dice(Draw::Origin, &[at as u64, life]).below(1 << 40);
        let now = self.now;
        let Some(actor) = self.actors.get_mut(at) else { return };
        if actor.is_up() {
            return;
        }
        let Some(key) = self.public.get(actor.node) else { return };
        actor.memory = Memory { engine: Some(engine), ..Memory::default() };
        actor.origin = origin;
        actor.up_since_us = now;
        if actor.life > 0 {
            actor.signer.restart();
        }
        let start = Start {
            tip: actor.chain.tip(),
            validators: actor.chain.validators().clone(),
            me: actor.me(key),
            saved: actor.saved.clone(),
            fresh: actor.signer.fresh(),
            pending: false,
        };
        let (node, honest, life, name) = (actor.node, actor.honest, actor.life, actor.name.clone());
        let saved = actor.saved.clone();
        let height = start.tip.height;
        self.trace.tell(now, || {
            let record = saved.as_ref().map_or("no record".into(), |bytes| format!("a record of {} B", bytes.len()));
            format!("{name} starts at height {height} with {record}")
        });
        self.trace.mark(|| Mark::Up { at_us: now, lane: at });
        if life > 0 {
            self.coverage.met("restarts");
        }
        if honest {
            self.inspect(|inspector| inspector.started(node, start.saved.as_deref()));
        }
        self.step(at, Event::Start(start));
        self.greet(at);
        if self.scenario.byzantine > 0 {
            let every = self.actors.get(at).and_then(|actor| actor.puppet.as_ref()).map_or(0, |p| p.forgets_every_us);
            if every > 0 {
                self.post(now + every, Item::Forget { actor: at });
            }
        }
    }

    /// Connects to everybody, learns what waits, and begins to look around.
    fn greet(&mut self, at: usize) {
        let life = self.life(at);
        let mut rng = self.dice(Draw::Greeting, &[at as u64, u64::from(life)]);
        for node in 0..self.nodes() {
            let soon = self.now + rng.within(1, self.scenario.network.delay_max_us / 5 + 1);
            self.post(soon, Item::Connect { actor: at, life, node });
        }
        let mut learning = rng.fork(1);
        for transaction in self.submitted.clone() {
            let soon = self.now + learning.within(1, self.scenario.network.delay_max_us + 1);
            self.post(soon, Item::Learn { actor: at, life, transaction });
        }
        let soon = self.now + rng.below(TICK_US);
        self.post(soon, Item::Tick { actor: at, life });
    }

    pub(crate) fn next_tick(&mut self, at: usize) {
        let life = self.life(at);
        self.post(self.now + TICK_US, Item::Tick { actor: at, life });
    }

    fn submit(&mut self) {
        let number = u32::try_from(self.submitted.len()).unwrap_or(u32::MAX);
        let transaction = if self.scenario.standby > 0 && self.rng.chance(300) {
            let honest: Vec<usize> = (0..self.nodes()).filter(|node| !self.checks.corrupt.contains(node)).collect();
            let node = *self.rng.pick(&honest).unwrap_or(&0);
            Rules::toggle(node, number)
        } else {
            Rules::plain(number)
        };
        self.submitted.push(transaction.clone());
        for at in 0..self.actors.len() {
            let soon = self.now + self.rng.within(1, self.scenario.network.delay_max_us + 1);
            let life = self.life(at);
            self.post(soon, Item::Learn { actor: at, life, transaction: transaction.clone() });
        }
        let every = self.scenario.submit_every_ms * 1000;
        let next = self.now + self.rng.within(every / 2, every * 3 / 2);
        self.post(next, Item::Submit);
    }

    pub(crate) fn wake_adversary(&mut self, at_us: u64, token: u64) {
        self.post(at_us, Item::Wake(token));
    }

    /// The processes, and dishonest nodes behind which stands an adversary, by name.
    fn lanes(&self) -> Vec<String> {
        let actors = self.actors.iter().map(|actor| actor.name.clone());
        actors.chain(self.checks.corrupt.iter().map(|node| format!("byz{node}"))).collect()
    }

    /// The lane of a dishonest node without a process.
    pub(crate) fn lane_of_adversary(&self, node: usize) -> usize {
        let place = self.checks.corrupt.iter().position(|one| *one == node).unwrap_or(0);
        self.actors.len() + place
    }

    fn deadline(&mut self) {
        let behind: Vec<String> = self
            .actors
            .iter()
            .filter(|actor| actor.honest && actor.is_up() && !self.is_left_away(actor.node))
            .map(|actor| format!("{} at {}", actor.name, actor.chain.tip().height))
            .collect();
        let detail = format!(
            "{} ms after the last fault not everybody is at height {}: {}",
            self.scenario.calm_ms,
            self.target,
            behind.join(", ")
        );
        self.breach(Breach::new("L2 progress", detail));
    }

    /// Whether all that should have made progress did.
    pub(crate) fn look_whether_done(&mut self) {
        if !self.healed {
            return;
        }
        let target = self.target;
        self.done = self
            .actors
            .iter()
            .filter(|actor| actor.honest && !self.is_left_away(actor.node))
            .all(|actor| actor.chain.tip().height.0 >= target);
    }

    pub(crate) fn heal_target(&mut self) {
        let honest = self.actors.iter().filter(|actor| actor.honest);
        let highest = honest.map(|actor| actor.chain.tip().height.0).max().unwrap_or(0);
        self.healed = true;
        self.target = highest + self.scenario.calm_heights;
        let deadline = self.now + self.scenario.calm_ms * 1000;
        self.post(deadline, Item::Deadline);
    }

    fn finish(mut self, seed: u64) -> Run {
        let now = self.now;
        let mut breach = None;
        for actor in self.actors.iter_mut().filter(|actor| actor.honest) {
            if actor.is_up() {
                actor.up_us += now - actor.up_since_us;
            }
            let seconds = actor.up_us / 1_000_000 + 5;
            if actor.sent > seconds * self.scenario.messages_per_s_max {
                let detail = format!(
                    "{} sent {} messages in {seconds} s; {} a second are allowed",
                    actor.name, actor.sent, self.scenario.messages_per_s_max
                );
                breach = Some(Breach::new("L3 bounds", detail));
            }
        }
        if let Some(breach) = breach {
            self.breach(breach);
        }
        let lives: BTreeSet<usize> = self.actors.iter().map(|actor| actor.node).collect();
        self.coverage.add("nodes", lives.len() as u64);
        self.coverage.add("heights decided", self.checks.height());
        let height = self.checks.height();
        let lanes = self.lanes();
        let (trace_hash, timeline, marks) = self.trace.finish();
        Run {
            seed,
            violation: self.violation,
            trace_hash,
            coverage: self.coverage,
            height,
            virtual_ms: now / 1000,
            steps: self.steps,
            timeline,
            lanes,
            marks,
        }
    }
}
