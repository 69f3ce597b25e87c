//! What the commands of elections share: files of people, files of secrets, and what a node is asked.

mod chain;
mod files;
mod secret;
mod spec;

pub use chain::{Elections, Sent, SubmitArgs, TransactionFile, at_ms};
pub use files::{Hex, read_file, write_file, write_secret_file};
pub use secret::{PassphraseArgs, Role, SecretFile, Unlocked};
pub use spec::{EXAMPLE as DRAFT_EXAMPLE, draft_of};
