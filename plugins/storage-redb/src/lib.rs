//! Storage: one redb file, durable when a commit returns.
//!
//! ```text
//!  kernel --Batch--> store --> redb (B+tree, copy on write) --> medium --> chain.redb
//!                     |                                           |
//!                  poisoned after a failure          holds back writes while opening
//! ```
//!
//! Reading order: `FORMAT.md` beside `Cargo.toml` (the bytes, and what is assumed of the disk), `plugin` (settings), `opening`
//! (locking and atomic creation), `store` (commit), `view` (reads), `medium` (the file as redb sees it), `record` (a value's
//! bytes), `failure` (errors).

mod failure;
mod medium;
mod opening;
mod plugin;
mod record;
mod store;
mod view;

#[cfg(test)]
mod fault_tests;

pub use opening::{FILE, FILE_NEW};
pub use plugin::{CACHE_BYTES, CACHE_BYTES_DEFAULT, CHECK_BYTES_MAX_DEFAULT, RedbPlugin};
pub use store::FORMAT;
