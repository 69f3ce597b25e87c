//! The transactions of elections: one byte that says which, and its fields.

use crate::{
    codec::{DecodeError, Reader, Writer},
    group::{Element, Scalar, SecretScalar},
    random::{Draw, NoRandomness},
    record::{
        draft::{DRAFT_BYTES_MAX, Draft, REGISTRARS_MAX, TRUSTEES_MAX},
        entry::{ENTRIES_MAX, Entry},
    },
    schnorr::{self, Signature},
    transcript::{Tag, h32},
};

/// Bytes of a transaction at most.
pub const TRANSACTION_BYTES_MAX: usize = 128 << 10;

/// Bytes of a share of the election's key, sealed for one trustee: an element, a scalar, a tag, a proof of knowing the element's secret.
pub const SEALED_BYTES: usize = 144;

/// Entries of shares in one transaction at most: as many options as fit into a ballot.
pub const SHARE_PARTS_MAX: usize = 1024;

/// Kinds, as in the first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A new draft.
    Draft = 1,
    /// Credentials, into a registrar's area.
    Entries = 2,
    /// Seals the list of credentials.
    List = 3,
    /// What a trustee will reveal.
    Commitment = 4,
    /// A trustee's part of the key.
    Reveal = 5,
    /// A trustee's consent to the transcript.
    Ack = 6,
    /// A trustee shows that another sent a wrong share.
    Complaint = 7,
    /// The admin begins the ceremony anew.
    Restart = 8,
    /// Makes the manifest.
    Open = 9,
    /// A vote.
    Ballot = 10,
    /// Ends an election whose time is over.
    Close = 11,
    /// A trustee's decryption of the sums.
    Share = 12,
}

impl Kind {
    /// All, in order.
    pub const ALL: [Kind; 12] = [
        Kind::Draft,
        Kind::Entries,
        Kind::List,
        Kind::Commitment,
        Kind::Reveal,
        Kind::Ack,
        Kind::Complaint,
        Kind::Restart,
        Kind::Open,
        Kind::Ballot,
        Kind::Close,
        Kind::Share,
    ];

    /// The kind with this first byte.
    pub fn of(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.byte() == byte)
    }

    /// The first byte.
    pub const fn byte(self) -> u8 {
        self as u8
    }

    /// As in texts.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Draft => "draft",
            Kind::Entries => "entries",
            Kind::List => "list",
            Kind::Commitment => "commitment",
            Kind::Reveal => "reveal",
            Kind::Ack => "ack",
            Kind::Complaint => "complaint",
            Kind::Restart => "restart",
            Kind::Open => "open",
            Kind::Ballot => "ballot",
            Kind::Close => "close",
            Kind::Share => "share",
        }
    }
}

/// A trustee's place in an attempt at the key ceremony.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// Of which draft.
    pub draft: [u8; 32],
    /// Which attempt, from 0.
    pub attempt: u32,
    /// Which trustee, from 1.
    pub trustee: u16,
}

/// A registrar's signature of the whole list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListSignature {
    /// Which registrar, from 1.
    pub registrar: u16,
    /// Over `list_message`.
    pub signature: Signature,
}

/// A trustee's decryption of one option's sum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharePart {
    /// x_k A.
    pub d: Element,
    /// The proof's challenge.
    pub c: Scalar,
    /// The proof's response.
    pub z: Scalar,
}

/// What a transaction asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the table in the application's specification, section 3")]
#[non_exhaustive]
pub enum Body {
    Draft(Box<Draft>),
    Entries {
        draft: [u8; 32],
        registrar: u16,
        first: u32,
        entries: Vec<Entry>,
    },
    List {
        draft: [u8; 32],
        registrar: u16,
        count: u32,
        root: [u8; 32],
        signatures: Vec<ListSignature>,
    },
    Commitment {
        seat: Seat,
        commitment: [u8; 32],
    },
    Reveal {
        seat: Seat,
        coefficients: Vec<Element>,
        proof: Signature,
        sealed: Vec<[u8; SEALED_BYTES]>,
    },
    Ack {
        seat: Seat,
        transcript: [u8; 32],
    },
    Complaint {
        seat: Seat,
        dealer: u16,
        shared: Element,
        c: Scalar,
        z: Scalar,
    },
    Restart {
        draft: [u8; 32],
        attempt: u32,
    },
    Open {
        draft: [u8; 32],
        eid: [u8; 32],
    },
    /// The ballot's bytes, which are read with the election's rules.
    Ballot(Vec<u8>),
    Close {
        eid: [u8; 32],
    },
    Share {
        eid: [u8; 32],
        tally: [u8; 32],
        trustee: u16,
        parts: Vec<SharePart>,
    },
}

/// A transaction as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// What it asks for.
    pub body: Body,
    /// Of an officer or trustee; `None` for the kinds which carry their own or need none.
    pub signature: Option<Signature>,
}

/// What names a transaction: `H32("tx", bytes)`.
pub fn transaction_id(bytes: &[u8]) -> [u8; 32] {
    h32(Tag::Tx, &[bytes])
}

/// What registrars sign of a list: `H32("cred-list", draft, u32 count, root)`.
pub fn list_message(draft: &[u8; 32], count: u32, root: &[u8; 32]) -> [u8; 32] {
    h32(Tag::CredList, &[draft, &count.to_be_bytes(), root])
}

impl Body {
    /// Which it is.
    pub fn kind(&self) -> Kind {
        match self {
            Body::Draft(_) => Kind::Draft,
            Body::Entries { .. } => Kind::Entries,
            Body::List { .. } => Kind::List,
            Body::Commitment { .. } => Kind::Commitment,
            Body::Reveal { .. } => Kind::Reveal,
            Body::Ack { .. } => Kind::Ack,
            Body::Complaint { .. } => Kind::Complaint,
            Body::Restart { .. } => Kind::Restart,
            Body::Open { .. } => Kind::Open,
            Body::Ballot(_) => Kind::Ballot,
            Body::Close { .. } => Kind::Close,
            Body::Share { .. } => Kind::Share,
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.u8(self.kind().byte());
        match self {
            Body::Draft(draft) => {
                out.lp(&draft.encode());
            }
            Body::Entries { draft, registrar, first, entries } => {
                out.bytes(draft).u16(*registrar).u32(*first).count16(entries.len());
                for entry in entries {
                    entry.write(&mut out);
                }
            }
            Body::List { draft, registrar, count, root, signatures } => {
                out.bytes(draft).u16(*registrar).u32(*count).bytes(root).count16(signatures.len());
                for one in signatures {
                    out.u16(one.registrar);
                    one.signature.write(&mut out);
                }
            }
            Body::Commitment { seat, commitment } => {
                seat.write(&mut out);
                out.bytes(commitment);
            }
            Body::Reveal { seat, coefficients, proof, sealed } => {
                seat.write(&mut out);
                out.count16(coefficients.len());
                for coefficient in coefficients {
                    out.bytes(coefficient.as_bytes());
                }
                proof.write(&mut out);
                out.count16(sealed.len());
                for share in sealed {
                    out.bytes(share);
                }
            }
            Body::Ack { seat, transcript } => {
                seat.write(&mut out);
                out.bytes(transcript);
            }
            Body::Complaint { seat, dealer, shared, c, z } => {
                seat.write(&mut out);
                out.u16(*dealer).bytes(shared.as_bytes()).scalar(c).scalar(z);
            }
            Body::Restart { draft, attempt } => {
                out.bytes(draft).u32(*attempt);
            }
            Body::Open { draft, eid } => {
                out.bytes(draft).bytes(eid);
            }
            Body::Ballot(ballot) => {
                out.bytes(ballot);
            }
            Body::Close { eid } => {
                out.bytes(eid);
            }
            Body::Share { eid, tally, trustee, parts } => {
                out.bytes(eid).bytes(tally).u16(*trustee).count16(parts.len());
                for part in parts {
                    out.bytes(part.d.as_bytes()).scalar(&part.c).scalar(&part.z);
                }
            }
        }
        out.finish()
    }

    /// Whether an officer's or trustee's signature stands at the end.
    fn is_signed(kind: Kind) -> bool {
        !matches!(kind, Kind::List | Kind::Ballot | Kind::Close)
    }

    /// What an officer or trustee signs: `H32("tx", the bytes before the signature)`.
    pub fn message(&self) -> [u8; 32] {
        transaction_id(&self.encode())
    }

    /// The transaction, signed with `secret` where its kind is signed by an officer or trustee.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`].
    pub fn sign(self, secret: &SecretScalar, draw: &mut dyn Draw) -> Result<Transaction, NoRandomness> {
        let signature = Self::is_signed(self.kind())
            .then(|| schnorr::sign(Tag::RoleSig, secret, &self.message(), draw))
            .transpose()?;
        Ok(Transaction { body: self, signature })
    }

    /// The transaction of a kind which no officer or trustee signs.
    pub fn unsigned(self) -> Transaction {
        Transaction { body: self, signature: None }
    }
}

impl Seat {
    fn write(&self, out: &mut Writer) {
        out.bytes(&self.draft).u32(self.attempt).u16(self.trustee);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { draft: reader.array("draft")?, attempt: reader.u32("attempt")?, trustee: reader.u16("trustee")? })
    }
}

impl Transaction {
    /// The bytes, which [`Self::decode`] reads.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.body.encode();
        if let Some(signature) = &self.signature {
            let mut out = Writer::new();
            signature.write(&mut out);
            bytes.extend_from_slice(&out.finish());
        }
        bytes
    }

    /// Reads exactly one transaction. A ballot's inside is not looked at.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] with the field.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > TRANSACTION_BYTES_MAX {
            let what = format!("has {} bytes; at most {TRANSACTION_BYTES_MAX}", bytes.len());
            return Err(DecodeError::rule("transaction", what));
        }
        let mut reader = Reader::new(bytes);
        let byte = reader.u8("kind")?;
        let kind = Kind::of(byte).ok_or_else(|| DecodeError::rule("kind", format!("is {byte}; 1 to 12 are known")))?;
        let body = body(kind, &mut reader)?;
        let signature = Body::is_signed(kind).then(|| Signature::read(&mut reader, "sig R", "sig z")).transpose()?;
        reader.finish()?;
        Ok(Self { body, signature })
    }

    /// Whether the signature at the end is of `key`.
    pub fn is_signed_by(&self, key: &Element) -> bool {
        self.signature
            .as_ref()
            .is_some_and(|signature| schnorr::verify(Tag::RoleSig, key, &self.body.message(), signature))
    }
}

fn body(kind: Kind, reader: &mut Reader<'_>) -> Result<Body, DecodeError> {
    Ok(match kind {
        Kind::Draft => Body::Draft(Box::new(Draft::decode(reader.lp("draft", DRAFT_BYTES_MAX)?)?)),
        Kind::Entries => entries(reader)?,
        Kind::List => list(reader)?,
        Kind::Commitment => Body::Commitment { seat: Seat::read(reader)?, commitment: reader.array("commitment")? },
        Kind::Reveal => reveal(reader)?,
        Kind::Ack => Body::Ack { seat: Seat::read(reader)?, transcript: reader.array("transcript")? },
        Kind::Complaint => Body::Complaint {
            seat: Seat::read(reader)?,
            dealer: reader.u16("dealer")?,
            shared: reader.element("shared point")?,
            c: reader.scalar("c")?,
            z: reader.scalar("z")?,
        },
        Kind::Restart => Body::Restart { draft: reader.array("draft")?, attempt: reader.u32("attempt")? },
        Kind::Open => Body::Open { draft: reader.array("draft")?, eid: reader.array("eid")? },
        Kind::Ballot => Body::Ballot(reader.rest().to_vec()),
        Kind::Close => Body::Close { eid: reader.array("eid")? },
        Kind::Share => share(reader)?,
    })
}

fn entries(reader: &mut Reader<'_>) -> Result<Body, DecodeError> {
    let (draft, registrar) = (reader.array("draft")?, reader.u16("registrar")?);
    let first = reader.u32("first")?;
    let count = reader.count16("entries", ENTRIES_MAX)?;
    let entries = (0..count).map(|_| Entry::read(reader)).collect::<Result<_, _>>()?;
    Ok(Body::Entries { draft, registrar, first, entries })
}

fn list(reader: &mut Reader<'_>) -> Result<Body, DecodeError> {
    let (draft, registrar) = (reader.array("draft")?, reader.u16("registrar")?);
    let (count, root) = (reader.u32("count")?, reader.array("root")?);
    let signed = reader.count16("signatures", REGISTRARS_MAX)?;
    let signatures = (0..signed)
        .map(|_| {
            let registrar = reader.u16("registrar")?;
            Ok(ListSignature { registrar, signature: Signature::read(reader, "sig R", "sig z")? })
        })
        .collect::<Result<_, DecodeError>>()?;
    Ok(Body::List { draft, registrar, count, root, signatures })
}

fn reveal(reader: &mut Reader<'_>) -> Result<Body, DecodeError> {
    let seat = Seat::read(reader)?;
    let count = reader.count16("coefficients", TRUSTEES_MAX)?;
    let coefficients = (0..count).map(|_| reader.element("C")).collect::<Result<_, _>>()?;
    let proof = Signature::read(reader, "proof R", "proof z")?;
    let count = reader.count16("sealed shares", TRUSTEES_MAX)?;
    let sealed = (0..count).map(|_| reader.array("sealed share")).collect::<Result<_, _>>()?;
    Ok(Body::Reveal { seat, coefficients, proof, sealed })
}

fn share(reader: &mut Reader<'_>) -> Result<Body, DecodeError> {
    let (eid, tally) = (reader.array("eid")?, reader.array("th")?);
    let trustee = reader.u16("trustee")?;
    let count = reader.count16("parts", SHARE_PARTS_MAX)?;
    let parts = (0..count)
        .map(|_| Ok(SharePart { d: reader.element("D")?, c: reader.scalar("c")?, z: reader.scalar("z")? }))
        .collect::<Result<_, DecodeError>>()?;
    Ok(Body::Share { eid, tally, trustee, parts })
}
