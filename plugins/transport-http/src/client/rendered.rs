//! Answers to `quorate_block` as they were written last: everybody asks for the same few blocks, and a final block never changes.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use quorate::{Bytes, Hash, node::FinalBlock};

use super::errors::RpcError;

/// Answers kept at most.
const ANSWERS_MAX: usize = 32;

/// Bytes of one that is kept, with the proof in it, at most.
const ANSWER_BYTES_MAX: usize = 512 << 10;

/// Bytes of all that are kept at most.
const BYTES_MAX: usize = 1 << 20;

/// The last ones, the newest first. Whether a block may be told at all is the node's affair, which is asked each time.
#[derive(Default)]
pub(crate) struct Rendered(Mutex<VecDeque<Answer>>);

/// An answer, and all that it depends on: the hash fixes the block, its creator and its transactions; two nodes, or one at two
/// times, may have different proofs of it.
struct Answer {
    hash: Hash,
    proof: Bytes,
    text: Bytes,
}

impl Answer {
    fn bytes(&self) -> usize {
        self.proof.len() + self.text.len()
    }
}

impl Rendered {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Answer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer about `block`, written by `write` unless it is here.
    ///
    /// # Errors
    ///
    /// Those of `write`.
    pub(crate) fn block(
        &self,
        block: &FinalBlock,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), RpcError>,
    ) -> Result<Bytes, RpcError> {
        let hash = block.block.hash();
        if let Some(text) = self.get(&hash, &block.proof) {
            return Ok(text);
        }
        let mut text = Vec::new();
        write(&mut text)?;
        // What is kept takes the room of its bytes and no more: the proof may be a part of something large.
        let text = Bytes::from(text.into_boxed_slice());
        self.keep(Answer { hash, proof: Bytes::copy_from_slice(&block.proof), text: text.clone() });
        Ok(text)
    }

    fn get(&self, hash: &Hash, proof: &Bytes) -> Option<Bytes> {
        let mut answers = self.lock();
        let at = answers.iter().position(|answer| answer.hash == *hash && answer.proof == *proof)?;
        if at > 0
            && let Some(answer) = answers.remove(at)
        {
            answers.push_front(answer);
        }
        answers.front().map(|answer| answer.text.clone())
    }

    fn keep(&self, answer: Answer) {
        if answer.bytes() > ANSWER_BYTES_MAX {
            return;
        }
        let mut answers = self.lock();
        answers.retain(|known| known.hash != answer.hash);
        answers.push_front(answer);
        while answers.len() > ANSWERS_MAX || answers.iter().map(Answer::bytes).sum::<usize>() > BYTES_MAX {
            answers.pop_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate::{
        Block, ChainId, Header, Height, PublicKey, Round, Timestamp, ValidatorIndex, block::BLOCK_VERSION,
        consensus::Certificate,
    };

    use super::*;

    fn block(height: u64, proof: &'static [u8]) -> FinalBlock {
        let header = Header {
            version: BLOCK_VERSION,
            chain_id: ChainId::new([1; 32]),
            height: Height(height),
            parent_hash: Hash::ZERO,
            time: Timestamp(1),
            creator: ValidatorIndex(0),
            created_round: Round(0),
            tx_root: Hash::ZERO,
            evidence_root: Hash::ZERO,
            app_hash: Hash::ZERO,
            receipts_root: Hash::ZERO,
            validators_hash: Hash::ZERO,
            next_validators_hash: Hash::ZERO,
        };
        FinalBlock {
            block: Block::new(header, &[], &[]).unwrap(),
            proof: Bytes::from_static(proof),
            certificate: Certificate::default(),
            transaction_ids: Vec::new(),
            creator: "one".into(),
            creator_key: PublicKey::new([1; 32]),
        }
    }

    /// Asks for a block, whose answer has `len` bytes; returns whether it had to be written.
    fn is_written(rendered: &Rendered, block: &FinalBlock, len: usize) -> bool {
        let mut written = false;
        let text = rendered.block(block, |text| {
            written = true;
            text.resize(len, b' ');
            Ok(())
        });
        assert_eq!(text.unwrap().len(), len);
        written
    }

    #[test]
    fn an_answer_is_written_once_for_each_proof() {
        let rendered = Rendered::default();
        let written =
            [b"a".as_slice(), b"a", b"b", b"b", b"a"].map(|proof| is_written(&rendered, &block(1, proof), 10));
        assert_eq!(written, [true, false, true, false, true]);
        assert!(is_written(&rendered, &block(2, b"a"), 10));
        assert_eq!(rendered.lock().len(), 2, "of a block one answer is kept");
    }

    #[test]
    fn what_could_not_be_written_is_not_kept() {
        let rendered = Rendered::default();
        assert!(rendered.block(&block(1, b""), |_| Err(RpcError::unexpected())).is_err());
        assert!(is_written(&rendered, &block(1, b""), 10));
    }

    #[test]
    fn what_was_asked_for_last_stays_within_the_bounds() {
        let rendered = Rendered::default();
        for height in 0..ANSWERS_MAX as u64 {
            assert!(is_written(&rendered, &block(height, b""), 10));
        }
        assert!(!is_written(&rendered, &block(0, b""), 10));
        assert!(is_written(&rendered, &block(1000, b""), 10));
        assert!(!is_written(&rendered, &block(0, b""), 10));
        assert!(is_written(&rendered, &block(1, b""), 10));
        assert_eq!(rendered.lock().len(), ANSWERS_MAX);
        assert!(is_written(&rendered, &block(2000, b""), ANSWER_BYTES_MAX));
        assert!(is_written(&rendered, &block(2001, b""), ANSWER_BYTES_MAX));
        assert_eq!(rendered.lock().iter().map(Answer::bytes).sum::<usize>(), BYTES_MAX);
        assert!(is_written(&rendered, &block(2002, b""), ANSWER_BYTES_MAX + 1));
        assert!(is_written(&rendered, &block(2002, b""), ANSWER_BYTES_MAX + 1), "a large one is not kept");
        assert!(!is_written(&rendered, &block(2001, b""), ANSWER_BYTES_MAX), "and displaces none");
    }
}
