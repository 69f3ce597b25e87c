//! What a user of the key-value application relies on.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{CHAIN, execute, genesis};
use quorate::{
    Application, Bytes, Hash, Timestamp, TransactionId,
    application::{ExecuteError, Mode, NoState, QueryError, Rejection},
};
use quorate_kv::{Kv, Put, Written};
use quorate_testkit::memory::MemoryState;
use serde_json::{Value, json};

const ALICE: [u8; 32] = [1; 32];
const BOB: [u8; 32] = [2; 32];

fn kv() -> Kv {
    Kv::new(CHAIN, 1024)
}

fn put(seed: &[u8; 32], nonce: u64, key: &str, value: &str) -> Bytes {
    Put::sign(seed, &CHAIN, nonce, key.as_bytes(), value.as_bytes())
}

fn id(transaction: &[u8]) -> TransactionId {
    kv().transaction_id(transaction)
}

fn ask(state: &MemoryState, path: &str, params: Value) -> Value {
    serde_json::from_slice(&kv().query(state, path, params.to_string().as_bytes()).unwrap()).unwrap()
}

fn hexadecimal(text: &str) -> String {
    format!("0x{}", hex::encode(text))
}

#[test]
fn what_is_put_is_there_until_it_is_deleted_and_belongs_to_its_signer() {
    let (kv, mut state) = (kv(), genesis(&kv()));
    let (alice, bob) = (Put::signer(&ALICE), Put::signer(&BOB));
    let block = [put(&ALICE, 0, "k", "a"), put(&BOB, 0, "k", "b"), put(&ALICE, 1, "k", "a2"), put(&ALICE, 2, "l", "")];
    assert_eq!(kv.verify(&NoState, &block), vec![Ok(()); 4]);
    execute(&kv, &mut state, 1, Mode::Apply, &block).unwrap();
    let get = |state: &MemoryState, signer, key| ask(state, "get", json!({"signer": signer, "key": hexadecimal(key)}));
    assert_eq!(get(&state, alice, "k"), json!({"value": hexadecimal("a2"), "height": 1}));
    assert_eq!(get(&state, bob, "k"), json!({"value": hexadecimal("b"), "height": 1}));
    assert_eq!(get(&state, alice, "l"), json!({"value": "0x", "height": 1}));
    execute(&kv, &mut state, 2, Mode::Apply, &[Put::sign_delete(&ALICE, &CHAIN, 3, b"k")]).unwrap();
    assert_eq!(get(&state, alice, "k"), json!({"value": null, "height": null}));
    assert_eq!(get(&state, bob, "k"), json!({"value": hexadecimal("b"), "height": 1}));
    assert_eq!(ask(&state, "nonce", json!({"signer": alice})), json!({"nonce": 4}));
}

#[test]
fn the_receipt_says_who_wrote_what() {
    let (kv, mut state) = (kv(), genesis(&kv()));
    let outcome = execute(&kv, &mut state, 1, Mode::Apply, &[put(&ALICE, 0, "key", "value")]).unwrap();
    let written: Written = quorate::borsh::from_slice(&outcome.receipts[0]).unwrap();
    assert_eq!(written, Written { signer: Put::signer(&ALICE), nonce: 0, key: b"key".to_vec() });
    assert_eq!(outcome.validators, None);
}

#[test]
fn a_used_nonce_names_the_transaction_that_used_it() {
    let (kv, mut state) = (kv(), genesis(&kv()));
    let (first, second) = (put(&ALICE, 0, "k", "1"), put(&ALICE, 0, "k", "2"));
    execute(&kv, &mut state, 1, Mode::Apply, std::slice::from_ref(&first)).unwrap();
    let duplicate = Rejection::Duplicate { winner: id(&first) };
    assert_eq!(kv.check(&state, Timestamp(0), &second), Err(duplicate.clone()));
    assert_eq!(kv.check(&state, Timestamp(0), &first), Err(duplicate.clone()));
    let error = execute(&kv, &mut state.clone(), 2, Mode::Apply, std::slice::from_ref(&second)).unwrap_err();
    assert!(matches!(error, ExecuteError::Invalid { index: 0, rejection } if rejection == duplicate));
    let asked = json!({"signer": Put::signer(&ALICE), "nonce": 0});
    assert_eq!(ask(&state, "winner", asked), json!({"transaction_id": id(&first)}));
    let asked = json!({"signer": Put::signer(&ALICE), "nonce": 1});
    assert_eq!(ask(&state, "winner", asked), json!({"transaction_id": null}));
}

#[test]
fn the_pool_learns_sender_order_and_conflicts() {
    let (kv, mut state) = (kv(), genesis(&kv()));
    execute(&kv, &mut state, 1, Mode::Apply, &[put(&ALICE, 0, "k", "1")]).unwrap();
    let next = kv.check(&state, Timestamp(0), &put(&ALICE, 1, "k", "2")).unwrap();
    assert_eq!((next.sequence, next.next_sequence), (1, 1));
    assert_eq!(next.sender, Put::signer(&ALICE).as_bytes()[..]);
    let later = kv.check(&state, Timestamp(0), &put(&ALICE, 7, "k", "2")).unwrap();
    assert_eq!((later.sequence, later.next_sequence), (7, 1));
    // A rival has the place of the first, which is all that the pool needs to keep one of them.
    let rival = kv.check(&state, Timestamp(0), &put(&ALICE, 1, "other", "3")).unwrap();
    assert_eq!((rival.sender, rival.sequence), (next.sender, next.sequence));
    let foreign = kv.check(&state, Timestamp(0), &put(&BOB, 1, "k", "2")).unwrap();
    assert_eq!((foreign.sequence, foreign.sender == later.sender), (1, false));
}

#[test]
fn a_proposer_leaves_out_what_a_follower_would_refuse() {
    let kv = kv();
    let good = [put(&ALICE, 0, "a", "1"), put(&BOB, 0, "b", "1"), put(&ALICE, 1, "a", "2")];
    let candidates = [
        put(&ALICE, 1, "early", ""),
        good[0].clone(),
        put(&ALICE, 0, "again", ""),
        Bytes::from_static(b"\x01garbage"),
        good[1].clone(),
        good[2].clone(),
        put(&BOB, 9, "gap", ""),
    ];
    let mut built = genesis(&kv);
    let build = execute(&kv, &mut built, 1, Mode::Build, &candidates).unwrap();
    let reasons: Vec<_> = build.left_out.iter().map(|(at, why)| (*at, why.to_string())).collect();
    assert_eq!(reasons.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 2, 3, 6]);
    assert_eq!(reasons[0].1, "nonce is 1; the next of this signer is 0");
    assert_eq!(reasons[1].1, format!("duplicate of {}", id(&good[0])));
    assert_eq!(reasons[3].1, "nonce is 9; the next of this signer is 1");

    let mut applied = genesis(&kv);
    let apply = execute(&kv, &mut applied, 1, Mode::Apply, &good).unwrap();
    assert_eq!((apply.app_hash, &apply.receipts, &applied), (build.app_hash, &build.receipts, &built));
    assert!(apply.left_out.is_empty());
    let error = execute(&kv, &mut genesis(&kv), 1, Mode::Apply, &candidates[1..]).unwrap_err();
    assert!(matches!(error, ExecuteError::Invalid { index: 1, .. }), "{error}");
}

/// The documented formula, computed here anew.
#[test]
fn the_hash_is_the_documented_one_and_empty_blocks_keep_it() {
    let (kv, mut state) = (kv(), genesis(&kv()));
    let first_hash = Hash::of(&[b"quorate/kv/genesis/1\0", &[9; 32]]);
    let asked = |state: &MemoryState| ask(state, "app_hash", json!({}));
    assert_eq!(asked(&state), json!({"app_hash": first_hash}));
    assert_eq!(execute(&kv, &mut state, 1, Mode::Apply, &[]).unwrap().app_hash, first_hash);
    let block = [put(&ALICE, 0, "k", "1"), put(&BOB, 0, "k", "1")];
    let outcome = execute(&kv, &mut state, 2, Mode::Apply, &block).unwrap();
    let (first, second) = (Hash::of(&[&block[0]]), Hash::of(&[&block[1]]));
    let tag = b"quorate/kv/block/1\0";
    let expected = Hash::of(&[tag, first_hash.as_bytes(), &2u64.to_le_bytes(), first.as_bytes(), second.as_bytes()]);
    assert_eq!(outcome.app_hash, expected);
    assert_eq!(execute(&kv, &mut state, 3, Mode::Apply, &[]).unwrap().app_hash, expected);
    assert_eq!(asked(&state), json!({"app_hash": expected}));
    let mut other = genesis(&kv);
    let swapped = [block[1].clone(), block[0].clone()];
    assert_ne!(execute(&kv, &mut other, 2, Mode::Apply, &swapped).unwrap().app_hash, expected);
}

#[test]
fn signatures_of_another_chain_signer_or_content_are_refused_each_by_itself() {
    let good = put(&ALICE, 0, "k", "v");
    let foreign = Put::sign(&ALICE, &quorate::ChainId::new([8; 32]), 0, b"k", b"v");
    let mut stolen = Put::decode(&good).unwrap();
    stolen.public_key = Put::signer(&BOB);
    let mut changed = Put::decode(&good).unwrap();
    changed.value = Some(b"w".to_vec());
    let block = [good.clone(), foreign, stolen.encode(), changed.encode(), Bytes::from_static(b"x"), good];
    let verdicts = kv().verify(&NoState, &block);
    assert!(verdicts[0].is_ok() && verdicts[5].is_ok());
    for verdict in &verdicts[1..4] {
        assert!(matches!(verdict, Err(Rejection::NotAuthentic(_))), "{verdict:?}");
    }
    assert!(matches!(verdicts[4], Err(Rejection::Malformed(_))));
}

#[test]
fn the_networks_limit_of_a_value_holds() {
    let (kv, chain) = (Kv::new(CHAIN, 3), [put(&ALICE, 0, "k", "123"), put(&ALICE, 0, "k", "1234")]);
    let verdicts = kv.verify(&NoState, &chain);
    assert_eq!(verdicts[0], Ok(()));
    let message = verdicts[1].clone().unwrap_err().to_string();
    assert_eq!(message, "not a valid transaction: value has 4 bytes; this network's limit is 3");
    assert!(kv.check(&genesis(&kv), Timestamp(0), &chain[1]).is_err());
}

#[test]
fn lists_go_on_where_they_ended() {
    let (kv, mut state) = (kv(), genesis(&kv()));
    let keys: Vec<String> = (0..250).map(|n| format!("key/{n:03}")).collect();
    let mut block: Vec<Bytes> = (0..).zip(&keys).map(|(nonce, key)| put(&ALICE, nonce, key, key)).collect();
    block.push(Put::sign(&ALICE, &CHAIN, 250, &[0xff; 64], b"last"));
    block.push(put(&BOB, 0, "key/100", "not alice's"));
    execute(&kv, &mut state, 1, Mode::Apply, &block).unwrap();
    let (mut found, mut from, mut lists) = (Vec::new(), json!("0x"), 0);
    while !from.is_null() {
        let list = ask(&state, "list", json!({"signer": Put::signer(&ALICE), "from": from}));
        found.extend(list["entries"].as_array().unwrap().iter().map(|entry| entry["key"].as_str().unwrap().to_owned()));
        from = list["next"].clone();
        lists += 1;
    }
    let mut expected: Vec<String> = keys.iter().map(|key| hexadecimal(key)).collect();
    expected.push(format!("0x{}", "ff".repeat(64)));
    assert_eq!((found, lists), (expected, 3));
    let two = ask(&state, "list", json!({"signer": Put::signer(&ALICE), "from": hexadecimal("key/248x"), "limit": 1}));
    let entry = json!({"key": hexadecimal("key/249"), "value": hexadecimal("key/249"), "height": 1});
    assert_eq!(two, json!({"entries": [entry], "next": format!("0x{}", "ff".repeat(64))}));
}

#[test]
fn wrong_questions_get_a_reason() {
    let (kv, state) = (kv(), genesis(&kv()));
    let signer = Put::signer(&ALICE).to_string();
    let error = |path: &str, params: &str| kv.query(&state, path, params.as_bytes()).unwrap_err().to_string();
    assert_eq!(error("got", "{}"), "unknown query path `got`; known: get, list, nonce, winner, app_hash");
    assert!(error("get", "{}").contains("missing field `signer`"));
    assert!(error("nonce", &format!("{{\"signer\": \"{signer}\", \"x\": 1}}")).contains("unknown field `x`"));
    assert!(error("nonce", "{\"signer\": \"0x12\"}").contains("expected 64 hexadecimal digits"));
    assert!(
        error("list", &format!("{{\"signer\": \"{signer}\", \"limit\": 0}}"))
            .contains("limit is 0; it must be 1 to 100")
    );
    assert!(error("list", &format!("{{\"signer\": \"{signer}\", \"limit\": 101}}")).contains("limit is 101"));
    let long = format!("{{\"signer\": \"{signer}\", \"key\": \"0x{}\"}}", "00".repeat(65));
    assert!(error("get", &long).contains("key has 130 hexadecimal digits; the limit is 128"));
    assert!(error("get", &" ".repeat(5000)).contains("parameters have 5000 bytes; the limit is 4096"));
    assert!(error("get", &"[".repeat(4000)).contains("line 1"));
    assert!(matches!(kv.query(&MemoryState::new(), "app_hash", b""), Err(QueryError::State(_))));
    kv.query(&state, "app_hash", b"null").unwrap();
}
