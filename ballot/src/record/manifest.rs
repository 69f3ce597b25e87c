//! The manifest: a draft with its voters and its key. Its hash names the election.

use super::draft::{DRAFT_BYTES_MAX, Draft};
use crate::{
    ballot::ElectionKey,
    codec::{DecodeError, Reader, Writer},
    group::Element,
    transcript::{Tag, h32},
};

/// Bytes of a manifest at most: a draft, the key's parts, the list's root.
pub const MANIFEST_BYTES_MAX: usize = DRAFT_BYTES_MAX + 4 + 32 * (3 + super::draft::TRUSTEES_MAX) + 4;

/// All that a ballot of an election depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Question, dates, officers.
    pub draft: Draft,
    /// The hash of what the trustees' ceremony left on the ledger.
    pub transcript: [u8; 32],
    /// The key to which ballots are encrypted.
    pub y: Element,
    /// The public key of each trustee's share of it, in their order.
    pub x: Vec<Element>,
    /// How many credentials the list has.
    pub credentials: u32,
    /// The list's Merkle root.
    pub root: [u8; 32],
}

impl Manifest {
    /// The bytes, which [`Self::decode`] reads: the draft's, then the rest.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.lp(&self.draft.encode()).bytes(&self.transcript).bytes(self.y.as_bytes());
        for key in &self.x {
            out.bytes(key.as_bytes());
        }
        out.u32(self.credentials).bytes(&self.root);
        out.finish()
    }

    /// Reads a manifest.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] with the field.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let draft = Draft::decode(reader.lp("draft", DRAFT_BYTES_MAX)?)?;
        let transcript = reader.array("transcript")?;
        let y = reader.element("Y")?;
        let x = (0..draft.trustees.count()).map(|_| reader.element("X")).collect::<Result<_, _>>()?;
        let credentials = reader.u32("credentials")?;
        let root = reader.array("root")?;
        reader.finish()?;
        Ok(Self { draft, transcript, y, x, credentials, root })
    }

    /// What names the election: `H32("manifest", bytes)`.
    pub fn eid(&self) -> [u8; 32] {
        h32(Tag::Manifest, &[&self.encode()])
    }

    /// What ballots are encrypted and verified with.
    pub fn key(&self) -> ElectionKey {
        ElectionKey { eid: self.eid(), y: self.y }
    }
}
