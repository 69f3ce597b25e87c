//! The draft of an election: its question, dates and officers, before anyone is enrolled or any key made.

use crate::{
    codec::{DecodeError, Reader, Writer},
    contest::{CONTESTS_MAX, Contest, OPTIONS_MAX, Rules},
    group::Element,
    transcript::{Tag, h32},
};

/// The suite of this format: ristretto255, SHA-512, the proofs of `SPEC.md`.
pub const SUITE: u16 = 1;

/// Bytes of a draft at most.
pub const DRAFT_BYTES_MAX: usize = 64 << 10;

/// Bytes of a title or an option's text at most.
pub const TEXT_BYTES_MAX: usize = 256;

/// Registrars at most.
pub const REGISTRARS_MAX: usize = 16;

/// Trustees at most.
pub const TRUSTEES_MAX: usize = 16;

/// A contest with its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContestText {
    /// How many options, and how many of them a ballot may choose.
    pub contest: Contest,
    /// What is asked.
    pub title: String,
    /// One text an option.
    pub options: Vec<String>,
}

/// Some keys, of which a number is enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Officers {
    /// Their public keys; they are numbered from 1 in this order.
    pub keys: Vec<Element>,
    /// How many of them are needed.
    pub needed: u16,
}

impl Officers {
    /// The key of number `number`, counted from 1.
    pub fn key(&self, number: u16) -> Option<&Element> {
        self.keys.get(usize::from(number).checked_sub(1)?)
    }

    /// How many they are.
    pub fn count(&self) -> u16 {
        // At most 16, see `Draft::decode`.
        u16::try_from(self.keys.len()).unwrap_or(u16::MAX)
    }
}

/// A draft, valid by rule V4 of the voting application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The network.
    pub chain_id: [u8; 32],
    /// What it is about.
    pub title: String,
    /// What is asked, in order.
    pub contests: Vec<ContestText>,
    /// The first moment at which a ballot counts, in milliseconds since 1970.
    pub opens_ms: u64,
    /// The last moment at which a ballot counts, in milliseconds since 1970.
    pub closes_ms: u64,
    /// Who signs draft and opening.
    pub admin: Element,
    /// Who signs the list of credentials; ascending.
    pub registrars: Officers,
    /// Who hold the election's key; t are needed.
    pub trustees: Officers,
    /// With fewer ballots nothing is decrypted.
    pub ballots_min: u32,
    /// Tells two drafts apart that are otherwise alike.
    pub nonce: [u8; 32],
}

impl Draft {
    /// The bytes, which [`Self::decode`] reads.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.u16(SUITE).bytes(&self.chain_id).lp(self.title.as_bytes()).count16(self.contests.len());
        for ContestText { contest, title, options } in &self.contests {
            out.lp(title.as_bytes()).u16(contest.options()).u16(contest.lo()).u16(contest.hi());
            for option in options {
                out.lp(option.as_bytes());
            }
        }
        out.u64(self.opens_ms).u64(self.closes_ms).bytes(self.admin.as_bytes());
        for officers in [&self.registrars, &self.trustees] {
            out.count16(officers.keys.len());
            for key in &officers.keys {
                out.bytes(key.as_bytes());
            }
            out.u16(officers.needed);
        }
        out.u32(self.ballots_min).bytes(&self.nonce);
        out.finish()
    }

    /// Reads a draft and checks every rule that does not depend on the ledger.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] with the field.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > DRAFT_BYTES_MAX {
            return Err(DecodeError::rule("draft", format!("has {} bytes; at most {DRAFT_BYTES_MAX}", bytes.len())));
        }
        let mut reader = Reader::new(bytes);
        let suite = reader.u16("suite")?;
        if suite != SUITE {
            return Err(DecodeError::rule("suite", format!("is {suite}; this program knows {SUITE}")));
        }
        let chain_id = reader.array("chain id")?;
        let title = text(&mut reader, "title")?;
        let contests = contests(&mut reader)?;
        let (opens_ms, closes_ms) = (reader.u64("opens")?, reader.u64("closes")?);
        if opens_ms >= closes_ms {
            return Err(DecodeError::rule("closes", format!("is {closes_ms}, not after opens, {opens_ms}")));
        }
        let admin = reader.element("admin")?;
        let registrars = officers(&mut reader, "registrars", REGISTRARS_MAX)?;
        if !registrars.keys.is_sorted_by(|a, b| a.as_bytes() < b.as_bytes()) {
            return Err(DecodeError::rule("registrars", "are not in ascending order of their keys"));
        }
        let trustees = officers(&mut reader, "trustees", TRUSTEES_MAX)?;
        let ballots_min = reader.u32("ballots_min")?;
        if ballots_min == 0 {
            return Err(DecodeError::rule("ballots_min", "is 0; at least 1"));
        }
        let nonce = reader.array("nonce")?;
        reader.finish()?;
        let draft =
            Self { chain_id, title, contests, opens_ms, closes_ms, admin, registrars, trustees, ballots_min, nonce };
        // Also what all contests together may have, and the length of a ballot.
        draft.rules()?;
        Ok(draft)
    }

    /// What names a draft: `H32("draft", bytes)`.
    pub fn hash(&self) -> [u8; 32] {
        h32(Tag::Draft, &[&self.encode()])
    }

    /// The contests without their words.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] when there are none, too many, or a ballot would be too long; not for a draft that was decoded.
    pub fn rules(&self) -> Result<Rules, DecodeError> {
        Rules::new(self.contests.iter().map(|one| one.contest).collect())
            .map_err(|error| DecodeError::rule("contests", error.to_string()))
    }
}

fn text(reader: &mut Reader<'_>, field: &'static str) -> Result<String, DecodeError> {
    let bytes = reader.lp(field, TEXT_BYTES_MAX)?;
    match std::str::from_utf8(bytes) {
        Ok("") => Err(DecodeError::rule(field, "is empty")),
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(DecodeError::rule(field, "is not UTF-8")),
    }
}

fn contests(reader: &mut Reader<'_>) -> Result<Vec<ContestText>, DecodeError> {
    let count = reader.count16("contests", CONTESTS_MAX)?;
    let mut contests = Vec::with_capacity(count);
    for _ in 0..count {
        let title = text(reader, "contest title")?;
        let options = reader.u16("options")?;
        let (lo, hi) = (reader.u16("lo")?, reader.u16("hi")?);
        if usize::from(options) > OPTIONS_MAX {
            return Err(DecodeError::rule("options", format!("are {options}; at most {OPTIONS_MAX}")));
        }
        let contest = Contest::new(options, lo, hi).map_err(|error| DecodeError::rule("contest", error.to_string()))?;
        let mut texts: Vec<String> = Vec::with_capacity(usize::from(options));
        for _ in 0..options {
            let option = text(reader, "option")?;
            if texts.contains(&option) {
                return Err(DecodeError::rule("option", format!("`{option}` is in its contest twice")));
            }
            texts.push(option);
        }
        contests.push(ContestText { contest, title, options: texts });
    }
    Ok(contests)
}

fn officers(reader: &mut Reader<'_>, field: &'static str, max: usize) -> Result<Officers, DecodeError> {
    let count = reader.count16(field, max)?;
    let mut keys: Vec<Element> = Vec::with_capacity(count);
    for _ in 0..count {
        let key = reader.element(field)?;
        if keys.contains(&key) {
            return Err(DecodeError::rule(field, "name one key twice"));
        }
        keys.push(key);
    }
    let needed = reader.u16(field)?;
    if needed == 0 || usize::from(needed) > count {
        return Err(DecodeError::rule(
            field,
            format!("are {count}, of which {needed} are needed; 1 to {count} may be"),
        ));
    }
    Ok(Officers { keys, needed })
}
