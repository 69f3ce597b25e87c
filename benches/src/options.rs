//! What a run measures, and how often.

use std::{path::PathBuf, time::Duration};

/// A part of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Part {
    /// From the start of a process to `/ready`.
    Start,
    /// Resident memory of idle validators.
    Memory,
    /// From submission to final, one transaction at a time.
    Latency,
    /// JSON-RPC reads.
    Reads,
    /// Final transactions per second.
    Throughput,
    /// A validator without data gets the whole chain.
    CatchUp,
    /// The consensus from a shared library beside the same linked in.
    Library,
    /// Final ballots per second.
    Ballots,
    /// The backend for voters.
    Gateway,
}

impl Part {
    /// All, in the order in which they run.
    pub const ALL: [Part; 9] = [
        Part::Start,
        Part::Memory,
        Part::Latency,
        Part::Reads,
        Part::Throughput,
        Part::CatchUp,
        Part::Library,
        Part::Ballots,
        Part::Gateway,
    ];

    /// As on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Part::Start => "start",
            Part::Memory => "memory",
            Part::Latency => "latency",
            Part::Reads => "reads",
            Part::Throughput => "throughput",
            Part::CatchUp => "catch-up",
            Part::Library => "library",
            Part::Ballots => "ballots",
            Part::Gateway => "gateway",
        }
    }
}

/// How often, how many, how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Transactions of one run of throughput.
    pub transactions: usize,
    /// Runs of throughput on one network.
    pub runs: usize,
    /// Lone transactions whose time to final is taken.
    pub latencies: usize,
    /// The same where every vote waits `delta_ms`.
    pub latencies_with_delta: usize,
    /// Connections that read at once.
    pub read_connections: usize,
    /// How long each kind of read is repeated.
    pub read_time: Duration,
    /// Starts on a chain.
    pub starts: usize,
    /// Starts on an empty directory.
    pub first_starts: usize,
    /// Blocks of one transaction for catch-up.
    pub small_blocks: usize,
    /// Voters of an election.
    pub ballots: usize,
    /// Ballots that a backend holds while no validator answers.
    pub queued: usize,
    /// How long each ceiling is measured.
    pub ceiling_time: Duration,
}

impl Counts {
    /// Enough to be told. Some two minutes on two cores.
    pub fn full() -> Self {
        Self {
            transactions: 30_000,
            runs: 3,
            latencies: 300,
            latencies_with_delta: 20,
            read_connections: 64,
            read_time: Duration::from_secs(3),
            starts: 20,
            first_starts: 10,
            small_blocks: 1000,
            ballots: 6000,
            queued: 10000,
            ceiling_time: Duration::from_millis(700),
        }
    }

    /// A first look, in a third of the time.
    pub fn quick() -> Self {
        Self {
            transactions: 10_000,
            runs: 1,
            latencies: 100,
            latencies_with_delta: 5,
            read_time: Duration::from_secs(1),
            starts: 7,
            first_starts: 3,
            small_blocks: 300,
            ballots: 2000,
            queued: 2000,
            ceiling_time: Duration::from_millis(300),
            ..Self::full()
        }
    }

    /// As little as goes through every part: shows that it works, not how fast.
    pub fn tiny() -> Self {
        Self {
            transactions: 200,
            runs: 1,
            latencies: 3,
            latencies_with_delta: 1,
            read_connections: 4,
            read_time: Duration::from_millis(100),
            starts: 1,
            first_starts: 1,
            small_blocks: 5,
            ballots: 20,
            queued: 20,
            ceiling_time: Duration::from_millis(20),
        }
    }
}

/// A run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The program `quorate` under test.
    pub program: PathBuf,
    /// The shared library of the consensus `poa`.
    pub library: PathBuf,
    /// Where networks are made, in directories of their own which are removed; on the medium whose fsync shall count.
    pub directory: PathBuf,
    /// What is measured.
    pub parts: Vec<Part>,
    /// How often.
    pub counts: Counts,
}

impl Options {
    /// Whether a part is wanted.
    pub(crate) fn has(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }
}
