//! Application: signed key-value writes. The smallest complete application.
//!
//! Every signer has a key space and a sequence of its own. A transaction is borsh of a [`Put`]; its signature covers
//! `"quorate/kv/1\0" || chain id || borsh of the fields before the signature`.
//!
//! | state key | value |
//! |---|---|
//! | `h` | the application hash |
//! | `n` signer | the next nonce, u64le |
//! | `v` signer, key | the value |
//! | `w` signer, nonce:u64be | id of the transaction that took the nonce |
//!
//! The application hash begins as SHA-256 of `"quorate/kv/genesis\0"`; a block with transactions makes it
//! `SHA-256("quorate/kv/state\0" || hash before || height:u64le || transaction ids)`: it names every write that ever was, in order.
//! A block without transactions leaves it. A receipt is borsh of (signer, nonce).

mod application;
mod put;

pub use application::KvPlugin;
pub use put::{KEY_BYTES_MAX, Put, VALUE_BYTES_MAX};
