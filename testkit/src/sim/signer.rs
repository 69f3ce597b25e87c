//! The simulated signer: the guard of a real one, durable by construction.

use std::sync::OnceLock;

use ed25519_zebra::SigningKey;
use quorate::{
    ChainId, Hash, PublicKey, Signature,
    consensus::{Guard, SignRefused, SignRequest},
};

use super::scenario::SignerModel;

/// Keys which are computed once.
const KEYS_KEPT: usize = 64;

/// The key of a simulated node; everybody can compute it.
pub(crate) fn key_of(node: usize) -> SigningKey {
    static KEPT: OnceLock<Vec<SigningKey>> = OnceLock::new();
    let kept = KEPT.get_or_init(|| (0..KEYS_KEPT).map(computed_key).collect());
    kept.get(node).copied().unwrap_or_else(|| computed_key(node))
}

fn computed_key(node: usize) -> SigningKey {
    let seed = Hash::of(&[b"quorate simulated key", &node.to_be_bytes()]);
    SigningKey::from(*seed.as_bytes())
}

/// The public half.
pub(crate) fn public_key(key: &SigningKey) -> PublicKey {
    PublicKey::new(ed25519_zebra::VerificationKeyBytes::from(key).into())
}

/// Signs without a guard, as a dishonest validator does.
pub(crate) fn sign(key: &SigningKey, bytes: &[u8]) -> Signature {
    Signature::new(key.sign(bytes).to_bytes())
}

/// A key with its guard.
#[derive(Clone)]
pub(crate) struct SimSigner {
    key: SigningKey,
    model: SignerModel,
    last: Option<(Guard, Hash, Signature)>,
    /// While the signer is out of order.
    pub(crate) broken: bool,
}

impl SimSigner {
    pub(crate) fn new(key: SigningKey, model: SignerModel) -> Self {
        Self { key, model, last: None, broken: false }
    }

    /// Whether nothing was ever signed.
    pub(crate) fn fresh(&self) -> bool {
        self.last.is_none()
    }

    /// The process starts again.
    pub(crate) fn restart(&mut self) {
        if self.model == SignerModel::Forgetful {
            self.last = None;
        }
    }

    /// Everything is lost: for a dishonest node which is put back to its first day.
    pub(crate) fn forget(&mut self) {
        self.last = None;
    }

    /// Signs if the guard allows.
    pub(crate) fn sign(&mut self, chain_id: &ChainId, request: &SignRequest) -> Result<Signature, SignRefused> {
        if request.body.len() > SignRequest::BODY_BYTES_MAX {
            return Err(SignRefused::Malformed(format!("body has {} bytes", request.body.len())));
        }
        if self.broken {
            return Err(SignRefused::Failed("the simulated signer is out of order".into()));
        }
        let bytes = request.sign_bytes(chain_id);
        let digest = Hash::of(&[&bytes]);
        if let Some((last, last_digest, signature)) = &self.last
            && self.model != SignerModel::Unguarded
        {
            if request.guard == *last && digest == *last_digest {
                return Ok(*signature);
            }
            if request.guard <= *last {
                return Err(SignRefused::Guard { last: *last });
            }
        }
        let signature = sign(&self.key, &bytes);
        self.last = Some((request.guard, digest, signature));
        Ok(signature)
    }
}

#[cfg(test)]
mod tests {
    use quorate::{Height, Round};

    use super::*;

    const CHAIN: ChainId = ChainId::new([7; 32]);

    fn request(round: u32, step: u8, sub: u32, body: &[u8]) -> SignRequest {
        let guard = Guard { height: Height(1), round: Round(round), step, sub };
        SignRequest { guard, kind: step, body: body.into() }
    }

    #[test]
    fn the_guard_allows_what_is_above_and_the_same_again() {
        let mut signer = SimSigner::new(key_of(1), SignerModel::Guarded);
        let first = signer.sign(&CHAIN, &request(1, 3, 0, b"a")).unwrap();
        signer.restart();
        assert_eq!(signer.sign(&CHAIN, &request(1, 3, 0, b"a")), Ok(first));
        assert!(signer.sign(&CHAIN, &request(1, 3, 0, b"b")).is_err());
        assert!(signer.sign(&CHAIN, &request(1, 2, 9, b"a")).is_err());
        assert!(signer.sign(&CHAIN, &request(1, 3, 1, b"b")).is_ok());
        assert!(public_key(&key_of(1)).verifies(&request(1, 3, 0, b"a").sign_bytes(&CHAIN), &first));
    }
}
