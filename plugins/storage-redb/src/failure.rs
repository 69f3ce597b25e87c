//! What redb's errors and panics mean in the terms of the Storage slot.

use std::{
    io::{self, ErrorKind},
    panic::{AssertUnwindSafe, catch_unwind},
};

use quorate::storage::StorageError;

/// Translates an error of redb met while doing `action`.
pub(crate) fn from_redb(action: &'static str, error: impl Into<redb::Error>) -> StorageError {
    match error.into() {
        redb::Error::Io(source) => from_io(action, source),
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => StorageError::Locked(action.into()),
        redb::Error::PreviousIo => StorageError::Poisoned("an earlier read or write failed".into()),
        redb::Error::LockPoisoned(_) => StorageError::Poisoned("an earlier call met damage".into()),
        redb::Error::DatabaseClosed => StorageError::Poisoned("it was closed".into()),
        redb::Error::Backend(source) => StorageError::Io { action, source: io::Error::other(source) },
        // What is left says that the file's contents are not what this crate writes.
        other => StorageError::Damaged(format!("{action}: {other}")),
    }
}

/// Translates an error of the system.
pub(crate) fn from_io(action: &'static str, source: io::Error) -> StorageError {
    match source.kind() {
        kind if is_full(kind) => StorageError::Full(format!("{action} ({source})")),
        // redb's word for a file which is none of its own, and the system's for one which ends too early.
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof => StorageError::Damaged(format!("{action}: {source}")),
        _ => StorageError::Io { action, source },
    }
}

/// Whether the medium, a quota or the largest file's size is used up.
fn is_full(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

/// Runs `call`; a panic in it is damage.
///
/// redb's documentation says of a file which was altered behind its back that opening or reading it "may panic". The message
/// goes to the panic hook; here it becomes an error.
pub(crate) fn guarded<T>(
    action: &'static str,
    call: impl FnOnce() -> Result<T, StorageError>,
) -> Result<T, StorageError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
        Err(StorageError::Damaged(format!("{action}: {text}")))
    })
}

/// A value of redb whose drop may panic too, after it met damage: the panic ends here.
pub(crate) struct Contained<T>(Option<T>);

impl<T> Contained<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }

    /// The value; it is there until the drop.
    pub(crate) fn get(&self) -> Result<&T, StorageError> {
        self.0.as_ref().ok_or_else(|| StorageError::Poisoned("it was closed".into()))
    }

    /// The value, for what nobody else may do meanwhile.
    pub(crate) fn get_mut(&mut self) -> Result<&mut T, StorageError> {
        self.0.as_mut().ok_or_else(|| StorageError::Poisoned("it was closed".into()))
    }
}

impl<T> Drop for Contained<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        // Nothing is lost with what the drop could not do: everything acknowledged is durable.
        drop(catch_unwind(AssertUnwindSafe(|| drop(value))));
    }
}
