//! What an engine persisted and signed is in the guard's file before a message that follows it can be seen by a peer; what a step sent is out before
//! the next one begins; and one write of the file serves several signatures.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may panic")]

#[path = "support/two_nodes.rs"]
mod two_nodes;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use quorate::{
    Bytes, Consensus, FinalityProof, Height, Instant, Round,
    consensus::{Action, Context, EngineStatus, Event, Guard, SignRequest},
    plugin::{ConsensusPlugin, ConsensusReport, Descriptor, SetupError},
};
use quorate_kernel::node::Running;
use quorate_testkit::memory::Hub;
use two_nodes::{NAMES, network};

/// Signatures of one chain of steps: each is asked for when the one before came.
const CHAIN: u8 = 8;

/// How long the first node is busy amid the chain: what was sent too early arrives meanwhile.
const BUSY: Duration = Duration::from_millis(300);

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the second node found in the first one's guard when messages came.
#[derive(Debug, Default)]
struct Seen {
    messages: AtomicU64,
    /// A message came whose record or signature was not in the file.
    early: AtomicBool,
}

/// A record with a number that can be found among other bytes.
fn record(number: u8) -> Bytes {
    format!("record number {number:03}").into()
}

/// The highest number of a record in the file, and the highest step that a slot of it says was signed.
fn written(guard: &Path) -> (u8, u8) {
    let content = std::fs::read(guard).unwrap();
    let is_in = |number: &u8| content.windows(17).any(|part| part == record(*number));
    let records = (0..=CHAIN).rev().find(is_in).unwrap_or_default();
    let step = |slot: usize| content[slot + 21];
    (records, step(64).max(step(320)))
}

/// The first persists, signs and sends in a chain; the second looks into the first one's guard.
struct Engine {
    first: bool,
    guard: PathBuf,
    seen: Arc<Seen>,
}

fn persist_and_sign(number: u8, out: &mut Vec<Action>) {
    out.push(Action::Persist(record(number)));
    let guard = Guard { height: Height(1), round: Round(0), step: number, sub: 0 };
    out.push(Action::Sign(SignRequest { guard, kind: 1, body: vec![number] }));
}

impl Consensus for Engine {
    fn step(&mut self, _now: Instant, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Start(start) => self.first = start.me.is_some_and(|me| me.0 == 0),
            Event::PeerUp { .. } if self.first => persist_and_sign(1, out),
            Event::Signed { guard, result, .. } => {
                assert!(result.is_ok());
                // What earlier steps sent is out before this one begins, so that it comes, however long this one takes.
                let deadline = std::time::Instant::now() + PATIENCE;
                while self.seen.messages.load(Ordering::SeqCst) < u64::from(guard.step - 1) {
                    assert!(std::time::Instant::now() < deadline, "message {} was not sent", guard.step - 1);
                    std::thread::sleep(Duration::from_millis(1));
                }
                if guard.step == CHAIN / 2 {
                    std::thread::sleep(BUSY);
                }
                out.push(Action::Broadcast(vec![guard.step].into()));
                if guard.step < CHAIN {
                    persist_and_sign(guard.step + 1, out);
                }
            }
            Event::Message { bytes, .. } => {
                let (record, step) = written(&self.guard);
                if record < bytes[0] || step < bytes[0] {
                    self.seen.early.store(true, Ordering::SeqCst);
                }
                self.seen.messages.fetch_add(1, Ordering::SeqCst);
            }
            _ => {}
        }
    }

    fn status(&self, _now: Instant) -> EngineStatus {
        EngineStatus::default()
    }
}

struct Plugin {
    guard: PathBuf,
    seen: Arc<Seen>,
}

impl ConsensusPlugin for Plugin {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new("chain", "1.0.0", "signs in a chain")
    }

    fn check(&self, _context: &Context) -> Result<ConsensusReport, SetupError> {
        Ok(ConsensusReport::default())
    }

    fn build(&self, _context: &Context) -> Result<Box<dyn Consensus>, SetupError> {
        Ok(Box::new(Engine { first: false, guard: self.guard.clone(), seen: Arc::clone(&self.seen) }))
    }

    fn proof(&self, context: &Context) -> Result<Arc<dyn FinalityProof>, SetupError> {
        // It decides nothing; any proof will do.
        quorate_solo::SoloPlugin.proof(context)
    }
}

fn start(hub: &Hub, directory: &Path, name: &str, seen: &Arc<Seen>) -> Running {
    let guard = directory.join(NAMES[0]).with_extension("guard");
    two_nodes::start(hub, directory, name, "chain", Plugin { guard, seen: Arc::clone(seen) })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_out_after_what_it_rests_on_is_written_and_before_the_next_step_begins() {
    let directory = network("chain");
    let (hub, seen) = (Hub::new(), Arc::new(Seen::default()));
    let second = start(&hub, directory.path(), NAMES[1], &seen);
    let first = start(&hub, directory.path(), NAMES[0], &seen);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while seen.messages.load(Ordering::SeqCst) < u64::from(CHAIN) {
        assert!(tokio::time::Instant::now() < deadline, "{seen:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    first.stop().await;
    second.stop().await;
    assert!(!seen.early.load(Ordering::SeqCst), "a message was sent before what it rests on was written");
    let guard = directory.path().join(NAMES[0]).with_extension("guard");
    assert_eq!(written(&guard), (CHAIN, CHAIN));
    let content = std::fs::read(guard).unwrap();
    let sequence = |slot: usize| u64::from_le_bytes(content[slot..slot + 8].try_into().unwrap());
    let writes = sequence(64).max(sequence(320));
    assert!(writes <= u64::from(CHAIN) / 2, "{writes} writes for {CHAIN} records and signatures");
}
