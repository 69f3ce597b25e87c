//! Where the state keeps what, and the hash that names it.
//!
//! | key | value |
//! |---|---|
//! | `h` | the state's hash, 32 bytes |
//! | `n`, signer (32) | the next nonce, u64le; none before the first transaction |
//! | `v`, signer (32), key (1 to 64) | height of the last write, u64le, and the value |
//! | `w`, signer (32), nonce (u64be) | id of the transaction that took this nonce, 32 bytes |
//!
//! The `w` rows stay for ever, 73 bytes for each transaction; the blocks, which stay too, have more than twice as many. They let a
//! node tell the owner of a used nonce which transaction has it, without an index over the blocks.
//!
//! # Hash
//!
//! ```text
//! hash(0) = SHA-256("quorate/kv/genesis/1\0" || chain_id)
//! hash(n) = hash(n-1)                                                 if block n has no transactions
//!           SHA-256("quorate/kv/block/1\0" || hash(n-1) || n as u64le || id || id || ..)  otherwise
//! ```
//!
//! with the id of every transaction in order. An id is the SHA-256 of the transaction's bytes, which say what is written; so the hash
//! names every write since genesis, in order, and through them the state. An empty block changes neither.

use quorate::{
    Bytes, ChainId, Hash, Height, PublicKey, TransactionId,
    application::{StateRead, StateWrite},
    storage::StorageError,
};

use crate::transaction::KEY_BYTES_MAX;

/// A value and when it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) height: Height,
    pub(crate) value: Bytes,
}

/// The hash before block 1.
pub(crate) fn genesis_hash(chain_id: &ChainId) -> Hash {
    Hash::of(&[b"quorate/kv/genesis/1\0", chain_id.as_bytes()])
}

/// The hash after a block with these transactions.
pub(crate) fn next_hash(before: Hash, height: Height, ids: &[TransactionId]) -> Hash {
    if ids.is_empty() {
        return before;
    }
    let height = height.0.to_le_bytes();
    let mut parts: Vec<&[u8]> = vec![b"quorate/kv/block/1\0", before.as_bytes(), &height];
    parts.extend(ids.iter().map(|id| &id.as_bytes()[..]));
    Hash::of(&parts)
}

pub(crate) fn hash(state: &dyn StateRead) -> Result<Hash, StorageError> {
    let stored = state.get(b"h")?.ok_or_else(|| StorageError::Damaged("the state has no hash".into()))?;
    fixed(&stored, "hash").map(Hash::new)
}

pub(crate) fn set_hash(state: &mut dyn StateWrite, hash: Hash) {
    state.put(b"h", hash.as_bytes());
}

pub(crate) fn next_nonce(state: &dyn StateRead, signer: &PublicKey) -> Result<u64, StorageError> {
    match state.get(&nonce_key(signer))? {
        Some(stored) => fixed(&stored, "nonce").map(u64::from_le_bytes),
        None => Ok(0),
    }
}

pub(crate) fn set_next_nonce(state: &mut dyn StateWrite, signer: &PublicKey, nonce: u64) {
    state.put(&nonce_key(signer), &nonce.to_le_bytes());
}

pub(crate) fn winner(
    state: &dyn StateRead,
    signer: &PublicKey,
    nonce: u64,
) -> Result<Option<TransactionId>, StorageError> {
    let stored = state.get(&winner_key(signer, nonce))?;
    stored.map(|stored| fixed(&stored, "winner").map(TransactionId::new)).transpose()
}

pub(crate) fn set_winner(state: &mut dyn StateWrite, signer: &PublicKey, nonce: u64, id: &TransactionId) {
    state.put(&winner_key(signer, nonce), id.as_bytes());
}

pub(crate) fn entry(state: &dyn StateRead, signer: &PublicKey, key: &[u8]) -> Result<Option<Entry>, StorageError> {
    state.get(&entry_key(signer, key))?.map(|stored| read_entry(&stored)).transpose()
}

pub(crate) fn set_entry(state: &mut dyn StateWrite, signer: &PublicKey, key: &[u8], height: Height, value: &[u8]) {
    state.put(&entry_key(signer, key), &[&height.0.to_le_bytes(), value].concat());
}

pub(crate) fn remove_entry(state: &mut dyn StateWrite, signer: &PublicKey, key: &[u8]) {
    state.delete(&entry_key(signer, key));
}

/// At most `limit` entries of `signer` from key `from` on, in the order of their keys.
pub(crate) fn entries(
    state: &dyn StateRead,
    signer: &PublicKey,
    from: &[u8],
    limit: usize,
) -> Result<Vec<(Bytes, Entry)>, StorageError> {
    let prefix = entry_key(signer, &[]);
    // Behind every key of this signer: none is that long.
    let behind = entry_key(signer, &[0xff; KEY_BYTES_MAX + 1]);
    let pairs = state.scan(&entry_key(signer, from), &behind, limit)?;
    pairs
        .into_iter()
        .map(|(key, stored)| Ok((key.slice(prefix.len().min(key.len())..), read_entry(&stored)?)))
        .collect()
}

/// A key of the state, made without asking for memory: a transaction takes six of them.
struct Key {
    bytes: [u8; Self::BYTES_MAX],
    len: usize,
}

impl Key {
    /// The longest that is looked for: behind every key of a signer.
    const BYTES_MAX: usize = 1 + PublicKey::LEN + KEY_BYTES_MAX + 1;

    /// `parts` one after the other, of which what is beyond [`Self::BYTES_MAX`] is cut off.
    fn of(prefix: u8, signer: &PublicKey, rest: &[u8]) -> Self {
        let mut bytes = [0; Self::BYTES_MAX];
        let [first, others @ ..] = &mut bytes;
        *first = prefix;
        let mut len = 1;
        if let Some((of, others)) = others.split_first_chunk_mut() {
            *of = *signer.as_bytes();
            others.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            len += of.len() + rest.len().min(others.len());
        }
        Self { bytes, len }
    }
}

impl std::ops::Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

fn nonce_key(signer: &PublicKey) -> Key {
    Key::of(b'n', signer, &[])
}

fn winner_key(signer: &PublicKey, nonce: u64) -> Key {
    Key::of(b'w', signer, &nonce.to_be_bytes())
}

fn entry_key(signer: &PublicKey, key: &[u8]) -> Key {
    Key::of(b'v', signer, key)
}

fn read_entry(stored: &Bytes) -> Result<Entry, StorageError> {
    let Some(height) = stored.first_chunk() else {
        return Err(StorageError::Damaged(format!("an entry of the state has {} bytes", stored.len())));
    };
    Ok(Entry { height: Height(u64::from_le_bytes(*height)), value: stored.slice(height.len()..) })
}

fn fixed<const N: usize>(stored: &[u8], what: &str) -> Result<[u8; N], StorageError> {
    let wrong = || StorageError::Damaged(format!("a {what} of the state has {} bytes instead of {N}", stored.len()));
    stored.try_into().map_err(|_| wrong())
}
