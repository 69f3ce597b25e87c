//! Transactions and queries of the key-value application.

use std::borrow::Cow;

use quorate::{
    Application, Bytes, ChainId, Height, Timestamp,
    application::{BlockContext, Mode, NoState},
};
use quorate_kv::{Kv, PATHS, Put};
use quorate_testkit::memory::MemoryState;

use super::{Outcome, Taken, must};

const CHAIN: ChainId = ChainId::new([9; 32]);
const SEED: [u8; 32] = [1; 32];

fn executed(kv: &Kv, state: &mut MemoryState, transactions: &[Bytes]) -> Result<usize, String> {
    let block = BlockContext {
        chain_id: CHAIN,
        height: Height(1),
        time: Timestamp(1),
        mode: Mode::Build,
        transactions: Cow::Borrowed(transactions),
        misbehaviour: &[],
    };
    let outcome = kv.execute(state, &block).map_err(|error| format!("building fails: {error}"))?;
    must(outcome.receipts.len() + outcome.left_out.len() == transactions.len(), "a transaction is unaccounted for")?;
    Ok(outcome.receipts.len())
}

pub(super) fn transaction_seeds() -> Vec<Vec<u8>> {
    vec![
        Put::sign(&SEED, &CHAIN, 0, b"key", b"value").into(),
        Put::sign(&SEED, &CHAIN, 1, &[7; 64], &[8; 1024]).into(),
        Put::sign_delete(&SEED, &CHAIN, 0, b"key").into(),
    ]
}

pub(super) fn transaction(bytes: &[u8]) -> Outcome {
    let bytes = Bytes::copy_from_slice(bytes);
    let (kv, mut state) = (Kv::new(CHAIN, 512), MemoryState::new());
    kv.genesis(&mut state).map_err(|error| error.to_string())?;
    let verified = kv.verify(&NoState, std::slice::from_ref(&bytes));
    must(verified.len() == 1, "not one verdict for one transaction")?;
    let verified = verified.iter().all(Result::is_ok);
    let checked = kv.check(&state, Timestamp(0), &bytes);
    let kept = executed(&kv, &mut state, std::slice::from_ref(&bytes))?;
    match Put::decode(&bytes) {
        Ok(put) => {
            must(put.encode() == bytes, "two encodings of one transaction")?;
            let signed = put.public_key.verifies(&put.signed_bytes(&CHAIN), &put.signature);
            let short = put.value.as_ref().is_none_or(|value| value.len() <= 512);
            must(verified == (signed && short), "verified without signature, or not with one")?;
            must(checked.is_ok() == short, "check has another opinion of what is well-formed")?;
            must((kept == 1) == (short && put.nonce == 0), "executed out of order, or not in order")?;
            Ok(Taken::Yes)
        }
        Err(_) => {
            must(!verified && checked.is_err() && kept == 0, "accepted though malformed")?;
            Ok(Taken::No)
        }
    }
}

pub(super) fn query_seeds() -> Vec<Vec<u8>> {
    let signer = Put::signer(&SEED);
    vec![
        format!("{{\"signer\":\"{signer}\",\"key\":\"0x6b6579\"}}").into(),
        format!("{{\"signer\":\"{signer}\",\"from\":\"0x\",\"limit\":3}}").into(),
        format!("{{\"signer\":\"{signer}\",\"nonce\":0}}").into(),
        format!("{{\"signer\":\"{signer}\"}}").into(),
        b"{}".to_vec(),
        Vec::new(),
    ]
}

pub(super) fn query(bytes: &[u8]) -> Outcome {
    let (kv, mut state) = (Kv::new(CHAIN, 512), MemoryState::new());
    kv.genesis(&mut state).map_err(|error| error.to_string())?;
    executed(&kv, &mut state, &[Put::sign(&SEED, &CHAIN, 0, b"key", b"value")])?;
    let mut outcome = Taken::No;
    for path in PATHS.split(", ").chain([&*String::from_utf8_lossy(bytes)]) {
        match kv.query(&state, path, bytes) {
            Ok(answer) => {
                must(serde_json::from_slice::<serde_json::Value>(&answer).is_ok(), "the answer is not JSON")?;
                outcome = Taken::Yes;
            }
            Err(error) => must(error.to_string().len() < 1000, "a long-winded error")?,
        }
    }
    Ok(outcome)
}
