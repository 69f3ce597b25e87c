//! Hash tables by transaction id, whose hash is short and keyed.
//!
//! An id is a digest, but parts of a digest can be chosen by trying: whoever knew which part a table looks at would make ids that all meet in one
//! place of it. So the hash is drawn from a family that is pairwise independent (multiply-shift of vectors: M. Dietzfelbinger, *Universal
//! hashing and k-wise independent random variables via integer arithmetic without primes*, 1996): of any two ids, however they were chosen
//! without knowing the keys, each pair of hashes is equally likely. What is linear in it, so that ids in equal steps had hashes in equal steps, is
//! mixed at the end, one to one, which leaves that as it is. The keys are drawn for each table and never leave the process.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, Hasher, RandomState},
};

use quorate::TransactionId;

/// A map by transaction id.
pub(crate) type IdMap<V> = HashMap<TransactionId, V, Keyed>;

/// A set of transaction ids.
pub(crate) type IdSet<'a> = HashSet<&'a TransactionId, Keyed>;

/// Eight bytes at a time.
const WORDS: usize = TransactionId::LEN / 8;

/// Odd, so that multiplying by it is one to one: 2^64 divided by the golden ratio.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// Makes hashers of one key.
#[derive(Debug, Clone)]
pub(crate) struct Keyed {
    factors: [u128; WORDS],
    sum: u128,
}

impl Default for Keyed {
    fn default() -> Self {
        let drawn = RandomState::new();
        let draw =
            |place: usize| (u128::from(drawn.hash_one((0, place))) << 64) | u128::from(drawn.hash_one((1, place)));
        Self { factors: std::array::from_fn(draw), sum: draw(WORDS) }
    }
}

impl BuildHasher for Keyed {
    type Hasher = KeyedHasher;

    fn build_hasher(&self) -> KeyedHasher {
        KeyedHasher { factors: self.factors, sum: self.sum }
    }
}

/// Hashes one id.
pub(crate) struct KeyedHasher {
    factors: [u128; WORDS],
    sum: u128,
}

impl Hasher for KeyedHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, _) = bytes.as_chunks();
        for (word, factor) in words.iter().zip(&self.factors) {
            self.sum = self.sum.wrapping_add(factor.wrapping_mul(u64::from_le_bytes(*word).into()));
        }
    }

    /// The length, which all ids have in common.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        let hash = (self.sum >> 64) as u64;
        let hash = (hash ^ (hash >> 32)).wrapping_mul(MIX);
        hash ^ (hash >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bits by which a table of 2^12 places finds one.
    fn place(keyed: &Keyed, bytes: [u8; 32]) -> u64 {
        keyed.hash_one(TransactionId::new(bytes)) & 0xfff
    }

    #[test]
    fn ids_that_agree_in_all_but_a_few_bits_are_spread() {
        for at in 0..TransactionId::LEN {
            let keyed = Keyed::default();
            let mut places: Vec<u64> = (0..=255)
                .map(|byte| {
                    let mut bytes = [7; 32];
                    bytes[at] = byte;
                    place(&keyed, bytes)
                })
                .collect();
            places.sort_unstable();
            places.dedup();
            // 248 on average.
            assert!(places.len() > 200, "{} places of 256 ids that differ in byte {at}", places.len());
        }
    }

    #[test]
    fn where_an_id_goes_differs_from_table_to_table() {
        let places: Vec<u64> = (0..32).map(|_| place(&Keyed::default(), [7; 32])).collect();
        assert!(places.iter().any(|one| *one != places[0]));
    }
}
