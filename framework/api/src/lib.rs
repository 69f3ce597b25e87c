//! What a Quorate plugin reads and links: types, canonical bytes, and the traits of the slots.
//!
//! A node is a kernel and a set of plugins, one in each slot, which its TOML file names:
//!
//! ```text
//!  clients                         other nodes
//!     |  JSON-RPC                      |  authenticated messages
//!  +--v--------------------------------v--+       +-----------+
//!  |               Transport              |<----->| Discovery |  who and where
//!  +--+--------------------------------^--+       +-----------+
//!     | Request                        | Send, Broadcast
//!  +--v--------------------------------+--+ Event +-----------+
//!  |  kernel: one loop, pool, signer,     |------>| Consensus |  which block is next
//!  |  catch-up; persist, sign, send       |<------|           |  (pure)
//!  +--+-----------------------+-----------+ Action+-----------+
//!     | build, check, execute | one atomic batch a block
//!  +--v----------+      +-----v-----+             +-----------+
//!  | Application |      |  Storage  |             |  Services |  run beside
//!  +-------------+      +-----------+             +-----------+
//! ```
//!
//! # Reading order
//!
//! 1. [`primitives`]: hashes, heights, keys, signatures; [`block`]: what is agreed on.
//! 2. The synchronous slots: [`consensus`], [`application`], [`storage`].
//! 3. The slots that run beside the kernel's loop as actors: [`transport`], [`discovery`], [`service`];
//!    what they may ask of the node is in [`node`].
//! 4. [`plugin`]: what a TOML name resolves to; [`settings`]: a plugin's own table, with errors that point into it; [`schema`]: its form,
//!    for programs; [`pacing`]: what consensus plugins say alike of their blocks; [`engine`]: parts that engines have in common.
//! 5. [`genesis`] and [`receipt`]: what anybody can check offline.
//!
//! A new consensus, store or application needs nothing of tokio and no `unsafe`.

pub mod application;
pub mod block;
pub mod consensus;
pub mod diagnostics;
pub mod discovery;
pub mod engine;
pub mod genesis;
pub mod merkle;
pub mod node;
pub mod pacing;
pub mod plugin;
pub mod primitives;
pub mod receipt;
pub mod schema;
pub mod service;
pub mod settings;
pub mod signature;
pub mod storage;
pub mod transport;
pub mod validators;

pub use application::Application;
pub use block::{Block, Header};
pub use consensus::{Consensus, FinalityProof};
pub use discovery::Discovery;
pub use genesis::Genesis;
pub use primitives::{
    ChainId, Hash, Height, Instant, PeerId, PublicKey, Round, Signature, Timestamp, TransactionId, ValidatorIndex,
};
pub use receipt::Receipt;
pub use service::Service;
pub use settings::Settings;
pub use storage::Storage;
pub use transport::Transport;
pub use validators::{Validator, ValidatorSet};

/// Re-exported so that a plugin uses the same version as the traits.
pub use {async_trait::async_trait, borsh, bytes, bytes::Bytes};
