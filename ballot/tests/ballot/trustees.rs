//! What dealers, accusers and decrypting trustees try.

use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit as _,
    aead::{Aead as _, Payload},
};
use curve25519_dalek::ristretto::RistrettoPoint;
use quorate_ballot::{
    ballot::{self, Ballot, Choices, ElectionKey},
    contest::{Contest, Rules},
    dkg::{self, Accusation, Dealer, DkgError, Parties},
    group::{Element, Scalar, SecretScalar},
    random::{Draw as _, SystemDraw},
    record::{SEALED_BYTES, SharePart},
    tally::{self, OptionAt, Share, ShareOf, Sums, TallyError},
    transcript::{Tag, h32, hs},
};

fn secret() -> SecretScalar {
    SystemDraw.secret().unwrap()
}

fn dealer() -> Dealer {
    Dealer::generate(2, &mut SystemDraw).unwrap()
}

const PARTIES: Parties = Parties { cid: [1; 32], dealer: 1, receiver: 2 };

fn seal(parties: &Parties, receiver: &SecretScalar, share: &Scalar) -> [u8; SEALED_BYTES] {
    dkg::seal(parties, &receiver.public(), share, &mut SystemDraw).unwrap()
}

fn accuse(receiver: &SecretScalar, sealed: &[u8; SEALED_BYTES]) -> Accusation {
    dkg::accuse(&PARTIES, receiver, sealed, &mut SystemDraw).unwrap()
}

/// Opens a sealed share as whoever knows the shared point can.
fn open_as_anybody(parties: &Parties, receiver: &Element, shared: &Element, sealed: &[u8]) -> Option<Vec<u8>> {
    let of = [&parties.cid[..], &u32::from(parties.dealer).to_be_bytes(), &u32::from(parties.receiver).to_be_bytes()];
    let of = of.concat();
    let key = h32(Tag::DkgShare, &[&of, &sealed[..32], receiver.as_bytes(), shared.as_bytes()]);
    let payload = Payload { msg: &sealed[32..80], aad: &of };
    ChaCha20Poly1305::new(&key.into()).decrypt(&[0; 12].into(), payload).ok()
}

/// A dealer put another dealer's element before its own share, perhaps from an older ceremony with the same receiver. The receiver's
/// honest complaint then published the point that opens the other's share: one trustee could collect another's share of a key.
#[test]
fn an_honest_complaint_opens_no_share_of_another_dealer() {
    let (receiver, honest, thief) = (secret(), dealer(), dealer());
    let wanted = seal(&PARTIES, &receiver, &honest.share(2));
    let new = Parties { cid: [2; 32], dealer: 3, receiver: 2 };
    // The whole; and the element alone, before a share and a proof of the thief's own.
    let mut mixed = seal(&new, &receiver, &thief.share(2));
    mixed[..32].copy_from_slice(&wanted[..32]);
    for copied in [wanted, mixed] {
        assert!(!dkg::is_proven(&new, &receiver.public(), &copied));
        assert_eq!(dkg::open(&new, &receiver, &thief.public(), &copied).map(|_| ()), Err(DkgError::Unproven));
        assert_eq!(dkg::accuse(&new, &receiver, &copied, &mut SystemDraw), Err(DkgError::Unproven));
    }
    // What it was about: with the shared point the share is anybody's.
    let shared = accuse(&receiver, &wanted).shared;
    let opened = open_as_anybody(&PARTIES, &receiver.public(), &shared, &wanted);
    assert_eq!(opened.as_deref(), Some(honest.share(2).as_bytes().as_slice()));
}

#[test]
fn a_complaint_is_justified_false_or_forged() {
    let (receiver, dealer) = (secret(), dealer());
    let judge = |sealed: &[u8; SEALED_BYTES], accusation: &Accusation| {
        dkg::judge(&PARTIES, &receiver.public(), &dealer.public(), sealed, accusation)
    };
    let good = seal(&PARTIES, &receiver, &dealer.share(2));
    assert_eq!(judge(&good, &accuse(&receiver, &good)), Err(DkgError::False));
    // The share of another trustee; a share that does not open.
    let wrong = seal(&PARTIES, &receiver, &dealer.share(3));
    assert_eq!(judge(&wrong, &accuse(&receiver, &wrong)), Ok(()));
    let mut garbage = good;
    garbage[40] ^= 1;
    assert!(dkg::is_proven(&PARTIES, &receiver.public(), &garbage), "its receiver can complain");
    assert_eq!(judge(&garbage, &accuse(&receiver, &garbage)), Ok(()));
    // To slander a good dealer takes a wrong shared point, and that has no proof.
    let honest = accuse(&receiver, &good);
    let slander = Accusation { shared: secret().public(), ..honest };
    assert_eq!(judge(&good, &slander), Err(DkgError::Complaint));
    let other = dkg::judge(&PARTIES, &secret().public(), &dealer.public(), &wrong, &accuse(&receiver, &wrong));
    assert_eq!(other, Err(DkgError::Complaint), "of another key");
    for bad in [Accusation { c: honest.c + Scalar::ONE, ..honest }, Accusation { z: honest.z + Scalar::ONE, ..honest }]
    {
        assert_eq!(judge(&good, &bad), Err(DkgError::Complaint));
    }
    // One share's complaint is not another's.
    assert_eq!(judge(&wrong, &honest), Err(DkgError::Complaint));
    let elsewhere = Parties { cid: [9; 32], ..PARTIES };
    let moved = dkg::judge(&elsewhere, &receiver.public(), &dealer.public(), &wrong, &accuse(&receiver, &wrong));
    assert_eq!(moved, Err(DkgError::Complaint));
}

#[test]
fn no_joint_key_is_the_identity() {
    let public = |coefficients: &[Scalar]| -> Vec<Element> {
        coefficients.iter().map(|one| SecretScalar::new(*one).unwrap().public()).collect()
    };
    let [one, three] = [Scalar::ONE, Scalar::from(3u8)];
    let keys = |last: &[Scalar]| dkg::public_keys(&[public(&[one, one]), public(last)]);
    assert!(keys(&[one, one]).is_ok());
    assert_eq!(keys(&[-one, three]), Err(DkgError::Identity), "Y");
    assert_eq!(keys(&[one, -three]), Err(DkgError::Identity), "X_1: 2 - 2x");
    assert_eq!(dkg::own_key([&one, &-one]).map(|_| ()), Err(DkgError::Identity));
}

/// A tally of one ballot that chooses the first of two options, under the trustees' keys.
struct Tally {
    rules: Rules,
    sums: Sums,
    eid: [u8; 32],
}

fn tally(y: &Element) -> Tally {
    let rules = Rules::new(vec![Contest::new(2, 1, 1).unwrap()]).unwrap();
    let election = ElectionKey { eid: [5; 32], y: *y };
    let (voter, choices) = (secret(), Choices::new(&rules, &[vec![true, false]]).unwrap());
    let (sealed, _) = ballot::encrypt(&election, &rules, (0, &voter.public()), &choices, &mut SystemDraw).unwrap();
    let mut sums = Sums::new(&rules);
    sums.add(&Ballot::decode(&sealed.cast(&voter, &mut SystemDraw).unwrap(), &rules).unwrap());
    Tally { rules, sums, eid: election.eid }
}

impl Tally {
    fn of(&self, trustee: u16) -> ShareOf {
        ShareOf { eid: self.eid, tally: [6; 32], trustee }
    }

    fn decrypt(&self, trustee: u16, secret: &SecretScalar) -> Vec<SharePart> {
        tally::decrypt(&self.of(trustee), &self.rules, &self.sums, secret, &mut SystemDraw).unwrap()
    }

    fn check(&self, trustee: u16, key: &Element, parts: &[SharePart]) -> Result<(), OptionAt> {
        tally::check_share(&self.of(trustee), &self.rules, &self.sums, key, parts)
    }

    /// A of the first option.
    fn alpha(&self) -> Element {
        Element::decode(self.sums.encode()[0][..32].try_into().unwrap()).unwrap()
    }
}

const FIRST: OptionAt = OptionAt { contest: 0, option: 0 };

/// A challenge that leaves the factor out lets the factor be chosen after it.
#[test]
fn a_factor_with_a_proof_that_does_not_bind_it_is_refused() {
    let x = secret();
    let (tally, key) = (tally(&x.public()), x.public());
    let a = tally.alpha();
    let [w, u] = [0, 1].map(|_| SystemDraw.scalar().unwrap());
    let [r1, r2] = [RistrettoPoint::mul_base(&w), a.point() * u];
    let numbers = [1u32, 0, 0].map(u32::to_be_bytes);
    let encoded = [r1, r2].map(|point| *Element::from_point(point).unwrap().as_bytes());
    let weak: [&[u8]; 9] = [
        &tally.eid,
        &[6; 32],
        &numbers[0],
        key.as_bytes(),
        &numbers[1],
        &numbers[2],
        a.as_bytes(),
        &encoded[0],
        &encoded[1],
    ];
    let c = hs(Tag::DecryptProof, &weak);
    let z = w + c * x.expose();
    let d = (a.point() * z - r2) * c.invert();
    assert_eq!(
        [RistrettoPoint::mul_base(&z) - key.point() * c, a.point() * z - d * c],
        [r1, r2],
        "it is what is forged"
    );
    assert_ne!(d, a.point() * x.expose());
    let mut parts = tally.decrypt(1, &x);
    assert_eq!(tally.check(1, &key, &parts), Ok(()));
    parts[0] = SharePart { d: Element::from_point(d).unwrap(), c, z };
    assert_eq!(tally.check(1, &key, &parts), Err(FIRST));
}

#[test]
fn a_share_is_of_its_key_trustee_and_option_and_has_one_part_for_each() {
    let x = secret();
    let (tally, key) = (tally(&x.public()), x.public());
    let good = tally.decrypt(1, &x);
    assert_eq!(tally.check(2, &key, &good), Err(FIRST), "of another trustee");
    assert_eq!(tally.check(1, &key, &tally.decrypt(1, &secret())), Err(FIRST), "of another key");
    let exchanged: Vec<SharePart> = good.iter().rev().cloned().collect();
    assert_eq!(tally.check(1, &key, &exchanged), Err(FIRST), "of another option");
    assert!(tally.check(1, &key, &good[..1]).is_err());
    assert!(tally.check(1, &key, &[good.clone(), exchanged].concat()).is_err());
    let mut bad = good;
    bad[1].d = secret().public();
    assert_eq!(tally.check(1, &key, &bad), Err(OptionAt { contest: 0, option: 1 }));
}

#[test]
fn too_few_shares_and_a_false_factor_decrypt_nothing() {
    let dealers = [dealer(), dealer(), dealer()];
    let keys = dkg::public_keys(&dealers.each_ref().map(Dealer::public)).unwrap();
    let tally = tally(&keys.y);
    let own = |j: u16| dkg::own_key(dealers.each_ref().map(|one| one.share(j)).iter().map(|share| &**share)).unwrap();
    let parts = [1, 2, 3].map(|k| tally.decrypt(k, &own(k)));
    let count = |shares: &[Share<'_>], needed| tally::count(&tally.rules, &tally.sums, 1, shares, needed);
    let share = |trustee: u16| Share { trustee, parts: &parts[usize::from(trustee) - 1] };
    assert_eq!(count(&[share(1), share(3)], 2), Ok(vec![1, 0]));
    let nothing = Err(TallyError::Count { contest: 0, option: 0, ballots: 1 });
    // t is two: one, taken for enough, is not.
    for trustee in 1..=3 {
        assert_eq!(count(&[share(trustee)], 1), nothing);
    }
    // Unchecked, a false factor gives no count rather than a wrong one.
    let mut wrong = parts[1].clone();
    wrong[0].d = secret().public();
    assert_eq!(count(&[share(1), Share { trustee: 2, parts: &wrong }], 2), nothing);
}
