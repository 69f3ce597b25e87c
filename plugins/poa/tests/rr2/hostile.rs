//! Bytes from anybody: no panic, no commit, no vote out of turn, and a bounded number of actions.

use proptest::prelude::*;
use quorate::{
    Bytes, Hash, PeerId,
    consensus::{Action, CommitBy, Event},
};
use quorate_poa::{KIND_COMMIT, Message, VoteKind};

use crate::one::One;

/// One of every message, all of them good.
fn good(one: &One) -> Vec<Message> {
    let block = one.block(0, 1);
    let hash = block.hash();
    let qc = one.qc(VoteKind::Prepare, 0, hash, &[1, 2]);
    let tc = one.tc(0, &[(1, Some(qc.clone())), (2, None)]);
    vec![
        one.proposal(0, &block, None, None),
        one.proposal(1, &block, Some(qc.clone()), Some(tc.clone())),
        one.vote(1, VoteKind::Prepare, 0, hash),
        one.vote(2, VoteKind::Commit, 0, hash),
        one.timeout(1, 0, Some(qc.clone())),
        one.new_round(Some(tc), Some(qc.clone())),
        Message::Certificate(qc),
        Message::Decided(one.qc(VoteKind::Commit, 0, hash, &[1, 2])),
        Message::Hello { height: one.height() },
        Message::Fetch { height: one.height(), hash },
        Message::Body { height: one.height(), block: block.encoded().clone() },
    ]
}

fn check(one: &One) {
    assert!(one.commits().is_empty() && one.halts().is_empty());
    assert!(one.asked(KIND_COMMIT).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_do_nothing(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 1..8)) {
        let mut one = One::new(0, 3, "crash");
        for bytes in messages {
            one.forget();
            one.say_bytes(1, bytes.into());
            prop_assert!(one.did.len() < 8);
            check(&one);
        }
    }

    /// A bit or some bytes of each message changed, cut or added: what is left of it is never enough to decide.
    #[test]
    fn damaged_messages_decide_nothing(
        changes in prop::collection::vec((0usize..11, any::<prop::sample::Index>(), 1u8.., 0usize..3), 1..24),
    ) {
        let mut one = One::new(0, 3, "crash");
        let messages = good(&one);
        for (which, at, xor, how) in changes {
            let mut bytes = messages[which].encode().to_vec();
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] ^= xor,
                1 => bytes.truncate(at),
                _ => bytes.push(xor),
            }
            one.say_bytes(1, bytes.into());
            prop_assert!(one.commits().is_empty() && one.halts().is_empty());
        }
    }

    /// Everything one dishonest validator can sign or repeat: without another's vote nothing is decided but what this one supports.
    #[test]
    fn one_dishonest_validator_never_makes_this_one_contradict_itself(
        steps in prop::collection::vec((0u8..6, 0u32..4, 1u8..4, 0u64..400), 1..40),
    ) {
        let mut one = One::new(0, 3, "byzantine-sync");
        for (what, round, mark, wait) in steps {
            let hash = one.block(0, mark).hash();
            let block = one.block(0, mark);
            let message = match what {
                0 => one.proposal(0, &block, None, None),
                1 => one.vote(1, VoteKind::Prepare, round, hash),
                2 => one.vote(1, VoteKind::Commit, round, hash),
                3 => one.timeout(1, round, None),
                4 => Message::Fetch { height: one.height(), hash },
                _ => Message::Hello { height: one.height() },
            };
            one.say(1, &message);
            one.wait(wait);
        }
        let requests = one.pick(|action| if let Action::Sign(request) = action { Some(request.clone()) } else { None });
        for pair in requests.windows(2) {
            let again = pair[0].guard == pair[1].guard && pair[0] == pair[1];
            prop_assert!(pair[0].guard < pair[1].guard || again, "{pair:?}");
        }
        prop_assert!(one.commits().len() <= 1);
    }
}

#[test]
fn every_message_reads_back_and_no_longer_one_is_read() {
    let one = One::new(0, 3, "crash");
    for message in good(&one) {
        let bytes = message.encode();
        assert_eq!(Message::decode(&bytes, 65536), Ok(message));
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert!(Message::decode(&longer, 65536).is_err());
    }
    assert!(Message::decode(&vec![0; (128 << 10) + 1025], 1024).unwrap_err().to_string().contains("limit is 132096"));
}

/// Golden: a change of these bytes is a change of the protocol.
#[test]
fn golden_messages() {
    let one = One::new(0, 3, "crash");
    let whole: Vec<u8> = good(&one).iter().flat_map(|message| message.encode().to_vec()).collect();
    let hello = Message::Hello { height: quorate::Height(258) }.encode();
    assert_eq!(hello[..], [6, 2, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(Hash::of(&[&whole]).to_string(), "0x4aff6a0191212bf59c954b27c58679857d6fd31200fd8073f79f25a797dacc61");
}

/// A list that claims more entries than there are bytes, or than there are validators.
#[test]
fn claimed_lengths_are_not_believed() {
    let one = One::new(0, 3, "crash");
    let mut bytes = Message::Certificate(one.qc(VoteKind::Prepare, 0, Hash::ZERO, &[])).encode().to_vec();
    let at = bytes.len() - 4;
    bytes[at..].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(Message::decode(&bytes, 65536).is_err());
    let many: Vec<usize> = vec![1; 257];
    let message = Message::Certificate(one.qc(VoteKind::Prepare, 0, Hash::ZERO, &many));
    assert!(Message::decode(&message.encode(), 65536).unwrap_err().to_string().contains("257 signatures"));
}

/// Answers are counted for each peer, so that questions do not turn a validator against others.
#[test]
fn a_flood_of_questions_gets_a_few_answers() {
    let mut one = One::new(0, 3, "crash");
    one.committed(CommitBy::Sync);
    one.forget();
    for _ in 0..1000 {
        one.say(1, &Message::Hello { height: one.height() });
        one.say(1, &Message::Hello { height: quorate::Height(1) });
    }
    assert!(one.did.len() < 100, "{} actions", one.did.len());
}

/// Votes for rounds without end, and peers without end, take bounded memory: the engine stays as quick and says no more.
#[test]
fn far_rounds_and_many_peers_are_not_kept() {
    let mut one = One::new(0, 3, "crash");
    one.forget();
    for round in (65..1000).chain([u32::MAX]) {
        let (vote, timeout) = (one.vote(1, VoteKind::Commit, round, Hash::ZERO), one.timeout(2, round, None));
        one.say(1, &vote);
        one.say(2, &timeout);
    }
    for number in 0..3000u32 {
        let mut id = [7; 32];
        id[..4].copy_from_slice(&number.to_le_bytes());
        let hello = Message::Hello { height: quorate::Height(1 + u64::from(number % 3)) }.encode();
        one.step(Event::Message { from: PeerId::new(id), validator: None, bytes: hello });
        one.step(Event::Message { from: PeerId::new(id), validator: None, bytes: Bytes::from_static(b"x") });
    }
    let others =
        one.did.iter().filter(|action| !matches!(action, Action::Penalise { .. } | Action::Send { .. })).count();
    assert!(others < 4, "{others}");
}
