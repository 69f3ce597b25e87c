//! Faults as they happen: crashes, suspensions, partitions, and their end.

use quorate::consensus::{Action, Event};

use super::{
    actor::{Armed, Memory},
    engines::Engines,
    plan::{Fault, NEVER, What},
    record::Mark,
    world::{Draw, Item, World},
};

/// An armed crash that meets no step within this time, in microseconds, happens anyway.
const ARMED_MAX_US: u64 = 1_000_000;

impl World {
    /// Whether a node is left away when the rest is healed.
    pub(crate) fn is_left_away(&self, node: usize) -> bool {
        self.faults.iter().any(|fault| {
            fault.until_us == NEVER
                && match fault.what {
                    What::Crash { node: gone, .. } | What::Stop { node: gone } | What::Isolate { node: gone, .. } => {
                        gone == node
                    }
                    _ => false,
                }
        })
    }

    /// Whether a fault that is going on keeps the two from being connected.
    pub(crate) fn is_cut_noticed(&self, one: usize, two: usize) -> bool {
        let now = self.now;
        self.faults.iter().filter(|fault| fault.at_us <= now && now < fault.until_us).any(|fault| match fault.what {
            What::Partition { side, noticed: true } => side >> one & 1 != side >> two & 1,
            What::Isolate { node, noticed: true } => node == one || node == two,
            _ => false,
        })
    }

    fn honest_actor(&self, node: usize) -> Option<usize> {
        self.actors.iter().position(|actor| actor.node == node && actor.honest)
    }

    pub(crate) fn begin_fault(&mut self, index: usize) {
        let Some(fault) = self.faults.get(index).cloned() else { return };
        self.trace.mix(&[7, index as u64]);
        self.trace.turn();
        self.trace.tell(self.now, || format!("FAULT {fault}"));
        let nodes = self.nodes();
        let lanes = || -> Vec<usize> {
            let hit = fault.what.hits(nodes);
            let lane = |(at, actor): (usize, &super::actor::Actor)| hit.contains(&actor.node).then_some(at);
            self.actors.iter().enumerate().filter_map(lane).collect()
        };
        let words = fault.what.to_string();
        let (at_us, until_us) = (self.now, fault.until_us);
        if self.trace.is_told() {
            let lanes = lanes();
            self.trace.mark(|| Mark::Fault { at_us, until_us, lanes, words });
        }
        let Fault { until_us, .. } = fault;
        match fault.what {
            What::Crash { node, after } => {
                let Some(at) = self.honest_actor(node) else { return };
                if let Some(actor) = self.actors.get_mut(at) {
                    actor.armed = Some(Armed { after, until_us, fault: index });
                }
                self.post(self.now + ARMED_MAX_US, Item::Fallback { actor: at, fault: index });
            }
            What::Stop { node } => {
                let Some(at) = self.honest_actor(node) else { return };
                self.step(at, Event::Stop);
                self.coverage.met("stops in order");
                if let Some(actor) = self.actors.get_mut(at) {
                    actor.saved = actor.memory.unsynced.take().or(actor.saved.take());
                }
                self.die(at, until_us);
            }
            What::PowerCut => {
                self.coverage.met("power cuts");
                for at in 0..self.actors.len() {
                    if self.actors.get(at).is_some_and(|actor| actor.honest && actor.is_up()) {
                        let late = self.dice(Draw::Return, &[at as u64, index as u64]).below(500_000);
                        let until = until_us.saturating_add(late);
                        self.die(at, until);
                    }
                }
            }
            What::Suspend { node, after } => {
                let Some(at) = self.honest_actor(node) else { return };
                match (self.actors.get_mut(at), after) {
                    (Some(actor), Some(after)) => actor.armed_suspend = Some((after, until_us)),
                    _ => self.suspend(at, until_us),
                }
            }
            What::Signer { node } => self.set_signer(node, true, index),
            What::Clock { node, by_ms } => self.shift_clock(node, by_ms),
            What::Partition { .. } | What::Isolate { .. } | What::OneWay { .. } => self.set_cut(&fault.what, true),
        }
        if until_us != NEVER {
            self.post(until_us, Item::End(index));
        }
    }

    pub(crate) fn end_fault(&mut self, index: usize) {
        let Some(fault) = self.faults.get(index).cloned() else { return };
        match fault.what {
            What::Signer { node } => self.set_signer(node, false, index),
            What::Clock { node, by_ms } => self.shift_clock(node, -by_ms),
            What::Partition { .. } | What::Isolate { .. } | What::OneWay { .. } => self.set_cut(&fault.what, false),
            _ => {}
        }
    }

    fn set_signer(&mut self, node: usize, broken: bool, _fault: usize) {
        if broken {
            self.coverage.met("signers out of order");
        }
        if let Some(actor) = self.honest_actor(node).and_then(|at| self.actors.get_mut(at)) {
            actor.signer.broken = broken;
        }
    }

    fn shift_clock(&mut self, node: usize, by_ms: i64) {
        self.coverage.met("clocks moved");
        if let Some(actor) = self.honest_actor(node).and_then(|at| self.actors.get_mut(at)) {
            actor.skew_ms += by_ms;
        }
    }

    fn set_cut(&mut self, what: &What, begins: bool) {
        let nodes = self.nodes();
        let (mut pairs, noticed) = match what {
            What::Partition { side, noticed } => {
                self.coverage.met("partitions");
                let across = |(one, two): &(usize, usize)| side >> one & 1 != side >> two & 1;
                let all = (0..nodes).flat_map(|one| (0..nodes).map(move |two| (one, two)));
                (all.filter(across).collect::<Vec<_>>(), *noticed)
            }
            What::Isolate { node, noticed } => {
                self.coverage.met("nodes cut off");
                let others = (0..nodes).filter(|other| other != node);
                (others.flat_map(|other| [(*node, other), (other, *node)]).collect(), *noticed)
            }
            What::OneWay { from, to } => {
                self.coverage.met("links lost one way");
                (vec![(*from, *to)], false)
            }
            _ => return,
        };
        pairs.retain(|(one, two)| one != two);
        for (one, two) in pairs {
            let count = self.cut.entry((one, two)).or_default();
            *count = if begins { *count + 1 } else { count.saturating_sub(1) };
            if noticed && begins {
                self.disconnect(one, two);
            } else if noticed {
                self.reconnect(one, two);
            }
        }
    }

    fn reconnect(&mut self, one: usize, two: usize) {
        for actor in self.actors_of.get(one).cloned().unwrap_or_default() {
            let mut rng = self.dice(Draw::Reconnecting, &[actor as u64, two as u64]);
            let soon = self.now + rng.within(1, self.scenario.network.delay_max_us + 1);
            let life = self.life(actor);
            self.post(soon, Item::Connect { actor, life, node: two });
        }
    }

    pub(crate) fn crash_if_armed(&mut self, at: usize, fault: usize) {
        if self.actors.get(at).and_then(|actor| actor.armed).is_some_and(|armed| armed.fault == fault) {
            self.coverage.met("crashes while idle");
            self.crash_armed(at);
        }
    }

    pub(crate) fn crash_armed(&mut self, at: usize) {
        let armed = self.actors.get_mut(at).and_then(|actor| actor.armed.take());
        if let Some(armed) = armed {
            self.die(at, armed.until_us);
        }
    }

    /// The process is gone; it starts again at `until_us`, unless that is [`NEVER`].
    pub(crate) fn die(&mut self, at: usize, until_us: u64) {
        let mut rng = self.dice(Draw::Death, &[at as u64, u64::from(self.life(at))]);
        let kept = rng.chance(500);
        let now = self.now;
        let Some(actor) = self.actors.get_mut(at) else { return };
        if !actor.is_up() {
            return;
        }
        // What nothing depends on may or may not have reached the disk.
        if let Some(record) = actor.memory.unsynced.take().filter(|_| kept) {
            actor.saved = Some(record);
        }
        actor.up_us += now - actor.up_since_us;
        actor.memory = Memory::default();
        (actor.armed, actor.armed_suspend) = (None, None);
        actor.life += 1;
        let (node, life, name) = (actor.node, actor.life, actor.name.clone());
        self.coverage.met("crashes");
        self.trace.mix(&[8, at as u64]);
        self.trace.tell(now, || format!("{name} DIES"));
        self.trace.mark(|| Mark::Down { at_us: now, lane: at });
        let lost = self.scenario.faults.crash_loses_sent_permille;
        if lost > 0 {
            let underway: Vec<(u64, u64)> = self
                .queue
                .iter()
                .filter(|(_, item)| matches!(item, Item::Deliver { from, .. } if *from == node))
                .map(|(key, _)| *key)
                .collect();
            for key in underway {
                if rng.chance(lost) {
                    self.queue.remove(&key);
                }
            }
        }
        for other in 0..self.nodes() {
            self.disconnect(node, other);
        }
        if until_us != NEVER {
            self.post(until_us.max(now + 1), Item::Start { actor: at, life });
        }
    }

    pub(crate) fn suspend(&mut self, at: usize, until_us: u64) {
        let now = self.now;
        let Some(actor) = self.actors.get_mut(at) else { return };
        if !actor.is_up() || actor.memory.suspended_until.is_some() || until_us <= now {
            let rest = std::mem::take(&mut actor.memory.rest);
            return self.carry_out(at, rest);
        }
        actor.memory.suspended_until = Some(until_us);
        let (life, name) = (actor.life, actor.name.clone());
        self.coverage.met("suspensions");
        self.trace.tell(now, || format!("{name} is suspended until {} ms", until_us / 1000));
        self.trace.mark(|| Mark::Suspended { at_us: now, until_us, lane: at });
        self.post(until_us, Item::Resume { actor: at, life });
    }

    /// Goes on: first with the rest of the step, then with what came meanwhile, timers before or after messages.
    pub(crate) fn resume(&mut self, at: usize) {
        let mode = self.dice(Draw::Resuming, &[at as u64]).below(3);
        let Some(actor) = self.actors.get_mut(at) else { return };
        if actor.memory.suspended_until.take().is_none() {
            return;
        }
        let name = actor.name.clone();
        let rest: Vec<Action> = std::mem::take(&mut actor.memory.rest);
        let mut held = std::mem::take(&mut actor.memory.held);
        let late_timer = |item: &Item| matches!(item, Item::Timer { .. });
        match mode {
            0 => held.sort_by_key(late_timer),
            1 => held.sort_by_key(|item| !late_timer(item)),
            _ => {}
        }
        self.trace.tell(self.now, || format!("{name} goes on, with {} inputs waiting", held.len()));
        for item in held {
            self.post(self.now, item);
        }
        self.carry_out(at, rest);
    }

    /// A dishonest node starts again with nothing but the chain.
    pub(crate) fn forget(&mut self, at: usize, engines: &dyn Engines) {
        let Some(actor) = self.actors.get_mut(at) else { return };
        actor.saved = None;
        actor.signer.forget();
        actor.memory.unsynced = None;
        self.coverage.met("records forgotten by dishonest nodes");
        self.die(at, NEVER);
        self.start(at, engines);
    }

    /// The last fault is over.
    pub(crate) fn heal(&mut self) {
        let late = self.now;
        for actor in &mut self.actors {
            let stays = actor.armed.filter(|armed| armed.until_us == NEVER);
            (actor.armed, actor.armed_suspend) = (stays, None);
            actor.signer.broken = false;
        }
        self.trace.turn();
        self.trace.tell(late, || "CALM: the last fault is over".into());
        self.trace.mark(|| Mark::Note { at_us: late, words: "calm: the last fault is over".into() });
        self.heal_target();
        self.look_whether_done();
    }
}
