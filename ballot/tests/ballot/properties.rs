//! For any rules and choices: what is cast is verified, counted, and read back; rubbish is not.

use proptest::{collection::vec, prelude::*};
use quorate_ballot::{
    ballot::{self, Ballot, Choices, ElectionKey},
    batch,
    contest::{Contest, Rules},
    random::{Draw as _, SystemDraw},
    record::{Draft, Manifest, Receipt, Transaction},
    tally::{Logarithms, Sums},
};

fn contest() -> impl Strategy<Value = (u16, u16, u16)> {
    (1u16..=4).prop_flat_map(|options| {
        (Just(options), 1..=options).prop_flat_map(|(options, hi)| (Just(options), 0..=hi, Just(hi)))
    })
}

/// Rules, and for each voter the numbers by which options are picked.
type Given = (Vec<(u16, u16, u16)>, Vec<Vec<u16>>);

fn election() -> impl Strategy<Value = Given> {
    (vec(contest(), 1..3), vec(vec(any::<u16>(), 5), 1..4))
}

/// A choice that fits, by some numbers.
fn choose((options, lo, hi): (u16, u16, u16), numbers: &[u16]) -> Vec<bool> {
    let count = lo + numbers[0] % (hi - lo + 1);
    let start = numbers[1] % options;
    let mut bits = vec![false; usize::from(options)];
    for at in 0..count {
        bits[usize::from((start + at) % options)] = true;
    }
    bits
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn what_is_cast_is_verified_and_counted((given, voters) in election()) {
        let contests = given.iter().map(|(options, lo, hi)| Contest::new(*options, *lo, *hi).unwrap()).collect();
        let rules = Rules::new(contests).unwrap();
        let trustee = SystemDraw.secret().unwrap();
        let election = ElectionKey { eid: [3; 32], y: trustee.public() };
        let mut sums = Sums::new(&rules);
        let mut right = vec![0u32; rules.options()];
        let mut ballots = Vec::new();
        for numbers in &voters {
            let chosen: Vec<Vec<bool>> = given.iter().map(|one| choose(*one, numbers)).collect();
            right.iter_mut().zip(chosen.concat()).for_each(|(sum, bit)| *sum += u32::from(bit));
            let key = SystemDraw.secret().unwrap();
            let choices = Choices::new(&rules, &chosen).unwrap();
            let (sealed, openings) = ballot::encrypt(&election, &rules, (0, &key.public()), &choices, &mut SystemDraw).unwrap();
            prop_assert_eq!(ballot::audit(&election, &rules, sealed.body(), &openings).unwrap(), choices);
            let bytes = sealed.cast(&key, &mut SystemDraw).unwrap();
            prop_assert_eq!(bytes.len(), rules.ballot_bytes());
            let read = Ballot::decode(&bytes, &rules).unwrap();
            prop_assert_eq!(ballot::verify(&election, &rules, &read), Ok(()));
            sums.add(&read);
            ballots.push(read);
        }
        let verdicts = batch::verify_batch(&election, &rules, &ballots.iter().collect::<Vec<_>>());
        prop_assert!(verdicts.iter().all(Result::is_ok));
        let encoded = sums.encode().concat();
        let sums = Sums::decode(&rules, &encoded).unwrap();
        let found = sums.decrypt_with(&trustee, &Logarithms::up_to(voters.len() as u32));
        prop_assert_eq!(found, right.into_iter().map(Some).collect::<Vec<_>>());
    }
}

proptest! {
    #[test]
    fn rubbish_is_refused_and_nothing_panics(bytes in vec(any::<u8>(), 0..600), kind in 0u8..14) {
        let rules = Rules::new(vec![Contest::new(2, 0, 1).unwrap()]).unwrap();
        prop_assert!(Ballot::decode(&bytes, &rules).is_err());
        prop_assert!(Draft::decode(&bytes).is_err());
        prop_assert!(Manifest::decode(&bytes).is_err());
        let bytes = [&[kind], bytes.as_slice()].concat();
        // What is read is what would be written.
        if let Ok(read) = Transaction::decode(&bytes) {
            prop_assert_eq!(read.encode(), bytes.clone());
        }
        if let Ok(read) = Receipt::decode(&bytes) {
            prop_assert_eq!(read.encode(), bytes);
        }
    }

    #[test]
    fn a_logarithm_is_found_up_to_its_bound(max in 0u32..3000, v in 0u32..3000) {
        use quorate_ballot::group::{Element, Scalar};
        let point = Element::base().point() * Scalar::from(v);
        prop_assert_eq!(Logarithms::up_to(max).find(&point), (v <= max).then_some(v));
    }
}
