//! Storage: a log-structured merge tree of fjall, durable when a commit returns.
//!
//! ```text
//!  kernel --Batch--> store --> fjall: journal (fsync) --> memtable --> tables, merged in the background
//!                     |
//!                  poisoned after a failure; counts what it acknowledged
//! ```
//!
//! Beside `redb` it is the other way to keep a chain: a commit costs one fsync of an append instead of two of pages, and the
//! disk is written again later, when tables are merged. It is chosen by one line, `plugin = "fjall"`.
//!
//! Reading order: `FORMAT.md` beside `Cargo.toml` (the files, and what is assumed of the disk), `plugin` (settings), `opening`
//! (locking and atomic creation), `examine` (what is looked at before fjall opens its files), `store` (commit), `view` (reads), `count` (what was acknowledged), `record` (a value's bytes),
//! `failure` (errors).

mod count;
mod examine;
mod failure;
mod opening;
mod plugin;
mod record;
mod store;
mod view;

pub use opening::{FOLDER, FOLDER_NEW, FORMAT, LOCK};
pub use plugin::{CACHE_BYTES, CACHE_BYTES_DEFAULT, FjallPlugin};
