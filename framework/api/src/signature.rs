//! Checking Ed25519 signatures by one rule, singly or in batches.
//!
//! The rule is ZIP 215 (<https://zips.z.cash/zip-0215>): `S` is canonical, `A` and `R` decode with or without a canonical
//! y-coordinate, and the equation is multiplied by the cofactor. A batch accepts exactly the signatures which a single check
//! accepts, which the strict and the plain rule of RFC 8032 do not give; otherwise one crafted signature would split the
//! validators into those who met it in a batch and those who did not.

use std::{cell::RefCell, collections::BTreeSet, convert::Infallible, sync::OnceLock};

use ed25519_zebra::{VerificationKey, VerificationKeyBytes, batch};
use getrandom::{
    SysRng,
    rand_core::{Rng, TryCryptoRng, TryRng, UnwrapErr},
};

use crate::primitives::{Hash, PublicKey, Signature};

/// Signatures which one batch checks at most; beyond that a batch gains little.
pub const BATCH_MAX: usize = 256;

impl PublicKey {
    /// Whether `signature` over `message` was made by this key's owner, by ZIP 215.
    pub fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        let item = Signed { key: *self, message, signature: *signature };
        if Memo::knows(&item) {
            return true;
        }
        let good = VerificationKey::try_from(*self.as_bytes())
            .is_ok_and(|key| key.verify(&(*signature.as_bytes()).into(), message).is_ok());
        if good {
            Memo::note(&item);
        }
        good
    }
}

thread_local! {
    static KNOWN: RefCell<Option<BTreeSet<Hash>>> = const { RefCell::new(None) };
}

/// Who else remembers signatures.
static ELSEWHERE: OnceLock<fn(&Signed<'_>) -> bool> = OnceLock::new();

/// While it lives, this thread remembers which signatures were found good and does not compute that again.
///
/// Where many nodes run in one thread, as in a simulator, each signature would else be checked by each of them. The answers are the
/// same: only what was found good, or was just made with [`Memo::made`], is known; all else is computed. A node has no use for it.
#[derive(Debug)]
pub struct Memo(());

impl Memo {
    /// Signatures remembered at most; then all are forgotten.
    pub const KNOWN_MAX: usize = 1 << 16;

    /// Begins to remember, with nothing known. One at a time for each thread; dropping it forgets everything.
    pub fn start() -> Self {
        KNOWN.with_borrow_mut(|known| *known = Some(BTreeSet::new()));
        Self(())
    }

    /// Notes a signature which the caller has just made with the key itself.
    pub fn made(&self, item: &Signed<'_>) {
        Self::note(item);
    }

    /// Whether this thread remembers a signature as good.
    pub fn remembers(item: &Signed<'_>) -> bool {
        KNOWN.with_borrow(|known| known.as_ref().is_some_and(|known| known.contains(&item.name())))
    }

    fn knows(item: &Signed<'_>) -> bool {
        Self::remembers(item) || ELSEWHERE.get().is_some_and(|knows| knows(item))
    }

    /// In a shared library, which has memory of its own: has `knows` asked first, which asks the node what its thread remembers. Only the
    /// first is taken; whether this is it.
    pub fn ask(knows: fn(&Signed<'_>) -> bool) -> bool {
        ELSEWHERE.set(knows).is_ok()
    }

    fn note(item: &Signed<'_>) {
        KNOWN.with_borrow_mut(|known| {
            if let Some(known) = known {
                if known.len() >= Self::KNOWN_MAX {
                    known.clear();
                }
                known.insert(item.name());
            }
        });
    }
}

impl Drop for Memo {
    fn drop(&mut self) {
        KNOWN.with_borrow_mut(|known| *known = None);
    }
}

/// One signature to be checked by [`verify_batch`].
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// Who should have signed.
    pub key: PublicKey,
    /// The signed bytes.
    pub message: &'a [u8],
    /// What to check.
    pub signature: Signature,
}

impl Signed<'_> {
    fn name(&self) -> Hash {
        Hash::of(&[self.key.as_bytes(), self.signature.as_bytes(), self.message])
    }
}

/// Checks many signatures, the answers in the order of `items`: the same answers as [`PublicKey::verifies`], sooner.
///
/// Every chunk of [`BATCH_MAX`] is checked by one equation with random weights (a wrong signature passes with probability
/// 2^-128); only when it fails are its items checked singly.
pub fn verify_batch(items: &[Signed<'_>]) -> Vec<bool> {
    let mut verdicts = Vec::with_capacity(items.len());
    for chunk in items.chunks(BATCH_MAX) {
        if chunk.len() > 1 && (chunk.iter().all(Memo::knows) || chunk_is_good(chunk)) {
            chunk.iter().for_each(Memo::note);
            verdicts.resize(verdicts.len() + chunk.len(), true);
        } else {
            verdicts.extend(chunk.iter().map(|item| item.key.verifies(item.message, &item.signature)));
        }
    }
    verdicts
}

fn chunk_is_good(chunk: &[Signed<'_>]) -> bool {
    let mut verifier = batch::Verifier::new();
    for item in chunk {
        verifier.queue((
            VerificationKeyBytes::from(*item.key.as_bytes()),
            (*item.signature.as_bytes()).into(),
            item.message,
        ));
    }
    // If the system has no randomness to give, the caller checks singly.
    Weights::draw(chunk.len()).is_some_and(|weights| verifier.verify(weights).is_ok())
}

/// Bytes of a signature's weight.
const WEIGHT_BYTES: usize = 16;

/// The random weights of a batch, asked of the system at once: a question for each takes longer than all the randomness.
struct Weights {
    drawn: [u8; WEIGHT_BYTES * BATCH_MAX],
    used: usize,
    end: usize,
}

impl Weights {
    /// Of `count` signatures; `None` if the system has none to give.
    fn draw(count: usize) -> Option<Self> {
        let end = count.checked_mul(WEIGHT_BYTES)?;
        let mut weights = Self { drawn: [0; WEIGHT_BYTES * BATCH_MAX], used: 0, end };
        getrandom::fill(weights.drawn.get_mut(..end)?).ok()?;
        Some(weights)
    }
}

impl TryRng for Weights {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes).map(|()| u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes).map(|()| u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
        let next = self.used.saturating_add(to.len());
        match self.drawn.get(self.used..next).filter(|_| next <= self.end) {
            Some(drawn) => to.copy_from_slice(drawn),
            // No byte serves twice, whatever a batch should want.
            None => UnwrapErr(SysRng).fill_bytes(to),
        }
        self.used = next;
        Ok(())
    }
}

impl TryCryptoRng for Weights {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_weight_serves_twice_and_all_are_drawn() {
        let mut weights = Weights::draw(BATCH_MAX).unwrap();
        let mut one = || {
            let mut bytes = [0; WEIGHT_BYTES];
            weights.fill_bytes(&mut bytes);
            bytes
        };
        // More than were asked for as well.
        let drawn: BTreeSet<[u8; WEIGHT_BYTES]> = (0..2 * BATCH_MAX).map(|_| one()).collect();
        assert_eq!((drawn.len(), drawn.contains(&[0; WEIGHT_BYTES])), (2 * BATCH_MAX, false));
        assert_ne!(Weights::draw(1).unwrap().drawn, Weights::draw(1).unwrap().drawn);
        assert!(Weights::draw(BATCH_MAX + 1).is_none());
        let mut few = Weights::draw(1).unwrap();
        let mut bytes = [0; 2 * WEIGHT_BYTES];
        few.fill_bytes(&mut bytes);
        assert!(bytes[WEIGHT_BYTES..].iter().any(|byte| *byte != 0));
    }
}
