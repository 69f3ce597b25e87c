//! Files with a secret, protected by a passphrase: Argon2id (RFC 9106) makes a key of it, XChaCha20-Poly1305 seals.

use std::{
    io::{IsTerminal as _, stdin},
    path::{Path, PathBuf},
};

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305,
    aead::{Aead as _, Payload},
};
use clap::Args;
use quorate_ballot::{
    group::{Element, SecretScalar},
    random::random_bytes,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    exit::{Exit, Failure},
    voting::files::{Hex, read_file, write_secret_file},
};

/// The kind of the file.
const KIND: &str = "secret/1";

/// Memory of Argon2id, in KiB: what RFC 9106 recommends where memory is short.
const MEMORY_KIB: u32 = 64 << 10;

/// Passes over it.
const PASSES: u32 = 3;

/// Bounds on what a file may ask for: 1 GiB, 64 passes.
const MEMORY_KIB_MAX: u32 = 1 << 20;
const PASSES_MAX: u32 = 64;

/// Characters of a passphrase at least.
const PASSPHRASE_CHARS_MIN: usize = 8;

/// Where the passphrase comes from.
#[derive(Debug, Clone, Default, Args)]
pub struct PassphraseArgs {
    /// A file with the passphrase; without, QUORATE_PASSPHRASE is taken, or it is asked for
    #[arg(long, value_name = "FILE", global = true)]
    pub passphrase_file: Option<PathBuf>,
}

/// Whose secret a file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Drafts and opens elections
    Admin,
    /// Enters credentials and signs the list
    Registrar,
    /// Holds a share of the election's key
    Trustee,
    /// Has a credential
    Voter,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Role::Admin => "admin",
            Role::Registrar => "registrar",
            Role::Trustee => "trustee",
            Role::Voter => "voter",
        })
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Protection {
    kdf: String,
    memory_kib: u32,
    passes: u32,
    salt: Hex<16>,
    nonce: Hex<24>,
}

/// A file with a secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretFile {
    quorate: String,
    /// Whose it is.
    pub role: Role,
    /// The public key.
    pub public_key: Hex<32>,
    /// The draft that it is for; other roles than voters have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<Hex<32>>,
    /// `null`: the secret stands in the file as it is.
    protection: Option<Protection>,
    /// Hexadecimal: 32 bytes, or what is sealed of them.
    secret: String,
}

/// The 32 bytes of a secret.
pub type Unlocked = Zeroizing<[u8; 32]>;

impl SecretFile {
    /// A file for `secret`; without a passphrase it stands there as it is.
    ///
    /// # Errors
    ///
    /// [`Exit::Failed`] when the operating system gives no randomness.
    pub fn new(
        role: Role,
        public_key: &Element,
        draft: Option<[u8; 32]>,
        secret: &Unlocked,
        passphrase: Option<&str>,
    ) -> Result<Self, Failure> {
        let mut file = Self {
            quorate: KIND.into(),
            role,
            public_key: Hex(*public_key.as_bytes()),
            draft: draft.map(Hex),
            protection: None,
            secret: hex::encode(secret.as_slice()),
        };
        if let Some(passphrase) = passphrase {
            let random = |_| Failure::failed("the operating system gives no random bytes");
            let (salt, nonce) = (Hex(random_bytes().map_err(random)?), Hex(random_bytes().map_err(random)?));
            let protection = Protection { kdf: "argon2id".into(), memory_kib: MEMORY_KIB, passes: PASSES, salt, nonce };
            let payload = Payload { msg: secret.as_slice(), aad: &file.bound() };
            let sealed = cipher(&protection, passphrase)?.encrypt(&protection.nonce.0.into(), payload);
            file.secret = hex::encode(sealed.map_err(|_| Failure::failed("the secret could not be sealed"))?);
            file.protection = Some(protection);
        }
        Ok(file)
    }

    /// What is bound to the sealed secret: nobody moves it to another role or key.
    fn bound(&self) -> Vec<u8> {
        let draft = self.draft.as_ref().map_or([0; 32], |draft| draft.0);
        [KIND.as_bytes(), self.role.to_string().as_bytes(), &self.public_key.0, &draft].concat()
    }

    /// Reads a file whose role is one of `roles`.
    ///
    /// # Errors
    ///
    /// [`Failure`] with what to do.
    pub fn load(path: &Path, roles: &[Role]) -> Result<Self, Failure> {
        let file: Self = read_file(path, KIND)?;
        if !roles.contains(&file.role) {
            let wanted: Vec<String> = roles.iter().map(ToString::to_string).collect();
            return Err(Failure::failed(format!(
                "{} has the secret of a {}; that of a {} is needed here",
                path.display(),
                file.role,
                wanted.join(" or ")
            )));
        }
        Ok(file)
    }

    /// Writes a new file (mode 0600); one that is there stays.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub fn save_new(&self, path: &Path) -> Result<(), Failure> {
        write_secret_file(path, self, false)
    }

    /// The secret's bytes; asks for the passphrase where one is needed.
    ///
    /// # Errors
    ///
    /// [`Exit::KeyOrGuard`] for a wrong passphrase or a damaged file.
    pub fn unlock(&self, path: &Path, args: &PassphraseArgs) -> Result<Unlocked, Failure> {
        let damaged = || {
            Failure::new(
                Exit::KeyOrGuard,
                format!("{}: the secret in it is damaged; take the copy you made", path.display()),
            )
        };
        let stored = Zeroizing::new(hex::decode(&self.secret).map_err(|_| damaged())?);
        let Some(protection) = &self.protection else {
            return Ok(Zeroizing::new(stored.as_slice().try_into().map_err(|_| damaged())?));
        };
        let passphrase = args.existing(path)?;
        let payload = Payload { msg: &stored, aad: &self.bound() };
        let opened = cipher(protection, &passphrase)?.decrypt(&protection.nonce.0.into(), payload);
        let opened = Zeroizing::new(opened.map_err(|_| {
            let what = format!("{}: wrong passphrase, or the file was changed", path.display());
            Failure::new(Exit::KeyOrGuard, what)
        })?);
        Ok(Zeroizing::new(opened.as_slice().try_into().map_err(|_| damaged())?))
    }

    /// The secret key of an officer, which must fit the public one.
    ///
    /// # Errors
    ///
    /// As [`Self::unlock`].
    pub fn unlock_key(&self, path: &Path, args: &PassphraseArgs) -> Result<SecretScalar, Failure> {
        let bytes = self.unlock(path, args)?;
        let key = SecretScalar::decode(&bytes).ok().filter(|key| key.public().as_bytes() == &self.public_key.0);
        key.ok_or_else(|| {
            Failure::new(Exit::KeyOrGuard, format!("{}: the secret does not fit its public key", path.display()))
        })
    }
}

fn cipher(protection: &Protection, passphrase: &str) -> Result<XChaCha20Poly1305, Failure> {
    let Protection { kdf, memory_kib, passes, salt, .. } = protection;
    if kdf != "argon2id" || *memory_kib > MEMORY_KIB_MAX || *passes > PASSES_MAX {
        let what = format!(
            "the file's protection ({kdf}, {memory_kib} KiB, {passes} passes) is not one that this program knows"
        );
        return Err(Failure::new(Exit::KeyOrGuard, what));
    }
    let wrong =
        |error: argon2::Error| Failure::new(Exit::KeyOrGuard, format!("the passphrase could not be used: {error}"));
    let params = Params::new(*memory_kib, *passes, 1, Some(32)).map_err(wrong)?;
    let mut key = Zeroizing::new([0u8; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), &salt.0, key.as_mut())
        .map_err(wrong)?;
    Ok(XChaCha20Poly1305::new(&(*key).into()))
}

impl PassphraseArgs {
    fn given(&self) -> Result<Option<Zeroizing<String>>, Failure> {
        if let Some(path) = &self.passphrase_file {
            let text = std::fs::read_to_string(path).map_err(|error| Failure::reading(path.display(), &error))?;
            return Ok(Some(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned())));
        }
        Ok(std::env::var("QUORATE_PASSPHRASE").ok().map(Zeroizing::new))
    }

    fn existing(&self, path: &Path) -> Result<Zeroizing<String>, Failure> {
        if let Some(passphrase) = self.given()? {
            return Ok(passphrase);
        }
        ask(&format!("Passphrase of {}: ", path.display()))
    }

    /// A passphrase for a new file, asked for twice when it is typed.
    ///
    /// # Errors
    ///
    /// A usage error when it is too short, or there is nobody to ask.
    pub fn fresh(&self, path: &Path) -> Result<Zeroizing<String>, Failure> {
        let (passphrase, typed) = match self.given()? {
            Some(passphrase) => (passphrase, false),
            None => (ask(&format!("New passphrase for {}: ", path.display()))?, true),
        };
        if passphrase.chars().count() < PASSPHRASE_CHARS_MIN {
            return Err(Failure::usage(format!("the passphrase must have {PASSPHRASE_CHARS_MIN} characters or more")));
        }
        if typed && ask("The same again: ")? != passphrase {
            return Err(Failure::usage("the two passphrases differ; nothing was written"));
        }
        Ok(passphrase)
    }
}

fn ask(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    if !stdin().is_terminal() {
        return Err(Failure::usage(
            "a passphrase is needed, and there is no terminal to ask at: use --passphrase-file or QUORATE_PASSPHRASE",
        ));
    }
    rpassword::prompt_password(prompt)
        .map(Zeroizing::new)
        .map_err(|error| Failure::failed(format!("the passphrase could not be read: {error}")))
}
