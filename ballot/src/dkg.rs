//! The trustees' key ceremony: Pedersen's distributed key generation with Feldman's commitments, committed before revealed, so that
//! nobody chooses a key after seeing the others' (Gennaro et al., 1999), and with proofs of knowledge against rogue keys.

use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit as _,
    aead::{Aead as _, Payload},
};
use curve25519_dalek::{
    ristretto::RistrettoPoint,
    traits::{Identity as _, VartimeMultiscalarMul as _},
};
use zeroize::Zeroizing;

use crate::{
    codec::{Reader, Writer},
    group::{Element, Scalar, SecretScalar, decode_scalar},
    random::{Draw, NoRandomness},
    record::SEALED_BYTES,
    schnorr::{self, Signature},
    transcript::{Tag, h32, hs},
};

/// Why a part of a ceremony is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DkgError {
    /// The sealed share does not open: it is not for this trustee, or damaged.
    #[error("the sealed share does not open")]
    Sealed,
    /// The share is not a value of the dealer's polynomial.
    #[error("the share is not what the dealer's coefficients say")]
    Share,
    /// A joint key would be the identity.
    #[error("the joint key or a trustee's part of it would be the identity")]
    Identity,
    /// The complaint's shared point is not the one of accuser and sealed share.
    #[error("the complaint's proof is wrong")]
    Complaint,
    /// The share is right.
    #[error("the complaint is false: the share is what the dealer's coefficients say")]
    False,
    /// Whoever sealed the share has not shown that it knows the secret of the element which stands before it.
    #[error(
        "the sealed share has no proof that its maker knows the secret of its element; a complaint about it could open another's share"
    )]
    Unproven,
    /// No randomness.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// A ceremony's id: `H32("ceremony", chain, draft, u32 n, u32 t, E_1..E_n, u32 attempt)`.
pub fn ceremony_id(chain_id: &[u8; 32], draft: &[u8; 32], keys: &[Element], t: u16, attempt: u32) -> [u8; 32] {
    let n = u32::try_from(keys.len()).unwrap_or(u32::MAX).to_be_bytes();
    let (t, attempt) = (u32::from(t).to_be_bytes(), attempt.to_be_bytes());
    let mut fields: Vec<&[u8]> = vec![chain_id, draft, &n, &t];
    fields.extend(keys.iter().map(|key| key.as_bytes().as_slice()));
    fields.push(&attempt);
    h32(Tag::Ceremony, &fields)
}

/// What trustee `trustee` publishes before it reveals: `H32("dkg-commit", cid, u32 i, C_i0, .., C_i,t-1)`.
pub fn commitment(cid: &[u8; 32], trustee: u16, coefficients: &[Element]) -> [u8; 32] {
    let trustee = u32::from(trustee).to_be_bytes();
    let mut fields: Vec<&[u8]> = vec![cid, &trustee];
    fields.extend(coefficients.iter().map(|c| c.as_bytes().as_slice()));
    h32(Tag::DkgCommit, &fields)
}

/// A trustee's secret polynomial.
#[derive(Debug, Clone)]
pub struct Dealer(Vec<SecretScalar>);

impl Dealer {
    /// A new polynomial with `t` coefficients.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`].
    pub fn generate(t: u16, draw: &mut dyn Draw) -> Result<Self, NoRandomness> {
        (0..t).map(|_| draw.secret()).collect::<Result<_, _>>().map(Self)
    }

    /// From the coefficients in a trustee's file.
    pub fn from_coefficients(coefficients: Vec<SecretScalar>) -> Self {
        Self(coefficients)
    }

    /// The coefficients, for the trustee's file.
    pub fn coefficients(&self) -> &[SecretScalar] {
        &self.0
    }

    /// C_i0, .., C_i,t-1.
    pub fn public(&self) -> Vec<Element> {
        self.0.iter().map(SecretScalar::public).collect()
    }

    /// f_i(j): the share for trustee `receiver`, counted from 1.
    pub fn share(&self, receiver: u16) -> Zeroizing<Scalar> {
        let x = Scalar::from(receiver);
        Zeroizing::new(self.0.iter().rev().fold(Scalar::ZERO, |sum, a| sum * x + a.expose()))
    }

    /// Proves knowledge of the first coefficient: `c = Hs("dkg-pok", cid, u32 i, C_i0, .., R)`.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`].
    pub fn prove(&self, cid: &[u8; 32], trustee: u16, draw: &mut dyn Draw) -> Result<Signature, NoRandomness> {
        let public = self.public();
        let trustee = u32::from(trustee).to_be_bytes();
        let first = self.0.first().ok_or(NoRandomness)?;
        schnorr::prove(Tag::DkgPok, first, &knowledge(cid, &trustee, &public), draw)
    }
}

fn knowledge<'a>(cid: &'a [u8; 32], trustee: &'a [u8; 4], public: &'a [Element]) -> Vec<&'a [u8]> {
    let mut fields: Vec<&[u8]> = vec![cid, trustee];
    fields.extend(public.iter().map(|c| c.as_bytes().as_slice()));
    fields
}

/// Checks [`Dealer::prove`].
pub fn knows(cid: &[u8; 32], trustee: u16, coefficients: &[Element], proof: &Signature) -> bool {
    let number = u32::from(trustee).to_be_bytes();
    coefficients
        .first()
        .is_some_and(|first| schnorr::check(Tag::DkgPok, first, &knowledge(cid, &number, coefficients), proof))
}

/// `sum of x^m C_m`: the public image of the share for `x`. The identity is possible.
fn evaluate(coefficients: &[Element], x: u16) -> RistrettoPoint {
    let x = Scalar::from(x);
    coefficients.iter().rev().fold(RistrettoPoint::identity(), |sum, c| sum * x + c.point())
}

/// Whether `share` is the value at `receiver` of the polynomial with these coefficients.
pub fn is_share(coefficients: &[Element], receiver: u16, share: &Scalar) -> bool {
    RistrettoPoint::mul_base(share) == evaluate(coefficients, receiver)
}

/// The parties of a sealed share: cid, dealer, receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parties {
    /// The ceremony.
    pub cid: [u8; 32],
    /// Who sends, from 1.
    pub dealer: u16,
    /// Who receives, from 1.
    pub receiver: u16,
}

impl Parties {
    fn bytes(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.bytes(&self.cid).u32(u32::from(self.dealer)).u32(u32::from(self.receiver));
        out.finish()
    }

    /// A key that is used once: `H32("dkg-share", parties, ephemeral, E_j, shared)`.
    fn cipher(&self, ephemeral: &Element, receiver: &Element, shared: &Element) -> ChaCha20Poly1305 {
        let fields = [&self.bytes(), ephemeral.as_bytes().as_slice(), receiver.as_bytes(), shared.as_bytes()];
        ChaCha20Poly1305::new(&(*Zeroizing::new(h32(Tag::DkgShare, &fields))).into())
    }
}

/// The nonce of every sealed share: each has a key of its own.
const NONCE: [u8; 12] = [0; 12];

/// Bytes of an encrypted scalar and its tag.
const HIDDEN_BYTES: usize = 48;

/// Seals `share` for the trustee with `key`: ephemeral element || encrypted scalar || tag || R || z.
///
/// R, z prove that whoever seals knows the ephemeral secret, for these parties and this receiver: `c = Hs("dkg-seal", parties, E_j, eB, R)`.
/// Nobody can put another's element before a share and learn by a complaint what opens the other's.
///
/// # Errors
///
/// [`NoRandomness`].
pub fn seal(
    parties: &Parties,
    key: &Element,
    share: &Scalar,
    draw: &mut dyn Draw,
) -> Result<[u8; SEALED_BYTES], NoRandomness> {
    let secret = draw.secret()?;
    let ephemeral = secret.public();
    let shared = Element::from_point(key.point() * secret.expose()).ok_or(NoRandomness)?;
    let of = parties.bytes();
    let payload = Payload { msg: share.as_bytes(), aad: &of };
    // Fails for messages of 256 GiB.
    let hidden = parties.cipher(&ephemeral, key, &shared).encrypt(&NONCE.into(), payload).map_err(|_| NoRandomness)?;
    let fields = [&of, key.as_bytes().as_slice(), ephemeral.as_bytes()];
    let proof = schnorr::prove(Tag::DkgSeal, &secret, &fields, draw)?.to_bytes();
    let mut sealed = [0; SEALED_BYTES];
    for (to, from) in sealed.iter_mut().zip(ephemeral.as_bytes().iter().chain(&hidden).chain(&proof)) {
        *to = *from;
    }
    Ok(sealed)
}

/// A sealed share's fields.
struct Sealed<'a> {
    ephemeral: Element,
    hidden: &'a [u8],
    proof: Signature,
}

impl<'a> Sealed<'a> {
    fn read(sealed: &'a [u8; SEALED_BYTES]) -> Option<Self> {
        let mut reader = Reader::new(sealed);
        let ephemeral = reader.element("ephemeral").ok()?;
        let hidden = reader.take("encrypted share", HIDDEN_BYTES).ok()?;
        let proof = Signature::read(&mut reader, "R", "z").ok()?;
        Some(Self { ephemeral, hidden, proof })
    }

    /// The fields, if their maker knows the ephemeral secret.
    fn proven(parties: &Parties, key: &Element, sealed: &'a [u8; SEALED_BYTES]) -> Result<Self, DkgError> {
        let read = Self::read(sealed).ok_or(DkgError::Unproven)?;
        let fields = [&parties.bytes(), key.as_bytes().as_slice(), read.ephemeral.as_bytes()];
        if schnorr::check(Tag::DkgSeal, &read.ephemeral, &fields, &read.proof) {
            Ok(read)
        } else {
            Err(DkgError::Unproven)
        }
    }
}

/// Whether a sealed share shows that its maker knows the secret of its element. What does not is refused before anyone could complain
/// about it. The share itself may be wrong.
pub fn is_proven(parties: &Parties, key: &Element, sealed: &[u8; SEALED_BYTES]) -> bool {
    Sealed::proven(parties, key, sealed).is_ok()
}

fn open_with(
    parties: &Parties,
    key: &Element,
    shared: &Element,
    sealed: &Sealed<'_>,
) -> Result<Zeroizing<Scalar>, DkgError> {
    let payload = Payload { msg: sealed.hidden, aad: &parties.bytes() };
    let share = parties.cipher(&sealed.ephemeral, key, shared).decrypt(&NONCE.into(), payload);
    let share = Zeroizing::new(share.map_err(|_| DkgError::Sealed)?);
    let bytes = Zeroizing::new(<[u8; 32]>::try_from(share.as_slice()).map_err(|_| DkgError::Sealed)?);
    decode_scalar(&bytes).map(Zeroizing::new).map_err(|_| DkgError::Share)
}

/// Opens a sealed share and checks it against the dealer's coefficients.
///
/// # Errors
///
/// [`DkgError::Sealed`], [`DkgError::Share`]: complain. [`DkgError::Unproven`]: no ledger takes such a share, so whoever showed it lies.
pub fn open(
    parties: &Parties,
    secret: &SecretScalar,
    coefficients: &[Element],
    sealed: &[u8; SEALED_BYTES],
) -> Result<Zeroizing<Scalar>, DkgError> {
    let key = secret.public();
    let sealed = Sealed::proven(parties, &key, sealed)?;
    let shared = Element::from_point(sealed.ephemeral.point() * secret.expose()).ok_or(DkgError::Sealed)?;
    let share = open_with(parties, &key, &shared, &sealed)?;
    if is_share(coefficients, parties.receiver, &share) { Ok(share) } else { Err(DkgError::Share) }
}

/// A complaint's opening of a share: the shared point, with a proof that it is the accuser's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accusation {
    /// e_j times the ephemeral element.
    pub shared: Element,
    /// Challenge of the proof of equal logarithms.
    pub c: Scalar,
    /// Its response.
    pub z: Scalar,
}

fn accusation_challenge(parties: &Parties, points: [&Element; 3], w: [&RistrettoPoint; 2]) -> Scalar {
    let [key, ephemeral, shared] = points;
    let w = w.map(|point| point.compress().to_bytes());
    let of = parties.bytes();
    let fields: [&[u8]; 6] = [&of, key.as_bytes(), ephemeral.as_bytes(), shared.as_bytes(), &w[0], &w[1]];
    hs(Tag::DkgComplaint, &fields)
}

/// Opens a share for everybody, to show that it is wrong. What is published tells nothing that the share's maker did not know: the proof
/// in the share is checked first. A right share is known to all then, so do not complain about one.
///
/// # Errors
///
/// [`DkgError::Unproven`], [`DkgError::NoRandomness`].
pub fn accuse(
    parties: &Parties,
    secret: &SecretScalar,
    sealed: &[u8; SEALED_BYTES],
    draw: &mut dyn Draw,
) -> Result<Accusation, DkgError> {
    let key = secret.public();
    let Sealed { ephemeral, .. } = Sealed::proven(parties, &key, sealed)?;
    let shared = Element::from_point(ephemeral.point() * secret.expose()).ok_or(NoRandomness)?;
    let w = Zeroizing::new(draw.nonce(secret.expose(), &h32(Tag::DkgComplaint, &[&parties.bytes(), sealed]))?);
    let points = [&RistrettoPoint::mul_base(&w), &(ephemeral.point() * *w)];
    let c = accusation_challenge(parties, [&key, &ephemeral, &shared], points);
    Ok(Accusation { shared, c, z: *w + c * secret.expose() })
}

/// Judges a complaint of the trustee with `key`: `Ok` means that the dealer did wrong.
///
/// # Errors
///
/// [`DkgError::Complaint`], [`DkgError::False`].
pub fn judge(
    parties: &Parties,
    key: &Element,
    coefficients: &[Element],
    sealed: &[u8; SEALED_BYTES],
    accusation: &Accusation,
) -> Result<(), DkgError> {
    let sealed = Sealed::read(sealed).ok_or(DkgError::Complaint)?;
    let ephemeral = sealed.ephemeral;
    let Accusation { shared, c, z } = accusation;
    let first = RistrettoPoint::vartime_double_scalar_mul_basepoint(&-c, key.point(), z);
    let second = RistrettoPoint::vartime_multiscalar_mul([*z, -c], [ephemeral.point(), shared.point()]);
    if accusation_challenge(parties, [key, &ephemeral, shared], [&first, &second]) != *c {
        return Err(DkgError::Complaint);
    }
    match open_with(parties, key, shared, &sealed) {
        Ok(share) if is_share(coefficients, parties.receiver, &share) => Err(DkgError::False),
        _ => Ok(()),
    }
}

/// What a trustee revealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revealed {
    /// C_i0, .., C_i,t-1.
    pub coefficients: Vec<Element>,
    /// Knowledge of the first.
    pub proof: Signature,
    /// One sealed share for each trustee, in order.
    pub sealed: Vec<[u8; SEALED_BYTES]>,
}

/// The hash of all reveals, in order: `H32("dkg-ack", cid, C_1, proof_1, sealed_1, .., C_n, proof_n, sealed_n)`, lists joined.
pub fn transcript(cid: &[u8; 32], reveals: &[Revealed]) -> [u8; 32] {
    let parts: Vec<[Vec<u8>; 3]> = reveals
        .iter()
        .map(|one| {
            let coefficients = one.coefficients.iter().flat_map(|c| *c.as_bytes()).collect();
            [coefficients, one.proof.to_bytes().to_vec(), one.sealed.concat()]
        })
        .collect();
    let mut fields: Vec<&[u8]> = vec![cid];
    fields.extend(parts.iter().flatten().map(Vec::as_slice));
    h32(Tag::DkgAck, &fields)
}

/// The public keys which a ceremony makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKeys {
    /// The election's.
    pub y: Element,
    /// Of each trustee's share of it, in order.
    pub x: Vec<Element>,
}

/// Computes `Y = sum of C_i0` and `X_j = sum over i, m of j^m C_im`.
///
/// # Errors
///
/// [`DkgError::Identity`].
pub fn public_keys(coefficients: &[Vec<Element>]) -> Result<PublicKeys, DkgError> {
    let sum = |at: &dyn Fn(&[Element]) -> RistrettoPoint| {
        Element::from_point(coefficients.iter().map(|one| at(one)).sum()).ok_or(DkgError::Identity)
    };
    let y = sum(&|one| evaluate(one, 0))?;
    // Trustees are at most 16.
    let n = u16::try_from(coefficients.len()).unwrap_or(u16::MAX);
    let x = (1..=n).map(|j| sum(&|one| evaluate(one, j))).collect::<Result<_, _>>()?;
    Ok(PublicKeys { y, x })
}

/// A trustee's share of the election's secret: the sum of the shares it was sent.
///
/// # Errors
///
/// [`DkgError::Identity`] when it is zero.
pub fn own_key<'a>(shares: impl IntoIterator<Item = &'a Scalar>) -> Result<SecretScalar, DkgError> {
    let sum = Zeroizing::new(shares.into_iter().sum::<Scalar>());
    SecretScalar::new(*sum).ok_or(DkgError::Identity)
}
