//! The waits of `byzantine-sync`, each of which a schedule of an earlier draft showed to be needed. Delta is 100 ms here.

use quorate::{
    Round,
    consensus::{Action, CommitBy},
};
use quorate_poa::{KIND_COMMIT, KIND_PREPARE, KIND_PROPOSAL, Message, VoteKind};

use crate::one::One;

const MODEL: &str = "byzantine-sync";

/// A validator whose wait after its start is over.
fn settled(me: usize) -> One {
    let mut one = One::new(me, 3, MODEL);
    one.wait(201);
    one.forget();
    one
}

#[test]
fn a_proposal_is_relayed_at_once_and_prepared_delta_later() {
    let mut one = settled(0);
    let block = one.block(0, 1);
    one.propose(0, &block, None, None);
    assert!(one.sent().iter().any(|message| matches!(message, Message::Proposal(_))), "relayed");
    one.wait(99);
    assert!(one.asked(KIND_PREPARE).is_empty());
    one.wait(2);
    assert_eq!(one.asked(KIND_PREPARE).len(), 1);
}

#[test]
fn a_second_proposal_within_delta_is_relayed_and_neither_is_prepared() {
    let mut one = settled(0);
    let (block, other) = (one.block(0, 1), one.block(0, 2));
    one.propose(0, &block, None, None);
    one.wait(50);
    one.propose(0, &other, None, None);
    let third = one.block(0, 3);
    one.propose(0, &third, None, None);
    let relayed = one.sent().iter().filter(|message| matches!(message, Message::Proposal(_))).count();
    assert_eq!(relayed, 2, "two at most");
    one.wait(500);
    assert!(one.asked(KIND_PREPARE).is_empty());
    assert_eq!(one.offences(MODEL), [(1, "two proposals in round 0".to_owned())]);
}

#[test]
fn after_a_start_nothing_is_voted_for_two_delta() {
    let mut one = One::new(0, 3, MODEL);
    assert!(one.sent().contains(&Message::Hello { height: one.height() }));
    let block = one.block(0, 1);
    one.propose(0, &block, None, None);
    let qc = one.qc(VoteKind::Prepare, 0, block.hash(), &[1, 2]);
    one.wait(150);
    one.say(1, &Message::Certificate(qc));
    one.wait(49);
    assert!(one.asked(KIND_PREPARE).is_empty() && one.asked(KIND_COMMIT).is_empty());
    one.wait(2);
    assert_eq!(one.asked(KIND_COMMIT).len(), 1);
}

#[test]
fn after_catch_up_nothing_is_voted_for_two_delta() {
    let mut one = settled(0);
    one.committed(CommitBy::Sync);
    assert!(one.sent().contains(&Message::Hello { height: one.height() }));
    let block = one.block(0, 1);
    one.propose(0, &block, None, None);
    one.wait(199);
    assert!(one.asked(KIND_PREPARE).is_empty());
    one.wait(2);
    assert_eq!(one.asked(KIND_PREPARE).len(), 1);
}

/// A pause between relaying and voting: the queued relay of another proposal may come after the vote.
#[test]
fn a_suspended_validator_asks_first_whichever_event_wakes_it() {
    let mut one = settled(0);
    let block = one.block(0, 1);
    one.propose(0, &block, None, None);
    one.forget();
    one.sleep(500);
    let vote = one.vote(2, VoteKind::Prepare, 0, block.hash());
    one.say(2, &vote);
    assert!(one.sent().contains(&Message::Hello { height: one.height() }), "{:?}", one.sent());
    one.wait(199);
    assert!(one.asked(KIND_PREPARE).is_empty());
    one.wait(2);
    assert_eq!(one.asked(KIND_PREPARE).len(), 1);
}

/// A link of another validator that comes up late may have lost what it relayed; but cutting it again and again stops nobody.
#[test]
fn a_validators_first_link_extends_the_wait_and_its_later_ones_do_not() {
    let mut one = settled(0);
    let block = one.block(0, 1);
    one.propose(0, &block, None, None);
    for _ in 0..5 {
        one.wait(30);
        let (peer, validator) = (crate::net::peer(1), Some(quorate::ValidatorIndex(1)));
        one.step(quorate::consensus::Event::PeerDown { peer });
        one.step(quorate::consensus::Event::PeerUp { peer, validator });
    }
    assert_eq!(one.asked(KIND_PREPARE).len(), 1, "it was greeted before");
}

/// Round 1, entered by a timeout certificate that names no certificate, while this validator comes to hold one.
fn in_round_one(me: usize) -> (One, quorate_poa::TimeoutCertificate) {
    let mut one = settled(me);
    let tc = one.tc(0, &[(1, None), (2, None)]);
    let status = one.new_round(Some(tc.clone()), None);
    one.say(1, &status);
    (one, tc)
}

#[test]
fn in_a_later_round_nothing_is_prepared_until_the_lock_was_noted() {
    let (mut one, tc) = in_round_one(0);
    let block = one.block(1, 1);
    one.propose(1, &block, None, Some(tc));
    one.wait(199);
    assert!(one.asked(KIND_PREPARE).is_empty());
    one.wait(2);
    assert_eq!(one.asked(KIND_PREPARE).len(), 1);
}

#[test]
fn a_proposal_below_the_noted_lock_is_not_prepared() {
    let (mut one, tc) = in_round_one(0);
    let locked = one.block(0, 9);
    let qc = one.qc(VoteKind::Prepare, 0, locked.hash(), &[1, 2]);
    one.wait(150);
    one.say(2, &Message::Certificate(qc));
    let block = one.block(1, 1);
    one.propose(1, &block, None, Some(tc));
    one.wait(500);
    assert!(one.asked(KIND_PREPARE).is_empty());
}

/// Found by simulation: compared with the live lock, a certificate shown to one voter just before each vote stops the chain for
/// ever.
#[test]
fn a_certificate_that_comes_after_the_lock_was_noted_does_not_stop_the_vote() {
    let (mut one, tc) = in_round_one(0);
    let locked = one.block(0, 9);
    let qc = one.qc(VoteKind::Prepare, 0, locked.hash(), &[1, 2]);
    one.wait(150);
    let block = one.block(1, 1);
    one.propose(1, &block, None, Some(tc));
    one.wait(60);
    one.say(2, &Message::Certificate(qc));
    one.wait(100);
    assert_eq!(one.asked(KIND_PREPARE).len(), 1);
}

#[test]
fn the_lock_is_noted_anew_after_a_suspension() {
    let (mut one, tc) = in_round_one(0);
    one.sleep(400);
    let locked = one.block(0, 9);
    let qc = one.qc(VoteKind::Prepare, 0, locked.hash(), &[1, 2]);
    // Both waited in the queue while the process did not run.
    let block = one.block(1, 1);
    one.propose(1, &block, None, Some(tc));
    one.say(2, &Message::Certificate(qc));
    one.wait(1000);
    assert!(one.asked(KIND_PREPARE).is_empty());
}

#[test]
fn the_proposer_of_a_later_round_waits_four_delta_and_uses_what_it_learnt_meanwhile() {
    let (mut one, _) = in_round_one(2);
    let locked = one.block(0, 9);
    one.wait(350);
    let qc = one.qc(VoteKind::Prepare, 0, locked.hash(), &[0, 1]);
    let body = Message::Body { height: one.height(), block: locked.encoded().clone() };
    one.say(1, &Message::Certificate(qc));
    one.say(1, &body);
    one.wait(49);
    assert!(one.asked(KIND_PROPOSAL).is_empty());
    one.wait(2);
    let asked = one.asked(KIND_PROPOSAL);
    assert_eq!((asked.len(), asked[0].guard.round), (1, Round(1)));
    assert_eq!(asked[0].body[..32], locked.hash().as_bytes()[..]);
}

#[test]
fn the_other_models_do_not_wait() {
    for model in ["crash", "byzantine"] {
        let mut one = One::new(0, 3, model);
        let block = one.block(0, 1);
        one.propose(0, &block, None, None);
        assert_eq!(one.asked(KIND_PREPARE).len(), 1, "{model}");
        one.sleep(5000);
        one.step(quorate::consensus::Event::Work { pending: true });
        let greeted = one.did.iter().filter(|action| matches!(action, Action::Broadcast(_))).count();
        assert!(greeted > 0);
    }
}
