//! One simulated process: an engine, what it holds in memory, and what survives it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
};

use bytes::Bytes;
use quorate::{
    Block, Consensus, Hash, Height, Instant, PublicKey, ValidatorIndex,
    consensus::{Action, Event, TimerId},
};

use super::{
    adversary::Puppet,
    ledger::{Candidate, Chain},
    signer::SimSigner,
    world::Item,
};

/// A crash that will happen between two actions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Armed {
    pub(crate) after: u8,
    pub(crate) until_us: u64,
    pub(crate) fault: usize,
}

/// What catch-up remembers.
#[derive(Debug, Clone, Default)]
pub(crate) struct CatchUp {
    pub(crate) known: BTreeMap<usize, Height>,
    pub(crate) behind_since_us: Option<u64>,
    pub(crate) urgent: bool,
    pub(crate) asked: Option<(usize, u64)>,
    pub(crate) last_asked: Option<usize>,
    pub(crate) blocks: VecDeque<(Block, Bytes)>,
}

/// What a process loses when it dies.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) engine: Option<Box<dyn Consensus>>,
    pub(crate) timers: BTreeMap<TimerId, (Instant, u64)>,
    pub(crate) candidates: BTreeMap<Hash, Candidate>,
    pub(crate) invalid: BTreeSet<Hash>,
    pub(crate) build_token: u64,
    pub(crate) peers: BTreeSet<usize>,
    pub(crate) unsynced: Option<Bytes>,
    pub(crate) pool: BTreeSet<Bytes>,
    pub(crate) evidence: BTreeMap<(PublicKey, Height), Bytes>,
    pub(crate) told_pending: bool,
    pub(crate) sync: CatchUp,
    pub(crate) signer_free_us: u64,
    pub(crate) halted: bool,
    /// A block became final, and the engine does not know yet.
    pub(crate) untold_commit: bool,
    /// Until when it is not scheduled.
    pub(crate) suspended_until: Option<u64>,
    /// What came meanwhile.
    pub(crate) held: Vec<Item>,
    /// The rest of a step that was interrupted.
    pub(crate) rest: Vec<Action>,
}

/// A simulated process.
pub(crate) struct Actor {
    /// Whose key it has.
    pub(crate) node: usize,
    pub(crate) name: String,
    pub(crate) honest: bool,
    pub(crate) puppet: Option<Puppet>,
    /// For one of twins: the nodes it is connected to, a bit for each.
    pub(crate) side: u64,
    /// Counts the processes that this actor was.
    pub(crate) life: u32,
    /// Where its monotonic clock began, in microseconds.
    pub(crate) origin: u64,
    /// How fast that clock runs, in thousandths: 1000 for the honest.
    pub(crate) clock_permille: u64,
    pub(crate) skew_ms: i64,
    pub(crate) up_since_us: u64,
    pub(crate) up_us: u64,
    pub(crate) sent: u64,
    pub(crate) armed: Option<Armed>,
    /// A suspension that will begin between two actions.
    pub(crate) armed_suspend: Option<(u8, u64)>,
    // Durable.
    pub(crate) chain: Chain,
    pub(crate) saved: Option<Bytes>,
    pub(crate) signer: SimSigner,
    pub(crate) memory: Memory,
}

impl Actor {
    pub(crate) fn is_up(&self) -> bool {
        self.memory.engine.is_some()
    }

    pub(crate) fn local(&self, now_us: u64) -> Instant {
        Instant(self.origin + now_us * self.clock_permille / 1000)
    }

    /// When this process' clock shows `due`.
    pub(crate) fn virtual_us(&self, due: Instant) -> u64 {
        due.0.saturating_sub(self.origin).saturating_mul(1000).div_ceil(self.clock_permille.max(1))
    }

    pub(crate) fn me(&self, key: &PublicKey) -> Option<ValidatorIndex> {
        self.chain.validators().index_of(key)
    }

    pub(crate) fn connected_to(&self, node: usize) -> bool {
        self.side >> node & 1 == 1
    }

    pub(crate) fn pending(&self) -> bool {
        !self.memory.evidence.is_empty() || !self.memory.pool.is_empty()
    }

    /// One step of the engine; the panic's words if it panicked.
    pub(crate) fn step(&mut self, now_us: u64, event: Event) -> Result<Vec<Action>, String> {
        let now = self.local(now_us);
        let Some(engine) = &mut self.memory.engine else { return Ok(Vec::new()) };
        let mut out = Vec::new();
        match catch_unwind(AssertUnwindSafe(|| engine.step(now, event, &mut out))) {
            Ok(()) => Ok(out),
            Err(panic) => Err(panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_else(|| "a panic without words".into())),
        }
    }
}
