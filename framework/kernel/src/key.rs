//! A node's key: its file, and what it signs for plugins.
//!
//! The file has two lines: `quorate-key-1`, and the Ed25519 seed (RFC 8032) as 64 hexadecimal digits. Its mode is 0600.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use ed25519_dalek::{Signer as _, SigningKey};
use quorate::{
    Hash, PublicKey, Signature,
    transport::{Identity, IdentityError, IdentityUse, RECORD_TAG},
};
use zeroize::Zeroizing;

const FIRST_LINE: &str = "quorate-key-1";

/// Names of the development keys, whose seeds everybody can compute.
pub const DEVELOPMENT_NAMES: [&str; 9] = [
    "validator-1",
    "validator-2",
    "validator-3",
    "validator-4",
    "validator-5",
    "validator-6",
    "validator-7",
    "bootnode",
    "backend",
];

/// Why a key can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file can't be read or made.
    #[error("key {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Others can read it.
    #[error("key {path}: mode is {mode:03o}, others could read it; run: chmod 600 {path}")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Not a key.
    #[error("key {path}: is not a key file; expected the line `{FIRST_LINE}` and 64 hexadecimal digits")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
}

/// An Ed25519 key pair.
#[derive(Clone)]
pub struct NodeKey(SigningKey);

impl NodeKey {
    /// A new key.
    ///
    /// # Errors
    ///
    /// If the system has no randomness to give.
    pub fn generate() -> io::Result<Self> {
        let mut seed = Zeroizing::new([0u8; 32]);
        getrandom::fill(seed.as_mut()).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// A well-known key for development: its seed is SHA-256 of `quorate development key: NAME`.
    pub fn development(name: &str) -> Self {
        let seed = Hash::of(&[b"quorate development key: ", name.as_bytes()]);
        Self(SigningKey::from_bytes(seed.as_bytes()))
    }

    /// Whether it is one of the [`DEVELOPMENT_NAMES`].
    pub fn is_development(&self) -> bool {
        DEVELOPMENT_NAMES.iter().any(|name| Self::development(name).public_key() == self.public_key())
    }

    /// Reads a key file which only its owner can read.
    ///
    /// # Errors
    ///
    /// [`KeyError`].
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::Io { path: path.into(), source };
        let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777;
        let text = Zeroizing::new(std::fs::read_to_string(path).map_err(failed)?);
        let malformed = || KeyError::Malformed { path: path.into() };
        let mut lines = text.lines();
        if lines.next() != Some(FIRST_LINE) {
            return Err(malformed());
        }
        let mut seed = Zeroizing::new([0u8; 32]);
        hex::decode_to_slice(lines.next().unwrap_or_default().trim(), seed.as_mut()).map_err(|_| malformed())?;
        let key = Self(SigningKey::from_bytes(&seed));
        // A version control system does not keep modes; a development key has nothing to hide.
        if mode & 0o077 != 0 && !key.is_development() {
            return Err(KeyError::Mode { path: path.into(), mode });
        }
        Ok(key)
    }

    /// Writes a new file with mode 0600; refuses one that exists.
    ///
    /// # Errors
    ///
    /// [`KeyError::Io`].
    pub fn save_new(&self, path: &Path) -> Result<(), KeyError> {
        let failed = |source| KeyError::Io { path: path.into(), source };
        let text = Zeroizing::new(format!("{FIRST_LINE}\n{}\n", hex::encode(self.0.to_bytes())));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        PublicKey::new(self.0.verifying_key().to_bytes())
    }

    /// The seed, for those who sign outside a node.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    pub(crate) fn sign(&self, bytes: &[u8]) -> Signature {
        Signature::new(self.0.sign(bytes).to_bytes())
    }
}

/// What begins the signed bytes of a TLS 1.3 handshake (RFC 8446, section 4.4.3).
const TLS_PREFIX: [u8; 64] = [0x20; 64];

impl Identity for NodeKey {
    fn public_key(&self) -> PublicKey {
        self.public_key()
    }

    fn sign(&self, purpose: IdentityUse, bytes: &[u8]) -> Result<Signature, IdentityError> {
        match purpose {
            IdentityUse::TlsHandshake if bytes.starts_with(&TLS_PREFIX) => Ok(NodeKey::sign(self, bytes)),
            IdentityUse::TlsHandshake => Err(IdentityError("not a TLS 1.3 handshake".into())),
            IdentityUse::Record => Ok(NodeKey::sign(self, &[RECORD_TAG, bytes].concat())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_reads_back_and_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.key");
        let key = NodeKey::generate().unwrap();
        key.save_new(&path).unwrap();
        assert_eq!(NodeKey::load(&path).unwrap().public_key(), key.public_key());
        assert!(matches!(key.save_new(&path), Err(KeyError::Io { .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(NodeKey::load(&path), Err(KeyError::Mode { mode: 0o640, .. })));
    }

    #[test]
    fn plugins_can_only_have_their_own_kinds_of_bytes_signed() {
        let key = NodeKey::development("validator-1");
        assert!(key.is_development());
        assert!(Identity::sign(&key, IdentityUse::TlsHandshake, b"quorate/consensus/1\0").is_err());
        let signature = Identity::sign(&key, IdentityUse::Record, b"r").unwrap();
        assert!(key.public_key().verifies(b"quorate/record/1\0r", &signature));
    }
}
