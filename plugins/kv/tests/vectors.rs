//! The golden vectors: a change of these bytes is a change of the format.
//!
//! They were made by `framework/api/vectors/generate.py` from the table in `transaction.rs` and RFC 8032.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use quorate::{Application, Bytes, ChainId, application::NoState};
use quorate_kv::{Kv, Put};
use serde::Deserialize;

#[derive(Deserialize)]
struct File {
    transactions: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    secret_seed: String,
    chain_id: ChainId,
    nonce: String,
    key: String,
    value: Option<String>,
    public_key: String,
    transaction: String,
    transaction_id: String,
}

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text.strip_prefix("0x").unwrap()).unwrap()
}

#[test]
fn every_vector_is_signed_read_and_verified() {
    let file: File = serde_json::from_str(include_str!("../vectors/transactions.json")).unwrap();
    assert_eq!(file.transactions.len(), 5);
    for vector in file.transactions {
        let name = &vector.name;
        let seed = bytes(&vector.secret_seed).try_into().unwrap();
        let (nonce, key) = (vector.nonce.parse().unwrap(), bytes(&vector.key));
        let value = vector.value.as_deref().map(bytes);
        let signed = match &value {
            Some(value) => Put::sign(&seed, &vector.chain_id, nonce, &key, value),
            None => Put::sign_delete(&seed, &vector.chain_id, nonce, &key),
        };
        let expected = Bytes::from(bytes(&vector.transaction));
        assert_eq!(signed, expected, "{name}");
        let put = Put::decode(&expected).unwrap();
        assert_eq!((put.nonce, put.key, put.value), (nonce, key, value), "{name}");
        assert_eq!(put.public_key.to_string(), vector.public_key, "{name}");
        let kv = Kv::new(vector.chain_id, 1024);
        assert_eq!(kv.transaction_id(&expected).to_string(), vector.transaction_id, "{name}");
        assert_eq!(kv.verify(&NoState, &[expected]), [Ok(())], "{name}");
    }
}
