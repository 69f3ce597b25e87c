//! Blocks: what is agreed on, and its bytes.
//!
//! ```text
//! block   = header || body
//! header  = borsh of the fields of `Header` in order, HEADER_BYTES long
//! body    = list(transactions) || list(evidence)
//! list    = count:u32le || count times (length:u32le || bytes)
//! hash    = SHA-256("quorate/header/1\0" || header)
//! ```
//!
//! A [`Block`] in memory is well-formed: its constructors check the body against the roots in the header, so a body that was
//! changed on the way is never taken for a bad block of its creator.

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::{
    merkle,
    primitives::{ChainId, Hash, Height, Round, Timestamp, ValidatorIndex},
};

/// The version of the block format which this crate writes and reads.
pub const BLOCK_VERSION: u16 = 1;

/// Length of an encoded header.
pub const HEADER_BYTES: usize = 2 + 32 + 8 + 32 + 8 + 2 + 4 + 32 * 6;

/// Bytes of an encoded block at most, whatever genesis says.
pub const BLOCK_BYTES_MAX: usize = 16 << 20;

/// Transactions in a block at most, whatever genesis says.
pub const BLOCK_TRANSACTIONS_MAX: usize = 65_536;

/// Pieces of evidence in a block at most.
pub const BLOCK_EVIDENCE_MAX: usize = 16;

/// Bytes of one piece of evidence at most.
pub const EVIDENCE_BYTES_MAX: usize = 64 << 10;

/// What validators sign: a block's place, its creator, and the roots of everything in it and after it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Header {
    /// [`BLOCK_VERSION`].
    pub version: u16,
    /// The network.
    pub chain_id: ChainId,
    /// Its place, from 1.
    pub height: Height,
    /// Hash of the block before; at height 1 the hash of genesis, which is the chain id.
    pub parent_hash: Hash,
    /// The creator's wall clock, later than the parent's.
    pub time: Timestamp,
    /// Who made the block.
    pub creator: ValidatorIndex,
    /// The round for which it was made; it may be decided in a later one.
    pub created_round: Round,
    /// RFC 6962 root over the transactions' bytes.
    pub tx_root: Hash,
    /// RFC 6962 root over the pieces of evidence.
    pub evidence_root: Hash,
    /// The application's hash of its state after this block.
    pub app_hash: Hash,
    /// RFC 6962 root over the receipts' bytes, one a transaction.
    pub receipts_root: Hash,
    /// Hash of the validators of this height.
    pub validators_hash: Hash,
    /// Hash of the validators of the next height.
    pub next_validators_hash: Hash,
}

impl Header {
    /// The block's hash.
    pub fn hash(&self) -> Hash {
        Hash::of(&[b"quorate/header/1\0", &self.encode()])
    }

    /// The canonical bytes, [`HEADER_BYTES`] long.
    pub fn encode(&self) -> Vec<u8> {
        // Writing plain fields to memory does not fail.
        borsh::to_vec(self).unwrap_or_default()
    }
}

/// Why bytes are not a block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// Larger than [`BLOCK_BYTES_MAX`].
    #[error("block has {0} bytes; the limit is {BLOCK_BYTES_MAX}")]
    TooLarge(usize),
    /// Another format.
    #[error("block version is {0}; this node reads {BLOCK_VERSION}")]
    Version(u16),
    /// The bytes end early.
    #[error("block is cut short in {0}")]
    CutShort(&'static str),
    /// Bytes follow the block.
    #[error("{0} bytes follow the block")]
    Trailing(usize),
    /// A list is too long.
    #[error("block has {count} {what}; the limit is {limit}")]
    TooMany {
        /// What is listed.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The body is not the one that the header names.
    #[error("block {height}: the body's {what} root is {found}, the header says {expected}")]
    WrongBody {
        /// The header's height.
        height: Height,
        /// Which root.
        what: &'static str,
        /// The body's.
        found: Hash,
        /// The header's.
        expected: Hash,
    },
}

struct Inner {
    hash: Hash,
    header: Header,
    encoded: Bytes,
    transactions: Vec<Bytes>,
    evidence: Vec<Bytes>,
}

/// A well-formed block. Cloning shares it; transactions are slices of its one buffer.
#[derive(Clone)]
pub struct Block(Arc<Inner>);

impl Block {
    /// Makes a block of its parts, filling `tx_root` and `evidence_root` in the header.
    ///
    /// # Errors
    ///
    /// [`BlockError::TooMany`] or [`BlockError::TooLarge`].
    pub fn new(mut header: Header, transactions: &[Bytes], evidence: &[Bytes]) -> Result<Self, BlockError> {
        header.tx_root = root_of(transactions);
        header.evidence_root = root_of(evidence);
        let body: usize = transactions.iter().chain(evidence).map(|item| item.len() + 4).sum::<usize>() + 8;
        let mut encoded = BytesMut::with_capacity(HEADER_BYTES + body);
        encoded.put_slice(&header.encode());
        for list in [transactions, evidence] {
            encoded.put_u32_le(u32::try_from(list.len()).unwrap_or(u32::MAX));
            for item in list {
                encoded.put_u32_le(u32::try_from(item.len()).unwrap_or(u32::MAX));
                encoded.put_slice(item);
            }
        }
        Self::parse(encoded.freeze(), false)
    }

    /// Reads a block and checks its body against its header.
    ///
    /// # Errors
    ///
    /// [`BlockError`] says what is wrong with the bytes.
    pub fn decode(encoded: Bytes) -> Result<Self, BlockError> {
        Self::parse(encoded, true)
    }

    /// Reads a block which this node stored itself, without hashing the body again.
    ///
    /// # Errors
    ///
    /// [`BlockError`] if the bytes are not of this form.
    pub fn decode_trusted(encoded: Bytes) -> Result<Self, BlockError> {
        Self::parse(encoded, false)
    }

    fn parse(encoded: Bytes, check_roots: bool) -> Result<Self, BlockError> {
        if encoded.len() > BLOCK_BYTES_MAX {
            return Err(BlockError::TooLarge(encoded.len()));
        }
        let head = encoded.get(..HEADER_BYTES).ok_or(BlockError::CutShort("the header"))?;
        let header = Header::try_from_slice(head).map_err(|_| BlockError::CutShort("the header"))?;
        if header.version != BLOCK_VERSION {
            return Err(BlockError::Version(header.version));
        }
        let mut at = HEADER_BYTES;
        let transactions = read_list(&encoded, &mut at, "transactions", BLOCK_TRANSACTIONS_MAX)?;
        let evidence = read_list(&encoded, &mut at, "pieces of evidence", BLOCK_EVIDENCE_MAX)?;
        if at != encoded.len() {
            return Err(BlockError::Trailing(encoded.len() - at));
        }
        if check_roots {
            let roots = [
                ("transaction", root_of(&transactions), header.tx_root),
                ("evidence", root_of(&evidence), header.evidence_root),
            ];
            for (what, found, expected) in roots {
                if found != expected {
                    return Err(BlockError::WrongBody { height: header.height, what, found, expected });
                }
            }
        }
        let hash = Hash::of(&[b"quorate/header/1\0", head]);
        Ok(Self(Arc::new(Inner { hash, header, encoded, transactions, evidence })))
    }

    /// The block's hash: that of its header.
    pub fn hash(&self) -> Hash {
        self.0.hash
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.0.header
    }

    /// The height in the header.
    pub fn height(&self) -> Height {
        self.0.header.height
    }

    /// The transactions in order, as slices of the encoded block.
    pub fn transactions(&self) -> &[Bytes] {
        &self.0.transactions
    }

    /// The pieces of evidence in order.
    pub fn evidence(&self) -> &[Bytes] {
        &self.0.evidence
    }

    /// The canonical bytes (shared, not copied).
    pub fn encoded(&self) -> &Bytes {
        &self.0.encoded
    }

    /// Leaf hashes of the transactions, for paths.
    pub fn transaction_leaves(&self) -> Vec<Hash> {
        self.0.transactions.iter().map(|tx| merkle::leaf(tx)).collect()
    }
}

impl PartialEq for Block {
    fn eq(&self, other: &Self) -> bool {
        self.hash() == other.hash()
    }
}

impl Eq for Block {}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Block({} {} with {} transactions)", self.height(), self.hash(), self.transactions().len())
    }
}

fn root_of(items: &[Bytes]) -> Hash {
    let leaves: Vec<Hash> = items.iter().map(|item| merkle::leaf(item)).collect();
    merkle::root(&leaves)
}

fn read_u32(bytes: &Bytes, at: &mut usize, what: &'static str) -> Result<usize, BlockError> {
    let end = at.saturating_add(4);
    let raw = bytes.get(*at..end).and_then(|raw| raw.try_into().ok());
    *at = end;
    raw.map(|raw| u32::from_le_bytes(raw) as usize).ok_or(BlockError::CutShort(what))
}

fn read_list(bytes: &Bytes, at: &mut usize, what: &'static str, limit: usize) -> Result<Vec<Bytes>, BlockError> {
    let count = read_u32(bytes, at, what)?;
    if count > limit {
        return Err(BlockError::TooMany { what, count, limit });
    }
    let mut items = Vec::with_capacity(count.min(bytes.len() / 4));
    for _ in 0..count {
        let len = read_u32(bytes, at, what)?;
        let end = at.saturating_add(len);
        if end > bytes.len() {
            return Err(BlockError::CutShort(what));
        }
        items.push(bytes.slice(*at..end));
        *at = end;
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            version: BLOCK_VERSION,
            chain_id: ChainId::new([1; 32]),
            height: Height(7),
            parent_hash: Hash::new([2; 32]),
            time: Timestamp(1_700_000_000_000),
            creator: ValidatorIndex(1),
            created_round: Round(0),
            tx_root: Hash::ZERO,
            evidence_root: Hash::ZERO,
            app_hash: Hash::new([3; 32]),
            receipts_root: Hash::new([4; 32]),
            validators_hash: Hash::new([5; 32]),
            next_validators_hash: Hash::new([6; 32]),
        }
    }

    fn block() -> Block {
        let transactions = [Bytes::from_static(b"one"), Bytes::from_static(b""), Bytes::from_static(b"three")];
        Block::new(header(), &transactions, &[Bytes::from_static(b"proof")]).unwrap()
    }

    #[test]
    fn a_block_reads_back_as_itself() {
        let block = block();
        let again = Block::decode(block.encoded().clone()).unwrap();
        assert_eq!(again.hash(), block.hash());
        assert_eq!(again.transactions(), block.transactions());
        assert_eq!(again.header().hash(), block.hash());
        assert_eq!(block.header().encode().len(), HEADER_BYTES);
    }

    /// Golden: a change of these bytes is a change of the format.
    #[test]
    fn golden_hash() {
        assert_eq!(block().hash().to_string(), "0x43cbf725ff5b18337d1159be7c3cfb93ff3b388a130fa3baddb76b2d74683dc5");
    }

    #[test]
    fn no_flipped_bit_and_no_cut_gives_the_same_block() {
        let block = block();
        let good = block.encoded().to_vec();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            if let Ok(other) = Block::decode(bad.into()) {
                assert_ne!(other.hash(), block.hash(), "bit {bit}");
            }
        }
        for len in 0..good.len() {
            assert!(Block::decode(good[..len].to_vec().into()).is_err());
        }
    }
}
