//! Making a ballot: choices, encryption, the audit of an opened one, the signature when it is cast.

use std::fmt;

use curve25519_dalek::ristretto::RistrettoPoint;
use subtle::ConditionallySelectable as _;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{
    Ballot, BallotError, BallotHead, Bound, ContestFields, ElectionKey, Pair, VERSION, range_of, sum, tracker,
    verify_content,
};
use crate::{
    codec::Writer,
    contest::{Contest, Rules},
    group::{Element, Scalar, SecretScalar},
    proof::{self, BIT, Ciphertext, Witness},
    random::{Draw, NoRandomness},
    schnorr::{self, Signature},
    transcript::Tag,
};

/// What a voter chose: for every contest and option, whether it is chosen. Erased when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Choices(Vec<Vec<u8>>);

/// Why choices are not ones of these rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChoiceError {
    /// For other contests.
    #[error("there are choices for {found} contests; the election has {right}")]
    Contests {
        /// As given.
        found: usize,
        /// The election's.
        right: usize,
    },
    /// For other options.
    #[error("contest {contest}: there are choices for {found} options; the contest has {right}")]
    Options {
        /// From 0.
        contest: usize,
        /// As given.
        found: usize,
        /// The contest's.
        right: u16,
    },
    /// Too few or too many. What was chosen is not told.
    #[error("contest {contest}: choose {lo} to {hi} options")]
    Sum {
        /// From 0.
        contest: usize,
        /// The fewest.
        lo: u16,
        /// The most.
        hi: u16,
    },
}

impl Choices {
    /// Checks choices against the rules.
    ///
    /// # Errors
    ///
    /// [`ChoiceError`].
    pub fn new(rules: &Rules, chosen: &[Vec<bool>]) -> Result<Self, ChoiceError> {
        let right = rules.contests().len();
        if chosen.len() != right {
            return Err(ChoiceError::Contests { found: chosen.len(), right });
        }
        for (contest, (rule, options)) in rules.contests().iter().zip(chosen).enumerate() {
            if options.len() != usize::from(rule.options()) {
                return Err(ChoiceError::Options { contest, found: options.len(), right: rule.options() });
            }
            let count = options.iter().filter(|chosen| **chosen).count();
            if count < usize::from(rule.lo()) || count > usize::from(rule.hi()) {
                return Err(ChoiceError::Sum { contest, lo: rule.lo(), hi: rule.hi() });
            }
        }
        Ok(Self(chosen.iter().map(|options| options.iter().map(|chosen| u8::from(*chosen)).collect()).collect()))
    }

    /// For every contest and option, whether it is chosen.
    pub fn chosen(&self) -> Vec<Vec<bool>> {
        self.0.iter().map(|options| options.iter().map(|bit| *bit == 1).collect()).collect()
    }
}

impl fmt::Debug for Choices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Choices(..)")
    }
}

/// The randomness of a ballot and what is in it: for an audit, and erased when the ballot is cast.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Openings {
    choices: Choices,
    randomness: Vec<Vec<Scalar>>,
}

impl Openings {
    /// From their parts, as a file carries them.
    pub fn new(choices: Choices, randomness: Vec<Vec<Scalar>>) -> Self {
        Self { choices, randomness }
    }

    /// What was chosen.
    pub fn choices(&self) -> &Choices {
        &self.choices
    }

    /// r of every contest and option.
    pub fn randomness(&self) -> &[Vec<Scalar>] {
        &self.randomness
    }
}

impl fmt::Debug for Openings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Openings(..)")
    }
}

/// An encrypted ballot which is not signed: it can be audited or cast, and nobody can cast one that was audited.
#[derive(Debug, Clone)]
pub struct Sealed {
    body: Vec<u8>,
}

/// Encrypts `choices` for the credential at `index` with the public key `key`.
///
/// # Errors
///
/// [`NoRandomness`].
pub fn encrypt(
    election: &ElectionKey,
    rules: &Rules,
    (index, key): (u32, &Element),
    choices: &Choices,
    draw: &mut dyn Draw,
) -> Result<(Sealed, Openings), NoRandomness> {
    let mut out = Writer::new();
    out.u8(VERSION).bytes(&election.eid).u32(index).bytes(key.as_bytes()).count16(rules.contests().len());
    let bound = Bound { eid: &election.eid, key, y: &election.y };
    let mut randomness = Vec::with_capacity(rules.contests().len());
    for ((number, contest), bits) in (0u32..).zip(rules.contests()).zip(&choices.0) {
        randomness.push(encrypt_contest((number, contest), &bound, bits, draw, &mut out)?);
    }
    Ok((Sealed { body: out.finish() }, Openings { choices: choices.clone(), randomness }))
}

fn encrypt_contest(
    (number, contest): (u32, &Contest),
    bound: &Bound<'_>,
    bits: &[u8],
    draw: &mut dyn Draw,
    out: &mut Writer,
) -> Result<Vec<Scalar>, NoRandomness> {
    let mut all_r = Zeroizing::new(Vec::with_capacity(bits.len()));
    for _ in bits {
        all_r.push(draw.scalar()?);
    }
    let pairs = bits.iter().zip(all_r.iter()).map(|(bit, r)| pair(bound.y, r, *bit)).collect::<Result<Vec<_>, _>>()?;
    let fields = ContestFields::new(number, contest);
    out.u16(contest.options());
    for pair in &pairs {
        out.bytes(&pair.to_bytes());
    }
    for (((pair, statement), bit), r) in pairs.iter().zip(fields.bits(bound, &pairs)).zip(bits).zip(all_r.iter()) {
        let witness = Witness { r, value: u16::from(*bit) };
        proof::prove(&statement, BIT, (bound.y, &pair.ciphertext()), witness, draw)?.write(out);
    }
    let r = Zeroizing::new(all_r.iter().sum::<Scalar>());
    let witness = Witness { r: &r, value: bits.iter().map(|bit| u16::from(*bit)).sum() };
    let statement = fields.sum(bound, &pairs);
    proof::prove(&statement, range_of(contest), (bound.y, &sum(&pairs)), witness, draw)?.write(out);
    Ok(all_r.to_vec())
}

fn pair(y: &Element, r: &Scalar, bit: u8) -> Result<Pair, NoRandomness> {
    let plus = RistrettoPoint::conditional_select(
        &Ciphertext::zero().beta,
        Element::base().point(),
        subtle::Choice::from(bit & 1),
    );
    let alpha = Element::from_point(RistrettoPoint::mul_base(r));
    let beta = Element::from_point(y.point() * r + plus);
    // Either is the identity with a chance of 2^-252.
    Ok(Pair { alpha: alpha.ok_or(NoRandomness)?, beta: beta.ok_or(NoRandomness)? })
}

impl Sealed {
    /// Takes up a body from a file; [`Self::cast`] and [`audit`] find what is wrong with it.
    pub fn from_body(body: Vec<u8>) -> Self {
        Self { body }
    }

    /// The bytes that are signed when it is cast.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// What the voter notes before choosing to audit or to cast.
    pub fn tracker(&self) -> [u8; 32] {
        tracker(&self.body)
    }

    /// The ballot, signed by its credential.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`].
    pub fn cast(self, credential: &SecretScalar, draw: &mut dyn Draw) -> Result<Vec<u8>, NoRandomness> {
        let signature = schnorr::sign(Tag::CredSig, credential, &self.tracker(), draw)?;
        let mut bytes = self.body;
        bytes.extend_from_slice(&signature.to_bytes());
        Ok(bytes)
    }
}

/// Why an opened ballot does not hold what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The body is not one of the election's.
    #[error(transparent)]
    Ballot(#[from] BallotError),
    /// The openings are for other contests or options.
    #[error("the openings are not for this election's contests")]
    Shape,
    /// The ciphertext holds something else.
    #[error(
        "contest {contest}, option {option}: the ballot does not hold what was shown; do not trust the device that made it"
    )]
    Differs {
        /// From 0.
        contest: usize,
        /// From 0.
        option: usize,
    },
}

/// Recomputes every ciphertext of an opened ballot: whether it holds what the openings say (Benaloh's challenge). Proofs are checked too,
/// so that a device which makes ballots that will not be counted is found.
///
/// # Errors
///
/// [`AuditError`].
pub fn audit(election: &ElectionKey, rules: &Rules, body: &[u8], openings: &Openings) -> Result<Choices, AuditError> {
    let head = BallotHead::read(body)?;
    if head.eid != election.eid {
        return Err(BallotError::Election.into());
    }
    // An unsigned ballot has no signature to read: any well-formed one stands in its place and is not checked.
    let mut bytes = body.to_vec();
    bytes.extend_from_slice(&Signature { r: Element::base(), z: Scalar::ONE }.to_bytes());
    let ballot = Ballot::decode(&bytes, rules)?;
    let fits = openings.randomness.len() == rules.contests().len()
        && openings.choices.0.len() == rules.contests().len()
        && openings
            .randomness
            .iter()
            .zip(&openings.choices.0)
            .zip(rules.contests())
            .all(|((r, bits), contest)| r.len() == usize::from(contest.options()) && bits.len() == r.len());
    if !fits {
        return Err(AuditError::Shape);
    }
    for (contest, ((found, all_r), bits)) in
        ballot.contests.iter().zip(&openings.randomness).zip(&openings.choices.0).enumerate()
    {
        for (option, ((there, r), bit)) in found.pairs.iter().zip(all_r).zip(bits).enumerate() {
            if pair(&election.y, r, *bit).ok().as_ref() != Some(there) {
                return Err(AuditError::Differs { contest, option });
            }
        }
    }
    verify_content(election, rules, &ballot)?;
    Ok(openings.choices.clone())
}
