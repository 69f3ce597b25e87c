//! What a consensus promises, on its way to the node.

use std::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use quorate::plugin::{Promise, SignatureKinds};

/// A [`Promise`], in numbers of the same size everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PromiseAnswer {
    /// Validators that may be gone for good.
    pub gone: u16,
    /// Of these, how many may do anything instead.
    pub dishonest: u16,
    /// Within which time messages must be handled, in microseconds.
    pub delta_us: Option<u64>,
    /// What signatures mean.
    pub kinds: Option<SignatureKinds>,
}

impl From<Promise> for PromiseAnswer {
    fn from(promise: Promise) -> Self {
        let Promise { gone, dishonest, delta, kinds } = promise;
        // There are 256 validators at most.
        let count = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
        let delta_us = delta.map(|delta| u64::try_from(delta.as_micros()).unwrap_or(u64::MAX));
        Self { gone: count(gone), dishonest: count(dishonest), delta_us, kinds }
    }
}

impl From<PromiseAnswer> for Promise {
    fn from(answer: PromiseAnswer) -> Self {
        let PromiseAnswer { gone, dishonest, delta_us, kinds } = answer;
        Self { gone: gone.into(), dishonest: dishonest.into(), delta: delta_us.map(Duration::from_micros), kinds }
    }
}
