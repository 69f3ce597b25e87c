//! Hash tables by transaction id, whose hash is short and keyed.
//!
//! An id is a digest, but parts of a digest can be chosen by trying: whoever knew which part a table looks at would make ids that all meet in one
//! place of it. So the hash is drawn from a family that is pairwise independent (multiply-shift of vectors: M. Dietzfelbinger, *Universal
//! hashing and k-wise independent random variables via integer arithmetic without primes*, 1996): of any two ids, however they were chosen
//! without knowing the keys, each pair of hashes is equally likely. What is linear in it, so that ids in equal steps had hashes in equal steps, is
//! mixed at the end, one to one, which leaves that as it is. The keys are drawn for each table and never leave the process.
//!
//! The order of a table does: the list of the pool and what a new peer is given have it, and it says something of the keys. Nothing rests on their being
//! secret, though. Whoever knew them would still have to try thousands of ids for each that meets the others, and a look-up among ten thousand which
//! all meet, sixteen at a time, takes microseconds; which entry is which, and in what order blocks have them, no table decides by its hash.

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

    /// A table tells the ids in one place apart by seven bits from the other end of the hash.
    #[test]
    fn both_ends_of_a_hash_are_spread() {
        let keyed = Keyed::default();
        let tag = |number: u64| {
            let mut bytes = [7; 32];
            bytes[8..16].copy_from_slice(&number.to_le_bytes());
            keyed.hash_one(TransactionId::new(bytes)) >> 57
        };
        let mut counts = [0u32; 128];
        (0..128 * 64).for_each(|number| counts[tag(number) as usize] += 1);
        assert!(counts.iter().all(|count| (16..=192).contains(count)), "{counts:?}");
    }

    /// Each word has a factor of its own: the same words in another order are another id.
    #[test]
    fn the_order_of_the_words_counts() {
        let keyed = Keyed::default();
        let of = |words: [u8; WORDS]| {
            let bytes: Vec<u8> = words.iter().flat_map(|word| [*word; 8]).collect();
            keyed.hash_one(TransactionId::new(bytes.try_into().unwrap()))
        };
        let mut hashes: Vec<u64> = (0..WORDS).map(|at| of(std::array::from_fn(|word| u8::from(word == at)))).collect();
        hashes.push(of([0; WORDS]));
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), WORDS + 1);
    }

    /// Of a product's lower half half of all factors would leave nothing of the last bit.
    #[test]
    fn no_bit_is_lost_on_the_way_into_a_hash() {
        for _ in 0..64 {
            let keyed = Keyed::default();
            let hash = |bytes: [u8; 32]| keyed.hash_one(TransactionId::new(bytes));
            for bit in 0..256 {
                let mut bytes = [7; 32];
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(hash(bytes), hash([7; 32]), "bit {bit}");
            }
        }
    }

    #[test]
    fn ids_in_equal_steps_have_hashes_in_steps_of_all_lengths() {
        let keyed = Keyed::default();
        let hash = |number: u64| {
            let mut bytes = [7; 32];
            bytes[..8].copy_from_slice(&number.to_le_bytes());
            keyed.hash_one(TransactionId::new(bytes))
        };
        let mut steps: Vec<u64> = (0..100).map(|number| hash(number + 1).wrapping_sub(hash(number))).collect();
        steps.sort_unstable();
        steps.dedup();
        assert!(steps.len() > 90, "{}", steps.len());
    }

    #[test]
    fn a_table_finds_what_is_in_it_and_so_does_its_copy() {
        let id = |number: u64| TransactionId::new(*quorate::Hash::of(&[&number.to_le_bytes()]).as_bytes());
        let ids: Vec<TransactionId> = (0..5000).map(id).collect();
        let mut map: IdMap<usize> = ids.iter().copied().zip(0..).collect();
        (0..5000).step_by(2).for_each(|at| assert_eq!(map.remove(&ids[at]), Some(at)));
        let found = |map: &IdMap<usize>| ids.iter().map(|id| map.get(id).copied()).collect::<Vec<_>>();
        let expected: Vec<Option<usize>> = (0..5000).map(|at| (at % 2 == 1).then_some(at)).collect();
        assert_eq!(found(&map), expected);
        assert_eq!(found(&map.clone()), expected);
        let set: IdSet<'_> = ids.iter().collect();
        assert!(ids.iter().all(|id| set.contains(id)) && !set.contains(&id(5000)));
    }

    #[test]
    fn where_an_id_goes_differs_from_table_to_table() {
        let places: Vec<u64> = (0..32).map(|_| place(&Keyed::default(), [7; 32])).collect();
        assert!(places.iter().any(|one| *one != places[0]));
    }
}
