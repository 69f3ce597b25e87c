//! What a validator missed while it was away: each of these stands for a schedule in which the simulator made two certificates, or
//! none ever.

use quorate::{
    Height,
    consensus::{Action, CommitBy, Event},
};
use quorate_poa::{KIND_COMMIT, KIND_PREPARE, Message, VoteKind};

use crate::one::One;

/// One that is so many blocks ahead of a new one.
fn ahead(model: &str, blocks: usize) -> One {
    let mut one = One::new(1, 3, model);
    for _ in 0..blocks {
        one.committed(CommitBy::Sync);
    }
    one
}

/// A restarted validator was shown a second block of a height that the others had left.
#[test]
fn a_certificate_of_a_later_height_ends_all_votes_in_this_one() {
    for convincing in [true, false] {
        let mut one = One::new(0, 3, "byzantine-sync");
        let others = ahead("byzantine-sync", 3);
        let mut qc = others.qc(VoteKind::Commit, 0, others.block(0, 1).hash(), &[1, 2]);
        if !convincing {
            qc.round.0 += 1;
        }
        one.say(1, &Message::Decided(qc));
        let block = one.block(0, 1);
        one.propose(0, &block, None, None);
        one.wait(1000);
        assert_eq!(one.asked(KIND_PREPARE).is_empty(), convincing);
    }
}

#[test]
fn one_that_is_behind_is_answered_with_the_last_certificate_besides_blocks() {
    let mut one = One::new(0, 3, "crash");
    one.committed(CommitBy::Sync);
    let block = one.block(0, 0x77);
    one.propose(0, &block, None, None);
    let qc = one.qc(VoteKind::Commit, 0, block.hash(), &[1, 2]);
    one.say(1, &Message::Decided(qc.clone()));
    one.committed(CommitBy::Engine);
    one.forget();
    one.say(2, &Message::Hello { height: Height(1) });
    assert_eq!(one.sent(), [Message::Decided(qc)]);
    assert!(one.did.iter().any(|action| matches!(action, Action::Serve { from_height: Height(1), .. })));
}

/// It had greeted the others about the height before, and voted in the next one for a second block.
#[test]
fn a_decision_that_comes_during_the_wait_begins_the_wait_anew() {
    let mut one = One::new(0, 3, "byzantine-sync");
    let block = one.block(0, 0x77);
    one.propose(0, &block, None, None);
    one.wait(150);
    let qc = one.qc(VoteKind::Commit, 0, block.hash(), &[1, 2]);
    one.say(1, &Message::Decided(qc));
    one.forget();
    one.committed(CommitBy::Engine);
    one.wait(100);
    assert!(one.sent().contains(&Message::Hello { height: Height(2) }), "{:?}", one.sent());
    let block = one.block(0, 1);
    one.propose(0, &block, None, None);
    one.wait(99);
    assert!(one.asked(KIND_PREPARE).is_empty());
}

/// What was relayed at the height where it arrives was refused, for it was too far ahead.
#[test]
fn the_newest_messages_of_a_peer_wait_whatever_their_height() {
    let mut one = One::new(0, 3, "crash");
    let mut others = ahead("crash", 5);
    for _ in 0..100 {
        let old = others.new_round(None, None);
        one.say(2, &old);
    }
    others.committed(CommitBy::Sync);
    let block = others.block(0, 1);
    let proposal = others.proposal(0, &block, None, None);
    one.say(2, &proposal);
    for _ in 0..6 {
        one.committed(CommitBy::Sync);
    }
    let prepared = one.asked(KIND_PREPARE);
    assert!(prepared.iter().any(|request| request.body == block.hash().as_bytes()), "{prepared:?}");
}

/// Every live validator held a lock whose block none of them had any more.
#[test]
fn a_block_is_durable_before_its_prepare_vote_and_there_after_a_restart() {
    let mut one = One::new(0, 3, "crash");
    let block = one.block(0, 1);
    one.forget();
    one.propose(0, &block, None, None);
    let persisted = one.did.iter().position(|action| matches!(action, Action::Persist(_)));
    let signed = one.did.iter().position(|action| matches!(action, Action::Sign(_)));
    assert!(persisted.is_some() && persisted < signed, "{persisted:?} {signed:?}");
    let record = one.pick(|action| if let Action::Persist(record) = action { Some(record.clone()) } else { None });
    let mut again = One::restarted(0, 3, "crash", record.last().cloned());
    again.forget();
    again.say(2, &Message::Fetch { height: block.height(), hash: block.hash() });
    assert_eq!(again.sent(), [Message::Body { height: block.height(), block: block.encoded().clone() }]);
}

/// The peer that it had named was cut off for good.
#[test]
fn an_observer_asks_for_catch_up_of_everyone_who_says_that_a_height_is_decided() {
    let mut one = One::new(0, 3, "crash");
    let block = one.block(0, 0x77);
    let (tip, validators) = (one.tip, one.set.clone());
    one.step(Event::Committed { tip, validators, me: None, by: CommitBy::Sync, pending: false });
    one.forget();
    let qc = one.qc(VoteKind::Commit, 0, block.hash(), &[1, 2]);
    one.say(1, &Message::Decided(qc.clone()));
    one.say(2, &Message::Decided(qc));
    let asked = one.pick(|action| if let Action::NeedSync { from, .. } = action { Some(*from) } else { None });
    assert_eq!(asked, [crate::net::peer(1), crate::net::peer(2)]);
}

/// The timer fired at once, again and again.
#[test]
fn a_height_that_is_decided_without_its_block_leaves_no_deadline_behind() {
    let mut one = One::new(0, 3, "crash");
    let block = one.block(0, 0x77);
    let qc = one.qc(VoteKind::Commit, 0, block.hash(), &[1, 2]);
    one.say(1, &Message::Decided(qc));
    let tc = one.tc(0, &[(1, None), (2, None)]);
    let entering = one.new_round(Some(tc), None);
    one.say(1, &entering);
    one.forget();
    one.wait(60_000);
    let timers = one.did.iter().filter(|action| matches!(action, Action::SetTimer { .. })).count();
    assert!(timers < 300, "{timers} timers in a minute");
}

/// Held up between the two, it voted for a certificate that nobody else had seen in time.
#[test]
fn the_commit_vote_is_asked_for_in_the_step_after_the_relay() {
    let mut one = One::new(0, 3, "byzantine-sync");
    one.wait(300);
    let mut out = Vec::new();
    let block = one.block(0, 1);
    one.propose(0, &block, None, None);
    let certificate = Message::Certificate(one.qc(VoteKind::Prepare, 0, block.hash(), &[1, 2]));
    let (from, validator) = (crate::net::peer(1), Some(quorate::ValidatorIndex(1)));
    let event = Event::Message { from, validator, bytes: certificate.encode() };
    one.engine.step(quorate::Instant(one.ms * 1000), event, &mut out);
    assert!(out.iter().any(|action| matches!(action, Action::Broadcast(_))));
    assert!(!out.iter().any(|action| matches!(action, Action::Sign(request) if request.kind == KIND_COMMIT)));
    let due = quorate::Instant(one.ms * 1000);
    one.step(Event::Timer { id: 1, due });
    assert_eq!(one.asked(KIND_COMMIT).len(), 1);
}
