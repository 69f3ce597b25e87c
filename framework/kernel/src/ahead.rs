//! Catch-up, ahead of the loop: the blocks of answers are decoded on a thread of its own, and their proofs and transactions checked in
//! batches, while the loop executes those before them.
//!
//! What is found here decides nothing. A transaction found good is good in every later state ([`quorate::Application::verify`]); a proof
//! found good counts only if its height turns out to have the validators against whom it was checked. All else the loop finds out by
//! itself, and it alone blames: so its judgements, and their order, are those of a loop without this thread.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use quorate::{Block, Hash, Height, PeerId, consensus::PROOF_BYTES_MAX};
use tokio::sync::mpsc;

use crate::{
    execute::StateView,
    ledger::{Foreknown, View, verify_parallel},
    shared::Shared,
    wire::BLOCKS_PER_MESSAGE,
};

/// Answers that may wait to be checked.
const ANSWERS_MAX: usize = 4;

/// Checked portions that may wait for the loop.
const PORTIONS_MAX: usize = 16;

/// Blocks checked together at most.
const PORTION_BLOCKS_MAX: usize = 64;

/// Bytes of blocks after which no other is checked together with them: some two thousand transactions.
const PORTION_BYTES: usize = 512 << 10;

/// Blocks at hand with which no more are asked for.
pub(crate) const BLOCKS_AHEAD: usize = 2 * BLOCKS_PER_MESSAGE;

/// Bytes of blocks at hand with which no more are asked for.
pub(crate) const BYTES_AHEAD: usize = 8 << 20;

/// A peer's answer: blocks with their proofs, the first of which has the height that was asked for.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) peer: PeerId,
    pub(crate) from: Height,
    pub(crate) blocks: Vec<(Bytes, Bytes)>,
}

/// A block that a peer gave.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) peer: PeerId,
    /// The block with its proof and what is known of it; or why it is none.
    pub(crate) block: Result<(Block, Bytes, Foreknown), String>,
    bytes: usize,
}

struct Job {
    answer: Answer,
    generation: u64,
}

struct Portion {
    blocks: Vec<Given>,
    generation: u64,
}

/// The blocks at hand, in order, without a gap: checked, or about to be.
pub(crate) struct AtHand {
    jobs: mpsc::Sender<Job>,
    portions: mpsc::Receiver<Portion>,
    /// Raised when all at hand is given up, so that nothing of it is checked or taken any more.
    generation: Arc<AtomicU64>,
    ready: VecDeque<Given>,
    /// All blocks at hand, checked or not, and their bytes.
    blocks: usize,
    bytes: usize,
    last: Height,
}

impl AtHand {
    /// Nothing at hand, and the thread which checks what will be; it ends with this value.
    ///
    /// # Errors
    ///
    /// The thread could not be made.
    pub(crate) fn start(shared: Arc<Shared>) -> std::io::Result<Self> {
        let (at_hand, jobs, portions) = Self::new();
        let current = Arc::clone(&at_hand.generation);
        std::thread::Builder::new()
            .name("quorate-ahead".into())
            .spawn(move || check_ahead(&shared, jobs, &portions, &current))?;
        Ok(at_hand)
    }

    /// Nothing at hand, and the ends of the queues for whoever checks.
    fn new() -> (Self, mpsc::Receiver<Job>, mpsc::Sender<Portion>) {
        let (jobs, jobs_rx) = mpsc::channel(ANSWERS_MAX);
        let (portions_tx, portions) = mpsc::channel(PORTIONS_MAX);
        let (generation, ready, last) = (Arc::default(), VecDeque::new(), Height::GENESIS);
        (Self { jobs, portions, generation, ready, blocks: 0, bytes: 0, last }, jobs_rx, portions_tx)
    }

    /// Whether there is nothing, checked or not.
    pub(crate) fn is_empty(&self) -> bool {
        self.blocks == 0
    }

    /// Whether one can be taken now.
    pub(crate) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether it is so much that no more should be asked for.
    pub(crate) fn is_full(&self) -> bool {
        self.blocks >= BLOCKS_AHEAD || self.bytes >= BYTES_AHEAD || self.jobs.capacity() == 0
    }

    /// The height of the last block at hand, or of the tip.
    pub(crate) fn last(&self, tip: Height) -> Height {
        if self.is_empty() { tip } else { self.last.max(tip) }
    }

    /// Has an answer checked. It goes on where the last one ended; without room it is dropped, and can be asked for again.
    pub(crate) fn add(&mut self, answer: Answer) {
        let (blocks, bytes) = (answer.blocks.len(), answer.blocks.iter().map(size).sum::<usize>());
        let last = Height(answer.from.0.saturating_add(blocks as u64).saturating_sub(1));
        let job = Job { answer, generation: self.generation.load(Ordering::Relaxed) };
        if blocks > 0 && self.jobs.try_send(job).is_ok() {
            self.blocks += blocks;
            self.bytes += bytes;
            self.last = last;
        }
    }

    /// The next block, if it is checked.
    pub(crate) fn next(&mut self) -> Option<Given> {
        while let Ok(portion) = self.portions.try_recv() {
            self.came(portion);
        }
        let given = self.ready.pop_front()?;
        self.blocks = self.blocks.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(given.bytes);
        Some(given)
    }

    /// Waits until more is checked; `false` when the thread is gone.
    pub(crate) async fn more(&mut self) -> bool {
        match self.portions.recv().await {
            Some(portion) => {
                self.came(portion);
                true
            }
            None => false,
        }
    }

    fn came(&mut self, portion: Portion) {
        if portion.generation == self.generation.load(Ordering::Relaxed) {
            self.ready.extend(portion.blocks);
        }
    }

    /// Gives up all at hand.
    pub(crate) fn clear(&mut self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
        self.ready.clear();
        (self.blocks, self.bytes) = (0, 0);
    }
}

fn size((block, proof): &(Bytes, Bytes)) -> usize {
    block.len() + proof.len()
}

/// Checks answers, one after the other, until nobody wants them.
fn check_ahead(shared: &Shared, mut jobs: mpsc::Receiver<Job>, portions: &mpsc::Sender<Portion>, current: &AtomicU64) {
    while let Some(Job { answer, generation }) = jobs.blocking_recv() {
        let Answer { peer, from, blocks } = answer;
        let mut chain = Chain { next: from, parent: None };
        let mut blocks = blocks.into_iter().peekable();
        while blocks.peek().is_some() && current.load(Ordering::Relaxed) == generation {
            let mut portion = Vec::new();
            let mut bytes = 0;
            while portion.len() < PORTION_BLOCKS_MAX
                && bytes < PORTION_BYTES
                && let Some(one) = blocks.next()
            {
                bytes += size(&one);
                portion.push(chain.read(peer, one));
            }
            // A plugin that panics here will do so in the loop again, which knows what to make of it.
            drop(catch_unwind(AssertUnwindSafe(|| look_at(shared, &mut portion))));
            if portions.blocking_send(Portion { blocks: portion, generation }).is_err() {
                return;
            }
        }
    }
}

/// What the next block of an answer must be.
struct Chain {
    next: Height,
    parent: Option<Hash>,
}

impl Chain {
    /// Reads a block, which must follow the one before: whoever has a chain gives blocks that do.
    fn read(&mut self, peer: PeerId, one: (Bytes, Bytes)) -> Given {
        let bytes = size(&one);
        let (encoded, proof) = one;
        let block = match Block::decode(encoded) {
            Err(error) => Err(error.to_string()),
            Ok(block) if block.height() != self.next => {
                Err(format!("block has height {}, the next is {}", block.height(), self.next))
            }
            Ok(block) if self.parent.is_some_and(|parent| parent != block.header().parent_hash) => {
                Err(format!("block {} does not follow the one before it in the same answer", block.height()))
            }
            Ok(block) => Ok(block),
        };
        self.next = self.next.next();
        if let Ok(block) = &block {
            self.parent = Some(block.hash());
        }
        Given { peer, block: block.map(|block| (block, proof, Foreknown::default())), bytes }
    }
}

/// Finds out of a portion what can be found without the blocks before it.
fn look_at(shared: &Shared, portion: &mut [Given]) {
    let view = shared.view();
    prove(shared, &view, portion);
    verify(shared, &view, portion);
}

/// Checks the proofs of blocks which name the validators of now.
fn prove(shared: &Shared, view: &View, portion: &mut [Given]) {
    let set = view.validators.hash();
    let mut of_this_set: Vec<_> = portion
        .iter_mut()
        .filter_map(|given| given.block.as_mut().ok())
        .filter(|(block, proof, _)| {
            let header = block.header();
            header.height > view.tip.height && header.validators_hash == set && proof.len() <= PROOF_BYTES_MAX
        })
        .collect();
    let items: Vec<(&quorate::Header, &[u8])> =
        of_this_set.iter().map(|(block, proof, _)| (block.header(), proof.as_ref())).collect();
    let ledger = &shared.ledger;
    let verdicts = ledger.finality.verify_many(&ledger.genesis.chain_id(), &items, &view.validators);
    if verdicts.len() != of_this_set.len() {
        return;
    }
    for ((_, _, known), verdict) in of_this_set.iter_mut().zip(verdicts) {
        known.proven_by = verdict.is_ok().then_some(set);
    }
}

/// Checks the transactions of blocks whose proofs were found good: no others, so that a liar does not make this node verify what it made up.
fn verify(shared: &Shared, view: &View, portion: &mut [Given]) {
    let application = shared.ledger.application.as_ref();
    let mut unknown = Vec::new();
    let mut proven: Vec<_> = portion
        .iter_mut()
        .filter_map(|given| given.block.as_mut().ok())
        .filter(|(_, _, known)| known.proven_by.is_some())
        .collect();
    for (block, _, known) in &mut proven {
        known.ids = block.transactions().iter().map(|one| application.transaction_id(one)).collect();
        let before = shared.known(view.tip.height, &known.ids, block.transactions());
        known.good = before.into_iter().map(|known| known.good).collect();
        let new = block.transactions().iter().zip(&known.good).filter(|(_, good)| !**good);
        unknown.extend(new.map(|(bytes, _)| bytes.clone()));
    }
    let state = StateView(view.snapshot.as_ref());
    let mut verdicts = verify_parallel(application, &state, &unknown).into_iter();
    for good in proven.iter_mut().flat_map(|(_, _, known)| &mut known.good).filter(|good| !**good) {
        // A refusal says nothing yet: it may rest on what a block between writes.
        *good = verdicts.next().is_some_and(|verdict| verdict.is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn peer() -> PeerId {
        PeerId::new([1; 32])
    }

    fn block(height: u64, parent_hash: Hash) -> Block {
        sample::block(height, parent_hash, &[], &[])
    }

    fn answer(from: u64, blocks: usize, bytes: usize) -> Answer {
        let one = (Bytes::from(vec![0; bytes]), Bytes::new());
        Answer { peer: peer(), from: Height(from), blocks: vec![one; blocks] }
    }

    #[test]
    fn it_is_full_by_blocks_by_bytes_and_by_answers_that_nobody_checked() {
        for (answers, blocks, bytes) in [(1, BLOCKS_AHEAD, 1), (1, 1, BYTES_AHEAD), (ANSWERS_MAX, 1, 1)] {
            let (mut at_hand, _jobs, _portions) = AtHand::new();
            for _ in 0..answers {
                assert!(!at_hand.is_full());
                at_hand.add(answer(1, blocks, bytes));
            }
            assert!(at_hand.is_full(), "{answers} answers of {blocks} blocks of {bytes} bytes");
            at_hand.clear();
            assert_eq!((at_hand.blocks, at_hand.bytes), (0, 0));
        }
    }

    #[test]
    fn the_last_block_at_hand_is_where_the_next_answer_goes_on() {
        let (mut at_hand, _jobs, _portions) = AtHand::new();
        assert_eq!(at_hand.last(Height(7)), Height(7));
        at_hand.add(answer(8, 5, 1));
        assert_eq!(at_hand.last(Height(7)), Height(12));
        assert_eq!(at_hand.last(Height(20)), Height(20));
        at_hand.clear();
        assert_eq!(at_hand.last(Height(7)), Height(7));
    }

    #[test]
    fn what_was_given_up_while_it_was_checked_is_not_taken() {
        let (mut at_hand, mut jobs, portions) = AtHand::new();
        at_hand.add(answer(1, 1, 1));
        let generation = jobs.try_recv().unwrap().generation;
        at_hand.clear();
        let given = || Given { peer: peer(), block: Err("no block".into()), bytes: 1 };
        assert!(portions.try_send(Portion { blocks: vec![given()], generation }).is_ok());
        assert!(at_hand.next().is_none());
        assert!(portions.try_send(Portion { blocks: vec![given()], generation: generation + 1 }).is_ok());
        assert!(at_hand.next().is_some());
    }

    #[test]
    fn a_block_of_an_answer_must_follow_the_one_before_it() {
        let first = block(4, Hash::ZERO);
        let second = block(5, first.hash());
        let read = |blocks: &[&Block]| {
            let mut chain = Chain { next: Height(4), parent: None };
            let one = |block: &&Block| chain.read(peer(), (block.encoded().clone(), Bytes::new())).block.is_ok();
            blocks.iter().map(one).collect::<Vec<_>>()
        };
        assert_eq!(read(&[&first, &second]), [true, true]);
        assert_eq!(read(&[&second]), [false]);
        assert_eq!(read(&[&first, &block(6, first.hash())]), [true, false]);
        assert_eq!(read(&[&first, &block(5, Hash::ZERO)]), [true, false]);
    }
}
