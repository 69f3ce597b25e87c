//! Several engines on one virtual clock: what a user of the network relies on.

use crate::net::{Net, peer, settings};
use quorate::{
    Round,
    consensus::{Action, Event},
};
use quorate_poa::{KIND_COMMIT, KIND_PREPARE, KIND_PROPOSAL, Message};

const MODELS: [&str; 3] = ["crash", "byzantine-sync", "byzantine"];

#[test]
fn validators_decide_block_after_block_at_the_interval_in_every_model() {
    for model in MODELS {
        for count in [1, 2, 3, 4, 7] {
            let mut net = Net::started(count, &settings(model, ""));
            net.run(10_500);
            let heights = net.heights();
            assert!(heights.iter().all(|height| (9..=10).contains(height)), "{model} {count}: {heights:?}");
            for (block, proof) in &net.nodes[0].disk.chain {
                let certificate = net.proof.certificate(proof).unwrap();
                assert_eq!(certificate.round, Round(0), "{model} {count}");
                assert_eq!(block.header().creator, net.set.at_turn(block.height().0));
            }
            for at in 0..count {
                assert!(net.penalties(at).is_empty() && net.evidence(at).is_empty() && net.halts(at).is_empty());
                assert_eq!(net.nodes[at].engine.as_ref().unwrap().status(net.now).stalled, None);
            }
        }
    }
}

#[test]
fn a_dead_creator_costs_one_round_and_no_more() {
    for (model, count) in [("crash", 3), ("byzantine-sync", 3), ("byzantine", 4)] {
        let mut net = Net::started(count, &settings(model, ""));
        net.kill(1);
        net.run(30_000);
        let heights = net.heights();
        assert!(heights[0] >= 15 && heights[0].abs_diff(heights[2]) <= 1, "{model}: {heights:?}");
        for (block, proof) in &net.nodes[0].disk.chain {
            let expected = if net.set.at_turn(block.height().0).0 == 1 { Round(1) } else { Round(0) };
            assert_eq!(net.proof.certificate(proof).unwrap().round, expected, "{model} block {}", block.height());
        }
    }
}

#[test]
fn without_a_quorum_nothing_becomes_final_and_the_status_says_who_is_silent() {
    let mut net = Net::started(3, &settings("crash", ""));
    net.run(3_500);
    net.kill(1);
    net.kill(2);
    let before = net.heights()[0];
    net.run(60_000);
    assert_eq!(net.heights()[0], before);
    let status = net.nodes[0].engine.as_ref().unwrap().status(net.now);
    assert_eq!(status.stalled.as_deref(), Some("1 of 2 needed; silent: validator-2, validator-3"));
    assert_eq!((status.quorum, status.heard_from.len()), (2, 1));
    net.start(2);
    net.run(40_000);
    assert!(net.heights()[0] > before + 5, "{:?}", net.heights());
    assert_eq!(net.nodes[0].engine.as_ref().unwrap().status(net.now).stalled, None);
}

#[test]
fn a_killed_validator_comes_back_and_catches_up() {
    for model in MODELS {
        let count = if model == "byzantine" { 4 } else { 3 };
        let mut net = Net::started(count, &settings(model, ""));
        net.run(2_500);
        net.kill(0);
        net.run(20_000);
        let behind = net.heights();
        assert!(behind[1] > behind[0] + 3, "{model}: {behind:?}");
        net.start(0);
        net.run(10_000);
        let heights = net.heights();
        assert!(heights[0] >= behind[1] + 5 && heights[0].abs_diff(heights[1]) <= 1, "{model}: {heights:?}");
    }
}

/// Killed at every millisecond of a height, alone or all at once: what was final stays, nothing is signed twice differently, and
/// blocks go on.
#[test]
fn killed_at_any_instant_nothing_final_is_lost_and_blocks_go_on() {
    for model in ["crash", "byzantine-sync"] {
        for all in [false, true] {
            for step in (0..40).step_by(3) {
                let mut net = Net::started(3, &settings(model, "block_interval_ms = 100\n"));
                let ms = if model == "crash" { 98 + step / 4 } else { 190 + step * 5 };
                net.run(ms);
                let before = net.heights();
                let victims = if all { vec![0, 1, 2] } else { vec![(step % 3) as usize] };
                victims.iter().for_each(|at| net.kill(*at));
                net.run(20);
                victims.iter().for_each(|at| net.start(*at));
                net.run(4_000);
                let after = net.heights();
                let highest = before.iter().max().unwrap();
                assert!(after.iter().all(|height| *height > highest + 2), "{model} {all} {ms}: {before:?} {after:?}");
            }
        }
    }
}

#[test]
fn an_idle_network_waits_for_work_and_beats_once_in_a_while() {
    let more = "empty_blocks = \"heartbeat\"\nheartbeat_ms = 20000\n";
    let mut net = Net::started(3, &settings("crash", more));
    net.run(19_900);
    assert_eq!(net.heights(), [0, 0, 0]);
    assert_eq!(net.nodes[0].engine.as_ref().unwrap().status(net.now).phase, "idle");
    net.run(200);
    assert_eq!(net.heights(), [1, 1, 1], "a heartbeat");
    (0..3).for_each(|at| net.work(at));
    (0..3).for_each(|at| net.nodes[at].pending = false);
    net.run(1_100);
    assert_eq!(net.heights(), [2, 2, 2], "work, an interval after the heartbeat");
    net.run(15_000);
    assert_eq!(net.heights(), [2, 2, 2]);
}

/// A proposer to which no work came wakes by the timeouts of the others.
#[test]
fn one_validator_with_work_is_enough_to_wake_the_others() {
    let mut net = Net::started(3, &settings("crash", "empty_blocks = \"never\"\nblock_interval_ms = 0\n"));
    net.run(1_000);
    net.work(0);
    net.nodes[0].pending = false;
    net.run(6_000);
    assert_eq!(net.heights(), [1, 1, 1]);
}

#[test]
fn with_interval_zero_a_block_follows_work_at_once() {
    let mut net = Net::started(3, &settings("crash", "empty_blocks = \"never\"\nblock_interval_ms = 0\n"));
    net.run(5_000);
    (0..3).for_each(|at| net.work(at));
    (0..3).for_each(|at| net.nodes[at].pending = false);
    net.run(4);
    assert_eq!(net.heights(), [1, 1, 1], "proposal, prepare and commit are three hops of a millisecond");
}

/// The body of a decided block is asked for when only the certificate came.
#[test]
fn a_block_that_was_missed_is_fetched_when_it_is_decided() {
    let mut net = Net::started(3, &settings("crash", ""));
    net.run(999);
    // Until the decision, nobody speaks to validator 3.
    net.cut.extend([(0, 2), (1, 2)]);
    net.run(3);
    net.cut.clear();
    // Those who decided wait a quarter of `timeout_ms` for a sign that it did as well.
    net.run(260);
    assert_eq!(net.heights(), [1, 1, 1]);
    let synced = net.of(2, |action| matches!(action, Action::NeedSync { .. }).then_some(()));
    assert!(synced.is_empty(), "the peers had it at hand");
}

/// Rules 12, 14 and 18: what two lose between them comes by the third, late at first and then at once.
#[test]
fn two_that_lose_what_they_say_to_each_other_hold_nobody_up() {
    let mut net = Net::started(3, &settings("crash", "block_interval_ms = 10\n"));
    net.run(500);
    net.cut.extend([(0, 1), (1, 0)]);
    // Those who lack something show it.
    net.run(1_000);
    let before = net.heights();
    net.run(1_000);
    let made: Vec<u64> = net.heights().iter().zip(&before).map(|(now, then)| now - then).collect();
    assert!(made.iter().all(|blocks| *blocks >= 80), "{made:?} blocks of 100 that could be");
}

#[test]
fn a_partition_heals() {
    for model in MODELS {
        let mut net = Net::started(4, &settings(model, ""));
        net.run(2_500);
        for (a, b) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
            net.cut.extend([(a, b), (b, a)]);
        }
        let before = net.heights();
        net.run(30_000);
        assert!(
            net.heights().iter().zip(&before).all(|(now, then)| now - then <= 1),
            "{model}: two of four decide nothing"
        );
        net.cut.clear();
        net.run(60_000);
        let after = net.heights();
        assert!(after.iter().all(|height| *height > before[0] + 10), "{model}: {before:?} {after:?}");
    }
}

/// An invalid block gets no vote; the next validator's is decided.
#[test]
fn an_invalid_block_is_not_voted_for() {
    let mut net = Net::new(3, &settings("crash", ""));
    net.bad_marks.insert(16 * 2 + 1);
    (0..3).for_each(|at| net.start(at));
    net.run(4_000);
    let (block, proof) = &net.nodes[0].disk.chain[0];
    assert_eq!(net.proof.certificate(proof).unwrap().round, Round(1));
    assert_eq!(block.header().creator.0, 2);
    let bad = net.asked(1, KIND_PROPOSAL)[0].clone();
    for at in [0, 2] {
        let votes = net.asked(at, KIND_PREPARE);
        assert!(votes.iter().all(|vote| vote.body[..] != bad.body[..32]), "voted for an invalid block");
    }
}

#[test]
fn an_observer_follows_and_says_nothing_that_is_signed() {
    let mut net = Net::started(3, &settings("crash", ""));
    let observer = peer(9);
    net.step(1, Event::PeerUp { peer: observer, validator: None });
    net.run(2_500);
    let context = crate::net::context(3, &net.shared);
    let mut engine = quorate::plugin::ConsensusPlugin::build(&quorate_poa::PoaPlugin, &context).unwrap();
    let mut out = Vec::new();
    let start = quorate::consensus::Start {
        tip: crate::net::genesis(),
        validators: net.set.clone(),
        me: None,
        saved: None,
        fresh: true,
        pending: true,
    };
    engine.step(net.now, Event::Start(start), &mut out);
    for (_, action) in net.nodes[1].did.clone() {
        let bytes = match action {
            Action::Broadcast(bytes) => bytes,
            Action::Send { to, bytes } if to == observer => bytes,
            _ => continue,
        };
        let validator = Some(quorate::ValidatorIndex(1));
        engine.step(net.now, Event::Message { from: peer(1), validator, bytes }, &mut out);
    }
    assert!(out.iter().any(|action| matches!(action, Action::NeedSync { from, .. } if *from == peer(1))));
    for action in &out {
        match action {
            Action::Broadcast(bytes) | Action::Send { bytes, .. } => {
                assert!(matches!(Message::decode(bytes, 65536), Ok(Message::Hello { .. })));
            }
            Action::NeedSync { .. } | Action::SetTimer { .. } | Action::CancelTimer(_) | Action::Serve { .. } => {}
            other => panic!("an observer did {other:?}"),
        }
    }
    assert_eq!(engine.status(net.now).phase, "follow");
}

/// One validator alone comes to hold a lock, nothing is decided, and all are killed: the locked block is decided later.
#[test]
fn a_lock_survives_lost_votes_and_a_restart() {
    let mut net = Net::started(3, &settings("crash", ""));
    net.run(999);
    // Validator 2 proposes, and reaches validator 3 alone, who reaches nobody.
    net.cut.extend([(1, 0), (2, 0), (2, 1)]);
    net.run(50);
    let locked = net.asked(2, KIND_COMMIT).first().cloned().expect("validator 3 locked");
    assert!(net.asked(0, KIND_COMMIT).is_empty() && net.asked(1, KIND_COMMIT).is_empty());
    assert_eq!(net.heights(), [0, 0, 0]);
    (0..3).for_each(|at| net.kill(at));
    net.cut.clear();
    (0..3).for_each(|at| net.start(at));
    net.run(10_000);
    assert_eq!(net.nodes[0].disk.chain[0].0.hash().as_bytes()[..], locked.body[..], "the locked block is decided");
}
