//! What validators say of an election: what most say, and who says otherwise.

use quorate::Hash;
use quorate_client::{ClientError, Disagreement};
use serde_json::{Value, json};

use crate::{fake::Manner, network::Network};

fn open(ballots: u64) -> Value {
    json!({ "eid": 1, "draft": "0x01", "title": "a", "contests": [], "state": "open", "ballots": ballots, "result": null })
}

fn decided(yes: u64) -> Value {
    json!({ "eid": 1, "th": 2, "state": "decided", "ballots": 9, "result": { "yes": yes } })
}

fn sorted(mut names: Vec<String>) -> String {
    names.sort();
    names.join(" ")
}

const ELECTION: Hash = Hash::new([3; 32]);

#[tokio::test]
async fn counts_may_grow_while_it_is_asked() {
    let network = Network::of(0);
    let client = network.client();
    for (fake, ballots) in network.fakes.iter().zip([4, 7, 5]) {
        fake.be(|one| one.election = Some(open(ballots)));
    }
    let results = client.election_results(&ELECTION).await.unwrap();
    assert_eq!((results.election, results.is_majority), (open(7), true));
    assert_eq!((results.agreed_by.len(), results.differing.len(), client.disagreements().len()), (3, 0, 0));
}

#[tokio::test]
async fn the_majority_counts_and_who_differs_is_reported() {
    let network = Network::of(0);
    let client = network.client();
    network.fakes.iter().for_each(|fake| fake.be(|one| one.election = Some(decided(5))));
    // Whoever invents votes does not win by their number.
    let mut invented = decided(900);
    invented["ballots"] = json!(9000);
    network.fakes[1].be(|one| one.election = Some(invented));
    let results = client.election_results(&ELECTION).await.unwrap();
    assert_eq!((&results.election, results.is_majority), (&decided(5), true));
    assert_eq!(
        (sorted(results.agreed_by), sorted(results.differing)),
        ("validator-1 validator-3".into(), "validator-2".into())
    );
    let Some(Disagreement::Answers { about, other, .. }) = client.disagreements().pop() else {
        panic!("nothing noted")
    };
    assert_eq!((about, other.as_str()), (format!("election {ELECTION}"), "validator-2"));
}

#[tokio::test]
async fn one_voice_of_three_is_no_majority() {
    let network = Network::of(0);
    let client = network.client();
    network.fakes[0].be(|one| one.election = Some(decided(5)));
    network.fakes[1].be(|one| one.manner = Manner::Status500);
    network.fakes[2].die().await;
    let results = client.election_results(&ELECTION).await.unwrap();
    assert_eq!((results.election, results.is_majority, results.failed.len()), (decided(5), false, 2));
    // Those who rest now are still of the network.
    let results = client.election_results(&ELECTION).await.unwrap();
    assert_eq!((results.is_majority, results.agreed_by.len()), (false, 1));
}

#[tokio::test]
async fn an_election_that_nobody_knows_is_refused_and_a_dead_network_is_not_there() {
    let network = Network::of(0);
    let client = network.client();
    let error = client.election_results(&ELECTION).await.unwrap_err();
    assert!(matches!(&error, ClientError::Refused { message, .. } if message.contains("no such election")), "{error}");
    for fake in &network.fakes {
        fake.die().await;
    }
    let error = client.election_results(&ELECTION).await.unwrap_err();
    assert!(matches!(&error, ClientError::Unavailable { asked, .. } if asked.len() == 3), "{error}");
}
