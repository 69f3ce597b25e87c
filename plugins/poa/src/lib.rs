//! Consensus: validators take turns, a quorum makes each block final.
//!
//! ```text
//!   proposal --> prepare votes --> prepare certificate (the lock) --> commit votes --> commit certificate: final
//!      ^              (quorum)                                            (quorum)
//!      |  too slow: timeouts (quorum) --> timeout certificate --> the next validator's turn
//!      +-----------------------------------------------------------------+
//! ```
//!
//! The protocol is described, rule by rule, in `SPEC.md` beside this crate. It is a pure state machine: it implements
//! [`quorate::Consensus`], and nothing in it reads a clock, draws randomness or opens a socket.
//!
//! # Reading order
//!
//! 1. `model`: the three fault models and the few numbers in which they differ; `settings`: `[consensus]` of genesis.
//! 2. `signing`, `certificate`, `message`: what is signed, what many signatures prove, what is sent.
//! 3. `engine`: the state machine, a file for each of rounds, proposals, votes, timeouts and repair.
//! 4. `evidence`, `proof`: what anybody can check who does not run the engine; `plugin`: what the name `poa` stands for.

mod certificate;
mod describe;
mod engine;
mod evidence;
#[cfg(feature = "planted-bugs")]
mod explore;
mod message;
mod model;
mod planted;
mod plugin;
mod proof;
mod settings;
mod signing;

pub use certificate::{QuorumCertificate, TimeoutCertificate, TimeoutEntry, VoteKind};
pub use evidence::{Evidence, SignedHash, SignedProposal};
#[cfg(feature = "planted-bugs")]
pub use explore::Explored;
pub use message::{Message, MessageError, NewRound, Proposal, Timeout, Vote};
pub use model::FaultModel;
#[cfg(feature = "planted-bugs")]
pub use planted::{PlantedBug, build_with_bug};
pub use plugin::PoaPlugin;
pub use settings::Rules;
pub use signing::{
    KIND_COMMIT, KIND_PREPARE, KIND_PROPOSAL, KIND_TIMEOUT, STEP_COMMIT, STEP_PREPARE, STEP_PROPOSE, STEP_TIMEOUT,
    proposal_request, timeout_request, vote_request,
};
