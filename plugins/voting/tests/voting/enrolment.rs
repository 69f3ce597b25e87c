//! Who may vote: entered by registrars, sealed by a quorum of them, fixed before voting.

use quorate_ballot::record::{Body, Receipt};
use serde_json::json;

use crate::chain::{People, hex, signed};

#[test]
fn a_list_grows_in_parts_and_a_quorum_seals_it() {
    let people = People::new(9);
    let mut chain = people.chain();
    chain.good(&people.draft_transaction());
    let (id, all) = (people.id(), &people.entries);
    assert_eq!(
        chain.good(&people.entries_transaction(2, 0, &all[..4])),
        Receipt::Entries { draft: id, registrar: 2, entries: 4 }
    );
    chain.bad(&people.entries_transaction(2, 4, &all[3..6]), "V10 entries.order");
    chain.bad(&people.entries_transaction(2, 3, &all[3..6]), "V10 entries.order");
    let rest = people.entries_transaction(2, 4, &all[4..]);
    chain.good(&rest);
    let root = people.root();
    chain.bad(&people.list_transaction(2, 8, root, &[1, 2]), "V11 list.count");
    chain.bad(&people.list_transaction(1, 9, root, &[1, 2]), "V11 list.count");
    chain.bad(&people.list_transaction(2, 9, [3; 32], &[1, 2]), "V11 list.root");
    chain.bad(&people.list_transaction(2, 9, root, &[2]), "V12 list.quorum");
    chain.bad(&people.list_transaction(2, 9, root, &[2, 2]), "V12 list.quorum");
    chain.bad(&people.list_transaction(2, 9, root, &[3, 1]), "V12 list.quorum");
    assert_eq!(chain.good(&people.list_transaction(2, 9, root, &[1, 3])), Receipt::List { draft: id, count: 9, root });
    chain.bad(&people.list_transaction(2, 9, root, &[1, 3]), "V9 list.sealed");
    chain.bad(&rest, "V9 list.sealed");

    let found = chain.query("credential", &json!({ "id": hex(&id), "key": all[5].key.to_string() }));
    assert_eq!((&found["index"], &found["used_by"]), (&json!(5), &json!(null)));
    let page = chain.query("entries", &json!({ "id": hex(&id), "from": 7, "limit": 5 }));
    assert_eq!((page["entries"].as_array().unwrap().len(), &page["next"]), (2, &json!(null)));
}

#[test]
fn a_registrar_can_spoil_its_own_part_only_and_begin_anew() {
    let people = People::new(4);
    let mut chain = people.chain();
    chain.good(&people.draft_transaction());
    chain.good(&people.entries_transaction(1, 0, &people.entries[1..]));
    chain.good(&people.entries_transaction(2, 0, &people.entries));
    // Registrar 1 forgot somebody: it begins anew.
    chain.good(&people.entries_transaction(1, 0, &people.entries));
    chain.good(&people.list_transaction(1, 4, people.root(), &[1, 2]));
}

#[test]
fn nobody_else_enters_or_seals() {
    let people = People::new(3);
    let mut chain = people.chain();
    chain.good(&people.draft_transaction());
    let body = Body::Entries { draft: people.id(), registrar: 1, first: 0, entries: people.entries.clone() };
    chain.bad(&signed(body, &people.admin), "V3 signature");
    let body = Body::Entries { draft: people.id(), registrar: 4, first: 0, entries: people.entries.clone() };
    chain.bad(&signed(body, &people.admin), "V9 entries.registrar");
    let mut doubled = people.entries.clone();
    doubled.insert(1, doubled[0].clone());
    chain.bad(&people.entries_transaction(1, 0, &doubled), "V10 entries.order");
    chain.bad(&people.entries_transaction(1, 0, &[]), "V10 entries.count");

    chain.good(&people.entries_transaction(1, 0, &people.entries));
    // A signature over another list does not count for this one.
    let mut signatures = vec![people.list_signature(1, 3, &people.root()), people.list_signature(2, 3, &[8; 32])];
    let list = |signatures| {
        let body = Body::List { draft: people.id(), registrar: 1, count: 3, root: people.root(), signatures };
        body.unsigned().encode()
    };
    chain.bad(&list(signatures.clone()), "V12 list.quorum");
    signatures[1].registrar = 7;
    chain.bad(&list(signatures), "V9 entries.registrar");
}
