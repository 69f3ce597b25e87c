//! Disjunctive Chaum-Pedersen proofs: a ciphertext holds one of lo, lo + 1, .., hi, and not which.
//!
//! The commitments travel with the proof, so that many proofs are checked by one sum (`batch`).

use curve25519_dalek::{ristretto::RistrettoPoint, traits::Identity as _};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};
use zeroize::Zeroizing;

use crate::{
    codec::{DecodeError, Reader, Writer},
    contest::SPREAD_MAX,
    group::{Element, Scalar},
    random::{Draw, NoRandomness},
    transcript::{Tag, h32, hs},
};

/// A ciphertext `alpha = rB`, `beta = rY + mB`, or a sum of such.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ciphertext {
    pub(crate) alpha: RistrettoPoint,
    pub(crate) beta: RistrettoPoint,
}

/// What a proof is about: the tag and the fields that are hashed before the commitments.
#[derive(Debug, Clone)]
pub(crate) struct Statement<'a> {
    pub(crate) tag: Tag,
    pub(crate) fields: Vec<&'a [u8]>,
}

/// A branch of a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Branch {
    /// zB = A + c alpha.
    pub(crate) a: Element,
    /// zY = B + c (beta - vB).
    pub(crate) b: Element,
    /// Derived for the last branch.
    pub(crate) c: Scalar,
    pub(crate) z: Scalar,
}

/// A proof as read: the last challenge follows from the statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proof {
    commitments: Vec<(Element, Element)>,
    challenges: Vec<Scalar>,
    responses: Vec<Scalar>,
}

/// The range of a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) lo: u16,
    pub(crate) hi: u16,
}

/// Zero or one.
pub(crate) const BIT: Range = Range { lo: 0, hi: 1 };

impl Range {
    fn branches(self) -> usize {
        usize::from(self.hi.saturating_sub(self.lo).min(SPREAD_MAX)) + 1
    }

    pub(crate) fn values(self) -> impl Iterator<Item = Scalar> {
        (self.lo..=self.hi).map(Scalar::from)
    }
}

/// What only the prover knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Witness<'a> {
    /// The ciphertext's randomness.
    pub(crate) r: &'a Scalar,
    /// The value in it, within the range.
    pub(crate) value: u16,
}

fn challenge(statement: &Statement<'_>, commitments: &[(Element, Element)]) -> Scalar {
    let mut fields = statement.fields.clone();
    for (a, b) in commitments {
        fields.extend([a.as_bytes().as_slice(), b.as_bytes().as_slice()]);
    }
    hs(statement.tag, &fields)
}

/// Proves. Which branch is real shows neither in time nor in the order of draws: w first, then (c, z) of the others.
///
/// # Errors
///
/// [`NoRandomness`].
pub(crate) fn prove(
    statement: &Statement<'_>,
    range: Range,
    (y, ciphertext): (&Element, &Ciphertext),
    witness: Witness<'_>,
    draw: &mut dyn Draw,
) -> Result<Proof, NoRandomness> {
    let count = range.branches();
    let w = Zeroizing::new(draw.nonce(witness.r, &h32(statement.tag, &statement.fields))?);
    let mut fakes = Zeroizing::new(Vec::with_capacity(count));
    for _ in 1..count {
        fakes.push((draw.scalar()?, draw.scalar()?));
    }
    let real = (RistrettoPoint::mul_base(&w), y.point() * *w);
    let mut commitments = Vec::with_capacity(count);
    let mut chosen = Zeroizing::new(Vec::with_capacity(count));
    let mut behind = Choice::from(0);
    let mut sum_of_fakes = Scalar::ZERO;
    let nothing = (Scalar::ZERO, Scalar::ZERO);
    for (at, v) in (range.lo..=range.hi).enumerate() {
        let is_real = v.ct_eq(&witness.value);
        // Fakes before the real branch are taken at their place, those behind it one earlier.
        let here = fakes.get(at).unwrap_or(&nothing);
        let before = at.checked_sub(1).and_then(|at| fakes.get(at)).unwrap_or(&nothing);
        let c = Scalar::conditional_select(&here.0, &before.0, behind);
        let z = Scalar::conditional_select(&here.1, &before.1, behind);
        let beta = ciphertext.beta - RistrettoPoint::mul_base(&Scalar::from(v));
        let a = RistrettoPoint::mul_base(&z) - ciphertext.alpha * c;
        let b = y.point() * z - beta * c;
        let a = RistrettoPoint::conditional_select(&a, &real.0, is_real);
        let b = RistrettoPoint::conditional_select(&b, &real.1, is_real);
        let (Some(a), Some(b)) = (Element::from_point(a), Element::from_point(b)) else { return Err(NoRandomness) };
        commitments.push((a, b));
        sum_of_fakes += Scalar::conditional_select(&c, &Scalar::ZERO, is_real);
        chosen.push((c, z));
        behind |= is_real;
    }
    let c_real = challenge(statement, &commitments) - sum_of_fakes;
    let z_real = Zeroizing::new(*w + c_real * witness.r);
    let (mut challenges, mut responses) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for (v, (c, z)) in (range.lo..=range.hi).zip(chosen.iter()) {
        let is_real = v.ct_eq(&witness.value);
        challenges.push(Scalar::conditional_select(c, &c_real, is_real));
        responses.push(Scalar::conditional_select(z, &z_real, is_real));
    }
    challenges.pop();
    Ok(Proof { commitments, challenges, responses })
}

impl Proof {
    /// Writes all commitments, all challenges but the last, all responses.
    pub(crate) fn write(&self, out: &mut Writer) {
        for (a, b) in &self.commitments {
            out.bytes(a.as_bytes()).bytes(b.as_bytes());
        }
        for scalar in self.challenges.iter().chain(&self.responses) {
            out.scalar(scalar);
        }
    }

    /// Reads a proof for `range`.
    ///
    /// # Errors
    ///
    /// [`DecodeError`]: field `A`, `B`, `c` or `z`.
    pub(crate) fn read(reader: &mut Reader<'_>, range: Range) -> Result<Self, DecodeError> {
        let count = range.branches();
        let commitments =
            (0..count).map(|_| Ok((reader.element("A")?, reader.element("B")?))).collect::<Result<_, DecodeError>>()?;
        let challenges = (1..count).map(|_| reader.scalar("c")).collect::<Result<_, _>>()?;
        let responses = (0..count).map(|_| reader.scalar("z")).collect::<Result<_, _>>()?;
        Ok(Self { commitments, challenges, responses })
    }

    /// The branches, with the last challenge derived from `statement`.
    pub(crate) fn branches(&self, statement: &Statement<'_>) -> Vec<Branch> {
        let last = challenge(statement, &self.commitments) - self.challenges.iter().sum::<Scalar>();
        let challenges = self.challenges.iter().copied().chain([last]);
        let parts = self.commitments.iter().zip(challenges).zip(&self.responses);
        parts.map(|((&(a, b), c), &z)| Branch { a, b, c, z }).collect()
    }

    /// Whether it proves that `ciphertext` under `y` holds a value of `range`. Variable time: all of it is public.
    pub(crate) fn is_valid(
        &self,
        statement: &Statement<'_>,
        range: Range,
        (y, ciphertext): (&Element, &Ciphertext),
    ) -> bool {
        use curve25519_dalek::traits::VartimeMultiscalarMul as _;
        self.branches(statement).iter().zip(range.values()).all(|(branch, v)| {
            let Branch { a, b, c, z } = branch;
            let first = RistrettoPoint::vartime_double_scalar_mul_basepoint(&-c, &ciphertext.alpha, z);
            // zY - c beta + c v B
            let second = RistrettoPoint::vartime_multiscalar_mul(
                [*z, -c, c * v],
                [y.point(), &ciphertext.beta, Element::base().point()],
            );
            first == *a.point() && second == *b.point()
        })
    }
}

impl Ciphertext {
    /// The neutral ciphertext.
    pub(crate) fn zero() -> Self {
        Self { alpha: RistrettoPoint::identity(), beta: RistrettoPoint::identity() }
    }

    pub(crate) fn add(&mut self, other: &Ciphertext) {
        self.alpha += other.alpha;
        self.beta += other.beta;
    }
}
