//! What is hashed: fields in frames under a tag that has one purpose.

use curve25519_dalek::scalar::Scalar;
use sha2::{Digest, Sha256, Sha512};

/// Comes first in every hash.
pub const PROTOCOL: &[u8] = b"quorate-voting/v1";

macro_rules! tags {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What a hash is for. No two purposes share a tag, so that no hash of one kind is taken for another.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Tag {
            $($(#[$doc])* $name,)*
        }

        impl Tag {
            /// As hashed.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Tag::$name => $text,)*
                }
            }
        }
    };
}

tags! {
    /// The election's id.
    Manifest = "manifest",
    /// A draft's id.
    Draft = "draft",
    /// A key ceremony's id.
    Ceremony = "ceremony",
    /// What a trustee will reveal.
    DkgCommit = "dkg-commit",
    /// Proof that a trustee knows its part of the key.
    DkgPok = "dkg-pok",
    /// The key under which a share is sealed.
    DkgShare = "dkg-share",
    /// Proof that a sealed share's maker knows the secret of its element.
    DkgSeal = "dkg-seal",
    /// A ceremony's transcript.
    DkgAck = "dkg-ack",
    /// Proof that a complaint opens the right share.
    DkgComplaint = "dkg-complaint",
    /// A credential's secret key.
    CredKey = "cred-key",
    /// Proof that a voter has the credential that is enrolled.
    CredPop = "cred-pop",
    /// An entry of the list of credentials, and the list as registrars sign it.
    CredList = "cred-list",
    /// A pseudonym in the list.
    Identity = "identity",
    /// Proof that one option is chosen or not.
    BitProof = "bit-proof",
    /// Proof of how many options are chosen.
    SumProof = "sum-proof",
    /// A ballot's tracker.
    BallotBody = "ballot-body",
    /// A voter's signature.
    CredSig = "cred-sig",
    /// The signature of an officer or trustee.
    RoleSig = "role-sig",
    /// A transaction's id, and what officers sign.
    Tx = "tx",
    /// The application's hash.
    App = "app",
    /// The tally's hash.
    Tally = "tally",
    /// Proof of a right decryption.
    DecryptProof = "decrypt-proof",
    /// Hedged nonces.
    Nonce = "nonce",
    /// Weights of a batch.
    Batch = "batch",
    /// The generator of test vectors.
    TestRng = "test-rng",
}

/// `M(tag, f1..fn) = LP("quorate-voting/v1") || LP(tag) || u32(n) || LP(f1) || .. || LP(fn)`, fed into a hash.
fn feed<D: Digest>(tag: Tag, fields: &[&[u8]]) -> D {
    let mut hash = D::new();
    let length = |len: usize| u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
    let mut framed = |bytes: &[u8]| {
        hash.update(length(bytes.len()));
        hash.update(bytes);
    };
    framed(PROTOCOL);
    framed(tag.text().as_bytes());
    hash.update(length(fields.len()));
    for field in fields {
        hash.update(length(field.len()));
        hash.update(field);
    }
    hash
}

/// SHA-256 over the framed fields.
pub fn h32(tag: Tag, fields: &[&[u8]]) -> [u8; 32] {
    feed::<Sha256>(tag, fields).finalize().into()
}

/// SHA-512 over the framed fields, as a little-endian number modulo the group's order.
pub fn hs(tag: Tag, fields: &[&[u8]]) -> Scalar {
    Scalar::from_bytes_mod_order_wide(&feed::<Sha512>(tag, fields).finalize().into())
}
