//! Final blocks that were asked for last, read and taken apart: what everybody asks for is not read from the store each time.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use quorate::{
    Block, Bytes, Hash, Height, PublicKey, Receipt, TransactionId, ValidatorSet,
    consensus::Certificate,
    merkle::{self, Path},
    node::FinalBlock,
};

/// Blocks kept at most.
const BLOCKS_MAX: usize = 32;

/// Bytes of one that is kept, with its receipts, at most.
const BLOCK_BYTES_MAX: usize = 256 << 10;

/// Bytes of all that are kept at most.
const BYTES_MAX: usize = 2 << 20;

/// A final block and what answers about it are made of.
pub(crate) struct HotBlock {
    pub(crate) block: Block,
    pub(crate) proof: Bytes,
    pub(crate) certificate: Certificate,
    /// The creator's name and key.
    pub(crate) creator: (String, PublicKey),
    /// The validators of its height.
    pub(crate) validators: ValidatorSet,
    /// The receipts of its transactions, in order.
    pub(crate) receipts: Vec<Bytes>,
    /// Made when they are needed: the block as it is told, and leaf hashes of transactions and of receipts.
    pub(crate) made: Made,
}

/// What takes a hash for each transaction.
#[derive(Default)]
pub(crate) struct Made {
    told: OnceLock<Arc<FinalBlock>>,
    leaves: OnceLock<(Vec<Hash>, Vec<Hash>)>,
}

impl HotBlock {
    /// The block as it is told; `id` gives a transaction's id.
    pub(crate) fn told(&self, id: impl Fn(&Bytes) -> TransactionId) -> Arc<FinalBlock> {
        let told = self.made.told.get_or_init(|| {
            Arc::new(FinalBlock {
                block: self.block.clone(),
                proof: self.proof.clone(),
                certificate: self.certificate.clone(),
                transaction_ids: self.block.transactions().iter().map(id).collect(),
                creator: self.creator.0.clone(),
                creator_key: self.creator.1,
            })
        });
        Arc::clone(told)
    }

    /// The receipt of the transaction at `index`, whose id is `id`; `None` if there is no such transaction.
    pub(crate) fn receipt(&self, id: TransactionId, index: usize) -> Option<Receipt> {
        let (transactions, outcomes) = self.made.leaves.get_or_init(|| {
            (self.block.transaction_leaves(), self.receipts.iter().map(|receipt| merkle::leaf(receipt)).collect())
        });
        let path = |leaves: &[Hash]| -> Option<Path> { merkle::path(leaves, index) };
        Some(Receipt {
            transaction_id: id,
            transaction: self.block.transactions().get(index)?.clone(),
            transaction_path: path(transactions)?,
            outcome: self.receipts.get(index)?.clone(),
            outcome_path: path(outcomes)?,
            header: self.block.header().clone(),
            block_hash: self.block.hash(),
            validators: self.validators.clone(),
            proof: self.proof.clone(),
        })
    }

    fn height(&self) -> Height {
        self.block.height()
    }

    /// Bytes that it takes, with all that may be made of it.
    fn bytes(&self) -> usize {
        let hashes = 32 * (2 * self.block.transactions().len() + self.receipts.len());
        let receipts: usize = self.receipts.iter().map(Bytes::len).sum();
        self.block.encoded().len() + self.proof.len() + receipts + hashes
    }
}

/// The blocks that were asked for last, the last one first.
#[derive(Default)]
pub(crate) struct Hot(Mutex<VecDeque<Arc<HotBlock>>>);

impl Hot {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<HotBlock>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The block of `height`, if it is here.
    pub(crate) fn get(&self, height: Height) -> Option<Arc<HotBlock>> {
        let mut blocks = self.lock();
        let at = blocks.iter().position(|block| block.height() == height)?;
        if at > 0
            && let Some(block) = blocks.remove(at)
        {
            blocks.push_front(block);
        }
        blocks.front().cloned()
    }

    /// Keeps a block, unless it is large.
    pub(crate) fn keep(&self, block: Arc<HotBlock>) {
        if block.bytes() > BLOCK_BYTES_MAX {
            return;
        }
        let mut blocks = self.lock();
        blocks.retain(|known| known.height() != block.height());
        blocks.push_front(block);
        while blocks.len() > BLOCKS_MAX || blocks.iter().map(|block| block.bytes()).sum::<usize>() > BYTES_MAX {
            blocks.pop_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate::Validator;

    use super::*;
    use crate::sample;

    fn hot(height: u64, transactions: &[Bytes]) -> Arc<HotBlock> {
        let one = Validator { name: "one".into(), public_key: PublicKey::new([1; 32]) };
        Arc::new(HotBlock {
            block: sample::block(height, Hash::ZERO, transactions, &[]),
            proof: Bytes::from_static(b"proof"),
            certificate: Certificate::default(),
            creator: ("one".into(), one.public_key),
            validators: ValidatorSet::new(vec![one]).unwrap(),
            receipts: transactions.iter().map(|transaction| transaction.slice(..1)).collect(),
            made: Made::default(),
        })
    }

    fn of_bytes(height: u64, len: usize) -> Arc<HotBlock> {
        hot(height, &[vec![0; len].into()])
    }

    fn heights(hot: &Hot) -> Vec<u64> {
        hot.lock().iter().map(|block| block.height().0).collect()
    }

    #[test]
    fn what_was_asked_for_last_stays() {
        let hot = Hot::default();
        for height in 0..BLOCKS_MAX as u64 {
            hot.keep(of_bytes(height, 10));
        }
        assert_eq!(hot.get(Height(0)).unwrap().height(), Height(0));
        assert!(hot.get(Height(1 << 40)).is_none());
        hot.keep(of_bytes(1000, 10));
        assert!(hot.get(Height(0)).is_some() && hot.get(Height(1)).is_none());
        assert_eq!(heights(&hot).len(), BLOCKS_MAX);
        hot.keep(of_bytes(1000, 10));
        assert_eq!(heights(&hot).iter().filter(|height| **height == 1000).count(), 1);
    }

    #[test]
    fn bytes_are_bounded_and_a_large_one_displaces_none() {
        let hot = Hot::default();
        for height in 0..20 {
            hot.keep(of_bytes(height, 200 << 10));
        }
        assert_eq!(heights(&hot), (10..20).rev().collect::<Vec<_>>());
        hot.keep(of_bytes(30, BLOCK_BYTES_MAX));
        assert_eq!(heights(&hot).len(), 10);
    }

    #[test]
    fn what_is_told_is_the_same_each_time() {
        let transactions: Vec<Bytes> = (0..5u8).map(|fill| Bytes::from(vec![fill; 9])).collect();
        let hot = hot(3, &transactions);
        let id = |transaction: &Bytes| TransactionId::new([transaction[0]; 32]);
        for _ in 0..2 {
            let told = hot.told(id);
            assert_eq!(told.block, hot.block);
            assert_eq!(told.transaction_ids, transactions.iter().map(id).collect::<Vec<_>>());
            for (index, transaction) in transactions.iter().enumerate() {
                let receipt = hot.receipt(id(transaction), index).unwrap();
                assert_eq!((receipt.transaction, receipt.outcome), (transaction.clone(), transaction.slice(..1)));
                let leaf = merkle::leaf(transaction);
                assert_eq!(receipt.transaction_path.root(leaf), Some(hot.block.header().tx_root));
            }
            assert!(hot.receipt(id(&transactions[0]), 5).is_none());
        }
        assert!(Arc::ptr_eq(&hot.told(id), &hot.told(id)), "it is made once");
    }
}
