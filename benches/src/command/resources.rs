//! What each node uses while a load runs: CPU, memory, disk, and how often it waits for the disk.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::outcome::NodeUse;
use crate::{
    failure::BenchError,
    http::get,
    network::{Network, Node},
    process,
};

/// Time between two looks at a node's memory.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Waits for the disk of one commit of a store, by its plugin: what its FORMAT.md says.
const FSYNCS_OF_A_COMMIT: [(&str, f64); 2] = [("redb", 2.0), ("fjall", 1.0)];

/// A node's counters at one moment.
#[derive(Debug, Clone, Copy, Default)]
struct Counters {
    cpu: Duration,
    written: u64,
    blocks: f64,
    persists: f64,
    signatures: f64,
}

/// Watches the validators from its making until it is asked.
pub(crate) struct Watch {
    begun: Instant,
    before: Vec<Counters>,
    pids: Vec<Option<u32>>,
    over: Arc<AtomicBool>,
    looking: std::thread::JoinHandle<BTreeMap<u32, u64>>,
}

impl Watch {
    pub(crate) fn begin(network: &Network) -> Self {
        let pids: Vec<Option<u32>> = network.validators().iter().map(Node::pid).collect();
        let over = Arc::new(AtomicBool::new(false));
        let (watched, ended) = (pids.clone(), Arc::clone(&over));
        let looking = std::thread::spawn(move || {
            let mut highest = BTreeMap::new();
            while !ended.load(Ordering::Relaxed) {
                for pid in watched.iter().flatten() {
                    let rss = process::memory(*pid).map_or(0, |memory| memory.rss_kib);
                    let known: &mut u64 = highest.entry(*pid).or_default();
                    *known = rss.max(*known);
                }
                std::thread::sleep(LOOK_EVERY);
            }
            highest
        });
        let before = network.validators().iter().map(counters).collect();
        Self { begun: Instant::now(), before, pids, over, looking }
    }

    /// What each validator used since.
    pub(crate) fn end(self, network: &Network) -> Result<Vec<NodeUse>, BenchError> {
        let took = self.begun.elapsed().as_secs_f64();
        let after: Vec<Counters> = network.validators().iter().map(counters).collect();
        self.over.store(true, Ordering::Relaxed);
        let highest = self.looking.join().map_err(|_| BenchError::answer("the look at memory panicked"))?;
        let of_a_commit = fsyncs_of_a_commit(network);
        let nodes = network.validators().iter().zip(&self.before).zip(&after).zip(&self.pids);
        Ok(nodes
            .map(|(((node, before), after), pid)| {
                let blocks = after.blocks - before.blocks;
                let commits = blocks + after.persists - before.persists;
                let signatures = after.signatures - before.signatures;
                let per_block = |value: f64| if blocks > 0.0 { value / blocks } else { 0.0 };
                NodeUse {
                    name: node.name.clone(),
                    cpu_percent: after.cpu.saturating_sub(before.cpu).as_secs_f64() * 100.0 / took,
                    rss_mib_max: pid.and_then(|pid| highest.get(&pid)).map_or(0.0, |kib| *kib as f64 / 1024.0),
                    written_mib: after.written.saturating_sub(before.written) as f64 / (1 << 20) as f64,
                    blocks: blocks as u64,
                    fsyncs_per_block: per_block(commits * of_a_commit + signatures),
                }
            })
            .collect())
    }
}

fn counters(node: &Node) -> Counters {
    let metrics = metrics(node).unwrap_or_default();
    let metric = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.trim().parse::<f64>().ok()).unwrap_or_default()
    };
    Counters {
        cpu: node.pid().and_then(process::cpu).unwrap_or_default(),
        written: node.pid().and_then(written).unwrap_or_default(),
        blocks: metric("quorate_blocks_by_engine_total") + metric("quorate_blocks_by_sync_total"),
        persists: metric("quorate_persists_total"),
        signatures: metric("quorate_signatures_total"),
    }
}

fn metrics(node: &Node) -> Result<String, BenchError> {
    let mut connection = node.connect()?;
    connection.send(&get("/metrics"))?;
    let (_, body) = connection.receive()?;
    Ok(String::from_utf8_lossy(body).into_owned())
}

/// Bytes that a process caused to be written to a disk.
fn written(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok())
}

/// Of the store which the first validator's file names.
fn fsyncs_of_a_commit(network: &Network) -> f64 {
    let file = network.validators().first().map(|node| network.file(&format!("{}.toml", node.name)));
    let text = file.and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
    let storage = text.split("[storage]").nth(1).unwrap_or_default();
    let found = FSYNCS_OF_A_COMMIT.iter().find(|(name, _)| storage.lines().take(3).any(|line| line.contains(name)));
    found.map_or(1.0, |(_, count)| *count)
}
