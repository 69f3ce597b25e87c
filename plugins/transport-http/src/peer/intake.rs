//! Hands events to the kernel: each connection waits for its own, and long messages wait for memory too.
//!
//! The queue to the kernel is bounded in events; a thousand of the longest messages would still be 18 GiB. So long ones are
//! counted while they are in it, and the next waits until enough of them were taken out.

use std::{collections::VecDeque, sync::Mutex, time::Duration};

use quorate::transport::TransportEvent;
use tokio::sync::mpsc::{self, error::TrySendError};

use super::locked;

/// Messages up to this length are not counted: with all events of this length, the queue holds 64 MiB.
pub(super) const SHORT_BYTES_MAX: usize = 64 << 10;

/// Bytes of longer messages that may wait for the kernel together; one is always let in.
pub(super) const LONG_BYTES_MAX: usize = 64 << 20;

/// How often a long message looks for room.
const ROOM_POLL: Duration = Duration::from_millis(2);

/// The kernel is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KernelGone;

/// The way to the kernel.
#[derive(Debug)]
pub(super) struct Intake {
    events: mpsc::Sender<TransportEvent>,
    ledger: Mutex<Ledger>,
}

/// Lengths of the events in the queue, in order, short ones as 0; it may lag behind what was taken out.
#[derive(Debug, Default)]
struct Ledger {
    lengths: VecDeque<usize>,
    sum: usize,
}

impl Intake {
    pub(super) fn new(events: mpsc::Sender<TransportEvent>) -> Self {
        Self { events, ledger: Mutex::default() }
    }

    /// Hands over an event, waiting for room.
    pub(super) async fn deliver(&self, event: TransportEvent) -> Result<(), KernelGone> {
        let length = match &event {
            TransportEvent::Message { bytes, .. } if bytes.len() > SHORT_BYTES_MAX => bytes.len(),
            _ => 0,
        };
        loop {
            let permit = self.events.reserve().await.map_err(|_| KernelGone)?;
            {
                let mut ledger = locked(&self.ledger);
                // The permit is not yet an event.
                ledger.forget_taken(self.queued().saturating_sub(1));
                if length == 0 || ledger.sum == 0 || ledger.sum + length <= LONG_BYTES_MAX {
                    ledger.lengths.push_back(length);
                    ledger.sum += length;
                    permit.send(event);
                    return Ok(());
                }
            }
            drop(permit);
            tokio::time::sleep(ROOM_POLL).await;
        }
    }

    /// Hands over an event if there is room now; whether it did.
    pub(super) fn offer(&self, event: TransportEvent) -> bool {
        let mut ledger = locked(&self.ledger);
        ledger.forget_taken(self.queued());
        match self.events.try_send(event) {
            Ok(()) => {
                ledger.lengths.push_back(0);
                true
            }
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => false,
        }
    }

    /// Events in the queue, and room that others hold for theirs.
    fn queued(&self) -> usize {
        self.events.max_capacity().saturating_sub(self.events.capacity())
    }
}

impl Ledger {
    fn forget_taken(&mut self, queued: usize) {
        while self.lengths.len() > queued {
            self.sum = self.sum.saturating_sub(self.lengths.pop_front().unwrap_or(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quorate::{PeerId, transport::Class};

    use super::*;

    fn message(length: usize) -> TransportEvent {
        TransportEvent::Message { from: PeerId::new([1; 32]), class: Class::Sync, bytes: Bytes::from(vec![0; length]) }
    }

    #[tokio::test]
    async fn long_messages_wait_until_the_kernel_takes_some() {
        let (sender, mut receiver) = mpsc::channel(1024);
        let intake = Intake::new(sender);
        let sixteen = 16 << 20;
        for _ in 0..4 {
            intake.deliver(message(sixteen)).await.unwrap();
        }
        let waiting = Duration::from_millis(50);
        assert!(tokio::time::timeout(waiting, intake.deliver(message(sixteen))).await.is_err());
        intake.deliver(message(SHORT_BYTES_MAX)).await.unwrap();
        receiver.recv().await.unwrap();
        tokio::time::timeout(Duration::from_secs(5), intake.deliver(message(sixteen))).await.unwrap().unwrap();
        assert_eq!(intake.queued(), 5);
    }

    #[tokio::test]
    async fn a_full_queue_takes_no_offer() {
        let (sender, mut receiver) = mpsc::channel(1);
        let intake = Intake::new(sender);
        assert!(intake.offer(message(1)));
        assert!(!intake.offer(message(1)));
        receiver.recv().await.unwrap();
        assert!(intake.offer(message(1)));
        drop(receiver);
        assert_eq!(intake.deliver(message(1)).await, Err(KernelGone));
    }
}
