//! Final blocks that become durable together: each is executed on what those before it wrote, and one batch has all of them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use quorate::{
    Hash, Height, Instant, ValidatorSet,
    consensus::Tip,
    storage::{Batch, Snapshot, StorageError},
};

use crate::{
    execute::scan_over,
    ledger::{Candidate, Ledger, View},
};

/// Blocks in one batch at most.
pub(crate) const TOGETHER_MAX: usize = 64;

/// Bytes of blocks after which no other goes into the same batch.
pub(crate) const TOGETHER_BYTES: usize = 1 << 20;

/// Time after which no other block goes into the same batch: consensus waits meanwhile.
pub(crate) const TOGETHER_WAIT: Duration = Duration::from_millis(20);

type Writes = BTreeMap<Bytes, Option<Bytes>>;

/// Blocks on top of a view of what is durable. Nobody is told of them before their batch is committed.
pub(crate) struct Together {
    base: Arc<View>,
    began: Instant,
    bytes: usize,
    blocks: Vec<Candidate>,
    batches: Vec<Batch>,
    /// What the first batches write, as many as were looked at.
    writes: Arc<Writes>,
    looked_at: usize,
}

impl Together {
    /// None yet.
    pub(crate) fn on(base: Arc<View>, now: Instant) -> Self {
        let (blocks, batches, writes) = (Vec::new(), Vec::new(), Arc::default());
        Self { base, began: now, bytes: 0, blocks, batches, writes, looked_at: 0 }
    }

    /// The last block's height, or the durable tip's.
    pub(crate) fn height(&self) -> Height {
        self.blocks.last().map_or(self.base.tip.height, |last| last.block.height())
    }

    /// The chain after the last block. It is not kept while a block is added.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub(crate) fn view(&mut self) -> Result<Arc<View>, StorageError> {
        let Some(last) = self.blocks.last() else { return Ok(Arc::clone(&self.base)) };
        let (tip, validators) = after(last);
        let writes = Arc::make_mut(&mut self.writes);
        for batch in self.batches.iter().skip(self.looked_at) {
            writes.extend(batch.writes().iter().cloned());
        }
        self.looked_at = self.batches.len();
        let snapshot = Layered { base: Arc::clone(&self.base), writes: Arc::clone(&self.writes) };
        Ok(Arc::new(View::on(tip, validators, Box::new(snapshot))?))
    }

    /// Adds a block that was judged on `view`, the chain after the last one.
    pub(crate) fn add(&mut self, ledger: &Ledger, view: &View, mut block: Candidate, proof: &Bytes) {
        self.bytes += block.block.encoded().len();
        self.batches.push(ledger.batch(view, &mut block, proof));
        self.blocks.push(block);
    }

    /// Whether no other block should wait for the same commit.
    pub(crate) fn is_enough(&self, now: Instant) -> bool {
        self.blocks.len() >= TOGETHER_MAX || self.bytes >= TOGETHER_BYTES || now.since(self.began) >= TOGETHER_WAIT
    }

    /// The blocks, and the batch which makes them part of the chain; `None` without a block.
    pub(crate) fn into_batch(self) -> Option<(Vec<Candidate>, Batch)> {
        let mut batches = self.batches.into_iter();
        let first = batches.next()?;
        if self.blocks.len() == 1 {
            return Some((self.blocks, first));
        }
        // In the order of keys, each once.
        let mut writes = Arc::unwrap_or_clone(self.writes);
        for batch in std::iter::once(first).chain(batches).skip(self.looked_at) {
            writes.extend(batch.writes().iter().cloned());
        }
        let mut batch = Batch::new();
        for (key, value) in writes {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            }
        }
        Some((self.blocks, batch))
    }
}

/// Tip and validators after a block.
fn after(candidate: &Candidate) -> (Tip, ValidatorSet) {
    let header = candidate.block.header();
    let hash: Hash = candidate.block.hash();
    (Tip { height: header.height, hash, time: header.time }, candidate.executed.next_validators.clone())
}

/// Writes that are not durable over what is.
struct Layered {
    base: Arc<View>,
    writes: Arc<Writes>,
}

impl Snapshot for Layered {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        match self.writes.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.base.snapshot.get(key),
        }
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        scan_over(&self.writes, from, to, limit, |limit| self.base.snapshot.scan(from, to, limit))
    }
}
