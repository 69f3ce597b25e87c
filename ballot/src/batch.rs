//! Many ballots at once: every equation is multiplied by a random weight of its own, and one multiscalar sum must be the identity.
//!
//! The group has prime order: a sum which holds for random 128-bit weights although an equation does not has a chance of 2^-128. So
//! a batch accepts what single verification accepts. When a batch fails, its members are verified one by one.

use curve25519_dalek::{
    ristretto::RistrettoPoint,
    traits::{IsIdentity as _, VartimeMultiscalarMul as _},
};
use sha2::{Digest as _, Sha512};

use crate::{
    ballot::{self, Ballot, BallotError, Bound, ContestFields, ElectionKey, Encrypted},
    contest::{Contest, Rules},
    group::{Element, Scalar},
    proof::{BIT, Branch, Range},
    random::random_bytes,
    schnorr::signature_challenge,
    transcript::{PROTOCOL, Tag},
};

/// Ballots in one sum at most; more gain nothing (`benches/ballot.rs`).
pub const BATCH_MAX: usize = 64;

/// Verifies ballots; the answers are in their order, and the same as those of [`ballot::verify`].
pub fn verify_batch(election: &ElectionKey, rules: &Rules, ballots: &[&Ballot]) -> Vec<Result<(), BallotError>> {
    ballots.chunks(BATCH_MAX).flat_map(|part| verify_part(election, rules, part)).collect()
}

fn verify_part(election: &ElectionKey, rules: &Rules, ballots: &[&Ballot]) -> Vec<Result<(), BallotError>> {
    if ballots.len() > 1 && all_valid(election, rules, ballots) {
        return vec![Ok(()); ballots.len()];
    }
    ballots.iter().map(|one| ballot::verify(election, rules, one)).collect()
}

fn all_valid(election: &ElectionKey, rules: &Rules, ballots: &[&Ballot]) -> bool {
    if ballots.iter().any(|one| one.eid() != &election.eid) {
        return false;
    }
    let Some(mut weights) = Weights::new(ballots) else { return false };
    let mut sum = Sum::default();
    for one in ballots {
        add_signature(&mut sum, one, &mut weights);
        let bound = Bound { eid: one.eid(), key: one.key(), y: &election.y };
        for ((number, contest), found) in (0u32..).zip(rules.contests()).zip(&one.contests) {
            add_contest(&mut sum, &bound, (number, contest), found, &mut weights);
        }
    }
    sum.vanishes(&election.y)
}

/// 128-bit weights, which nobody knew when the ballots were made: from the operating system's randomness and from the ballots, so that
/// neither alone must be trusted.
struct Weights {
    seed: [u8; 64],
    block: u64,
    ready: Vec<u128>,
}

impl Weights {
    fn new(ballots: &[&Ballot]) -> Option<Self> {
        let mut hash = Sha512::new();
        hash.update(PROTOCOL);
        hash.update(Tag::Batch.text());
        hash.update(random_bytes::<32>().ok()?);
        for one in ballots {
            hash.update(one.tracker());
            hash.update(one.signature().to_bytes());
        }
        Some(Self { seed: hash.finalize().into(), block: 0, ready: Vec::new() })
    }

    fn next(&mut self) -> Scalar {
        loop {
            match self.ready.pop() {
                // Zero would leave an equation out.
                Some(0) => {}
                Some(weight) => return Scalar::from(weight),
                None => self.more(),
            }
        }
    }

    fn more(&mut self) {
        let mut hash = Sha512::new();
        hash.update(self.seed);
        hash.update(self.block.to_be_bytes());
        self.block = self.block.wrapping_add(1);
        let bytes: [u8; 64] = hash.finalize().into();
        let (weights, _) = bytes.as_chunks::<16>();
        self.ready.extend(weights.iter().map(|weight| u128::from_le_bytes(*weight)));
    }
}

/// `base B + y Y + sum of scalars times points`.
#[derive(Default)]
struct Sum {
    base: Scalar,
    y: Scalar,
    scalars: Vec<Scalar>,
    points: Vec<RistrettoPoint>,
}

impl Sum {
    fn add(&mut self, scalar: Scalar, point: &RistrettoPoint) {
        self.scalars.push(scalar);
        self.points.push(*point);
    }

    /// zB = A + c alpha and zY = B + c (beta - vB), each with a weight; returns the coefficients of alpha and beta.
    fn add_branch(&mut self, branch: &Branch, v: Scalar, weights: &mut Weights) -> (Scalar, Scalar) {
        let (first, second) = (weights.next(), weights.next());
        let Branch { a, b, c, z } = branch;
        self.base += first * z + second * c * v;
        self.y += second * z;
        self.add(-first, a.point());
        self.add(-second, b.point());
        (-first * c, -second * c)
    }

    fn vanishes(mut self, y: &Element) -> bool {
        let (base, of_y) = (self.base, self.y);
        self.add(base, Element::base().point());
        self.add(of_y, y.point());
        RistrettoPoint::vartime_multiscalar_mul(&self.scalars, &self.points).is_identity()
    }
}

fn add_signature(sum: &mut Sum, one: &Ballot, weights: &mut Weights) {
    let signature = one.signature();
    let c = signature_challenge(Tag::CredSig, one.key(), one.tracker(), &signature.r);
    let weight = weights.next();
    sum.base += weight * signature.z;
    sum.add(-weight, signature.r.point());
    sum.add(-weight * c, one.key().point());
}

fn add_proof(sum: &mut Sum, branches: &[Branch], range: Range, weights: &mut Weights) -> (Scalar, Scalar) {
    let mut total = (Scalar::ZERO, Scalar::ZERO);
    for (branch, v) in branches.iter().zip(range.values()) {
        let (alpha, beta) = sum.add_branch(branch, v, weights);
        total = (total.0 + alpha, total.1 + beta);
    }
    total
}

fn add_contest(
    sum: &mut Sum,
    bound: &Bound<'_>,
    (number, contest): (u32, &Contest),
    found: &Encrypted,
    weights: &mut Weights,
) {
    let fields = ContestFields::new(number, contest);
    let branches = found.sum.branches(&fields.sum(bound, &found.pairs));
    // The sum's ciphertext is the sum of the options': its coefficients go to each of them.
    let of_sum = add_proof(sum, &branches, ballot::range_of(contest), weights);
    for ((pair, bit), statement) in found.pairs.iter().zip(&found.bits).zip(fields.bits(bound, &found.pairs)) {
        let of_bit = add_proof(sum, &bit.branches(&statement), BIT, weights);
        sum.add(of_sum.0 + of_bit.0, pair.alpha.point());
        sum.add(of_sum.1 + of_bit.1, pair.beta.point());
    }
}
