//! The Storage slot: an ordered key-value store with atomic, durable batches.

use bytes::Bytes;

/// Bytes of a key at most.
pub const KEY_BYTES_MAX: usize = 1024;

/// Bytes of a value at most: a block and its proof.
pub const VALUE_BYTES_MAX: usize = 32 << 20;

/// Why a store could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The medium failed or is full. The write did not happen, or will be seen whole after the store is opened again.
    #[error("storage {action} failed: {source}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The medium has no room left; nothing of the batch was written.
    #[error("no space left for {0}")]
    Full(String),
    /// What is stored is not what was written.
    #[error("storage is damaged: {0}")]
    Damaged(String),
    /// The store was written by a newer version.
    #[error("storage format {found} is newer than {known}, which this version reads; use the version that wrote it")]
    Newer {
        /// The format on disk.
        found: u64,
        /// The newest this version reads.
        known: u64,
    },
    /// Another process has it open.
    #[error("storage {0} is in use by another process")]
    Locked(String),
    /// A key or value is too long.
    #[error("{what} has {len} bytes; the limit is {limit}")]
    TooLong {
        /// `key` or `value`.
        what: &'static str,
        /// Its length.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// The plugin that should have read or written failed itself; it is not called again.
    #[error("{0}")]
    Plugin(String),
    /// An earlier commit failed; the store must be opened again.
    #[error("storage stopped after an earlier failure: {0}")]
    Poisoned(String),
}

/// Writes to be applied together, in order; a later write to a key wins.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    writes: Vec<(Bytes, Option<Bytes>)>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key` to `value`.
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.writes.push((key.into(), Some(value.into())));
    }

    /// Removes `key`, if there.
    pub fn delete(&mut self, key: impl Into<Bytes>) {
        self.writes.push((key.into(), None));
    }

    /// The writes in order; `None` removes.
    pub fn writes(&self) -> &[(Bytes, Option<Bytes>)] {
        &self.writes
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}

/// A consistent, unchanging view of a store.
pub trait Snapshot: Send + Sync {
    /// The value of `key`, if any.
    ///
    /// # Errors
    ///
    /// [`StorageError::Io`] or [`StorageError::Damaged`].
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError>;

    /// At most `limit` pairs with `from <= key < to` in ascending order of bytes.
    ///
    /// # Errors
    ///
    /// [`StorageError::Io`] or [`StorageError::Damaged`].
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, StorageError>;
}

/// An ordered key-value store. Keys order as bytes.
///
/// Keys have 1 to [`KEY_BYTES_MAX`] bytes, values 0 to [`VALUE_BYTES_MAX`].
pub trait Storage: Send + Sync {
    /// A view of everything committed before this call; later commits do not change it, and it does not delay them.
    ///
    /// # Errors
    ///
    /// [`StorageError::Io`], or [`StorageError::Poisoned`] after a failed commit.
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StorageError>;

    /// Applies every write in `batch`, or none.
    ///
    /// When this returns `Ok` the writes survive a power cut. After an error the store must be opened again before it is
    /// used: every later call answers [`StorageError::Poisoned`]. A batch with a too long key or value is refused whole and
    /// leaves the store usable. Called from one thread at a time.
    ///
    /// # Errors
    ///
    /// [`StorageError`] as above.
    fn commit(&self, batch: Batch) -> Result<(), StorageError>;
}
