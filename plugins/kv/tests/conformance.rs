//! What every application promises, asked of this one.

use quorate::{Bytes, ChainId};
use quorate_kv::{KvPlugin, PATHS, Put};
use quorate_testkit::conformance;

/// Writes and deletes of three signers, and some which are of no use.
fn transactions(chain: ChainId) -> Vec<Bytes> {
    let mut transactions = Vec::new();
    for nonce in 0..4 {
        for signer in 1..4 {
            let (seed, key) = ([signer; 32], [b'k', signer % 2]);
            transactions.push(Put::sign(&seed, &chain, nonce, &key, &[7; 100]));
        }
    }
    transactions.push(Put::sign_delete(&[1; 32], &chain, 4, b"k\x01"));
    // A nonce that is used, one that is too high, a foreign network.
    transactions.push(Put::sign(&[2; 32], &chain, 0, b"late", b""));
    transactions.push(Put::sign(&[2; 32], &chain, 9, b"early", b""));
    transactions.push(Put::sign(&[2; 32], &ChainId::new([1; 32]), 4, b"foreign", b""));
    transactions
}

#[test]
fn it_keeps_the_contract_of_an_application() {
    let (signer, shared) = (Put::signer(&[1; 32]), "value_bytes_max = 512");
    let mut suite = conformance::application(&KvPlugin, shared).transactions(transactions);
    for path in PATHS.split(", ") {
        let more = match path {
            "get" => r#","key":"0x6b01""#,
            "winner" => r#","nonce":1"#,
            _ => "",
        };
        let params = if path == "app_hash" { "{}".into() } else { format!(r#"{{"signer":"{signer}"{more}}}"#) };
        suite = suite.query(path, params);
    }
    suite.check();
}
