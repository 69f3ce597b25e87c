//! The rule by which signatures are accepted, at its edges: single checks and batches say the same, and what ZIP 215 says.
//!
//! `vectors/generate.py` made the vectors from the definition of the curve.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use quorate::{
    PublicKey, Signature,
    signature::{BATCH_MAX, Memo, Signed, verify_batch},
};
use serde::Deserialize;

#[derive(Deserialize)]
struct File {
    signatures: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    public_key: PublicKey,
    message: String,
    signature: Signature,
    valid: bool,
}

struct Case {
    name: String,
    key: PublicKey,
    message: Vec<u8>,
    signature: Signature,
    valid: bool,
}

impl Case {
    fn signed(&self) -> Signed<'_> {
        Signed { key: self.key, message: &self.message, signature: self.signature }
    }
}

fn cases() -> Vec<Case> {
    let file: File = serde_json::from_str(include_str!("../vectors/signatures.json")).unwrap();
    let read = |vector: Vector| Case {
        name: vector.name,
        key: vector.public_key,
        message: hex::decode(vector.message.strip_prefix("0x").unwrap()).unwrap(),
        signature: vector.signature,
        valid: vector.valid,
    };
    file.signatures.into_iter().map(read).collect()
}

#[test]
fn a_single_check_follows_zip_215() {
    let cases = cases();
    assert_eq!(cases.len(), 196 + 36);
    for case in &cases {
        assert_eq!(case.key.verifies(&case.message, &case.signature), case.valid, "{}", case.name);
    }
}

#[test]
fn a_batch_accepts_what_single_checks_accept() {
    let cases = cases();
    let expected: Vec<bool> = cases.iter().map(|case| case.valid).collect();
    let all: Vec<Signed<'_>> = cases.iter().map(Case::signed).collect();
    assert_eq!(verify_batch(&all), expected);
    // All good: one equation decides for the whole chunk.
    let good: Vec<Signed<'_>> = cases.iter().filter(|case| case.valid).map(Case::signed).collect();
    assert!(good.len() > 200 && verify_batch(&good).iter().all(|good| *good));
    // Every pair of neighbours, and every case in the company of good ones.
    for (pair, expected) in all.windows(2).zip(expected.windows(2)) {
        assert_eq!(verify_batch(pair), expected);
    }
    for (case, one) in cases.iter().zip(&all) {
        let mut batch: Vec<Signed<'_>> = good.iter().take(10).copied().collect();
        batch.insert(5, *one);
        let verdicts = verify_batch(&batch);
        assert!((0..).zip(verdicts).all(|(at, good)| good == (at != 5 || case.valid)), "{}", case.name);
    }
}

#[test]
fn one_bad_signature_among_chunks_spoils_no_other() {
    let cases = cases();
    let good = cases.iter().find(|case| case.valid && case.name == "an ordinary signature").unwrap();
    let bad = cases.iter().find(|case| !case.valid).unwrap();
    for at in [0, 1, BATCH_MAX - 1, BATCH_MAX, BATCH_MAX + 1, 2 * BATCH_MAX] {
        let mut batch = vec![good.signed(); 2 * BATCH_MAX + 1];
        batch.splice(at..=at, [bad.signed()]);
        let wrong: Vec<usize> = (0..).zip(verify_batch(&batch)).filter(|(_, good)| !good).map(|(at, _)| at).collect();
        assert_eq!(wrong, [at]);
    }
    assert!(verify_batch(&[]).is_empty());
}

/// What is remembered changes no answer, and what was made with the key is taken as good without being computed.
#[test]
fn remembering_changes_no_answer() {
    let cases = cases();
    let items: Vec<Signed<'_>> = cases.iter().map(Case::signed).collect();
    let memo = Memo::start();
    for _ in 0..2 {
        for case in &cases {
            assert_eq!(case.key.verifies(&case.message, &case.signature), case.valid, "{}", case.name);
        }
        let together = verify_batch(&items);
        assert_eq!(together, cases.iter().map(|case| case.valid).collect::<Vec<_>>());
    }
    let made = Signed { key: PublicKey::new([1; 32]), message: b"made", signature: Signature::new([2; 64]) };
    assert!(!made.key.verifies(made.message, &made.signature));
    memo.made(&made);
    assert!(made.key.verifies(made.message, &made.signature));
    assert!(verify_batch(&[made, made]).into_iter().all(|good| good));
    drop(memo);
    assert!(!made.key.verifies(made.message, &made.signature), "nothing is known when it is over");
}
