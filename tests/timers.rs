//! A flood of messages does not hold up timers, and no flood of timers holds up anything else.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests may panic")]

#[path = "support/two_nodes.rs"]
mod two_nodes;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use quorate::{
    Bytes, Consensus, FinalityProof, Instant,
    consensus::{Action, Context, EngineStatus, Event},
    plugin::{ConsensusPlugin, ConsensusReport, Descriptor, SetupError},
};
use quorate_kernel::node::Running;
use quorate_testkit::memory::Hub;
use two_nodes::{NAMES, network};

/// Messages of the flood: all of them wait while the first are handled.
const FLOOD: usize = 300;

/// How often the timer is set.
const EVERY: Duration = Duration::from_millis(20);

/// How long a message keeps the engine busy.
const BUSY: Duration = Duration::from_millis(4);

/// What one engine saw.
#[derive(Debug, Default)]
struct Seen {
    messages: AtomicU64,
    timers: AtomicU64,
    /// The most messages that were handled while a timer was due.
    overtaken_max: AtomicU64,
}

/// An engine which floods its peer, and notes how late its own timer fires, counted in messages.
struct Busy {
    every: Duration,
    floods: bool,
    due: Instant,
    overtaken: u64,
    seen: Arc<Seen>,
}

impl Busy {
    fn set(&mut self, now: Instant, out: &mut Vec<Action>) {
        self.due = now.after(self.every);
        self.overtaken = 0;
        out.push(Action::SetTimer { id: 1, at: self.due });
    }
}

impl Consensus for Busy {
    fn step(&mut self, now: Instant, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Start(start) => {
                self.floods = start.me.is_some_and(|me| me.0 == 0);
                self.set(now, out);
            }
            Event::PeerUp { .. } if self.floods => {
                out.extend((0..FLOOD).map(|_| Action::Broadcast(Bytes::from_static(b"flood"))));
            }
            Event::Message { .. } => {
                if self.due <= now {
                    self.overtaken += 1;
                    self.seen.overtaken_max.fetch_max(self.overtaken, Ordering::Relaxed);
                }
                std::thread::sleep(BUSY);
                self.seen.messages.fetch_add(1, Ordering::Relaxed);
            }
            Event::Timer { .. } => {
                self.seen.timers.fetch_add(1, Ordering::Relaxed);
                self.set(now, out);
            }
            _ => {}
        }
    }

    fn status(&self, _now: Instant) -> EngineStatus {
        EngineStatus::default()
    }
}

struct BusyPlugin {
    every: Duration,
    seen: Arc<Seen>,
}

impl ConsensusPlugin for BusyPlugin {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new("busy", "1.0.0", "is busy")
    }

    fn check(&self, _context: &Context) -> Result<ConsensusReport, SetupError> {
        Ok(ConsensusReport::default())
    }

    fn build(&self, _context: &Context) -> Result<Box<dyn Consensus>, SetupError> {
        let Self { every, seen } = self;
        Ok(Box::new(Busy { every: *every, floods: false, due: Instant(0), overtaken: 0, seen: Arc::clone(seen) }))
    }

    fn proof(&self, context: &Context) -> Result<Arc<dyn FinalityProof>, SetupError> {
        // It decides nothing; any proof will do.
        let context = Context { validators: context.validators.clone(), ..context.clone() };
        quorate_solo::SoloPlugin.proof(&context)
    }
}

fn start(hub: &Hub, directory: &std::path::Path, name: &str, every: Duration, seen: &Arc<Seen>) -> Running {
    two_nodes::start(hub, directory, name, "busy", BusyPlugin { every, seen: Arc::clone(seen) })
}

async fn until(seen: &Seen, what: impl Fn(&Seen) -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while !what(seen) {
        assert!(tokio::time::Instant::now() < deadline, "{seen:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A timer that is late by more than a part of Delta makes `byzantine-sync` believe that the process was suspended, and not vote.
#[tokio::test(flavor = "multi_thread")]
async fn a_due_timer_is_overtaken_by_no_more_than_one_message() {
    let directory = network("busy");
    let hub = Hub::new();
    let (flooding, flooded) = (Arc::new(Seen::default()), Arc::new(Seen::default()));
    let nodes = [
        start(&hub, directory.path(), NAMES[1], EVERY, &flooded),
        start(&hub, directory.path(), NAMES[0], EVERY, &flooding),
    ];
    until(&flooded, |seen| seen.messages.load(Ordering::Relaxed) >= FLOOD as u64).await;
    for node in nodes {
        node.stop().await;
    }
    assert!(flooded.timers.load(Ordering::Relaxed) > 5, "{flooded:?}");
    assert!(flooded.overtaken_max.load(Ordering::Relaxed) <= 1, "{flooded:?}");
}

/// An engine whose timer is always due once kept its node from hearing that it shall stop.
#[tokio::test(flavor = "multi_thread")]
async fn a_timer_that_is_always_due_holds_up_no_stop() {
    let directory = network("busy");
    let (hub, seen) = (Hub::new(), Arc::new(Seen::default()));
    let node = start(&hub, directory.path(), NAMES[0], Duration::ZERO, &seen);
    until(&seen, |seen| seen.timers.load(Ordering::Relaxed) > 1000).await;
    node.stop().await;
    // Only a node whose loop has ended lets go of its guard.
    start(&hub, directory.path(), NAMES[0], EVERY, &seen).stop().await;
}
