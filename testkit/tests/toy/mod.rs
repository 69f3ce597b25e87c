//! A toy consensus for testing the simulator: one leader a height, one vote each, a majority makes final; no rounds.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use quorate::{
    Block, ChainId, Consensus, FinalityProof, Hash, Header, Height, Instant, PeerId, Round, Signature, ValidatorIndex,
    ValidatorSet,
    application::Misbehaviour,
    borsh::{self, BorshDeserialize, BorshSerialize},
    consensus::{
        Action, BlockLimits, Certificate, Context, EngineStatus, Event, Guard, ProofError, SignRequest, Tip, Verdict,
        sign_bytes,
    },
    plugin::{ConsensusPlugin, ConsensusReport, Descriptor, SetupError},
};

/// What may be wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    None,
    /// Keeps no record.
    NoRecord,
    /// One vote is enough.
    OneVote,
    /// Orders its timers by a hash map.
    HashMap,
    /// Panics at height 3.
    Panic,
    /// Says everything again at once.
    Storm,
}

const VOTE: u8 = 3;
const AGAIN: Duration = Duration::from_millis(300);
const LIMITS: BlockLimits = BlockLimits { transactions_max: 10, bytes_max: 10_000, drift_ms: 10_000 };

#[derive(BorshSerialize, BorshDeserialize)]
enum Message {
    Proposal(Vec<u8>),
    Vote(u64, Hash, ValidatorIndex, Signature),
    Decided(u64, Hash, Vec<(ValidatorIndex, Signature)>),
    Behind(u64),
}

struct Toy {
    chain_id: ChainId,
    bug: Bug,
    validators: ValidatorSet,
    me: Option<ValidatorIndex>,
    tip: Option<Tip>,
    block: Option<Block>,
    valid: bool,
    votes: BTreeMap<ValidatorIndex, Signature>,
    built: u64,
    asked: bool,
}

impl Toy {
    fn height(&self) -> Height {
        self.tip.map_or(Height(1), |tip| tip.height.next())
    }

    fn leads(&self) -> bool {
        self.me.is_some_and(|me| me == self.validators.at_turn(self.height().0))
    }

    fn enter(
        &mut self,
        now: Instant,
        tip: Tip,
        validators: ValidatorSet,
        me: Option<ValidatorIndex>,
        out: &mut Vec<Action>,
    ) {
        (self.tip, self.validators, self.me) = (Some(tip), validators, me);
        (self.block, self.valid, self.asked) = (None, false, false);
        self.votes.clear();
        out.push(Action::SetTimer { id: 1, at: now.after(Duration::from_millis(50)) });
        if self.bug == Bug::Panic {
            assert!(self.height().0 < 3, "planted");
        }
    }

    fn say(&mut self, now: Instant, out: &mut Vec<Action>) {
        let pause = if self.bug == Bug::Storm { Duration::from_millis(1) } else { AGAIN };
        out.push(Action::SetTimer { id: 1, at: now.after(pause) });
        match &self.block {
            None if self.leads() && !self.asked => {
                self.asked = true;
                self.built += 1;
                out.push(Action::BuildBlock { token: self.built, round: Round(0), limits: LIMITS });
            }
            Some(block) if self.leads() => {
                out.push(broadcast(&Message::Proposal(block.encoded().to_vec())));
                self.vote(out);
            }
            _ => out.push(broadcast(&Message::Behind(self.height().0))),
        }
        if self.bug == Bug::HashMap {
            let mut map = std::collections::HashMap::new();
            for key in 0..20u64 {
                map.insert(key, ());
            }
            out.extend(map.keys().map(|key| broadcast(&Message::Behind(1_000_000 + key))));
        }
    }

    fn vote(&mut self, out: &mut Vec<Action>) {
        let (Some(block), true, Some(_)) = (&self.block, self.valid, self.me) else { return };
        let guard = Guard { height: self.height(), ..Guard::default() };
        out.push(Action::Sign(SignRequest { guard, kind: VOTE, body: block.hash().as_bytes().to_vec() }));
    }

    fn take(&mut self, block: Block, out: &mut Vec<Action>) {
        let record = Action::Persist(block.encoded().clone());
        let sending = self.leads().then(|| broadcast(&Message::Proposal(block.encoded().to_vec())));
        out.push(Action::CheckBlock { block: block.clone(), limits: LIMITS });
        self.block = Some(block);
        if self.bug != Bug::NoRecord {
            out.push(record);
        }
        out.extend(sending);
    }

    fn message(&mut self, from: PeerId, bytes: &[u8], out: &mut Vec<Action>) {
        match Message::try_from_slice(bytes) {
            Ok(Message::Proposal(bytes)) => {
                let Ok(block) = Block::decode(bytes.into()) else { return };
                if block.height() < self.height() {
                    out.push(Action::Serve { to: from, from_height: block.height() });
                } else if block.height() == self.height() && self.block.is_none() {
                    self.take(block, out);
                } else if self.block.as_ref().is_some_and(|known| known.hash() == block.hash()) {
                    self.vote(out);
                }
            }
            Ok(Message::Vote(height, hash, validator, signature)) => {
                self.voted(height, hash, validator, signature, out)
            }
            Ok(Message::Decided(height, hash, signatures)) => {
                if height > self.height().0 {
                    out.push(Action::NeedSync { height: Height(height), from });
                }
                for (validator, signature) in signatures {
                    self.voted(height, hash, validator, signature, out);
                }
            }
            Ok(Message::Behind(height)) if height < self.height().0 => {
                out.push(Action::Serve { to: from, from_height: Height(height) });
            }
            _ => {}
        }
    }

    fn voted(
        &mut self,
        height: u64,
        hash: Hash,
        validator: ValidatorIndex,
        signature: Signature,
        out: &mut Vec<Action>,
    ) {
        let mine = self.block.as_ref().is_some_and(|block| block.hash() == hash) && self.valid;
        let bytes = sign_bytes(&self.chain_id, VOTE, Height(height), Round(0), hash.as_bytes());
        let good = self.validators.get(validator).is_some_and(|one| one.public_key.verifies(&bytes, &signature));
        if height != self.height().0 || !mine || !good {
            return;
        }
        self.votes.insert(validator, signature);
        let needed = if self.bug == Bug::OneVote { 1 } else { self.validators.len() / 2 + 1 };
        if self.votes.len() >= needed {
            let signatures: Vec<_> = self.votes.iter().map(|(who, signature)| (*who, *signature)).collect();
            let proof = borsh::to_vec(&signatures).unwrap_or_default();
            out.push(Action::Commit { hash, proof: proof.into() });
            out.push(broadcast(&Message::Decided(height, hash, signatures)));
            self.valid = false;
        }
    }
}

fn broadcast(message: &Message) -> Action {
    Action::Broadcast(borsh::to_vec(message).unwrap_or_default().into())
}

impl Consensus for Toy {
    fn step(&mut self, now: Instant, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Start(start) => {
                self.enter(now, start.tip, start.validators, start.me, out);
                if let Some(block) = start.saved.and_then(|bytes| Block::decode(bytes).ok()) {
                    out.push(Action::CheckBlock { block: block.clone(), limits: LIMITS });
                    self.block = Some(block);
                }
            }
            Event::Committed { tip, validators, me, .. } => self.enter(now, tip, validators, me, out),
            Event::Timer { .. } => self.say(now, out),
            Event::Message { from, bytes, .. } => self.message(from, &bytes, out),
            Event::BlockBuilt { block: Some(block), .. } if self.block.is_none() && block.height() == self.height() => {
                self.take(block, out);
            }
            Event::BlockBuilt { .. } => self.asked = false,
            Event::BlockChecked { hash, verdict: Verdict::Valid }
                if self.block.as_ref().is_some_and(|block| block.hash() == hash) =>
            {
                self.valid = true;
                self.vote(out);
            }
            Event::Signed { guard, result: Ok(signature), .. } => {
                if let (Some(me), Some(block)) = (self.me, &self.block)
                    && guard.height == self.height()
                {
                    let hash = block.hash();
                    out.push(broadcast(&Message::Vote(guard.height.0, hash, me, signature)));
                    self.voted(guard.height.0, hash, me, signature, out);
                }
            }
            _ => {}
        }
    }

    fn status(&self, _: Instant) -> EngineStatus {
        EngineStatus::default()
    }
}

struct Proof;

impl FinalityProof for Proof {
    fn verify(&self, chain_id: &ChainId, header: &Header, proof: &[u8], set: &ValidatorSet) -> Result<(), ProofError> {
        let signatures = self.certificate(proof)?.signatures;
        let bytes = sign_bytes(chain_id, VOTE, header.height, Round(0), header.hash().as_bytes());
        for (who, signature) in &signatures {
            let key = set.get(*who).ok_or(ProofError::BadSignature(*who))?.public_key;
            if !key.verifies(&bytes, signature) {
                return Err(ProofError::BadSignature(*who));
            }
        }
        let (found, needed) = (signatures.len(), set.len() / 2 + 1);
        if found < needed { Err(ProofError::NoQuorum { found, needed }) } else { Ok(()) }
    }

    fn certificate(&self, proof: &[u8]) -> Result<Certificate, ProofError> {
        let signatures = borsh::from_slice(proof).map_err(|error| ProofError::Malformed(error.to_string()))?;
        Ok(Certificate { round: Round(0), signatures })
    }

    fn evidence_height(&self, _: &[u8]) -> Result<Height, ProofError> {
        Err(ProofError::NoMisbehaviour("a toy has no evidence".into()))
    }

    fn evidence(&self, _: &ChainId, _: &[u8], _: &ValidatorSet) -> Result<Misbehaviour, ProofError> {
        Err(ProofError::NoMisbehaviour("a toy has no evidence".into()))
    }
}

/// The toy as a plugin.
pub(crate) struct ToyPlugin(pub(crate) Bug);

impl ConsensusPlugin for ToyPlugin {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new("toy", "0", "for tests")
    }

    fn check(&self, _: &Context) -> Result<ConsensusReport, SetupError> {
        Ok(ConsensusReport::default())
    }

    fn build(&self, context: &Context) -> Result<Box<dyn Consensus>, SetupError> {
        Ok(Box::new(Toy {
            chain_id: context.chain_id,
            bug: self.0,
            validators: context.validators.clone(),
            me: None,
            tip: None,
            block: None,
            valid: false,
            votes: BTreeMap::new(),
            built: 0,
            asked: false,
        }))
    }

    fn proof(&self, _: &Context) -> Result<Arc<dyn FinalityProof>, SetupError> {
        Ok(Arc::new(Proof))
    }
}
