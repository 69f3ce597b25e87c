//! Ballots and the transactions of elections.

use std::borrow::Cow;

use quorate::{
    Application as _, Bytes, ChainId, Height, Timestamp,
    application::{BlockContext, Mode},
};
use quorate_ballot::{
    ballot::{self, Ballot},
    contest::{Contest, Rules},
    group::{Element, Scalar, SecretScalar},
    random::VectorDraw,
    record::{Body, ContestText, Draft, Entry, Officers, Seat, SharePart, Transaction},
};
use quorate_testkit::memory::MemoryState;
use quorate_voting::Voting;
use serde_json::Value;

use super::{Outcome, Taken, must};

const CHAIN: ChainId = ChainId::new([9; 32]);

fn secret() -> Option<SecretScalar> {
    SecretScalar::new(Scalar::from(7u8))
}

fn ballots() -> Vec<Vec<u8>> {
    let vectors: Value =
        serde_json::from_str(include_str!("../../../ballot/vectors/voting-v1.json")).unwrap_or_default();
    let list = vectors.get("ballots").and_then(Value::as_array).cloned().unwrap_or_default();
    list.iter().filter_map(|one| hex::decode(one.as_str()?).ok()).collect()
}

/// The rules of the vectors' ballots.
fn rules() -> Option<Rules> {
    Rules::new(vec![Contest::new(3, 1, 1).ok()?, Contest::new(4, 0, 2).ok()?]).ok()
}

pub(super) fn ballot_seeds() -> Vec<Vec<u8>> {
    ballots()
}

pub(super) fn ballot(bytes: &[u8]) -> Outcome {
    let Some(rules) = rules() else { return Err("the rules are none".into()) };
    match Ballot::decode(bytes, &rules) {
        Ok(read) => {
            let (tracker, pairs) = ballot::read_votes(bytes, &rules).map_err(|error| error.to_string())?;
            must(tracker == *read.tracker() && pairs.iter().eq(read.pairs()), "two readings of one ballot")?;
            must(bytes.len() == rules.ballot_bytes(), "a ballot of another length")?;
            let signed = ballot::verify_signature(bytes, &rules).is_ok();
            must(
                signed == ballots().iter().any(|good| good == bytes),
                "a changed ballot is signed, or a good one is not",
            )?;
            Ok(Taken::Yes)
        }
        Err(error) => {
            must(!error.to_string().is_empty() && !error.word().is_empty(), "refused without words")?;
            Ok(Taken::No)
        }
    }
}

fn draft(key: Element) -> Option<Draft> {
    let officers = |needed| Officers { keys: vec![key], needed };
    Some(Draft {
        chain_id: *CHAIN.as_bytes(),
        title: "title".into(),
        contests: vec![ContestText {
            contest: Contest::new(2, 1, 1).ok()?,
            title: "contest".into(),
            options: vec!["yes".into(), "no".into()],
        }],
        opens_ms: 5,
        closes_ms: 10,
        admin: key,
        registrars: officers(1),
        trustees: officers(1),
        ballots_min: 1,
        nonce: [0; 32],
    })
}

pub(super) fn transaction_seeds() -> Vec<Vec<u8>> {
    let made = || {
        let (secret, draw) = (secret()?, &mut VectorDraw::new(b"fuzz"));
        let (key, id) = (secret.public(), [3; 32]);
        let seat = Seat { draft: id, attempt: 0, trustee: 1 };
        let part = SharePart { d: key, c: Scalar::ONE, z: Scalar::ONE };
        let signed = [
            Body::Draft(Box::new(draft(key)?)),
            Body::Entries { draft: id, registrar: 1, first: 0, entries: vec![Entry { key, pseudonym: [4; 32] }] },
            Body::Commitment { seat, commitment: [5; 32] },
            Body::Ack { seat, transcript: [6; 32] },
            Body::Complaint { seat, dealer: 2, shared: key, c: Scalar::ONE, z: Scalar::ONE },
            Body::Restart { draft: id, attempt: 1 },
            Body::Open { draft: id, eid: [7; 32] },
            Body::Share { eid: id, tally: [8; 32], trustee: 1, parts: vec![part; 3] },
        ];
        let mut all: Vec<Vec<u8>> =
            signed.into_iter().map(|body| Some(body.sign(&secret, draw).ok()?.encode())).collect::<Option<_>>()?;
        all.push(Body::Close { eid: id }.unsigned().encode());
        all.push(
            Body::List { draft: id, registrar: 1, count: 1, root: [9; 32], signatures: vec![] }.unsigned().encode(),
        );
        all.extend(ballots().into_iter().map(|ballot| Body::Ballot(ballot).unsigned().encode()));
        Some(all)
    };
    made().unwrap_or_default()
}

/// What a node does with a transaction from anybody: nothing panics, all refuse together or with words.
pub(super) fn transaction(bytes: &[u8]) -> Outcome {
    let Some(key) = secret().map(|secret| secret.public()) else { return Err("no key".into()) };
    let voting = Voting::new(CHAIN, vec![key]);
    let mut state = MemoryState::genesis(&voting).map_err(|error| error.to_string())?;
    let one = Bytes::copy_from_slice(bytes);
    let verdict = voting.verify(&state, std::slice::from_ref(&one));
    let checked = voting.check(&state, Timestamp(1), &one);
    let block = BlockContext {
        chain_id: CHAIN,
        height: Height(1),
        time: Timestamp(1),
        mode: Mode::Build,
        transactions: Cow::Borrowed(std::slice::from_ref(&one)),
        misbehaviour: &[],
    };
    let outcome = voting.execute(&mut state, &block).map_err(|error| format!("building fails: {error}"))?;
    must(verdict.len() == 1, "not one verdict for one transaction")?;
    must(checked.is_ok() == outcome.left_out.is_empty(), "the pool and a block differ")?;
    match Transaction::decode(bytes) {
        Ok(read) => {
            must(read.encode() == bytes, "two encodings of one transaction")?;
            Ok(Taken::Yes)
        }
        Err(error) => {
            must(!error.to_string().is_empty(), "refused without words")?;
            must(checked.is_err() && verdict.iter().all(Result::is_err), "accepted though malformed")?;
            Ok(Taken::No)
        }
    }
}
