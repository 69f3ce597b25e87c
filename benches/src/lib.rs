//! What a network of real processes does, measured from outside: speed and memory, each figure beside a ceiling of the same run.
//!
//! ```text
//!  run --> network (bootnode, three validators: processes of their own, loopback only)
//!   |         ^ JSON-RPC over kept connections, WebSocket, /proc
//!   +--> start, memory, latency, reads, throughput, catch_up   each returns figures
//!   +--> ceilings (signature checks, fsync, a bare HTTP server)  in this process, on this machine, now
//!   +--> report (a table for people, JSON for programs)
//! ```
//!
//! An absolute figure of a shared machine drifts from minute to minute; its ratio to a ceiling measured beside it does not as much.
//! What each figure means is in `docs/benchmarks.md`.
//!
//! Everything is bounded: counts by [`Counts`], time by [`Stop`]. Nodes end with the value that started them, by their own process
//! ids, and their files with it.
//!
//! Reading order: `options`, `run`, `network`, `load`; then the measurements. [`command`] is `quorate bench`: one load of the user's choice.

mod ballots;
mod catch_up;
mod ceilings;
pub mod command;
mod failure;
mod follow;
mod gateway;
mod http;
mod latency;
mod library;
mod load;
mod machine;
mod memory;
mod network;
mod options;
mod process;
mod reads;
mod report;
mod run;
mod start;
mod stop;
mod throughput;

pub use failure::BenchError;
pub use options::{Counts, Options, Part};
pub use report::{Ceiling, Figure, Report};
pub use run::run;
pub use stop::Stop;
