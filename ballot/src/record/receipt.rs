//! What transactions did: the bytes which a block's receipts root covers.

use crate::{
    codec::{DecodeError, Reader, Writer},
    record::transaction::{Kind, SHARE_PARTS_MAX, Seat},
    transcript::{Tag, h32},
};

/// What a transaction did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the table in the application's specification, section 6")]
#[non_exhaustive]
pub enum Receipt {
    Draft {
        draft: [u8; 32],
    },
    Entries {
        draft: [u8; 32],
        registrar: u16,
        entries: u32,
    },
    List {
        draft: [u8; 32],
        count: u32,
        root: [u8; 32],
    },
    /// A commitment, a reveal or an ack, as `kind` says; `count` of them are there now.
    Step {
        kind: Kind,
        seat: Seat,
        count: u16,
    },
    /// A complaint or a restart, as `kind` says; `attempt` is the next.
    Again {
        kind: Kind,
        draft: [u8; 32],
        attempt: u32,
    },
    Open {
        draft: [u8; 32],
        eid: [u8; 32],
    },
    Ballot {
        eid: [u8; 32],
        number: u32,
        credential: u32,
        tracker: [u8; 32],
    },
    Close {
        eid: [u8; 32],
        ballots: u32,
        tally: [u8; 32],
        is_void: bool,
    },
    /// `result` is empty unless this share decided.
    Share {
        eid: [u8; 32],
        trustee: u16,
        is_valid: bool,
        result: Vec<u32>,
    },
}

impl Receipt {
    /// Which transaction it is of.
    pub fn kind(&self) -> Kind {
        match self {
            Receipt::Draft { .. } => Kind::Draft,
            Receipt::Entries { .. } => Kind::Entries,
            Receipt::List { .. } => Kind::List,
            Receipt::Step { kind, .. } | Receipt::Again { kind, .. } => *kind,
            Receipt::Open { .. } => Kind::Open,
            Receipt::Ballot { .. } => Kind::Ballot,
            Receipt::Close { .. } => Kind::Close,
            Receipt::Share { .. } => Kind::Share,
        }
    }

    /// The bytes, which [`Self::decode`] reads.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.u8(self.kind().byte());
        match self {
            Receipt::Draft { draft } => out.bytes(draft),
            Receipt::Entries { draft, registrar, entries } => out.bytes(draft).u16(*registrar).u32(*entries),
            Receipt::List { draft, count, root } => out.bytes(draft).u32(*count).bytes(root),
            Receipt::Step { seat, count, .. } => out.bytes(&seat.draft).u32(seat.attempt).u16(seat.trustee).u16(*count),
            Receipt::Again { draft, attempt, .. } => out.bytes(draft).u32(*attempt),
            Receipt::Open { draft, eid } => out.bytes(draft).bytes(eid),
            Receipt::Ballot { eid, number, credential, tracker } => {
                out.bytes(eid).u32(*number).u32(*credential).bytes(tracker)
            }
            Receipt::Close { eid, ballots, tally, is_void } => {
                out.bytes(eid).u32(*ballots).bytes(tally).u8(u8::from(!is_void))
            }
            Receipt::Share { eid, trustee, is_valid, result } => {
                out.bytes(eid).u16(*trustee).u8(u8::from(*is_valid)).count16(result.len());
                result.iter().fold(&mut out, |out, votes| out.u32(*votes))
            }
        };
        out.finish()
    }

    /// Reads exactly one receipt.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] with the field.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let byte = reader.u8("kind")?;
        let kind = Kind::of(byte).ok_or_else(|| DecodeError::rule("kind", format!("is {byte}; 1 to 12 are known")))?;
        let id = reader.array("draft or eid")?;
        let receipt = match kind {
            Kind::Draft => Receipt::Draft { draft: id },
            Kind::Entries => {
                Receipt::Entries { draft: id, registrar: reader.u16("registrar")?, entries: reader.u32("entries")? }
            }
            Kind::List => Receipt::List { draft: id, count: reader.u32("count")?, root: reader.array("root")? },
            Kind::Commitment | Kind::Reveal | Kind::Ack => {
                let seat = Seat { draft: id, attempt: reader.u32("attempt")?, trustee: reader.u16("trustee")? };
                Receipt::Step { kind, seat, count: reader.u16("count")? }
            }
            Kind::Complaint | Kind::Restart => Receipt::Again { kind, draft: id, attempt: reader.u32("attempt")? },
            Kind::Open => Receipt::Open { draft: id, eid: reader.array("eid")? },
            Kind::Ballot => Receipt::Ballot {
                eid: id,
                number: reader.u32("number")?,
                credential: reader.u32("credential")?,
                tracker: reader.array("tracker")?,
            },
            Kind::Close => Receipt::Close {
                eid: id,
                ballots: reader.u32("N")?,
                tally: reader.array("th")?,
                is_void: !flag(&mut reader, "decrypted")?,
            },
            Kind::Share => {
                let (trustee, is_valid) = (reader.u16("trustee")?, flag(&mut reader, "valid")?);
                let count = reader.count16("result", SHARE_PARTS_MAX)?;
                let result = (0..count).map(|_| reader.u32("votes")).collect::<Result<_, _>>()?;
                Receipt::Share { eid: id, trustee, is_valid, result }
            }
        };
        reader.finish()?;
        Ok(receipt)
    }
}

fn flag(reader: &mut Reader<'_>, field: &'static str) -> Result<bool, DecodeError> {
    match reader.u8(field)? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(DecodeError::rule(field, format!("is {other}; 0 or 1"))),
    }
}

/// The application's hash before the first block: `H32("app", chain id)`.
pub fn genesis_hash(chain_id: &[u8; 32]) -> [u8; 32] {
    h32(Tag::App, &[chain_id])
}

/// The application's hash after a block of transactions with these ids and receipts, in order; `previous` when there are none.
pub fn next_hash(previous: [u8; 32], height: u64, done: &[([u8; 32], Vec<u8>)]) -> [u8; 32] {
    if done.is_empty() {
        return previous;
    }
    let height = height.to_be_bytes();
    let mut fields: Vec<&[u8]> = vec![&previous, &height];
    for (id, receipt) in done {
        fields.extend([id.as_slice(), receipt.as_slice()]);
    }
    h32(Tag::App, &fields)
}
