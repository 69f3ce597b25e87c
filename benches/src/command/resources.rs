//! What each node uses while a load runs: CPU, memory, disk, and how often it waits for the disk.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
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

/// Waits for the disk of one commit of a store, by its plugin: what its FORMAT.md says. In redb those of a block that its journal takes; one
/// that is larger than half of it, and one in thousands of small ones, costs two.
const FSYNCS_OF_A_COMMIT: [(&str, f64); 2] = [("redb", 1.0), ("fjall", 1.0)];

/// A node's counters, and when they were read.
#[derive(Debug, Clone, Copy)]
struct Counters {
    at: Instant,
    cpu: Duration,
    written: u64,
    blocks: f64,
    guard_writes: f64,
}

/// Watches the validators from its making until it is asked, or dropped.
pub(crate) struct Watch {
    before: Vec<Counters>,
    pids: Vec<Option<u32>>,
    over: Arc<AtomicBool>,
    looking: Option<JoinHandle<BTreeMap<u32, u64>>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

impl Watch {
    pub(crate) fn begin(network: &Network) -> Result<Self, BenchError> {
        let pids: Vec<Option<u32>> = network.loaded().iter().map(Node::pid).collect();
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
        let mut watch = Self { before: Vec::new(), pids, over, looking: Some(looking) };
        watch.before = network.loaded().iter().map(counters).collect::<Result<_, _>>()?;
        Ok(watch)
    }

    /// What each validator used since.
    pub(crate) fn end(mut self, network: &Network) -> Result<Vec<NodeUse>, BenchError> {
        let after = network.loaded().iter().map(counters).collect::<Result<Vec<Counters>, _>>()?;
        self.over.store(true, Ordering::Relaxed);
        let highest = self.looking.take().map(JoinHandle::join).and_then(Result::ok);
        let highest = highest.ok_or_else(|| BenchError::answer("the look at memory panicked"))?;
        let nodes = network.loaded().iter().zip(&self.before).zip(&after).zip(&self.pids);
        Ok(nodes
            .map(|(((node, before), after), pid)| {
                let took = after.at.saturating_duration_since(before.at).as_secs_f64();
                let blocks = after.blocks - before.blocks;
                let guard_writes = after.guard_writes - before.guard_writes;
                let of_a_commit = fsyncs_of_a_commit(network, node).filter(|_| blocks > 0.0);
                NodeUse {
                    name: node.name.clone(),
                    cpu_percent: after.cpu.saturating_sub(before.cpu).as_secs_f64() * 100.0 / took,
                    rss_mib_max: pid.and_then(|pid| highest.get(&pid)).map_or(0.0, |kib| *kib as f64 / 1024.0),
                    written_mib: after.written.saturating_sub(before.written) as f64 / (1 << 20) as f64,
                    blocks: blocks as u64,
                    fsyncs_per_block: of_a_commit.map(|of_one| of_one + guard_writes / blocks),
                }
            })
            .collect())
    }
}

fn counters(node: &Node) -> Result<Counters, BenchError> {
    let mut connection = node.connect()?;
    let text = String::from_utf8_lossy(connection.exchange(&get("/metrics"))?).into_owned();
    let metric = |name: &str| {
        metric(&text, name).ok_or_else(|| BenchError::answer(format!("/metrics of {} has no {name}", node.name)))
    };
    Ok(Counters {
        cpu: node.pid().and_then(process::cpu).unwrap_or_default(),
        written: node.pid().and_then(written).unwrap_or_default(),
        blocks: metric("quorate_blocks_by_engine_total")? + metric("quorate_blocks_by_sync_total")?,
        guard_writes: metric("quorate_guard_writes_total")?,
        at: Instant::now(),
    })
}

/// The value of a counter without labels.
fn metric(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

/// Bytes that a process caused to be written to a disk.
fn written(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok())
}

/// Of the store which the node's file names, where it is one that is known here.
fn fsyncs_of_a_commit(network: &Network, node: &Node) -> Option<f64> {
    let store = store_of(network, node)?;
    FSYNCS_OF_A_COMMIT.iter().find(|(name, _)| *name == store).map(|(_, count)| *count)
}

/// The plugin of a node's store, unless it is from a library.
pub(crate) fn store_of(network: &Network, node: &Node) -> Option<String> {
    let text = fs::read_to_string(network.file(&format!("{}.toml", node.name))).ok()?;
    store(&text).map(str::to_owned)
}

/// The plugin under `[storage]`, in the way `quorate init` writes a node's file. One from a library is nobody's that is known.
fn store(text: &str) -> Option<&str> {
    let table = text.lines().skip_while(|line| line.trim() != "[storage]").skip(1);
    let keys: Vec<(&str, &str)> =
        table.take_while(|line| !line.starts_with('[')).filter_map(|line| line.split_once('=')).collect();
    let value = |name: &str| keys.iter().find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim());
    if value("library").is_some() { None } else { Some(value("plugin")?.trim_matches('"')) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_is_not_there_is_not_zero() {
        let text = "# TYPE quorate_persists counter\nquorate_persists_total 7\nquorate_persists_total_more 8\n";
        assert_eq!(metric(text, "quorate_persists_total"), Some(7.0));
        assert_eq!(metric(text, "quorate_persists"), None);
        assert_eq!(metric(text, "quorate_signatures_total"), None);
    }

    #[test]
    fn a_store_is_known_by_its_whole_name() {
        let file = |storage: &str| {
            format!("[node]\nplugin = \"no\"\n# x\n[storage]\n{storage}\n# y\n[transport]\nplugin = \"http\"\n")
        };
        assert_eq!(store(&file("plugin = \"redb\"\ncheck_bytes_max = 1")), Some("redb"));
        assert_eq!(store(&file("plugin = \"not-redb\"")), Some("not-redb"));
        assert_eq!(store(&file("plugin = \"redb\"\nlibrary = \"a.so\"")), None);
        assert_eq!((store(&file("")), store("")), (None, None));
    }
}
