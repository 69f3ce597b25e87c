//! The Consensus slot: which block is next. A pure state machine: events in, actions out.
//!
//! # The kernel's side of the contract
//!
//! - Actions are carried out strictly in order. What is persisted and signed is durable before any later `Broadcast`, `Send` or
//!   `Commit`, of this step or a later one, takes effect; one fsync serves as many as it can: what a step sends may wait for what it
//!   persists and signs after it. All that a step sends is handed to the transport before the next step begins.
//! - [`Action::Sign`] is answered by [`Event::Signed`]. The guard signs only what is strictly above everything it signed before, or the
//!   same again. It may refuse, and it may be late.
//! - `CheckBlock` and `BuildBlock` are answered by `BlockChecked` and `BlockBuilt` in a later step. [`Verdict::NotNow`] is asked
//!   again by the kernel until it has a definite answer, or the height is over.
//! - `Commit` is irrevocable. Block, proof, state and validators become durable in one batch, after which the
//!   engine's saved record counts no more; then comes [`Event::Committed`]. It may come without `Commit`, from catch-up.
//! - An event never arrives while `step` runs. `now` never falls.
//!
//! # The engine's side
//!
//! - `step` does not block, read clocks, draw randomness (a seed is in [`Context`]) or iterate hash maps, and its memory and the
//!   number of its actions are bounded whatever peers send.
//! - Whatever peers send, it does not panic, and commits no block of which its proof does not convince. A panic stops consensus,
//!   not reads.
//! - Without a place among the validators (`me` is `None`) it asks for no signature.
//! - As long as no more fails than its plugin says is tolerated, no two honest nodes commit different blocks at one height.

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use serde::Serialize;

use crate::{
    application::Misbehaviour,
    block::{Block, Header},
    primitives::{ChainId, Hash, Height, Instant, PeerId, Round, Signature, Timestamp, ValidatorIndex},
    settings::Settings,
    validators::ValidatorSet,
};

/// Bytes of an engine's saved record at most.
pub const SAVED_BYTES_MAX: usize = crate::block::BLOCK_BYTES_MAX + (1 << 20);

/// Bytes of a proof of finality at most.
pub const PROOF_BYTES_MAX: usize = 64 << 10;

/// The place of a signature in the one order in which a validator signs.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, BorshSerialize, BorshDeserialize, Serialize,
)]
pub struct Guard {
    /// Height.
    pub height: Height,
    /// Round.
    pub round: Round,
    /// Step of the round, ascending.
    pub step: u8,
    /// Finer order within a step; 0 where a step signs once.
    pub sub: u32,
}

/// What the signer is asked to sign: `"quorate/consensus/1\0" || kind || chain_id || height:u64be || round:u32be || body`.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignRequest {
    /// Its place in the order; height and round are those that are signed.
    pub guard: Guard,
    /// The engine's kind of message.
    pub kind: u8,
    /// The rest of the signed bytes, at most [`SignRequest::BODY_BYTES_MAX`].
    pub body: Vec<u8>,
}

impl SignRequest {
    /// Bytes of a body at most.
    pub const BODY_BYTES_MAX: usize = 256;

    /// The bytes under the signature.
    pub fn sign_bytes(&self, chain_id: &ChainId) -> Vec<u8> {
        sign_bytes(chain_id, self.kind, self.guard.height, self.guard.round, &self.body)
    }

    /// What the guard compares: SHA-256 of the signed bytes.
    pub fn digest(&self, chain_id: &ChainId) -> Hash {
        Hash::of(&[&self.sign_bytes(chain_id)])
    }
}

/// The bytes under a consensus signature, see [`SignRequest`].
pub fn sign_bytes(chain_id: &ChainId, kind: u8, height: Height, round: Round, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(80 + body.len());
    bytes.extend_from_slice(b"quorate/consensus/1\0");
    bytes.push(kind);
    bytes.extend_from_slice(chain_id.as_bytes());
    bytes.extend_from_slice(&height.0.to_be_bytes());
    bytes.extend_from_slice(&round.0.to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// Why the signer did not sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, BorshSerialize, BorshDeserialize)]
#[non_exhaustive]
pub enum SignRefused {
    /// Something at or above this place was signed before, and it was different.
    #[error("already signed at height {} round {} step {}; a second, different signature is refused", last.height, last.round, last.step)]
    Guard {
        /// The last place signed.
        last: Guard,
    },
    /// This node has no validator's key.
    #[error("this node does not sign")]
    NoKey,
    /// The request itself is wrong.
    #[error("signing request is malformed: {0}")]
    Malformed(String),
    /// The signer could not make its guard durable.
    #[error("signer failed: {0}")]
    Failed(String),
}

/// The last final block; genesis before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Tip {
    /// Its height; [`Height::GENESIS`] before the first block.
    pub height: Height,
    /// Its hash; the chain id at genesis.
    pub hash: Hash,
    /// Its time; the genesis time at genesis.
    pub time: Timestamp,
}

/// Names a timer of the engine; setting it again replaces it.
pub type TimerId = u64;

/// Bounds within which a block is made and judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BlockLimits {
    /// Transactions at most.
    pub transactions_max: u32,
    /// Bytes of the encoded block at most.
    pub bytes_max: u32,
    /// How far a header's time may be ahead of the judge's clock, in milliseconds.
    pub drift_ms: u64,
}

/// A judgement of a proposed block after execution.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Verdict {
    /// It may be committed here.
    Valid,
    /// It breaks a rule, for ever.
    Invalid(String),
    /// It can't be judged yet (its time is ahead); the kernel asks again by itself.
    NotNow(String),
}

/// How a block became final here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum CommitBy {
    /// By this engine's [`Action::Commit`].
    Engine,
    /// By catch-up: a peer gave block and proof.
    Sync,
}

/// The state in which an engine starts or goes on to the next height.
#[derive(Debug, Clone)]
pub struct Start {
    /// The last final block.
    pub tip: Tip,
    /// The validators of the height after the tip.
    pub validators: ValidatorSet,
    /// This node's place among them.
    pub me: Option<ValidatorIndex>,
    /// The engine's own record of the height after the tip, if it persisted one.
    pub saved: Option<Bytes>,
    /// Whether this key never signed anything: `false` after any restart.
    pub fresh: bool,
    /// Whether transactions or evidence wait.
    pub pending: bool,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// First, once.
    Start(Start),
    /// Bytes from an authenticated peer: bounded, neither decoded nor checked.
    Message {
        /// Who sent it.
        from: PeerId,
        /// Its place among the validators of the height after the tip.
        validator: Option<ValidatorIndex>,
        /// The message.
        bytes: Bytes,
    },
    /// A timer fired.
    Timer {
        /// Which.
        id: TimerId,
        /// When it should have.
        due: Instant,
    },
    /// The answer to [`Action::BuildBlock`].
    BlockBuilt {
        /// From the action.
        token: u64,
        /// The block, executed and valid here; `None` when it could not be built.
        block: Option<Block>,
    },
    /// The answer to [`Action::CheckBlock`].
    BlockChecked {
        /// Which block.
        hash: Hash,
        /// The judgement.
        verdict: Verdict,
    },
    /// The answer to [`Action::Sign`].
    Signed {
        /// From the request.
        guard: Guard,
        /// Of the signed bytes.
        digest: Hash,
        /// The signature, or why not.
        result: Result<Signature, SignRefused>,
    },
    /// A block is durable and final; the engine goes on above it. By catch-up it may be several heights above the tip before.
    Committed {
        /// The new tip.
        tip: Tip,
        /// The validators of the height after it.
        validators: ValidatorSet,
        /// This node's place among them.
        me: Option<ValidatorIndex>,
        /// How.
        by: CommitBy,
        /// Whether transactions or evidence wait.
        pending: bool,
    },
    /// Transactions or evidence began, or ceased, to wait.
    Work {
        /// Whether any wait now.
        pending: bool,
    },
    /// A connection to a peer stands.
    PeerUp {
        /// Who.
        peer: PeerId,
        /// Its place among the validators.
        validator: Option<ValidatorIndex>,
    },
    /// The last connection to a peer is gone.
    PeerDown {
        /// Who.
        peer: PeerId,
    },
    /// The node stops after this step.
    Stop,
}

/// What shall be done.
#[derive(Debug, Clone)]
pub enum Action {
    /// Make this record, which replaces the one before, durable. At most [`SAVED_BYTES_MAX`] bytes.
    Persist(Bytes),
    /// Sign; answered by [`Event::Signed`].
    Sign(SignRequest),
    /// To every connected peer, before any other class of message. Fewer than
    /// [`MESSAGE_BYTES_MAX`](crate::transport::MESSAGE_BYTES_MAX) bytes: the kernel adds one.
    Broadcast(Bytes),
    /// To one peer.
    Send {
        /// Whom.
        to: PeerId,
        /// The message.
        bytes: Bytes,
    },
    /// Fire at `at`, or at once if past.
    SetTimer {
        /// Which; the same id replaces.
        id: TimerId,
        /// When.
        at: Instant,
    },
    /// Do not fire.
    CancelTimer(TimerId),
    /// Make a block on the tip from what waits; answered by [`Event::BlockBuilt`]. Only one is asked for at a time; a newer one
    /// replaces it.
    BuildBlock {
        /// Returned with the answer.
        token: u64,
        /// For this round.
        round: Round,
        /// Its bounds.
        limits: BlockLimits,
    },
    /// Execute and judge a block on the tip; answered by [`Event::BlockChecked`].
    CheckBlock {
        /// The block.
        block: Block,
        /// The bounds to judge by.
        limits: BlockLimits,
    },
    /// Final. The block was built or found valid here before.
    Commit {
        /// Which.
        hash: Hash,
        /// What convinces [`FinalityProof::verify`]; at most [`PROOF_BYTES_MAX`] bytes.
        proof: Bytes,
    },
    /// Proof that a validator misbehaved, for the pool of evidence.
    Evidence(Bytes),
    /// Peers have final blocks up to `height` at least: catch up.
    NeedSync {
        /// The height known to be final.
        height: Height,
        /// Who said so.
        from: PeerId,
    },
    /// A peer needs final blocks from this height on: send it some.
    Serve {
        /// Whom.
        to: PeerId,
        /// From where.
        from_height: Height,
    },
    /// A peer broke the rules.
    Penalise {
        /// Who.
        peer: PeerId,
        /// How.
        reason: String,
    },
    /// Stop voting for good, go on serving reads, raise the alarm.
    Halt {
        /// Why.
        reason: String,
    },
}

/// How an engine stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize, Serialize)]
pub struct EngineStatus {
    /// The height being decided.
    pub height: Height,
    /// The round.
    pub round: Round,
    /// Whose turn it is.
    pub proposer: Option<ValidatorIndex>,
    /// What it waits for, in a word: `idle`, `propose`, `prepare`, `commit`.
    pub phase: String,
    /// Validators heard from lately, this node among them.
    pub heard_from: Vec<ValidatorIndex>,
    /// Votes a certificate needs.
    pub quorum: u16,
    /// Why no block becomes final, when none does: `1 of 2 needed; silent: validator-2`.
    pub stalled: Option<String>,
    /// Why voting stopped, when it did.
    pub halted: Option<String>,
}

/// Decides which block is next. The contract of every event and action is above.
pub trait Consensus: Send {
    /// Takes one event; appends what shall be done to `out`.
    fn step(&mut self, now: Instant, event: Event, out: &mut Vec<Action>);

    /// How it stands, for people.
    fn status(&self, now: Instant) -> EngineStatus;
}

/// What a proof of finality says, for people and for RPC.
#[derive(Debug, Clone, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Certificate {
    /// The round in which the block was decided.
    pub round: Round,
    /// Who signed, with what.
    pub signatures: Vec<(ValidatorIndex, Signature)>,
}

/// Why a proof of finality or of misbehaviour does not convince.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, BorshSerialize, BorshDeserialize)]
#[non_exhaustive]
pub enum ProofError {
    /// Not the bytes of a proof.
    #[error("proof is malformed: {0}")]
    Malformed(String),
    /// It is about something else.
    #[error("proof is for {found}, not for {expected}")]
    Mismatch {
        /// What it is about.
        found: String,
        /// What it should be about.
        expected: String,
    },
    /// Too few signed.
    #[error("{found} valid signatures; {needed} are needed")]
    NoQuorum {
        /// How many did.
        found: usize,
        /// How many must.
        needed: usize,
    },
    /// A signature is wrong.
    #[error("signature of validator {0} is wrong")]
    BadSignature(ValidatorIndex),
    /// It proves nothing.
    #[error("no misbehaviour: {0}")]
    NoMisbehaviour(String),
    /// The checker itself failed: nothing is known of the proof, and the node stops rather than judge it.
    #[error("the proof could not be checked: {0}")]
    Failed(String),
}

/// Checks proofs. Pure; used by catch-up, receipts, audits and light clients, none of which run the engine.
pub trait FinalityProof: Send + Sync {
    /// Whether `proof` shows that the block with `header` is final, `validators` being those of its height.
    ///
    /// # Errors
    ///
    /// [`ProofError`] says why it does not.
    fn verify(
        &self,
        chain_id: &ChainId,
        header: &Header,
        proof: &[u8],
        validators: &ValidatorSet,
    ) -> Result<(), ProofError>;

    /// As [`FinalityProof::verify`], for blocks with the same validators: the same answers, in the order of `blocks`. A plugin whose proofs
    /// can be checked sooner together than one by one does so.
    fn verify_many(
        &self,
        chain_id: &ChainId,
        blocks: &[(&Header, &[u8])],
        validators: &ValidatorSet,
    ) -> Vec<Result<(), ProofError>> {
        blocks.iter().map(|(header, proof)| self.verify(chain_id, header, proof, validators)).collect()
    }

    /// What a proof says, unchecked.
    ///
    /// # Errors
    ///
    /// [`ProofError::Malformed`].
    fn certificate(&self, proof: &[u8]) -> Result<Certificate, ProofError>;

    /// At which height the evidence says that a validator misbehaved, unchecked.
    ///
    /// # Errors
    ///
    /// [`ProofError::Malformed`].
    fn evidence_height(&self, evidence: &[u8]) -> Result<Height, ProofError>;

    /// What `evidence` proves, `validators` being those of its height.
    ///
    /// # Errors
    ///
    /// [`ProofError`] when it proves nothing.
    fn evidence(
        &self,
        chain_id: &ChainId,
        evidence: &[u8],
        validators: &ValidatorSet,
    ) -> Result<Misbehaviour, ProofError>;
}

/// What an engine is made from.
#[derive(Debug, Clone, BorshSerialize, BorshDeserialize)]
pub struct Context {
    /// The network.
    pub chain_id: ChainId,
    /// The validators of height 1.
    pub validators: ValidatorSet,
    /// `[consensus]` of genesis without `plugin`: what all nodes share.
    pub shared: Settings,
    /// `[consensus]` of the node's file without `plugin` and `library`: what is this node's own.
    pub settings: Settings,
    /// For engines that need randomness: fixed by the kernel, so that a run can be repeated.
    pub seed: u64,
}

impl Context {
    /// What genesis alone says, without settings of a node: all that an auditor or a client needs for
    /// [`crate::plugin::ConsensusPlugin::proof`].
    pub fn of(genesis: &crate::Genesis) -> Self {
        Self {
            chain_id: genesis.chain_id(),
            validators: genesis.validators().clone(),
            shared: genesis.consensus_settings(),
            settings: Settings::from_text(""),
            seed: 0,
        }
    }
}
