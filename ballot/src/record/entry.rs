//! An entry in the list of credentials.

use crate::{
    codec::{DecodeError, Reader, Writer},
    group::Element,
    transcript::{Tag, h32},
};

/// Entries of one transaction at most.
pub const ENTRIES_MAX: usize = 1024;

/// Entries of a list at most.
pub const CREDENTIALS_MAX: u32 = 1 << 24;

/// A voter who may cast one ballot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The credential's public key.
    pub key: Element,
    /// Whose it is, for whoever is given identity and salt.
    pub pseudonym: [u8; 32],
}

impl Entry {
    pub(crate) fn write(&self, out: &mut Writer) {
        out.bytes(self.key.as_bytes()).bytes(&self.pseudonym);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { key: reader.element("K")?, pseudonym: reader.array("pseudonym")? })
    }
}

/// `H32("identity", identity, salt)`: stands for a person on the ledger.
pub fn pseudonym(identity: &str, salt: &[u8; 32]) -> [u8; 32] {
    h32(Tag::Identity, &[identity.as_bytes(), salt])
}
