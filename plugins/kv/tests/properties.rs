//! What holds for any bytes and any blocks.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{CHAIN, execute, genesis};
use proptest::{collection::vec, prelude::*, sample::Index};
use quorate::{
    Application, Bytes, Timestamp,
    application::{ExecuteError, Mode, NoState, Rejection},
};
use quorate_kv::{Kv, Put};

fn kv() -> Kv {
    Kv::new(CHAIN, 16)
}

/// Transactions of three signers with small nonces and keys, so that they meet; some are of no use.
fn transaction() -> impl Strategy<Value = Bytes> {
    let signed = (0..3u8, 0..4u64, vec(0..3u8, 0..3), proptest::option::of(vec(any::<u8>(), 0..20))).prop_map(
        |(signer, nonce, key, value)| match value {
            Some(value) => Put::sign(&[signer; 32], &CHAIN, nonce, &key, &value),
            None => Put::sign_delete(&[signer; 32], &CHAIN, nonce, &key),
        },
    );
    let flipped = (signed.clone(), any::<Index>(), 0..8u8).prop_map(|(bytes, at, bit)| {
        let mut bytes = bytes.to_vec();
        let at = at.index(bytes.len());
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << bit;
        }
        Bytes::from(bytes)
    });
    prop_oneof![8 => signed, 1 => flipped, 1 => vec(any::<u8>(), 0..200).prop_map(Bytes::from)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_bytes_make_a_panic(bytes in vec(any::<u8>(), 0..1300), path in ".{0,8}") {
        let (kv, mut state) = (kv(), genesis(&kv()));
        for bytes in [bytes.clone(), [&[1], &bytes[..]].concat()] {
            let bytes = Bytes::from(bytes);
            drop(kv.verify(&NoState, std::slice::from_ref(&bytes)));
            drop(kv.check(&state, Timestamp(0), &bytes));
            drop(execute(&kv, &mut state, 1, Mode::Build, std::slice::from_ref(&bytes)).unwrap());
            for path in [&path[..], "get", "list", "nonce", "winner", "app_hash"] {
                drop(kv.query(&state, path, &bytes));
            }
        }
    }

    /// A batch says of each transaction what is said of it alone, in whatever company and order.
    #[test]
    fn a_batch_verifies_as_single_transactions_do(transactions in vec(transaction(), 0..12)) {
        let kv = kv();
        let together = kv.verify(&NoState, &transactions);
        let alone: Vec<_> = transactions.iter().flat_map(|one| kv.verify(&NoState, std::slice::from_ref(one))).collect();
        prop_assert_eq!(&together, &alone);
        let reversed: Vec<_> = transactions.iter().rev().cloned().collect();
        prop_assert!(kv.verify(&NoState, &reversed).iter().rev().eq(&together));
    }

    /// The same blocks give the same states and hashes, on a state that was built and on one that follows; a proposal that was
    /// executed and not decided leaves no trace.
    #[test]
    fn execution_is_deterministic(blocks in vec(vec(transaction(), 0..8), 0..5)) {
        let (proposer, follower) = (kv(), kv());
        let (mut built, mut applied) = (genesis(&proposer), genesis(&follower));
        for (height, candidates) in (1..).zip(&blocks) {
            let mut undecided = built.clone();
            let rival: Vec<_> = candidates.iter().rev().cloned().collect();
            execute(&proposer, &mut undecided, height, Mode::Build, &rival).unwrap();
            drop(proposer.verify(&NoState, candidates));
            let build = execute(&proposer, &mut built, height, Mode::Build, candidates).unwrap();
            let left_out: Vec<usize> = build.left_out.iter().map(|(at, _)| *at).collect();
            prop_assert!(left_out.is_sorted());
            let kept: Vec<_> =
                (0..).zip(candidates).filter(|(at, _)| !left_out.contains(at)).map(|(_, one)| one.clone()).collect();
            prop_assert_eq!(kept.len(), build.receipts.len());
            let apply = execute(&follower, &mut applied, height, Mode::Apply, &kept).unwrap();
            prop_assert_eq!(apply.app_hash, build.app_hash);
            prop_assert_eq!(apply.receipts, build.receipts);
            prop_assert_eq!(&applied, &built);
        }
    }

    /// What `check` says is what `execute` does: accepted now, later, or never.
    #[test]
    fn check_and_execute_agree(before in vec(transaction(), 0..10), one in transaction()) {
        let (kv, mut state) = (kv(), genesis(&kv()));
        execute(&kv, &mut state, 1, Mode::Build, &before).unwrap();
        let executed = execute(&kv, &mut state.clone(), 2, Mode::Apply, std::slice::from_ref(&one));
        match kv.check(&state, Timestamp(0), &one) {
            Ok(admission) if admission.sequence == admission.next_sequence => prop_assert!(executed.is_ok()),
            Ok(admission) => {
                prop_assert!(admission.sequence > admission.next_sequence);
                let waits = matches!(
                    executed,
                    Err(ExecuteError::Invalid { rejection: Rejection::NotAllowed(_), .. })
                );
                prop_assert!(waits);
            }
            Err(rejection) => {
                let Err(ExecuteError::Invalid { rejection: other, .. }) = executed else {
                    return Err(TestCaseError::fail("executed what check refuses"));
                };
                prop_assert_eq!(other, rejection);
            }
        }
    }
}
