//! One engine among validators whose keys the test holds: it says what they say, and looks at what the engine does.

use ed25519_dalek::{Signer, SigningKey};
use quorate::{
    Block, Bytes, ChainId, Consensus, FinalityProof, Hash, Header, Height, Instant, PeerId, PublicKey, Round, Settings,
    Signature, Timestamp, Validator, ValidatorIndex, ValidatorSet,
    block::BLOCK_VERSION,
    consensus::{Action, CommitBy, Context, Event, SignRefused, SignRequest, Start, Tip, Verdict},
    plugin::ConsensusPlugin,
};
use quorate_bft_tendermint::{
    Message, Proposal, QuorumCertificate, Status, TendermintPlugin, Vote, VoteKind, proposal_request, vote_request,
};

pub(crate) const CHAIN: ChainId = ChainId::new([9; 32]);

/// `[consensus]` with short waits: 300 ms for a proposal, 200 ms for votes.
pub(crate) const SETTINGS: &str = "block_interval_ms = 0\nblock_transactions_max = 32\nblock_bytes_max = 65536\n\
    empty_blocks = \"never\"\ntimeout_propose_ms = 300\ntimeout_vote_ms = 200\n";

fn key(index: usize) -> SigningKey {
    SigningKey::from_bytes(&[index as u8 + 1; 32])
}

fn public(index: usize) -> PublicKey {
    PublicKey::new(key(index).verifying_key().to_bytes())
}

pub(crate) fn peer(index: usize) -> PeerId {
    public(index).into()
}

pub(crate) fn sign(index: usize, request: &SignRequest) -> Signature {
    Signature::new(key(index).sign(&request.sign_bytes(&CHAIN)).to_bytes())
}

fn validators(count: usize) -> ValidatorSet {
    let one = |index| Validator { name: format!("validator-{}", index + 1), public_key: public(index) };
    ValidatorSet::new((0..count).map(one).collect()).unwrap()
}

fn context(count: usize) -> Context {
    Context {
        chain_id: CHAIN,
        validators: validators(count),
        shared: Settings::from_text(SETTINGS),
        settings: Settings::from_text(""),
        seed: 0,
    }
}

/// What checks the proofs.
pub(crate) fn proof() -> std::sync::Arc<dyn FinalityProof> {
    TendermintPlugin.proof(&context(4)).unwrap()
}

pub(crate) struct One {
    pub(crate) engine: Box<dyn Consensus>,
    pub(crate) me: usize,
    pub(crate) set: ValidatorSet,
    pub(crate) tip: Tip,
    pub(crate) ms: u64,
    pub(crate) did: Vec<Action>,
    /// What the kernel says of a block; `None`: nothing yet.
    pub(crate) verdict: Option<Verdict>,
    /// What the signer says instead of signing.
    pub(crate) refusal: Option<SignRefused>,
    /// Signatures are kept back.
    pub(crate) slow: bool,
    timer: Option<Instant>,
}

impl One {
    /// Validator `me` of `count`, started with work waiting, the others linked.
    pub(crate) fn new(me: usize, count: usize) -> Self {
        Self::restarted(me, count, None)
    }

    pub(crate) fn restarted(me: usize, count: usize, saved: Option<Bytes>) -> Self {
        let genesis = Tip { height: Height(0), hash: Hash::new(*CHAIN.as_bytes()), time: Timestamp(1) };
        let mut one = Self {
            engine: TendermintPlugin.build(&context(count)).unwrap(),
            me,
            set: validators(count),
            tip: genesis,
            ms: 1000,
            did: Vec::new(),
            verdict: Some(Verdict::Valid),
            refusal: None,
            slow: false,
            timer: None,
        };
        let fresh = saved.is_none();
        let (tip, validators) = (one.tip, one.set.clone());
        let index = Some(ValidatorIndex(me as u16));
        one.step(Event::Start(Start { tip, validators, me: index, saved, fresh, pending: true }));
        for other in (0..count).filter(|other| *other != me) {
            one.step(Event::PeerUp { peer: peer(other), validator: Some(ValidatorIndex(other as u16)) });
        }
        one
    }

    pub(crate) fn step(&mut self, event: Event) {
        let mut events = vec![event];
        while !events.is_empty() {
            let mut out = Vec::new();
            for event in std::mem::take(&mut events) {
                self.engine.step(Instant(self.ms * 1000), event, &mut out);
            }
            for action in out {
                match &action {
                    Action::Sign(request) if !self.slow => events.push(self.signed(request)),
                    Action::CheckBlock { block, .. } => {
                        let verdict = self.verdict.clone();
                        events.extend(verdict.map(|verdict| Event::BlockChecked { hash: block.hash(), verdict }));
                    }
                    Action::BuildBlock { token, round, .. } => {
                        let block = Some(self.block(round.0, 0xee));
                        events.push(Event::BlockBuilt { token: *token, block });
                    }
                    Action::SetTimer { at, .. } => self.timer = Some(*at),
                    Action::CancelTimer(_) => self.timer = None,
                    _ => {}
                }
                self.did.push(action);
            }
        }
    }

    /// The signer's answer.
    pub(crate) fn signed(&self, request: &SignRequest) -> Event {
        let result = self.refusal.clone().map_or_else(|| Ok(sign(self.me, request)), Err);
        Event::Signed { guard: request.guard, digest: request.digest(&CHAIN), result }
    }

    /// Time passes; the timer fires whenever it is due.
    pub(crate) fn wait(&mut self, ms: u64) {
        let end = self.ms + ms;
        while let Some(due) = self.timer.filter(|due| due.0 <= end * 1000) {
            self.timer = None;
            self.ms = self.ms.max(due.0.div_ceil(1000));
            self.step(Event::Timer { id: 1, due });
        }
        self.ms = end;
    }

    pub(crate) fn say(&mut self, from: usize, message: &Message) {
        self.say_bytes(from, message.encode());
    }

    pub(crate) fn say_bytes(&mut self, from: usize, bytes: Bytes) {
        self.step(Event::Message { from: peer(from), validator: Some(ValidatorIndex(from as u16)), bytes });
    }

    pub(crate) fn height(&self) -> Height {
        self.tip.height.next()
    }

    pub(crate) fn proposer(&self, round: u32) -> usize {
        usize::from(self.set.at_turn(self.height().0 + u64::from(round)).0)
    }

    /// A block like the kernel of the round's proposer makes it; `mark` makes it differ.
    pub(crate) fn block(&self, round: u32, mark: u8) -> Block {
        let header = Header {
            version: BLOCK_VERSION,
            chain_id: CHAIN,
            height: self.height(),
            parent_hash: self.tip.hash,
            time: Timestamp(self.tip.time.0 + 1),
            creator: ValidatorIndex(self.proposer(round) as u16),
            created_round: Round(round),
            tx_root: Hash::ZERO,
            evidence_root: Hash::ZERO,
            app_hash: Hash::new([mark; 32]),
            receipts_root: Hash::ZERO,
            validators_hash: self.set.hash(),
            next_validators_hash: self.set.hash(),
        };
        Block::new(header, &[Bytes::from(vec![mark])], &[]).unwrap()
    }

    pub(crate) fn proposal(&self, round: u32, block: &Block, polka: Option<QuorumCertificate>) -> Message {
        let of = polka.as_ref().map(|qc| qc.round);
        let request = proposal_request(self.height(), Round(round), &block.hash(), of);
        Message::Proposal(Proposal {
            height: self.height(),
            round: Round(round),
            block: block.encoded().clone(),
            polka,
            signature: sign(self.proposer(round), &request),
        })
    }

    /// The proposer of the round proposes.
    pub(crate) fn propose(&mut self, round: u32, block: &Block, polka: Option<QuorumCertificate>) {
        let message = self.proposal(round, block, polka);
        self.say(self.proposer(round), &message);
    }

    pub(crate) fn vote_of(&self, by: usize, kind: VoteKind, round: u32, block_hash: Option<Hash>) -> Vote {
        let request = vote_request(kind, self.height(), Round(round), block_hash.as_ref());
        let (height, validator) = (self.height(), ValidatorIndex(by as u16));
        Vote { kind, height, round: Round(round), block_hash, validator, signature: sign(by, &request) }
    }

    /// These validators vote.
    pub(crate) fn votes(&mut self, by: &[usize], kind: VoteKind, round: u32, block_hash: Option<Hash>) {
        for one in by {
            let vote = self.vote_of(*one, kind, round, block_hash);
            self.say(*one, &Message::Vote(vote));
        }
    }

    pub(crate) fn qc(&self, kind: VoteKind, round: u32, block_hash: Hash, by: &[usize]) -> QuorumCertificate {
        let signatures = by
            .iter()
            .map(|by| (ValidatorIndex(*by as u16), self.vote_of(*by, kind, round, Some(block_hash)).signature));
        let signatures = signatures.collect();
        QuorumCertificate { kind, height: self.height(), round: Round(round), block_hash, signatures }
    }

    pub(crate) fn status_of(&self, round: u32, entry: Vec<Vote>, polka: Option<QuorumCertificate>) -> Message {
        Message::Status(Status { height: self.height(), round: Round(round), entry, polka })
    }

    /// Everybody else gives up the round, so that the engine leaves it too.
    pub(crate) fn give_up(&mut self, round: u32) {
        let others: Vec<usize> = (0..self.set.len()).filter(|other| *other != self.me).collect();
        self.votes(&others, VoteKind::Precommit, round, None);
        self.wait(200 * u64::from(round + 2) / 2);
    }

    /// Forgets what was done so far.
    pub(crate) fn forget(&mut self) {
        self.did.clear();
    }

    pub(crate) fn pick<T>(&self, pick: impl Fn(&Action) -> Option<T>) -> Vec<T> {
        self.did.iter().filter_map(pick).collect()
    }

    /// Requests for signatures of votes, in words: kind, round and block.
    pub(crate) fn voted(&self) -> Vec<(VoteKind, u32, Option<Hash>)> {
        self.pick(|action| {
            let Action::Sign(request) = action else { return None };
            let kind = match request.guard.step {
                1 => VoteKind::Prevote,
                2 => VoteKind::Precommit,
                _ => return None,
            };
            let hash = <[u8; 32]>::try_from(&request.body[..]).ok().map(Hash::new);
            Some((kind, request.guard.round.0, hash))
        })
    }

    pub(crate) fn sent(&self) -> Vec<Message> {
        self.pick(|action| match action {
            Action::Broadcast(bytes) | Action::Send { bytes, .. } => Some(Message::decode(bytes, 65536).unwrap()),
            _ => None,
        })
    }

    pub(crate) fn penalties(&self) -> Vec<String> {
        self.pick(|action| if let Action::Penalise { reason, .. } = action { Some(reason.clone()) } else { None })
    }

    pub(crate) fn halts(&self) -> Vec<String> {
        self.pick(|action| if let Action::Halt { reason } = action { Some(reason.clone()) } else { None })
    }

    /// What the evidence of this run proves, as the kernel of another node would find.
    pub(crate) fn offences(&self) -> Vec<(usize, String)> {
        let evidence =
            self.pick(|action| if let Action::Evidence(bytes) = action { Some(bytes.clone()) } else { None });
        let checked = evidence.into_iter().map(|bytes| {
            assert_eq!(proof().evidence_height(&bytes), Ok(self.height()));
            let found = proof().evidence(&CHAIN, &bytes, &self.set).unwrap();
            (usize::from(self.set.index_of(&found.offender).unwrap().0), found.offence)
        });
        checked.collect()
    }

    /// The record as a crash now would leave it.
    pub(crate) fn saved(&self) -> Option<Bytes> {
        self.pick(|action| if let Action::Persist(bytes) = action { Some(bytes.clone()) } else { None }).pop()
    }

    pub(crate) fn commits(&self) -> Vec<(Hash, Bytes)> {
        self.pick(|action| match action {
            Action::Commit { hash, proof } => Some((*hash, proof.clone())),
            _ => None,
        })
    }

    /// The kernel has made the block final.
    pub(crate) fn committed(&mut self, block: &Block, by: CommitBy, pending: bool) {
        self.tip = Tip { height: block.height(), hash: block.hash(), time: block.header().time };
        let (tip, validators) = (self.tip, self.set.clone());
        let me = Some(ValidatorIndex(self.me as u16));
        self.step(Event::Committed { tip, validators, me, by, pending });
    }
}
