//! Ballots: read and verified here, made and audited in `cast`.

mod cast;

pub use cast::{AuditError, ChoiceError, Choices, Openings, Sealed, audit, encrypt};

use crate::{
    codec::{DecodeError, Problem, Reader},
    contest::{Contest, Rules},
    group::Element,
    proof::{BIT, Ciphertext, Proof, Range, Statement},
    schnorr::{self, Signature},
    transcript::{Tag, h32},
};

/// The version of ballots, their first byte.
pub const VERSION: u8 = 1;

/// To which election a ballot belongs, and the key to which it is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ElectionKey {
    /// The election's id.
    pub eid: [u8; 32],
    /// The trustees' joint public key.
    pub y: Element,
}

/// Why a ballot is not good. [`BallotError::word`] names each in a word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BallotError {
    /// The bytes are not a ballot of these rules.
    #[error("ballot: {0}")]
    Decode(#[from] DecodeError),
    /// Another version.
    #[error("ballot: version is {0}; this program knows {VERSION}")]
    Version(u8),
    /// Of another election.
    #[error("ballot: it is of another election")]
    Election,
    /// Other contests than the election's.
    #[error("ballot: {what} is {found}; the election has {right}")]
    Shape {
        /// Which count.
        what: &'static str,
        /// As read.
        found: u16,
        /// The election's.
        right: u16,
    },
    /// The voter's signature is wrong.
    #[error("ballot: the signature is not of its credential")]
    Signature,
    /// An option's proof is wrong.
    #[error("ballot: contest {contest}, option {option}: the proof that it is chosen or not is wrong")]
    BitProof {
        /// From 0.
        contest: u32,
        /// From 0.
        option: u32,
    },
    /// A contest's proof is wrong.
    #[error("ballot: contest {contest}: the proof of how many options are chosen is wrong")]
    SumProof {
        /// From 0.
        contest: u32,
    },
}

impl BallotError {
    /// The error in a word, as in the test vectors: a field, or `short`, `trailing`, `eid`, `bit-proof`, `sum-proof`, `signature`.
    pub fn word(&self) -> &'static str {
        match self {
            BallotError::Decode(DecodeError { problem: Problem::Short { .. }, .. }) => "short",
            BallotError::Decode(DecodeError { problem: Problem::Trailing(_), .. }) => "trailing",
            BallotError::Decode(error) => error.field,
            BallotError::Version(_) => "version",
            BallotError::Election => "eid",
            BallotError::Shape { what, .. } => what,
            BallotError::Signature => "signature",
            BallotError::BitProof { .. } => "bit-proof",
            BallotError::SumProof { .. } => "sum-proof",
        }
    }
}

/// An option's ciphertext, with its encodings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// rB.
    pub alpha: Element,
    /// rY + mB.
    pub beta: Element,
}

impl Pair {
    pub(crate) fn ciphertext(&self) -> Ciphertext {
        Ciphertext { alpha: *self.alpha.point(), beta: *self.beta.point() }
    }

    /// alpha || beta.
    pub fn to_bytes(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        let (alpha, beta) = bytes.split_at_mut(32);
        alpha.copy_from_slice(self.alpha.as_bytes());
        beta.copy_from_slice(self.beta.as_bytes());
        bytes
    }
}

/// The votes of one contest, encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Encrypted {
    pub(crate) pairs: Vec<Pair>,
    pub(crate) bits: Vec<Proof>,
    pub(crate) sum: Proof,
}

/// What a ballot says of itself, before its election's rules are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BallotHead {
    /// Its election.
    pub eid: [u8; 32],
    /// The place of its credential in the list.
    pub index: u32,
    /// The credential's encoded key.
    pub key: [u8; 32],
}

impl BallotHead {
    /// Reads version, eid, index and key.
    ///
    /// # Errors
    ///
    /// [`BallotError::Version`], [`BallotError::Decode`].
    pub fn read(bytes: &[u8]) -> Result<Self, BallotError> {
        let mut reader = Reader::new(bytes);
        Self::read_from(&mut reader)
    }

    fn read_from(reader: &mut Reader<'_>) -> Result<Self, BallotError> {
        match reader.u8("version")? {
            VERSION => Ok(Self { eid: reader.array("eid")?, index: reader.u32("index")?, key: reader.array("K")? }),
            other => Err(BallotError::Version(other)),
        }
    }
}

/// A ballot as read: of the right shape, every element and scalar decoded, nothing verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ballot {
    eid: [u8; 32],
    index: u32,
    key: Element,
    pub(crate) contests: Vec<Encrypted>,
    signature: Signature,
    tracker: [u8; 32],
}

/// Where the signature begins, or nothing when the bytes have another length than every ballot of these rules.
fn body_of<'a>(bytes: &'a [u8], rules: &Rules) -> Result<(&'a [u8], &'a [u8]), BallotError> {
    let right = rules.ballot_bytes();
    let error = |problem| BallotError::Decode(DecodeError { field: "ballot", problem });
    match bytes.len() {
        len if len < right => Err(error(Problem::Short { needed: right, found: len })),
        len if len > right => Err(error(Problem::Trailing(len - right))),
        len => Ok(bytes.split_at(len.saturating_sub(schnorr::SIGNATURE_BYTES))),
    }
}

/// Checks the signature of a ballot alone: what costs least comes first.
///
/// # Errors
///
/// [`BallotError::Decode`] of `K`, `sig R` or `sig z`, or of the length; [`BallotError::Signature`].
pub fn verify_signature(bytes: &[u8], rules: &Rules) -> Result<(), BallotError> {
    let (body, end) = body_of(bytes, rules)?;
    let head = BallotHead::read(body)?;
    let key = Element::decode(&head.key).map_err(|problem| DecodeError { field: "K", problem })?;
    let signature = Signature::read(&mut Reader::new(end), "sig R", "sig z")?;
    if schnorr::verify(Tag::CredSig, &key, &tracker(body), &signature) { Ok(()) } else { Err(BallotError::Signature) }
}

/// `H32("ballot-body", body)`: what a voter notes and finds again.
pub fn tracker(body: &[u8]) -> [u8; 32] {
    h32(Tag::BallotBody, &[body])
}

impl Ballot {
    /// Reads exactly one ballot of `rules`.
    ///
    /// # Errors
    ///
    /// [`BallotError::Version`], [`BallotError::Shape`], [`BallotError::Decode`] with the field.
    pub fn decode(bytes: &[u8], rules: &Rules) -> Result<Self, BallotError> {
        let (body, end) = body_of(bytes, rules)?;
        let mut reader = Reader::new(body);
        let head = BallotHead::read_from(&mut reader)?;
        let key = Element::decode(&head.key).map_err(|problem| DecodeError { field: "K", problem })?;
        let count = |what, found, right| {
            if found == right { Ok(()) } else { Err(BallotError::Shape { what, found, right }) }
        };
        // At most 16, see `Rules::new`.
        count("contests", reader.u16("contests")?, u16::try_from(rules.contests().len()).unwrap_or(u16::MAX))?;
        let mut contests = Vec::with_capacity(rules.contests().len());
        for contest in rules.contests() {
            count("options", reader.u16("options")?, contest.options())?;
            contests.push(encrypted(&mut reader, contest)?);
        }
        reader.finish()?;
        let mut reader = Reader::new(end);
        let signature = Signature::read(&mut reader, "sig R", "sig z")?;
        reader.finish()?;
        Ok(Self { eid: head.eid, index: head.index, key, contests, signature, tracker: tracker(body) })
    }

    /// Its election.
    pub fn eid(&self) -> &[u8; 32] {
        &self.eid
    }

    /// The place of its credential in the list.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The credential.
    pub fn key(&self) -> &Element {
        &self.key
    }

    /// The tracker.
    pub fn tracker(&self) -> &[u8; 32] {
        &self.tracker
    }

    /// The voter's signature.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The ciphertexts of all options, in order of contests.
    pub fn pairs(&self) -> impl Iterator<Item = &Pair> {
        self.contests.iter().flat_map(|contest| &contest.pairs)
    }
}

fn encrypted(reader: &mut Reader<'_>, contest: &Contest) -> Result<Encrypted, DecodeError> {
    let pairs = (0..contest.options())
        .map(|_| Ok(Pair { alpha: reader.element("alpha")?, beta: reader.element("beta")? }))
        .collect::<Result<_, DecodeError>>()?;
    let bits = (0..contest.options()).map(|_| Proof::read(reader, BIT)).collect::<Result<_, _>>()?;
    let sum = Proof::read(reader, range_of(contest))?;
    Ok(Encrypted { pairs, bits, sum })
}

pub(crate) fn range_of(contest: &Contest) -> Range {
    Range { lo: contest.lo(), hi: contest.hi() }
}

/// The fields which every proof of a ballot is about.
#[derive(Debug)]
pub(crate) struct Bound<'a> {
    pub(crate) eid: &'a [u8; 32],
    pub(crate) key: &'a Element,
    pub(crate) y: &'a Element,
}

/// A contest's fields as they are hashed.
#[derive(Debug)]
pub(crate) struct ContestFields {
    contest: [u8; 4],
    options: Vec<[u8; 4]>,
    lo: [u8; 4],
    hi: [u8; 4],
}

impl ContestFields {
    pub(crate) fn new(number: u32, contest: &Contest) -> Self {
        Self {
            contest: number.to_be_bytes(),
            options: (0..u32::from(contest.options())).map(u32::to_be_bytes).collect(),
            lo: u32::from(contest.lo()).to_be_bytes(),
            hi: u32::from(contest.hi()).to_be_bytes(),
        }
    }

    /// One statement an option.
    pub(crate) fn bits<'a>(&'a self, bound: &Bound<'a>, pairs: &'a [Pair]) -> impl Iterator<Item = Statement<'a>> {
        let [eid, key, y]: [&'a [u8]; 3] = [bound.eid, bound.key.as_bytes(), bound.y.as_bytes()];
        self.options.iter().zip(pairs).map(move |(option, pair)| Statement {
            tag: Tag::BitProof,
            fields: vec![eid, &self.contest, option, key, y, pair.alpha.as_bytes(), pair.beta.as_bytes()],
        })
    }

    pub(crate) fn sum<'a>(&'a self, bound: &Bound<'a>, pairs: &'a [Pair]) -> Statement<'a> {
        let mut fields: Vec<&[u8]> =
            vec![bound.eid, &self.contest, bound.key.as_bytes(), bound.y.as_bytes(), &self.lo, &self.hi];
        for pair in pairs {
            fields.extend([pair.alpha.as_bytes().as_slice(), pair.beta.as_bytes().as_slice()]);
        }
        Statement { tag: Tag::SumProof, fields }
    }
}

/// Verifies one ballot: the election, the signature, every proof.
///
/// # Errors
///
/// [`BallotError`] with the first that is wrong.
pub fn verify(election: &ElectionKey, rules: &Rules, ballot: &Ballot) -> Result<(), BallotError> {
    if ballot.eid != election.eid {
        return Err(BallotError::Election);
    }
    if !schnorr::verify(Tag::CredSig, &ballot.key, &ballot.tracker, &ballot.signature) {
        return Err(BallotError::Signature);
    }
    verify_content(election, rules, ballot)
}

/// Verifies what a ballot holds, whoever signed it: the election, every proof.
///
/// # Errors
///
/// [`BallotError`] with the first that is wrong.
pub fn verify_content(election: &ElectionKey, rules: &Rules, ballot: &Ballot) -> Result<(), BallotError> {
    if ballot.eid != election.eid {
        return Err(BallotError::Election);
    }
    let bound = Bound { eid: &ballot.eid, key: &ballot.key, y: &election.y };
    for ((number, contest), found) in (0u32..).zip(rules.contests()).zip(&ballot.contests) {
        let fields = ContestFields::new(number, contest);
        let statements = fields.bits(&bound, &found.pairs);
        for (((option, pair), bit), statement) in (0u32..).zip(&found.pairs).zip(&found.bits).zip(statements) {
            if !bit.is_valid(&statement, BIT, (&election.y, &pair.ciphertext())) {
                return Err(BallotError::BitProof { contest: number, option });
            }
        }
        let statement = fields.sum(&bound, &found.pairs);
        if !found.sum.is_valid(&statement, range_of(contest), (&election.y, &sum(&found.pairs))) {
            return Err(BallotError::SumProof { contest: number });
        }
    }
    Ok(())
}

fn sum(pairs: &[Pair]) -> Ciphertext {
    let mut total = Ciphertext::zero();
    for pair in pairs {
        total.add(&pair.ciphertext());
    }
    total
}

/// Reads of a ballot that was verified what is counted: its tracker, and the ciphertexts of all options in order.
///
/// # Errors
///
/// [`BallotError`] for bytes which are no ballot of these rules.
pub fn read_votes(bytes: &[u8], rules: &Rules) -> Result<([u8; 32], Vec<Pair>), BallotError> {
    let (body, _) = body_of(bytes, rules)?;
    let mut reader = Reader::new(body);
    BallotHead::read_from(&mut reader)?;
    reader.u16("contests")?;
    let mut pairs = Vec::with_capacity(rules.options());
    for contest in rules.contests() {
        reader.u16("options")?;
        for _ in 0..contest.options() {
            pairs.push(Pair { alpha: reader.element("alpha")?, beta: reader.element("beta")? });
        }
        reader.take("proofs", contest.proof_bytes())?;
    }
    Ok((tracker(body), pairs))
}
