//! What ballots cost on this machine, on one core: `cargo bench -p quorate-ballot`.
//!
//! Encryption; verification alone and in batches; the sum of 10,000 ballots; the count of a million votes. Medians of rounds.

#![expect(clippy::unwrap_used, reason = "a measurement that fails may panic")]

use std::time::Instant;

use quorate_ballot::{
    ballot::{self, Ballot, Choices, ElectionKey},
    batch::{self, BATCH_MAX},
    contest::{Contest, Rules},
    group::{Element, Scalar, SecretScalar},
    random::{Draw as _, SystemDraw},
    tally::{Logarithms, Sums},
};

/// Rounds of one figure.
const ROUNDS: usize = 11;

/// Milliseconds of a call, the median of the rounds.
fn median<T>(mut call: impl FnMut() -> T) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            std::hint::black_box(call());
            began.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds.get(ROUNDS / 2).copied().unwrap_or_default()
}

struct Bench {
    election: ElectionKey,
    rules: Rules,
    voter: SecretScalar,
}

impl Bench {
    fn new(options: u16) -> Self {
        let election = ElectionKey { eid: [1; 32], y: SystemDraw.secret().unwrap().public() };
        let rules = Rules::new(vec![Contest::new(options, 1, 1).unwrap()]).unwrap();
        Self { election, rules, voter: SystemDraw.secret().unwrap() }
    }

    fn cast(&self) -> Vec<u8> {
        let mut chosen = vec![false; self.rules.options()];
        chosen.iter_mut().take(1).for_each(|bit| *bit = true);
        let choices = Choices::new(&self.rules, &[chosen]).unwrap();
        let at = (0, &self.voter.public());
        let (sealed, _) = ballot::encrypt(&self.election, &self.rules, at, &choices, &mut SystemDraw).unwrap();
        sealed.cast(&self.voter, &mut SystemDraw).unwrap()
    }
}

fn verification(options: u16) {
    let bench = Bench::new(options);
    let (election, rules) = (&bench.election, &bench.rules);
    let encrypt = median(|| bench.cast());
    let bytes: Vec<Vec<u8>> = (0..BATCH_MAX).map(|_| bench.cast()).collect();
    let single = median(|| {
        let one = Ballot::decode(bytes.first().unwrap(), rules).unwrap();
        ballot::verify(election, rules, &one).unwrap();
    });
    let per = |count: usize| {
        median(|| {
            let all: Vec<Ballot> = bytes.iter().take(count).map(|one| Ballot::decode(one, rules).unwrap()).collect();
            let verdicts = batch::verify_batch(election, rules, &all.iter().collect::<Vec<_>>());
            assert!(verdicts.iter().all(Result::is_ok));
        }) / count as f64
    };
    let (eight, most) = (per(8), per(BATCH_MAX));
    println!(
        "{options:>7} {:>9} {encrypt:>12.2} {single:>12.2} {eight:>12.2} {most:>12.2} {:>10.0}",
        rules.ballot_bytes(),
        1e3 / most
    );
}

fn tally() {
    let bench = Bench::new(5);
    let one = Ballot::decode(&bench.cast(), &bench.rules).unwrap();
    let add = median(|| {
        let mut sums = Sums::new(&bench.rules);
        (0..10_000).for_each(|_| sums.add(&one));
        sums
    });
    println!("sum of 10,000 ballots of 5 options {add:>10.1} ms");
    for ballots in [10_000u32, 1_000_000] {
        let point = Element::base().point() * Scalar::from(ballots - 1);
        let count = median(|| {
            let table = Logarithms::up_to(ballots);
            (0..5).for_each(|_| assert_eq!(table.find(&point), Some(ballots - 1)));
        });
        println!("counts of 5 options from {ballots:>9} ballots, shares given {count:>8.1} ms");
    }
}

fn main() {
    println!("milliseconds a ballot on one core, decoding included");
    println!("options     bytes      encrypt     alone in batches of 8    of {BATCH_MAX}   a second");
    [2, 5, 20].into_iter().for_each(verification);
    tally();
}
