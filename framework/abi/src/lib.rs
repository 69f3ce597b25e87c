//! The binary boundary: plugins in shared libraries, from the author's side and from the node's.
//!
//! ```text
//!   plugin crate            cdylib crate of one line          node
//!   impl ConsensusPlugin -> export!(consensus: MyPlugin) ---> load(..) -> Arc<dyn ConsensusPlugin>
//!                           guest: functions around the       host: the same trait around
//!                           trait, no panic leaves them       the functions
//!                                   \______ raw: C structures ______/
//!                                    wire: borsh heads, large bytes beside
//! ```
//!
//! An author implements a trait of [`quorate::plugin`], as a bundled plugin does, and names the plugin in [`export!`] in a crate of
//! its own, whose type is `cdylib`. The plugin's crate is linked into a node, or loaded by one, without a changed line.
//!
//! Nothing of Rust crosses: no type, panic, future, or memory that the other side would free. What crosses is bytes, borrowed for one
//! call (`ABI.md`). A plugin that panics, answers rubbish or breaks its promises is not called again: the node says so and stops what
//! that plugin did. It is not a sandbox: a library shares the node's memory, and an operator trusts it like the node itself.
//!
//! # Reading order
//!
//! 1. [`raw`]: the structures of the C header, which is made from them.
//! 2. [`wire`]: the encodings. `ffi`: borrowed bytes and sinks.
//! 3. [`guest`]: the frame around every function of a plugin, then a file a slot.
//! 4. [`host`]: looking at a file and loading it, the frame around every call, then a file a slot; trying it in a child process.

pub mod guest;
#[cfg(feature = "host")]
pub mod host;
pub mod raw;
pub mod slot;
pub mod wire;

mod ffi;

pub use quorate;
pub use slot::Slot;
