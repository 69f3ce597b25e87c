//! A consensus of one validator that fails where it is told to.

use std::{sync::Arc, time::Duration};

use quorate::{
    ChainId, Consensus, FinalityProof, Header, Height, Instant, Round, ValidatorSet,
    application::Misbehaviour,
    consensus::{Action, Certificate, Context, EngineStatus, Event, ProofError},
    plugin::{ConsensusPlugin, ConsensusReport, Descriptor, Promise, SetupError, SignatureKinds},
};

use crate::{EXAMPLE, Faults, SCHEMA};

/// Answers every event by an action that says what it was.
#[derive(Debug, Clone, Copy, Default)]
pub struct FaultyConsensus;

/// Its faults: from the node's settings, or else from genesis, which is all that the simulator has.
fn read(context: &Context) -> Result<Faults, SetupError> {
    let own = Faults::read(&context.settings)?;
    if own.fault.is_empty() { Ok(Faults::read(&context.shared)?) } else { Ok(own) }
}

struct Engine {
    faults: Faults,
    steps: u64,
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.faults.at("drop");
        tracing::info!(steps = self.steps, "engine dropped");
    }
}

impl Consensus for Engine {
    fn step(&mut self, now: Instant, event: Event, out: &mut Vec<Action>) {
        self.steps += 1;
        tracing::debug!(self.steps, "stepped");
        if let Event::Timer { .. } = event {
            out.push(Action::Broadcast(quorate::Bytes::from_static(b"said before it failed")));
            self.faults.at("step");
        }
        if matches!(event, Event::Start(_)) && self.faults.fault == "panics in step" {
            out.push(Action::SetTimer { id: 1, at: now });
        }
        if self.faults.fault == "says too much" {
            out.extend((0..5000).map(Action::CancelTimer));
        }
        if self.faults.fault == "says something too large" {
            out.push(Action::Broadcast(vec![0; 33 << 20].into()));
        }
        if let Event::Message { bytes, from, .. } = event {
            out.push(Action::Send { to: from, bytes });
        }
    }

    fn status(&self, _: Instant) -> EngineStatus {
        self.faults.at("status");
        EngineStatus { height: Height(7), round: Round(3), phase: "propose".into(), ..EngineStatus::default() }
    }
}

struct Proof(Faults);

impl FinalityProof for Proof {
    fn verify(&self, _: &ChainId, header: &Header, proof: &[u8], set: &ValidatorSet) -> Result<(), ProofError> {
        self.0.at("verify");
        if proof == header.hash().as_bytes() {
            Ok(())
        } else {
            Err(ProofError::NoQuorum { found: 0, needed: set.len() })
        }
    }

    fn certificate(&self, proof: &[u8]) -> Result<Certificate, ProofError> {
        if proof.is_empty() { Err(ProofError::Malformed("it is empty".into())) } else { Ok(Certificate::default()) }
    }

    fn evidence_height(&self, evidence: &[u8]) -> Result<Height, ProofError> {
        Ok(Height(evidence.len() as u64))
    }

    fn evidence(&self, _: &ChainId, evidence: &[u8], set: &ValidatorSet) -> Result<Misbehaviour, ProofError> {
        let offender = set.iter().next().map(|(_, one)| one.public_key);
        let offender = offender.ok_or_else(|| ProofError::NoMisbehaviour("nobody is there".into()))?;
        Ok(Misbehaviour { height: Height(evidence.len() as u64), offender, offence: "was late".into() })
    }
}

impl ConsensusPlugin for FaultyConsensus {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new("faulty", "1.2.3", "fails where it is told to")
            .with_example(EXAMPLE)
            .with_schema(SCHEMA)
            .with_promises(&["S1 agreement", "F1 determinism"])
    }

    fn check(&self, context: &Context) -> Result<ConsensusReport, SetupError> {
        let faults = read(context)?;
        faults.at("check");
        tracing::warn!(fault = faults.fault, seed = context.seed, "checked");
        Ok(ConsensusReport {
            tolerates: format!("nothing, of {} validators", context.validators.len()),
            warnings: vec!["it fails".into()],
        })
    }

    fn promise(&self, context: &Context) -> Option<Promise> {
        let faults = read(context).ok()?;
        faults.at("promise");
        let delta = Some(Duration::from_micros(1500));
        let promise = Promise { gone: 2, dishonest: 1, delta, kinds: Some(SignatureKinds::TWO_PHASE) };
        (faults.fault != "promises nothing").then_some(promise)
    }

    fn describe_message(&self, message: &[u8]) -> Option<String> {
        assert!(message != b"panic", "planted in describe_message");
        (!message.is_empty()).then(|| format!("{} bytes", message.len()).repeat(message.len()))
    }

    fn build(&self, context: &Context) -> Result<Box<dyn Consensus>, SetupError> {
        let faults = read(context)?;
        faults.at("create");
        if faults.fault == "is refused" {
            return Err(SetupError::Other("the key file is empty".into()));
        }
        Ok(Box::new(Engine { faults, steps: 0 }))
    }

    fn proof(&self, context: &Context) -> Result<Arc<dyn FinalityProof>, SetupError> {
        Ok(Arc::new(Proof(read(context)?)))
    }
}
