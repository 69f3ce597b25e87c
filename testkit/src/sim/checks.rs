//! The invariants that hold for every consensus, and the place where one's own are plugged in.
//!
//! | name | what must hold |
//! |---|---|
//! | `S1 agreement` | no two honest nodes commit different blocks at a height |
//! | `S2 strong finality` | honest signatures and all dishonest keys do not suffice for two certificates of finality at a height |
//! | `S3 certificate uniqueness` | nor for two certificates of one round |
//! | `S4 chain` | a block stands on the tip |
//! | `S5 validity` | what is committed was found valid |
//! | `S6 proof` | and comes with a valid proof of finality |
//! | `S7 double signature` | a place in the order of signatures is signed one way |
//! | `S8 commit after timeout` | who gave up a round does not commit in it, or in an earlier one |
//! | `S9 evidence` | evidence convinces, and names no honest node |
//! | `S12 conflict` | a final block which a node finds invalid halts it instead of being committed |
//! | `L1 first honest round` | where messages are timely, a height is decided by its first round with an honest leader |
//! | `L2 progress` | after the last fault a quorum goes on, and L4: everybody gets to the tip |
//! | `L3 bounds` | messages, actions of a step and timers are bounded |
//! | `F1 determinism` | the same seed gives the same trace |
//! | `H1 halt`, `H2 panic` | nothing makes an honest engine halt or panic |
//! | `P1 accusation` | no honest peer is penalised |
//!
//! S11 (persist before send) is not looked for as such: every crash between two actions is followed by all of the above.

use std::collections::{BTreeMap, BTreeSet};

use quorate::{
    Block, ChainId, FinalityProof, Hash, Height, ValidatorSet,
    consensus::{Guard, SignRequest},
};

use super::scenario::{FaultModel, Scenario};

/// An invariant that was broken, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// Its name.
    pub invariant: &'static str,
    /// What happened.
    pub detail: String,
}

impl Breach {
    /// A breach.
    pub fn new(invariant: &'static str, detail: impl Into<String>) -> Self {
        Self { invariant, detail: detail.into() }
    }
}

pub use quorate::plugin::SignatureKinds as Kinds;

/// A consensus' own checks. Nodes are numbered from 0; only honest ones are told of.
pub trait Inspector {
    /// A process starts, with the record it finds.
    ///
    /// # Errors
    ///
    /// A [`Breach`], here as below.
    fn started(&mut self, _node: usize, _saved: Option<&[u8]>) -> Result<(), Breach> {
        Ok(())
    }

    /// A record was handed over to be made durable.
    ///
    /// # Errors
    ///
    /// A [`Breach`].
    fn persisted(&mut self, _node: usize, _record: &[u8]) -> Result<(), Breach> {
        Ok(())
    }

    /// A message left, to all or to one.
    ///
    /// # Errors
    ///
    /// A [`Breach`].
    fn sent(&mut self, _node: usize, _to: Option<usize>, _bytes: &[u8]) -> Result<(), Breach> {
        Ok(())
    }

    /// Something was signed.
    ///
    /// # Errors
    ///
    /// A [`Breach`].
    fn signed(&mut self, _node: usize, _request: &SignRequest) -> Result<(), Breach> {
        Ok(())
    }

    /// A block became final.
    ///
    /// # Errors
    ///
    /// A [`Breach`].
    fn committed(&mut self, _node: usize, _block: &Block, _proof: &[u8]) -> Result<(), Breach> {
        Ok(())
    }

    /// A message in words, for the timeline.
    fn describe(&self, _bytes: &[u8]) -> Option<String> {
        None
    }
}

/// Bodies that got votes in one round, each with the honest nodes which voted.
type Votes = BTreeMap<Vec<u8>, BTreeSet<usize>>;

/// A block that an honest node commits.
#[derive(Clone, Copy)]
pub(crate) struct Commit<'a> {
    pub(crate) node: usize,
    pub(crate) block: &'a Block,
    pub(crate) proof: &'a [u8],
    pub(crate) set: &'a ValidatorSet,
    /// The same validators as nodes.
    pub(crate) nodes: &'a [usize],
}

/// What is remembered for the invariants.
pub(crate) struct Checks {
    kinds: Option<Kinds>,
    model: FaultModel,
    timely: bool,
    pub(crate) corrupt: BTreeSet<usize>,
    decided: BTreeMap<Height, (Hash, usize)>,
    votes: BTreeMap<(u8, Height, u32), Votes>,
    final_bodies: BTreeMap<Height, BTreeMap<Vec<u8>, u32>>,
    guards: BTreeMap<(usize, Guard), Hash>,
    timeouts: BTreeMap<(usize, Height), u32>,
    convinced: BTreeSet<Hash>,
}

impl Checks {
    pub(crate) fn new(scenario: &Scenario, kinds: Option<Kinds>, corrupt: BTreeSet<usize>) -> Self {
        Self {
            kinds,
            model: scenario.fault_model,
            timely: scenario.timely,
            corrupt,
            decided: BTreeMap::new(),
            votes: BTreeMap::new(),
            final_bodies: BTreeMap::new(),
            guards: BTreeMap::new(),
            timeouts: BTreeMap::new(),
            convinced: BTreeSet::new(),
        }
    }

    /// An honest node signed. `nodes` are the validators of the height, as nodes.
    pub(crate) fn signed(
        &mut self,
        node: usize,
        request: &SignRequest,
        digest: Hash,
        nodes: &[usize],
    ) -> Result<(), Breach> {
        let guard = request.guard;
        let (height, round) = (guard.height, guard.round.0);
        let before = self.guards.insert((node, guard), digest);
        if before.is_some_and(|before| before != digest) {
            let detail = format!("node {node} signed two things at height {height} round {round} step {}", guard.step);
            return Err(Breach::new("S7 double signature", detail));
        }
        let Some(kinds) = self.kinds else { return Ok(()) };
        if request.kind == kinds.timeout {
            let last = self.timeouts.entry((node, height)).or_default();
            *last = round.max(*last);
        }
        if request.kind == kinds.commit
            && let Some(given_up) = self.timeouts.get(&(node, height)).filter(|given_up| **given_up >= round)
        {
            let detail =
                format!("node {node} commits at height {height} round {round}, after giving up round {given_up}");
            return Err(Breach::new("S8 commit after timeout", detail));
        }
        if request.kind == kinds.prepare || request.kind == kinds.commit {
            self.voted(node, request, nodes, request.kind == kinds.commit)?;
        }
        Ok(())
    }

    fn voted(&mut self, node: usize, request: &SignRequest, nodes: &[usize], is_commit: bool) -> Result<(), Breach> {
        if !nodes.contains(&node) {
            return Ok(());
        }
        let (height, round) = (request.guard.height, request.guard.round.0);
        let votes = self.votes.entry((request.kind, height, round)).or_default();
        votes.entry(request.body.clone()).or_default().insert(node);
        let dishonest = nodes.iter().filter(|node| self.corrupt.contains(node)).count();
        let needed = self.model.quorum(nodes.len());
        let enough: Vec<&Vec<u8>> =
            votes.iter().filter(|(_, who)| who.len() + dishonest >= needed).map(|(body, _)| body).collect();
        if enough.len() > 1 {
            let detail = format!(
                "at height {height} round {round} two certificates of kind {} can be made: {}",
                request.kind,
                shown(votes)
            );
            return Err(Breach::new("S3 certificate uniqueness", detail));
        }
        if is_commit && let Some(body) = enough.first() {
            let bodies = self.final_bodies.entry(height).or_default();
            bodies.insert((*body).clone(), round);
            if bodies.len() > 1 {
                let rounds: Vec<String> =
                    bodies.iter().map(|(body, round)| format!("{} in round {round}", short(body))).collect();
                let detail = format!("at height {height} two blocks can be made final: {}", rounds.join(", "));
                return Err(Breach::new("S2 strong finality", detail));
            }
        }
        Ok(())
    }

    /// An honest node commits.
    pub(crate) fn committed(
        &mut self,
        chain_id: &ChainId,
        proof: &dyn FinalityProof,
        commit: &Commit<'_>,
    ) -> Result<(), Breach> {
        let Commit { node, block, proof: proof_bytes, set, nodes } = *commit;
        let (height, hash) = (block.height(), block.hash());
        let key = Hash::of(&[hash.as_bytes(), proof_bytes]);
        if !self.convinced.contains(&key) {
            if let Err(error) = proof.verify(chain_id, block.header(), proof_bytes, set) {
                let detail = format!("node {node} commits block {height}, whose proof does not convince: {error}");
                return Err(Breach::new("S6 proof", detail));
            }
            self.convinced.insert(key);
        }
        let (first, by) = *self.decided.entry(height).or_insert((hash, node));
        if first != hash {
            let detail = format!(
                "at height {height} node {by} committed {}, node {node} {}",
                short(first.as_bytes()),
                short(hash.as_bytes())
            );
            return Err(Breach::new("S1 agreement", detail));
        }
        if self.timely
            && let Ok(certificate) = proof.certificate(proof_bytes)
        {
            let honest_led = |round: u32| {
                let leader = usize::from(set.at_turn(height.0 + u64::from(round)).0);
                nodes.get(leader).is_some_and(|node| !self.corrupt.contains(node))
            };
            let first = (0..=certificate.round.0).find(|round| honest_led(*round));
            if let Some(first) = first.filter(|first| *first < certificate.round.0) {
                let detail = format!(
                    "height {height} was decided in round {}, though round {first} had an honest leader",
                    certificate.round
                );
                return Err(Breach::new("L1 first honest round", detail));
            }
        }
        Ok(())
    }

    /// The highest decided height.
    pub(crate) fn height(&self) -> u64 {
        self.decided.last_key_value().map_or(0, |(height, _)| height.0)
    }
}

fn shown(votes: &Votes) -> String {
    let one = |(body, who): (&Vec<u8>, &BTreeSet<usize>)| format!("{} by {who:?}", short(body));
    votes.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The first bytes of a hash, for people.
pub(crate) fn short(bytes: &[u8]) -> String {
    bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}
