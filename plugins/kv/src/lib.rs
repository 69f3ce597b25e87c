//! Application: signed key-value writes, the smallest complete one.
//!
//! A signer owns a space of keys and writes to it by transactions numbered 0, 1, 2, ..; each is signed with Ed25519 and takes effect
//! once. Anybody reads.
//!
//! # Reading order
//!
//! 1. `transaction`: the bytes of a transaction, and how one is signed.
//! 2. `state`: where the state keeps what, and its hash.
//! 3. `application`: what is allowed and what it does.
//! 4. `query`: what can be asked.
//! 5. `plugin`: the setting in genesis.
//!
//! ```
//! use quorate::{Application, ChainId, application::NoState};
//! use quorate_kv::{Kv, Put};
//!
//! let chain_id = ChainId::new([7; 32]);
//! let transaction = Put::sign(&[1; 32], &chain_id, 0, b"colour", b"green");
//! assert_eq!(Kv::new(chain_id, 1024).verify(&NoState, &[transaction]), [Ok(())]);
//! ```

mod application;
mod plugin;
mod query;
mod state;
mod transaction;

pub use application::{Kv, Written};
pub use plugin::KvPlugin;
pub use query::{LIST_MAX, PATHS};
pub use transaction::{KEY_BYTES_MAX, Put, SIGN_TAG, TRANSACTION_BYTES_MAX, VALUE_BYTES_CAP, VERSION};
