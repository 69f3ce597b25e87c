//! Storage: a redb file and a journal before it, durable when a commit returns.
//!
//! ```text
//!  kernel --Batch--> store --> redb (B+tree, copy on write) --> medium --> chain.redb, durable from time to time
//!                     | |                                         |
//!                     | |                            holds back writes while opening
//!                     | +--> journal --> chain.journal, durable when a commit returns
//!                  poisoned after a failure
//! ```
//!
//! Reading order: `FORMAT.md` beside `Cargo.toml` (the bytes, and what is assumed of the disk), `plugin` (settings), `opening`
//! (locking and atomic creation), `store` (commit), `journal` (its frames), `view` (reads), `medium` (the file as redb sees it), `record` (a value's
//! bytes), `failure` (errors).

mod failure;
mod journal;
mod medium;
mod opening;
mod plugin;
mod record;
mod store;
mod view;

#[cfg(test)]
mod fault_tests;

pub use opening::{FILE, FILE_JOURNAL, FILE_NEW};
pub use plugin::{
    CACHE_BYTES, CACHE_BYTES_DEFAULT, CHECK_BYTES_MAX_DEFAULT, JOURNAL_BYTES, JOURNAL_BYTES_DEFAULT, RedbPlugin,
};
pub use store::FORMAT;
