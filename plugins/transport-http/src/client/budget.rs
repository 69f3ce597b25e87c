//! Memory that large requests and answers of all clients may take together.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::errors::{RpcError, UNAVAILABLE};

/// Bytes of large bodies, received or being sent, at most.
pub(crate) const LARGE_BYTES_MAX: usize = 256 << 20;

/// Bodies up to this size are not counted; the limits on connections bound them.
pub(crate) const SMALL_BYTES: usize = 64 << 10;

/// How long a large body waits for its share.
const WAIT_MAX: Duration = Duration::from_secs(5);

const KIB: usize = 1024;

/// Gives shares of the memory for large bodies.
#[derive(Debug)]
pub(crate) struct Budget(Arc<Semaphore>);

/// A share, given back when dropped; `None` for a small body.
pub(crate) type Share = Option<OwnedSemaphorePermit>;

impl Budget {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(LARGE_BYTES_MAX / KIB)))
    }

    /// Waits for a share of `bytes`.
    ///
    /// # Errors
    ///
    /// [`UNAVAILABLE`] if there is none within five seconds.
    pub(crate) async fn share(&self, bytes: usize) -> Result<Share, RpcError> {
        if bytes <= SMALL_BYTES {
            return Ok(None);
        }
        let units = u32::try_from(bytes.min(LARGE_BYTES_MAX) / KIB).unwrap_or(u32::MAX);
        let wait = tokio::time::timeout(WAIT_MAX, Arc::clone(&self.0).acquire_many_owned(units));
        match wait.await {
            Ok(Ok(permit)) => Ok(Some(permit)),
            _ => Err(RpcError::because(UNAVAILABLE, "too many large requests and answers at once; try again later")),
        }
    }
}

/// Bytes that hold their share as long as anything refers to them.
pub(crate) fn hold(bytes: Vec<u8>, share: Share) -> Bytes {
    struct Held {
        bytes: Vec<u8>,
        _share: OwnedSemaphorePermit,
    }
    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            &self.bytes
        }
    }
    match share {
        None => bytes.into(),
        Some(share) => Bytes::from_owner(Held { bytes, _share: share }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_share_is_given_back_with_the_last_reference() {
        let budget = Budget::new();
        let share = budget.share(LARGE_BYTES_MAX).await.unwrap();
        let bytes = hold(vec![0; 10], share);
        let part = bytes.slice(1..2);
        drop(bytes);
        assert_eq!(budget.share(SMALL_BYTES + 1).await.unwrap_err().code, -32014);
        assert!(budget.share(SMALL_BYTES).await.unwrap().is_none());
        drop(part);
        assert!(budget.share(LARGE_BYTES_MAX).await.unwrap().is_some());
    }
}
