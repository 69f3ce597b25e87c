//! The trustees' key: committed, revealed, acknowledged, or complained about.

use quorate_ballot::{
    dkg::{self, Accusation, Dealer, Parties, Revealed},
    group::{Scalar, SecretScalar},
    random::SystemDraw,
    record::{Body, Kind, Receipt, SEALED_BYTES},
};
use serde_json::json;

use crate::chain::{Chain, People, hex, signed};

fn dealers() -> Vec<Dealer> {
    (0..3).map(|_| Dealer::generate(2, &mut SystemDraw).unwrap()).collect()
}

/// All have committed.
fn committed(people: &People) -> (Chain, Vec<Dealer>, Vec<Revealed>) {
    let mut chain = people.chain();
    chain.good(&people.draft_transaction());
    let dealers = dealers();
    for (trustee, dealer) in (1..).zip(&dealers) {
        chain.good(&people.commitment(0, trustee, dealer));
    }
    let reveals = (1..).zip(&dealers).map(|(trustee, dealer)| people.revealed(0, trustee, dealer)).collect();
    (chain, dealers, reveals)
}

#[test]
fn nobody_reveals_before_all_have_committed() {
    let people = People::new(2);
    let mut chain = people.chain();
    chain.good(&people.draft_transaction());
    let dealers = dealers();
    chain.good(&people.commitment(0, 1, &dealers[0]));
    chain.bad(&people.commitment(0, 1, &dealers[1]), "V14 ceremony.twice");
    chain.bad(&people.commitment(1, 2, &dealers[1]), "V13 ceremony.attempt");
    chain.good(&people.commitment(0, 2, &dealers[1]));
    chain.bad(&people.reveal(0, 1, &people.revealed(0, 1, &dealers[0])), "V15 reveal.early");
    let seat = people.seat(0, 4);
    chain.bad(&signed(Body::Commitment { seat, commitment: [1; 32] }, &people.admin), "V14 ceremony.trustee");
    let seat = people.seat(0, 3);
    chain.bad(&signed(Body::Commitment { seat, commitment: [1; 32] }, &people.admin), "V3 signature");
}

#[test]
fn what_is_revealed_was_committed_to_and_is_known() {
    let people = People::new(2);
    let (mut chain, dealers, reveals) = committed(&people);
    // A rogue key: another polynomial than the one committed to, chosen after the others' were seen.
    let other = Dealer::generate(2, &mut SystemDraw).unwrap();
    chain.bad(&people.reveal(0, 3, &people.revealed(0, 3, &other)), "V15 reveal.commitment");
    let foreign = Revealed { proof: reveals[1].proof, ..reveals[2].clone() };
    chain.bad(&people.reveal(0, 3, &foreign), "V15 reveal.proof");
    let mut short = reveals[2].clone();
    short.sealed.pop();
    chain.bad(&people.reveal(0, 3, &short), "V15 reveal.count");
    let mut rubbish = reveals[2].clone();
    rubbish.sealed[0] = [0; SEALED_BYTES];
    chain.bad(&people.reveal(0, 3, &rubbish), "V15 reveal.sealed");
    chain.bad(&people.ack(0, 1, [1; 32]), "V16 ack.early");
    for (trustee, revealed) in (1..).zip(&reveals) {
        chain.good(&people.reveal(0, trustee, revealed));
        chain.bad(&people.reveal(0, trustee, revealed), "V14 ceremony.twice");
    }
    chain.bad(&people.ack(0, 1, [1; 32]), "V16 ack.transcript");
    let transcript = dkg::transcript(&people.cid(0), &reveals);
    let receipt = chain.good(&people.ack(0, 1, transcript));
    assert_eq!(receipt, Receipt::Step { kind: Kind::Ack, seat: people.seat(0, 1), count: 1 });
    chain.bad(&people.ack(0, 1, transcript), "V14 ceremony.twice");
    let shown = chain.query("ceremony", &json!({ "id": hex(&people.id()) }));
    assert_eq!(shown["trustees"][0]["ack"], json!(hex(&transcript)));
    drop(dealers);
}

#[test]
fn the_joint_key_can_not_be_the_identity() {
    let people = People::new(2);
    let mut chain = people.chain();
    chain.good(&people.draft_transaction());
    // Three who work together: their first coefficients cancel.
    let mut dealers = dealers();
    let [a, b] = [0, 1].map(|at: usize| *dealers[at].coefficients()[0].expose());
    let cancel = SecretScalar::new(-(a + b)).unwrap();
    dealers[2] = Dealer::from_coefficients(vec![cancel, SecretScalar::new(Scalar::ONE).unwrap()]);
    for (trustee, dealer) in (1..).zip(&dealers) {
        chain.good(&people.commitment(0, trustee, dealer));
    }
    for trustee in 1..=2 {
        chain.good(&people.reveal(0, trustee, &people.revealed(0, trustee, &dealers[usize::from(trustee) - 1])));
    }
    chain.bad(&people.reveal(0, 3, &people.revealed(0, 3, &dealers[2])), "V15 reveal.identity");
}

/// Trustee 1 complains about trustee 2.
fn complaint(people: &People, revealed: &Revealed, attempt: u32) -> Vec<u8> {
    let parties = Parties { cid: people.cid(attempt), dealer: 2, receiver: 1 };
    let accusation = dkg::accuse(&parties, &people.trustees[0], &revealed.sealed[0], &mut SystemDraw).unwrap();
    complaint_with(people, attempt, &accusation)
}

fn complaint_with(people: &People, attempt: u32, accusation: &Accusation) -> Vec<u8> {
    let Accusation { shared, c, z } = *accusation;
    let body = Body::Complaint { seat: people.seat(attempt, 1), dealer: 2, shared, c, z };
    signed(body, &people.trustees[0])
}

#[test]
fn a_wrong_share_ends_the_attempt_and_a_false_complaint_does_not() {
    let people = People::new(2);
    let (mut chain, dealers, mut reveals) = committed(&people);
    chain.good(&people.reveal(0, 1, &reveals[0]));
    chain.bad(&complaint(&people, &reveals[1], 0), "V17 complaint.early");
    let mut honest = chain.clone();
    honest.good(&people.reveal(0, 2, &reveals[1]));
    honest.bad(&complaint(&people, &reveals[1], 0), "V17 complaint.false");
    // A made-up shared point opens nothing, whatever the share is.
    let parties = Parties { cid: people.cid(0), dealer: 2, receiver: 1 };
    let good = dkg::accuse(&parties, &people.trustees[0], &reveals[1].sealed[0], &mut SystemDraw).unwrap();
    let forged = Accusation { shared: people.trustees[1].public(), ..good };
    honest.bad(&complaint_with(&people, 0, &forged), "V17 complaint.proof");

    // Trustee 2 sends trustee 1 what is no value of its polynomial.
    let wrong = dealers[1].share(3);
    let key = people.trustees[0].public();
    reveals[1].sealed[0] = dkg::seal(&parties, &key, &wrong, &mut SystemDraw).unwrap();
    chain.good(&people.reveal(0, 2, &reveals[1]));
    assert!(dkg::open(&parties, &people.trustees[0], &reveals[1].coefficients, &reveals[1].sealed[0]).is_err());
    let receipt = chain.good(&complaint(&people, &reveals[1], 0));
    assert_eq!(receipt, Receipt::Again { kind: Kind::Complaint, draft: people.id(), attempt: 1 });
    chain.bad(&people.reveal(0, 3, &reveals[2]), "V13 ceremony.attempt");
    let shown = chain.query("ceremony", &json!({ "id": hex(&people.id()) }));
    assert_eq!(shown["ended"], json!([{ "complaint_of": 1, "about": 2 }]));
    // What was sent in the first attempt does not fit the second, whose id differs.
    people.ceremony(&mut chain, 1);
}

#[test]
fn a_share_that_does_not_open_is_a_complaint_too() {
    let people = People::new(2);
    let (mut chain, _, mut reveals) = committed(&people);
    reveals[1].sealed[0][70] ^= 1;
    chain.good(&people.reveal(0, 2, &reveals[1]));
    chain.good(&complaint(&people, &reveals[1], 0));
}

/// A complaint about it would open what another dealer sent.
#[test]
fn nobody_reveals_a_share_behind_the_element_of_another() {
    let people = People::new(2);
    let (mut chain, _, reveals) = committed(&people);
    chain.good(&people.reveal(0, 1, &reveals[0]));
    let mut stolen = reveals[2].clone();
    stolen.sealed[1] = reveals[0].sealed[1];
    chain.bad(&people.reveal(0, 3, &stolen), "V15 reveal.sealed");
    let mut element = reveals[2].clone();
    element.sealed[1][..32].copy_from_slice(&reveals[0].sealed[1][..32]);
    chain.bad(&people.reveal(0, 3, &element), "V15 reveal.sealed");
    chain.good(&people.reveal(0, 3, &reveals[2]));
}

#[test]
fn the_admin_begins_anew_when_a_trustee_is_silent() {
    let people = People::new(2);
    let (mut chain, _, _) = committed(&people);
    let restart = |attempt| signed(Body::Restart { draft: people.id(), attempt }, &people.admin);
    chain.bad(&restart(1), "V13 ceremony.attempt");
    chain.bad(&signed(Body::Restart { draft: people.id(), attempt: 0 }, &people.trustees[0]), "V3 signature");
    chain.good(&restart(0));
    chain.bad(&restart(0), "V13 ceremony.attempt");
    people.ceremony(&mut chain, 1);
    chain.bad(&restart(1), "V13 ceremony.over");
}
