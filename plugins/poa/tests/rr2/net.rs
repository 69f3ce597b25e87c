//! A synchronous network of engines on a virtual clock: messages take a millisecond, and a trivial kernel serves each engine.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::{Signer, SigningKey};
use quorate::{
    Block, Bytes, ChainId, Consensus, FinalityProof, Hash, Header, Height, Instant, PeerId, PublicKey, Round, Settings,
    Signature, Timestamp, Validator, ValidatorIndex, ValidatorSet,
    block::BLOCK_VERSION,
    consensus::{Action, CommitBy, Context, Event, Guard, SignRefused, SignRequest, Start, Tip, Verdict},
    plugin::ConsensusPlugin,
};
use quorate_poa::PoaPlugin;

/// A message takes this long.
pub(crate) const HOP_US: u64 = 1_000;

pub(crate) const CHAIN: ChainId = ChainId::new([9; 32]);

pub(crate) fn key(index: usize) -> SigningKey {
    SigningKey::from_bytes(&[index as u8 + 1; 32])
}

pub(crate) fn public(index: usize) -> PublicKey {
    PublicKey::new(key(index).verifying_key().to_bytes())
}

pub(crate) fn peer(index: usize) -> PeerId {
    public(index).into()
}

pub(crate) fn validators(count: usize) -> ValidatorSet {
    let one = |index| Validator { name: format!("validator-{}", index + 1), public_key: public(index) };
    ValidatorSet::new((0..count).map(one).collect()).unwrap()
}

pub(crate) fn sign(index: usize, request: &SignRequest) -> Signature {
    Signature::new(key(index).sign(&request.sign_bytes(&CHAIN)).to_bytes())
}

pub(crate) fn settings(model: &str, more: &str) -> String {
    let mut text = String::new();
    let base = [
        ("fault_model", format!("\"{model}\"")),
        ("block_interval_ms", "1000".into()),
        ("block_transactions_max", "32".into()),
        ("block_bytes_max", "65536".into()),
        ("delta_ms", "100".into()),
        ("empty_blocks", "\"always\"".into()),
    ];
    for (name, value) in base {
        if !more.contains(name) {
            text.push_str(&format!("{name} = {value}\n"));
        }
    }
    text + more
}

pub(crate) fn context(count: usize, shared: &str) -> Context {
    Context {
        chain_id: CHAIN,
        validators: validators(count),
        shared: Settings::from_text(shared),
        settings: Settings::from_text(""),
        seed: 0,
    }
}

pub(crate) fn header(tip: &Tip, set: &ValidatorSet, creator: ValidatorIndex, round: Round, mark: u8) -> Header {
    Header {
        version: BLOCK_VERSION,
        chain_id: CHAIN,
        height: tip.height.next(),
        parent_hash: tip.hash,
        time: Timestamp(tip.time.0 + 1),
        creator,
        created_round: round,
        tx_root: Hash::ZERO,
        evidence_root: Hash::ZERO,
        app_hash: Hash::new([mark; 32]),
        receipts_root: Hash::ZERO,
        validators_hash: set.hash(),
        next_validators_hash: set.hash(),
    }
}

/// A block like the kernel of `creator` makes it; `mark` makes it differ.
pub(crate) fn block(tip: &Tip, set: &ValidatorSet, round: Round, mark: u8) -> Block {
    let creator = set.at_turn(tip.height.0 + 1 + u64::from(round.0));
    Block::new(header(tip, set, creator, round, mark), &[Bytes::from(vec![mark])], &[]).unwrap()
}

pub(crate) fn genesis() -> Tip {
    Tip { height: Height(0), hash: Hash::new(*CHAIN.as_bytes()), time: Timestamp(1) }
}

/// What of a node survives its death.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub(crate) chain: Vec<(Block, Bytes)>,
    pub(crate) saved: Option<(Height, Bytes)>,
    pub(crate) guard: BTreeMap<Guard, (Hash, Signature)>,
}

pub(crate) struct Node {
    pub(crate) engine: Option<Box<dyn Consensus>>,
    pub(crate) disk: Disk,
    pub(crate) timers: BTreeMap<u64, Instant>,
    pub(crate) valid: BTreeMap<Hash, Block>,
    pub(crate) builds: u8,
    pub(crate) pending: bool,
    /// Everything it ever did, in order.
    pub(crate) did: Vec<(Instant, Action)>,
}

pub(crate) struct Net {
    pub(crate) now: Instant,
    pub(crate) set: ValidatorSet,
    pub(crate) nodes: Vec<Node>,
    queue: BTreeMap<(Instant, u64), (usize, Event)>,
    sent: u64,
    /// Messages between these pairs are lost.
    pub(crate) cut: BTreeSet<(usize, usize)>,
    /// Blocks with these marks are invalid.
    pub(crate) bad_marks: BTreeSet<u8>,
    pub(crate) shared: String,
    pub(crate) proof: std::sync::Arc<dyn FinalityProof>,
}

impl Net {
    pub(crate) fn new(count: usize, shared: &str) -> Self {
        let proof = PoaPlugin.proof(&context(count, shared)).unwrap();
        let node = || Node {
            engine: None,
            disk: Disk::default(),
            timers: BTreeMap::new(),
            valid: BTreeMap::new(),
            builds: 0,
            pending: false,
            did: Vec::new(),
        };
        Self {
            now: Instant(1_000_000),
            set: validators(count),
            nodes: (0..count).map(|_| node()).collect(),
            queue: BTreeMap::new(),
            sent: 0,
            cut: BTreeSet::new(),
            bad_marks: BTreeSet::new(),
            shared: shared.into(),
            proof,
        }
    }

    pub(crate) fn started(count: usize, shared: &str) -> Self {
        let mut net = Self::new(count, shared);
        (0..count).for_each(|at| net.start(at));
        net
    }

    pub(crate) fn tip(&self, at: usize) -> Tip {
        self.nodes[at].disk.chain.last().map_or(genesis(), |(block, _)| Tip {
            height: block.height(),
            hash: block.hash(),
            time: block.header().time,
        })
    }

    pub(crate) fn start(&mut self, at: usize) {
        let context = context(self.set.len(), &self.shared);
        let tip = self.tip(at);
        let node = &mut self.nodes[at];
        node.engine = Some(PoaPlugin.build(&context).unwrap());
        let saved = node.disk.saved.clone().filter(|(height, _)| *height == tip.height.next()).map(|(_, bytes)| bytes);
        let start = Start {
            tip,
            validators: self.set.clone(),
            me: Some(ValidatorIndex(at as u16)),
            saved,
            fresh: node.disk.guard.is_empty(),
            pending: node.pending,
        };
        self.step(at, Event::Start(start));
        for other in 0..self.nodes.len() {
            if other != at && self.nodes[other].engine.is_some() {
                self.link(at, other);
                self.link(other, at);
            }
        }
    }

    pub(crate) fn link(&mut self, at: usize, other: usize) {
        let validator = Some(ValidatorIndex(other as u16));
        self.step(at, Event::PeerUp { peer: peer(other), validator });
    }

    /// `kill -9`: only the disk is left.
    pub(crate) fn kill(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.engine = None;
        node.timers.clear();
        node.valid.clear();
        self.queue.retain(|_, (to, _)| *to != at);
    }

    pub(crate) fn work(&mut self, at: usize) {
        self.nodes[at].pending = true;
        self.step(at, Event::Work { pending: true });
    }

    pub(crate) fn step(&mut self, at: usize, event: Event) {
        let Some(engine) = &mut self.nodes[at].engine else { return };
        let mut out = Vec::new();
        engine.step(self.now, event, &mut out);
        assert!(out.len() < 64, "{} actions in one step", out.len());
        let mut answers = Vec::new();
        for action in out {
            self.nodes[at].did.push((self.now, action.clone()));
            self.act(at, action, &mut answers);
        }
        for answer in answers {
            self.step(at, answer);
        }
    }

    fn post(&mut self, from: usize, to: usize, bytes: Bytes) {
        if self.nodes[to].engine.is_none() || self.cut.contains(&(from, to)) {
            return;
        }
        self.sent += 1;
        let at = Instant(self.now.0 + HOP_US);
        let validator = Some(ValidatorIndex(from as u16));
        self.queue.insert((at, self.sent), (to, Event::Message { from: peer(from), validator, bytes }));
    }

    fn act(&mut self, at: usize, action: Action, answers: &mut Vec<Event>) {
        let height = self.tip(at).height.next();
        let (now, set) = (self.now, self.set.clone());
        match action {
            Action::Persist(bytes) => self.nodes[at].disk.saved = Some((height, bytes)),
            Action::Sign(request) => answers.push(self.signed(at, &request)),
            Action::Broadcast(bytes) => {
                (0..set.len()).filter(|to| *to != at).for_each(|to| self.post(at, to, bytes.clone()));
            }
            Action::Send { to, bytes } => {
                let to = (0..set.len()).find(|index| peer(*index) == to);
                if let Some(to) = to {
                    self.post(at, to, bytes);
                }
            }
            Action::SetTimer { id, at: due } => {
                self.nodes[at].timers.insert(id, due.max(now));
            }
            Action::CancelTimer(id) => {
                self.nodes[at].timers.remove(&id);
            }
            Action::BuildBlock { token, round, .. } => {
                let tip = self.tip(at);
                let node = &mut self.nodes[at];
                node.builds = node.builds.wrapping_add(1);
                let mark = 16 * (at as u8 + 1) + node.builds % 16;
                let block = block(&tip, &set, round, mark);
                node.valid.insert(block.hash(), block.clone());
                answers.push(Event::BlockBuilt { token, block: Some(block) });
            }
            Action::CheckBlock { block, .. } => {
                let hash = block.hash();
                let bad = self.bad_marks.contains(&block.header().app_hash.as_bytes()[0]);
                let verdict = if bad { Verdict::Invalid("marked".into()) } else { Verdict::Valid };
                if !bad {
                    self.nodes[at].valid.insert(hash, block);
                }
                answers.push(Event::BlockChecked { hash, verdict });
            }
            // Catch-up was there first, and the engine will hear of it.
            Action::Commit { hash, .. } if self.nodes[at].disk.chain.iter().any(|(block, _)| block.hash() == hash) => {}
            Action::Commit { hash, proof } => {
                let block = self.nodes[at].valid.get(&hash).cloned().expect("committed block was found valid");
                self.proof.verify(&CHAIN, block.header(), &proof, &set).expect("committed with a good proof");
                answers.push(self.commit(at, block, proof, CommitBy::Engine));
            }
            Action::NeedSync { from, .. } => {
                let from = (0..set.len()).find(|index| peer(*index) == from).unwrap();
                self.catch_up(at, from, answers);
            }
            Action::Serve { to, .. } => {
                let to = (0..set.len()).find(|index| peer(*index) == to).unwrap();
                let mut events = Vec::new();
                self.catch_up(to, at, &mut events);
                events.into_iter().for_each(|event| self.step(to, event));
            }
            Action::Evidence(_) | Action::Penalise { .. } | Action::Halt { .. } => {}
        }
    }

    fn signed(&mut self, at: usize, request: &SignRequest) -> Event {
        let (guard, digest) = (request.guard, request.digest(&CHAIN));
        let known = &mut self.nodes[at].disk.guard;
        let result = match known.last_key_value() {
            Some((last, (same, signature))) if *last == guard && *same == digest => Ok(*signature),
            Some((last, _)) if *last >= guard => Err(SignRefused::Guard { last: *last }),
            _ => {
                let signature = sign(at, request);
                known.insert(guard, (digest, signature));
                Ok(signature)
            }
        };
        Event::Signed { guard, digest, result }
    }

    fn commit(&mut self, at: usize, block: Block, proof: Bytes, by: CommitBy) -> Event {
        let node = &mut self.nodes[at];
        node.disk.chain.push((block, proof));
        node.disk.saved = None;
        let (tip, pending) = (self.tip(at), self.nodes[at].pending);
        Event::Committed { tip, validators: self.set.clone(), me: Some(ValidatorIndex(at as u16)), by, pending }
    }

    fn catch_up(&mut self, at: usize, from: usize, answers: &mut Vec<Event>) {
        if self.nodes[at].engine.is_none() {
            return;
        }
        let have = self.nodes[at].disk.chain.len();
        let missing: Vec<_> = self.nodes[from].disk.chain.iter().skip(have).cloned().collect();
        for (block, proof) in missing {
            answers.push(self.commit(at, block, proof, CommitBy::Sync));
        }
    }

    fn next(&self) -> Option<Instant> {
        let message = self.queue.keys().next().map(|(at, _)| *at);
        let timers =
            self.nodes.iter().filter(|node| node.engine.is_some()).flat_map(|node| node.timers.values().copied());
        timers.chain(message).min()
    }

    /// Runs for so many milliseconds of virtual time.
    pub(crate) fn run(&mut self, ms: u64) {
        let end = Instant(self.now.0 + ms * 1000);
        while let Some(next) = self.next().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            let due = self.queue.first_key_value().filter(|((at, _), _)| *at <= self.now).map(|(key, _)| *key);
            if let Some((to, event)) = due.and_then(|key| self.queue.remove(&key)) {
                self.step(to, event);
                continue;
            }
            for at in 0..self.nodes.len() {
                let due = self.nodes[at].timers.iter().find(|(_, due)| **due <= self.now).map(|(id, due)| (*id, *due));
                if let Some((id, due)) = due {
                    self.nodes[at].timers.remove(&id);
                    self.step(at, Event::Timer { id, due });
                }
            }
        }
        self.now = end;
        self.agree();
    }

    /// No two nodes have different blocks at a height.
    pub(crate) fn agree(&self) {
        for node in &self.nodes {
            for (at, (block, _)) in (1..).zip(&node.disk.chain) {
                assert_eq!(block.height(), Height(at), "a chain has each height once");
            }
            for other in &self.nodes {
                for ((one, _), (two, _)) in node.disk.chain.iter().zip(&other.disk.chain) {
                    assert_eq!(one.hash(), two.hash(), "two blocks are final at height {}", one.height());
                }
            }
        }
    }

    pub(crate) fn heights(&self) -> Vec<u64> {
        (0..self.nodes.len()).map(|at| self.tip(at).height.0).collect()
    }

    pub(crate) fn of<'a, T: 'a>(&'a self, at: usize, pick: impl Fn(&'a Action) -> Option<T> + 'a) -> Vec<T> {
        self.nodes[at].did.iter().filter_map(|(_, action)| pick(action)).collect()
    }

    pub(crate) fn evidence(&self, at: usize) -> Vec<Bytes> {
        self.of(at, |action| if let Action::Evidence(bytes) = action { Some(bytes.clone()) } else { None })
    }

    pub(crate) fn penalties(&self, at: usize) -> Vec<String> {
        self.of(at, |action| if let Action::Penalise { reason, .. } = action { Some(reason.clone()) } else { None })
    }

    pub(crate) fn halts(&self, at: usize) -> Vec<String> {
        self.of(at, |action| if let Action::Halt { reason } = action { Some(reason.clone()) } else { None })
    }

    pub(crate) fn asked(&self, at: usize, kind: u8) -> Vec<SignRequest> {
        self.of(at, |action| match action {
            Action::Sign(request) if request.kind == kind => Some(request.clone()),
            _ => None,
        })
    }
}
