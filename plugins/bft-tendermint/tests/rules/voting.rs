//! What the engine signs, when, and after what.

use quorate::{
    Round,
    consensus::{Action, CommitBy, Event, SignRefused, Verdict},
};
use quorate_bft_tendermint::{
    Message,
    VoteKind::{Precommit, Prevote},
};

use crate::one::{CHAIN, One, proof};

/// Validator 1 proposes in round 0 of height 1, 2 in round 1, 3 in round 2, 0 in round 3.
#[test]
fn a_valid_block_is_prevoted_precommitted_and_made_final_with_a_proof() {
    let mut one = One::new(0, 4);
    let block = one.block(0, 1);
    let hash = block.hash();
    one.propose(0, &block, None);
    assert_eq!(one.voted(), [(Prevote, 0, Some(hash))]);
    one.votes(&[1], Prevote, 0, Some(hash));
    assert_eq!(one.voted().len(), 1, "two of four are no polka");
    one.votes(&[2], Prevote, 0, Some(hash));
    assert_eq!(one.voted()[1..], [(Precommit, 0, Some(hash))]);
    one.votes(&[1], Precommit, 0, Some(hash));
    assert!(one.commits().is_empty());
    one.votes(&[3], Precommit, 0, Some(hash));
    let commits = one.commits();
    assert_eq!(commits.iter().map(|(hash, _)| *hash).collect::<Vec<_>>(), [hash]);
    assert_eq!(proof().verify(&CHAIN, block.header(), &commits[0].1, &one.set), Ok(()));
}

#[test]
fn one_validator_decides_alone() {
    let one = One::new(0, 1);
    assert_eq!(one.commits().len(), 1);
}

/// The record holds the vote before the signer is asked for it, and lock, polka and block before the precommit.
#[test]
fn every_vote_is_on_record_before_it_is_signed() {
    let mut one = One::new(0, 4);
    one.propose(0, &one.block(0, 1), None);
    one.votes(&[1, 2], Prevote, 0, Some(one.block(0, 1).hash()));
    let mut record = Vec::new();
    let mut seen = 0;
    for action in &one.did {
        match action {
            Action::Persist(bytes) => record = bytes.to_vec(),
            Action::Sign(request) => {
                seen += 1;
                let mut died_here = One::restarted(0, 4, Some(record.clone().into()));
                died_here.wait(5000);
                let again = died_here.pick(|action| match action {
                    Action::Sign(again) if again.guard == request.guard => Some(again.clone()),
                    _ => None,
                });
                assert_eq!(
                    again,
                    std::slice::from_ref(request),
                    "the same is asked for again, and nothing else in its place"
                );
            }
            _ => {}
        }
    }
    assert_eq!(seen, 2);
}

#[test]
fn the_prevote_is_signed_before_the_precommit_is_asked_for() {
    let mut one = One::new(0, 4);
    one.slow = true;
    let hash = one.block(0, 1).hash();
    one.propose(0, &one.block(0, 1), None);
    one.votes(&[1, 2, 3], Prevote, 0, Some(hash));
    assert_eq!(one.voted(), [(Prevote, 0, Some(hash))]);
    let Some(Action::Sign(request)) = one.did.iter().find(|action| matches!(action, Action::Sign(_))).cloned() else {
        panic!("nothing signed")
    };
    one.step(one.signed(&request));
    assert_eq!(one.voted()[1..], [(Precommit, 0, Some(hash))]);
}

/// Otherwise a round in which everybody's signer failed for a moment would never end: there is no vote but these.
#[test]
fn a_signer_that_failed_is_asked_again_and_one_that_refuses_is_not() {
    let mut one = One::new(0, 4);
    one.refusal = Some(SignRefused::Failed("it is away".into()));
    one.wait(300);
    assert_eq!(one.voted(), [(Prevote, 0, None)]);
    one.wait(499);
    assert_eq!(one.voted().len(), 1, "not at once");
    one.refusal = None;
    one.wait(1);
    assert_eq!(one.voted(), [(Prevote, 0, None); 2]);
    assert!(one.sent().iter().any(|message| matches!(message, Message::Vote(_))));

    let mut one = One::new(0, 4);
    let guard = quorate::consensus::Guard { height: one.height(), round: Round(0), step: 2, sub: 0 };
    one.refusal = Some(SignRefused::Guard { last: guard });
    one.wait(20_000);
    assert_eq!(one.voted(), [(Prevote, 0, None)]);
}

#[test]
fn a_proposal_whose_signature_failed_is_signed_later() {
    let mut one = One::new(1, 4);
    assert!(one.sent().iter().any(|message| matches!(message, Message::Proposal(_))), "its turn");
    let proposals =
        |one: &One| one.pick(|action| matches!(action, Action::Sign(request) if request.kind == 1).then_some(()));
    let mut failing = One::restarted(1, 4, None);
    failing.forget();
    failing.refusal = Some(SignRefused::Failed("it is away".into()));
    let block = failing.block(0, 0xee);
    failing.committed(&block, CommitBy::Sync, true);
    // Height 2, round 0 is the turn of validator 2; validator 1's next is round 3.
    for round in 0..3 {
        failing.give_up(round);
    }
    let before = proposals(&failing).len();
    assert_eq!(before, 1);
    failing.refusal = None;
    failing.wait(500);
    assert_eq!(proposals(&failing).len(), 2);
    one.forget();
}

#[test]
fn an_invalid_block_gets_a_nil_prevote_and_one_that_can_not_be_judged_yet_waits() {
    let mut one = One::new(0, 4);
    one.verdict = Some(Verdict::Invalid("it is".into()));
    one.propose(0, &one.block(0, 1), None);
    assert_eq!(one.voted(), [(Prevote, 0, None)]);

    let mut one = One::new(0, 4);
    one.verdict = Some(Verdict::NotNow("its time is ahead".into()));
    let block = one.block(0, 1);
    one.propose(0, &block, None);
    assert_eq!(one.voted(), []);
    one.step(Event::BlockChecked { hash: block.hash(), verdict: Verdict::Valid });
    assert_eq!(one.voted(), [(Prevote, 0, Some(block.hash()))]);
}

#[test]
fn without_a_proposal_or_a_polka_the_round_is_given_up_in_time() {
    let mut one = One::new(0, 4);
    one.wait(299);
    assert_eq!(one.voted(), []);
    one.wait(1);
    assert_eq!(one.voted(), [(Prevote, 0, None)]);
    one.votes(&[1, 2], Prevote, 0, Some(one.block(0, 1).hash()));
    one.wait(199);
    assert_eq!(one.voted().len(), 1, "the rest is waited for");
    one.wait(1);
    assert_eq!(one.voted()[1..], [(Precommit, 0, None)]);
    one.votes(&[1, 2], Precommit, 0, None);
    one.wait(199);
    assert_eq!(one.engine.status(quorate::Instant(one.ms * 1000)).round, Round(0));
    one.wait(1);
    assert_eq!(one.engine.status(quorate::Instant(one.ms * 1000)).round, Round(1));
}

/// The lock: another block without a polka gets no prevote, one with a later polka does.
#[test]
fn a_lock_holds_until_a_later_polka() {
    let mut one = One::new(0, 4);
    let first = one.block(0, 1);
    one.propose(0, &first, None);
    one.votes(&[1, 2], Prevote, 0, Some(first.hash()));
    one.give_up(0);
    let second = one.block(1, 2);
    one.forget();
    one.propose(1, &second, None);
    assert_eq!(one.voted(), [(Prevote, 1, None)]);
    one.votes(&[1, 2, 3], Prevote, 1, Some(second.hash()));
    assert_eq!(one.voted()[1..], [(Precommit, 1, Some(second.hash()))], "a polka unlocks");
    one.give_up(1);
    one.forget();
    one.propose(2, &first, Some(one.qc(Prevote, 0, first.hash(), &[0, 1, 2])));
    assert_eq!(one.voted(), [(Prevote, 2, None)], "an older polka does not");
}

/// It is validator 0's turn in round 3: it proposes what it is locked on, with the polka.
#[test]
fn the_locked_block_is_proposed_again_with_its_polka() {
    let mut one = One::new(0, 4);
    let first = one.block(0, 1);
    one.propose(0, &first, None);
    one.votes(&[1, 2], Prevote, 0, Some(first.hash()));
    for round in 0..3 {
        one.give_up(round);
    }
    let proposals: Vec<_> = one
        .sent()
        .into_iter()
        .filter_map(|message| match message {
            Message::Proposal(proposal) if proposal.round == Round(3) => Some(proposal),
            _ => None,
        })
        .collect();
    assert_eq!(proposals.len(), 1);
    assert_eq!(proposals[0].block, *first.encoded());
    assert_eq!(proposals[0].polka.as_ref().map(|qc| (qc.round, qc.block_hash)), Some((Round(0), first.hash())));
    assert_eq!(one.voted().last(), Some(&(Prevote, 3, Some(first.hash()))), "and prevotes it");
}

/// 2f+1 precommits decide even when the proposal of their round never came: the block is asked for by its hash.
#[test]
fn a_decision_without_the_proposal_is_made_good() {
    let mut one = One::new(0, 4);
    let block = one.block(0, 1);
    one.votes(&[1, 2, 3], Precommit, 0, Some(block.hash()));
    assert!(one.commits().is_empty());
    assert!(one.sent().contains(&Message::Fetch { height: one.height(), hash: block.hash() }));
    one.say(2, &Message::Body { height: one.height(), block: block.encoded().clone() });
    assert_eq!(one.commits().len(), 1);
}

/// Whoever was asked first may be gone: everybody is asked, and catch-up.
#[test]
fn a_decided_block_that_does_not_come_is_asked_for_again() {
    let mut one = One::new(0, 4);
    let block = one.block(0, 1);
    one.say(3, &Message::Decided(one.qc(Precommit, 0, block.hash(), &[1, 2, 3])));
    let fetch = Message::Fetch { height: one.height(), hash: block.hash() };
    let asked = |one: &One| one.sent().iter().filter(|message| **message == fetch).count();
    assert_eq!(asked(&one), 1);
    one.wait(500);
    assert_eq!(asked(&one), 2);
    assert!(one.did.iter().any(|action| matches!(action, Action::NeedSync { .. })));
    one.wait(2000);
    assert_eq!(asked(&one), 3);
}

#[test]
fn a_final_block_that_is_invalid_here_halts() {
    let mut one = One::new(0, 4);
    one.verdict = Some(Verdict::Invalid("it is".into()));
    let block = one.block(0, 1);
    one.propose(0, &block, None);
    one.votes(&[1, 2, 3], Precommit, 0, Some(block.hash()));
    assert!(one.halts()[0].contains("finds it invalid: it is"), "{:?}", one.halts());
    assert!(one.commits().is_empty());
}

#[test]
fn two_final_blocks_of_one_height_halt() {
    let mut one = One::new(0, 4);
    let (first, second) = (one.block(0, 1), one.block(0, 2));
    one.propose(0, &first, None);
    one.votes(&[1, 2, 3], Precommit, 0, Some(first.hash()));
    let other = one.qc(Precommit, 1, second.hash(), &[1, 2, 3]);
    one.committed(&first, CommitBy::Engine, false);
    one.say(3, &Message::Decided(other));
    assert!(one.halts()[0].contains("conflict at height 1"), "{:?}", one.halts());
}

/// A network without work is silent: no round begins before there is some, or somebody votes.
#[test]
fn an_idle_height_waits_for_work() {
    let mut one = One::new(0, 4);
    let block = one.block(0, 1);
    one.committed(&block, CommitBy::Sync, false);
    one.forget();
    one.wait(60_000);
    assert_eq!(one.voted(), []);
    one.step(Event::Work { pending: true });
    one.wait(300);
    assert_eq!(one.voted(), [(Prevote, 0, None)]);
}
