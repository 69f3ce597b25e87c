//! Ballots: once a credential, whatever arrives where and when; and every forgery.

use quorate::{
    Application as _, Bytes, Timestamp,
    application::{Mode, Rejection},
};
use quorate_ballot::{
    ballot::{self, Ballot, Choices, tracker},
    group::SecretScalar,
    random::SystemDraw,
    record::{Body, Receipt},
    schnorr,
    transcript::Tag,
};
use serde_json::json;

use crate::chain::{CLOSES, OPENS, Opened, People, cast, hex, id};

/// Signs a body anew, as a thief would.
fn resigned(body: &[u8], credential: &SecretScalar) -> Vec<u8> {
    let signature = schnorr::sign(Tag::CredSig, credential, &tracker(body), &mut SystemDraw).unwrap();
    [body, &signature.to_bytes()].concat()
}

fn body(ballot: &[u8]) -> Vec<u8> {
    ballot[..ballot.len() - 64].to_vec()
}

/// The body with another credential in it.
fn moved(ballot: &[u8], opened: &Opened, voter: u16) -> Vec<u8> {
    let mut body = body(ballot);
    body[33..37].copy_from_slice(&u32::from(voter).to_be_bytes());
    body[37..69].copy_from_slice(opened.people.voters[usize::from(voter)].public().as_bytes());
    body
}

#[test]
fn a_ballot_counts_once_and_the_first_counts() {
    let mut opened = People::new(4).up_to_voting();
    let first = opened.ballot(2, 1);
    let eid = opened.key().eid;
    let receipt = opened.chain.good(&cast(&first));
    let note = tracker(&body(&first));
    assert_eq!(receipt, Receipt::Ballot { eid, number: 1, credential: 2, tracker: note });
    let again = opened.ballot(2, 0);
    let refused = opened.chain.voting.check(&opened.chain.state, Timestamp(OPENS), &cast(&again));
    assert_eq!(refused, Err(Rejection::Duplicate { winner: id(&cast(&first)) }));
    opened.chain.bad(&cast(&first), "duplicate of");
    let found = opened.chain.query("ballot", &json!({ "id": hex(&eid), "tracker": hex(&note) }));
    assert_eq!(found, json!({ "number": 1, "tracker": hex(&note) }));
    let used = opened.chain.query("credential", &json!({ "id": hex(&eid), "index": 2 }));
    assert_eq!(used["used_by"], json!(id(&cast(&first))));
}

#[test]
fn of_two_ballots_of_a_voter_in_one_block_the_first_counts_and_a_block_with_both_is_invalid() {
    let mut opened = People::new(4).up_to_voting();
    let both: Vec<Bytes> = [0, 1].map(|choice| Bytes::from(cast(&opened.ballot(1, choice)))).to_vec();
    let verdicts = opened.chain.voting.verify(&opened.chain.state, &both);
    assert_eq!(verdicts, [Ok(()), Ok(())]);
    let error = opened.chain.execute(Mode::Apply, &both).unwrap_err().to_string();
    assert!(error.contains("transaction 1: duplicate of"), "{error}");
    let outcome = opened.chain.execute(Mode::Build, &both).unwrap();
    assert_eq!(outcome.left_out, [(1, Rejection::Duplicate { winner: id(&both[0]) })]);
}

#[test]
fn voting_begins_and_ends_on_the_boundary() {
    let mut opened = People::new(4).up_to_voting();
    let [first, last] = [0, 1].map(|voter| cast(&opened.ballot(voter, 0)));
    opened.chain.now = OPENS - 1;
    opened.chain.bad(&first, "V20 ballot.early");
    opened.chain.now = OPENS;
    opened.chain.good(&first);
    opened.chain.now = CLOSES + 1;
    opened.chain.bad(&last, "V20 ballot.late");
    opened.chain.now = CLOSES;
    opened.chain.good(&last);
}

#[test]
fn only_who_is_listed_votes_and_only_there() {
    let mut opened = People::new(3).up_to_voting();
    let stranger = crate::chain::secret();
    let good = opened.ballot(0, 0);
    let mut of_stranger = opened.clone();
    of_stranger.people.voters[0] = stranger.clone();
    opened.chain.bad(&cast(&of_stranger.ballot(0, 0)), "V21 ballot.credential");
    let mut beyond = body(&good);
    beyond[33..37].copy_from_slice(&3u32.to_be_bytes());
    opened.chain.bad(&cast(&resigned(&beyond, &opened.people.voters[0])), "V21 ballot.credential");
    let mut neighbour = body(&good);
    neighbour[33..37].copy_from_slice(&1u32.to_be_bytes());
    opened.chain.bad(&cast(&resigned(&neighbour, &opened.people.voters[0])), "V21 ballot.credential");
    let mut elsewhere = good.clone();
    elsewhere[5] ^= 1;
    opened.chain.bad(&cast(&elsewhere), "V20 ballot.election");
    let mut version = good;
    version[0] = 2;
    opened.chain.bad(&cast(&version), "V20 ballot.parse");
}

#[test]
fn a_copied_ballot_is_refused_also_when_the_thief_signs_it() {
    let mut opened = People::new(3).up_to_voting();
    let good = opened.ballot(0, 1);
    let stolen = moved(&good, &opened, 1);
    let unsigned = [stolen.as_slice(), &good[good.len() - 64..]].concat();
    opened.chain.bad(&cast(&unsigned), "V22 ballot.signature");
    opened.chain.bad(&cast(&resigned(&stolen, &opened.people.voters[1])), "V24 ballot.proof");
    // Nor does it help when the original is counted already.
    opened.chain.good(&cast(&good));
    opened.chain.bad(&cast(&resigned(&stolen, &opened.people.voters[1])), "V24 ballot.proof");
}

#[test]
fn a_ciphertext_that_was_used_is_refused_although_its_proof_is_right() {
    use quorate_ballot::random::{Draw, NoRandomness};
    /// Draws the same each time: two voters who share their randomness.
    struct Same(u64);
    impl Draw for Same {
        fn scalar(&mut self) -> Result<quorate_ballot::group::Scalar, NoRandomness> {
            self.0 += 1;
            Ok(quorate_ballot::group::Scalar::from(self.0))
        }
        fn nonce(
            &mut self,
            _: &quorate_ballot::group::Scalar,
            _: &[u8; 32],
        ) -> Result<quorate_ballot::group::Scalar, NoRandomness> {
            self.scalar()
        }
    }
    let mut opened = People::new(3).up_to_voting();
    let rules = opened.people.rules();
    let choices = Choices::new(&rules, &[vec![true, false, false], vec![false; 4]]).unwrap();
    let [one, two] = [0u16, 1].map(|voter| {
        let credential = &opened.people.voters[usize::from(voter)];
        let at = (u32::from(voter), &credential.public());
        let (sealed, _) = ballot::encrypt(&opened.key(), &rules, at, &choices, &mut Same(7)).unwrap();
        sealed.cast(credential, &mut SystemDraw).unwrap()
    });
    opened.chain.good(&cast(&one));
    let two = cast(&two);
    // Verification of proofs has nothing against it.
    assert_eq!(opened.chain.voting.verify(&opened.chain.state, &[two.clone().into()]), [Ok(())]);
    let error = opened.chain.execute(Mode::Apply, &[two.into()]).unwrap_err().to_string();
    assert!(error.contains("V25 ballot.copied"), "{error}");
}

#[test]
fn no_changed_bit_and_no_other_length_is_accepted() {
    let opened = People::new(2).up_to_voting();
    let good = cast(&opened.ballot(0, 1));
    let verify = |bytes: Vec<u8>| opened.chain.voting.verify(&opened.chain.state, &[bytes.into()]).remove(0);
    assert_eq!(verify(good.clone()), Ok(()));
    // A bit in every byte, another one in each.
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(verify(bad).is_err(), "byte {at}");
    }
    for len in 0..good.len() {
        assert!(verify(good[..len].to_vec()).is_err(), "cut to {len}");
    }
    assert!(verify([good.as_slice(), &[0]].concat()).is_err());
}

#[test]
fn a_batch_says_of_each_what_it_says_alone() {
    let opened = People::new(12).up_to_voting();
    let mut all: Vec<Bytes> = (0..12).map(|voter| cast(&opened.ballot(voter, usize::from(voter % 3))).into()).collect();
    for (at, byte) in [(1, 100), (4, 3), (7, 1200), (9, 2600)] {
        let mut bad = all[at].to_vec();
        let len = bad.len();
        bad[byte.min(len - 1)] ^= 4;
        all[at] = bad.into();
    }
    let together = opened.chain.voting.verify(&opened.chain.state, &all);
    for (at, one) in all.iter().enumerate() {
        let alone = opened.chain.voting.verify(&opened.chain.state, std::slice::from_ref(one)).remove(0);
        assert_eq!(alone, together[at]);
        assert_eq!(alone.is_err(), [1, 4, 7, 9].contains(&at), "{at}: {alone:?}");
    }
}

#[test]
fn a_ballot_in_the_block_that_opens_its_election_is_not_accepted() {
    let people = People::new(2);
    let opened = people.up_to_voting();
    let mut chain = people.chain();
    chain.good(&people.draft_transaction());
    people.enrol(&mut chain);
    // Not opened here: the node is behind whoever sends the ballot, who is no liar for that.
    chain.now = OPENS;
    let ballot = cast(&opened.ballot(0, 0));
    let verdict = chain.voting.verify(&chain.state, &[ballot.into()]).remove(0);
    assert!(matches!(verdict, Err(Rejection::NotAllowed(why)) if why.contains("V20 ballot.election")));
}

#[test]
fn what_is_decoded_is_what_was_cast() {
    let opened = People::new(2).up_to_voting();
    let bytes = opened.ballot_of(1, &[vec![false, false, true], vec![true, false, true, false]]);
    let ballot = Ballot::decode(&bytes, &opened.people.rules()).unwrap();
    assert_eq!((ballot.index(), ballot.key()), (1, &opened.people.voters[1].public()));
    let (note, pairs) = ballot::read_votes(&bytes, &opened.people.rules()).unwrap();
    assert_eq!(&note, ballot.tracker());
    assert_eq!(pairs, ballot.pairs().copied().collect::<Vec<_>>());
    assert_eq!(Body::Ballot(bytes.clone()).unsigned().encode()[1..], bytes);
}
