//! One engine among validators whose keys the test holds: it says what they say, and looks at what the engine does.

use quorate::{
    Block, Bytes, Consensus, Hash, Height, Instant, Round, Signature, ValidatorIndex, ValidatorSet,
    consensus::{Action, CommitBy, Event, SignRefused, SignRequest, Start, Tip, Verdict},
    plugin::ConsensusPlugin,
};
use quorate_poa::{
    Message, NewRound, PoaPlugin, Proposal, QuorumCertificate, Timeout, TimeoutCertificate, TimeoutEntry, Vote,
    VoteKind, proposal_request, timeout_request, vote_request,
};

use crate::net::{CHAIN, block, context, genesis, peer, settings, sign, validators};

pub(crate) struct One {
    pub(crate) engine: Box<dyn Consensus>,
    pub(crate) me: usize,
    pub(crate) set: ValidatorSet,
    pub(crate) tip: Tip,
    pub(crate) ms: u64,
    pub(crate) did: Vec<Action>,
    /// What the kernel says of a block.
    pub(crate) verdict: Option<Verdict>,
    pub(crate) refuse: bool,
    timer: Option<Instant>,
}

impl One {
    /// Validator `me` of `count`, started, the others linked.
    pub(crate) fn new(me: usize, count: usize, model: &str) -> Self {
        Self::restarted(me, count, model, None)
    }

    pub(crate) fn restarted(me: usize, count: usize, model: &str, saved: Option<Bytes>) -> Self {
        let shared = settings(model, "block_interval_ms = 0\n");
        let mut one = Self {
            engine: PoaPlugin.build(&context(count, &shared)).unwrap(),
            me,
            set: validators(count),
            tip: genesis(),
            ms: 1000,
            did: Vec::new(),
            verdict: Some(Verdict::Valid),
            refuse: false,
            timer: None,
        };
        let start = Start {
            tip: one.tip,
            validators: one.set.clone(),
            me: Some(ValidatorIndex(me as u16)),
            saved,
            fresh: true,
            pending: true,
        };
        one.step(Event::Start(start));
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
                    Action::Sign(request) => events.push(self.signed(request)),
                    Action::CheckBlock { block, .. } => {
                        let verdict = self.verdict.clone();
                        events.extend(verdict.map(|verdict| Event::BlockChecked { hash: block.hash(), verdict }));
                    }
                    Action::BuildBlock { token, round, .. } => {
                        let block = Some(block(&self.tip, &self.set, *round, 0xee));
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

    fn signed(&self, request: &SignRequest) -> Event {
        let refused = SignRefused::Guard { last: request.guard };
        let result = if self.refuse { Err(refused) } else { Ok(sign(self.me, request)) };
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

    /// Time passes, but the process does not run: the timer does not fire.
    pub(crate) fn sleep(&mut self, ms: u64) {
        self.ms += ms;
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

    pub(crate) fn block(&self, round: u32, mark: u8) -> Block {
        block(&self.tip, &self.set, Round(round), mark)
    }

    pub(crate) fn proposal(
        &self,
        round: u32,
        block: &Block,
        justify: Option<QuorumCertificate>,
        timeout: Option<TimeoutCertificate>,
    ) -> Message {
        let of = justify.as_ref().map(|qc| qc.round);
        let request = proposal_request(self.height(), Round(round), &block.hash(), of);
        Message::Proposal(Proposal {
            height: self.height(),
            round: Round(round),
            block: block.encoded().clone(),
            justify,
            timeout,
            signature: sign(self.proposer(round), &request),
        })
    }

    /// The proposer of the round proposes.
    pub(crate) fn propose(
        &mut self,
        round: u32,
        block: &Block,
        justify: Option<QuorumCertificate>,
        timeout: Option<TimeoutCertificate>,
    ) {
        let message = self.proposal(round, block, justify, timeout);
        self.say(self.proposer(round), &message);
    }

    pub(crate) fn vote(&self, by: usize, kind: VoteKind, round: u32, hash: Hash) -> Message {
        let request = vote_request(kind, self.height(), Round(round), &hash);
        Message::Vote(Vote {
            kind,
            height: self.height(),
            round: Round(round),
            block_hash: hash,
            validator: ValidatorIndex(by as u16),
            signature: sign(by, &request),
        })
    }

    pub(crate) fn qc(&self, kind: VoteKind, round: u32, hash: Hash, by: &[usize]) -> QuorumCertificate {
        let request = vote_request(kind, self.height(), Round(round), &hash);
        let one = |by: &usize| -> (ValidatorIndex, Signature) { (ValidatorIndex(*by as u16), sign(*by, &request)) };
        QuorumCertificate {
            kind,
            height: self.height(),
            round: Round(round),
            block_hash: hash,
            signatures: by.iter().map(one).collect(),
        }
    }

    pub(crate) fn timeout(&self, by: usize, round: u32, high_qc: Option<QuorumCertificate>) -> Message {
        let high = high_qc.as_ref().map(|qc| (qc.round, qc.block_hash));
        let signature = sign(by, &timeout_request(self.height(), Round(round), high));
        let (height, validator) = (self.height(), ValidatorIndex(by as u16));
        Message::Timeout(Timeout { height, round: Round(round), high_qc, validator, signature })
    }

    pub(crate) fn tc(&self, round: u32, by: &[(usize, Option<QuorumCertificate>)]) -> TimeoutCertificate {
        let entry = |(by, qc): &(usize, Option<QuorumCertificate>)| {
            let high = qc.as_ref().map(|qc| (qc.round, qc.block_hash));
            let signature = sign(*by, &timeout_request(self.height(), Round(round), high));
            TimeoutEntry { validator: ValidatorIndex(*by as u16), high, signature }
        };
        let high_qc = by.iter().filter_map(|(_, qc)| qc.clone()).max_by_key(|qc| qc.round);
        TimeoutCertificate {
            height: self.height(),
            round: Round(round),
            entries: by.iter().map(entry).collect(),
            high_qc,
        }
    }

    pub(crate) fn new_round(&self, timeout: Option<TimeoutCertificate>, high_qc: Option<QuorumCertificate>) -> Message {
        Message::NewRound(NewRound { height: self.height(), timeout, high_qc })
    }

    /// The kernel's catch-up brings the next block.
    pub(crate) fn committed(&mut self, by: CommitBy) {
        let block = self.block(0, 0x77);
        self.final_now(&block, by);
    }

    /// A block is final.
    pub(crate) fn final_now(&mut self, block: &Block, by: CommitBy) {
        self.tip = Tip { height: block.height(), hash: block.hash(), time: block.header().time };
        let (tip, validators) = (self.tip, self.set.clone());
        let me = Some(ValidatorIndex(self.me as u16));
        self.step(Event::Committed { tip, validators, me, by, pending: true });
    }

    /// Forgets what was done so far.
    pub(crate) fn forget(&mut self) {
        self.did.clear();
    }

    /// Places in `did` of requests to sign `kind`.
    pub(crate) fn asked(&self, kind: u8) -> Vec<SignRequest> {
        self.pick(|action| match action {
            Action::Sign(request) if request.kind == kind => Some(request.clone()),
            _ => None,
        })
    }

    pub(crate) fn pick<T>(&self, pick: impl Fn(&Action) -> Option<T>) -> Vec<T> {
        self.did.iter().filter_map(pick).collect()
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

    pub(crate) fn evidence(&self) -> Vec<Bytes> {
        self.pick(|action| if let Action::Evidence(bytes) = action { Some(bytes.clone()) } else { None })
    }

    /// What the evidence of this run proves, as the kernel of another node would find.
    pub(crate) fn offences(&self, model: &str) -> Vec<(usize, String)> {
        let proof = PoaPlugin.proof(&context(self.set.len(), &settings(model, ""))).unwrap();
        let checked = self.evidence().into_iter().map(|bytes| {
            assert_eq!(proof.evidence_height(&bytes), Ok(self.height()));
            let found = proof.evidence(&CHAIN, &bytes, &self.set).unwrap();
            let offender = self.set.index_of(&found.offender).unwrap();
            (usize::from(offender.0), found.offence)
        });
        checked.collect()
    }

    pub(crate) fn saved(&self) -> Option<Bytes> {
        self.pick(|action| if let Action::Persist(bytes) = action { Some(bytes.clone()) } else { None }).pop()
    }

    pub(crate) fn commits(&self) -> Vec<Hash> {
        self.pick(|action| if let Action::Commit { hash, .. } = action { Some(*hash) } else { None })
    }
}
