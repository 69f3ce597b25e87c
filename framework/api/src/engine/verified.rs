//! Signatures that were found good, so that a message relayed by many is checked once.

use std::collections::{BTreeSet, VecDeque};

use crate::{
    primitives::{Hash, PublicKey, Signature},
    signature::{Signed, verify_batch},
};

/// Good signatures remembered at most.
pub const VERIFIED_MAX: usize = 4096;

/// One signature to check.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Who should have signed.
    pub key: PublicKey,
    /// The signed bytes.
    pub message: Vec<u8>,
    /// What to check.
    pub signature: Signature,
}

impl Claim {
    fn name(&self) -> Hash {
        Hash::of(&[self.key.as_bytes(), self.signature.as_bytes(), &self.message])
    }
}

/// The last [`VERIFIED_MAX`] good signatures.
#[derive(Debug, Clone, Default)]
pub struct Verified {
    known: BTreeSet<Hash>,
    order: VecDeque<Hash>,
}

impl Verified {
    /// Checks every claim, those not remembered in one batch.
    ///
    /// # Errors
    ///
    /// The place of the first claim which is not true.
    pub fn check(&mut self, claims: &[Claim]) -> Result<(), usize> {
        let names: Vec<Hash> = claims.iter().map(Claim::name).collect();
        let new: Vec<(usize, &Claim, Hash)> = claims
            .iter()
            .zip(names)
            .enumerate()
            .filter(|(_, (_, name))| !self.known.contains(name))
            .map(|(at, (claim, name))| (at, claim, name))
            .collect();
        let items: Vec<Signed<'_>> = new
            .iter()
            .map(|(_, claim, _)| Signed { key: claim.key, message: &claim.message, signature: claim.signature })
            .collect();
        let mut first_bad = None;
        for ((at, _, name), good) in new.iter().zip(verify_batch(&items)) {
            if good {
                self.remember(*name);
            } else if first_bad.is_none() {
                first_bad = Some(*at);
            }
        }
        first_bad.map_or(Ok(()), Err)
    }

    fn remember(&mut self, name: Hash) {
        if !self.known.insert(name) {
            return;
        }
        self.order.push_back(name);
        if self.order.len() > VERIFIED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use ed25519_zebra::{SigningKey, VerificationKeyBytes};

    use super::*;

    #[test]
    fn only_good_signatures_are_remembered_and_only_so_many() {
        let key = SigningKey::from([7; 32]);
        let claim = |text: &str| Claim {
            key: PublicKey::new(VerificationKeyBytes::from(&key).into()),
            message: text.as_bytes().to_vec(),
            signature: Signature::new(key.sign(text.as_bytes()).to_bytes()),
        };
        let mut verified = Verified::default();
        let forged = Claim { message: b"other".to_vec(), ..claim("a") };
        assert_eq!(verified.check(&[claim("a"), forged.clone(), claim("b")]), Err(1));
        assert_eq!(verified.check(&[forged]), Err(0), "asked again, still wrong");
        assert_eq!(verified.known.len(), 2);
        for number in 0..VERIFIED_MAX + 10 {
            verified.remember(Hash::of(&[&number.to_le_bytes()]));
        }
        assert_eq!((verified.known.len(), verified.order.len()), (VERIFIED_MAX, VERIFIED_MAX));
    }
}
