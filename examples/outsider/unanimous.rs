//! A consensus by an outsider: a block is final when every validator has voted for it. While one is away, the chain waits.
use quorate::{consensus::*, engine::*, plugin::*, settings::NoKeys, *};
use std::{sync::Arc, time::Duration};

/// The plugin.
pub struct Unanimous;
quorate_abi::export!(consensus: Unanimous);

const ALL: Tally = Tally { kind: 1, needed: |validators| validators };
const LIMITS: BlockLimits = BlockLimits { transactions_max: 1000, bytes_max: 1 << 20, drift_ms: 2000 };
const PAUSE: Duration = Duration::from_millis(400);
/// The only message: at which height I am, the block if I propose it, and my vote if I gave it.
type Message = (Height, Option<Bytes>, Option<Signature>);

struct Engine {
    chain: ChainId,
    height: Height,
    set: ValidatorSet,
    me: Option<ValidatorIndex>,
    block: Option<Block>,
    votes: Votes,
}

impl Engine {
    /// Tries again what is still to do, and says all there is to say: nothing that gets lost matters.
    fn tick(&mut self, now: Instant, out: &mut Vec<Action>) {
        let proposes = self.me == Some(self.set.at_turn(self.height.0));
        let vote = self.me.and_then(|me| self.votes.get(&me).copied());
        match self.block.clone() {
            None if proposes => out.push(Action::BuildBlock { token: 0, round: Round(0), limits: LIMITS }),
            Some(block) if vote.is_none() => out.push(Action::CheckBlock { block, limits: LIMITS }),
            _ => {}
        }
        let block = self.block.as_ref().filter(|_| proposes).map(|block| block.encoded().clone());
        let message = borsh::to_vec::<Message>(&(self.height, block, vote)).unwrap_or_default();
        out.extend([Action::Broadcast(message.into()), Action::SetTimer { id: 0, at: now.after(PAUSE) }]);
    }

    fn take(&mut self, bytes: Option<Bytes>, out: &mut Vec<Action>) {
        let Some(Ok(block)) = bytes.filter(|_| self.block.is_none()).map(Block::decode) else { return };
        if (block.height(), block.header().creator) == (self.height, self.set.at_turn(self.height.0)) {
            #[cfg(not(feature = "broken"))] // Before it is voted for: after a crash it is the same again.
            out.push(Action::Persist(block.encoded().clone()));
            out.push(Action::CheckBlock { block: block.clone(), limits: LIMITS });
            self.block = Some(block);
        }
    }

    fn count(&mut self, vote: Option<(ValidatorIndex, Signature)>, out: &mut Vec<Action>) {
        let (Some(block), Some((who, vote))) = (&self.block, vote) else { return };
        ALL.count(&mut self.votes, (who, vote), &self.chain, block.header(), &self.set);
        if let Some(proof) = ALL.proof(&self.votes, &self.set).filter(|_| self.me.is_some()) {
            out.push(Action::Commit { hash: block.hash(), proof });
            self.block = None;
        }
    }
}

impl Consensus for Engine {
    fn step(&mut self, now: Instant, event: Event, out: &mut Vec<Action>) {
        let saved = if let Event::Start(start) = &event { start.saved.clone() } else { None };
        match event {
            Event::Start(Start { tip, validators, me, .. }) | Event::Committed { tip, validators, me, .. } => {
                (self.height, self.set, self.me) = (tip.height.next(), validators, me);
                (self.block, self.votes) = (None, Votes::new());
                out.push(Action::SetTimer { id: 0, at: now.after(PAUSE) });
                self.take(saved, out);
            }
            Event::Timer { .. } => self.tick(now, out),
            Event::BlockBuilt { block, .. } => self.take(block.map(|block| block.encoded().clone()), out),
            Event::BlockChecked { hash, verdict: Verdict::Valid } => {
                let me = self.me.filter(|_| self.block.as_ref().map(Block::hash) == Some(hash));
                out.extend(me.map(|_| Action::Sign(ALL.request(self.height, &hash))));
            }
            Event::Signed { guard, result: Ok(vote), .. } if guard.height == self.height => {
                self.count(self.me.zip(Some(vote)), out);
                self.tick(now, out);
            }
            Event::Message { from, validator, bytes } => match borsh::from_slice::<Message>(&bytes) {
                Ok((height, block, vote)) if height == self.height => {
                    self.take(block.filter(|_| validator == Some(self.set.at_turn(self.height.0))), out);
                    self.count(validator.zip(vote), out);
                }
                Ok((height, ..)) if height < self.height => out.push(Action::Serve { to: from, from_height: height }),
                Ok((height, ..)) => out.push(Action::NeedSync { height: Height(height.0 - 1), from }),
                Err(_) => {}
            },
            _ => {}
        }
    }

    fn status(&self, _: Instant) -> EngineStatus {
        EngineStatus { height: self.height, quorum: self.set.len() as u16, ..EngineStatus::default() }
    }
}

impl ConsensusPlugin for Unanimous {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new("unanimous", env!("CARGO_PKG_VERSION"), "a block is final when every validator voted for it")
    }

    fn check(&self, context: &Context) -> Result<ConsensusReport, SetupError> {
        let (NoKeys {}, NoKeys {}) = (context.shared.parse()?, context.settings.parse()?);
        Ok(ConsensusReport { tolerates: "nothing: who is away is waited for".into(), warnings: Vec::new() })
    }

    fn promise(&self, _: &Context) -> Option<Promise> {
        Some(Promise::default())
    }

    fn build(&self, context: &Context) -> Result<Box<dyn Consensus>, SetupError> {
        let (chain, set) = (context.chain_id, context.validators.clone());
        Ok(Box::new(Engine { chain, height: Height::GENESIS, set, me: None, block: None, votes: Votes::new() }))
    }

    fn proof(&self, _: &Context) -> Result<Arc<dyn FinalityProof>, SetupError> {
        Ok(Arc::new(ALL))
    }
}
