//! Blocks of the height being decided, and what is known of them.

use crate::{
    block::Block,
    primitives::{Hash, Instant},
};

/// Blocks kept at most: two of each of the last rounds, and the one that is locked.
pub const BLOCKS_MAX: usize = 8;

/// What this node knows of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// Nobody asked yet.
    Unasked,
    /// The kernel was asked.
    Asked,
    /// It was built or found valid here.
    Valid,
    /// It breaks a rule.
    Invalid(String),
}

#[derive(Debug, Clone)]
struct Entry {
    block: Block,
    seen_at: Instant,
    judgement: Judgement,
}

/// The blocks, the one used last at the end.
#[derive(Debug, Clone, Default)]
pub struct Blocks(Vec<Entry>);

impl Blocks {
    fn entry(&self, hash: &Hash) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.block.hash() == *hash)
    }

    /// Adds a block, or marks it as used; the oldest which `keep` does not name gives way.
    pub fn insert(&mut self, block: Block, now: Instant, keep: &[Hash]) {
        let hash = block.hash();
        if let Some(at) = self.0.iter().position(|entry| entry.block.hash() == hash) {
            let entry = self.0.remove(at);
            self.0.push(entry);
            return;
        }
        if self.0.len() >= BLOCKS_MAX {
            let oldest = self.0.iter().position(|entry| !keep.contains(&entry.block.hash())).unwrap_or(0);
            self.0.remove(oldest);
        }
        self.0.push(Entry { block, seen_at: now, judgement: Judgement::Unasked });
    }

    /// The block, when it is here.
    pub fn get(&self, hash: &Hash) -> Option<&Block> {
        self.entry(hash).map(|entry| &entry.block)
    }

    /// When the block was first seen here.
    pub fn seen_at(&self, hash: &Hash) -> Option<Instant> {
        self.entry(hash).map(|entry| entry.seen_at)
    }

    /// What is known of the block; `None` when it is not here.
    pub fn judgement(&self, hash: &Hash) -> Option<&Judgement> {
        self.entry(hash).map(|entry| &entry.judgement)
    }

    /// Feeds what is held into a hasher: for a search through an engine's states.
    pub fn hash_state(&self, into: &mut impl std::hash::Hasher) {
        use std::hash::Hash as _;
        for entry in &self.0 {
            let judgement = match &entry.judgement {
                Judgement::Unasked => 0,
                Judgement::Asked => 1,
                Judgement::Valid => 2,
                Judgement::Invalid(_) => 3,
            };
            (entry.block.hash(), judgement).hash(into);
        }
    }

    /// Whether it was built or found valid here.
    pub fn is_valid(&self, hash: &Hash) -> bool {
        self.judgement(hash) == Some(&Judgement::Valid)
    }

    /// Notes a judgement; the first definite one stays.
    pub fn judge(&mut self, hash: &Hash, judgement: Judgement) {
        if let Some(entry) = self.0.iter_mut().find(|entry| entry.block.hash() == *hash)
            && matches!(entry.judgement, Judgement::Unasked | Judgement::Asked)
        {
            entry.judgement = judgement;
        }
    }
}
