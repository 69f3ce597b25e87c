//! The tally: sums of ciphertexts, their hash, decryption by trustees, and the counts.

use std::collections::HashMap;

use curve25519_dalek::{
    ristretto::RistrettoPoint,
    traits::{Identity as _, VartimeMultiscalarMul as _},
};
use zeroize::Zeroizing;

use crate::{
    ballot::{Ballot, Pair},
    codec::DecodeError,
    contest::Rules,
    group::{Element, Scalar, SecretScalar},
    proof::Ciphertext,
    random::{Draw, NoRandomness},
    record::SharePart,
    transcript::{Tag, h32, hs},
};

/// Bytes of an encoded sum: A || Bt.
pub const SUM_BYTES: usize = 64;

/// The sums of an election: for every contest and option in order (A, Bt).
#[derive(Debug, Clone)]
pub struct Sums(Vec<Ciphertext>);

impl Sums {
    /// Of no ballots.
    pub fn new(rules: &Rules) -> Self {
        Self(vec![Ciphertext::zero(); rules.options()])
    }

    /// Adds a ballot of the same rules.
    pub fn add(&mut self, ballot: &Ballot) {
        self.add_pairs(ballot.pairs());
    }

    /// Adds ciphertexts in the order of contests and options.
    pub fn add_pairs<'a>(&mut self, pairs: impl Iterator<Item = &'a Pair>) {
        for (sum, pair) in self.0.iter_mut().zip(pairs) {
            sum.add(&pair.ciphertext());
        }
    }

    /// The counts, by whoever has the whole secret key: nobody in an election, all tests.
    #[doc(hidden)]
    pub fn decrypt_with(&self, secret: &SecretScalar, table: &Logarithms) -> Vec<Option<u32>> {
        self.0.iter().map(|sum| table.find(&(sum.beta - sum.alpha * secret.expose()))).collect()
    }

    /// One encoding an option; the sum of no ballots has 64 zero bytes.
    pub fn encode(&self) -> Vec<[u8; SUM_BYTES]> {
        let encode = |sum: &Ciphertext| {
            let mut bytes = [0; SUM_BYTES];
            let (a, b) = bytes.split_at_mut(32);
            a.copy_from_slice(sum.alpha.compress().as_bytes());
            b.copy_from_slice(sum.beta.compress().as_bytes());
            bytes
        };
        self.0.iter().map(encode).collect()
    }

    /// Reads sums; the identity is allowed here alone.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] when an encoding is not canonical or their number is not that of the options.
    pub fn decode(rules: &Rules, bytes: &[u8]) -> Result<Self, DecodeError> {
        use curve25519_dalek::ristretto::CompressedRistretto;
        let (sums, rest) = bytes.as_chunks::<SUM_BYTES>();
        if sums.len() != rules.options() || !rest.is_empty() {
            let what =
                format!("have {} bytes; {} options have {}", bytes.len(), rules.options(), rules.options() * SUM_BYTES);
            return Err(DecodeError::rule("sums", what));
        }
        let point = |bytes: &[u8]| {
            CompressedRistretto::from_slice(bytes)
                .ok()
                .and_then(|compressed| compressed.decompress())
                .ok_or_else(|| DecodeError::rule("sums", "are not canonical"))
        };
        sums.iter()
            .map(|sum| {
                let (alpha, beta) = sum.split_at(32);
                Ok(Ciphertext { alpha: point(alpha)?, beta: point(beta)? })
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// `th = H32("tally", eid, u32 N, tracker_1, .., tracker_N, A_1, Bt_1, ..)`: which ballots are counted, and what is decrypted.
pub fn tally_hash(eid: &[u8; 32], trackers: &[[u8; 32]], sums: &Sums) -> [u8; 32] {
    let count = u32::try_from(trackers.len()).unwrap_or(u32::MAX).to_be_bytes();
    let sums = sums.encode();
    let mut fields: Vec<&[u8]> = Vec::with_capacity(2 + trackers.len() + 2 * sums.len());
    fields.extend([eid.as_slice(), &count]);
    fields.extend(trackers.iter().map(<[u8; 32]>::as_slice));
    for (a, b) in sums.iter().map(|sum| sum.split_at(SUM_BYTES / 2)) {
        fields.extend([a, b]);
    }
    h32(Tag::Tally, &fields)
}

/// Of which tally a share is, and whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareOf {
    /// The election.
    pub eid: [u8; 32],
    /// The tally's hash.
    pub tally: [u8; 32],
    /// The trustee, from 1.
    pub trustee: u16,
}

/// An option's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionAt {
    /// From 0.
    pub contest: u32,
    /// From 0.
    pub option: u32,
}

/// The places of all options, in order.
pub fn options_of(rules: &Rules) -> impl Iterator<Item = OptionAt> {
    (0u32..)
        .zip(rules.contests())
        .flat_map(|(contest, rule)| (0..u32::from(rule.options())).map(move |option| OptionAt { contest, option }))
}

fn share_challenge(
    of: &ShareOf,
    at: OptionAt,
    (key, a, d): (&Element, &RistrettoPoint, &Element),
    w: [&RistrettoPoint; 2],
) -> Scalar {
    let numbers = [u32::from(of.trustee), at.contest, at.option].map(u32::to_be_bytes);
    let [trustee, contest, option] = &numbers;
    let a = a.compress().to_bytes();
    let w = w.map(|point| point.compress().to_bytes());
    let [w1, w2] = &w;
    let fields: [&[u8]; 10] = [&of.eid, &of.tally, trustee, key.as_bytes(), contest, option, &a, d.as_bytes(), w1, w2];
    hs(Tag::DecryptProof, &fields)
}

/// Decrypts a trustee's part of every sum, with proofs.
///
/// # Errors
///
/// [`NoRandomness`]; also when a sum is the identity, which takes all voters to arrange.
pub fn decrypt(
    of: &ShareOf,
    rules: &Rules,
    sums: &Sums,
    secret: &SecretScalar,
    draw: &mut dyn Draw,
) -> Result<Vec<SharePart>, NoRandomness> {
    options_of(rules).zip(&sums.0).map(|(at, sum)| decrypt_one(of, at, &sum.alpha, secret, draw)).collect()
}

/// Decrypts one sum, `at` counted over all contests as in `sums`: for the test vectors, which draw option by option.
#[doc(hidden)]
pub fn decrypt_nth(
    of: &ShareOf,
    (nth, at): (usize, OptionAt),
    sums: &Sums,
    secret: &SecretScalar,
    draw: &mut dyn Draw,
) -> Result<SharePart, NoRandomness> {
    decrypt_one(of, at, &sums.0.get(nth).ok_or(NoRandomness)?.alpha, secret, draw)
}

fn decrypt_one(
    of: &ShareOf,
    at: OptionAt,
    a: &RistrettoPoint,
    secret: &SecretScalar,
    draw: &mut dyn Draw,
) -> Result<SharePart, NoRandomness> {
    let d = Element::from_point(a * secret.expose()).ok_or(NoRandomness)?;
    let numbers = [at.contest, at.option].map(u32::to_be_bytes);
    let statement = h32(Tag::DecryptProof, &[&of.eid, &of.tally, &numbers.concat(), d.as_bytes()]);
    let w = Zeroizing::new(draw.nonce(secret.expose(), &statement)?);
    let points = [&RistrettoPoint::mul_base(&w), &(a * *w)];
    let c = share_challenge(of, at, (&secret.public(), a, &d), points);
    Ok(SharePart { d, c, z: *w + c * secret.expose() })
}

/// Checks every part of a trustee's share against its public key `key`.
///
/// # Errors
///
/// The place of the first part that is wrong; the place behind the last when their number is not that of the options.
pub fn check_share(
    of: &ShareOf,
    rules: &Rules,
    sums: &Sums,
    key: &Element,
    parts: &[SharePart],
) -> Result<(), OptionAt> {
    if parts.len() != sums.0.len() {
        let contest = u32::try_from(rules.contests().len()).unwrap_or(u32::MAX);
        return Err(OptionAt { contest, option: 0 });
    }
    for ((at, sum), part) in options_of(rules).zip(&sums.0).zip(parts) {
        let SharePart { d, c, z } = part;
        let first = RistrettoPoint::vartime_double_scalar_mul_basepoint(&-c, key.point(), z);
        let second = RistrettoPoint::vartime_multiscalar_mul([*z, -c], [&sum.alpha, d.point()]);
        if share_challenge(of, at, (key, &sum.alpha, d), [&first, &second]) != *c {
            return Err(at);
        }
    }
    Ok(())
}

/// Why shares give no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TallyError {
    /// Fewer than t.
    #[error("{found} shares are there; {needed} are needed")]
    TooFew {
        /// Given.
        found: usize,
        /// t.
        needed: usize,
    },
    /// One trustee twice, or number 0.
    #[error("trustee {0} is given twice, or is none")]
    Trustee(u16),
    /// No count from 0 to N fits: a share is wrong.
    #[error("contest {contest}, option {option}: no count up to {ballots} fits; a share is wrong")]
    Count {
        /// From 0.
        contest: u32,
        /// From 0.
        option: u32,
        /// N.
        ballots: u32,
    },
    /// The counts of a contest cannot be.
    #[error("contest {contest}: {found} choices in all; {lo} to {hi} are possible")]
    Sum {
        /// From 0.
        contest: usize,
        /// The sum of the counts.
        found: u64,
        /// lo N.
        lo: u64,
        /// hi N.
        hi: u64,
    },
}

/// A trustee's verified share.
#[derive(Debug, Clone, Copy)]
pub struct Share<'a> {
    /// From 1.
    pub trustee: u16,
    /// One an option.
    pub parts: &'a [SharePart],
}

/// Lagrange's coefficients at 0 for the trustees of `shares`.
fn lagrange(shares: &[Share<'_>]) -> Result<Vec<Scalar>, TallyError> {
    let mut coefficients = Vec::with_capacity(shares.len());
    for (at, one) in shares.iter().enumerate() {
        let k = Scalar::from(one.trustee);
        let (mut over, mut under) = (Scalar::ONE, Scalar::ONE);
        for (_, other) in shares.iter().enumerate().filter(|(other, _)| *other != at) {
            let m = Scalar::from(other.trustee);
            over *= m;
            under *= m - k;
        }
        if under == Scalar::ZERO || one.trustee == 0 {
            return Err(TallyError::Trustee(one.trustee));
        }
        coefficients.push(over * under.invert());
    }
    Ok(coefficients)
}

/// Counts the votes for every option from the verified shares of at least `needed` trustees; any of them give the same.
///
/// # Errors
///
/// [`TallyError`].
pub fn count(
    rules: &Rules,
    sums: &Sums,
    ballots: u32,
    shares: &[Share<'_>],
    needed: usize,
) -> Result<Vec<u32>, TallyError> {
    let shares = shares.get(..needed).ok_or(TallyError::TooFew { found: shares.len(), needed })?;
    let coefficients = lagrange(shares)?;
    let table = Logarithms::up_to(ballots);
    let mut counts = Vec::with_capacity(sums.0.len());
    for (index, (at, sum)) in options_of(rules).zip(&sums.0).enumerate() {
        let parts: Option<Vec<&RistrettoPoint>> =
            shares.iter().map(|share| share.parts.get(index).map(|part| part.d.point())).collect();
        let wrong = TallyError::Count { contest: at.contest, option: at.option, ballots };
        let Some(parts) = parts else { return Err(wrong) };
        let factor = RistrettoPoint::vartime_multiscalar_mul(&coefficients, parts);
        counts.push(table.find(&(sum.beta - factor)).ok_or(wrong)?);
    }
    check_sums(rules, ballots, &counts)?;
    Ok(counts)
}

/// Checks `lo N <= sum of counts <= hi N` for every contest.
///
/// # Errors
///
/// [`TallyError::Sum`].
pub fn check_sums(rules: &Rules, ballots: u32, counts: &[u32]) -> Result<(), TallyError> {
    let mut rest = counts.iter();
    for (contest, rule) in rules.contests().iter().enumerate() {
        let found: u64 = rest.by_ref().take(usize::from(rule.options())).copied().map(u64::from).sum();
        let (lo, hi) = (u64::from(rule.lo()) * u64::from(ballots), u64::from(rule.hi()) * u64::from(ballots));
        if found < lo || found > hi {
            return Err(TallyError::Sum { contest, found, lo, hi });
        }
    }
    Ok(())
}

/// Finds v in 0..=max from vB by Shanks' baby and giant steps: `2 sqrt(max)` additions, shared by all options.
#[derive(Debug)]
pub struct Logarithms {
    max: u32,
    step: u32,
    giant: RistrettoPoint,
    table: HashMap<[u8; 32], u32>,
}

impl Logarithms {
    /// For values up to `max`.
    pub fn up_to(max: u32) -> Self {
        let step = max.isqrt().saturating_add(1);
        // Doubled points encode in batches at a fraction of the cost; doubling is one to one, as the order is odd.
        let mut points = Vec::with_capacity(step as usize);
        let mut point = RistrettoPoint::identity();
        for _ in 0..step {
            points.push(point);
            point += Element::base().point();
        }
        let encoded = RistrettoPoint::double_and_compress_batch(&points);
        let table = encoded.into_iter().map(|one| one.to_bytes()).zip(0..).collect();
        Self { max, step, giant: point, table }
    }

    /// The v with `vB = point`, if there is one up to the maximum.
    pub fn find(&self, point: &RistrettoPoint) -> Option<u32> {
        /// Giant steps that are encoded together.
        const TOGETHER: u32 = 64;
        let mut rest = *point;
        let mut taken = 0u32;
        while taken <= self.max / self.step {
            let mut points = Vec::with_capacity(TOGETHER as usize);
            for _ in 0..TOGETHER {
                points.push(rest);
                rest -= self.giant;
            }
            for (at, encoded) in (taken..).zip(RistrettoPoint::double_and_compress_batch(&points)) {
                if let Some(baby) = self.table.get(encoded.as_bytes()) {
                    return at.checked_mul(self.step)?.checked_add(*baby).filter(|v| *v <= self.max);
                }
            }
            taken = taken.saturating_add(TOGETHER);
        }
        None
    }
}
