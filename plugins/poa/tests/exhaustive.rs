//! Every state that three validators can get into at one height: whatever order messages come in, whichever are lost, whoever's time is
//! up, and with a crash between any two actions.
//!
//! Random schedules meet what is likely; this meets everything, in a small world: `crash`, one height, rounds 0 and 1, each timer
//! once (for the first proposer that is the one by which it proposes), answers and relayed certificates lost. Nothing is assumed of
//! time: each node's clock moves only when its timer fires. A message that is never delivered is lost. In each state:
//!
//! - two nodes have not decided differently, and no two blocks have a quorum of signed commit votes;
//! - no two blocks have a quorum of prepare votes in one round;
//! - a lock in a durable record stands on a quorum of signed prepare votes, and never falls;
//! - nothing is signed twice differently, and no commit vote in a round that was given up;
//! - nobody halts, and nobody is accused, since all are honest.
//!
//! With crashes there are too many states for a test: it looks at those which the fewest inputs lead to.
//! `QUORATE_EXHAUSTIVE=rounds,timers,crashes,repair,states` searches another world, in which `repair` is 1 when answers and
//! relayed certificates come too; `1,1,0,0,2000000` is the small one.
#![expect(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "what was found shall be seen")]

mod sim;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    rc::Rc,
    sync::OnceLock,
};

use ed25519_dalek::{Signer as _, SigningKey};
use quorate::{
    Block, Bytes, ChainId, Hash, Header, Height, Instant, PeerId, PublicKey, Round, Settings, Signature, Timestamp,
    Validator, ValidatorIndex, ValidatorSet,
    block::BLOCK_VERSION,
    borsh::BorshDeserialize as _,
    consensus::{Action, Context, Event, Guard, SignRefused, SignRequest, Start, Tip, Verdict},
    plugin::ConsensusPlugin as _,
    signature::{Memo, Signed},
};
use quorate_poa::{Explored, KIND_COMMIT, KIND_PREPARE, KIND_TIMEOUT, Message, PlantedBug, PoaPlugin};
use sim::describe;

const NODES: usize = 3;
const QUORUM: usize = 2;
const CHAIN: ChainId = ChainId::new([9; 32]);
const SETTINGS: &str = "fault_model = \"crash\"\nblock_interval_ms = 0\nblock_transactions_max = 1\n\
    block_bytes_max = 4096\ndelta_ms = 100\nempty_blocks = \"always\"\nrebroadcast_ms = 60000\ntimeout_ms = 1000\n";

/// How large the world is.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// The last round in which anything is delivered.
    rounds: u32,
    /// How often each node's timer fires at most.
    timers: u8,
    /// Crashes at most.
    crashes: u8,
    /// Who dies; anybody, when it is not said.
    who_dies: Option<usize>,
    /// Whether processes die between the actions of a step too, not only after all of them.
    amid: bool,
    /// States looked at, at most.
    states: usize,
    /// Whether signers refuse what contradicts what they signed.
    guarded: bool,
    /// Whether greetings, answers to them and relayed certificates come; else all of them are lost.
    repair: bool,
}

/// More actions than one input leads to.
const ACTIONS_MAX: usize = 24;

/// Two rounds, no crash.
const SMALL: Bounds = Bounds {
    rounds: 1,
    timers: 1,
    crashes: 0,
    who_dies: None,
    amid: true,
    states: 2_000_000,
    guarded: true,
    repair: false,
};

/// With one crash.
const CRASHING: Bounds = Bounds { crashes: 1, states: 30_000, ..SMALL };

fn key(node: usize) -> &'static SigningKey {
    static KEYS: OnceLock<Vec<SigningKey>> = OnceLock::new();
    let make = |node: usize| SigningKey::from_bytes(&[u8::try_from(node).unwrap_or(0) + 1; 32]);
    &KEYS.get_or_init(|| (0..NODES).map(make).collect())[node]
}

fn public(node: usize) -> PublicKey {
    PublicKey::new(key(node).verifying_key().to_bytes())
}

fn index(node: usize) -> ValidatorIndex {
    ValidatorIndex(u16::try_from(node).unwrap_or(u16::MAX))
}

fn context() -> Context {
    let one = |node| Validator { name: format!("node-{node}"), public_key: public(node) };
    Context {
        chain_id: CHAIN,
        validators: ValidatorSet::new((0..NODES).map(one).collect()).expect("a set"),
        shared: Settings::from_text(SETTINGS),
        settings: Settings::from_text(""),
        seed: 0,
    }
}

fn tip() -> Tip {
    Tip { height: Height(0), hash: Hash::new(*CHAIN.as_bytes()), time: Timestamp(1) }
}

/// The block that a node makes in a round.
fn block(node: usize, round: Round) -> Block {
    let hash = context().validators.hash();
    let header = Header {
        version: BLOCK_VERSION,
        chain_id: CHAIN,
        height: Height(1),
        parent_hash: tip().hash,
        time: Timestamp(2),
        creator: index(node),
        created_round: round,
        tx_root: Hash::ZERO,
        evidence_root: Hash::ZERO,
        app_hash: Hash::ZERO,
        receipts_root: Hash::ZERO,
        validators_hash: hash,
        next_validators_hash: hash,
    };
    Block::new(header, &[], &[]).expect("a block")
}

/// One process and its disk.
#[derive(Clone)]
struct Process {
    node: usize,
    engine: Explored,
    now: Instant,
    timer: Option<Instant>,
    fired: u8,
    /// A record that nothing depends on yet.
    unsynced: Option<Bytes>,
    saved: Option<Bytes>,
    signed: Option<(Guard, Hash, Signature)>,
    decided: Option<Hash>,
}

impl Process {
    fn fingerprint(&self) -> u64 {
        let mut sum = DefaultHasher::new();
        let signed = self.signed.map(|(guard, digest, _)| (guard, digest));
        (self.node, self.engine.fingerprint(), self.now, self.timer, self.fired, self.decided).hash(&mut sum);
        (&self.saved, &self.unsynced, signed).hash(&mut sum);
        sum.finish()
    }
}

/// Which of [`Search::processes`].
type ProcessId = usize;
/// Which of [`Search::messages`].
type MessageId = u16;
/// A signature: kind, round, which of [`Search::bodies`], who signed.
type Vote = (u8, u8, u8, u8);

/// A small set as an ordered list, which is copied and compared faster than a tree.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Set<T>(Vec<T>);

impl<T: Ord> Set<T> {
    fn insert(&mut self, one: T) {
        if let Err(place) = self.0.binary_search(&one) {
            self.0.insert(place, one);
        }
    }

    fn remove(&mut self, one: &T) {
        if let Ok(place) = self.0.binary_search(one) {
            self.0.remove(place);
        }
    }
}

/// A number that fits into a byte, as all do in a small world.
fn byte(number: usize) -> u8 {
    u8::try_from(number).expect("a small world")
}

/// The whole world.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    nodes: [ProcessId; NODES],
    /// To whom, and which message: sent, not come yet, and of use.
    underway: Set<(u8, u16)>,
    votes: Set<Vote>,
    crashes: u8,
}

/// When a process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Death {
    /// After so many actions of a step.
    Amid(usize),
    /// After all of them.
    After,
}

/// What happens to one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Input {
    Message(MessageId),
    Timer,
}

/// What a process does, in order.
#[derive(Debug, Clone)]
enum Effect {
    Signed(u8, u8, u8),
    /// A record with this lock became durable.
    Locked(Option<Round>),
    Sent(usize, MessageId),
    Broken(Broken),
}

/// What comes of an input: the process afterwards, and what it did. With a crash that came too late: nothing.
type Computed = Option<Rc<(ProcessId, Vec<Effect>)>>;

/// How a search ended.
#[derive(Debug)]
struct Outcome {
    states: usize,
    processes: usize,
    whole: bool,
    violation: Option<(Broken, Vec<String>)>,
}

type Broken = &'static str;

struct Search {
    bounds: Bounds,
    bug: Option<PlantedBug>,
    memo: Memo,
    messages: Vec<(usize, Bytes)>,
    bodies: Vec<Vec<u8>>,
    numbers: BTreeMap<Bytes, MessageId>,
    processes: Vec<Rc<Process>>,
    known: HashMap<u64, ProcessId>,
    /// What comes of each input of each process is computed once: nothing else bears on it.
    computed: HashMap<(ProcessId, Input, Option<Death>), Computed>,
}

/// Looks at the states in the order of how many inputs lead to them, so that what is found is found by the shortest way.
fn search(bounds: Bounds, bug: Option<PlantedBug>) -> Outcome {
    let (messages, bodies, numbers, processes, known, computed) = Default::default();
    let memo = Memo::start();
    let mut search = Search { bounds, bug, memo, messages, bodies, numbers, processes, known, computed };
    let first = search.begin();
    let mut states = vec![first.clone()];
    let mut seen = HashSet::from([summed(&first)]);
    let mut parents: Vec<(usize, String)> = vec![(0, String::new())];
    let mut at = 0;
    while at < states.len() && states.len() < bounds.states {
        let state = states[at].clone();
        for (node, input, death) in search.moves(&state) {
            match search.apply(&state, node, input, death) {
                Err(broken) => {
                    let mut path = vec![search.told(node, input, death)];
                    while at > 0 {
                        path.push(parents[at].1.clone());
                        at = parents[at].0;
                    }
                    path.reverse();
                    let violation = Some((broken, path));
                    return Outcome {
                        states: states.len(),
                        processes: search.processes.len(),
                        whole: false,
                        violation,
                    };
                }
                Ok(Some(next)) if seen.insert(summed(&next)) => {
                    states.push(next);
                    parents.push((at, search.told(node, input, death)));
                }
                Ok(_) => {}
            }
        }
        at += 1;
    }
    let whole = at == states.len();
    Outcome { states: states.len(), processes: search.processes.len(), whole, violation: None }
}

/// A state as a number; two of a billion states have the same one with a probability below 2^-68.
fn summed(state: &State) -> u128 {
    let half = |salt: u8| {
        let mut sum = DefaultHasher::new();
        (salt, state).hash(&mut sum);
        u128::from(sum.finish())
    };
    half(1) << 64 | half(2)
}

impl Search {
    fn begin(&mut self) -> State {
        let nodes = std::array::from_fn(|node| {
            let mut process = self.new_process(node, None, None);
            let mut effects = Vec::new();
            let mut events = vec![start(&process)];
            for peer in (0..NODES).filter(|peer| *peer != node) {
                events.push(Event::PeerUp { peer: PeerId::from(public(peer)), validator: Some(index(peer)) });
            }
            for event in events {
                self.give(&mut process, event, None, &mut effects);
            }
            // What is said at the start are greetings, unless it is a proposal; those wait for the timer.
            self.number(process)
        });
        State { nodes, underway: Set::default(), votes: Set::default(), crashes: 0 }
    }

    fn new_process(&self, node: usize, saved: Option<Bytes>, signed: Option<(Guard, Hash, Signature)>) -> Process {
        let engine = Explored::new(&context(), self.bug).expect("an engine");
        let (now, timer, fired, unsynced, decided) = (Instant(0), None, 0, None, None);
        Process { node, engine, now, timer, fired, unsynced, saved, signed, decided }
    }

    fn number(&mut self, process: Process) -> ProcessId {
        let next = self.processes.len();
        let id = *self.known.entry(process.fingerprint()).or_insert(next);
        if id == next {
            self.processes.push(Rc::new(process));
        }
        id
    }

    /// Whether nothing that comes to this process is looked at any more.
    fn is_through(&self, process: ProcessId) -> bool {
        let process = &self.processes[process];
        process.decided.is_some() || process.engine.round().0 > self.bounds.rounds
    }

    /// What can happen: each message that may come, each timer that may fire, and each of them with a crash on the way.
    fn moves(&self, state: &State) -> Vec<(usize, Input, Option<Death>)> {
        let deliveries = state.underway.0.iter().map(|(to, message)| (usize::from(*to), Input::Message(*message)));
        let may_fire = |node: &usize| {
            let process = &self.processes[state.nodes[*node]];
            process.timer.is_some() && process.fired < self.bounds.timers && !self.is_through(state.nodes[*node])
        };
        let timers = (0..NODES).filter(may_fire).map(|node| (node, Input::Timer));
        let mut moves = Vec::new();
        for (node, input) in timers.chain(deliveries) {
            moves.push((node, input, None));
            if state.crashes < self.bounds.crashes && self.bounds.who_dies.is_none_or(|who| who == node) {
                moves.push((node, input, Some(Death::After)));
                if self.bounds.amid {
                    moves.extend((0..ACTIONS_MAX).map(|after| (node, input, Some(Death::Amid(after)))));
                }
            }
        }
        moves
    }

    fn told(&self, node: usize, input: Input, death: Option<Death>) -> String {
        let crash = match death {
            None => String::new(),
            Some(Death::Amid(after)) => format!(", and dies after {after} actions"),
            Some(Death::After) => ", and dies afterwards".into(),
        };
        match input {
            Input::Timer => format!("node {node}'s time is up{crash}"),
            Input::Message(message) => {
                let (from, bytes) = &self.messages[usize::from(message)];
                let words = PoaPlugin.describe_message(bytes).unwrap_or_default();
                format!("node {node} gets {words} from node {from}{crash}")
            }
        }
    }

    /// The next state; none when the crash would come too late.
    fn apply(
        &mut self,
        state: &State,
        node: usize,
        input: Input,
        death: Option<Death>,
    ) -> Result<Option<State>, Broken> {
        let Some(computed) = self.computed(state.nodes[node], input, death) else { return Ok(None) };
        let (after, effects) = computed.as_ref();
        let mut next = state.clone();
        next.nodes[node] = *after;
        next.crashes += u8::from(death.is_some());
        if let Input::Message(message) = input {
            next.underway.remove(&(byte(node), message));
        }
        for effect in effects {
            match *effect {
                Effect::Signed(kind, round, body) => {
                    next.votes.insert((kind, round, body, byte(node)));
                    signatures_agree(&next.votes.0, byte(node), kind, round)?;
                }
                Effect::Locked(lock) => {
                    let prepared = |body: u8| {
                        let of =
                            |vote: &&Vote| (vote.0, Some(Round(vote.1.into())), vote.2) == (KIND_PREPARE, lock, body);
                        next.votes.0.iter().filter(of).count() >= QUORUM
                    };
                    if lock.is_some() && !(0..byte(self.bodies.len())).any(prepared) {
                        return Err("a lock without a quorum");
                    }
                }
                Effect::Sent(to, message) => next.underway.insert((byte(to), message)),
                Effect::Broken(broken) => return Err(broken),
            }
        }
        let decided = |node: &ProcessId| self.processes[*node].decided;
        let finals: BTreeSet<Hash> = next.nodes.iter().filter_map(decided).collect();
        if finals.len() > 1 {
            return Err("agreement");
        }
        // What is of no use now never will be, but after a crash: at one height an engine forgets nothing. It counts as lost.
        let mut underway = std::mem::take(&mut next.underway);
        underway.0.retain(|(to, message)| {
            let process = next.nodes[usize::from(*to)];
            let computed = self.computed(process, Input::Message(*message), None);
            let useless = computed.is_some_and(|computed| computed.0 == process && computed.1.is_empty());
            !useless && !self.is_through(process)
        });
        next.underway = underway;
        Ok(Some(next))
    }

    fn computed(&mut self, process: ProcessId, input: Input, death: Option<Death>) -> Computed {
        if let Some(known) = self.computed.get(&(process, input, death)) {
            return known.clone();
        }
        let outcome = self.compute(process, input, death).map(Rc::new);
        self.computed.insert((process, input, death), outcome.clone());
        outcome
    }

    fn compute(&mut self, process: ProcessId, input: Input, death: Option<Death>) -> Option<(ProcessId, Vec<Effect>)> {
        let mut process = (*self.processes[process]).clone();
        let mut effects = Vec::new();
        let event = match input {
            Input::Message(message) => {
                let (from, bytes) = self.messages[usize::from(message)].clone();
                Event::Message { from: PeerId::from(public(from)), validator: Some(index(from)), bytes }
            }
            Input::Timer => {
                let due = process.timer.take()?;
                process.now = process.now.max(due);
                process.fired += 1;
                Event::Timer { id: 1, due }
            }
        };
        let mut left = match death {
            Some(Death::Amid(after)) => Some(after),
            Some(Death::After) | None => None,
        };
        let died = self.give(&mut process, event, left.as_mut(), &mut effects);
        if let Some(death) = death {
            if (!died && death != Death::After) || process.decided.is_some() {
                return None;
            }
            // It starts again with its disk; what it sent may still come.
            let mut again = self.new_process(process.node, process.saved, process.signed);
            again.fired = process.fired;
            let event = start(&again);
            self.give(&mut again, event, None, &mut effects);
            process = again;
        }
        Some((self.number(process), effects))
    }

    /// Steps an engine, carries out its actions, and answers those that ask, until `left` are carried out; says whether it stopped there.
    fn give(
        &mut self,
        process: &mut Process,
        event: Event,
        mut left: Option<&mut usize>,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in process.engine.step(process.now, event) {
                match left.as_deref_mut() {
                    Some(0) => return true,
                    Some(left) => *left -= 1,
                    None => {}
                }
                self.act(process, &mut events, action, effects);
            }
            if process.decided.is_some() {
                // It goes on above.
                return false;
            }
        }
        false
    }

    fn act(&mut self, process: &mut Process, events: &mut VecDeque<Event>, action: Action, effects: &mut Vec<Effect>) {
        let node = process.node;
        let depends =
            matches!(action, Action::Sign(_) | Action::Broadcast(_) | Action::Send { .. } | Action::Commit { .. });
        if depends && let Some(record) = process.unsynced.take() {
            let lock = |record: &[u8]| describe::lock_of(record).and_then(|(_, lock)| lock);
            let (before, after) = (process.saved.as_deref().and_then(lock), lock(&record));
            effects.push(if after < before { Effect::Broken("a lock that fell") } else { Effect::Locked(after) });
            process.saved = Some(record);
        }
        match action {
            Action::Persist(record) => process.unsynced = Some(record),
            Action::Sign(request) => {
                let result = self.sign(process, &request, effects);
                events.push_back(Event::Signed { guard: request.guard, digest: request.digest(&CHAIN), result });
            }
            Action::Broadcast(bytes) => {
                for to in (0..NODES).filter(|to| *to != node) {
                    self.send(node, to, &bytes, effects);
                }
            }
            Action::Send { to, bytes } => {
                let to = (0..NODES).find(|one| PeerId::from(public(*one)) == to).expect("a node");
                self.send(node, to, &bytes, effects);
            }
            Action::SetTimer { at, .. } => process.timer = Some(at),
            Action::CancelTimer(_) => process.timer = None,
            Action::BuildBlock { token, round, .. } => {
                events.push_back(Event::BlockBuilt { token, block: Some(block(node, round)) });
            }
            Action::CheckBlock { block, .. } => {
                events.push_back(Event::BlockChecked { hash: block.hash(), verdict: Verdict::Valid });
            }
            Action::Commit { hash, .. } => process.decided = Some(hash),
            Action::Halt { .. } => effects.push(Effect::Broken("halt")),
            Action::Penalise { .. } => effects.push(Effect::Broken("accusation")),
            Action::Evidence(_) => effects.push(Effect::Broken("evidence")),
            Action::NeedSync { .. } | Action::Serve { .. } => {}
        }
    }

    fn send(&mut self, from: usize, to: usize, bytes: &Bytes, effects: &mut Vec<Effect>) {
        let next = MessageId::try_from(self.messages.len()).expect("a small world");
        let number = *self.numbers.entry(bytes.clone()).or_insert(next);
        if number == next {
            self.messages.push((from, bytes.clone()));
        }
        let repair = || {
            matches!(
                Message::try_from_slice(bytes),
                Ok(Message::Hello { .. } | Message::NewRound(_) | Message::Certificate(_) | Message::Fetch { .. })
            )
        };
        // All of its kind are lost.
        if self.bounds.repair || !repair() {
            effects.push(Effect::Sent(to, number));
        }
    }

    fn sign(
        &mut self,
        process: &mut Process,
        request: &SignRequest,
        effects: &mut Vec<Effect>,
    ) -> Result<Signature, SignRefused> {
        let (bytes, digest) = (request.sign_bytes(&CHAIN), request.digest(&CHAIN));
        if let Some((last, known, signature)) = process.signed {
            if last == request.guard && known == digest {
                return Ok(signature);
            }
            if request.guard <= last && self.bounds.guarded {
                return Err(SignRefused::Guard { last });
            }
        }
        let key = key(process.node);
        let signature = Signature::new(key.sign(&bytes).to_bytes());
        self.memo.made(&Signed { key: public(process.node), message: &bytes, signature });
        process.signed = Some((request.guard, digest, signature));
        let place = self.bodies.iter().position(|body| *body == request.body).unwrap_or(self.bodies.len());
        if place == self.bodies.len() {
            self.bodies.push(request.body.clone());
        }
        let round = u8::try_from(request.guard.round.0).expect("a small world");
        effects.push(Effect::Signed(request.kind, round, byte(place)));
        Ok(signature)
    }
}

fn start(process: &Process) -> Event {
    Event::Start(Start {
        tip: tip(),
        validators: context().validators,
        me: Some(index(process.node)),
        saved: process.saved.clone(),
        fresh: process.signed.is_none(),
        pending: false,
    })
}

/// What must hold of everything signed, after one more signature.
fn signatures_agree(votes: &[Vote], node: u8, kind: u8, round: u8) -> Result<(), Broken> {
    let of_kind = |wanted: u8| votes.iter().filter(move |(kind, ..)| *kind == wanted);
    let quorums = |kind: u8, round: Option<u8>| -> BTreeSet<u8> {
        let mut counts: BTreeMap<(u8, u8), usize> = BTreeMap::new();
        for (_, of, body, _) in of_kind(kind).filter(|vote| round.is_none_or(|round| round == vote.1)) {
            *counts.entry((*of, *body)).or_default() += 1;
        }
        counts.into_iter().filter(|(_, count)| *count >= QUORUM).map(|((_, body), _)| body).collect()
    };
    if kind == KIND_PREPARE || kind == KIND_COMMIT {
        if of_kind(kind).filter(|(_, of, _, who)| *of == round && *who == node).count() > 1 {
            return Err("double signature");
        }
        if quorums(kind, Some(round)).len() > 1 {
            return Err("two certificates in a round");
        }
    }
    if kind == KIND_COMMIT {
        if of_kind(KIND_TIMEOUT).any(|(_, of, _, who)| *of >= round && *who == node) {
            return Err("commit after timeout");
        }
        if quorums(kind, None).len() > 1 {
            return Err("two final blocks");
        }
    }
    Ok(())
}

/// The bounds that the environment asks for.
fn asked() -> Option<Bounds> {
    let text = std::env::var("QUORATE_EXHAUSTIVE").ok()?;
    let numbers: Vec<usize> = text.split(',').filter_map(|part| part.trim().parse().ok()).collect();
    let [rounds, timers, crashes, repair, states] = numbers[..] else {
        panic!("QUORATE_EXHAUSTIVE is `{text}`; it must be rounds,timers,crashes,repair,states");
    };
    let small = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
    let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
    let (timers, crashes, repair) = (small(timers), small(crashes), repair > 0);
    Some(Bounds { rounds, timers, crashes, states, repair, ..SMALL })
}

fn holds(bounds: Bounds) -> Outcome {
    let outcome = search(bounds, None);
    let Outcome { states, processes, whole, .. } = &outcome;
    println!("{bounds:?}: {states} states of {processes} process states, all there are: {whole}");
    if let Some((broken, path)) = &outcome.violation {
        panic!("{broken}:\n  {}", path.join("\n  "));
    }
    outcome
}

#[test]
fn every_state_of_a_small_world_is_safe() {
    let outcome = holds(asked().unwrap_or(SMALL));
    assert!(outcome.whole || asked().is_some(), "the small world is too large: {outcome:?}");
}

#[test]
fn a_crash_between_any_two_actions_is_safe() {
    let outcome = holds(CRASHING);
    assert!(outcome.states > 1000, "{outcome:?}");
}

fn found(bug: PlantedBug, bounds: Bounds, expected: &[Broken]) {
    let outcome = search(bounds, Some(bug));
    let Some((broken, path)) = outcome.violation else { panic!("{bug:?} was not found: {outcome:?}") };
    println!("{bug:?}: {broken} after {} states:\n  {}", outcome.states, path.join("\n  "));
    assert!(expected.contains(&broken), "{bug:?} broke {broken}");
}

#[test]
fn planted_bugs_are_found() {
    found(PlantedBug::SmallQuorum, SMALL, &["a lock without a quorum"]);
    let unguarded = Bounds { guarded: false, ..SMALL };
    found(PlantedBug::CommitAfterTimeout, unguarded, &["commit after timeout"]);
}

/// Here a node that voted must forget it at the worst moment.
#[test]
fn planted_bugs_that_need_a_crash_are_found() {
    let one = Bounds { crashes: 1, who_dies: Some(0), amid: false, ..SMALL };
    // Its timeout, which hides the lock that it voted by, is evidence against an honest node.
    found(PlantedBug::LockForgotten, one, &["evidence"]);
    found(PlantedBug::SendBeforePersist, one, &["evidence"]);
}
