//! Parameters of queries, and ids.

use quorate::{Hash, TransactionId};
use serde::de::DeserializeOwned;

use crate::answer::Problem;

/// What goes before an id's digits in the alias which earlier clients know.
pub(crate) const ALIAS: &str = "tx-";

/// The parameters of a query; unknown ones are none of ours, and left alone.
pub(crate) fn query<T: DeserializeOwned>(query: Option<&str>) -> Result<T, Problem> {
    let uri = format!("/?{}", query.unwrap_or_default());
    let uri = uri.parse().map_err(|_| Problem::malformed("the query is not that of a URL"))?;
    axum::extract::Query::<T>::try_from_uri(&uri)
        .map(|axum::extract::Query(read)| read)
        .map_err(|rejection| Problem::malformed(rejection.body_text()))
}

/// 32 bytes in hexadecimal, with or without `0x`.
fn digits(name: &str, text: &str, alias: Option<&str>) -> Result<[u8; 32], Problem> {
    let bare = text.strip_prefix("0x").or_else(|| alias.and_then(|alias| text.strip_prefix(alias))).unwrap_or(text);
    let mut bytes = [0; 32];
    match hex::decode_to_slice(bare, &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => {
            let shown: String = text.chars().take(80).collect();
            let detail = format!("`{name}` is `{shown}`; it must be 0x and 64 hexadecimal digits");
            Err(Problem::malformed(detail))
        }
    }
}

/// A transaction's id, or its alias `tx-..`.
pub(crate) fn transaction_id(text: &str) -> Result<TransactionId, Problem> {
    digits("transaction_id", text, Some(ALIAS)).map(TransactionId::new)
}

/// An election's id.
pub(crate) fn election_id(text: &str) -> Result<Hash, Problem> {
    digits("election_id", text, None).map(Hash::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_in_each_of_their_forms_and_nothing_else() {
        let digits = "ab".repeat(32);
        let id = TransactionId::new([0xab; 32]);
        for form in [format!("0x{digits}"), format!("tx-{digits}"), digits.clone()] {
            assert_eq!(transaction_id(&form).unwrap(), id, "{form}");
        }
        for wrong in ["", "0x", "tx-", "0xab", &format!("0x{digits}ab"), &format!("zz{digits}"), "é"] {
            assert!(transaction_id(wrong).is_err(), "{wrong}");
        }
        assert!(election_id(&format!("tx-{digits}")).is_err());
    }
}
