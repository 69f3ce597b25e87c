//! Credentials: the secret that a voter keeps, its key in the list, the proof that the voter has it, and the list's tree.

use std::{fmt, str::FromStr};

use quorate::{Hash, merkle};
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

use crate::{
    group::{Element, SecretScalar},
    random::{Draw, NoRandomness, random_bytes},
    record::Entry,
    schnorr::{self, Signature},
    transcript::{Tag, h32, hs},
};

/// The first byte of a credential's code, so that no other Base58Check text is taken for one.
const CODE_VERSION: u8 = 0x51;

/// Characters of a code at most.
pub const CODE_CHARS_MAX: usize = 64;

/// Why a text is no credential's code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not the code of a credential: {0}; look for a missing, doubled or wrong character")]
pub struct CodeError(String);

/// The 32 bytes from which a voter's key is made; shown once as a code. Never printed but by [`Code::reveal`].
#[derive(Clone, ZeroizeOnDrop)]
pub struct Code([u8; 32]);

impl Code {
    /// A new one.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`].
    pub fn generate() -> Result<Self, NoRandomness> {
        random_bytes().map(Self)
    }

    /// From its bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The text that the voter writes down: Base58Check.
    pub fn reveal(&self) -> Zeroizing<String> {
        Zeroizing::new(bs58::encode(self.0).with_check_version(CODE_VERSION).into_string())
    }

    /// The secret key for the elections of a draft: `x = Hs("cred-key", draft, s)`; another draft, another key.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`] with a chance of 2^-252.
    pub fn secret(&self, draft: &[u8; 32]) -> Result<SecretScalar, NoRandomness> {
        SecretScalar::new(hs(Tag::CredKey, &[draft, &self.0])).ok_or(NoRandomness)
    }
}

impl FromStr for Code {
    type Err = CodeError;

    fn from_str(text: &str) -> Result<Self, CodeError> {
        if text.len() > CODE_CHARS_MAX {
            return Err(CodeError(format!("it has {} characters, more than {CODE_CHARS_MAX}", text.len())));
        }
        let decoded = bs58::decode(text.trim()).with_check(Some(CODE_VERSION)).into_vec();
        let decoded = Zeroizing::new(decoded.map_err(|error| CodeError(error.to_string()))?);
        match decoded.split_first().and_then(|(_, bytes)| <[u8; 32]>::try_from(bytes).ok()) {
            Some(mut bytes) => {
                let code = Self(bytes);
                bytes.zeroize();
                Ok(code)
            }
            None => Err(CodeError(format!("it holds {} bytes, not 33", decoded.len()))),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(..)")
    }
}

fn possession(draft: &[u8; 32], pseudonym: &[u8; 32], key: &Element) -> [Vec<u8>; 3] {
    [draft.to_vec(), pseudonym.to_vec(), key.as_bytes().to_vec()]
}

/// Proves to a registrar that the voter with this pseudonym has the secret of the key: `c = Hs("cred-pop", draft, pseudonym, K, R)`.
///
/// # Errors
///
/// [`NoRandomness`].
pub fn prove_possession(
    draft: &[u8; 32],
    pseudonym: &[u8; 32],
    secret: &SecretScalar,
    draw: &mut dyn Draw,
) -> Result<Signature, NoRandomness> {
    let fields = possession(draft, pseudonym, &secret.public());
    schnorr::prove(Tag::CredPop, secret, &fields.each_ref().map(Vec::as_slice), draw)
}

/// Checks [`prove_possession`].
pub fn has_possession(draft: &[u8; 32], entry: &Entry, proof: &Signature) -> bool {
    let fields = possession(draft, &entry.pseudonym, &entry.key);
    schnorr::check(Tag::CredPop, &entry.key, &fields.each_ref().map(Vec::as_slice), proof)
}

/// The Merkle leaf of entry `index`: RFC 6962 over `H32("cred-list", draft, u32 index, K, pseudonym)`.
pub fn leaf(draft: &[u8; 32], index: u32, entry: &Entry) -> Hash {
    leaf_of(draft, index, entry.key.as_bytes(), &entry.pseudonym)
}

/// The same of an entry whose key is not decoded.
pub fn leaf_of(draft: &[u8; 32], index: u32, key: &[u8; 32], pseudonym: &[u8; 32]) -> Hash {
    let content = [draft.as_slice(), &index.to_be_bytes(), key, pseudonym];
    merkle::leaf(&h32(Tag::CredList, &content))
}

/// The Merkle root of a list.
pub fn list_root(draft: &[u8; 32], entries: &[Entry]) -> [u8; 32] {
    let leaves: Vec<Hash> = (0u32..).zip(entries).map(|(index, entry)| leaf(draft, index, entry)).collect();
    *merkle::root(&leaves).as_bytes()
}
