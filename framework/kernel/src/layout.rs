//! Where a chain's records stand in the store: keys and their bytes.
//!
//! | key | value |
//! |---|---|
//! | `m/chain` | chain id, 32 bytes |
//! | `m/genesis` | the genesis file's text |
//! | `m/tip` | borsh of [`Tip`]: the last final block |
//! | `m/from` | height:u64be: the lowest height that has a row `b`, once blocks were removed (`prune.rs`) |
//! | `b` height:u64be | block, proof, receipts: see [`StoredBlock`]; from `m/from` on |
//! | `h` hash | height:u64be |
//! | `t` transaction id | height:u64be, index:u32be |
//! | `v` (2^64 - 1 - height):u64be | borsh of the validators from this height on |
//! | `s` key | the application's state |
//! | `e` hash of (offender, height) | borsh of an evidence record that a block carries |
//! | `p` hash of (offender, height) | borsh of an evidence record that waits for a block |
//! | `c` | of a node without a key: height:u64be, then the consensus' saved record of that height; a validator's lies in its guard |
//! | `x` | a second final block with its proof, should there ever be one |

use bytes::{BufMut, Bytes, BytesMut};
use quorate::{
    Block, Hash, Height, PublicKey, TransactionId, ValidatorSet,
    consensus::Tip,
    node::EvidenceRecord,
    storage::{Snapshot, StorageError},
};

use crate::packed::Packed;

pub(crate) const CHAIN: &[u8] = b"m/chain";
pub(crate) const GENESIS: &[u8] = b"m/genesis";
pub(crate) const TIP: &[u8] = b"m/tip";
pub(crate) const BLOCKS_FROM: &[u8] = b"m/from";
pub(crate) const SAVED: &[u8] = b"c";
pub(crate) const CONFLICT: &[u8] = b"x";

fn key(prefix: u8, rest: &[u8]) -> Bytes {
    let mut key = BytesMut::with_capacity(1 + rest.len());
    key.put_u8(prefix);
    key.put_slice(rest);
    key.freeze()
}

pub(crate) fn block(height: Height) -> Bytes {
    key(b'b', &height.0.to_be_bytes())
}

pub(crate) fn hash(hash: &Hash) -> Bytes {
    key(b'h', hash.as_bytes())
}

/// The row of a final transaction.
pub(crate) fn transaction(rows: &mut Packed, id: &TransactionId, height: Height, index: u32) -> (Bytes, Bytes) {
    (rows.put([b"t", id.as_bytes()]), rows.put([&height.0.to_be_bytes(), &index.to_be_bytes()]))
}

pub(crate) fn validators(height: Height) -> Bytes {
    key(b'v', &(u64::MAX - height.0).to_be_bytes())
}

/// Keys up to this length are put together without asking for memory.
const SHORT_KEY_BYTES: usize = 128;

/// Looks at the key `prefix` `rest`.
fn with_key<T>(prefix: u8, rest: &[u8], look: impl FnOnce(&[u8]) -> T) -> T {
    let mut short = [0; SHORT_KEY_BYTES];
    if let Some([first, others @ ..]) = short.get_mut(..=rest.len()) {
        *first = prefix;
        others.copy_from_slice(rest);
    }
    match short.get(..=rest.len()) {
        Some(short) => look(short),
        None => look(&key(prefix, rest)),
    }
}

/// What goes before the application's keys.
pub(crate) const STATE: u8 = b's';

pub(crate) fn state(of: &[u8]) -> Bytes {
    key(STATE, of)
}

/// Looks at the key of a row of the application's state.
pub(crate) fn with_state<T>(of: &[u8], look: impl FnOnce(&[u8]) -> T) -> T {
    with_key(STATE, of, look)
}

pub(crate) fn offence(offender: &PublicKey, height: Height) -> Hash {
    Hash::of(&[offender.as_bytes(), &height.0.to_be_bytes()])
}

pub(crate) fn evidence(offence: &Hash) -> Bytes {
    key(b'e', offence.as_bytes())
}

pub(crate) fn pending_evidence(offence: &Hash) -> Bytes {
    key(b'p', offence.as_bytes())
}

/// A final block as stored: three lengths and their bytes, each length as u32le, the receipts as a list.
#[derive(Debug, Clone)]
pub struct StoredBlock {
    /// The block.
    pub block: Block,
    /// Its proof of finality.
    pub proof: Bytes,
    /// What the application says each transaction did.
    pub receipts: Vec<Bytes>,
}

impl StoredBlock {
    pub(crate) fn encode(block: &Block, proof: &Bytes, receipts: &[Bytes]) -> Bytes {
        let receipt_bytes: usize = receipts.iter().map(|one| one.len() + 4).sum();
        let mut out = BytesMut::with_capacity(block.encoded().len() + proof.len() + receipt_bytes + 12);
        for part in [block.encoded(), proof].into_iter().chain(receipts) {
            out.put_u32_le(u32::try_from(part.len()).unwrap_or(u32::MAX));
            out.put_slice(part);
        }
        out.freeze()
    }

    pub(crate) fn decode(value: &Bytes) -> Result<Self, StorageError> {
        let damaged = || StorageError::Damaged("a stored block can't be read".into());
        let mut parts = Vec::new();
        let mut at = 0usize;
        while at < value.len() {
            let len = value.get(at..at + 4).and_then(|raw| raw.try_into().ok()).map(u32::from_le_bytes);
            let start = at + 4;
            let end = start + len.ok_or_else(damaged)? as usize;
            if end > value.len() {
                return Err(damaged());
            }
            parts.push(value.slice(start..end));
            at = end;
        }
        let mut parts = parts.into_iter();
        let (block, proof) = parts.next().zip(parts.next()).ok_or_else(damaged)?;
        let block = Block::decode_trusted(block).map_err(|_| damaged())?;
        Ok(Self { block, proof, receipts: parts.collect() })
    }
}

/// Reads of the chain in one snapshot.
pub struct ChainReader<'a>(pub &'a dyn Snapshot);

impl ChainReader<'_> {
    /// The last final block; `None` in an empty store.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn tip(&self) -> Result<Option<Tip>, StorageError> {
        self.0.get(TIP)?.map(|raw| from_borsh(&raw, "the tip")).transpose()
    }

    /// The genesis text with which the chain was begun.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn genesis(&self) -> Result<Option<String>, StorageError> {
        let text = self.0.get(GENESIS)?;
        text.map(|raw| String::from_utf8(raw.to_vec()).map_err(|_| StorageError::Damaged("genesis is not text".into())))
            .transpose()
    }

    /// The lowest height whose block is here, or will be: those below were removed.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn blocks_from(&self) -> Result<Height, StorageError> {
        self.0.get(BLOCKS_FROM)?.map_or(Ok(Height(1)), |raw| height_from(&raw))
    }

    /// A final block.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn block(&self, height: Height) -> Result<Option<StoredBlock>, StorageError> {
        self.0.get(&block(height))?.map(|value| StoredBlock::decode(&value)).transpose()
    }

    /// The height of a final block.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn height_of(&self, of: &Hash) -> Result<Option<Height>, StorageError> {
        self.0.get(&hash(of))?.map(|raw| height_from(&raw)).transpose()
    }

    /// Where a final transaction stands: height and position.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn transaction(&self, id: &TransactionId) -> Result<Option<(Height, u32)>, StorageError> {
        let Some(raw) = with_key(b't', id.as_bytes(), |key| self.0.get(key))? else { return Ok(None) };
        let height = height_from(&raw)?;
        let index = raw.get(8..12).and_then(|raw| raw.try_into().ok()).map(u32::from_be_bytes);
        let index = index.ok_or_else(|| StorageError::Damaged("a transaction's place can't be read".into()))?;
        Ok(Some((height, index)))
    }

    /// The validators of a height.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn validators(&self, height: Height) -> Result<ValidatorSet, StorageError> {
        let found = self.0.scan(&validators(height), b"w", 1)?;
        let (_, raw) = found.first().ok_or_else(|| StorageError::Damaged("no validators are stored".into()))?;
        from_borsh(raw, "the validators")
    }

    /// Evidence that blocks carry, or that waits, at most `limit` of each.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn evidence(&self, limit: usize) -> Result<Vec<EvidenceRecord>, StorageError> {
        let mut records = Vec::new();
        for (from, to) in [(b"p", b"q"), (b"e", b"f")] {
            for (_, raw) in self.0.scan(from, to, limit)? {
                records.push(from_borsh(&raw, "a record of evidence")?);
            }
        }
        Ok(records)
    }

    /// The consensus' saved record, if it is of `height`.
    pub(crate) fn saved(&self, height: Height) -> Result<Option<Bytes>, StorageError> {
        let Some(raw) = self.0.get(SAVED)? else { return Ok(None) };
        Ok((height_from(&raw)? == height).then(|| raw.slice(8..)))
    }
}

pub(crate) fn with_height(height: Height, rest: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(8 + rest.len());
    out.put_u64(height.0);
    out.put_slice(rest);
    out.freeze()
}

fn height_from(raw: &Bytes) -> Result<Height, StorageError> {
    let height = raw.get(..8).and_then(|raw| raw.try_into().ok()).map(u64::from_be_bytes);
    height.map(Height).ok_or_else(|| StorageError::Damaged("a height can't be read".into()))
}

pub(crate) fn from_borsh<T: borsh::BorshDeserialize>(raw: &[u8], what: &str) -> Result<T, StorageError> {
    borsh::from_slice(raw).map_err(|error| StorageError::Damaged(format!("{what}: {error}")))
}

pub(crate) fn to_borsh<T: borsh::BorshSerialize>(value: &T) -> Bytes {
    // Writing plain values to memory does not fail.
    borsh::to_vec(value).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_looked_at_with_its_prefix_however_long_it_is() {
        for len in [0, 1, SHORT_KEY_BYTES - 1, SHORT_KEY_BYTES, 1000] {
            let rest = vec![7; len];
            with_state(&rest, |key| assert_eq!(key, &state(&rest)[..], "{len} bytes"));
        }
    }

    #[test]
    fn validators_are_found_by_the_last_change_at_or_below() {
        assert!(validators(Height(5)) < validators(Height(4)));
        assert!(validators(Height(0)).as_ref() < b"w".as_slice());
    }
}
