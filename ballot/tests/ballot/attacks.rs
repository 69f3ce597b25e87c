//! What forgers of ballots, trustees and thieves try.

use quorate_ballot::{
    ballot::{self, Ballot, BallotError, Choices, ElectionKey, Openings, Sealed},
    batch,
    codec::Problem,
    contest::{Contest, Rules},
    credential::{self, Code},
    dkg::{self, Dealer, DkgError, Parties},
    group::{Element, Scalar, SecretScalar, decode_scalar},
    random::{Draw as _, SystemDraw},
    record::{Entry, pseudonym},
    tally::{self, Share, ShareOf, Sums, TallyError},
};

const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

pub(crate) struct Voter {
    pub(crate) election: ElectionKey,
    pub(crate) rules: Rules,
    pub(crate) key: SecretScalar,
    trustee: SecretScalar,
}

pub(crate) fn voter(rules: &[(u16, u16, u16)]) -> Voter {
    let contests = rules.iter().map(|(options, lo, hi)| Contest::new(*options, *lo, *hi).unwrap()).collect();
    let trustee = SystemDraw.secret().unwrap();
    let election = ElectionKey { eid: [5; 32], y: trustee.public() };
    Voter { election, rules: Rules::new(contests).unwrap(), key: SystemDraw.secret().unwrap(), trustee }
}

impl Voter {
    fn encrypt(&self, chosen: &[Vec<bool>]) -> (Sealed, Openings) {
        let choices = Choices::new(&self.rules, chosen).unwrap();
        ballot::encrypt(&self.election, &self.rules, (7, &self.key.public()), &choices, &mut SystemDraw).unwrap()
    }

    pub(crate) fn cast(&self, chosen: &[Vec<bool>]) -> Vec<u8> {
        self.encrypt(chosen).0.cast(&self.key, &mut SystemDraw).unwrap()
    }

    pub(crate) fn verify(&self, bytes: &[u8]) -> Result<(), BallotError> {
        let ballot = Ballot::decode(bytes, &self.rules)?;
        let alone = ballot::verify(&self.election, &self.rules, &ballot);
        let good = Ballot::decode(&self.cast(&some(&self.rules)), &self.rules)?;
        let batch = batch::verify_batch(&self.election, &self.rules, &[&good, &ballot, &good]);
        assert_eq!(batch, [Ok(()), alone.clone(), Ok(())], "a batch says what is said of each");
        alone
    }
}

/// Choices that fit.
pub(crate) fn some(rules: &Rules) -> Vec<Vec<bool>> {
    rules.contests().iter().map(|one| (0..one.options()).map(|at| at < one.hi()).collect()).collect()
}

pub(crate) fn resigned(voter: &Voter, body: &[u8]) -> Vec<u8> {
    Sealed::from_body(body.to_vec()).cast(&voter.key, &mut SystemDraw).unwrap()
}

#[test]
fn every_bit_counts() {
    let voter = voter(&[(2, 1, 1)]);
    let good = voter.cast(&[vec![true, false]]);
    assert_eq!(voter.verify(&good), Ok(()));
    for at in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[at / 8] ^= 1 << (at % 8);
        let found = Ballot::decode(&bad, &voter.rules)
            .and_then(|one| ballot::verify(&voter.election, &voter.rules, &one).map(|()| one));
        assert!(found.is_err(), "bit {at}");
    }
    for len in 0..good.len() {
        assert_eq!(Ballot::decode(&good[..len], &voter.rules).unwrap_err().word(), "short");
    }
    assert_eq!(voter.verify(&[good.as_slice(), &[0]].concat()).unwrap_err().word(), "trailing");
}

#[test]
fn the_identity_and_numbers_that_are_too_large_are_refused_where_they_stand() {
    let voter = voter(&[(2, 0, 2)]);
    let good = voter.cast(&[vec![true, true]]);
    let put = |at: usize, value: &[u8; 32]| {
        let mut bad = good.clone();
        bad[at..at + 32].copy_from_slice(value);
        Ballot::decode(&bad, &voter.rules).unwrap_err().word()
    };
    // version, eid, index, K; contests, options; alpha, beta; ..
    for (at, field) in [(37, "K"), (73, "alpha"), (105, "beta"), (201, "A"), (233, "B")] {
        assert_eq!(put(at, &[0; 32]), field);
        assert_eq!(put(at, &[0xff; 32]), field);
    }
    let mut above = ORDER;
    above[0] += 1;
    for scalar in [ORDER, above, [0xff; 32]] {
        assert_eq!(put(good.len() - 32, &scalar), "sig z");
        assert_eq!(put(329, &scalar), "c");
        assert_eq!(decode_scalar(&scalar), Err(Problem::NotReduced));
    }
    assert_eq!(Element::decode(&[0; 32]), Err(Problem::Identity));
}

#[test]
fn no_vote_but_nought_or_one_has_a_proof() {
    let voter = voter(&[(2, 0, 2)]);
    let good = voter.cast(&[vec![true, false]]);
    for m in [Scalar::from(2u8), -Scalar::ONE, Scalar::from(1000u16)] {
        // The first ciphertext holds m: shifted by what the votes lack. Its proofs are those of the vote that was proven.
        let mut body = good[..good.len() - 64].to_vec();
        let beta: [u8; 32] = body[105..137].try_into().unwrap();
        let shifted = Element::decode(&beta).unwrap().point() + Element::base().point() * (m - Scalar::ONE);
        body[105..137].copy_from_slice(Element::from_point(shifted).unwrap().as_bytes());
        let error = voter.verify(&resigned(&voter, &body)).unwrap_err();
        assert_eq!(error, BallotError::BitProof { contest: 0, option: 0 });
    }
}

#[test]
fn what_is_proven_for_other_choices_proves_nothing_here() {
    let one = voter(&[(3, 1, 1), (3, 1, 1)]);
    let good = one.cast(&[vec![true, false, false], vec![false, true, false]]);
    let contest = (good.len() - 64 - 71) / 2;
    // The two contests exchanged.
    let mut swapped = good[..71].to_vec();
    swapped.extend_from_slice(&good[71 + contest..71 + 2 * contest]);
    swapped.extend_from_slice(&good[71..71 + contest]);
    let error = one.verify(&resigned(&one, &swapped)).unwrap_err();
    assert_eq!(error, BallotError::BitProof { contest: 0, option: 0 });
    // Under another election, another key of trustees, another voter.
    let ballot = Ballot::decode(&good, &one.rules).unwrap();
    let other = ElectionKey { eid: [6; 32], ..one.election };
    assert_eq!(ballot::verify(&other, &one.rules, &ballot), Err(BallotError::Election));
    let other = ElectionKey { y: one.key.public(), ..one.election };
    assert!(matches!(ballot::verify(&other, &one.rules, &ballot), Err(BallotError::BitProof { .. })));
    let mut stolen = good[..good.len() - 64].to_vec();
    let thief = voter(&[(3, 1, 1), (3, 1, 1)]);
    stolen[37..69].copy_from_slice(thief.key.public().as_bytes());
    let stolen = Ballot::decode(&resigned(&thief, &stolen), &one.rules).unwrap();
    assert!(matches!(ballot::verify(&one.election, &one.rules, &stolen), Err(BallotError::BitProof { .. })));
}

#[test]
fn choices_outside_the_rules_are_not_encrypted_and_a_looser_proof_is_not_taken() {
    let strict = voter(&[(3, 1, 1)]);
    assert!(Choices::new(&strict.rules, &[vec![true, true, false]]).is_err());
    assert!(Choices::new(&strict.rules, &[vec![false; 3]]).is_err());
    assert!(Choices::new(&strict.rules, &[vec![true]]).is_err());
    // Two of three, proven for at most two: an extra branch, which the election's rules do not have.
    let mut loose = voter(&[(3, 0, 2)]);
    loose.election = strict.election;
    let greedy = loose.cast(&[vec![true, true, false]]);
    assert_eq!(strict.verify(&greedy).unwrap_err().word(), "trailing");
    // One branch only, as for (2..2): the statement names lo and hi.
    let mut two = voter(&[(3, 2, 2)]);
    two.election = strict.election;
    let error = strict.verify(&two.cast(&[vec![true, true, false]])).unwrap_err();
    assert_eq!(error, BallotError::SumProof { contest: 0 });
}

#[test]
fn an_audit_finds_a_lying_device() {
    let voter = voter(&[(3, 1, 1)]);
    let (sealed, openings) = voter.encrypt(&[vec![false, true, false]]);
    let audit = |body: &[u8], openings: &Openings| ballot::audit(&voter.election, &voter.rules, body, openings);
    assert!(audit(sealed.body(), &openings).is_ok());
    // It says that the first is chosen.
    let shown = Choices::new(&voter.rules, &[vec![true, false, false]]).unwrap();
    let lie = Openings::new(shown, openings.randomness().to_vec());
    assert!(matches!(audit(sealed.body(), &lie), Err(ballot::AuditError::Differs { contest: 0, option: 0 })));
    let (other, _) = voter.encrypt(&[vec![false, true, false]]);
    assert!(audit(other.body(), &openings).is_err());
    // It makes a proof that nobody will accept.
    let mut broken = sealed.body().to_vec();
    let at = broken.len() - 5;
    broken[at] ^= 1;
    assert!(matches!(audit(&broken, &openings), Err(ballot::AuditError::Ballot(_))));
}

#[test]
fn a_weak_draw_shows_in_no_proof_of_another_statement() {
    // The same nonce for two statements gives the secret away; hedged nonces differ although the random bytes repeat.
    let secret = SystemDraw.secret().unwrap();
    let [one, two] = [[1; 32], [2; 32]].map(|statement| SystemDraw.nonce(secret.expose(), &statement).unwrap());
    assert_ne!(one, two);
}

#[test]
fn any_trustees_that_are_enough_give_the_result_and_fewer_do_not() {
    let voter = voter(&[(2, 0, 2)]);
    let dealers: Vec<Dealer> = (0..5).map(|_| Dealer::generate(3, &mut SystemDraw).unwrap()).collect();
    let keys = dkg::public_keys(&dealers.iter().map(Dealer::public).collect::<Vec<_>>()).unwrap();
    let election = ElectionKey { y: keys.y, ..voter.election };
    let own = |j: u16| {
        let shares: Vec<_> = dealers.iter().map(|one| one.share(j)).collect();
        dkg::own_key(shares.iter().map(|share| &**share)).unwrap()
    };
    let mut sums = Sums::new(&voter.rules);
    for chosen in [[true, false], [true, true], [true, false]] {
        let choices = Choices::new(&voter.rules, &[chosen.to_vec()]).unwrap();
        let at = (0, &voter.key.public());
        let (sealed, _) = ballot::encrypt(&election, &voter.rules, at, &choices, &mut SystemDraw).unwrap();
        let bytes = sealed.cast(&voter.key, &mut SystemDraw).unwrap();
        sums.add(&Ballot::decode(&bytes, &voter.rules).unwrap());
    }
    let all: Vec<Vec<_>> = (1..=5)
        .map(|trustee| {
            assert_eq!(own(trustee).public(), keys.x[usize::from(trustee) - 1]);
            let of = ShareOf { eid: election.eid, tally: [1; 32], trustee };
            let parts = tally::decrypt(&of, &voter.rules, &sums, &own(trustee), &mut SystemDraw).unwrap();
            let key = &keys.x[usize::from(trustee) - 1];
            assert_eq!(tally::check_share(&of, &voter.rules, &sums, key, &parts), Ok(()));
            let other = ShareOf { tally: [2; 32], ..of };
            assert!(tally::check_share(&other, &voter.rules, &sums, key, &parts).is_err(), "of another tally");
            parts
        })
        .collect();
    let count = |trustees: &[u16]| {
        let share = |trustee: &u16| Share { trustee: *trustee, parts: &all[usize::from(*trustee) - 1] };
        tally::count(&voter.rules, &sums, 3, &trustees.iter().map(share).collect::<Vec<_>>(), 3)
    };
    for trustees in [[1, 2, 3], [1, 3, 5], [5, 2, 4], [3, 4, 5]] {
        assert_eq!(count(&trustees), Ok(vec![3, 1]));
    }
    assert_eq!(count(&[1, 2]), Err(TallyError::TooFew { found: 2, needed: 3 }));
    assert_eq!(count(&[1, 2, 2]), Err(TallyError::Trustee(2)));
    drop(voter.trustee);
}

#[test]
fn a_share_is_for_its_receiver_and_of_its_dealer() {
    let (dealer, receiver) = (Dealer::generate(2, &mut SystemDraw).unwrap(), SystemDraw.secret().unwrap());
    let parties = Parties { cid: [1; 32], dealer: 1, receiver: 2 };
    let sealed = dkg::seal(&parties, &receiver.public(), &dealer.share(2), &mut SystemDraw).unwrap();
    let open =
        |parties: &Parties, secret: &SecretScalar| dkg::open(parties, secret, &dealer.public(), &sealed).map(|s| *s);
    assert_eq!(open(&parties, &receiver), Ok(*dealer.share(2)));
    for other in
        [Parties { cid: [2; 32], ..parties }, Parties { dealer: 3, ..parties }, Parties { receiver: 1, ..parties }]
    {
        assert_eq!(open(&other, &receiver), Err(DkgError::Unproven));
    }
    assert_eq!(open(&parties, &SystemDraw.secret().unwrap()), Err(DkgError::Unproven));
    for at in 0..sealed.len() {
        let mut bad = sealed;
        bad[at] ^= 1;
        assert!(dkg::open(&parties, &receiver, &dealer.public(), &bad).is_err(), "byte {at}");
    }
}

#[test]
fn a_rogue_key_needs_a_proof_that_nobody_has() {
    // Trustee 2 wants Y = its own key: it takes the other's away from its own, and does not know the difference's logarithm.
    let [honest, rogue] = [0, 1].map(|_| Dealer::generate(1, &mut SystemDraw).unwrap());
    let wanted = rogue.public()[0].point() - honest.public()[0].point();
    let public = vec![Element::from_point(wanted).unwrap()];
    let proof = rogue.prove(&[1; 32], 2, &mut SystemDraw).unwrap();
    assert!(!dkg::knows(&[1; 32], 2, &public, &proof));
    assert!(dkg::knows(&[1; 32], 2, &rogue.public(), &proof));
    assert!(!dkg::knows(&[1; 32], 1, &rogue.public(), &proof), "of another trustee");
    assert!(!dkg::knows(&[2; 32], 2, &rogue.public(), &proof), "of another ceremony");
}

#[test]
fn a_code_is_read_as_it_was_shown_and_makes_a_key_for_one_draft() {
    let code = Code::generate().unwrap();
    let shown = code.reveal();
    let read: Code = shown.parse().unwrap();
    let key = |code: &Code, draft: u8| code.secret(&[draft; 32]).unwrap().public();
    assert_eq!(key(&read, 1), key(&code, 1));
    assert_ne!(key(&read, 1), key(&code, 2));
    for at in 0..shown.len() {
        let mut wrong = shown.as_bytes().to_vec();
        wrong[at] = if wrong[at] == b'a' { b'b' } else { b'a' };
        assert!(std::str::from_utf8(&wrong).unwrap().parse::<Code>().is_err(), "character {at}");
    }
    let secret = code.secret(&[1; 32]).unwrap();
    let entry = Entry { key: secret.public(), pseudonym: pseudonym("ada", &[3; 32]) };
    let proof = credential::prove_possession(&[1; 32], &entry.pseudonym, &secret, &mut SystemDraw).unwrap();
    assert!(credential::has_possession(&[1; 32], &entry, &proof));
    assert!(!credential::has_possession(&[2; 32], &entry, &proof));
    let other = Entry { pseudonym: pseudonym("eve", &[3; 32]), ..entry };
    assert!(!credential::has_possession(&[1; 32], &other, &proof));
}
