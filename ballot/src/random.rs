//! Where scalars come from: the operating system, or a seed for test vectors.

use zeroize::Zeroizing;

use crate::{
    group::{Scalar, SecretScalar},
    transcript::{Tag, hs},
};

/// The operating system gave no randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random bytes; nothing secret can be made on this machine now")]
pub struct NoRandomness;

/// A source of scalars.
pub trait Draw {
    /// A uniform scalar that is not zero.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`].
    fn scalar(&mut self) -> Result<Scalar, NoRandomness>;

    /// A nonce for a proof about `secret` whose statement hashes to `statement`. It differs for different statements even when the
    /// random bytes repeat.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`].
    fn nonce(&mut self, secret: &Scalar, statement: &[u8; 32]) -> Result<Scalar, NoRandomness>;

    /// A secret scalar.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`].
    fn secret(&mut self) -> Result<SecretScalar, NoRandomness> {
        SecretScalar::new(self.scalar()?).ok_or(NoRandomness)
    }
}

/// Random bytes of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemDraw;

/// Draws after which a source that gives zero is taken for broken: one zero has a chance of 2^-252.
const ZEROS_MAX: usize = 2;

/// Fills an array.
///
/// # Errors
///
/// [`NoRandomness`].
pub fn random_bytes<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

impl Draw for SystemDraw {
    fn scalar(&mut self) -> Result<Scalar, NoRandomness> {
        for _ in 0..ZEROS_MAX {
            let wide = Zeroizing::new(random_bytes::<64>()?);
            let scalar = Scalar::from_bytes_mod_order_wide(&wide);
            if scalar != Scalar::ZERO {
                return Ok(scalar);
            }
        }
        Err(NoRandomness)
    }

    fn nonce(&mut self, secret: &Scalar, statement: &[u8; 32]) -> Result<Scalar, NoRandomness> {
        let random = Zeroizing::new(random_bytes::<32>()?);
        let nonce = hs(Tag::Nonce, &[secret.as_bytes(), random.as_slice(), statement]);
        if nonce == Scalar::ZERO { Err(NoRandomness) } else { Ok(nonce) }
    }
}

/// The generator of test vectors: `Hs("test-rng", seed, u32 n)` for n = 0, 1, ... Everything drawn is known to whoever knows the seed.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct VectorDraw {
    seed: Vec<u8>,
    next: u32,
}

impl VectorDraw {
    /// Begins at 0.
    pub fn new(seed: &[u8]) -> Self {
        Self { seed: seed.to_vec(), next: 0 }
    }

    /// How many were drawn.
    pub fn drawn(&self) -> u32 {
        self.next
    }
}

impl Draw for VectorDraw {
    fn scalar(&mut self) -> Result<Scalar, NoRandomness> {
        let scalar = hs(Tag::TestRng, &[&self.seed, &self.next.to_be_bytes()]);
        self.next = self.next.checked_add(1).ok_or(NoRandomness)?;
        Ok(scalar)
    }

    fn nonce(&mut self, _: &Scalar, _: &[u8; 32]) -> Result<Scalar, NoRandomness> {
        self.scalar()
    }
}
