//! Who may register what, how long it lives, and how much there may be.

mod support;

use std::{net::IpAddr, time::Duration};

use quorate::{Instant, transport::Identity as _};
use quorate_discovery_bootnode::{
    record::{Place, Record, RecordError},
    table::{Refusal, Reserved, STALE_AFTER, Table, TableLimits},
};
use support::{CHAIN, Key, OTHER_CHAIN};

const LIMITS: TableLimits = TableLimits { records_max: 4, records_per_address_max: 3 };
const START: Instant = Instant(0);

fn from(number: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, number])
}

fn names(table: &mut Table, now: Instant) -> Vec<String> {
    let mut names: Vec<_> = table.list(now, |_| true).into_iter().map(|listed| listed.record.node_id).collect();
    names.sort();
    names
}

fn table() -> Table {
    Table::new(LIMITS, Vec::new())
}

#[test]
fn an_entry_is_gone_300_s_after_it_was_last_heard_of() {
    let (mut table, key) = (table(), Key::new(1));
    table.register(START, from(1), key.record("a", 1000, 1)).unwrap();
    let almost = START.after(STALE_AFTER - Duration::from_secs(1));
    table.heartbeat(almost, &key.heartbeat("a", 2)).unwrap();
    assert_eq!(names(&mut table, almost.after(STALE_AFTER - Duration::from_secs(1))), ["a"]);
    assert_eq!(names(&mut table, almost.after(STALE_AFTER)), [""; 0]);
    let late = table.heartbeat(almost.after(STALE_AFTER), &key.heartbeat("a", 3));
    assert!(matches!(late, Err(Refusal::Unknown { .. })));
}

#[test]
fn a_name_belongs_to_its_first_key_until_that_is_stale() {
    let (mut table, owner, thief) = (table(), Key::new(1), Key::new(2));
    table.register(START, from(1), owner.record("a", 1000, 1)).unwrap();
    let stolen = thief.record("a", 2000, 99);
    assert_eq!(
        table.register(START, from(2), stolen.clone()),
        Err(Refusal::NameTaken { node_id: "a".into(), holder: owner.public_key() })
    );
    table.register(START.after(STALE_AFTER), from(2), stolen).unwrap();
}

#[test]
fn an_address_belongs_to_its_first_key_also_against_other_networks() {
    let (mut table, owner, thief) = (table(), Key::new(1), Key::new(2));
    table.register(START, from(1), owner.record("a", 1000, 1)).unwrap();
    for chain_id in [Some(CHAIN), Some(OTHER_CHAIN), None] {
        let stolen = thief.record_in(chain_id, "b", 1000, 1);
        assert!(matches!(table.register(START, from(2), stolen), Err(Refusal::AddressTaken { .. })));
    }
    // Another spelling of the same address, and the same address for clients.
    let place = |p2p_url: &str, rpc_url: &str| Place {
        node_id: "b".into(),
        p2p_url: p2p_url.into(),
        rpc_url: rpc_url.into(),
        chain_id: Some(CHAIN),
    };
    for place in [place("127.0.0.1:1000", ""), place("127.0.0.1:5000", "http://127.0.0.1:1001")] {
        let stolen = Record::sign(&thief, place, 1).unwrap();
        assert!(matches!(table.register(START, from(2), stolen), Err(Refusal::AddressTaken { .. })));
    }
}

#[test]
fn two_networks_may_use_the_same_name() {
    let mut table = table();
    table.register(START, from(1), Key::new(1).record_in(Some(CHAIN), "validator-1", 1000, 1)).unwrap();
    table.register(START, from(1), Key::new(2).record_in(Some(OTHER_CHAIN), "validator-1", 2000, 1)).unwrap();
    assert_eq!(table.list(START, |record| record.chain_id == Some(CHAIN)).len(), 1);
}

#[test]
fn a_sequence_only_rises_over_records_and_heartbeats() {
    let (mut table, key) = (table(), Key::new(1));
    table.register(START, from(1), key.record("a", 1000, 10)).unwrap();
    let replayed = key.heartbeat("a", 12);
    table.heartbeat(START, &replayed).unwrap();
    assert_eq!(table.heartbeat(START, &replayed), Err(Refusal::Sequence { sequence: 12, last: 12 }));
    for sequence in [9, 10, 12] {
        let old = table.register(START, from(1), key.record("a", 3000, sequence));
        assert_eq!(old, Err(Refusal::Sequence { sequence, last: 12 }));
    }
    table.register(START, from(1), key.record("a2", 3000, 13)).unwrap();
    assert_eq!(names(&mut table, START), ["a2"], "a node may change its own name and address");
}

#[test]
fn a_forged_signature_changes_nothing() {
    let (owner, thief) = (Key::new(1), Key::new(2));
    let reserved = Reserved { name: "validator-1".into(), public_key: owner.public_key() };
    let mut table = Table::new(LIMITS, vec![reserved]);
    table.register(START, from(2), thief.record("b", 1000, 1)).unwrap();
    // It would push `b` out, were it signed.
    let mut forged = owner.record("validator-1", 1000, 1);
    forged.signature = thief.record("validator-1", 1000, 1).signature;
    let refused = Err(Refusal::Record(RecordError::Signature { key: owner.public_key() }));
    assert_eq!(table.register(START, from(2), forged), refused);
    let good = owner.record("x", 2000, 1);
    for changed in [
        Record { node_id: "y".into(), ..good.clone() },
        Record { p2p_url: "tcp://127.0.0.1:2002".into(), ..good.clone() },
        Record { rpc_url: "http://127.0.0.1:9".into(), ..good.clone() },
        Record { chain_id: Some(OTHER_CHAIN), ..good.clone() },
        Record { sequence: 2, ..good.clone() },
    ] {
        assert_eq!(table.register(START, from(2), changed), refused);
    }
    let mut beat = thief.heartbeat("b", 5);
    beat.sequence = 6;
    assert!(matches!(table.heartbeat(START, &beat), Err(Refusal::Record(_))));
    assert_eq!(names(&mut table, START), ["b"]);
}

#[test]
fn a_heartbeat_of_one_key_does_not_keep_another_alive() {
    let (mut table, owner, thief) = (table(), Key::new(1), Key::new(2));
    table.register(START, from(1), owner.record("a", 1000, 1)).unwrap();
    assert!(matches!(table.heartbeat(START, &thief.heartbeat("a", 2)), Err(Refusal::Unknown { .. })));
    let record = owner.record("a", 1000, 5);
    let mut disguised = owner.heartbeat("a", 5);
    disguised.signature = record.signature;
    assert!(table.heartbeat(START, &disguised).is_err(), "a record's signature is no heartbeat's");
}

#[test]
fn counts_are_bounded_in_all_and_per_source() {
    let mut table = table();
    for number in 0..3u16 {
        let record = Key::new(number.into()).record(&number.to_string(), 1000 + 2 * number, 1);
        table.register(START, from(1), record).unwrap();
    }
    let fourth = Key::new(4).record("4", 4000, 1);
    assert_eq!(table.register(START, from(1), fourth.clone()), Err(Refusal::AddressFull { records: 3 }));
    table.register(START, from(2), fourth).unwrap();
    let fifth = Key::new(5).record("5", 5000, 1);
    assert_eq!(table.register(START, from(3), fifth.clone()), Err(Refusal::Full { records: 4 }));
    table.register(START, from(1), Key::new(1).record("1", 1002, 2)).expect("those who are in may renew");
    table.register(START.after(STALE_AFTER), from(3), fifth).unwrap();
}

#[test]
fn a_reserved_key_takes_its_name_back_and_has_room_in_a_full_table() {
    let owner = Key::new(100);
    let reserved = Reserved { name: "validator-1".into(), public_key: owner.public_key() };
    let mut table = Table::new(LIMITS, vec![reserved]);
    let squatter = Key::new(1);
    assert!(matches!(
        table.register(START, from(1), squatter.record("validator-1", 1000, 1)),
        Err(Refusal::NameTaken { .. })
    ));
    for number in 1..5u16 {
        let now = START.after(Duration::from_secs(number.into()));
        let record = Key::new(number.into()).record(&number.to_string(), 1000 * number, 1);
        table.register(now, from(number as u8), record).unwrap();
    }
    let now = START.after(Duration::from_secs(10));
    table.register(now, from(1), owner.record("validator-1", 9000, 1)).unwrap();
    assert_eq!(names(&mut table, now), ["2", "3", "4", "validator-1"], "the one that was silent longest made room");
    table.register(now, from(1), owner.record("validator-1", 3000, 2)).unwrap();
    assert_eq!(names(&mut table, now), ["2", "4", "validator-1"], "its address was squatted by 3");
}
