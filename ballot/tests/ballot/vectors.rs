//! Both implementations, this one and the booth's, reproduce these bytes.

use std::collections::BTreeMap;

use quorate_ballot::{
    ballot::{self, Ballot, BallotError, Choices, ElectionKey},
    batch,
    contest::{Contest, Rules},
    dkg::{self, Dealer},
    group::{Element, SecretScalar},
    random::{Draw as _, VectorDraw},
    tally::{self, Share, ShareOf, Sums},
    transcript::{Tag, h32},
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    seed: String,
    manifest: String,
    eid: String,
    #[serde(rename = "Y")]
    y: String,
    trustee_commitments: Vec<Vec<String>>,
    credentials: Vec<String>,
    votes: Vec<Vec<Vec<u8>>>,
    ballots: Vec<String>,
    trackers: Vec<String>,
    tally_hash: String,
    shares: Vec<ShareVector>,
    results: Vec<Vec<u32>>,
    negative: BTreeMap<String, Negative>,
    rng_after: u32,
}

#[derive(Deserialize)]
struct ShareVector {
    k: u16,
    contest: u32,
    option: u32,
    #[serde(rename = "D")]
    d: String,
    c: String,
    z: String,
}

#[derive(Deserialize)]
struct Negative {
    bytes: String,
    error: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../vectors/voting-v1.json")).unwrap()
}

fn rules() -> Rules {
    Rules::new(vec![Contest::new(3, 1, 1).unwrap(), Contest::new(4, 0, 2).unwrap()]).unwrap()
}

fn election(vectors: &Vectors) -> ElectionKey {
    let y: [u8; 32] = hex::decode(&vectors.y).unwrap().try_into().unwrap();
    let eid = h32(Tag::Manifest, &[&hex::decode(&vectors.manifest).unwrap()]);
    ElectionKey { eid, y: Element::decode(&y).unwrap() }
}

fn read(vectors: &Vectors) -> Vec<Ballot> {
    vectors.ballots.iter().map(|one| Ballot::decode(&hex::decode(one).unwrap(), &rules()).unwrap()).collect()
}

#[test]
fn every_byte_is_reproduced() {
    let vectors = vectors();
    let mut draw = VectorDraw::new(&hex::decode(&vectors.seed).unwrap());
    let dealers: Vec<Dealer> = (0..3).map(|_| Dealer::generate(2, &mut draw).unwrap()).collect();
    let public: Vec<Vec<Element>> = dealers.iter().map(Dealer::public).collect();
    let encoded: Vec<Vec<String>> =
        public.iter().map(|c| c.iter().map(|c| hex::encode(c.as_bytes())).collect()).collect();
    assert_eq!(encoded, vectors.trustee_commitments);
    let keys = dkg::public_keys(&public).unwrap();
    assert_eq!(hex::encode(keys.y.as_bytes()), vectors.y);
    let election = election(&vectors);
    assert_eq!(hex::encode(election.eid), vectors.eid);

    let credentials: Vec<SecretScalar> = (0..4).map(|_| draw.secret().unwrap()).collect();
    let encoded: Vec<String> = credentials.iter().map(|one| hex::encode(one.public().as_bytes())).collect();
    assert_eq!(encoded, vectors.credentials);

    for (index, votes) in (0u32..).zip(&vectors.votes) {
        let chosen: Vec<Vec<bool>> = votes.iter().map(|c| c.iter().map(|bit| *bit == 1).collect()).collect();
        let choices = Choices::new(&rules(), &chosen).unwrap();
        let credential = &credentials[index as usize];
        let (sealed, openings) =
            ballot::encrypt(&election, &rules(), (index, &credential.public()), &choices, &mut draw).unwrap();
        assert_eq!(hex::encode(sealed.tracker()), vectors.trackers[index as usize]);
        assert_eq!(ballot::audit(&election, &rules(), sealed.body(), &openings), Ok(choices));
        let bytes = sealed.cast(credential, &mut draw).unwrap();
        assert_eq!(hex::encode(bytes), vectors.ballots[index as usize]);
    }
    draw.scalar().unwrap(); // Of one negative case.
    shares_and_result(&vectors, &dealers, &keys.x, &mut draw);
    assert_eq!(draw.drawn(), vectors.rng_after);
}

fn shares_and_result(vectors: &Vectors, dealers: &[Dealer], x: &[Element], draw: &mut VectorDraw) {
    let election = election(vectors);
    let ballots = read(vectors);
    let mut sums = Sums::new(&rules());
    ballots.iter().for_each(|one| sums.add(one));
    let trackers: Vec<[u8; 32]> = ballots.iter().map(|one| *one.tracker()).collect();
    let tally = tally::tally_hash(&election.eid, &trackers, &sums);
    assert_eq!(hex::encode(tally), vectors.tally_hash);

    // The vectors draw for both trustees option by option.
    let secret =
        |k: u16| dkg::own_key(dealers.iter().map(|one| one.share(k)).collect::<Vec<_>>().iter().map(|s| &**s)).unwrap();
    let secrets = BTreeMap::from([(1, secret(1)), (3, secret(3))]);
    let mut parts: BTreeMap<u16, Vec<_>> = BTreeMap::new();
    for (at, place) in tally::options_of(&rules()).enumerate() {
        for (k, secret) in &secrets {
            assert_eq!(secret.public(), x[usize::from(*k) - 1]);
            let of = ShareOf { eid: election.eid, tally, trustee: *k };
            let part = tally::decrypt_nth(&of, (at, place), &sums, secret, draw).unwrap();
            let right = &vectors.shares[at * 2 + usize::from(*k == 3)];
            assert_eq!((right.k, right.contest, right.option), (*k, place.contest, place.option));
            let found = [part.d.as_bytes(), part.c.as_bytes(), part.z.as_bytes()].map(hex::encode);
            assert_eq!(found, [right.d.clone(), right.c.clone(), right.z.clone()]);
            parts.entry(*k).or_default().push(part);
        }
    }
    for (k, parts) in &parts {
        let of = ShareOf { eid: election.eid, tally, trustee: *k };
        assert_eq!(tally::check_share(&of, &rules(), &sums, &x[usize::from(*k) - 1], parts), Ok(()));
    }
    let shares: Vec<Share<'_>> = parts.iter().map(|(k, parts)| Share { trustee: *k, parts }).collect();
    let counts = tally::count(&rules(), &sums, 3, &shares, 2).unwrap();
    assert_eq!(counts, vectors.results.concat());
}

#[test]
fn the_ballots_are_verified() {
    let vectors = vectors();
    let ballots = read(&vectors);
    let all: Vec<&Ballot> = ballots.iter().collect();
    for one in &all {
        assert_eq!(ballot::verify(&election(&vectors), &rules(), one), Ok(()));
    }
    assert_eq!(batch::verify_batch(&election(&vectors), &rules(), &all), [Ok(()), Ok(()), Ok(())]);
}

#[test]
fn every_negative_case_is_refused_for_its_reason() {
    let vectors = vectors();
    let good = read(&vectors).remove(0);
    for (name, Negative { bytes, error }) in &vectors.negative {
        let bytes = hex::decode(bytes).unwrap();
        let found = Ballot::decode(&bytes, &rules())
            .and_then(|one| ballot::verify_content(&election(&vectors), &rules(), &one).map(|()| one));
        let found = found.and_then(|one| ballot::verify(&election(&vectors), &rules(), &one));
        assert_eq!(found.as_ref().map_err(BallotError::word), Err(error.as_str()), "{name}: {found:?}");
        // And in a batch with a good one, whose verdict does not suffer.
        if let Ok(bad) = Ballot::decode(&bytes, &rules()) {
            let verdicts = batch::verify_batch(&election(&vectors), &rules(), &[&bad, &good]);
            assert!(verdicts[0].is_err(), "{name}");
            assert_eq!(verdicts[1], Ok(()), "{name}");
        }
    }
    assert_eq!(vectors.negative.len(), 11);
}
