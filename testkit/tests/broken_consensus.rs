//! Each rule of the Consensus slot catches an engine that breaks it: the toy, with one mistake at a time.
#![expect(clippy::panic, reason = "one of the mistakes is to panic")]

mod broken;
mod toy;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use broken::{assert_all_proven, catches, try_all};
use quorate::{
    Bytes, ChainId, Consensus, FinalityProof, Hash, Header, Height, Instant, PublicKey, ValidatorIndex, ValidatorSet,
    application::Misbehaviour,
    consensus::{Action, Certificate, Context, EngineStatus, Event, ProofError, SAVED_BYTES_MAX},
    plugin::{ConsensusPlugin, ConsensusReport, Descriptor, SetupError},
};
use quorate_testkit::{
    conformance::{self, ConsensusSuite, rules},
    sim::FaultModel,
};

/// One mistake of an engine or of its plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    None,
    NamedBadly,
    BadExample,
    TakesAnyKey,
    SaysNothing,
    HashMap,
    Sleeps,
    Floods,
    LongRecords,
    CountsForAll,
    RefusesItsRecord,
    CountsBlocks,
    SignsWithoutPlace,
    Panics,
    CommitsAnything,
    ProvesAnything,
    TrustsMany,
    Accuses,
    LeavesThreads,
    OneVote,
}

const SIMULATOR: &str = "in the simulator nothing goes wrong";

const BUGS: &[(Bug, &str)] = &[
    (Bug::NamedBadly, "the descriptor says who it is"),
    (Bug::BadExample, "the example of its settings parses"),
    (Bug::TakesAnyKey, "an unknown key is refused with its place"),
    (Bug::SaysNothing, "it says what the network tolerates"),
    (Bug::HashMap, "the same events give the same actions"),
    (Bug::Sleeps, "a step does not block"),
    (Bug::Floods, "a step's actions are bounded"),
    (Bug::LongRecords, "records, proofs and messages are bounded"),
    (Bug::CountsForAll, "two engines share nothing"),
    (Bug::RefusesItsRecord, "it starts again from its own record"),
    (Bug::CountsBlocks, "it goes on far above its tip"),
    (Bug::SignsWithoutPlace, "without a place it does not sign"),
    (Bug::Panics, "no message makes it panic"),
    (Bug::CommitsAnything, "no forged message makes it commit"),
    (Bug::ProvesAnything, "a proof shows one block of one network"),
    (Bug::TrustsMany, "proofs together are judged as each alone"),
    (Bug::Accuses, "bytes that are no evidence accuse nobody"),
    (Bug::OneVote, SIMULATOR),
    (Bug::LeavesThreads, "made and dropped a hundred times leaves nothing"),
];

fn suite(plugin: &WrongPlugin) -> ConsensusSuite<'_> {
    conformance::consensus(plugin, "")
}

#[test]
fn every_rule_catches_an_engine_that_breaks_it() {
    try_all(BUGS, |bug, rule| catches(&suite(&WrongPlugin(bug)).suite(), rule));
    assert_all_proven("consensus", BUGS.iter().map(|(_, rule)| *rule));
}

#[test]
fn without_a_mistake_it_breaks_no_rule() {
    let plugin = WrongPlugin(Bug::None);
    // The toy stands still while a validator is away, which a campaign of several does not accept.
    let (several, alone) = (suite(&plugin), suite(&plugin).network(FaultModel::Crash, 1));
    for (_, rule) in rules().into_iter().filter(|(slot, _)| *slot == "consensus") {
        let suite = if rule.name == SIMULATOR { &alone } else { &several };
        let finding = suite.suite().try_rule(rule.name);
        assert!(finding.as_ref().is_some_and(|finding| !finding.is_broken()), "{finding:?}");
    }
}

struct WrongPlugin(Bug);

impl WrongPlugin {
    fn toy(&self) -> toy::ToyPlugin {
        toy::ToyPlugin(match self.0 {
            Bug::HashMap => toy::Bug::HashMap,
            Bug::OneVote => toy::Bug::OneVote,
            _ => toy::Bug::None,
        })
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl ConsensusPlugin for WrongPlugin {
    fn descriptor(&self) -> Descriptor {
        let mut descriptor = self.toy().descriptor();
        descriptor.version = "1.0.0";
        if self.0 == Bug::NamedBadly {
            descriptor.version = "one";
        }
        if self.0 == Bug::BadExample {
            descriptor.example = "rounds = 1\n";
        }
        descriptor
    }

    fn check(&self, context: &Context) -> Result<ConsensusReport, SetupError> {
        if self.0 != Bug::TakesAnyKey {
            context.shared.parse::<Nothing>()?;
        }
        context.settings.parse::<Nothing>()?;
        let tolerates = if self.0 == Bug::SaysNothing { "" } else { "no validator may stop for long" };
        Ok(ConsensusReport { tolerates: tolerates.into(), warnings: Vec::new() })
    }

    fn build(&self, context: &Context) -> Result<Box<dyn Consensus>, SetupError> {
        self.check(context)?;
        if self.0 == Bug::LeavesThreads {
            std::thread::spawn(|| std::thread::sleep(Duration::from_secs(60)));
        }
        let inner = self.toy().build(context)?;
        Ok(Box::new(Wrong { bug: self.0, inner, height: Height::GENESIS, slept: false, known: None }))
    }

    fn proof(&self, context: &Context) -> Result<Arc<dyn FinalityProof>, SetupError> {
        Ok(Arc::new(WrongProof(self.0, self.toy().proof(context)?)))
    }
}

static STEPS: AtomicU64 = AtomicU64::new(0);

struct Wrong {
    bug: Bug,
    inner: Box<dyn Consensus>,
    height: Height,
    slept: bool,
    known: Option<Hash>,
}

impl Wrong {
    /// What the mistake adds before the toy has its turn.
    fn before(&mut self, event: &mut Event, out: &mut Vec<Action>) {
        match event {
            Event::Start(start) => {
                self.height = start.tip.height.next();
                match self.bug {
                    Bug::RefusesItsRecord if start.saved.is_some() => {
                        out.push(Action::Halt { reason: "the record can't be read".into() });
                    }
                    Bug::SignsWithoutPlace => start.me = start.me.or(Some(ValidatorIndex(0))),
                    Bug::LongRecords => out.push(Action::Persist(vec![0; SAVED_BYTES_MAX + 1].into())),
                    _ => {}
                }
            }
            Event::Committed { tip, me, .. } => {
                self.height = if self.bug == Bug::CountsBlocks { self.height.next() } else { tip.height.next() };
                if self.bug == Bug::SignsWithoutPlace {
                    *me = me.or(Some(ValidatorIndex(0)));
                }
            }
            Event::Message { bytes, .. } => self.message(bytes, out),
            Event::Timer { .. } if self.bug == Bug::Sleeps && !self.slept => {
                self.slept = true;
                std::thread::sleep(Duration::from_millis(2500));
            }
            _ => {}
        }
    }

    fn message(&self, bytes: &Bytes, out: &mut Vec<Action>) {
        let rare = bytes.len() % 16 == 3;
        match (self.bug, self.known) {
            (Bug::Panics, _) if bytes.len() < 4 => panic!("a message of {} bytes", bytes.len()),
            (Bug::Floods, _) if rare => out.extend(vec![Action::Broadcast(bytes.clone()); 2000]),
            (Bug::CommitsAnything, Some(hash)) if rare => {
                out.push(Action::Commit { hash, proof: Bytes::from_static(b"trust me") });
            }
            _ => {}
        }
    }
}

impl Consensus for Wrong {
    fn step(&mut self, now: Instant, mut event: Event, out: &mut Vec<Action>) {
        self.before(&mut event, out);
        if self.bug == Bug::CountsForAll && STEPS.fetch_add(1, SeqCst).is_multiple_of(7) {
            out.push(Action::CancelTimer(77));
        }
        self.inner.step(now, event, out);
        for action in out {
            if let Action::CheckBlock { block, .. } = action {
                self.known = Some(block.hash());
            }
        }
    }

    fn status(&self, now: Instant) -> EngineStatus {
        EngineStatus { height: self.height, ..self.inner.status(now) }
    }
}

struct WrongProof(Bug, Arc<dyn FinalityProof>);

impl FinalityProof for WrongProof {
    fn verify(&self, chain_id: &ChainId, header: &Header, proof: &[u8], set: &ValidatorSet) -> Result<(), ProofError> {
        if self.0 == Bug::ProvesAnything { Ok(()) } else { self.1.verify(chain_id, header, proof, set) }
    }

    fn verify_many(
        &self,
        chain_id: &ChainId,
        blocks: &[(&Header, &[u8])],
        set: &ValidatorSet,
    ) -> Vec<Result<(), ProofError>> {
        match self.0 {
            Bug::TrustsMany => vec![Ok(()); blocks.len()],
            _ => blocks.iter().map(|(header, proof)| self.verify(chain_id, header, proof, set)).collect(),
        }
    }

    fn certificate(&self, proof: &[u8]) -> Result<Certificate, ProofError> {
        self.1.certificate(proof)
    }

    fn evidence_height(&self, evidence: &[u8]) -> Result<Height, ProofError> {
        self.1.evidence_height(evidence)
    }

    fn evidence(&self, chain_id: &ChainId, evidence: &[u8], set: &ValidatorSet) -> Result<Misbehaviour, ProofError> {
        if self.0 == Bug::Accuses {
            let offender = PublicKey::new([7; 32]);
            return Ok(Misbehaviour { height: Height(1), offender, offence: "being there".into() });
        }
        self.1.evidence(chain_id, evidence, set)
    }
}
