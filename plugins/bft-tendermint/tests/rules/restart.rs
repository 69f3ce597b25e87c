//! What a crash leaves, and what becomes of it.

use quorate::{Round, consensus::Action};
use quorate_bft_tendermint::{
    Message, Vote,
    VoteKind::{Precommit, Prevote},
};

use crate::one::One;

fn round(one: &One) -> u32 {
    one.engine.status(quorate::Instant(one.ms * 1000)).round.0
}

/// Locked in round 0, then killed: the lock binds the next process too.
#[test]
fn a_lock_survives_a_crash() {
    let mut one = One::new(0, 4);
    let first = one.block(0, 1);
    one.propose(0, &first, None);
    one.votes(&[1, 2], Prevote, 0, Some(first.hash()));
    let mut one = One::restarted(0, 4, one.saved());
    assert_eq!(round(&one), 0);
    one.give_up(0);
    let second = one.block(1, 2);
    one.forget();
    one.propose(1, &second, None);
    assert_eq!(one.voted(), [(Prevote, 1, None)]);
    let polka = one.qc(Prevote, 0, first.hash(), &[0, 1, 2]);
    one.give_up(1);
    one.propose(2, &first, Some(polka));
    assert_eq!(one.voted().last(), Some(&(Prevote, 2, Some(first.hash()))));
    one.votes(&[1, 2], Prevote, 2, Some(first.hash()));
    one.votes(&[1, 2], Precommit, 2, Some(first.hash()));
    assert_eq!(one.commits().len(), 1, "the block came back with the lock");
}

/// Locked on one block in round 0, then a polka for another in round 1 came too late for a precommit: both come back.
#[test]
fn a_valid_block_above_the_lock_survives_a_crash() {
    let mut one = One::new(0, 4);
    let (first, second) = (one.block(0, 1), one.block(1, 2));
    one.propose(0, &first, None);
    one.votes(&[1, 2], Prevote, 0, Some(first.hash()));
    one.give_up(0);
    one.propose(1, &second, None);
    one.votes(&[1, 2], Prevote, 1, Some(second.hash()));
    one.wait(300);
    assert_eq!(one.voted().last(), Some(&(Precommit, 1, None)));
    one.votes(&[3], Prevote, 1, Some(second.hash()));
    let mut one = One::restarted(0, 4, one.saved());
    assert_eq!(round(&one), 1);
    // Round 2 brings the first block again, without a polka: the lock allows it, and it alone.
    one.give_up(1);
    let third = one.block(2, 3);
    one.propose(2, &third, None);
    assert_eq!(one.voted().last(), Some(&(Prevote, 2, None)));
    one.give_up(2);
    let proposed = one.pick(|action| match action {
        Action::Broadcast(bytes) => match Message::decode(bytes, 65536).unwrap() {
            Message::Proposal(proposal) if proposal.round == Round(3) => Some(proposal),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(proposed[0].block, *second.encoded(), "the valid block is proposed");
    assert_eq!(proposed[0].polka.as_ref().map(|qc| qc.round), Some(Round(1)));
}

/// Nobody else may have its prevote, and the signer gives only the last signature again.
#[test]
fn a_prevote_is_said_again_after_a_crash_that_followed_the_precommit() {
    let mut one = One::new(0, 4);
    one.wait(300);
    one.votes(&[1, 2], Prevote, 0, None);
    assert_eq!(one.voted(), [(Prevote, 0, None), (Precommit, 0, None)]);
    let mut one = One::restarted(0, 4, one.saved());
    one.wait(4000);
    let said: Vec<Vote> = one
        .sent()
        .into_iter()
        .filter_map(|message| match message {
            Message::Vote(vote) => Some(vote),
            _ => None,
        })
        .collect();
    for kind in [Prevote, Precommit] {
        assert!(said.contains(&one.vote_of(0, kind, 0, None)), "{kind:?}");
    }
}

/// The vote on record stands, whatever the new process would have voted.
#[test]
fn after_a_crash_the_same_vote_is_signed_not_another() {
    let mut one = One::new(0, 4);
    one.slow = true;
    one.wait(300);
    assert_eq!(one.voted(), [(Prevote, 0, None)]);
    let mut one = One::restarted(0, 4, one.saved());
    assert_eq!(one.voted(), [(Prevote, 0, None)], "at once");
    one.propose(0, &one.block(0, 1), None);
    one.wait(1000);
    assert_eq!(one.voted(), [(Prevote, 0, None)]);
}

/// Those who are in an earlier round need the votes that ended it, and after a crash of all nobody else has them.
#[test]
fn why_a_round_began_survives_a_crash() {
    let mut one = One::new(0, 4);
    one.wait(300);
    one.give_up(0);
    assert_eq!(round(&one), 1);
    let mut one = One::restarted(0, 4, one.saved());
    assert_eq!(round(&one), 1);
    one.forget();
    one.say(2, &one.status_of(0, Vec::new(), None));
    let entries: Vec<_> = one
        .sent()
        .into_iter()
        .filter_map(|message| match message {
            Message::Status(status) => Some((status.round, status.entry)),
            _ => None,
        })
        .collect();
    assert_eq!(entries.len(), 1);
    let precommits: Vec<usize> = entries[0]
        .1
        .iter()
        .filter(|vote| vote.kind == Precommit && vote.round == Round(0))
        .map(|vote| usize::from(vote.validator.0))
        .collect();
    assert!(precommits.len() >= 3, "{precommits:?}");
    // And they are enough for another one.
    let mut other = One::new(3, 4);
    other.wait(300);
    other.say(0, &one.status_of(1, entries[0].1.clone(), None));
    other.wait(200);
    assert_eq!(round(&other), 1);
}

#[test]
fn a_record_that_can_not_be_read_halts_and_one_of_an_older_height_does_not() {
    let mut one = One::new(0, 4);
    one.wait(300);
    let saved = one.saved().unwrap();
    for damaged in [saved.slice(..saved.len() - 1), saved.slice(1..)] {
        let one = One::restarted(0, 4, Some(damaged));
        assert!(one.halts()[0].contains("record of its votes can't be read"), "{:?}", one.halts());
        assert_eq!(one.voted(), []);
    }
    let newer = [&[2][..], &saved[1..]].concat();
    let one = One::restarted(0, 4, Some(newer.into()));
    assert!(one.halts()[0].contains("its version is 2; this node reads 1"), "{:?}", one.halts());
    let mut of_height_9 = saved.to_vec();
    of_height_9[1] = 9;
    let one = One::restarted(0, 4, Some(of_height_9.into()));
    assert_eq!(one.halts(), Vec::<String>::new());
}
