//! One node seals: build, sign, commit.
//!
//! The proof of a block is its validator's signature of kind 3 over the block's hash.

use std::{sync::Arc, time::Duration};

use quorate::{
    ChainId, Consensus, FinalityProof, Hash, Header, Height, Instant, Round, Signature, ValidatorIndex, ValidatorSet,
    application::Misbehaviour,
    consensus::{
        Action, BlockLimits, Certificate, Context, EngineStatus, Event, Guard, ProofError, SignRequest, TimerId,
        sign_bytes,
    },
    plugin::{ConsensusPlugin, ConsensusReport, Descriptor, SetupError},
};
use serde::Deserialize;

const COMMIT: u8 = 3;
const TIMER_SEAL: TimerId = 1;

/// How far ahead a block's time may be; this node made it.
const DRIFT_MS: u64 = 2000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shared {
    block_interval_ms: u64,
    block_transactions_max: u32,
    block_bytes_max: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {}

/// The plugin `solo`.
#[derive(Debug, Clone, Copy, Default)]
pub struct SoloPlugin;

fn shared(context: &Context) -> Result<Shared, SetupError> {
    let table: Shared = context.shared.parse()?;
    let mut errors = Vec::new();
    if !(1..=65_536).contains(&table.block_transactions_max) {
        let message = format!("block_transactions_max is {}; it must be 1 to 65536", table.block_transactions_max);
        errors.push(context.shared.error("block_transactions_max", message));
    }
    if !(256 << 10..=8 << 20).contains(&table.block_bytes_max) {
        let message = format!("block_bytes_max is {}; it must be 262144 to 8388608", table.block_bytes_max);
        errors.push(context.shared.error("block_bytes_max", message));
    }
    if errors.is_empty() { Ok(table) } else { Err(errors.into()) }
}

impl ConsensusPlugin for SoloPlugin {
    fn descriptor(&self) -> Descriptor {
        Descriptor {
            name: "solo",
            version: env!("CARGO_PKG_VERSION"),
            summary: "one node seals blocks as transactions come",
            example: "",
        }
    }

    fn check(&self, context: &Context) -> Result<ConsensusReport, SetupError> {
        context.settings.parse::<Own>()?;
        shared(context)?;
        if context.validators.len() != 1 {
            return Err(SetupError::Other(format!("solo needs 1 validator, genesis has {}", context.validators.len())));
        }
        Ok(ConsensusReport {
            tolerates: "one node decides alone: it may stop and restart with its disk, and must be trusted".into(),
            warnings: Vec::new(),
        })
    }

    fn build(&self, context: &Context) -> Result<Box<dyn Consensus>, SetupError> {
        let table = shared(context)?;
        Ok(Box::new(Solo {
            interval: Duration::from_millis(table.block_interval_ms),
            limits: BlockLimits {
                transactions_max: table.block_transactions_max,
                bytes_max: table.block_bytes_max,
                drift_ms: DRIFT_MS,
            },
            height: Height(1),
            me: None,
            pending: false,
            busy: false,
            sealing: None,
            next_at: Instant::default(),
        }))
    }

    fn proof(&self, _: &Context) -> Result<Arc<dyn FinalityProof>, SetupError> {
        Ok(Arc::new(Proofs))
    }
}

struct Solo {
    interval: Duration,
    limits: BlockLimits,
    height: Height,
    me: Option<ValidatorIndex>,
    pending: bool,
    busy: bool,
    sealing: Option<Hash>,
    next_at: Instant,
}

impl Solo {
    fn advance(&mut self, now: Instant, out: &mut Vec<Action>) {
        if self.me.is_none() || self.busy || !self.pending {
            return;
        }
        if now < self.next_at {
            out.push(Action::SetTimer { id: TIMER_SEAL, at: self.next_at });
            return;
        }
        self.busy = true;
        out.push(Action::BuildBlock { token: self.height.0, round: Round(0), limits: self.limits });
    }

    fn seal(&mut self, hash: Hash, out: &mut Vec<Action>) {
        self.sealing = Some(hash);
        let guard = Guard { height: self.height, round: Round(0), step: 2, sub: 0 };
        out.push(Action::Sign(SignRequest { guard, kind: COMMIT, body: hash.as_bytes().to_vec() }));
    }
}

impl Consensus for Solo {
    fn step(&mut self, now: Instant, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Start(start) => {
                self.height = start.tip.height.next();
                self.me = start.me;
                self.pending = start.pending;
                // A block that was signed and lost in a crash is the one that must be sealed.
                if let Some(block) = start.saved.and_then(|saved| quorate::Block::decode(saved).ok()) {
                    self.busy = true;
                    out.push(Action::CheckBlock { block, limits: self.limits });
                }
            }
            Event::BlockBuilt { token, block: Some(block) } if token == self.height.0 => {
                out.push(Action::Persist(block.encoded().clone()));
                self.seal(block.hash(), out);
            }
            Event::BlockBuilt { .. } => self.busy = false,
            Event::BlockChecked { hash, verdict } => match verdict {
                quorate::consensus::Verdict::Valid => self.seal(hash, out),
                other => out.push(Action::Halt { reason: format!("the block signed before is not valid: {other:?}") }),
            },
            Event::Signed { result, .. } => match (result, self.sealing.take()) {
                (Ok(signature), Some(hash)) => {
                    let proof = borsh::to_vec(&signature).unwrap_or_default().into();
                    out.push(Action::Commit { hash, proof });
                }
                (Err(refused), _) => out.push(Action::Halt { reason: refused.to_string() }),
                (Ok(_), None) => {}
            },
            Event::Committed { tip, me, pending, .. } => {
                self.height = tip.height.next();
                self.me = me;
                self.pending = pending;
                self.busy = false;
                self.next_at = now.after(self.interval);
            }
            Event::Work { pending } => self.pending = pending,
            _ => {}
        }
        self.advance(now, out);
    }

    fn status(&self, _: Instant) -> EngineStatus {
        EngineStatus {
            height: self.height,
            proposer: self.me,
            phase: if self.busy { "seal" } else { "idle" }.into(),
            heard_from: self.me.into_iter().collect(),
            quorum: 1,
            ..EngineStatus::default()
        }
    }
}

struct Proofs;

fn read(proof: &[u8]) -> Result<Signature, ProofError> {
    borsh::from_slice(proof).map_err(|error| ProofError::Malformed(error.to_string()))
}

impl FinalityProof for Proofs {
    fn verify(&self, chain_id: &ChainId, header: &Header, proof: &[u8], set: &ValidatorSet) -> Result<(), ProofError> {
        let signature = read(proof)?;
        let index = ValidatorIndex(0);
        let message = sign_bytes(chain_id, COMMIT, header.height, Round(0), header.hash().as_bytes());
        let good = set.get(index).is_some_and(|one| one.public_key.verifies(&message, &signature));
        if good { Ok(()) } else { Err(ProofError::BadSignature(index)) }
    }

    fn certificate(&self, proof: &[u8]) -> Result<Certificate, ProofError> {
        Ok(Certificate { round: Round(0), signatures: vec![(ValidatorIndex(0), read(proof)?)] })
    }

    fn evidence_height(&self, _: &[u8]) -> Result<Height, ProofError> {
        Err(ProofError::NoMisbehaviour("one node has nobody to accuse it".into()))
    }

    fn evidence(&self, _: &ChainId, _: &[u8], _: &ValidatorSet) -> Result<Misbehaviour, ProofError> {
        Err(ProofError::NoMisbehaviour("one node has nobody to accuse it".into()))
    }
}
