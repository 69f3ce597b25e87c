//! The loop: events to the consensus, its actions carried out in order: persist, then sign, then send; commit, then announce.
//!
//! It runs on a thread of its own, which alone writes to the store and holds the signer. Everything else reads the last final
//! block's [`View`](crate::ledger::View) and hands its inputs over by two bounded queues.

mod catch_up;

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use quorate::{
    Block, Consensus, Hash, Height, Instant, PeerId, TransactionId, ValidatorIndex,
    application::Rejection,
    consensus::{
        Action, BlockLimits, CommitBy, EngineStatus, Event, SAVED_BYTES_MAX, SignRefused, SignRequest, Start, TimerId,
        Verdict,
    },
    node::Head,
    storage::{Batch, StorageError},
    transport::{Class, TransportCommand},
};
use tokio::sync::{mpsc, watch};

use crate::{
    ahead::AtHand,
    execute::StateView,
    layout,
    ledger::{Candidate, Proposal, Untaken, View},
    named::{Framed, HELD_FOR},
    pool::Pool,
    shared::{Board, Clock, Shared},
    signer::Signer,
    sync::CatchUp,
    wire::{BLOCK_BYTES_WANTED, EVIDENCE_PER_MESSAGE, Message, Outgoing, TRANSACTIONS_PER_MESSAGE},
};

/// Consensus messages that may wait.
pub(crate) const MESSAGES_MAX: usize = 1024;

/// Other inputs that may wait.
pub(crate) const CONTROLS_MAX: usize = 1024;

/// Executed blocks kept at one height at most; the oldest goes first.
const CANDIDATES_MAX: usize = 64;

/// Blocks whose time has not come, at most.
const NOT_NOW_MAX: usize = 16;

/// Timers of an engine at most.
const TIMERS_MAX: usize = 1024;

/// Pieces of evidence that wait for a block at most.
const EVIDENCE_WAITING_MAX: usize = EVIDENCE_PER_MESSAGE;

/// Messages of one step that may wait for the guard at most.
const OUTBOX_MAX: usize = 256;

/// Peers remembered for an engine that has not started, at most.
const PEERS_MAX: usize = 1024;

/// A step that takes longer is logged.
const SLOW_STEP: Duration = Duration::from_millis(50);

/// How often the loop looks at what is due without being told: expiry, sharing again, status.
const TICK: Duration = Duration::from_millis(500);

/// Messages which are taken while the engine is busy with what came before, until other inputs get their turn.
const MESSAGES_AHEAD_MAX: usize = 32;

/// A block whose time was ahead is asked about again after this time.
const NOT_NOW_AGAIN: Duration = Duration::from_millis(50);

/// How long a peer is turned away that gave a block or message against the rules.
const BAN_MS: u64 = 10_000;

/// Messages, and other inputs, that are heard between two commits of catch-up at most.
const INPUTS_BETWEEN: usize = 64;

/// Transactions looked at again after a block at most.
const RECHECK_MAX: usize = 256;

/// A consensus message.
pub(crate) struct Envelope {
    pub(crate) from: PeerId,
    pub(crate) validator: Option<ValidatorIndex>,
    pub(crate) bytes: Bytes,
}

/// Any other input of the loop.
pub(crate) enum Control {
    PeerUp(PeerId),
    PeerDown(PeerId),
    PeerStatus {
        peer: PeerId,
        height: Height,
        hash: Hash,
    },
    Blocks {
        peer: PeerId,
        height: Height,
        blocks: Vec<(Bytes, Bytes)>,
    },
    Pruned {
        peer: PeerId,
        height: Height,
        blocks_from: Height,
    },
    Evidence {
        peer: PeerId,
        pieces: Vec<Bytes>,
    },
    Work,
    /// The application can't go on, in words that say why.
    Failed(String),
    Stop,
}

/// Why a node can't go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CoreError {
    /// The store failed, or a plugin by which the chain is read or judged: nothing after its last commit was acknowledged.
    #[error("stopped, with nothing after block {height} said to be final: {source}")]
    Storage {
        /// The last final block.
        height: Height,
        /// What failed.
        #[source]
        source: StorageError,
    },
    /// The guard could not be written: what it says on the medium is unknown, and nothing more may be signed.
    #[error("stopped, because the guard beside the key could not be written; nothing more is signed: {0}")]
    Guard(String),
}

/// What ends the loop.
enum Fault {
    Storage(StorageError),
    Guard(String),
}

impl From<StorageError> for Fault {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// What the loop is made from.
pub(crate) struct Parts {
    pub(crate) shared: Arc<Shared>,
    pub(crate) engine: Box<dyn Consensus>,
    pub(crate) signer: Option<Signer>,
    pub(crate) eager_sync: bool,
    pub(crate) at_hand: AtHand,
    pub(crate) transport: mpsc::Sender<TransportCommand>,
    pub(crate) heads: watch::Sender<Option<Arc<Head>>>,
    pub(crate) messages: mpsc::Receiver<Envelope>,
    pub(crate) controls: mpsc::Receiver<Control>,
    pub(crate) serve: mpsc::Sender<(PeerId, Height, u32)>,
}

pub(crate) struct Core {
    shared: Arc<Shared>,
    engine: Box<dyn Consensus>,
    signer: Option<Signer>,
    view: Arc<View>,
    transport: mpsc::Sender<TransportCommand>,
    heads: watch::Sender<Option<Arc<Head>>>,
    serve: mpsc::Sender<(PeerId, Height, u32)>,
    queue: VecDeque<Event>,
    timers: BTreeMap<TimerId, Instant>,
    candidates: VecDeque<Candidate>,
    not_now: Vec<(Block, BlockLimits)>,
    not_now_at: Option<Instant>,
    evidence: BTreeMap<Hash, Bytes>,
    sync: CatchUp,
    at_hand: AtHand,
    /// What the step at hand sends after something was signed or saved that is not durable yet.
    outbox: Vec<TransportCommand>,
    /// The engine starts at this height: the key signed there already, on a chain that is not here yet.
    asleep_until: Option<Height>,
    /// Who is connected, while the engine has not started.
    peers: BTreeSet<PeerId>,
    told_pending: bool,
    halted: bool,
    conflict: Option<String>,
    next_tick: Instant,
    ticks: u64,
    /// When peers were told of this node's height last.
    height_told: Option<Instant>,
    /// When they are told of a later one.
    height_due: Option<Instant>,
}

/// Runs the loop until [`Control::Stop`]; on a thread of its own, in a single-threaded runtime.
pub(crate) async fn run(parts: Parts) -> Result<(), CoreError> {
    let Parts { shared, engine, signer, eager_sync, at_hand, transport, heads, mut messages, mut controls, serve } =
        parts;
    let view = shared.view();
    let next_tick = shared.clock.now();
    let mut core = Core {
        shared,
        engine,
        signer,
        view,
        transport,
        heads,
        serve,
        queue: VecDeque::new(),
        timers: BTreeMap::new(),
        candidates: VecDeque::new(),
        not_now: Vec::new(),
        not_now_at: None,
        evidence: BTreeMap::new(),
        sync: CatchUp::new(eager_sync),
        at_hand,
        outbox: Vec::new(),
        asleep_until: None,
        peers: BTreeSet::new(),
        told_pending: false,
        halted: false,
        conflict: None,
        next_tick,
        ticks: 0,
        height_told: None,
        height_due: None,
    };
    let result = core.serve(&mut messages, &mut controls).await;
    result.map_err(|fault| match fault {
        Fault::Storage(source) => CoreError::Storage { height: core.view.tip.height, source },
        Fault::Guard(why) => CoreError::Guard(why),
    })
}

impl Core {
    async fn serve(
        &mut self,
        messages: &mut mpsc::Receiver<Envelope>,
        controls: &mut mpsc::Receiver<Control>,
    ) -> Result<(), Fault> {
        self.start()?;
        loop {
            self.drain(messages, MESSAGES_AHEAD_MAX).await?;
            // Once a round: a timer that is due again already keeps nobody else from being heard.
            self.fire_timers();
            self.drain(messages, MESSAGES_AHEAD_MAX).await?;
            self.tick().await?;
            // Before blocks are taken, and after what came meanwhile was heard.
            self.ask_for_blocks().await;
            self.take_blocks().await?;
            if !self.queue.is_empty() || self.at_hand.is_ready() {
                // Something came of it: other inputs get their turn, without waiting for them.
                self.settle().await?;
                if self.hear(messages, controls).await? {
                    break;
                }
                continue;
            }
            self.settle().await?;
            let due = tokio::time::Instant::from_std(self.shared.clock.std(self.due()));
            tokio::select! {
                message = messages.recv() => match message {
                    Some(message) => self.message(message),
                    None => break,
                },
                control = controls.recv() => match control {
                    Some(Control::Stop) | None => break,
                    Some(control) => self.control(control).await?,
                },
                going = self.at_hand.more() => if !going {
                    return Err(StorageError::Plugin("the thread that checks blocks ahead is gone".into()).into());
                },
                () = tokio::time::sleep_until(due) => {}
            }
        }
        self.queue.push_back(Event::Stop);
        self.drain(messages, 0).await?;
        self.settle().await
    }

    /// Takes the inputs that have come, without waiting for any; whether one says to stop.
    async fn hear(
        &mut self,
        messages: &mut mpsc::Receiver<Envelope>,
        controls: &mut mpsc::Receiver<Control>,
    ) -> Result<bool, Fault> {
        let rounds = if self.at_hand.is_ready() { INPUTS_BETWEEN } else { 1 };
        for round in 0..rounds {
            if round > 0 {
                self.drain(messages, 0).await?;
            }
            let (control, message) = (controls.try_recv().ok(), messages.try_recv().ok());
            if control.is_none() && message.is_none() {
                break;
            }
            match control {
                Some(Control::Stop) => return Ok(true),
                Some(control) => self.control(control).await?,
                None => {}
            }
            if let Some(message) = message {
                self.message(message);
            }
        }
        Ok(false)
    }

    fn start(&mut self) -> Result<(), StorageError> {
        let height = self.view.tip.height.next();
        for record in self.view.chain().evidence(EVIDENCE_WAITING_MAX)? {
            if record.included_at.is_none() {
                let offence = layout::offence(&record.misbehaviour.offender, record.misbehaviour.height);
                self.evidence.insert(offence, record.proof.into());
            }
        }
        self.told_pending = self.pending();
        if let Some(signed_height) = self.signer.as_ref().and_then(Signer::height).filter(|signed| *signed > height) {
            tracing::warn!(
                %signed_height, %height,
                "this key signed above the stored chain: the data directory is older than the guard; nothing is signed until the chain has caught up"
            );
            // What binds the engine at that height is in the guard, and an engine learns of it when it starts.
            self.asleep_until = Some(signed_height);
            self.sync.hurry(true);
            return Ok(());
        }
        self.start_engine()
    }

    /// Lets the engine begin above the tip.
    fn start_engine(&mut self) -> Result<(), StorageError> {
        let height = self.view.tip.height.next();
        let in_store = self.view.chain().saved(height)?;
        let saved = match &mut self.signer {
            // Of a node without a key; or of a guard which is new to records, and shall have this one.
            None => in_store,
            Some(signer) if !signer.has_record() => {
                if let Some(record) = &in_store {
                    signer.save(height, record.clone());
                }
                in_store
            }
            Some(signer) => signer.take_saved(height),
        };
        self.queue.push_back(Event::Start(Start {
            tip: self.view.tip,
            validators: self.view.validators.clone(),
            me: self.me(&self.view),
            saved,
            fresh: self.signer.as_ref().and_then(Signer::last).is_none(),
            pending: self.told_pending,
        }));
        for peer in std::mem::take(&mut self.peers) {
            let validator = self.view.validators.index_of(&peer.into());
            self.queue.push_back(Event::PeerUp { peer, validator });
        }
        Ok(())
    }

    fn me(&self, view: &View) -> Option<ValidatorIndex> {
        self.signer.as_ref().and_then(|signer| view.validators.index_of(&signer.public_key()))
    }

    fn pending(&self) -> bool {
        !self.evidence.is_empty() || self.shared.pool().has_ready()
    }

    /// Steps the engine through every event that waits, and carries out what it wants.
    ///
    /// Up to `ahead` messages that come meanwhile take their place behind: what the engine signs because of them shares a wait for the disk
    /// with what it signed before and has not sent yet. One at a time, behind what became due before it.
    async fn drain(&mut self, messages: &mut mpsc::Receiver<Envelope>, mut ahead: usize) -> Result<(), Fault> {
        let is_message = |event: &Event| matches!(event, Event::Message { .. });
        let mut actions = Vec::new();
        while let Some(event) = self.queue.pop_front() {
            if ahead > 0
                && !is_message(&event)
                && !self.queue.iter().any(is_message)
                && let Ok(message) = messages.try_recv()
            {
                ahead -= 1;
                self.message(message);
            }
            if self.halted || self.asleep_until.is_some() {
                continue;
            }
            let now = self.shared.clock.now();
            let engine = &mut self.engine;
            let stepped = catch_unwind(AssertUnwindSafe(|| engine.step(now, event, &mut actions)));
            let took = self.shared.clock.now().since(now);
            self.shared.metrics.step_seconds.observe(took.as_secs_f64());
            if took > SLOW_STEP {
                tracing::warn!(took_ms = took.as_millis(), "a step of the consensus was slow");
            }
            if stepped.is_err() {
                self.halt("the consensus plugin panicked; nothing more is signed".into());
                actions.clear();
            }
            for action in actions.drain(..) {
                self.act(action).await?;
                if self.halted {
                    break;
                }
            }
            // The next step may rest on it that what this one sent is out.
            if !self.outbox.is_empty() {
                self.settle().await?;
            }
            self.publish();
        }
        Ok(())
    }

    async fn act(&mut self, action: Action) -> Result<(), Fault> {
        match action {
            Action::Persist(record) => self.persist(record)?,
            Action::Sign(request) => self.sign(&request),
            Action::Broadcast(bytes) => {
                let bytes = self.framed(&bytes);
                self.send_durably(TransportCommand::Broadcast { class: Class::Consensus, bytes }).await?;
            }
            Action::Send { to, bytes } => {
                // An answer to one who lacks something.
                let bytes = Framed::whole(&bytes);
                self.send_durably(TransportCommand::Send { to, class: Class::Consensus, bytes }).await?;
            }
            Action::SetTimer { id, at } => {
                if self.timers.len() < TIMERS_MAX || self.timers.contains_key(&id) {
                    self.timers.insert(id, at);
                } else {
                    self.halt(format!("the consensus plugin set more than {TIMERS_MAX} timers"));
                }
            }
            Action::CancelTimer(id) => {
                self.timers.remove(&id);
            }
            Action::BuildBlock { token, round, limits } => {
                self.settle().await?;
                self.build(token, round, &limits)?;
            }
            Action::CheckBlock { block, limits } => {
                if !self.is_candidate(&block.hash()) {
                    // It may take long.
                    self.settle().await?;
                }
                self.check(&block, limits)?;
            }
            Action::Commit { hash, proof } => {
                self.settle().await?;
                self.commit_by_engine(&hash, &proof).await?;
            }
            Action::Evidence(bytes) => drop(self.add_evidence(&bytes, true).await?),
            Action::NeedSync { height, from } => self.sync.needed(from, height),
            Action::Serve { to, from_height } => {
                // Nobody waits for it: a peer that gets nothing asks again.
                if self.serve.try_send((to, from_height, BLOCK_BYTES_WANTED)).is_err() {
                    self.shared.metrics.messages_dropped.inc();
                }
            }
            Action::Penalise { peer, reason } => {
                tracing::warn!(%peer, reason, "peer broke the rules of consensus");
                self.send_durably(TransportCommand::Disconnect { peer, reason, ban_ms: BAN_MS }).await?;
            }
            Action::Halt { reason } => self.halt(reason),
        }
        Ok(())
    }

    /// The payload of a message to all, in which transactions that all should hold are named.
    fn framed(&self, message: &Bytes) -> Bytes {
        let now = self.shared.clock.now();
        let before = Instant(now.0.saturating_sub(u64::try_from(HELD_FOR.as_micros()).unwrap_or(u64::MAX)));
        let blocks = self.candidates.iter().map(|known| (&known.block, &known.ids[..]));
        // Locked once for all transactions, and by no message without any.
        let pool = OnceCell::new();
        let held = |id: &TransactionId| pool.get_or_init(|| self.shared.pool()).held_since(id, before);
        self.shared.names().frame(message, blocks, held)
    }

    /// Sends now if all that was signed and saved is durable, else when it is.
    async fn send_durably(&mut self, command: TransportCommand) -> Result<(), Fault> {
        if !self.is_unsettled() {
            self.send(command).await;
            return Ok(());
        }
        self.outbox.push(command);
        if self.outbox.len() >= OUTBOX_MAX { self.settle().await } else { Ok(()) }
    }

    fn is_unsettled(&self) -> bool {
        !self.outbox.is_empty() || self.signer.as_ref().is_some_and(Signer::is_behind)
    }

    /// Makes durable what was signed and saved, by one wait for the medium, then sends what rests on it.
    async fn settle(&mut self) -> Result<(), Fault> {
        if let Some(signer) = &mut self.signer
            && signer.flush().map_err(|error| Fault::Guard(error.to_string()))?
        {
            self.shared.metrics.guard_writes.inc();
        }
        for command in std::mem::take(&mut self.outbox) {
            self.send(command).await;
        }
        Ok(())
    }

    async fn send(&self, command: TransportCommand) {
        if self.transport.send(command).await.is_err() {
            tracing::debug!("transport is gone");
        }
    }

    fn halt(&mut self, reason: String) {
        tracing::error!(reason, "voting stopped; reads go on");
        self.halted = true;
        self.conflict = Some(reason);
        self.publish();
    }

    fn persist(&mut self, record: Bytes) -> Result<(), StorageError> {
        if record.len() > SAVED_BYTES_MAX {
            self.halt(format!(
                "the consensus plugin's record has {} bytes; the limit is {SAVED_BYTES_MAX}",
                record.len()
            ));
            return Ok(());
        }
        self.shared.metrics.persists.inc();
        let height = self.view.tip.height.next();
        if let Some(signer) = &mut self.signer {
            signer.save(height, record);
            return Ok(());
        }
        let mut batch = Batch::new();
        batch.put(layout::SAVED, layout::with_height(height, &record));
        self.shared.ledger.storage.commit(batch)
    }

    fn sign(&mut self, request: &SignRequest) {
        let result = match &mut self.signer {
            Some(signer) => signer.sign(request),
            None => Err(SignRefused::NoKey),
        };
        match &result {
            Ok(_) => self.shared.metrics.signatures.inc(),
            Err(refused) => {
                tracing::warn!(error = refused as &dyn std::error::Error, "signature refused");
                self.shared.metrics.signatures_refused.inc()
            }
        };
        let digest = request.digest(&self.shared.ledger.genesis.chain_id());
        self.queue.push_back(Event::Signed { guard: request.guard, digest, result });
    }

    fn build(&mut self, token: u64, round: quorate::Round, limits: &BlockLimits) -> Result<(), StorageError> {
        let mut answer = |block| self.queue.push_back(Event::BlockBuilt { token, block });
        let Some(creator) = self.signer.as_ref().and_then(|signer| self.view.validators.index_of(&signer.public_key()))
        else {
            answer(None);
            return Ok(());
        };
        let evidence: Vec<Bytes> = self.evidence.values().cloned().collect();
        let reserved = evidence.iter().map(Bytes::len).sum::<usize>() + quorate::block::HEADER_BYTES + 256;
        let room = (limits.bytes_max as usize).saturating_sub(reserved);
        let transactions = self.shared.candidates(&self.view, limits.transactions_max as usize, room)?;
        let proposal = Proposal { creator, round, now: Clock::wall(), transactions, evidence: &evidence };
        match self.shared.ledger.build(&self.view, proposal)? {
            Ok((candidate, left_out)) => {
                answer(Some(candidate.block.clone()));
                self.remember(candidate);
                self.drop_left_out(&left_out)?;
            }
            Err(why) => {
                tracing::error!(why, "a block could not be built");
                answer(None);
            }
        }
        Ok(())
    }

    /// Drops from the pool what could not go into a block and never will.
    fn drop_left_out(&self, ids: &[TransactionId]) -> Result<(), StorageError> {
        let state = StateView(self.view.snapshot.as_ref());
        let mut pool = self.shared.pool();
        for id in ids {
            let Some(bytes) = pool.get(id).cloned() else { continue };
            self.check_again(&mut pool, &state, id, &bytes)?;
        }
        Ok(())
    }

    /// Drops a transaction from the pool if the state refuses it.
    fn check_again(
        &self,
        pool: &mut Pool,
        state: &StateView<'_>,
        id: &TransactionId,
        bytes: &[u8],
    ) -> Result<(), StorageError> {
        match self.shared.ledger.application.check(state, Clock::wall(), bytes) {
            Ok(admission) => pool.update(id, &admission),
            // Says nothing of the transaction: the application itself failed.
            Err(Rejection::State(why)) => return Err(StorageError::Plugin(why)),
            Err(rejection) => {
                tracing::debug!(%id, %rejection, "transaction dropped");
                pool.remove(id);
            }
        }
        Ok(())
    }

    fn is_candidate(&self, hash: &Hash) -> bool {
        self.candidates.iter().any(|known| known.block.hash() == *hash)
    }

    fn remember(&mut self, candidate: Candidate) {
        if self.candidates.len() >= CANDIDATES_MAX {
            self.candidates.pop_front();
        }
        self.candidates.push_back(candidate);
    }

    fn check(&mut self, block: &Block, limits: BlockLimits) -> Result<(), StorageError> {
        let hash = block.hash();
        let verdict = match self.candidates.iter().position(|known| known.block.hash() == hash) {
            Some(at) => {
                // The one used last goes last.
                if let Some(known) = self.candidates.remove(at) {
                    self.candidates.push_back(known);
                }
                Verdict::Valid
            }
            None => {
                let knowing = |tip: Height, ids: &[TransactionId], bytes: &[Bytes]| self.shared.known(tip, ids, bytes);
                match self.shared.ledger.judge(&self.view, block, &limits, Clock::wall(), &knowing)? {
                    Ok(candidate) => {
                        self.remember(candidate);
                        Verdict::Valid
                    }
                    Err(verdict) => verdict,
                }
            }
        };
        match &verdict {
            Verdict::Invalid(why) => {
                tracing::warn!(height = %block.height(), %hash, why, "proposed block is invalid");
            }
            Verdict::NotNow(_) => {
                if !self.not_now.iter().any(|(known, _)| known.hash() == hash) && self.not_now.len() < NOT_NOW_MAX {
                    self.not_now.push((block.clone(), limits));
                }
                self.not_now_at = Some(self.shared.clock.now().after(NOT_NOW_AGAIN));
                return Ok(());
            }
            Verdict::Valid => {}
        }
        self.queue.push_back(Event::BlockChecked { hash, verdict });
        Ok(())
    }

    async fn commit_by_engine(&mut self, hash: &Hash, proof: &Bytes) -> Result<(), StorageError> {
        let found = self.candidates.iter().position(|candidate| candidate.block.hash() == *hash);
        match found.and_then(|at| self.candidates.remove(at)) {
            Some(candidate) => {
                self.sync.engine_advanced();
                self.shared.metrics.blocks_by_engine.inc();
                self.commit(candidate, proof, CommitBy::Engine).await
            }
            // Catch-up was there first, and the engine will hear of it.
            None if self.view.chain().height_of(hash)?.is_some() => Ok(()),
            None => {
                self.halt(format!("the consensus plugin committed block {hash}, which this node did not find valid"));
                Ok(())
            }
        }
    }

    async fn commit(&mut self, mut candidate: Candidate, proof: &Bytes, by: CommitBy) -> Result<(), StorageError> {
        let batch = self.shared.ledger.batch(&self.view, &mut candidate, proof);
        self.make_final(&[candidate], batch, by).await
    }

    /// Commits the next blocks by `batch`, then tells everyone.
    async fn make_final(&mut self, blocks: &[Candidate], batch: Batch, by: CommitBy) -> Result<(), StorageError> {
        let began = self.shared.clock.now();
        let validators_hash = self.view.validators.hash();
        let ledger = &self.shared.ledger;
        ledger.storage.commit(batch)?;
        let view = ledger.view()?;
        self.shared.set_view(view);
        self.view = self.shared.view();
        let metrics = &self.shared.metrics;
        metrics.commit_seconds.observe(self.shared.clock.now().since(began).as_secs_f64());
        metrics.height.set(i64::try_from(self.view.tip.height.0).unwrap_or(i64::MAX));
        self.candidates.clear();
        self.not_now.clear();
        self.not_now_at = None;
        self.clean_pool(blocks)?;
        for candidate in blocks {
            let header = candidate.block.header();
            let (height, hash, transactions) = (header.height, candidate.block.hash(), candidate.ids.len());
            self.shared.metrics.transactions.inc_by(transactions as u64);
            tracing::info!(%height, %hash, transactions, round = header.created_round.0, ?by, "block committed");
            for (proven, _) in candidate.misbehaviour.iter().zip(candidate.block.evidence()) {
                self.evidence.remove(&layout::offence(&proven.offender, proven.height));
            }
            let head = Arc::new(Head { header: header.clone(), hash, transaction_ids: candidate.ids.clone().into() });
            self.heads.send_replace(Some(Arc::clone(&head)));
            self.send(TransportCommand::Committed(head)).await;
        }
        let now = self.shared.clock.now();
        let again = self.height_told.map_or(now, |told| told.after(HEIGHT_EVERY));
        self.height_due.get_or_insert(again);
        self.tell_height(now).await;
        if self.view.validators.hash() != validators_hash {
            tracing::info!(height = %self.view.tip.height, count = self.view.validators.len(), "validators changed");
            self.send(TransportCommand::Validators(validator_peers(&self.view))).await;
        }
        self.told_pending = self.pending();
        if let Some(height) = self.asleep_until {
            if self.view.tip.height.next() >= height {
                tracing::info!(height = %self.view.tip.height, "the chain has caught up with what this key signed");
                self.asleep_until = None;
                self.sync.hurry(false);
                // The start comes first, and says what came meanwhile.
                self.queue.clear();
                self.start_engine()?;
            }
            return Ok(());
        }
        self.queue.push_back(Event::Committed {
            tip: self.view.tip,
            validators: self.view.validators.clone(),
            me: self.me(&self.view),
            by,
            pending: self.told_pending,
        });
        Ok(())
    }

    /// Takes out of the pool what is final, and what the new state refuses.
    fn clean_pool(&self, blocks: &[Candidate]) -> Result<(), StorageError> {
        let state = StateView(self.view.snapshot.as_ref());
        let mut pool = self.shared.pool();
        pool.committed(blocks.iter().flat_map(|candidate| &candidate.ids));
        pool.came_to(self.view.tip.height);
        for (id, bytes) in pool.out_of_step(RECHECK_MAX) {
            self.check_again(&mut pool, &state, &id, &bytes)?;
        }
        let status = pool.status(0);
        self.shared.metrics.pool_transactions.set(i64::try_from(status.count).unwrap_or(i64::MAX));
        self.shared.metrics.pool_bytes.set(i64::try_from(status.bytes).unwrap_or(i64::MAX));
        Ok(())
    }

    /// Takes a piece of evidence, if it is new; or why it proves nothing, whoever looks at it.
    async fn add_evidence(&mut self, bytes: &Bytes, share: bool) -> Result<Result<(), String>, Fault> {
        if self.evidence.len() >= EVIDENCE_WAITING_MAX || self.evidence.values().any(|known| known == bytes) {
            return Ok(Ok(()));
        }
        let proven = match self.shared.ledger.evidence(&self.view, bytes)? {
            Ok(proven) => proven,
            Err(why) => {
                tracing::debug!(%why, "evidence not taken");
                return Ok(if let Untaken::False(why) = why { Err(why) } else { Ok(()) });
            }
        };
        let offence = layout::offence(&proven.offender, proven.height);
        if self.evidence.contains_key(&offence) {
            return Ok(Ok(()));
        }
        tracing::warn!(
            offender = %proven.offender, height = %proven.height, offence = proven.offence,
            "a validator misbehaved; the proof is kept"
        );
        self.settle().await?;
        let record = crate::ledger::record(&self.view, &proven, bytes, None);
        let mut batch = Batch::new();
        batch.put(layout::pending_evidence(&offence), layout::to_borsh(&record));
        self.shared.ledger.storage.commit(batch)?;
        self.shared.set_view(self.shared.ledger.view()?);
        self.view = self.shared.view();
        self.evidence.insert(offence, bytes.clone());
        if share {
            let bytes = Message::Evidence(vec![bytes.clone()]).encode();
            self.send(TransportCommand::Broadcast { class: Class::Pool, bytes }).await;
        }
        self.tell_work();
        Ok(Ok(()))
    }

    fn tell_work(&mut self) {
        let pending = self.pending();
        if pending != self.told_pending {
            self.told_pending = pending;
            self.queue.push_back(Event::Work { pending });
        }
    }

    /// A message, after what has become due while the loop waited for it.
    fn message(&mut self, envelope: Envelope) {
        let Envelope { from, validator, bytes } = envelope;
        self.fire_timers();
        self.queue.push_back(Event::Message { from, validator, bytes });
    }

    async fn control(&mut self, control: Control) -> Result<(), Fault> {
        match control {
            Control::PeerUp(peer) => {
                if self.asleep_until.is_some() {
                    if self.peers.len() < PEERS_MAX {
                        self.peers.insert(peer);
                    }
                    return Ok(());
                }
                let validator = self.view.validators.index_of(&peer.into());
                self.queue.push_back(Event::PeerUp { peer, validator });
            }
            Control::PeerDown(peer) => {
                self.peers.remove(&peer);
                self.sync.gone(&peer);
                self.queue.push_back(Event::PeerDown { peer });
            }
            Control::PeerStatus { peer, height, hash } => {
                self.sync.heard(peer, height);
                self.look_for_fork(peer, height, &hash).await?;
            }
            Control::Blocks { peer, height, blocks } => self.blocks_came(peer, height, blocks).await?,
            Control::Pruned { peer, height, blocks_from } => {
                let tip = self.view.tip.height;
                let before = self.sync.out_of_reach(tip);
                if !self.sync.has_only(self.shared.clock.now(), peer, height, blocks_from) {
                    return Ok(());
                }
                tracing::debug!(%peer, %blocks_from, "peer has removed the block that was asked for");
                if let Some(blocks_from) = self.sync.out_of_reach(tip).filter(|from| Some(*from) != before) {
                    tracing::warn!(height = %tip, %blocks_from, "no connected peer has the next block: all have removed it");
                }
            }
            Control::Evidence { peer, pieces } => {
                for bytes in pieces {
                    if let Err(why) = self.add_evidence(&bytes, false).await? {
                        let reason = format!("gave evidence that proves nothing: {why}");
                        self.send(TransportCommand::Disconnect { peer, reason, ban_ms: BAN_MS }).await;
                        break;
                    }
                }
            }
            Control::Work => self.tell_work(),
            Control::Failed(why) => return Err(StorageError::Plugin(why).into()),
            Control::Stop => {}
        }
        Ok(())
    }

    fn due(&self) -> Instant {
        let timers = self.timers.values().copied();
        // A halted node asks for no blocks, and would wake for them again and again.
        let sync = if self.halted { None } else { self.sync.due(self.progress()) };
        let others = [self.not_now_at, self.height_due, sync].into_iter().flatten();
        timers.chain(others).min().unwrap_or(self.next_tick).min(self.next_tick)
    }

    fn fire_timers(&mut self) {
        let now = self.shared.clock.now();
        let due: Vec<(TimerId, Instant)> =
            self.timers.iter().filter(|(_, at)| **at <= now).map(|(id, at)| (*id, *at)).collect();
        for (id, due) in due {
            self.timers.remove(&id);
            self.queue.push_back(Event::Timer { id, due });
        }
    }

    async fn tick(&mut self) -> Result<(), Fault> {
        let now = self.shared.clock.now();
        if self.not_now_at.is_some_and(|at| at <= now) {
            self.not_now_at = None;
            self.settle().await?;
            for (block, limits) in std::mem::take(&mut self.not_now) {
                self.check(&block, limits)?;
            }
        }
        self.tell_height(now).await;
        if now < self.next_tick {
            return Ok(());
        }
        self.next_tick = now.after(TICK);
        self.ticks += 1;
        let dropped = self.shared.pool().expire(now);
        if dropped > 0 {
            tracing::info!(dropped, "transactions dropped: their predecessors did not come");
        }
        if self.ticks.is_multiple_of(SHARE_AGAIN_TICKS) {
            self.share_again(now).await;
        }
        self.tell_work();
        self.publish();
        Ok(())
    }

    /// Shares again what waits for long, and says how high this node is: a lost message is made good.
    async fn share_again(&mut self, now: Instant) {
        let before = Instant(now.0.saturating_sub(u64::try_from(SHARE_AGAIN_AFTER.as_micros()).unwrap_or(u64::MAX)));
        let mut outgoing = Outgoing::default();
        let old = self.shared.pool().older(before, TRANSACTIONS_PER_MESSAGE);
        old.iter().for_each(|transaction| outgoing.add(transaction));
        let mut messages = outgoing.finish();
        if !self.evidence.is_empty() {
            messages.push(Message::Evidence(self.evidence.values().cloned().collect()).encode());
        }
        for bytes in messages {
            self.send(TransportCommand::Broadcast { class: Class::Pool, bytes }).await;
        }
        self.height_due = Some(now);
        self.tell_height(now).await;
    }

    /// Tells peers of the tip when it is time. Of blocks that follow each other closely the engines tell; the last is told in any case.
    async fn tell_height(&mut self, now: Instant) {
        if self.height_due.is_none_or(|due| due > now) {
            return;
        }
        (self.height_due, self.height_told) = (None, Some(now));
        let status = Message::Status { height: self.view.tip.height, hash: self.view.tip.hash }.encode();
        self.send(TransportCommand::Broadcast { class: Class::Sync, bytes: status }).await;
    }

    fn publish(&self) {
        let now = self.shared.clock.now();
        let tip = self.view.tip.height;
        let engine = match self.asleep_until {
            Some(signed_height) => EngineStatus {
                height: tip.next(),
                phase: "catch-up".into(),
                stalled: Some(format!(
                    "this key was at height {signed_height} already: nothing is signed until the chain has caught up"
                )),
                ..EngineStatus::default()
            },
            None => self.engine.status(now),
        };
        self.shared.metrics.round.set(engine.round.0.into());
        let out_of_reach = self.sync.out_of_reach(tip);
        *self.shared.board() = Board {
            syncing: out_of_reach.is_some()
                || (self.sync.is_active() || !self.at_hand.is_empty()) && self.sync.best() > tip.next(),
            out_of_reach,
            best_known: self.sync.best(),
            conflict: self.conflict.clone(),
            engine,
        };
    }
}

/// Peers are told of this node's height no more often than this.
const HEIGHT_EVERY: Duration = Duration::from_millis(50);

/// How many ticks lie between sharing what waits.
const SHARE_AGAIN_TICKS: u64 = 10;

/// What waited longer than this is shared again.
const SHARE_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The validators of the next height as peers.
pub(crate) fn validator_peers(view: &View) -> Arc<[PeerId]> {
    view.validators.iter().map(|(_, one)| PeerId::from(one.public_key)).collect()
}

#[cfg(test)]
mod tests {
    use quorate::application::Admission;

    use super::*;
    use crate::sample::{self, Judge};

    /// Wants this when it starts, and nothing after.
    struct Scripted(Vec<Action>);

    impl Consensus for Scripted {
        fn step(&mut self, _: Instant, _: Event, out: &mut Vec<Action>) {
            out.append(&mut self.0);
        }

        fn status(&self, _: Instant) -> EngineStatus {
            EngineStatus::default()
        }
    }

    /// A loop without a key whose engine wants this.
    fn parts(
        shared: &Arc<Shared>,
        script: Vec<Action>,
        transport: mpsc::Sender<TransportCommand>,
        messages: mpsc::Receiver<Envelope>,
        controls: mpsc::Receiver<Control>,
    ) -> Parts {
        Parts {
            at_hand: AtHand::start(Arc::clone(shared)).unwrap(),
            shared: Arc::clone(shared),
            engine: Box::new(Scripted(script)),
            signer: None,
            eager_sync: false,
            transport,
            heads: watch::Sender::new(None),
            messages,
            controls,
            serve: mpsc::channel(1).0,
        }
    }

    /// Runs the loop until it has heard all; what it sent.
    async fn run_through(
        shared: &Arc<Shared>,
        script: Vec<Action>,
        heard: Vec<Control>,
    ) -> (Result<(), CoreError>, Vec<TransportCommand>) {
        let (_messages, messages_rx) = mpsc::channel(1);
        let (controls, controls_rx) = mpsc::channel(64);
        let (commands, mut transport) = mpsc::channel(64);
        heard.into_iter().chain([Control::Stop]).for_each(|control| assert!(controls.try_send(control).is_ok()));
        let result = run(parts(shared, script, commands, messages_rx, controls_rx)).await;
        (result, std::iter::from_fn(|| transport.try_recv().ok()).collect())
    }

    /// Whom the loop turns away for these pieces of evidence, at height 3.
    async fn turned_away(pieces: &[&'static [u8]]) -> Option<(PeerId, String)> {
        let pieces = pieces.iter().map(|piece| Bytes::from_static(piece)).collect();
        turned_away_for(Control::Evidence { peer: PeerId::new([7; 32]), pieces }).await
    }

    async fn turned_away_for(what: Control) -> Option<(PeerId, String)> {
        let shared = Arc::new(sample::shared(Arc::new(Judge)));
        let heard = vec![what];
        let (result, sent) = run_through(&shared, Vec::new(), heard).await;
        result.unwrap();
        let mut found = None;
        for command in sent {
            if let TransportCommand::Disconnect { peer, reason, .. } = command {
                assert!(found.replace((peer, reason)).is_none(), "it is told once");
            }
        }
        found
    }

    #[tokio::test]
    async fn who_gives_evidence_that_proves_nothing_is_turned_away() {
        let liar = PeerId::new([7; 32]);
        let why = |why| Some((liar, format!("gave evidence that proves nothing: {why}")));
        assert_eq!(turned_away(&[b"2"]).await, why("no misbehaviour: nothing happened"));
        assert_eq!(turned_away(&[b"9", b"2", b"2"]).await, why("no misbehaviour: nothing happened"));
        assert_eq!(turned_away(&[b"?"]).await, why("proof is malformed: no height"));
        // Of a height to which this node has not come it knows nothing.
        assert_eq!(turned_away(&[b"9", b"0"]).await, None);
        assert_eq!(turned_away(&[]).await, None);
    }

    /// Blocks that nobody asked for: those below the tip are compared with this node's, and whoever makes some up is not heard again.
    #[tokio::test]
    async fn who_gives_false_blocks_below_the_tip_is_turned_away() {
        let liar = PeerId::new([7; 32]);
        let given = |height: u64, count: usize| {
            let one = (sample::block(height, Hash::ZERO, &[], &[]).encoded().clone(), Bytes::new());
            Control::Blocks { peer: liar, height: Height(9), blocks: vec![one; count] }
        };
        let (peer, why) = turned_away_for(given(2, 512)).await.unwrap();
        assert_eq!(peer, liar);
        assert!(why.contains("block 2 0x") && why.contains("is not ours: "), "{why}");
        // Of blocks above nothing is known yet.
        assert_eq!(turned_away_for(given(9, 1)).await, None);
    }

    /// Of blocks that follow each other closely the first is told at once, and the last when it is time.
    #[tokio::test]
    async fn peers_hear_of_the_first_block_and_of_the_last() {
        let shared = Arc::new(sample::shared(Arc::new(Judge)));
        let limits = BlockLimits { transactions_max: 1, bytes_max: 1 << 20, drift_ms: 0 };
        let (mut parent_hash, mut script) = (shared.view().tip.hash, Vec::new());
        for height in 4..8 {
            let block = sample::next_block(&shared.view(), height, parent_hash);
            parent_hash = block.hash();
            script.push(Action::CheckBlock { block, limits });
            script.push(Action::Commit { hash: parent_hash, proof: Bytes::new() });
        }
        let (controls, controls_rx) = mpsc::channel(1);
        let (commands, mut transport) = mpsc::channel(64);
        let (_messages, messages_rx) = mpsc::channel(1);
        let parts = parts(&shared, script, commands, messages_rx, controls_rx);
        // Sooner than it is told again in any case.
        let wait = TICK * (SHARE_AGAIN_TICKS as u32 - 2);
        let mut told = Vec::new();
        let listens = async {
            while told.last() != Some(&Height(7)) {
                let command = tokio::time::timeout(wait, transport.recv()).await.unwrap().unwrap();
                if let TransportCommand::Broadcast { class: Class::Sync, bytes } = command
                    && let Some(Message::Status { height, .. }) = Message::decode(&bytes)
                {
                    told.push(height);
                }
            }
            assert!(controls.send(Control::Stop).await.is_ok());
        };
        let (result, ()) = tokio::join!(run(parts), listens);
        result.unwrap();
        assert_eq!(told.first(), Some(&Height(4)));
        assert!(told.len() < 4, "{told:?}");
    }

    /// That nothing can be said of a transaction is no reason to drop it, and whoever can't read the state says nothing of blocks either.
    #[tokio::test]
    async fn an_application_that_can_not_look_again_at_what_waits_stops_the_loop() {
        let shared = Arc::new(sample::shared(Arc::new(Judge)));
        let (view, id) = (shared.view(), TransactionId::new([9; 32]));
        let gap = Admission { sequence: 1, ..Admission::default() };
        shared.pool().insert(Instant(1), Height(3), (id, Bytes::from_static(b"state")), gap).unwrap();
        let block = sample::next_block(&view, 4, view.tip.hash);
        let limits = BlockLimits { transactions_max: 1, bytes_max: 1 << 20, drift_ms: 0 };
        let commit = Action::Commit { hash: block.hash(), proof: Bytes::new() };
        let script = vec![Action::CheckBlock { block, limits }, commit];
        match run_through(&shared, script, Vec::new()).await.0 {
            Err(CoreError::Storage { height, source: StorageError::Plugin(why) }) => {
                assert_eq!((height, why.as_str()), (Height(4), "as it was told to"));
            }
            other => panic!("{other:?}"),
        }
        assert!(shared.pool().get(&id).is_some());
    }
}
