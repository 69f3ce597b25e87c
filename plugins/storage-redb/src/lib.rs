//! Storage: a redb file and a journal before it, durable when a commit returns.
//!
//! ```text
//!  kernel --Batch--> store --> journal --> chain.journal, chain.journal2: durable when a commit returns
//!                      |
//!                      +--> rows in memory --flush, in a thread--> redb (B+tree, copy on write) --> medium --> chain.redb
//!                                  ^                                            ^                     |
//!                      view -------+--------------------------------------------+         holds back writes while opening
//! ```
//!
//! A commit is one append and one `fdatasync`; the tree, of which each row may need a page, is written from time to time with all rows that came since, in
//! their order, while further commits go on. After a failure the store is poisoned.
//!
//! Reading order: `FORMAT.md` beside `Cargo.toml` (the bytes, and what is assumed of the disk), `plugin` (settings), `opening`
//! (locking and atomic creation), `store` (commit), `journal` (its frames), `flush` (rows in memory and the thread), `tree` (rows put into it), `view` (reads), `medium`
//! (the file as redb sees it), `record` (a value's bytes), `failure` (errors).

mod failure;
mod flush;
mod journal;
mod medium;
mod opening;
mod plugin;
mod record;
mod store;
mod tree;
mod view;

#[cfg(test)]
mod fault_tests;

pub use opening::{FILE, FILE_NEW, FILES_JOURNAL};
pub use plugin::{
    CACHE_BYTES, CACHE_BYTES_DEFAULT, CHECK_BYTES_MAX_DEFAULT, JOURNAL_BYTES, JOURNAL_BYTES_DEFAULT, RedbPlugin,
};
pub use store::FORMAT;
