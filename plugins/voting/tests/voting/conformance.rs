//! The contract of its slot.

use quorate::ChainId;
use quorate_ballot::record::Body;
use quorate_testkit::conformance;
use quorate_voting::VotingPlugin;

use crate::chain::{Chain, Opened, People, cast};

/// A whole election, in the times which the suite's blocks have.
fn transactions(chain_id: ChainId, people: &People) -> Vec<quorate::Bytes> {
    let mut people = people.clone();
    people.draft.chain_id = *chain_id.as_bytes();
    let mut chain = Chain::of(chain_id, &people.admin);
    let mut all = Vec::new();
    all.push(people.draft_transaction());
    all.push(people.entries_transaction(1, 0, &people.entries));
    all.push(people.list_transaction(1, people.entries.len() as u32, people.root(), &[1, 3]));
    for one in &all {
        chain.good(one);
    }
    let (ceremony, shares) = people.ceremony_of(&mut chain, 0);
    all.extend(ceremony);
    let manifest = people.manifest(&chain);
    all.push(people.open_transaction(&manifest));
    let mut opened = Opened { people, chain, shares, manifest };
    opened.chain.good(&all[all.len() - 1]);
    opened.chain.now = opened.people.draft.opens_ms;
    for voter in 0..3 {
        all.push(cast(&opened.ballot(voter, 1)));
    }
    // The same voter again, and a transaction of no kind.
    all.push(cast(&opened.ballot(0, 2)));
    all.push(vec![99; 30]);
    all.push(Body::Close { eid: opened.key().eid }.unsigned().encode());
    all.into_iter().map(Into::into).collect()
}

#[test]
fn it_keeps_its_slots_contract() {
    let mut people = People::new(3);
    // Blocks of the suite have these times.
    people.draft.opens_ms = 1_700_000_000_000;
    people.draft.closes_ms = 1_700_000_100_000;
    let shared = format!("admins = [\"{}\"]", people.admin.public());
    let id = format!("0x{}", "11".repeat(32));
    let params = |text: &str| text.replace("ID", &id);
    let made = std::cell::OnceCell::new();
    conformance::application(&VotingPlugin, &shared)
        .transactions(|chain_id| made.get_or_init(|| transactions(chain_id, &people)).clone())
        .query("elections", "{}")
        .query("elections", params(r#"{"from":0,"limit":3}"#).into_bytes())
        .query("app_hash", "")
        .check();
}
