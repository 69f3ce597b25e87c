//! Drafts, openings, restarts: what the election admin may do, and when.

use quorate_ballot::record::{Body, Receipt};
use serde_json::json;

use crate::chain::{CLOSES, Chain, OPENS, People, decoded, hex, secret, signed};

#[test]
fn a_draft_is_the_admins_and_of_this_chain() {
    let people = People::new(2);
    let mut chain = people.chain();
    let transaction = people.draft_transaction();
    assert_eq!(chain.good(&transaction), Receipt::Draft { draft: people.id() });
    chain.bad(&transaction, "V8 draft.known");

    let stranger = secret();
    let mut draft = people.draft.clone();
    draft.nonce = [2; 32];
    chain.bad(&signed(Body::Draft(Box::new(draft.clone())), &stranger), "V3 signature");
    draft.admin = stranger.public();
    chain.bad(&signed(Body::Draft(Box::new(draft.clone())), &stranger), "V6 draft.admin");
    draft.admin = people.admin.public();
    draft.chain_id = [9; 32];
    chain.bad(&signed(Body::Draft(Box::new(draft.clone())), &people.admin), "V5 draft.chain");
    draft.chain_id = people.draft.chain_id;
    chain.now = CLOSES;
    chain.bad(&signed(Body::Draft(Box::new(draft.clone())), &people.admin), "V7 draft.late");
    chain.now = CLOSES - 1;
    chain.good(&signed(Body::Draft(Box::new(draft)), &people.admin));
}

#[test]
fn a_draft_that_breaks_a_rule_is_no_draft() {
    let people = People::new(2);
    let mut chain = people.chain();
    let mut bad = |change: &dyn Fn(&mut quorate_ballot::record::Draft)| {
        let mut draft = people.draft.clone();
        change(&mut draft);
        chain.bad(&signed(Body::Draft(Box::new(draft)), &people.admin), "V4 draft.invalid");
    };
    bad(&|draft| draft.title = String::new());
    bad(&|draft| draft.title = "x".repeat(257));
    bad(&|draft| draft.closes_ms = draft.opens_ms);
    bad(&|draft| draft.contests.clear());
    bad(&|draft| draft.contests = vec![draft.contests[0].clone(); 17]);
    bad(&|draft| draft.contests[0].options[1] = draft.contests[0].options[0].clone());
    bad(&|draft| draft.registrars.keys.reverse());
    bad(&|draft| draft.registrars.needed = 4);
    bad(&|draft| draft.trustees.needed = 0);
    bad(&|draft| draft.trustees.keys[1] = draft.trustees.keys[0]);
    bad(&|draft| draft.ballots_min = 0);
}

#[test]
fn it_opens_when_list_and_key_are_there_and_only_once() {
    let people = People::new(3);
    let mut chain = people.chain();
    let open = |eid| signed(Body::Open { draft: people.id(), eid }, &people.admin);
    chain.bad(&open([1; 32]), "V2 draft.unknown");
    chain.good(&people.draft_transaction());
    chain.bad(&open([1; 32]), "V19 open.early");
    people.enrol(&mut chain);
    chain.bad(&open([1; 32]), "V19 open.early");
    people.ceremony(&mut chain, 0);
    chain.bad(&open([1; 32]), "V19 open.eid");
    let manifest = people.manifest(&chain);
    let eid = manifest.eid();
    chain.bad(&signed(Body::Open { draft: people.id(), eid }, &people.registrars[0]), "V3 signature");

    let mut late = chain.clone();
    late.now = CLOSES;
    late.bad(&open(eid), "V19 open.late");
    assert_eq!(chain.good(&open(eid)), Receipt::Open { draft: people.id(), eid });
    chain.bad(&open(eid), "V19 open.twice");
    // What was opened does not change any more.
    chain.bad(&people.entries_transaction(1, 0, &people.entries), "V9 list.sealed");
    chain.bad(&signed(Body::Restart { draft: people.id(), attempt: 0 }, &people.admin), "V13 ceremony.over");

    let shown = chain.query("election", &json!({ "id": hex(&people.id()) }));
    assert_eq!((shown["state"].as_str(), shown["eid"].as_str()), (Some("manifest"), Some(hex(&eid).as_str())));
    assert_eq!(shown["manifest"], json!(hex(&manifest.encode())));
    let list = chain.query("elections", &json!({}));
    assert_eq!(list["elections"][0]["title"], json!(people.draft.title));
}

#[test]
fn two_elections_on_one_chain_do_not_disturb_each_other() {
    let first = People::new(2);
    let mut second = People::new(2);
    second.admin = first.admin.clone();
    second.draft.admin = first.admin.public();
    let mut chain = Chain::new(&first.admin);
    for people in [&first, &second] {
        chain.good(&people.draft_transaction());
    }
    for people in [&second, &first] {
        people.enrol(&mut chain);
    }
    for people in [&first, &second] {
        people.ceremony(&mut chain, 0);
    }
    let (one, two) = (first.open(&mut chain), second.open(&mut chain));
    assert_ne!(one.eid(), two.eid());
    chain.now = OPENS;
    assert_eq!(chain.query("elections", &json!({ "limit": 1 }))["next"], json!(1));
    assert_eq!(chain.query("elections", &json!({ "from": 1 }))["next"], json!(null));
}

#[test]
fn a_transaction_is_exactly_its_bytes() {
    let people = People::new(2);
    let mut chain = people.chain();
    let good = people.draft_transaction();
    assert_eq!(decoded(&good).encode(), good);
    for len in 0..good.len() {
        assert!(chain.submit(&good[..len]).is_err(), "cut to {len} bytes");
    }
    chain.bad(&[good.as_slice(), b"x"].concat(), "V4 draft.invalid");
    chain.bad(&[0], "V1 parse");
    chain.bad(&[13; 40], "V1 parse");
    chain.bad(&vec![2; 200_000], "V1 parse");
}
