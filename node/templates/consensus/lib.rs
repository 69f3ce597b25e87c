//! The consensus `my-plugin`: validators take turns, and the signature of the one whose turn it is makes its block final.
//!
//! It agrees as long as every validator is honest, and goes on as long as none is gone for good: a turn whose validator is away is
//! waited for. A kernel does the rest: it makes and judges blocks, signs, sends, and fetches final blocks from peers.

use std::{sync::Arc, time::Duration};

use borsh::{BorshDeserialize, BorshSerialize};
use quorate::{
    Block, Bytes, ChainId, Consensus, FinalityProof, Header, Height, Instant, Round, Settings, Signature,
    ValidatorIndex, ValidatorSet,
    application::Misbehaviour,
    consensus::{
        Action, BlockLimits, Certificate, Context, EngineStatus, Event, Guard, ProofError, SignRefused, SignRequest,
        Tip, Verdict,
    },
    plugin::{ConsensusPlugin, ConsensusReport, Descriptor, Promise, SetupError},
};

/// `[consensus]` of genesis. A key that is not here is refused, with its place in the file.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    block_interval_ms: u64,
    block_transactions_max: u32,
    block_bytes_max: u32,
}

const EXAMPLE: &str = "# Time between blocks, in milliseconds.
block_interval_ms = 1000
# Transactions in a block at most.
block_transactions_max = 100
# Bytes of a block at most.
block_bytes_max = 1048576
";

/// `[consensus]` of a node's own file: nothing.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeRules {}

fn rules(settings: &Settings) -> Result<Rules, SetupError> {
    let rules: Rules = settings.parse()?;
    if rules.block_transactions_max == 0
        || !(1024..=quorate::block::BLOCK_BYTES_MAX as u32).contains(&rules.block_bytes_max)
    {
        return Err(vec![settings.error("block_bytes_max", "a block must have room for a transaction")].into());
    }
    Ok(rules)
}

/// How often a node says how far it is: whoever missed a block asks for it then.
const SAY_AGAIN: Duration = Duration::from_millis(500);

/// The one timer.
const WAKE: u64 = 1;

/// What nodes tell each other.
#[derive(BorshSerialize, BorshDeserialize)]
enum Message {
    /// A block, sealed by the one whose turn it is.
    Sealed { signature: Signature, block: Bytes },
    /// The sender decides this height.
    At(Height),
}

/// The proof that a block is final: whose turn it was, and the signature.
type Seal = (ValidatorIndex, Signature);

/// Who makes the block of a height.
fn leader(validators: &ValidatorSet, height: Height) -> ValidatorIndex {
    validators.at_turn(height.0)
}

/// What the leader signs.
fn seal(header: &Header) -> SignRequest {
    let guard = Guard { height: header.height, ..Guard::default() };
    SignRequest { guard, kind: 1, body: header.hash().as_bytes().to_vec() }
}

fn is_sealed(chain_id: &ChainId, header: &Header, signature: &Signature, validators: &ValidatorSet) -> bool {
    let leader = leader(validators, header.height);
    let key = validators.get(leader).map(|validator| validator.public_key);
    header.creator == leader && key.is_some_and(|key| key.verifies(&seal(header).sign_bytes(chain_id), signature))
}

/// One node's part in deciding one height after the other.
struct Engine {
    chain_id: ChainId,
    interval: Duration,
    limits: BlockLimits,
    validators: ValidatorSet,
    me: Option<ValidatorIndex>,
    height: Height,
    entered: Instant,
    say_at: Instant,
    building: bool,
    /// The block of this height, once it is known here; whether it was found valid; its seal.
    block: Option<Block>,
    valid: bool,
    signature: Option<Signature>,
    done: bool,
}

impl Engine {
    fn enter(&mut self, now: Instant, tip: Tip, validators: ValidatorSet, me: Option<ValidatorIndex>) {
        (self.height, self.validators, self.me, self.entered) = (tip.height.next(), validators, me, now);
        (self.block, self.signature) = (None, None);
        (self.building, self.valid, self.done) = (false, false, false);
    }

    fn is_my_turn(&self) -> bool {
        self.me == Some(leader(&self.validators, self.height))
    }

    fn say(&self, message: &Message, out: &mut Vec<Action>) {
        out.push(Action::Broadcast(borsh::to_vec(message).unwrap_or_default().into()));
    }

    fn on_message(&mut self, from: quorate::PeerId, bytes: &[u8], out: &mut Vec<Action>) {
        match Message::try_from_slice(bytes) {
            Ok(Message::At(height)) if height > self.height => {
                out.push(Action::NeedSync { height: Height(height.0 - 1), from })
            }
            Ok(Message::Sealed { signature, block }) if self.block.is_none() => {
                let Ok(block) = Block::decode(block) else { return };
                if block.height() == self.height
                    && is_sealed(&self.chain_id, block.header(), &signature, &self.validators)
                {
                    out.push(Action::CheckBlock { block: block.clone(), limits: self.limits });
                    (self.block, self.signature) = (Some(block), Some(signature));
                }
            }
            // Of a height that is over or not begun, or nothing that a node of this kind says.
            _ => {}
        }
    }

    /// Does what is due.
    fn go_on(&mut self, now: Instant, out: &mut Vec<Action>) {
        let due = self.entered.after(self.interval);
        if self.is_my_turn() && self.block.is_none() && !self.building && now >= due {
            self.building = true;
            out.push(Action::BuildBlock { token: self.height.0, round: Round(0), limits: self.limits });
        }
        if let (Some(block), Some(signature), true, false) = (&self.block, self.signature, self.valid, self.done) {
            if self.is_my_turn() {
                self.say(&Message::Sealed { signature, block: block.encoded().clone() }, out);
            }
            let proof: Seal = (block.header().creator, signature);
            out.push(Action::Commit { hash: block.hash(), proof: borsh::to_vec(&proof).unwrap_or_default().into() });
            self.done = true;
        }
        if now >= self.say_at {
            self.say_at = now.after(SAY_AGAIN);
            self.say(&Message::At(self.height), out);
            if let (Some(block), None, true, true) = (&self.block, self.signature, self.valid, self.is_my_turn()) {
                out.push(Action::Sign(seal(block.header()))); // the same again, should the signer have failed
            }
        }
        let next = if due > now && self.is_my_turn() { due.min(self.say_at) } else { self.say_at };
        out.push(Action::SetTimer { id: WAKE, at: next });
    }
}

impl Consensus for Engine {
    fn step(&mut self, now: Instant, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Start(start) => {
                self.enter(now, start.tip, start.validators, start.me);
                // A block that may be signed already: it and no other may be sealed at this height.
                let saved = start.saved.map(Block::decode_trusted);
                if let Some(Ok(block)) = saved
                    && block.height() == self.height
                {
                    out.push(Action::CheckBlock { block: block.clone(), limits: self.limits });
                    self.block = Some(block);
                }
            }
            Event::Committed { tip, validators, me, .. } => self.enter(now, tip, validators, me),
            Event::Message { from, bytes, .. } => self.on_message(from, &bytes, out),
            Event::BlockBuilt { token, block } if token == self.height.0 && self.block.is_none() => {
                self.building = false;
                if let Some(block) = block {
                    // Durable before it is signed, so that after a crash the same is signed again.
                    out.push(Action::Persist(block.encoded().clone()));
                    out.push(Action::Sign(seal(block.header())));
                    (self.block, self.valid) = (Some(block), true);
                } else {
                    self.entered = now;
                }
            }
            Event::BlockChecked { hash, verdict } if self.block.as_ref().is_some_and(|block| block.hash() == hash) => {
                match verdict {
                    Verdict::Valid => self.valid = true,
                    Verdict::NotNow(_) => {} // the kernel asks again
                    Verdict::Invalid(why) => {
                        out.push(Action::Halt { reason: format!("block {} is sealed and invalid: {why}", self.height) })
                    }
                }
            }
            Event::Signed { guard, digest, result } if guard.height == self.height => {
                let block = self.block.as_ref().filter(|block| seal(block.header()).digest(&self.chain_id) == digest);
                match result {
                    Ok(signature) if block.is_some() => self.signature = Some(signature),
                    Ok(_) | Err(SignRefused::Failed(_)) => {}
                    Err(refused) => {
                        out.push(Action::Halt { reason: format!("block {} is not sealed: {refused}", self.height) })
                    }
                }
            }
            _ => {}
        }
        if !matches!(self.height, Height::GENESIS) {
            self.go_on(now, out);
        }
    }

    fn status(&self, _: Instant) -> EngineStatus {
        let (proposer, phase) =
            (Some(leader(&self.validators, self.height)), if self.block.is_some() { "commit" } else { "propose" });
        EngineStatus { height: self.height, proposer, phase: phase.into(), quorum: 1, ..EngineStatus::default() }
    }
}

/// Checks seals: for catch-up, receipts and audits, which run no engine.
struct Proof;

fn read(proof: &[u8]) -> Result<Seal, ProofError> {
    Seal::try_from_slice(proof).map_err(|error| ProofError::Malformed(error.to_string()))
}

fn no_evidence<T>() -> Result<T, ProofError> {
    Err(ProofError::NoMisbehaviour("nobody accuses anybody here".into()))
}

impl FinalityProof for Proof {
    fn verify(
        &self,
        chain_id: &ChainId,
        header: &Header,
        proof: &[u8],
        validators: &ValidatorSet,
    ) -> Result<(), ProofError> {
        let (by, signature) = read(proof)?;
        let sealed = by == header.creator && is_sealed(chain_id, header, &signature, validators);
        if sealed { Ok(()) } else { Err(ProofError::BadSignature(by)) }
    }

    fn certificate(&self, proof: &[u8]) -> Result<Certificate, ProofError> {
        Ok(Certificate { round: Round(0), signatures: vec![read(proof)?] })
    }

    fn evidence_height(&self, _: &[u8]) -> Result<Height, ProofError> {
        no_evidence()
    }

    fn evidence(&self, _: &ChainId, _: &[u8], _: &ValidatorSet) -> Result<Misbehaviour, ProofError> {
        no_evidence()
    }
}

/// What `plugin = "my-plugin"` stands for.
pub struct MyPlugin;

impl ConsensusPlugin for MyPlugin {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new("my-plugin", env!("CARGO_PKG_VERSION"), "validators take turns, and whose turn it is decides")
            .with_example(EXAMPLE)
    }

    fn check(&self, context: &Context) -> Result<ConsensusReport, SetupError> {
        rules(&context.shared)?;
        let NodeRules {} = context.settings.parse()?;
        let tolerates = "validators may stop and come back; none may be gone for good, and none dishonest".into();
        Ok(ConsensusReport { tolerates, warnings: Vec::new() })
    }

    fn promise(&self, _: &Context) -> Option<Promise> {
        Some(Promise::default()) // nobody gone, nobody dishonest: what the simulator holds it to
    }

    fn build(&self, context: &Context) -> Result<Box<dyn Consensus>, SetupError> {
        self.check(context)?;
        let rules = rules(&context.shared)?;
        let limits = BlockLimits {
            transactions_max: rules.block_transactions_max,
            bytes_max: rules.block_bytes_max,
            drift_ms: 2000,
        };
        let (chain_id, validators) = (context.chain_id, context.validators.clone());
        let interval = Duration::from_millis(rules.block_interval_ms);
        let (height, entered, say_at) = (Height::GENESIS, Instant(0), Instant(0));
        let (building, valid, done) = (false, false, false);
        let (me, block, signature) = (None, None, None);
        Ok(Box::new(Engine {
            chain_id,
            interval,
            limits,
            validators,
            me,
            height,
            entered,
            say_at,
            building,
            block,
            valid,
            signature,
            done,
        }))
    }

    fn proof(&self, context: &Context) -> Result<Arc<dyn FinalityProof>, SetupError> {
        rules(&context.shared)?;
        Ok(Arc::new(Proof))
    }
}
