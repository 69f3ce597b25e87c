//! Puts the fragments that arrive together again; memory is taken as bytes arrive, never on a length's word.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use quorate::transport::Class;
use tokio::time::Instant;

use super::{
    budget::{Budget, Charge},
    frame::{FRAGMENT_BYTES_MAX, PerClass, Violation, split_first},
};

/// How long a message may take from its first fragment to its last, the time that the node itself made it wait not counted.
pub(super) const MESSAGE_TIME_MAX: Duration = Duration::from_secs(60);

/// A message that arrived whole.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) class: Class,
    pub(super) bytes: Bytes,
    /// Holds the message's memory in the strangers' budget until it is handed over.
    pub(super) charge: Option<Charge>,
}

/// The unfinished messages of one connection.
#[derive(Debug)]
pub(super) struct Assembly {
    strangers: Arc<Budget>,
    partial: PerClass<Option<Partial>>,
}

#[derive(Debug)]
struct Partial {
    total: usize,
    bytes: Vec<u8>,
    charge: Option<Charge>,
    begun: Instant,
}

impl Assembly {
    /// `strangers` is what unfinished messages of peers that are no validators may take together.
    pub(super) fn new(strangers: Arc<Budget>) -> Self {
        Self { strangers, partial: PerClass::default() }
    }

    /// Takes the body of a first fragment; the message if that was all of it. `trusted` is asked for longer messages only.
    pub(super) fn first(
        &mut self,
        class: Class,
        body: &[u8],
        now: Instant,
        trusted: impl FnOnce() -> bool,
    ) -> Result<Option<Whole>, Violation> {
        let (total, fragment) = split_first(class, body)?;
        let slot = self.partial.of_mut(class);
        if slot.is_some() {
            return Err(Violation::Interleaved { class });
        }
        if fragment.len() == total {
            return Ok(Some(Whole { class, bytes: Bytes::copy_from_slice(fragment), charge: None }));
        }
        let charge = if trusted() {
            None
        } else {
            let limit = self.strangers.limit();
            Some(self.strangers.take(0).ok_or(Violation::NoMemory { class, bytes: total, limit })?)
        };
        let mut partial = Partial { total, bytes: Vec::new(), charge, begun: now };
        partial.append(class, fragment)?;
        *slot = Some(partial);
        Ok(None)
    }

    /// Takes the body of a further fragment; the message if that was the last.
    pub(super) fn next(&mut self, class: Class, body: &[u8], now: Instant) -> Result<Option<Whole>, Violation> {
        let slot = self.partial.of_mut(class);
        let Some(partial) = slot.as_mut() else { return Err(Violation::NothingToContinue { class }) };
        let wanted = partial.total.saturating_sub(partial.bytes.len());
        if body.is_empty() || body.len() > wanted {
            return Err(Violation::WrongFragment { class, bytes: body.len(), wanted });
        }
        if now.saturating_duration_since(partial.begun) > MESSAGE_TIME_MAX {
            return Err(Violation::TooSlow { class, seconds: MESSAGE_TIME_MAX.as_secs() });
        }
        partial.append(class, body)?;
        if partial.bytes.len() < partial.total {
            return Ok(None);
        }
        Ok(slot.take().map(|whole| Whole { class, bytes: Bytes::from(whole.bytes), charge: whole.charge }))
    }

    /// Forgives time during which the node did not read.
    pub(super) fn forgive(&mut self, waited: Duration) {
        let PerClass { consensus, pool, sync } = &mut self.partial;
        for partial in [consensus, pool, sync].into_iter().flatten() {
            partial.begun += waited;
        }
    }
}

impl Partial {
    /// Grows to twice the size, so that memory is at most twice what has arrived, and copying stays linear.
    fn append(&mut self, class: Class, fragment: &[u8]) -> Result<(), Violation> {
        let len = self.bytes.len();
        let needed = len + fragment.len();
        let capacity = self.bytes.capacity();
        if needed > capacity {
            let wanted = (capacity * 2).max(FRAGMENT_BYTES_MAX).min(self.total).max(needed);
            if let Some(charge) = &mut self.charge
                && !charge.grow(wanted - capacity)
            {
                return Err(Violation::NoMemory { class, bytes: self.total, limit: charge.limit() });
            }
            self.bytes.reserve_exact(wanted - len);
        }
        self.bytes.extend_from_slice(fragment);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use quorate::transport::MESSAGE_BYTES_MAX;

    use super::*;
    use crate::peer::frame::{HEADER_BYTES, put_first};

    fn first(class: Class, total: usize, fragment: &[u8]) -> Vec<u8> {
        let mut frame = BytesMut::new();
        put_first(&mut frame, class, total, fragment);
        frame[HEADER_BYTES..].to_vec()
    }

    #[test]
    fn memory_follows_the_bytes_not_the_announced_length() {
        let mut assembly = Assembly::new(Budget::new(usize::MAX));
        let body = first(Class::Sync, MESSAGE_BYTES_MAX, b"x");
        assert!(assembly.first(Class::Sync, &body, Instant::now(), || true).unwrap().is_none());
        assert_eq!(assembly.partial.sync.as_ref().unwrap().bytes.capacity(), FRAGMENT_BYTES_MAX);
    }

    #[test]
    fn classes_assemble_beside_each_other() {
        let mut assembly = Assembly::new(Budget::new(usize::MAX));
        let now = Instant::now();
        assert!(assembly.first(Class::Sync, &first(Class::Sync, 4, b"ab"), now, || true).unwrap().is_none());
        let vote =
            assembly.first(Class::Consensus, &first(Class::Consensus, 4, b"vote"), now, || true).unwrap().unwrap();
        assert_eq!(vote.bytes, "vote");
        assert_eq!(assembly.next(Class::Sync, b"cd", now).unwrap().unwrap().bytes, "abcd");
    }

    #[test]
    fn fragments_out_of_place_are_violations() {
        let mut assembly = Assembly::new(Budget::new(usize::MAX));
        let (now, class) = (Instant::now(), Class::Pool);
        assert_eq!(assembly.next(class, b"x", now).unwrap_err(), Violation::NothingToContinue { class });
        assembly.first(class, &first(class, 4, b"ab"), now, || true).unwrap();
        assert_eq!(
            assembly.first(class, &first(class, 4, b"ab"), now, || true).unwrap_err(),
            Violation::Interleaved { class }
        );
        for wrong in [b"".as_slice(), b"cde"] {
            let violation = Violation::WrongFragment { class, bytes: wrong.len(), wanted: 2 };
            assert_eq!(assembly.next(class, wrong, now).unwrap_err(), violation);
        }
    }

    #[test]
    fn a_message_may_not_drip_for_ever_but_our_own_delay_is_forgiven() {
        let mut assembly = Assembly::new(Budget::new(usize::MAX));
        let (now, class) = (Instant::now(), Class::Pool);
        assembly.first(class, &first(class, 4, b"a"), now, || true).unwrap();
        let late = now + MESSAGE_TIME_MAX + Duration::from_secs(1);
        assembly.forgive(Duration::from_secs(2));
        assert!(assembly.next(class, b"b", late).unwrap().is_none());
        let violation = assembly.next(class, b"c", late + Duration::from_secs(2)).unwrap_err();
        assert_eq!(violation, Violation::TooSlow { class, seconds: 60 });
    }

    #[test]
    fn strangers_share_a_budget_which_validators_do_not_need() {
        let budget = Budget::new(FRAGMENT_BYTES_MAX);
        let (now, class) = (Instant::now(), Class::Sync);
        let body = first(class, 1 << 20, b"x");
        let (mut one, mut two) = (Assembly::new(Arc::clone(&budget)), Assembly::new(Arc::clone(&budget)));
        one.first(class, &body, now, || false).unwrap();
        let violation = Violation::NoMemory { class, bytes: 1 << 20, limit: FRAGMENT_BYTES_MAX };
        assert_eq!(two.first(class, &body, now, || false).unwrap_err(), violation);
        two.first(class, &body, now, || true).unwrap();
        drop(one);
        let mut three = Assembly::new(budget);
        three.first(class, &body, now, || false).unwrap();
    }
}
