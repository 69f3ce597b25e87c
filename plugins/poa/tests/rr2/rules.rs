//! The rules which hold in every model, one by one.

use quorate::{
    Bytes, Round, ValidatorIndex,
    consensus::{Action, CommitBy, Event, Verdict},
};
use quorate_poa::{KIND_COMMIT, KIND_PREPARE, KIND_PROPOSAL, KIND_TIMEOUT, Message, VoteKind};

use crate::{
    net::{peer, sign},
    one::One,
};

/// Validator 2 leads height 1 in round 0, validator 3 in round 1, validator 1 in round 2.
fn one() -> One {
    One::new(0, 3, "crash")
}

#[test]
fn the_lock_is_durable_before_the_commit_vote_is_signed() {
    let mut one = one();
    let block = one.block(0, 1);
    one.propose(0, &block, None, None);
    one.forget();
    let vote = one.vote(1, VoteKind::Prepare, 0, block.hash());
    one.say(1, &vote);
    let names = one.pick(|action| match action {
        Action::Persist(_) => Some("persist"),
        Action::Sign(request) if request.kind == KIND_COMMIT => Some("sign"),
        Action::Broadcast(_) => Some("vote"),
        _ => None,
    });
    assert_eq!(names, ["persist", "sign", "vote"]);
}

/// Rules 12 and 14: where no safety rests on relays they go to those who show that they lack something, after a quarter of `timeout_ms`.
#[test]
fn only_who_lacks_something_gets_it_again_and_then_everything_at_once() {
    let mut one = One::new(0, 4, "byzantine");
    let kinds = |one: &One, to: usize| {
        one.pick(|action| match action {
            Action::Send { to: whom, bytes } if *whom == peer(to) => Some(match Message::decode(bytes, 65536) {
                Ok(Message::Proposal(_)) => "proposal",
                Ok(Message::Certificate(_)) => "lock",
                Ok(Message::Decided(_)) => "decided",
                _ => "other",
            }),
            _ => None,
        })
    };
    let block = one.block(0, 1);
    one.forget();
    one.propose(0, &block, None, None);
    // The proposer 1 has it, 2 prepares it; nothing comes of 3.
    let vote = one.vote(2, VoteKind::Prepare, 0, block.hash());
    one.say(2, &vote);
    let vote = one.vote(1, VoteKind::Prepare, 0, block.hash());
    one.say(1, &vote);
    assert_eq!(one.asked(KIND_COMMIT).len(), 1, "a quorum of three prepared");
    let vote = one.vote(1, VoteKind::Commit, 0, block.hash());
    one.say(1, &vote);
    one.wait(240);
    assert!((1..4).all(|other| kinds(&one, other).is_empty()), "they have their time");
    one.wait(20);
    assert_eq!([1, 2, 3].map(|other| kinds(&one, other)), [vec![], vec!["lock"], vec!["proposal", "lock"]]);
    one.forget();
    one.wait(700);
    assert!(kinds(&one, 3).is_empty(), "once a round");
    // The next height: who lacked something gets it at once.
    one.committed(CommitBy::Engine);
    one.forget();
    let block = one.block(0, 2);
    one.propose(0, &block, None, None);
    assert_eq!([1, 2, 3].map(|other| kinds(&one, other)), [vec![], vec!["proposal"], vec!["proposal"]]);
    // For ten seconds.
    one.wait(100);
    for _ in 0..100 {
        one.committed(CommitBy::Engine);
        one.wait(100);
    }
    one.forget();
    let block = one.block(0, 3);
    one.propose(0, &block, None, None);
    assert!((1..4).all(|other| kinds(&one, other).is_empty()));
}

/// Rule 18: votes tell validators of a decision; who shows nothing of a later height is told when no block follows.
#[test]
fn a_decision_is_told_to_who_may_not_know_it() {
    let mut one = one();
    let told = |one: &One| {
        one.pick(|action| match action {
            Action::Send { to, bytes } if matches!(Message::decode(bytes, 65536), Ok(Message::Decided(_))) => Some(*to),
            _ => None,
        })
    };
    let block = one.block(0, 1);
    one.propose(0, &block, None, None);
    let vote = one.vote(1, VoteKind::Prepare, 0, block.hash());
    one.say(1, &vote);
    let vote = one.vote(1, VoteKind::Commit, 0, block.hash());
    one.say(1, &vote);
    assert_eq!(one.commits(), [block.hash()]);
    one.final_now(&block, CommitBy::Engine);
    let next = one.timeout(1, 0, None);
    one.say(1, &next);
    one.wait(240);
    assert!(told(&one).is_empty());
    one.wait(20);
    assert_eq!(told(&one), [peer(2)]);
}

#[test]
fn a_block_that_is_not_yet_judged_gets_no_vote() {
    let mut one = one();
    one.verdict = None;
    let block = one.block(0, 1);
    one.propose(0, &block, None, None);
    one.step(Event::BlockChecked { hash: block.hash(), verdict: Verdict::NotNow("ahead".into()) });
    assert!(one.asked(KIND_PREPARE).is_empty());
    one.step(Event::BlockChecked { hash: block.hash(), verdict: Verdict::Valid });
    assert_eq!(one.asked(KIND_PREPARE).len(), 1);
}

#[test]
fn after_a_timeout_the_round_gets_no_vote_from_this_validator() {
    let mut one = one();
    let block = one.block(0, 1);
    one.wait(1100);
    assert_eq!(one.asked(KIND_TIMEOUT).len(), 1);
    one.propose(0, &block, None, None);
    let qc = one.qc(VoteKind::Prepare, 0, block.hash(), &[1, 2]);
    one.say(1, &Message::Certificate(qc));
    assert!(one.asked(KIND_PREPARE).is_empty() && one.asked(KIND_COMMIT).is_empty());
}

/// Found by simulation: were the second timeout refused, three validators that learnt a newer certificate after their timeouts
/// would wait for ever.
#[test]
fn a_timeout_is_signed_again_when_the_lock_rises() {
    let mut one = one();
    let block = one.block(0, 1);
    one.wait(1100);
    let qc = one.qc(VoteKind::Prepare, 0, block.hash(), &[1, 2]);
    one.say(1, &Message::Certificate(qc));
    let asked = one.asked(KIND_TIMEOUT);
    assert_eq!(asked.iter().map(|request| request.guard.sub).collect::<Vec<_>>(), [0, 1]);
    let timeout = one.timeout(1, 0, None);
    one.say(1, &timeout);
    let entered = one.sent().into_iter().rev().find_map(|message| match message {
        Message::NewRound(status) => status.timeout,
        _ => None,
    });
    let tc = entered.expect("two timeouts begin round 1");
    assert_eq!(tc.high_qc.map(|qc| qc.block_hash), Some(block.hash()), "the newer certificate is in it");
}

/// Rule 16: the turns of one that is gone cost no wait, until there is a link again.
#[test]
fn who_is_gone_is_passed_over_soon_and_then_at_once() {
    let mut one = one();
    let absent = one.proposer(0);
    one.step(Event::PeerDown { peer: peer(absent) });
    // A link may come back.
    one.wait(90);
    assert!(one.asked(KIND_TIMEOUT).is_empty());
    one.wait(20);
    assert_eq!(one.asked(KIND_TIMEOUT).len(), 1);
    let timeout = one.timeout(2, 0, None);
    one.say(2, &timeout);
    // The others have their turns as before; its own is over when it begins.
    for _ in 0..3 {
        one.forget();
        one.committed(CommitBy::Engine);
        one.wait(0);
        assert_eq!(one.asked(KIND_TIMEOUT).len(), usize::from(one.proposer(0) == absent));
    }
    assert_eq!(one.proposer(0), absent);
    // Said again when a whole round has passed, not at once again.
    one.forget();
    one.wait(500);
    assert!(one.pick(|action| matches!(action, Action::Sign(_)).then_some(())).is_empty());
    // With a link it has its time.
    one.step(Event::PeerUp { peer: peer(absent), validator: Some(ValidatorIndex(absent as u16)) });
    for _ in 0..3 {
        one.forget();
        one.committed(CommitBy::Engine);
        one.wait(0);
        assert!(one.asked(KIND_TIMEOUT).is_empty());
    }
    assert_eq!(one.proposer(0), absent);
}

#[test]
fn who_was_gone_before_its_turn_is_passed_over_at_once() {
    let mut one = one();
    let absent = one.proposer(1);
    one.step(Event::PeerDown { peer: peer(absent) });
    one.wait(110);
    assert!(one.asked(KIND_TIMEOUT).is_empty(), "it is another's turn");
    one.committed(CommitBy::Engine);
    assert_eq!(one.proposer(0), absent);
    one.wait(0);
    assert_eq!(one.asked(KIND_TIMEOUT).len(), 1);
}

/// A link that comes back in time is none that was gone.
#[test]
fn who_is_linked_again_soon_has_its_whole_turn() {
    let mut one = one();
    let proposer = one.proposer(0);
    one.step(Event::PeerDown { peer: peer(proposer) });
    one.wait(90);
    one.step(Event::PeerUp { peer: peer(proposer), validator: Some(ValidatorIndex(proposer as u16)) });
    one.wait(800);
    assert!(one.asked(KIND_TIMEOUT).is_empty());
    one.wait(200);
    assert_eq!(one.asked(KIND_TIMEOUT).len(), 1);
}

/// Its proposals come through others: only the link between the two is down.
#[test]
fn who_is_cut_off_from_one_only_is_not_passed_over() {
    let mut one = one();
    let proposer = one.proposer(0);
    one.step(Event::PeerDown { peer: peer(proposer) });
    let block = one.block(0, 1);
    one.propose(0, &block, None, None);
    one.wait(1100);
    let timeout = one.timeout(2, 0, None);
    one.say(2, &timeout);
    assert_eq!(one.asked(KIND_TIMEOUT).len(), 1);
    for _ in 0..3 {
        one.forget();
        one.committed(CommitBy::Engine);
        one.wait(0);
        assert!(one.asked(KIND_TIMEOUT).is_empty());
    }
}

#[test]
fn a_proposal_below_what_its_timeout_certificate_names_is_refused() {
    let mut one = one();
    let locked = one.block(0, 1);
    let qc = one.qc(VoteKind::Prepare, 0, locked.hash(), &[1, 2]);
    let tc = one.tc(0, &[(1, Some(qc.clone())), (2, None)]);
    let other = one.block(1, 2);
    one.propose(1, &other, None, Some(tc.clone()));
    assert!(one.penalties()[0].contains("lower than its timeout certificate names"), "{:?}", one.penalties());
    assert!(one.asked(KIND_PREPARE).is_empty());
    one.propose(1, &locked, Some(qc), Some(tc));
    assert_eq!(one.asked(KIND_PREPARE)[0].guard.round, Round(1));
}

#[test]
fn proposals_that_break_a_rule_are_refused_and_their_sender_named() {
    let fresh = one();
    let (first, late) = (fresh.block(0, 1), fresh.block(1, 2));
    let qc = fresh.qc(VoteKind::Prepare, 0, first.hash(), &[1, 2]);
    let tc = fresh.tc(0, &[(1, None), (2, None)]);
    let commit = fresh.qc(VoteKind::Commit, 0, first.hash(), &[1, 2]);
    let few = fresh.tc(0, &[(1, None)]);
    let twice = fresh.tc(0, &[(1, None), (1, None)]);
    let hidden = {
        let mut tc = fresh.tc(0, &[(1, Some(qc.clone())), (2, None)]);
        tc.high_qc = None;
        tc
    };
    let cases = [
        (0, &late, None, None, "not its creator's turn|created for another round"),
        (0, &first, None, Some(tc.clone()), "round 0 has a timeout certificate"),
        (1, &late, None, None, "does not say why it began"),
        (2, &late, None, Some(tc.clone()), "created for another round"),
        (1, &first, None, Some(tc.clone()), "created for another round"),
        (1, &first, Some(commit), Some(tc.clone()), "certificate is not for its block"),
        (1, &late, Some(qc.clone()), Some(tc.clone()), "certificate is not for its block"),
        (1, &late, None, Some(few), "1 valid signatures; 2 are needed"),
        (1, &late, None, Some(twice), "signers must ascend"),
        (1, &late, None, Some(hidden), "does not carry the highest certificate"),
    ];
    for (round, block, justify, timeout, expected) in cases {
        let mut one = one();
        one.forget();
        one.propose(round, block, justify, timeout);
        let penalties = one.penalties().join("; ");
        assert!(expected.split('|').any(|part| penalties.contains(part)), "{expected}: {penalties}");
        assert!(one.asked(KIND_PREPARE).is_empty() && one.saved().is_none(), "{expected}");
    }
}

#[test]
fn forged_signatures_count_for_nothing() {
    let mut one = one();
    let block = one.block(0, 1);
    one.propose(0, &block, None, None);
    let Message::Vote(mut vote) = one.vote(1, VoteKind::Prepare, 0, block.hash()) else { unreachable!() };
    vote.validator.0 = 2;
    one.say(1, &Message::Vote(vote.clone()));
    vote.validator.0 = 99;
    one.say(1, &Message::Vote(vote));
    let mut forged = one.qc(VoteKind::Prepare, 0, block.hash(), &[1, 2]);
    forged.signatures[1].1 = forged.signatures[0].1;
    one.say(1, &Message::Certificate(forged.clone()));
    forged.kind = VoteKind::Commit;
    one.say(1, &Message::Decided(forged));
    assert_eq!(one.penalties().len(), 4, "{:?}", one.penalties());
    assert!(one.asked(KIND_COMMIT).is_empty() && one.commits().is_empty());
}

#[test]
fn a_certificate_of_a_later_round_leads_there_at_once() {
    let mut one = one();
    let tc = one.tc(6, &[(1, None), (2, None)]);
    let status = one.new_round(Some(tc), None);
    one.say(1, &status);
    assert_eq!(one.engine.status(quorate::Instant(0)).round, Round(7));
}

#[test]
fn the_proposer_of_a_later_round_proposes_the_locked_block_again() {
    let mut one = One::new(2, 3, "crash");
    let block = one.block(0, 1);
    one.propose(0, &block, None, None);
    let qc = one.qc(VoteKind::Prepare, 0, block.hash(), &[0, 1]);
    let tc = one.tc(0, &[(0, Some(qc)), (1, None)]);
    let status = one.new_round(Some(tc), None);
    one.say(1, &status);
    let asked = one.asked(KIND_PROPOSAL);
    assert_eq!((asked.len(), &asked[0].body[..32]), (1, &block.hash().as_bytes()[..]));
    let sent = one.sent().into_iter().rev().find_map(|message| match message {
        Message::Proposal(proposal) => Some(proposal),
        _ => None,
    });
    let proposal = sent.expect("it proposes");
    assert_eq!((proposal.round, proposal.justify.map(|qc| qc.round)), (Round(1), Some(Round(0))));
}

#[test]
fn the_lock_and_its_block_survive_a_restart() {
    let mut one = one();
    let block = one.block(0, 1);
    one.propose(0, &block, None, None);
    let vote = one.vote(1, VoteKind::Prepare, 0, block.hash());
    one.say(1, &vote);
    let mut again = One::restarted(0, 3, "crash", one.saved());
    again.wait(1100);
    let timeout = again.sent().into_iter().find_map(|message| match message {
        Message::Timeout(timeout) => timeout.high_qc,
        _ => None,
    });
    assert_eq!(timeout.map(|qc| qc.block_hash), Some(block.hash()));
    let (height, hash) = (again.height(), block.hash());
    again.say(1, &Message::Fetch { height, hash });
    assert!(again.sent().contains(&Message::Body { height, block: block.encoded().clone() }));
}

#[test]
fn a_lock_without_its_block_is_completed_from_a_peer_and_made_durable() {
    let mut one = one();
    let block = one.block(0, 1);
    let qc = one.qc(VoteKind::Prepare, 0, block.hash(), &[1, 2]);
    one.say(1, &Message::Certificate(qc));
    assert!(one.asked(KIND_COMMIT).is_empty(), "what is not here is not voted for");
    one.wait(600);
    let fetch = Message::Fetch { height: one.height(), hash: block.hash() };
    assert!(one.sent().contains(&fetch));
    let before = one.saved().unwrap().len();
    let body = Message::Body { height: one.height(), block: block.encoded().clone() };
    one.say(2, &body);
    assert_eq!(one.saved().unwrap().len(), before + 4 + block.encoded().len());
    assert_eq!(one.asked(KIND_COMMIT).len(), 1);
}

#[test]
fn a_record_of_another_height_is_void_and_a_damaged_one_stops_voting() {
    let mut one = one();
    let tc = one.tc(0, &[(1, None), (2, None)]);
    let status = one.new_round(Some(tc), None);
    one.say(1, &status);
    let saved = one.saved().unwrap();
    let again = One::restarted(0, 3, "crash", Some(saved.clone()));
    assert_eq!(again.engine.status(quorate::Instant(0)).round, Round(1));
    let mut other = saved.to_vec();
    other[1] = 9;
    let again = One::restarted(0, 3, "crash", Some(other.into()));
    assert_eq!(again.engine.status(quorate::Instant(0)).round, Round(0));
    let mut again = One::restarted(0, 3, "crash", Some(Bytes::from_static(b"damaged")));
    assert!(again.halts()[0].contains("can't be read"), "{:?}", again.halts());
    again.wait(5000);
    assert!(again.asked(KIND_TIMEOUT).is_empty());
}

#[test]
fn a_refused_or_late_signature_does_no_harm() {
    let mut one = one();
    one.refuse = true;
    let block = one.block(0, 1);
    one.propose(0, &block, None, None);
    one.wait(3500);
    let timeouts = one.asked(KIND_TIMEOUT);
    assert!(timeouts.len() >= 2, "a refused timeout is asked for again");
    one.refuse = false;
    let request = timeouts[0].clone();
    let result = Ok(sign(0, &request));
    let digest = request.digest(&crate::net::CHAIN);
    one.committed(CommitBy::Sync);
    one.forget();
    one.step(Event::Signed { guard: request.guard, digest, result });
    assert!(one.sent().is_empty(), "of a height that is over");
}

#[test]
fn a_final_block_found_invalid_here_stops_this_validator() {
    let mut one = one();
    one.verdict = Some(Verdict::Invalid("bad state".into()));
    let block = one.block(0, 1);
    one.propose(0, &block, None, None);
    let qc = one.qc(VoteKind::Commit, 0, block.hash(), &[1, 2]);
    one.say(1, &Message::Decided(qc));
    assert!(one.halts()[0].contains("bad state"), "{:?}", one.halts());
    assert!(one.commits().is_empty());
    one.wait(10_000);
    assert!(one.asked(KIND_TIMEOUT).is_empty());
    assert!(one.engine.status(quorate::Instant(0)).halted.is_some());
}

#[test]
fn two_commit_certificates_of_one_height_stop_this_validator() {
    let mut one = one();
    let (block, other) = (one.block(0, 1), one.block(0, 2));
    one.verdict = None;
    let decided =
        |one: &One, block: &quorate::Block| Message::Decided(one.qc(VoteKind::Commit, 0, block.hash(), &[1, 2]));
    let (first, second) = (decided(&one, &block), decided(&one, &other));
    one.say(1, &first);
    one.say(1, &second);
    assert!(one.halts()[0].starts_with("conflict at height 1"), "{:?}", one.halts());
    // The same after the first was committed.
    let mut one = self::one();
    let final_block = one.block(0, 0x77);
    one.propose(0, &final_block, None, None);
    let first = decided(&one, &final_block);
    one.say(1, &first);
    assert_eq!(one.commits(), [final_block.hash()]);
    one.committed(CommitBy::Engine);
    one.say(2, &second);
    assert!(one.halts()[0].starts_with("conflict at height 1"), "{:?}", one.halts());
}

#[test]
fn those_behind_are_told_and_those_ahead_are_asked() {
    let mut one = one();
    let block = one.block(0, 0x77);
    one.propose(0, &block, None, None);
    let decided = Message::Decided(one.qc(VoteKind::Commit, 0, block.hash(), &[1, 2]));
    one.say(1, &decided);
    one.committed(CommitBy::Engine);
    one.committed(CommitBy::Sync);
    one.committed(CommitBy::Engine);
    one.forget();
    one.say(1, &Message::Hello { height: quorate::Height(1) });
    assert!(one.did.iter().any(|action| matches!(action, Action::Serve { from_height, .. } if from_height.0 == 1)));
    one.forget();
    one.say(1, &Message::Hello { height: quorate::Height(9) });
    assert_eq!(one.sent(), [Message::Hello { height: quorate::Height(4) }]);
    one.forget();
    let Message::Decided(mut far) = decided else { unreachable!() };
    far.height.0 = 50;
    one.say(1, &Message::Decided(far));
    assert!(one.did.iter().any(|action| matches!(action, Action::NeedSync { height, .. } if height.0 == 50)));
}

/// One that is a single block behind gets the certificate, and the block when it asks.
#[test]
fn one_behind_by_a_block_is_served_by_the_engine() {
    let mut one = one();
    let block = one.block(0, 0x77);
    one.propose(0, &block, None, None);
    let qc = one.qc(VoteKind::Commit, 0, block.hash(), &[1, 2]);
    one.say(1, &Message::Decided(qc.clone()));
    one.committed(CommitBy::Engine);
    one.forget();
    one.say(2, &Message::Hello { height: qc.height });
    one.say(2, &Message::Fetch { height: qc.height, hash: block.hash() });
    assert_eq!(
        one.sent(),
        [Message::Decided(qc.clone()), Message::Body { height: qc.height, block: block.encoded().clone() }]
    );
}

#[test]
fn messages_of_the_next_height_wait_for_it() {
    let mut one = one();
    let before = one.tip;
    let next = {
        let mut ahead = self::one();
        ahead.committed(CommitBy::Sync);
        let block = ahead.block(0, 5);
        ahead.proposal(0, &block, None, None)
    };
    one.say(2, &next);
    assert!(one.asked(KIND_PREPARE).is_empty());
    assert_eq!(one.tip, before);
    one.committed(CommitBy::Engine);
    assert_eq!(one.asked(KIND_PREPARE).len(), 1);
}

#[test]
fn double_signatures_are_proven() {
    let mut one = one();
    // Judged never, so that nothing is decided meanwhile.
    one.verdict = None;
    let (block, other) = (one.block(0, 1), one.block(0, 2));
    for kind in [VoteKind::Commit, VoteKind::Prepare] {
        for block in [&block, &other] {
            let vote = one.vote(2, kind, 0, block.hash());
            one.say(1, &vote);
        }
    }
    one.propose(0, &block, None, None);
    one.propose(0, &other, None, None);
    let offences = one.offences("crash");
    let expected = [(2, "two commit votes in round 0"), (1, "two proposals in round 0")];
    assert_eq!(offences, expected.map(|(who, what)| (who, what.to_owned())), "one piece for each offender");
}

/// Rule 23 of votes which nobody checked, because their certificate was complete.
#[test]
fn a_vote_that_was_surplus_counts_against_its_validator_if_it_is_good() {
    for forged in [false, true] {
        let mut one = One::new(0, 4, "byzantine");
        let (block, other) = (one.block(0, 1), one.block(0, 2));
        one.propose(0, &block, None, None);
        for by in [1, 2] {
            let vote = one.vote(by, VoteKind::Prepare, 0, block.hash());
            one.say(by, &vote);
        }
        assert_eq!(one.asked(KIND_COMMIT).len(), 1, "a quorum of three prepared");
        let good = one.vote(3, VoteKind::Prepare, 0, block.hash());
        let surplus = match good.clone() {
            Message::Vote(vote) if forged => {
                Message::Vote(quorate_poa::Vote { signature: quorate::Signature::new([7; 64]), ..vote })
            }
            good => good,
        };
        one.say(1, &surplus);
        let contrary = one.vote(3, VoteKind::Prepare, 0, other.hash());
        one.say(1, &contrary);
        let offence = [(3, "two prepare votes in round 0".to_owned())];
        assert_eq!(one.offences("byzantine"), if forged { vec![] } else { offence.to_vec() });
        // What somebody made up does not keep the truth from being seen.
        one.say(3, &good);
        assert_eq!(one.offences("byzantine"), offence);
    }
}

#[test]
fn a_second_proposal_of_a_round_that_is_over_is_proven() {
    let mut one = one();
    let (block, other) = (one.block(0, 1), one.block(0, 2));
    one.propose(0, &block, None, None);
    let tc = one.tc(0, &[(1, None), (2, None)]);
    let status = one.new_round(Some(tc), None);
    one.say(2, &status);
    one.propose(0, &other, None, None);
    assert_eq!(one.offences("crash"), [(1, "two proposals in round 0".to_owned())]);
}

#[test]
fn a_hidden_lock_is_proven_in_either_order_and_an_honest_timeout_is_not() {
    for commit_first in [true, false] {
        let mut one = one();
        let block = one.block(0, 1);
        let (commit, timeout) = (one.vote(2, VoteKind::Commit, 0, block.hash()), one.timeout(2, 0, None));
        let order = if commit_first { [commit, timeout] } else { [timeout, commit] };
        order.iter().for_each(|message| one.say(2, message));
        let offence = "hid in round 0 the lock of its commit vote in round 0".to_owned();
        assert_eq!(one.offences("crash"), [(2, offence)], "{commit_first}");
    }
    let mut one = one();
    let block = one.block(0, 1);
    let qc = one.qc(VoteKind::Prepare, 0, block.hash(), &[1, 2]);
    let said = [
        one.timeout(2, 0, None),
        one.timeout(2, 0, Some(qc.clone())),
        one.vote(1, VoteKind::Commit, 0, block.hash()),
        one.timeout(1, 0, Some(qc)),
    ];
    said.iter().for_each(|message| one.say(2, message));
    assert!(one.evidence().is_empty());
}

/// A copy of this validator's key at work elsewhere is noticed here too.
#[test]
fn a_clone_of_this_validators_key_is_noticed() {
    let mut one = one();
    let (block, other) = (one.block(0, 1), one.block(0, 2));
    one.propose(0, &block, None, None);
    assert_eq!(one.asked(KIND_PREPARE).len(), 1);
    let vote = one.vote(0, VoteKind::Prepare, 0, other.hash());
    one.say(1, &vote);
    assert_eq!(one.offences("crash"), [(0, "two prepare votes in round 0".to_owned())]);
}

#[test]
fn a_change_of_validators_takes_effect_with_the_next_height() {
    let mut one = one();
    let mut rest: Vec<_> = one.set.iter().map(|(_, validator)| validator.clone()).collect();
    rest.remove(0);
    one.set = quorate::ValidatorSet::new(rest).unwrap();
    let block = one.block(0, 0x77);
    let tip = quorate::consensus::Tip { height: block.height(), hash: block.hash(), time: block.header().time };
    let validators = one.set.clone();
    one.forget();
    one.step(Event::Committed { tip, validators, me: None, by: CommitBy::Engine, pending: true });
    one.wait(10_000);
    assert!(one.did.iter().all(|action| !matches!(action, Action::Sign(_))), "a removed validator signs nothing");
    assert_eq!(one.engine.status(quorate::Instant(0)).quorum, 2);
}
