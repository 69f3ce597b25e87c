//! The group ristretto255 (RFC 9496): elements, scalars, and scalars that are secret.

use std::fmt;

use curve25519_dalek::{
    constants::RISTRETTO_BASEPOINT_POINT,
    ristretto::{CompressedRistretto, RistrettoPoint},
    traits::IsIdentity as _,
};
use zeroize::{Zeroize, ZeroizeOnDrop};

pub use curve25519_dalek::scalar::Scalar;

use crate::codec::Problem;

/// Bytes of an encoded element, and of a scalar.
pub const ENCODED_BYTES: usize = 32;

/// A group element that is not the identity, with its encoding.
#[derive(Clone, Copy)]
pub struct Element {
    point: RistrettoPoint,
    bytes: [u8; ENCODED_BYTES],
}

impl Element {
    /// Reads an encoding: canonical, and not the identity.
    ///
    /// # Errors
    ///
    /// [`Problem::NotCanonical`], [`Problem::Identity`].
    pub fn decode(bytes: &[u8; ENCODED_BYTES]) -> Result<Self, Problem> {
        let point = CompressedRistretto(*bytes).decompress().ok_or(Problem::NotCanonical)?;
        if point.is_identity() { Err(Problem::Identity) } else { Ok(Self { point, bytes: *bytes }) }
    }

    /// The element of a point, unless it is the identity.
    pub fn from_point(point: RistrettoPoint) -> Option<Self> {
        (!point.is_identity()).then(|| Self { point, bytes: point.compress().to_bytes() })
    }

    /// The base B.
    pub fn base() -> Self {
        Self { point: RISTRETTO_BASEPOINT_POINT, bytes: RISTRETTO_BASEPOINT_POINT.compress().to_bytes() }
    }

    /// The point, for arithmetic.
    pub fn point(&self) -> &RistrettoPoint {
        &self.point
    }

    /// The encoding.
    pub fn as_bytes(&self) -> &[u8; ENCODED_BYTES] {
        &self.bytes
    }
}

impl PartialEq for Element {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Element {}

impl PartialOrd for Element {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Element {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.bytes.cmp(&other.bytes)
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Reads a scalar below the group's order; never reduces.
///
/// # Errors
///
/// [`Problem::NotReduced`].
pub fn decode_scalar(bytes: &[u8; ENCODED_BYTES]) -> Result<Scalar, Problem> {
    Option::from(Scalar::from_canonical_bytes(*bytes)).ok_or(Problem::NotReduced)
}

/// A scalar that nobody else may know: never printed, compared or branched on; erased when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretScalar(Scalar);

impl SecretScalar {
    /// Takes a scalar, unless it is zero.
    pub fn new(scalar: Scalar) -> Option<Self> {
        (scalar != Scalar::ZERO).then_some(Self(scalar))
    }

    /// Reads one from a file of secrets.
    ///
    /// # Errors
    ///
    /// [`Problem::NotReduced`], or [`Problem::Identity`] for zero.
    pub fn decode(bytes: &[u8; ENCODED_BYTES]) -> Result<Self, Problem> {
        Self::new(decode_scalar(bytes)?).ok_or(Problem::Identity)
    }

    /// The scalar, for constant-time arithmetic.
    pub fn expose(&self) -> &Scalar {
        &self.0
    }

    /// The public key xB.
    pub fn public(&self) -> Element {
        let point = RistrettoPoint::mul_base(&self.0);
        // The scalar is not zero and the group's order is prime: never the identity.
        Element { point, bytes: point.compress().to_bytes() }
    }
}

impl fmt::Debug for SecretScalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretScalar(..)")
    }
}
