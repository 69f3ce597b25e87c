//! What can be asked; parameters and answers are JSON.
//!
//! | path | parameters | answer |
//! |---|---|---|
//! | `get` | `{signer, key}` | `{value, height}`, both `null` if the key is not set; height is that of the last write |
//! | `list` | `{signer, from?, limit?}` | `{entries: [{key, value, height}], next}`; in the order of keys, from `from` on, at most `limit` (1 to 100, 100); `next` is the key to go on `from`, `null` at the end |
//! | `nonce` | `{signer}` | `{nonce}`: the next to be used |
//! | `winner` | `{signer, nonce}` | `{transaction_id}`: who used this nonce, `null` while nobody did |
//! | `app_hash` | `{}` | `{app_hash}` |
//!
//! Signer, keys, values, ids and hashes are hexadecimal with `0x`. Unknown parameters are errors.

use quorate::{
    Hash, Height, PublicKey, TransactionId,
    application::{QueryError, StateRead},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned, de::Error as _};

use crate::{state, transaction::KEY_BYTES_MAX};

/// Entries in an answer to `list` at most.
pub const LIST_MAX: usize = 100;

/// The paths, comma-separated.
pub const PATHS: &str = "get, list, nonce, winner, app_hash";

/// Bytes of parameters at most.
const PARAMS_BYTES_MAX: usize = 4096;

/// Bytes, in text `0x` and hexadecimal digits.
#[derive(Debug)]
struct Hexadecimal(Vec<u8>);

impl Serialize for Hexadecimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("0x{}", hex::encode(&self.0)))
    }
}

impl<'de> Deserialize<'de> for Hexadecimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.strip_prefix("0x").ok_or_else(|| D::Error::custom("expected `0x` and hexadecimal digits"))?;
        if digits.len() > 2 * KEY_BYTES_MAX {
            let message = format!("key has {} hexadecimal digits; the limit is {}", digits.len(), 2 * KEY_BYTES_MAX);
            return Err(D::Error::custom(message));
        }
        hex::decode(digits).map(Self).map_err(D::Error::custom)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Get {
    signer: PublicKey,
    key: Hexadecimal,
}

#[derive(Serialize)]
struct Got {
    value: Option<Hexadecimal>,
    height: Option<Height>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    signer: PublicKey,
    from: Option<Hexadecimal>,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Listed {
    entries: Vec<ListedEntry>,
    next: Option<Hexadecimal>,
}

#[derive(Serialize)]
struct ListedEntry {
    key: Hexadecimal,
    value: Hexadecimal,
    height: Height,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfSigner {
    signer: PublicKey,
}

#[derive(Serialize)]
struct Nonce {
    nonce: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfNonce {
    signer: PublicKey,
    nonce: u64,
}

#[derive(Serialize)]
struct Winner {
    transaction_id: Option<TransactionId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Serialize)]
struct AppHash {
    app_hash: Hash,
}

/// Answers one question.
pub(crate) fn answer(state: &dyn StateRead, path: &str, params: &[u8]) -> Result<Vec<u8>, QueryError> {
    match path {
        "get" => {
            let Get { signer, key } = read(params)?;
            let entry = state::entry(state, &signer, &key.0)?;
            let height = entry.as_ref().map(|entry| entry.height);
            write(&Got { value: entry.map(|entry| Hexadecimal(entry.value.into())), height })
        }
        "list" => list(state, read(params)?),
        "nonce" => {
            let OfSigner { signer } = read(params)?;
            write(&Nonce { nonce: state::next_nonce(state, &signer)? })
        }
        "winner" => {
            let OfNonce { signer, nonce } = read(params)?;
            write(&Winner { transaction_id: state::winner(state, &signer, nonce)? })
        }
        "app_hash" => {
            let Nothing {} = read(params)?;
            write(&AppHash { app_hash: state::hash(state)? })
        }
        _ => Err(QueryError::UnknownPath { path: path.chars().take(80).collect(), known: PATHS.into() }),
    }
}

fn list(state: &dyn StateRead, params: List) -> Result<Vec<u8>, QueryError> {
    let limit = params.limit.unwrap_or(LIST_MAX);
    if !(1..=LIST_MAX).contains(&limit) {
        return Err(QueryError::BadParams(format!("limit is {limit}; it must be 1 to {LIST_MAX}")));
    }
    let from = params.from.map(|from| from.0).unwrap_or_default();
    // One more than asked for, which is where the next list begins.
    let mut found = state::entries(state, &params.signer, &from, limit + 1)?;
    let next = found.get(limit).map(|(key, _)| Hexadecimal(key.to_vec()));
    found.truncate(limit);
    let entries = found.into_iter().map(|(key, entry)| ListedEntry {
        key: Hexadecimal(key.into()),
        value: Hexadecimal(entry.value.into()),
        height: entry.height,
    });
    write(&Listed { entries: entries.collect(), next })
}

fn read<T: DeserializeOwned>(params: &[u8]) -> Result<T, QueryError> {
    if params.len() > PARAMS_BYTES_MAX {
        let len = params.len();
        return Err(QueryError::BadParams(format!("parameters have {len} bytes; the limit is {PARAMS_BYTES_MAX}")));
    }
    // No parameters are an empty set of them.
    let params = if params.is_empty() || params == b"null" { b"{}" } else { params };
    serde_json::from_slice(params).map_err(|error| QueryError::BadParams(error.to_string()))
}

fn write(answer: &impl Serialize) -> Result<Vec<u8>, QueryError> {
    serde_json::to_vec(answer).map_err(|error| QueryError::State(error.to_string()))
}
