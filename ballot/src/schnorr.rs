//! Schnorr signatures on ristretto255, bound to the key and to their purpose.

use curve25519_dalek::ristretto::RistrettoPoint;

use crate::{
    codec::{DecodeError, Reader, Writer},
    group::{Element, Scalar, SecretScalar},
    random::{Draw, NoRandomness},
    transcript::{Tag, h32, hs},
};

/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;

/// R = wB and z = w + c x.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    /// The commitment.
    pub r: Element,
    /// The response.
    pub z: Scalar,
}

impl Signature {
    /// Writes R || z.
    pub fn write(&self, out: &mut Writer) {
        out.bytes(self.r.as_bytes()).scalar(&self.z);
    }

    /// Reads R || z.
    ///
    /// # Errors
    ///
    /// [`DecodeError`]; the field is `r` or `z` as named.
    pub fn read(reader: &mut Reader<'_>, r: &'static str, z: &'static str) -> Result<Self, DecodeError> {
        Ok(Self { r: reader.element(r)?, z: reader.scalar(z)? })
    }

    /// R || z.
    pub fn to_bytes(&self) -> [u8; SIGNATURE_BYTES] {
        let mut bytes = [0; SIGNATURE_BYTES];
        let (r, z) = bytes.split_at_mut(32);
        r.copy_from_slice(self.r.as_bytes());
        z.copy_from_slice(self.z.as_bytes());
        bytes
    }
}

/// Proves knowledge of `secret`, with `fields` as statement: `c = Hs(tag, fields.., R)`.
///
/// # Errors
///
/// [`NoRandomness`].
pub(crate) fn prove(
    tag: Tag,
    secret: &SecretScalar,
    fields: &[&[u8]],
    draw: &mut dyn Draw,
) -> Result<Signature, NoRandomness> {
    let w = SecretScalar::new(draw.nonce(secret.expose(), &h32(tag, fields))?).ok_or(NoRandomness)?;
    let r = w.public();
    let z = w.expose() + challenge(tag, fields, &r) * secret.expose();
    Ok(Signature { r, z })
}

/// Whether `proof` shows knowledge of the secret of `key` with `fields` as statement. Variable time: all of it is public.
pub(crate) fn check(tag: Tag, key: &Element, fields: &[&[u8]], proof: &Signature) -> bool {
    let c = challenge(tag, fields, &proof.r);
    // zB - cK = R
    RistrettoPoint::vartime_double_scalar_mul_basepoint(&-c, key.point(), &proof.z) == *proof.r.point()
}

fn challenge(tag: Tag, fields: &[&[u8]], r: &Element) -> Scalar {
    let mut all = fields.to_vec();
    all.push(r.as_bytes());
    hs(tag, &all)
}

/// Signs `message`, the hash of what is meant, for the purpose `tag`: `c = Hs(tag, K, message, R)`.
///
/// # Errors
///
/// [`NoRandomness`].
pub fn sign(
    tag: Tag,
    secret: &SecretScalar,
    message: &[u8; 32],
    draw: &mut dyn Draw,
) -> Result<Signature, NoRandomness> {
    prove(tag, secret, &[secret.public().as_bytes(), message], draw)
}

/// Whether `signature` is of `key` over `message` for the purpose `tag`.
pub fn verify(tag: Tag, key: &Element, message: &[u8; 32], signature: &Signature) -> bool {
    check(tag, key, &[key.as_bytes(), message], signature)
}

/// The challenge of a signature, for batches.
pub(crate) fn signature_challenge(tag: Tag, key: &Element, message: &[u8; 32], r: &Element) -> Scalar {
    challenge(tag, &[key.as_bytes(), message], r)
}
