//! Which refusals are logged and told to the kernel: a reason once until it changes, and few a second whatever strangers do.

use std::collections::{HashMap, VecDeque};

use tokio::time::Instant;

/// Addresses whose last reason is remembered; the oldest is forgotten.
pub(super) const ADDRESSES_MAX: usize = 256;

/// Refusals told in one second at most, those over it are not told.
pub(super) const TOLD_PER_SECOND_MAX: u32 = 16;

/// What to do about a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Telling {
    /// Log it and tell the kernel.
    New,
    /// Tell the kernel, which counts.
    Again,
    /// Too many.
    Nothing,
}

/// The last reason of each address.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    last: HashMap<String, String>,
    order: VecDeque<String>,
    second: Option<Instant>,
    told: u32,
}

impl Refusals {
    /// Notes that a connection with `address` ended for `reason`.
    pub(super) fn note(&mut self, address: &str, reason: &str, now: Instant) -> Telling {
        if self.second.is_none_or(|second| now.saturating_duration_since(second).as_secs() >= 1) {
            self.second = Some(now);
            self.told = 0;
        }
        if self.told >= TOLD_PER_SECOND_MAX {
            return Telling::Nothing;
        }
        self.told += 1;
        if self.last.get(address).is_some_and(|last| last == reason) {
            return Telling::Again;
        }
        if self.last.insert(address.to_owned(), reason.to_owned()).is_none() {
            self.order.push_back(address.to_owned());
        }
        if self.order.len() > ADDRESSES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.last.remove(&oldest);
        }
        Telling::New
    }

    /// Forgets the reason of an address with which all is well.
    pub(super) fn clear(&mut self, address: &str) {
        if self.last.remove(address).is_some() {
            self.order.retain(|known| known != address);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_reason_is_new_once_until_it_changes_or_all_was_well() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        assert_eq!(refusals.note("a:1", "wrong key", now), Telling::New);
        assert_eq!(refusals.note("a:1", "wrong key", now), Telling::Again);
        assert_eq!(refusals.note("a:1", "wrong network", now), Telling::New);
        refusals.clear("a:1");
        assert_eq!(refusals.note("a:1", "wrong network", now), Telling::New);
    }

    #[test]
    fn strangers_can_neither_flood_the_log_nor_the_memory() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        let mut told = 0;
        for attempt in 0..10_000u64 {
            let now = start + Duration::from_millis(attempt * 5);
            if refusals.note(&format!("a:{attempt}"), "no", now) == Telling::New {
                told += 1;
            }
        }
        assert_eq!(told, 50 * TOLD_PER_SECOND_MAX);
        assert_eq!((refusals.last.len(), refusals.order.len()), (ADDRESSES_MAX, ADDRESSES_MAX));
    }
}
