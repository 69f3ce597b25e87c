//! Transactions that were found good without being taken ([`quorate::node::Request::Check`]): they are not verified again when they come.

use std::collections::{HashSet, VecDeque};

use bytes::Bytes;
use quorate::Hash;

/// Transactions remembered at most; the oldest go first.
const CHECKED_MAX: usize = 1 << 16;

/// Hashes of what was found good. What [`quorate::Application::verify`] accepts it accepts for ever.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    known: HashSet<Hash>,
    order: VecDeque<Hash>,
}

impl Checked {
    pub(crate) fn contains(&self, transaction: &Bytes) -> bool {
        // Most nodes are never asked, and hash nothing.
        !self.known.is_empty() && self.known.contains(&Hash::of(&[transaction]))
    }

    pub(crate) fn insert(&mut self, transaction: &Bytes) {
        let hash = Hash::of(&[transaction]);
        if !self.known.insert(hash) {
            return;
        }
        self.order.push_back(hash);
        if self.order.len() > CHECKED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_known_as_there_is_room_for_and_the_oldest_go() {
        let mut checked = Checked::default();
        let one = |number: usize| Bytes::from(number.to_le_bytes().to_vec());
        assert!(!checked.contains(&one(0)));
        for number in 0..=CHECKED_MAX {
            checked.insert(&one(number));
            checked.insert(&one(number));
        }
        assert!(!checked.contains(&one(0)));
        assert!(checked.contains(&one(1)) && checked.contains(&one(CHECKED_MAX)));
        assert_eq!((checked.known.len(), checked.order.len()), (CHECKED_MAX, CHECKED_MAX));
    }
}
