//! What a trustee must not lose: its polynomial, its share of the key, and which tally it has decrypted. Sealed under its own secret key,
//! which the passphrase protects.

use std::path::{Path, PathBuf};

use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305,
    aead::{Aead as _, Payload},
};
use quorate::Hash;
use quorate_ballot::{dkg::Dealer, group::SecretScalar, random::random_bytes};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    exit::{Exit, Failure},
    voting::{Hex, read_file, write_secret_file},
};

const KIND: &str = "trustee-state/1";

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateFile {
    quorate: String,
    draft: Hex<32>,
    trustee: u16,
    /// Which attempt the polynomial is for.
    attempt: u32,
    nonce: Hex<24>,
    /// Sealed: the coefficients, then the share of the key once it is known.
    sealed: String,
    coefficients: u16,
    /// The one tally that was decrypted: another is refused.
    tally: Option<Hex<32>>,
}

/// What a trustee keeps.
pub(super) struct State {
    path: PathBuf,
    pub(super) draft: [u8; 32],
    pub(super) trustee: u16,
    pub(super) attempt: u32,
    pub(super) dealer: Dealer,
    pub(super) share: Option<SecretScalar>,
    pub(super) tally: Option<[u8; 32]>,
}

fn damaged(path: &Path) -> Failure {
    Failure::new(Exit::KeyOrGuard, format!("{}: not the state of this trustee, or it was changed", path.display()))
}

fn cipher(secret: &SecretScalar) -> XChaCha20Poly1305 {
    let key = Zeroizing::new(*Hash::of(&[b"quorate trustee state", secret.expose().as_bytes()]).as_bytes());
    XChaCha20Poly1305::new(&(*key).into())
}

impl State {
    pub(super) fn new(path: &Path, draft: [u8; 32], trustee: u16, attempt: u32, dealer: Dealer) -> Self {
        Self { path: path.to_owned(), draft, trustee, attempt, dealer, share: None, tally: None }
    }

    /// Reads the state, if there is one.
    pub(super) fn load(path: &Path, secret: &SecretScalar) -> Result<Option<Self>, Failure> {
        if !path.exists() {
            return Ok(None);
        }
        let file: StateFile = read_file(path, KIND)?;
        let sealed = hex::decode(&file.sealed).map_err(|_| damaged(path))?;
        let payload = Payload { msg: &sealed, aad: &file.bound() };
        let opened = cipher(secret).decrypt(&file.nonce.0.into(), payload).map_err(|_| damaged(path))?;
        let opened = Zeroizing::new(opened);
        let (scalars, rest) = opened.as_chunks::<32>();
        let mut scalars = scalars
            .iter()
            .map(|bytes| SecretScalar::decode(bytes).map_err(|_| damaged(path)))
            .collect::<Result<Vec<_>, _>>()?;
        let coefficients = usize::from(file.coefficients);
        if !rest.is_empty() || scalars.len() < coefficients || scalars.len() > coefficients + 1 {
            return Err(damaged(path));
        }
        let share = scalars.split_off(coefficients).pop();
        Ok(Some(Self {
            path: path.to_owned(),
            draft: file.draft.0,
            trustee: file.trustee,
            attempt: file.attempt,
            dealer: Dealer::from_coefficients(scalars),
            share,
            tally: file.tally.map(|tally| tally.0),
        }))
    }

    /// Writes it, durably: before anything of it is sent.
    pub(super) fn save(&self, secret: &SecretScalar) -> Result<(), Failure> {
        let all = self.dealer.coefficients().iter().chain(&self.share);
        let plain: Zeroizing<Vec<u8>> = Zeroizing::new(all.flat_map(|one| *one.expose().as_bytes()).collect());
        let nonce = random_bytes().map_err(|error| Failure::failed(error.to_string()))?;
        let mut file = StateFile {
            quorate: KIND.into(),
            draft: Hex(self.draft),
            trustee: self.trustee,
            attempt: self.attempt,
            nonce: Hex(nonce),
            sealed: String::new(),
            coefficients: u16::try_from(self.dealer.coefficients().len()).unwrap_or(u16::MAX),
            tally: self.tally.map(Hex),
        };
        let payload = Payload { msg: &plain, aad: &file.bound() };
        let sealed = cipher(secret).encrypt(&nonce.into(), payload);
        file.sealed = hex::encode(sealed.map_err(|_| Failure::failed("the state could not be sealed"))?);
        write_secret_file(&self.path, &file, true)
    }
}

impl StateFile {
    /// What is bound to the sealed part: all that stands beside it.
    fn bound(&self) -> Vec<u8> {
        let tally = self.tally.as_ref().map_or([0; 32], |tally| tally.0);
        [
            KIND.as_bytes(),
            &self.draft.0,
            &self.trustee.to_be_bytes(),
            &self.attempt.to_be_bytes(),
            &self.coefficients.to_be_bytes(),
            &tally,
        ]
        .concat()
    }
}
