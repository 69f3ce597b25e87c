//! The simulated kernel: gives events to an engine and carries out its actions, in order, as a real one does.

use bytes::Bytes;
use quorate::{
    Block, Hash, Timestamp,
    consensus::{Action, BlockLimits, Event, SAVED_BYTES_MAX, SignRequest, TimerId, Verdict},
    signature::Signed,
};

use super::{
    checks::{Breach, short},
    ledger::Draft,
    record::Mark,
    world::{Draw, Item, STEP_ACTIONS_MAX, World},
};

/// Timers of an engine at most, as in a real node.
const TIMERS_MAX: usize = 1024;

/// Blocks that wait to be judged again are asked about after this time, in microseconds.
const NOT_NOW_AGAIN_US: u64 = 50_000;

impl World {
    /// Gives an item to its process, if that still lives; one that is suspended gets it later.
    pub(crate) fn give(&mut self, item: Item) {
        let (at, life) = match &item {
            Item::Deliver { actor, life, .. }
            | Item::Timer { actor, life, .. }
            | Item::Answer { actor, life, .. }
            | Item::Judge { actor, life, .. }
            | Item::Connect { actor, life, .. }
            | Item::Learn { actor, life, .. }
            | Item::Take { actor, life }
            | Item::Tick { actor, life } => (*actor, *life),
            _ => return,
        };
        let Some(actor) = self.actors.get_mut(at) else { return };
        if actor.life != life || !actor.is_up() {
            return;
        }
        if actor.memory.suspended_until.is_some() {
            actor.memory.held.push(item);
            return;
        }
        if let Some(until_us) = self.waits_for_disk(at) {
            return self.post(until_us, item);
        }
        let Some(actor) = self.actors.get_mut(at) else { return };
        // A message or timer waits until the engine knows of a block that has just become final; answers do not.
        if actor.memory.untold_commit && !matches!(item, Item::Answer { .. }) {
            return self.post(self.now, item);
        }
        match item {
            Item::Deliver { from, sent, wire, .. } => self.deliver(at, from, sent, wire),
            Item::Timer { id, generation, .. } => self.timer(at, id, generation),
            Item::Answer { event, .. } => self.answer(at, *event),
            Item::Judge { block, limits, .. } => self.check(at, &block, limits),
            Item::Connect { node, .. } => self.connect(at, node),
            Item::Learn { transaction, .. } => self.learn(at, vec![transaction]),
            Item::Tick { .. } => self.tick(at),
            Item::Take { .. } => self.take_next_block(at),
            _ => {}
        }
    }

    fn timer(&mut self, at: usize, id: TimerId, generation: u64) {
        let Some(actor) = self.actors.get_mut(at) else { return };
        match actor.memory.timers.get(&id) {
            Some((due, current)) if *current == generation => {
                let due = *due;
                actor.memory.timers.remove(&id);
                self.step(at, Event::Timer { id, due });
            }
            _ => {}
        }
    }

    fn answer(&mut self, at: usize, event: Event) {
        let Some(actor) = self.actors.get_mut(at) else { return };
        if matches!(event, Event::Committed { .. }) {
            actor.memory.untold_commit = false;
        }
        // A newer request replaced this one.
        if matches!(&event, Event::BlockBuilt { token, .. } if *token != actor.memory.build_token) {
            return;
        }
        self.step(at, event);
    }

    pub(crate) fn learn(&mut self, at: usize, transactions: Vec<Bytes>) {
        let Some(actor) = self.actors.get_mut(at) else { return };
        let mut fresh = transactions.into_iter().filter(|transaction| !actor.chain.has(transaction)).peekable();
        if fresh.peek().is_some() {
            actor.memory.pool.extend(fresh);
            self.tell_work(at);
        }
    }

    pub(crate) fn tell_work(&mut self, at: usize) {
        let Some(actor) = self.actors.get_mut(at) else { return };
        let pending = actor.pending();
        if pending != actor.memory.told_pending {
            actor.memory.told_pending = pending;
            self.step(at, Event::Work { pending });
        }
    }

    /// Steps an engine and carries out what it wants, up to a crash or suspension between two actions.
    pub(crate) fn step(&mut self, at: usize, event: Event) {
        let now = self.now;
        let Some(actor) = self.actors.get_mut(at) else { return };
        if actor.memory.halted || !actor.is_up() {
            return;
        }
        self.steps += 1;
        let (name, honest) = (actor.name.clone(), actor.honest);
        let actions = match actor.step(now, event) {
            Ok(actions) => actions,
            Err(words) if honest => {
                return self.breach(Breach::new("H2 panic", format!("{name}'s engine panicked: {words}")));
            }
            Err(_) => {
                actor.memory.halted = true;
                return;
            }
        };
        if honest && actions.len() > STEP_ACTIONS_MAX {
            let detail = format!("{name}: {} actions in one step; {STEP_ACTIONS_MAX} are allowed", actions.len());
            self.breach(Breach::new("L3 bounds", detail));
        }
        self.carry_out(at, actions);
    }

    pub(crate) fn carry_out(&mut self, at: usize, actions: Vec<Action>) {
        self.wait_for_disk(at, &actions);
        let Some(actor) = self.actors.get_mut(at) else { return };
        let cut = |after: u8| usize::from(after) % (actions.len() + 1);
        let dies_after = actor.armed.filter(|_| !actions.is_empty()).map(|armed| cut(armed.after));
        let stops_after = actor
            .armed_suspend
            .filter(|_| actions.len() > 1)
            .map(|(after, until)| (usize::from(after) % (actions.len() - 1), until));
        let mut rest = actions.into_iter().enumerate();
        while let Some((index, action)) = rest.next() {
            if dies_after == Some(index) {
                self.coverage.met(if index == 0 {
                    "crashes before a step's actions"
                } else {
                    "crashes between actions"
                });
                return self.crash_armed(at);
            }
            self.act(at, action);
            let Some(actor) = self.actors.get_mut(at) else { return };
            if !actor.is_up() || actor.memory.halted || self.violation.is_some() {
                return;
            }
            if let Some((after, until)) = stops_after
                && index == after
            {
                actor.armed_suspend = None;
                actor.memory.rest = rest.map(|(_, action)| action).collect();
                self.coverage.met("suspensions between actions");
                return self.suspend(at, until);
            }
        }
        if dies_after.is_some() {
            self.coverage.met("crashes after a step's actions");
            self.crash_armed(at);
        }
    }

    fn act(&mut self, at: usize, action: Action) {
        // A record may wait to become durable until something depends on it.
        if matches!(
            action,
            Action::Sign(_) | Action::Broadcast(_) | Action::Send { .. } | Action::Commit { .. } | Action::Halt { .. }
        ) && let Some(actor) = self.actors.get_mut(at)
            && let Some(record) = actor.memory.unsynced.take()
        {
            actor.saved = Some(record);
        }
        match action {
            Action::Persist(record) => self.persist(at, record),
            Action::Sign(request) => self.sign(at, &request),
            Action::Broadcast(bytes) => self.send(at, None, &bytes),
            Action::Send { to, bytes } => match self.node_of(&to) {
                Some(node) => self.send(at, Some(node), &bytes),
                None => self.coverage.met("messages to nobody"),
            },
            Action::SetTimer { id, at: due } => self.set_timer(at, id, due),
            Action::CancelTimer(id) => {
                if let Some(actor) = self.actors.get_mut(at) {
                    actor.memory.timers.remove(&id);
                }
            }
            Action::BuildBlock { token, round, limits } => self.build(at, token, round, limits),
            Action::CheckBlock { block, limits } => self.check(at, &block, limits),
            Action::Commit { hash, proof } => self.commit_by_engine(at, hash, proof),
            Action::Evidence(bytes) => self.evidence(at, bytes, true),
            Action::NeedSync { height, from } => {
                if let Some(node) = self.node_of(&from) {
                    self.need_sync(at, node, height);
                }
            }
            Action::Serve { to, from_height } => {
                if let Some(node) = self.node_of(&to) {
                    self.serve(at, node, from_height);
                }
            }
            Action::Penalise { peer, reason } => self.penalise(at, peer, &reason),
            Action::Halt { reason } => self.halt(at, &reason),
        }
    }

    fn persist(&mut self, at: usize, record: Bytes) {
        let Some(actor) = self.actors.get_mut(at) else { return };
        let (node, honest, name) = (actor.node, actor.honest, actor.name.clone());
        if record.len() > SAVED_BYTES_MAX {
            return self.breach(Breach::new("L3 bounds", format!("{name}'s record has {} bytes", record.len())));
        }
        actor.memory.unsynced = Some(record.clone());
        self.trace.mix(&[1, at as u64]);
        self.trace.mix_bytes(&record);
        if honest {
            self.inspect(|inspector| inspector.persisted(node, &record));
        }
    }

    fn sign(&mut self, at: usize, request: &SignRequest) {
        let chain_id = self.rules.chain_id;
        let place = request.guard;
        let key = [place.height.0, place.round.0.into(), place.step.into(), place.sub.into()];
        let mut rng = self.dice(Draw::Signing, &[&[at as u64], key.as_slice()].concat());
        let delay = if rng.chance(500) { 0 } else { rng.below(self.scenario.kernel.sign_max_us + 1) };
        let now = self.now;
        let Some(actor) = self.actors.get_mut(at) else { return };
        let digest = request.digest(&chain_id);
        let result = actor.signer.sign(&chain_id, request);
        if let (Ok(signature), Some(key)) = (&result, self.public.get(actor.node)) {
            let message = request.sign_bytes(&chain_id);
            self.memo.made(&Signed { key: *key, message: &message, signature: *signature });
        }
        // One signature after the other.
        let ready = actor.memory.signer_free_us.max(now + delay);
        actor.memory.signer_free_us = ready;
        let (node, honest, life) = (actor.node, actor.honest, actor.life);
        let set = actor.chain.validators().clone();
        let guard = request.guard;
        self.trace.mix(&[2, at as u64, u64::from(request.kind), guard.height.0, u64::from(guard.round.0)]);
        self.tell_signing(at, request, result.is_ok());
        if result.is_err() {
            self.coverage.met("signatures refused");
        } else if honest {
            self.count_signature(request);
            let nodes = self.nodes_of(&set);
            if let Err(breach) = self.checks.signed(node, request, digest, &nodes) {
                self.breach(breach);
            }
            self.inspect(|inspector| inspector.signed(node, request));
        }
        let event = Box::new(Event::Signed { guard, digest, result });
        self.post(ready, Item::Answer { actor: at, life, event });
    }

    fn count_signature(&mut self, request: &SignRequest) {
        let Some(kinds) = self.kinds else { return };
        let later = request.guard.round.0 > 0;
        match request.kind {
            kind if kind == kinds.timeout => self.coverage.met("timeouts signed"),
            kind if kind == kinds.proposal && later => self.coverage.met("proposals in later rounds"),
            kind if kind == kinds.prepare && later => self.coverage.met("prepares in later rounds"),
            kind if kind == kinds.commit && later => self.coverage.met("commits signed in later rounds"),
            _ => {}
        }
    }

    fn tell_signing(&mut self, at: usize, request: &SignRequest, signed: bool) {
        if !self.trace.is_told() {
            return;
        }
        let name = self.actors.get(at).map_or(String::new(), |actor| actor.name.clone());
        let kind = match self.kinds {
            Some(kinds) if request.kind == kinds.proposal => "Proposal".into(),
            Some(kinds) if request.kind == kinds.prepare => "Prepare".into(),
            Some(kinds) if request.kind == kinds.commit => "Commit".into(),
            Some(kinds) if request.kind == kinds.timeout => "Timeout".into(),
            _ => format!("kind {}", request.kind),
        };
        let guard = request.guard;
        let verb = if signed { "signs" } else { "is refused a signature of" };
        let body = short(&request.body);
        let (words, at_us) = (format!("{kind} h{} r{} {body}", guard.height, guard.round), self.now);
        self.trace.tell(at_us, || format!("{name} {verb} {words}"));
        self.trace.mark(|| Mark::Signed { at_us, lane: at, words: words.clone(), refused: !signed });
    }

    fn set_timer(&mut self, at: usize, id: TimerId, due: quorate::Instant) {
        self.sequence += 1;
        let (now, generation) = (self.now, self.sequence);
        let Some(actor) = self.actors.get_mut(at) else { return };
        let name = actor.name.clone();
        actor.memory.timers.insert(id, (due, generation));
        let (count, life, honest) = (actor.memory.timers.len(), actor.life, actor.honest);
        let fires = actor.virtual_us(due).max(now);
        if honest && count > TIMERS_MAX {
            return self.breach(Breach::new("L3 bounds", format!("{name} has {count} timers")));
        }
        self.post(fires, Item::Timer { actor: at, life, id, generation });
    }

    fn wall(&self, at: usize) -> Timestamp {
        let skew = self.actors.get(at).map_or(0, |actor| actor.skew_ms);
        Timestamp(self.wall_ms().saturating_add_signed(skew))
    }

    fn build(&mut self, at: usize, token: u64, round: quorate::Round, limits: BlockLimits) {
        let life = u64::from(self.life(at));
        let mut rng = self.dice(Draw::Building, &[at as u64, life, token]);
        let delay = rng.below(self.scenario.kernel.build_max_us + 1);
        let fails = rng.chance(self.scenario.kernel.build_fails_permille);
        let time = self.wall(at);
        let Some(actor) = self.actors.get_mut(at) else { return };
        actor.memory.build_token = token;
        let life = actor.life;
        let creator = self.public.get(actor.node).and_then(|key| actor.me(key));
        let transactions = actor.memory.pool.iter().take(limits.transactions_max as usize).cloned().collect();
        let evidence = actor.memory.evidence.values().cloned().collect();
        let proof = self.proof.as_ref();
        let candidate = creator.filter(|_| !fails).and_then(|creator| {
            self.rules.build(&actor.chain, Draft { creator, round, time, transactions, evidence }, proof)
        });
        let block = candidate.as_ref().map(|candidate| candidate.block.clone());
        if let Some(candidate) = candidate {
            actor.memory.candidates.insert(candidate.block.hash(), candidate);
        }
        if fails {
            self.coverage.met("blocks that could not be built");
        }
        let event = Box::new(Event::BlockBuilt { token, block });
        self.post(self.now + delay, Item::Answer { actor: at, life, event });
    }

    /// Judges a block; "not now" is asked again until the answer is definite, or the height is over.
    fn check(&mut self, at: usize, block: &Block, limits: BlockLimits) {
        let (wall, hash) = (self.wall(at), block.hash());
        let mut rng = self.dice(Draw::Checking, &[at as u64, u64::from(self.life(at)), number(&hash)]);
        let delay = rng.below(self.scenario.kernel.check_max_us + 1);
        let kernel = self.scenario.kernel.clone();
        let put_off = rng.chance(kernel.not_now_permille) && !self.healed;
        let Some(actor) = self.actors.get_mut(at) else { return };
        let life = actor.life;
        let known = actor.memory.candidates.contains_key(&hash);
        let mut verdict = if known {
            Verdict::Valid
        } else {
            match self.rules.judge(&actor.chain, block, &limits, wall, self.proof.as_ref()) {
                Ok(candidate) => {
                    actor.memory.candidates.insert(hash, candidate);
                    Verdict::Valid
                }
                Err(verdict) => verdict,
            }
        };
        let mut again = NOT_NOW_AGAIN_US;
        if put_off && !known && verdict == Verdict::Valid {
            actor.memory.candidates.remove(&hash);
            verdict = Verdict::NotNow("the simulator puts it off".into());
            again = rng.within(1000, kernel.not_now_max_us.max(1000));
        }
        match &verdict {
            Verdict::Invalid(_) => {
                if let Some(actor) = self.actors.get_mut(at) {
                    actor.memory.invalid.insert(hash);
                }
                self.coverage.met("blocks found invalid");
            }
            Verdict::NotNow(_) => {
                self.coverage.met("judgements put off");
                let over = self.actors.get(at).is_none_or(|actor| actor.chain.tip().height >= block.height());
                if !over {
                    self.post(self.now + again, Item::Judge { actor: at, life, block: block.clone(), limits });
                }
                // A real kernel does not say so; one in two here does, since the contract allows it.
                if rng.chance(500) {
                    return;
                }
            }
            Verdict::Valid => {}
        }
        let event = Box::new(Event::BlockChecked { hash, verdict });
        self.post(self.now + delay, Item::Answer { actor: at, life, event });
    }
}

/// The first bytes of a hash.
fn number(hash: &Hash) -> u64 {
    hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
