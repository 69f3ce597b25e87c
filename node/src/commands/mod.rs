//! One file a command: its options, its examples, what it does.

pub mod backup;
pub mod bench;
pub mod check;
pub mod compact;
pub mod completions;
pub mod config;
pub mod election;
pub mod enrol;
pub mod export;
pub mod import;
pub mod init;
pub mod key;
pub mod kv;
pub mod latency;
pub mod plugin;
pub mod receipt;
pub mod run;
pub mod sim;
pub mod status;
pub mod trustee;
pub mod verify;
pub mod verify_diff;
pub mod vote;
