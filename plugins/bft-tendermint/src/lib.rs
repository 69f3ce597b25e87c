//! Consensus: Tendermint, for networks in which fewer than a third of the validators may be dishonest.
//!
//! ```text
//!   proposal --> prevotes --> polka (2f+1 for one block: the lock) --> precommits --> 2f+1 for one block: final
//!      ^            |  late, or no block: prevote nil                     |  no polka: precommit nil
//!      |            +-----------------------------------------------------+
//!      |  2f+1 precommits, and not one block: after a timeout the next round, the next validator's turn
//!      +--------------------------------------------------------------------------------------------+
//! ```
//!
//! The rules of locking and voting are not written here: they are those of Malachite's driver
//! (`arc-malachitebft-core-driver`), an implementation of the algorithm of arXiv 1807.04938, tested and specified by its
//! authors. This crate adds what the driver leaves to its user: signing, what is durable before it, proposals with their
//! blocks, repair of what a network loses, catch-up, evidence, pacing and bounds. `SPEC.md` beside this crate has it rule by rule.
//!
//! # Reading order
//!
//! 1. `settings`: `[consensus]` of genesis; `signing`, `certificate`, `message`: what is signed and sent; `describe`: messages in words.
//! 2. `machine`: the driver, in this project's types, and how its lock is brought back after a crash.
//! 3. `record`: what is durable; `engine`: events in, actions out.
//! 4. `evidence`, `proof`: what anybody can check; `plugin`: what the name `bft-tendermint` stands for.

mod certificate;
mod describe;
mod engine;
mod evidence;
mod machine;
mod message;
mod plugin;
mod proof;
mod record;
mod settings;
mod signing;

pub use certificate::QuorumCertificate;
pub use evidence::{Evidence, SignedProposal, SignedVote};
pub use message::{Message, MessageError, Proposal, Status, Vote};
pub use plugin::TendermintPlugin;
pub use settings::{Rules, quorum};
pub use signing::{
    KIND_PRECOMMIT, KIND_PRECOMMIT_NIL, KIND_PREVOTE, KIND_PREVOTE_NIL, KIND_PROPOSAL, STEP_PRECOMMIT, STEP_PREVOTE,
    STEP_PROPOSE, VoteKind, proposal_request, vote_request,
};
