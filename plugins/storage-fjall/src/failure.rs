//! What fjall's errors and panics mean in the terms of the Storage slot.

use std::{
    error::Error,
    io::{self, ErrorKind},
    panic::{AssertUnwindSafe, catch_unwind},
};

use quorate::storage::StorageError;

/// Translates an error of fjall met while doing `action`.
pub(crate) fn from_fjall(action: &'static str, error: fjall::Error) -> StorageError {
    match error {
        fjall::Error::Io(source) => from_io(action, source),
        fjall::Error::Locked => StorageError::Locked(action.into()),
        fjall::Error::Poisoned => StorageError::Poisoned("an earlier write, perhaps in the background, failed".into()),
        // One of the tree below has the system's error inside.
        other => match cause(&other) {
            Some((kind, text)) => from_io(action, io::Error::new(kind, text)),
            // What is left says that the files' contents are not what this crate writes.
            None => StorageError::Damaged(format!("{action}: {other}")),
        },
    }
}

/// The system's error at the bottom of another.
fn cause(error: &dyn Error) -> Option<(ErrorKind, String)> {
    let mut next = error.source();
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some((io.kind(), io.to_string()));
        }
        next = error.source();
    }
    None
}

/// Translates an error of the system. None becomes [`StorageError::Full`]: what the journal has of a batch is not known.
pub(crate) fn from_io(action: &'static str, source: io::Error) -> StorageError {
    match source.kind() {
        // A file that ends too early, or is not there: whoever made the store made it whole.
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof | ErrorKind::NotFound => {
            StorageError::Damaged(format!("{action}: {source}"))
        }
        _ => StorageError::Io { action, source },
    }
}

/// Runs `call`; a panic in it is damage.
///
/// fjall asserts what it expects of its files. The message goes to the panic hook; here it becomes an error.
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

/// A value of fjall whose drop may panic too, after it met damage: the panic ends here.
pub(crate) struct Contained<T>(Option<T>);

impl<T> Contained<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }

    /// The value; it is there until the drop.
    pub(crate) fn get(&self) -> Result<&T, StorageError> {
        self.0.as_ref().ok_or_else(|| StorageError::Poisoned("it was closed".into()))
    }
}

impl<T> Drop for Contained<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        // Nothing is lost with what the drop could not do: everything acknowledged is durable.
        drop(catch_unwind(AssertUnwindSafe(|| drop(value))));
    }
}
