//! The end of an election: closed by time, decrypted by any t trustees, derived and not asserted.

use quorate_ballot::{
    random::SystemDraw,
    record::{Body, Receipt},
    tally::{self, ShareOf},
};
use serde_json::json;

use crate::chain::{CLOSES, Opened, People, cast, decoded, hex, id, secret, signed};

fn voted() -> Opened {
    let mut opened = People::new(5).up_to_voting();
    for (voter, choice) in [(0, 0), (1, 1), (2, 1), (3, 2)] {
        let ballot = opened.ballot(voter, choice);
        opened.chain.good(&cast(&ballot));
    }
    opened
}

#[test]
fn nobody_closes_before_the_date_and_anybody_after_it() {
    let mut opened = voted();
    let close = Body::Close { eid: opened.key().eid }.unsigned().encode();
    opened.chain.now = CLOSES;
    opened.chain.bad(&close, "V26 close.early");
    let Receipt::Close { ballots, is_void, tally, .. } = opened.close() else { panic!() };
    assert_eq!((ballots, is_void), (4, false));
    assert_eq!(opened.tally().1, tally);
    opened.chain.bad(&close, "V26 close.twice");
    let late = opened.ballot(4, 0);
    opened.chain.bad(&cast(&late), "V20 ballot.late");
}

#[test]
fn any_two_trustees_give_the_same_result() {
    let mut opened = voted();
    opened.chain.bad(
        &signed(
            Body::Share { eid: opened.key().eid, tally: [1; 32], trustee: 1, parts: vec![] },
            &opened.people.trustees[0],
        ),
        "V27 share.early",
    );
    opened.close();
    let right = vec![1, 2, 1, 0, 0, 0, 0];
    for (first, second) in [(1, 2), (1, 3), (2, 3), (3, 1)] {
        let mut chain = opened.chain.clone();
        let receipt = chain.good(&opened.share(first));
        let eid = opened.key().eid;
        assert_eq!(receipt, Receipt::Share { eid, trustee: first, is_valid: true, result: vec![] });
        assert_eq!(chain.query("election", &json!({ "id": hex(&eid) }))["result"], json!(null));
        let receipt = chain.good(&opened.share(second));
        assert_eq!(receipt, Receipt::Share { eid, trustee: second, is_valid: true, result: right.clone() });
        let shown = chain.query("election", &json!({ "id": hex(&eid) }));
        assert_eq!((&shown["result"], &shown["state"]), (&json!([[1, 2, 1], [0, 0, 0, 0]]), &json!("decided")));
        chain.bad(&opened.share(second), "V27 share.twice");
        // The third may still show that it agrees.
        let third = 6 - first - second;
        let receipt = chain.good(&opened.share(third));
        assert_eq!(receipt, Receipt::Share { eid, trustee: third, is_valid: true, result: vec![] });
    }
}

#[test]
fn a_wrong_share_is_kept_as_evidence_and_blocks_nothing() {
    let mut opened = voted();
    opened.close();
    let eid = opened.key().eid;
    let mut evidence = Vec::new();
    for _ in 0..4 {
        let wrong = opened.share_of(1, &secret());
        let receipt = opened.chain.good(&wrong);
        assert_eq!(receipt, Receipt::Share { eid, trustee: 1, is_valid: false, result: vec![] });
        evidence.push(id(&wrong).to_string());
    }
    opened.chain.bad(&opened.share_of(1, &secret()).clone(), "V28 share.evidence");
    let shown = opened.chain.query("shares", &json!({ "id": hex(&eid) }));
    assert_eq!((&shown["shares"][0]["evidence"], &shown["shares"][0]["parts"]), (&json!(evidence), &json!(null)));
    opened.chain.good(&opened.share(2).clone());
    let Receipt::Share { result, .. } = opened.chain.good(&opened.share(3).clone()) else { panic!() };
    assert_eq!(result, [1, 2, 1, 0, 0, 0, 0]);
}

#[test]
fn a_share_is_of_this_tally_and_of_its_trustee() {
    let mut opened = voted();
    let before = opened.chain.clone();
    opened.close();
    let (sums, tally) = opened.tally();
    let eid = opened.key().eid;
    // A second tally with one ballot more: there is one th an election, so nobody can be asked to decrypt the difference.
    let of = ShareOf { eid, tally: [9; 32], trustee: 1 };
    let parts = tally::decrypt(&of, &opened.people.rules(), &sums, &opened.shares[0], &mut SystemDraw).unwrap();
    let asked = Body::Share { eid, tally: [9; 32], trustee: 1, parts: parts.clone() };
    opened.chain.bad(&signed(asked, &opened.people.trustees[0]), "V27 share.th");
    // Its proofs bind that other th: under the right one they are wrong.
    let moved = Body::Share { eid, tally, trustee: 1, parts };
    let moved = signed(moved, &opened.people.trustees[0]);
    let receipt = opened.chain.clone().good(&moved);
    assert_eq!(receipt, Receipt::Share { eid, trustee: 1, is_valid: false, result: vec![] });
    // Of another trustee, or signed by another.
    let Body::Share { parts, .. } = decoded(&opened.share(2)).body else { panic!() };
    let body = |trustee, parts: &Vec<_>| Body::Share { eid, tally, trustee, parts: parts.clone() };
    opened.chain.bad(&signed(body(2, &parts), &opened.people.trustees[0]), "V3 signature");
    let receipt = opened.chain.clone().good(&signed(body(1, &parts), &opened.people.trustees[0]));
    assert_eq!(receipt, Receipt::Share { eid, trustee: 1, is_valid: false, result: vec![] });
    let fewer = parts[1..].to_vec();
    opened.chain.bad(&signed(body(2, &fewer), &opened.people.trustees[1]), "V27 share.count");
    drop(before);
}

#[test]
fn too_few_ballots_are_not_decrypted() {
    let mut people = People::new(3);
    people.draft.ballots_min = 2;
    let mut opened = people.up_to_voting();
    let ballot = opened.ballot(0, 0);
    opened.chain.good(&cast(&ballot));
    let Receipt::Close { ballots: 1, is_void: true, .. } = opened.close() else { panic!() };
    opened.chain.bad(&opened.share(1).clone(), "V27 share.void");
    assert_eq!(opened.chain.query("election", &json!({ "id": hex(&opened.key().eid) }))["state"], json!("void"));
}
