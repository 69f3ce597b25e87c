//! The Merkle tree of RFC 6962, section 2.1, over SHA-256: roots, paths and their check.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::primitives::Hash;

/// Steps of the longest path: a tree of 2^32 leaves.
pub const PATH_STEPS_MAX: usize = 32;

/// The hash of a leaf: `SHA-256(0x00 || bytes)`.
pub fn leaf(bytes: &[u8]) -> Hash {
    Hash::of(&[&[0], bytes])
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Hash::of(&[&[1], left.as_bytes(), right.as_bytes()])
}

/// The root over `leaves`; SHA-256 of nothing when there are none.
pub fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::of(&[]),
        [only] => *only,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node(&root(left), &root(right))
        }
    }
}

/// The largest power of two below `len`, which is at least 2.
fn split(len: usize) -> usize {
    len.next_power_of_two() / 2
}

/// A tree that grows leaf by leaf, of which only the roots of its complete subtrees are kept: one for each bit of the count.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Frontier {
    leaves: u32,
    /// From the left, the largest first.
    roots: Vec<Hash>,
}

impl Frontier {
    /// How many leaves there are.
    pub fn leaves(&self) -> u32 {
        self.leaves
    }

    /// Adds a leaf's hash; after 2^32 - 1 no more are taken.
    pub fn push(&mut self, leaf: Hash) {
        let Some(leaves) = self.leaves.checked_add(1) else { return };
        self.leaves = leaves;
        let mut hash = leaf;
        // Each trailing zero of the new count completes a subtree.
        for _ in 0..leaves.trailing_zeros() {
            let Some(left) = self.roots.pop() else { break };
            hash = node(&left, &hash);
        }
        self.roots.push(hash);
    }

    /// The root over all leaves: the same as [`root`] of them.
    pub fn root(&self) -> Hash {
        let mut roots = self.roots.iter().rev();
        match roots.next() {
            None => root(&[]),
            Some(last) => roots.fold(*last, |right, left| node(left, &right)),
        }
    }
}

/// The hashes beside the way from one leaf up to the root, the lowest first.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Path {
    /// The leaf's position, from 0.
    pub index: u32,
    /// How many leaves the tree has.
    pub leaves: u32,
    /// The siblings.
    pub steps: Vec<Hash>,
}

/// The path of leaf `index`; `None` when there is no such leaf.
pub fn path(leaves: &[Hash], index: usize) -> Option<Path> {
    if index >= leaves.len() {
        return None;
    }
    let mut steps = Vec::new();
    let (mut rest, mut at) = (leaves, index);
    while rest.len() > 1 {
        let (left, right) = rest.split_at(split(rest.len()));
        if at < left.len() {
            steps.push(root(right));
            rest = left;
        } else {
            steps.push(root(left));
            at -= left.len();
            rest = right;
        }
    }
    steps.reverse();
    Some(Path { index: index.try_into().ok()?, leaves: leaves.len().try_into().ok()?, steps })
}

impl Path {
    /// The root which this path gives for the leaf with hash `leaf`; `None` when the path has the wrong number of steps for
    /// its position (RFC 9162, section 2.1.3.2).
    pub fn root(&self, leaf: Hash) -> Option<Hash> {
        if self.index >= self.leaves || self.steps.len() > PATH_STEPS_MAX {
            return None;
        }
        let (mut at, mut last) = (self.index, self.leaves - 1);
        let mut hash = leaf;
        for step in &self.steps {
            if last == 0 {
                return None;
            }
            if at & 1 == 1 || at == last {
                hash = node(step, &hash);
                while at & 1 == 0 && at != 0 {
                    at >>= 1;
                    last >>= 1;
                }
            } else {
                hash = node(&hash, step);
            }
            at >>= 1;
            last >>= 1;
        }
        (last == 0).then_some(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(count: u32) -> Vec<Hash> {
        (0..count).map(|n| leaf(&n.to_be_bytes())).collect()
    }

    #[test]
    fn every_path_of_every_small_tree_leads_to_its_root() {
        for count in 1..70 {
            let leaves = leaves(count);
            for index in 0..leaves.len() {
                let path = path(&leaves, index).unwrap();
                assert_eq!(path.root(leaves[index]), Some(root(&leaves)), "{index} of {count}");
            }
        }
    }

    #[test]
    fn a_growing_tree_has_the_root_of_its_leaves() {
        let leaves = leaves(300);
        let mut growing = Frontier::default();
        for count in 0..leaves.len() {
            assert_eq!((growing.leaves() as usize, growing.root()), (count, root(&leaves[..count])));
            growing.push(leaves[count]);
        }
    }

    #[test]
    fn a_changed_path_does_not_lead_to_the_root() {
        let leaves = leaves(13);
        let good = path(&leaves, 5).unwrap();
        for step in 0..good.steps.len() {
            let mut bad = good.clone();
            bad.steps[step] = Hash::ZERO;
            assert_ne!(bad.root(leaves[5]), Some(root(&leaves)));
        }
        for index in (0..13).filter(|&n| n != 5) {
            assert_ne!(Path { index, ..good.clone() }.root(leaves[5]), Some(root(&leaves)));
        }
        let mut long = good.clone();
        long.steps.push(Hash::ZERO);
        assert_eq!(long.root(leaves[5]), None);
    }

    /// The tree of RFC 9162's seven test leaves as published with Certificate Transparency.
    #[test]
    fn known_roots() {
        assert_eq!(root(&[]).to_string(), "0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(
            root(&[leaf(b"")]).to_string(),
            "0x6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
        );
    }
}
