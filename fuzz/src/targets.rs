//! The decoders, and what must hold of each.

mod blocks;
mod files;
mod kv;
mod voting;
mod wire;

use quorate::borsh::{self, BorshDeserialize, BorshSerialize};
use serde_json::Value;

/// Whether a decoder took its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is well-formed.
    Yes,
    /// It was refused, in words.
    No,
}

/// Whether the input was taken, or which promise was broken.
pub type Outcome = Result<Taken, String>;

/// One decoder.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name on the command line.
    pub name: &'static str,
    /// Inputs which it takes.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Reads an input and checks what must hold.
    pub run: fn(&[u8]) -> Outcome,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "block", seeds: blocks::block_seeds, run: blocks::block },
    Target { name: "header", seeds: blocks::header_seeds, run: blocks::header },
    Target { name: "receipt", seeds: blocks::receipt_seeds, run: blocks::receipt },
    Target { name: "receipt-json", seeds: blocks::receipt_json_seeds, run: blocks::receipt_json },
    Target { name: "path", seeds: blocks::path_seeds, run: blocks::path },
    Target { name: "validators", seeds: blocks::validators_seeds, run: blocks::validators },
    Target { name: "wire", seeds: wire::seeds, run: wire::run },
    Target { name: "genesis", seeds: files::genesis_seeds, run: files::genesis },
    Target { name: "settings", seeds: files::settings_seeds, run: files::settings },
    Target { name: "kv-transaction", seeds: kv::transaction_seeds, run: kv::transaction },
    Target { name: "kv-query", seeds: kv::query_seeds, run: kv::query },
    Target { name: "ballot", seeds: voting::ballot_seeds, run: voting::ballot },
    Target { name: "voting-transaction", seeds: voting::transaction_seeds, run: voting::transaction },
];

/// The target of this name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// The golden vectors of the framework.
fn vectors() -> Value {
    serde_json::from_str(include_str!("../../framework/api/vectors/formats.json")).unwrap_or_default()
}

/// The bytes at a JSON pointer of [`vectors`].
fn vector(pointer: &str) -> Vec<u8> {
    vectors().pointer(pointer).map(unhexed).unwrap_or_default()
}

/// The bytes of a text of `0x` and hexadecimal digits.
fn unhexed(value: &Value) -> Vec<u8> {
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x"));
    digits.and_then(|digits| hex::decode(digits).ok()).unwrap_or_default()
}

/// Breaks the promise `what` unless `holds`.
fn must(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.into()) }
}

/// Reads borsh strictly: one value has one encoding.
fn strict<T: BorshSerialize + BorshDeserialize>(bytes: &[u8]) -> Result<Option<T>, String> {
    let Ok(value) = borsh::from_slice::<T>(bytes) else { return Ok(None) };
    let again = borsh::to_vec(&value).map_err(|error| format!("what was read can't be written: {error}"))?;
    must(again == bytes, "two encodings of one value")?;
    Ok(Some(value))
}

fn taken<T>(value: &Option<T>) -> Taken {
    if value.is_some() { Taken::Yes } else { Taken::No }
}
