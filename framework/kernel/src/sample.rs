//! Blocks for tests.

use quorate::{Block, Bytes, ChainId, Hash, Header, Height, Round, Timestamp, ValidatorIndex, block::BLOCK_VERSION};

/// A block with these transactions and pieces of evidence; all else in its header is zero.
pub(crate) fn block(height: u64, parent_hash: Hash, transactions: &[Bytes], evidence: &[Bytes]) -> Block {
    let header = Header {
        version: BLOCK_VERSION,
        chain_id: ChainId::new([0; 32]),
        height: Height(height),
        parent_hash,
        time: Timestamp(height),
        creator: ValidatorIndex(0),
        created_round: Round(0),
        tx_root: Hash::ZERO,
        evidence_root: Hash::ZERO,
        app_hash: Hash::ZERO,
        receipts_root: Hash::ZERO,
        validators_hash: Hash::ZERO,
        next_validators_hash: Hash::ZERO,
    };
    Block::new(header, transactions, evidence).unwrap()
}
