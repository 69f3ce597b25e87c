//! What a dishonest peer can and can't do.

use quorate::{Bytes, Height, Round, consensus::Action};
use quorate_bft_tendermint::{
    Message,
    VoteKind::{Precommit, Prevote},
};

use crate::one::One;

#[test]
fn a_validator_that_votes_twice_is_accused_once_with_proof() {
    let mut one = One::new(0, 4);
    one.votes(&[2], Prevote, 0, Some(one.block(0, 1).hash()));
    for mark in 2..9 {
        one.votes(&[2], Prevote, 0, Some(one.block(0, mark).hash()));
    }
    one.votes(&[2], Prevote, 0, None);
    assert_eq!(one.offences(), [(2, "two prevotes in round 0".to_owned())]);
    one.votes(&[3], Precommit, 0, None);
    one.votes(&[3], Precommit, 0, Some(one.block(0, 1).hash()));
    assert_eq!(one.offences()[1..], [(3, "two precommits in round 0".to_owned())]);
    assert!(one.penalties().is_empty(), "whoever brought it did no wrong");
}

#[test]
fn a_proposer_with_two_blocks_is_accused_in_the_round_and_after_it() {
    let mut one = One::new(0, 4);
    one.propose(0, &one.block(0, 1), None);
    one.propose(0, &one.block(0, 2), None);
    one.propose(0, &one.block(0, 3), None);
    assert_eq!(one.offences(), [(1, "two proposals in round 0".to_owned())]);

    let mut one = One::new(0, 4);
    one.propose(0, &one.block(0, 1), None);
    one.give_up(0);
    one.propose(0, &one.block(0, 2), None);
    assert_eq!(one.offences(), [(1, "two proposals in round 0".to_owned())]);
}

#[test]
fn forged_signatures_and_false_claims_are_penalised_and_change_nothing() {
    let mut one = One::new(0, 4);
    let block = one.block(0, 1);
    let mut vote = one.vote_of(2, Prevote, 0, Some(block.hash()));
    vote.block_hash = None;
    let mut stranger = one.vote_of(2, Prevote, 0, None);
    stranger.validator = quorate::ValidatorIndex(77);
    let mut few = one.qc(Precommit, 0, block.hash(), &[1, 2]);
    let prevotes = one.qc(Prevote, 0, block.hash(), &[1, 2, 3]);
    let wrong = [
        Message::Vote(vote),
        Message::Vote(stranger),
        Message::Decided(few.clone()),
        Message::Decided(prevotes.clone()),
        // Not the proposer's, for another round, with a polka for another block.
        one.proposal(0, &one.block(1, 1), None),
        one.proposal(0, &block, Some(prevotes.clone())),
        one.proposal(1, &one.block(0, 2), Some(prevotes)),
        one.status_of(1, vec![one.vote_of(1, Prevote, 0, None)], None),
        one.status_of(0, Vec::new(), {
            few.kind = Prevote;
            Some(few.clone())
        }),
    ];
    for message in &wrong {
        one.forget();
        one.say(3, message);
        assert_eq!(one.penalties().len(), 1, "{message:?}");
        assert!(one.voted().is_empty() && one.commits().is_empty(), "{message:?}");
    }
}

/// Whoever could make up a polka could unlock everybody.
#[test]
fn a_proposal_whose_polka_is_made_up_is_penalised_and_unlocks_nobody() {
    let mut one = One::new(0, 4);
    let locked = one.block(0, 1);
    one.propose(0, &locked, None);
    one.votes(&[1, 2], Prevote, 0, Some(locked.hash()));
    for round in 0..2 {
        one.give_up(round);
    }
    let other = one.block(1, 2);
    let few = one.qc(Prevote, 1, other.hash(), &[1, 2]);
    let mut twice = one.qc(Prevote, 1, other.hash(), &[1, 2, 2]);
    twice.signatures.sort_by_key(|(validator, _)| *validator);
    let mut forged = one.qc(Prevote, 1, other.hash(), &[1, 2, 3]);
    forged.signatures[2].1 = forged.signatures[1].1;
    for polka in [few, twice, forged] {
        one.forget();
        one.propose(2, &other, Some(polka));
        assert_eq!(one.penalties().len(), 1);
        assert_eq!(one.voted(), []);
    }
    one.propose(2, &other, Some(one.qc(Prevote, 1, other.hash(), &[1, 2, 3])));
    assert_eq!(one.voted(), [(Prevote, 2, Some(other.hash()))], "a true one does");
}

#[test]
fn noise_and_truncated_messages_are_penalised() {
    let mut one = One::new(0, 4);
    let good = one.proposal(0, &one.block(0, 1), None).encode();
    for len in (0..good.len()).step_by(7) {
        one.forget();
        one.say_bytes(3, good.slice(..len));
        assert_eq!(one.penalties().len(), 1, "{len} bytes");
    }
    one.say_bytes(3, Bytes::from(vec![0; 65536 + (128 << 10) + 1]));
    assert!(one.penalties().last().unwrap().contains("the limit is"), "{:?}", one.penalties());
}

/// One validator can't pull others to far rounds, nor fill their memory with votes of such; f+1 can do the first.
#[test]
fn far_rounds_are_believed_from_more_than_a_third_only() {
    let mut one = One::new(0, 4);
    let round = |one: &One| one.engine.status(quorate::Instant(one.ms * 1000)).round;
    one.votes(&[2], Prevote, 65, None);
    one.say(2, &one.status_of(70, vec![one.vote_of(2, Prevote, 70, None), one.vote_of(2, Precommit, 70, None)], None));
    one.votes(&[3], Prevote, 65, None);
    assert_eq!(round(&one), Round(0), "votes beyond 64 rounds are not kept");
    one.say(2, &one.status_of(70, vec![one.vote_of(2, Prevote, 70, None), one.vote_of(3, Prevote, 70, None)], None));
    assert_eq!(round(&one), Round(70));
    one.votes(&[2, 3], Prevote, 80, None);
    assert_eq!(round(&one), Round(80));
}

#[test]
fn a_peer_cannot_ask_for_answers_without_end() {
    let mut one = One::new(0, 4);
    one.forget();
    for _ in 0..100 {
        one.say(3, &Message::Hello { height: one.height() });
    }
    let answers = one.pick(|action| matches!(action, Action::Send { .. }).then_some(()));
    assert!(answers.len() <= 16, "{} answers", answers.len());
}

/// Later heights: kept from validators within bounds, and whoever is far ahead is asked for blocks.
#[test]
fn messages_of_later_heights_are_kept_within_bounds() {
    let mut one = One::new(0, 4);
    let block = one.block(0, 1);
    let mut ahead = One::new(1, 4);
    ahead.committed(&block, quorate::consensus::CommitBy::Sync, false);
    let next = ahead.block(0, 2);
    for by in [2, 3] {
        one.say(by, &Message::Vote(ahead.vote_of(by, Prevote, 0, Some(next.hash()))));
    }
    one.forget();
    for _ in 0..1000 {
        one.say(3, &Message::Vote(ahead.vote_of(3, Prevote, 0, Some(next.hash()))));
    }
    assert!(one.did.is_empty(), "{:?}", one.did);
    let mut decided = ahead.qc(Precommit, 0, next.hash(), &[1, 2, 3]);
    decided.height = Height(9);
    one.say(2, &Message::Decided(decided));
    let wanted = one.pick(|action| match action {
        Action::NeedSync { height, .. } => Some(*height),
        _ => None,
    });
    assert_eq!(wanted, [Height(9)]);
    one.committed(&block, quorate::consensus::CommitBy::Sync, true);
    let proposer = one.proposer(0);
    one.say(proposer, &ahead.proposal(0, &next, None));
    assert_eq!(
        one.voted().last(),
        Some(&(Precommit, 0, Some(next.hash()))),
        "with its own, the votes kept make a polka"
    );
}

/// A peer that is behind is told the decision, or served blocks.
#[test]
fn a_peer_that_is_behind_is_helped() {
    let mut one = One::new(0, 4);
    let block = one.block(0, 1);
    one.propose(0, &block, None);
    one.votes(&[1, 2, 3], Precommit, 0, Some(block.hash()));
    let behind = one.status_of(0, Vec::new(), None);
    one.committed(&block, quorate::consensus::CommitBy::Engine, false);
    one.forget();
    one.say(3, &behind);
    assert!(matches!(&one.sent()[..], [Message::Decided(qc)] if qc.block_hash == block.hash()), "{:?}", one.sent());
    let fetch = Message::Fetch { height: Height(1), hash: block.hash() };
    one.forget();
    one.say(3, &fetch);
    assert!(matches!(&one.sent()[..], [Message::Body { .. }]));
    let second = one.block(0, 2);
    one.committed(&second, quorate::consensus::CommitBy::Sync, false);
    one.forget();
    one.say(3, &behind);
    assert!(
        one.did.iter().any(|action| matches!(action, Action::Serve { from_height: Height(1), .. })),
        "{:?}",
        one.did
    );
}
