//! The ledger's rules, asked as any application's, and one by one.

use quorate::{
    Application as _, Bytes, ChainId, Height, Timestamp, TransactionId,
    application::{BlockContext, ExecuteError, Mode, Rejection, StateWrite},
};
use quorate_ballot::schnorr::SIGNATURE_BYTES;
use quorate_testkit::{conformance, memory::MemoryState};
use serde_json::Value;

use super::{
    application::OutboxLedger,
    record::{Parcel, Record, SETTLED_MAX, Settled},
};
use crate::OutboxPlugin;

/// Bytes with the head of a ballot: more than the outbox never looks at.
fn parcel(eid: u8, credential: u32, salt: u8) -> Parcel {
    let mut ballot = vec![1];
    ballot.extend([eid; 32]);
    ballot.extend(credential.to_be_bytes());
    ballot.extend([7; 32]);
    ballot.extend(vec![salt; SIGNATURE_BYTES + 10]);
    Parcel::of_ballot(ballot).unwrap()
}

fn accept(parcel: &Parcel) -> Record {
    Record::Accept { transaction: parcel.transaction.clone(), accepted_ms: 1 }
}

fn settle(id: TransactionId, settled: Settled) -> Record {
    Record::Settle { entries: vec![(id, settled)], at_ms: 3 }
}

fn is_final() -> Settled {
    Settled::Final { height: 7, block_hash: quorate::Hash::new([3; 32]), source: "follower".into() }
}

fn refused() -> Settled {
    Settled::Refused { reason: "late".into(), winner: None }
}

fn bytes(record: &Record) -> Bytes {
    borsh::to_vec(record).unwrap().into()
}

#[test]
fn it_keeps_the_contract_of_an_application() {
    let records = |_: ChainId| {
        let [one, two, three] = [parcel(1, 0, 0), parcel(1, 1, 0), parcel(2, 0, 0)];
        let second = parcel(1, 0, 9);
        [
            accept(&one),
            accept(&two),
            accept(&three),
            accept(&second),
            settle(one.id, is_final()),
            settle(two.id, refused()),
            Record::Reopen { id: two.id, at_ms: 5 },
            settle(two.id, is_final()),
            settle(second.id, is_final()),
        ]
        .iter()
        .map(bytes)
        .chain([Bytes::from_static(b"rubbish")])
        .collect()
    };
    let id = parcel(1, 0, 0).id;
    conformance::application(&OutboxPlugin, "")
        .transactions(records)
        .query("counts", "{}")
        .query("held", r#"{"from":1,"limit":2}"#)
        .query("entry", format!(r#"{{"id":"{id}"}}"#).into_bytes())
        .query("ballot", format!(r#"{{"id":"{id}"}}"#).into_bytes())
        .check();
}

/// A ledger in memory, one record a block.
struct Ledger {
    state: MemoryState,
    height: u64,
}

impl Ledger {
    fn new() -> Self {
        let mut state = MemoryState::default();
        OutboxLedger.genesis(&mut state).unwrap();
        Self { state, height: 0 }
    }

    fn take(&mut self, record: &Record) -> Result<(), Rejection> {
        let record = bytes(record);
        let checked = OutboxLedger.check(&self.state, Timestamp(0), &record).map(drop);
        self.height += 1;
        let block = BlockContext {
            chain_id: ChainId::new([0; 32]),
            height: Height(self.height),
            time: Timestamp(self.height),
            mode: Mode::Apply,
            transactions: vec![record].into(),
            misbehaviour: &[],
        };
        let executed = match OutboxLedger.execute(&mut self.state, &block) {
            Ok(_) => Ok(()),
            Err(ExecuteError::Invalid { rejection, .. }) => Err(rejection),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(checked.is_ok(), executed.is_ok(), "the pool and the block agree");
        executed
    }

    fn ask(&self, path: &str, params: &str) -> Value {
        serde_json::from_slice(&OutboxLedger.query(&self.state, path, params.as_bytes()).unwrap()).unwrap()
    }

    fn counts(&self) -> [u64; 4] {
        let counts = self.ask("counts", "{}");
        ["accepted", "held", "final", "refused"].map(|key| counts[key].as_u64().unwrap())
    }

    fn has_bytes(&self, id: &TransactionId) -> bool {
        !self.ask("ballot", &format!(r#"{{"id":"{id}"}}"#)).is_null()
    }
}

#[test]
fn a_credential_is_held_once_and_a_ballot_counts_once() {
    let mut ledger = Ledger::new();
    let [one, other, elsewhere] = [parcel(1, 4, 0), parcel(1, 4, 1), parcel(2, 4, 0)];
    ledger.take(&accept(&one)).unwrap();
    assert!(matches!(ledger.take(&accept(&one)), Err(Rejection::NotAllowed(_))));
    assert_eq!(ledger.take(&accept(&other)), Err(Rejection::Duplicate { winner: one.id }));
    ledger.take(&accept(&elsewhere)).unwrap();
    assert_eq!(ledger.counts(), [2, 2, 0, 0]);

    ledger.take(&settle(one.id, is_final())).unwrap();
    assert!(matches!(ledger.take(&settle(one.id, refused())), Err(Rejection::NotAllowed(_))), "final stays final");
    assert_eq!(ledger.take(&accept(&other)), Err(Rejection::Duplicate { winner: one.id }), "also afterwards");
    assert!(!ledger.has_bytes(&one.id) && ledger.has_bytes(&elsewhere.id));
    let held = ledger.ask("held", "{}");
    assert_eq!((held["entries"].as_array().unwrap().len(), &held["next"]), (1, &Value::Null));
    assert_eq!(ledger.counts(), [2, 1, 1, 0]);
}

#[test]
fn a_refused_ballot_frees_its_credential_and_can_be_tried_again() {
    let mut ledger = Ledger::new();
    let [one, other] = [parcel(1, 4, 0), parcel(1, 4, 1)];
    ledger.take(&accept(&one)).unwrap();
    ledger.take(&settle(one.id, refused())).unwrap();
    assert_eq!(ledger.counts(), [1, 0, 0, 1]);
    assert!(ledger.has_bytes(&one.id));
    ledger.take(&Record::Reopen { id: one.id, at_ms: 1 }).unwrap();
    assert_eq!(ledger.counts(), [1, 1, 0, 0]);
    assert!(ledger.take(&Record::Reopen { id: one.id, at_ms: 2 }).is_err(), "it is held");
    ledger.take(&settle(one.id, refused())).unwrap();
    // The voter sends another, then nobody tries the first again.
    ledger.take(&accept(&other)).unwrap();
    assert_eq!(ledger.take(&Record::Reopen { id: one.id, at_ms: 3 }), Err(Rejection::Duplicate { winner: other.id }));
    // The same ballot again, once the other is refused too.
    ledger.take(&settle(other.id, refused())).unwrap();
    ledger.take(&accept(&one)).unwrap();
    assert_eq!(ledger.counts(), [3, 1, 0, 1]);
}

#[test]
fn rubbish_is_malformed() {
    let state = MemoryState::default();
    let many = vec![(TransactionId::new([0; 32]), refused()); SETTLED_MAX + 1];
    let no_ballot = Record::Accept { transaction: Bytes::from_static(b"\x01"), accepted_ms: 0 };
    for wrong in [
        Bytes::new(),
        Bytes::from_static(&[9; 40]),
        bytes(&Record::Settle { entries: Vec::new(), at_ms: 0 }),
        bytes(&Record::Settle { entries: many, at_ms: 0 }),
        bytes(&no_ballot),
    ] {
        let found = OutboxLedger.check(&state, Timestamp(0), &wrong);
        assert!(matches!(found, Err(Rejection::Malformed(_))), "{wrong:?}: {found:?}");
    }
    let mut state = state;
    state.put(b"n", b"damaged");
    assert!(OutboxLedger.query(&state, "counts", b"").is_err());
}
